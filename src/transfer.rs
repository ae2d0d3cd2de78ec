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
//! # Renames
//!
//! A file known under another name is copied within S3, if the bytes read are those the record tells
//! of and the object is still the one it names. In any doubt the file is sent.
//!
//! # Bounds
//!
//! Bytes in memory are at most `memory`, for any mix of sizes; a file or part waits for its share
//! before it is read.

mod adopt;
mod metered;
mod multipart;
mod port;
mod s3;
mod source;

pub use metered::{Metered, Request, RequestObserver};
pub use port::{Deleted, ObjectHead, ObjectStore, Page, StoredObject, StoredPart};
pub use s3::{Payload, S3, S3Settings};

use crate::model::{
    Effort, Epoch, Failure, FailureClass, KeyPrefix, Mirrored, ObjectKey, Operation, Outcome,
    RelPath, UnixMillis, UploadNote, Version,
};
use crate::queue::Lease;
use crate::root::{Kind, LookError, Obstacle, Root};
use crate::rules::Rules;
use source::{Piece, Source};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};

/// What S3 copies in one request.
const COPY_BYTES_MAX: u64 = 5 << 30;
/// How far the store's clock may be behind ours.
const CLOCK_SKEW_MS: UnixMillis = 300_000;
/// Looks, a few seconds apart in all, before an object whose upload was never answered is held to be
/// absent for good.
const UNANSWERED_LOOKS: u32 = 4;
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
    /// Whether it is known what was in the bucket when the record was new.
    pub listed: bool,
    /// What objects look like.
    pub rules: Arc<Rules>,
}

/// Where it is noted what the bucket may hold: multipart uploads, so that none is left behind by a
/// crash, and what was there when the record was new.
pub trait Journal: Send + Sync + 'static {
    /// Answers when it is on disk that an upload is about to begin, or, with its id, has begun.
    fn noted(&self, path: &RelPath, upload_id: Option<&str>) -> impl Future<Output = ()> + Send;
    /// The upload was completed or aborted.
    fn ended(&self, path: &RelPath) -> impl Future<Output = ()> + Send;
    /// Answers when it is on disk that the bucket has objects of these sizes.
    fn listed(&self, objects: Vec<(RelPath, u64)>) -> impl Future<Output = ()> + Send;
    /// Answers when it is on disk that the listing is complete.
    fn listing_ended(&self) -> impl Future<Output = ()> + Send;
}

/// Carries operations out. One for the whole daemon.
#[derive(Debug)]
pub struct Transfer<S, J> {
    root: Arc<Root>,
    store: S,
    journal: J,
    settings: Settings,
    memory: Semaphore,
    listed: Mutex<bool>,
}

/// What the record says that a try has to know.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Of the path itself.
    pub mirrored: Option<Mirrored>,
    /// Of the path the file had before.
    pub twin: Option<Mirrored>,
    /// Size of an object that was there when the record was new.
    pub listed: Option<u64>,
    /// A multipart upload that an earlier try began and did not end.
    pub upload: Option<UploadNote>,
    /// The watched directory of now.
    pub epoch: Epoch,
}

/// What a try is about.
#[derive(Debug)]
struct Put<'a> {
    lease: &'a Lease,
    key: ObjectKey,
    known: &'a Known,
}

impl Put<'_> {
    fn path(&self) -> &RelPath {
        &self.lease.pending.path
    }

    fn version(&self) -> Version {
        self.lease.pending.version
    }
}

impl<S: ObjectStore, J: Journal> Transfer<S, J> {
    /// A transfer from `root` to `store`.
    #[must_use]
    pub fn new(root: Arc<Root>, store: S, journal: J, settings: Settings) -> Self {
        let memory = Semaphore::new(units(settings.memory));
        let listed = Mutex::new(settings.listed);
        Self { root, store, journal, settings, memory, listed }
    }

    /// Tries once what the lease permits.
    pub async fn run(&self, lease: &Lease, known: &Known) -> Outcome {
        let key = match self.settings.prefix.key(&lease.pending.path) {
            Ok(key) => key,
            Err(error) => return unnameable(&error.to_string()),
        };
        if let Some(note) = &known.upload
            && let Err(failure) = self.abandon(note).await
        {
            return Outcome::Failed(failure);
        }
        let result = match lease.pending.operation {
            Operation::Put => self.put(Put { lease, key, known }).await,
            Operation::Delete => match self.still_absent(&lease.pending.path).await {
                Ok(()) => self.delete(lease, &key, known.mirrored.as_ref()).await,
                Err(outcome) => Err(outcome),
            },
        };
        result.unwrap_or_else(|outcome| outcome)
    }

