//! Carries one queued operation out: reads, sends, confirms.
//!
//! # Consistency
//!
//! An object is made only of bytes that were read between two equal looks at one open file. A large
//! file is sent in parts as it is read, and the object is made of them only if the second look,
//! after the last part, still agrees.
//!
//! # Lost answers
//!
//! A try whose predecessor may have been carried out asks the store first, so that nothing is sent
//! twice that is already there, and nothing is deleted that was never ours.
//!
//! # Bounds
//!
//! Bytes in memory are at most `memory`, for any mix of sizes; a file or part waits for its share
//! before it is read.

mod multipart;
mod port;
mod s3;
mod source;

pub use port::{ObjectHead, ObjectStore, StoredObject, StoredPart};
pub use s3::{Payload, S3, S3Settings};

use crate::model::{
    Effort, Epoch, Failure, FailureClass, KeyPrefix, Mirrored, ObjectKey, Operation, Outcome,
    RelPath, Version,
};
use crate::queue::Lease;
use crate::root::Root;
use source::{Piece, Source};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Memory is shared out in units of this, so that a semaphore can count it.
const MEMORY_UNIT: u64 = 4096;

/// How objects are made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What stands before every key.
    pub prefix: KeyPrefix,
    /// Files above this are sent in parts, bytes.
    pub multipart_threshold: u64,
    /// Size of a part, bytes; grows where 10,000 of them would not do.
    pub multipart_part_size: u64,
    /// Bytes of files in memory at once.
    pub memory: u64,
}

/// Where multipart uploads are noted, so that none is left behind by a crash.
pub trait UploadJournal: Send + Sync + 'static {
    /// Answers when it is on disk that the upload was begun.
    fn begun(&self, upload_id: &str, key: &str) -> impl Future<Output = ()> + Send;
    /// The upload was completed or aborted.
    fn ended(&self, upload_id: &str) -> impl Future<Output = ()> + Send;
}

/// Carries operations out. One for the whole daemon.
#[derive(Debug)]
pub struct Transfer<S, J> {
    root: Arc<Root>,
    store: S,
    journal: J,
    settings: Settings,
    memory: Semaphore,
}

/// What a try is about.
#[derive(Debug)]
struct Put<'a> {
    path: &'a RelPath,
    key: ObjectKey,
    version: Version,
    /// What the record says is there.
    mirrored: Option<&'a Mirrored>,
    /// What an earlier try may have left there.
    sent_before: Option<Version>,
    epoch: Epoch,
}

impl<S: ObjectStore, J: UploadJournal> Transfer<S, J> {
    /// A transfer from `root` to `store`.
    #[must_use]
    pub fn new(root: Arc<Root>, store: S, journal: J, settings: Settings) -> Self {
        let memory = Semaphore::new(units(settings.memory));
        Self { root, store, journal, settings, memory }
    }

    /// Tries once what the lease permits. `mirrored` is what the record says of the path.
    pub async fn run(&self, lease: &Lease, mirrored: Option<&Mirrored>, epoch: Epoch) -> Outcome {
        let path = &lease.pending.path;
        let key = match self.settings.prefix.key(path) {
            Ok(key) => key,
            Err(error) => return unnameable(&error.to_string()),
        };
        let (version, sent_before) = (lease.pending.version, lease.sent_before);
        let result = match lease.pending.operation {
            Operation::Put => {
                let put = Put { path, key, version, mirrored, sent_before, epoch };
                self.put(put).await
            }
            Operation::Delete => self.delete(&key, mirrored).await,
        };
        result.unwrap_or_else(|outcome| outcome)
    }

    /// Aborts an upload of an earlier run.
    ///
    /// # Errors
    ///
    /// If the store does not do it; it stays noted.
    pub async fn abort(&self, upload_id: &str, key: &str) -> Result<(), Failure> {
        self.store.abort_upload(key, upload_id).await?;
        self.journal.ended(upload_id).await;
        Ok(())
    }