    /// Aborts the upload of an earlier try. One whose id was never learned is looked for by its key;
    /// what was begun for the key before we did is somebody else's.
    ///
    /// # Errors
    ///
    /// If the store does not do it; it stays noted.
    pub async fn abandon(&self, note: &UploadNote) -> Result<(), Failure> {
        if let Ok(key) = self.settings.prefix.key(&note.path) {
            let found = match &note.upload_id {
                Some(id) => vec![(id.clone(), note.begun)],
                None => self.store.uploads(&key).await?,
            };
            for (id, begun) in found {
                if begun + CLOCK_SKEW_MS >= note.begun {
                    self.store.abort_upload(&key, &id).await?;
                }
            }
        }
        self.journal.ended(&note.path).await;
        Ok(())
    }

    async fn put(&self, put: Put<'_>) -> Result<Outcome, Outcome> {
        if put.version().size > self.settings.multipart_threshold {
            return self.put_in_parts(put).await;
        }
        let _share = self.share(put.version().size).await;
        let (root, path, version) = (Arc::clone(&self.root), put.path().clone(), put.version());
        let (source, piece, racy) = blocking(move || {
            let source = Source::open(&root, &path, version)?;
            let racy = source.fingerprint().is_racy(unix_nanos());
            let length = usize::try_from(version.size).unwrap_or(usize::MAX);
            let piece = source.read(0, length)?;
            source.confirm()?;
            Ok((source, piece, racy))
        })
        .await?;
        let object = self.object_head(&put, &source);
        let mirrored = |etag: Option<String>, effort| Mirrored {
            fingerprint: *source.fingerprint(),
            crc64nvme: piece.crc64nvme,
            etag,
            racy,
            epoch: put.known.epoch,
            head: head_after(&put, &object, effort),
        };
        if let Some((etag, effort)) = self.already_there(&put, piece.crc64nvme).await? {
            return Ok(Outcome::Mirrored(mirrored(etag, effort), effort));
        }
        if let Some(stored) = self.copy(&put, &object, piece.crc64nvme).await? {
            return Ok(Outcome::Mirrored(mirrored(stored.etag, Effort::Copied), Effort::Copied));
        }
        let Piece { bytes, crc64nvme } = &piece;
        let stored = self.store.put(&object, bytes.clone(), *crc64nvme).await;
        let stored = stored.map_err(Outcome::Failed)?;
        check(&stored, *crc64nvme)?;
        Ok(Outcome::Mirrored(mirrored(stored.etag, Effort::Sent), Effort::Sent))
    }

    /// Whether these bytes need not be sent, with the object's entity tag.
    async fn already_there(
        &self,
        put: &Put<'_>,
        crc64nvme: u64,
    ) -> Result<Option<(Option<String>, Effort)>, Outcome> {
        let wanted = put.version();
        if let Some(sent_before) = put.lease.sent_before {
            // The record says nothing any more: the earlier try may have replaced what it names.
            if sent_before != wanted {
                return Ok(None);
            }
            let found = self.store.head(&put.key).await.map_err(Outcome::Failed)?;
            let same = |object: &StoredObject| {
                object.ours
                    && object.version == Some(wanted)
                    && object.crc64nvme.is_none_or(|there| there == crc64nvme)
            };
            return Ok(found.filter(same).map(|object| (object.etag, Effort::Found)));
        }
        if let Some(mirrored) = &put.known.mirrored {
            let same = mirrored.fingerprint.size == wanted.size && mirrored.crc64nvme == crc64nvme;
            return Ok(same.then(|| (mirrored.etag.clone(), Effort::Unchanged)));
        }
        if put.known.listed != Some(wanted.size) {
            return Ok(None);
        }
        // The record was lost, or is new: an object that is the file is taken over.
        let found = self.store.head(&put.key).await.map_err(Outcome::Failed)?;
        let same = |object: &StoredObject| match object.crc64nvme {
            Some(there) => there == crc64nvme && put.known.listed == Some(wanted.size),
            None => object.version == Some(wanted),
        };
        Ok(found.filter(same).map(|object| (object.etag, Effort::Found)))
    }