    async fn put(&self, put: Put<'_>) -> Result<Outcome, Outcome> {
        if put.version.size > self.settings.multipart_threshold {
            return self.put_in_parts(put).await;
        }
        let _share = self.share(put.version.size).await;
        let (root, path, version) = (Arc::clone(&self.root), put.path.clone(), put.version);
        let (source, piece, racy) = blocking(move || {
            let source = Source::open(&root, &path, version)?;
            let racy = source.fingerprint().is_racy(unix_nanos());
            let length = usize::try_from(version.size).unwrap_or(usize::MAX);
            let piece = source.read(0, length)?;
            source.confirm()?;
            Ok((source, piece, racy))
        })
        .await?;
        let mirrored = |etag: Option<String>| Mirrored {
            fingerprint: *source.fingerprint(),
            crc64nvme: piece.crc64nvme,
            etag,
            racy,
            epoch: put.epoch,
        };
        if let Some((etag, effort)) = self.already_there(&put, piece.crc64nvme).await? {
            return Ok(Outcome::Mirrored(mirrored(etag), effort));
        }
        let object = object_head(&put, &source);
        let Piece { bytes, crc64nvme } = &piece;
        let stored = self.store.put(&object, bytes.clone(), *crc64nvme).await;
        let stored = stored.map_err(Outcome::Failed)?;
        check(&stored, *crc64nvme)?;
        Ok(Outcome::Mirrored(mirrored(stored.etag), Effort::Sent))
    }

    /// Whether these bytes need not be sent, with the object's entity tag.
    async fn already_there(
        &self,
        put: &Put<'_>,
        crc64nvme: u64,
    ) -> Result<Option<(Option<String>, Effort)>, Outcome> {
        if let Some(sent_before) = put.sent_before {
            // The record says nothing any more: the earlier try may have replaced what it names.
            if sent_before != put.version {
                return Ok(None);
            }
            let found = self.store.head(&put.key).await.map_err(Outcome::Failed)?;
            let same = |object: &StoredObject| {
                object.version == Some(put.version)
                    && object.crc64nvme.is_none_or(|there| there == crc64nvme)
            };
            return Ok(found.filter(same).map(|object| (object.etag, Effort::Found)));
        }
        let unchanged = put.mirrored.filter(|mirrored| {
            mirrored.fingerprint.size == put.version.size && mirrored.crc64nvme == crc64nvme
        });
        Ok(unchanged.map(|mirrored| (mirrored.etag.clone(), Effort::Unchanged)))
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        mirrored: Option<&Mirrored>,
    ) -> Result<Outcome, Outcome> {
        if mirrored.is_none() {
            // A put of ours may have made it and never been answered, one of several even.
            let found = self.store.head(key).await.map_err(Outcome::Failed)?;
            if !found.is_some_and(|object| object.ours) {
                return Ok(Outcome::Deleted);
            }
        }
        self.store.delete(key).await.map_err(Outcome::Failed)?;
        Ok(Outcome::Deleted)
    }

    /// Waits for room for `size` bytes; a file larger than all the room gets all of it.
    async fn share(&self, size: u64) -> Option<SemaphorePermit<'_>> {
        let units = units(size.clamp(1, self.settings.memory));
        // The semaphore is never closed, so this is always some.
        self.memory.acquire_many(u32::try_from(units).unwrap_or(u32::MAX)).await.ok()
    }
}

fn units(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(MEMORY_UNIT)).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

fn object_head(put: &Put<'_>, source: &Source) -> ObjectHead {
    ObjectHead {
        key: put.key.clone(),
        version: put.version,
        mode: source.fingerprint().mode,
        content_type: content_type(put.path),
    }
}

/// Guessed by the name's extension, as every peer does.
fn content_type(path: &RelPath) -> &'static str {
    mime_guess::from_path(path.as_path()).first_raw().unwrap_or("application/octet-stream")
}

/// The store's own checksum of what it has must be ours.
fn check(stored: &StoredObject, crc64nvme: u64) -> Result<(), Outcome> {
    if stored.crc64nvme.is_none_or(|there| there == crc64nvme) {
        return Ok(());
    }
    Err(Outcome::Failed(Failure {
        class: FailureClass::Object,
        code: "checksum-mismatch".into(),
        message: "the store answered with another checksum than was sent".into(),
        answer_lost: true,
    }))
}

fn unnameable(message: &str) -> Outcome {
    Outcome::Failed(Failure {
        class: FailureClass::File,
        code: "name".into(),
        message: message.into(),
        answer_lost: false,
    })
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Outcome> + Send + 'static,
) -> Result<T, Outcome> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Outcome::Failed(Failure {
            class: FailureClass::Object,
            code: "panic".into(),
            message: error.to_string(),
            answer_lost: false,
        })),
    }
}

/// Now, for the comparison with the file system's time stamps.
#[allow(clippy::disallowed_methods, reason = "an adapter: the read happens now")]
fn unix_nanos() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}