    /// Copies the object the file had under its name before, if it has these bytes. `None` where
    /// there is any doubt: the file is sent then.
    async fn copy(
        &self,
        put: &Put<'_>,
        object: &ObjectHead,
        crc64nvme: u64,
    ) -> Result<Option<StoredObject>, Outcome> {
        let (Some(from), Some(twin)) = (&put.lease.pending.copy_from, &put.known.twin) else {
            return Ok(None);
        };
        let size = put.version().size;
        let same = twin.crc64nvme == crc64nvme && twin.fingerprint.size == size;
        let (Ok(from), Some(etag)) = (self.settings.prefix.key(from), &twin.etag) else {
            return Ok(None);
        };
        if !same || size > COPY_BYTES_MAX {
            return Ok(None);
        }
        let stored = match self.store.copy(&from, etag, object).await {
            Ok(stored) => stored,
            // Whoever may not copy may still send; an outage concerns both.
            Err(failure) if failure.class != FailureClass::Unavailable => return Ok(None),
            Err(failure) => return Err(Outcome::Failed(failure)),
        };
        let Some(stored) = stored else { return Ok(None) };
        if stored.crc64nvme.is_some() {
            return Ok(check(&stored, crc64nvme).is_ok().then_some(stored));
        }
        // A store that tells no checksum is asked what it made.
        let made = self.store.head(&put.key).await.map_err(Outcome::Failed)?;
        Ok(made.filter(|made| made.version == Some(put.version())))
    }

    /// A delete may have waited for long, over a restart even. That the file is gone was found out
    /// with all care then; now it is enough that nothing speaks against it.
    async fn still_absent(&self, path: &RelPath) -> Result<(), Outcome> {
        let (root, path) = (Arc::clone(&self.root), path.clone());
        blocking(move || match (root.confirm(), root.look(&path)) {
            (Err(_), _) => Err(Outcome::LookAgain("the watched directory is not what it was")),
            (Ok(()), Ok(stat)) if stat.kind == Kind::File => {
                Err(Outcome::LookAgain("the file is there"))
            }
            (Ok(()), Ok(_) | Err(LookError::Gone | LookError::NotBelow(Obstacle::Link))) => Ok(()),
            (Ok(()), Err(_)) => Err(Outcome::LookAgain("nobody can tell whether it is there")),
        })
        .await
    }

    /// Deletes the object if it is the one that was recorded, or one that a put of ours made and that
    /// was never answered. One that somebody else put in its place is left alone.
    async fn delete(
        &self,
        lease: &Lease,
        key: &ObjectKey,
        mirrored: Option<&Mirrored>,
    ) -> Result<Outcome, Outcome> {
        let recorded = mirrored.filter(|_| lease.sent_before.is_none());
        let etag = match recorded {
            Some(mirrored) => mirrored.etag.clone(),
            None => {
                let found = self.store.head(key).await.map_err(Outcome::Failed)?;
                let etag = mirrored.and_then(|mirrored| mirrored.etag.as_ref());
                let ours = |object: &StoredObject| {
                    object.ours || (etag.is_some() && object.etag.as_ref() == etag)
                };
                match (found, lease.sent_before) {
                    (Some(object), _) if ours(&object) => object.etag,
                    (None, Some(_)) if lease.pending.attempts < UNANSWERED_LOOKS => {
                        return Err(unconfirmed());
                    }
                    _ => return Ok(Outcome::Deleted),
                }
            }
        };
        match self.store.delete(key, etag.as_deref()).await.map_err(Outcome::Failed)? {
            Deleted::Gone => {}
            Deleted::Replaced => tracing::warn!(
                event = "delete.declined",
                aws.s3.key = %key,
                "somebody else has replaced the object; it is left alone and forgotten"
            ),
        }
        Ok(Outcome::Deleted)
    }

    fn object_head(&self, put: &Put<'_>, source: &Source) -> ObjectHead {
        ObjectHead {
            key: put.key.clone(),
            version: put.version(),
            mode: source.fingerprint().mode,
            head: self.settings.rules.head(put.path()),
            replaces_tags: self.settings.rules.have_tags(),
        }
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

/// What the record is to say of the head of an object: an object that was left as it is keeps the
/// one it had, and of one that was found nobody knows.
fn head_after(put: &Put<'_>, object: &ObjectHead, effort: Effort) -> Option<u64> {
    match effort {
        Effort::Sent | Effort::Copied => Some(object.head.digest()),
        Effort::Unchanged => put.known.mirrored.as_ref().and_then(|mirrored| mirrored.head),
        Effort::Found => None,
    }
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

/// A request that was never answered can still be on its way, held up by a network that was silent,
/// and make the object after we saw that there is none.
fn unconfirmed() -> Outcome {
    Outcome::Failed(Failure {
        class: FailureClass::Object,
        code: "unconfirmed".into(),
        message: "an upload that was never answered may still arrive; asked again".into(),
        answer_lost: true,
    })
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
