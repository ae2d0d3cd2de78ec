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
//! twice that is already there, and nothing is deleted that was never ours. What may have been carried
//! out is a matter of all requests of a try: see `bucket`.
//!
//! # Renames
//!
//! A file known under another name is copied within S3, if the bytes read are those of the object
//! record and the object is still the one it names. In any doubt the file is sent.
//!
//! # Bounds
//!
//! Bytes in memory are at most `memory`, for any mix of sizes; a file or part waits for its share
//! before it is read, and then for one of a few readers. Requests under way, and bytes a second, are bounded
//! around the store.

mod adopt;
mod bucket;
mod candidate;
mod capabilities;
mod condition_support;
mod conflict;
mod copy;
mod delete;
mod dry_run;
mod entity_tag;
mod fetch;
mod file_reader;
mod instrumented;
mod listing;
mod memory;
mod multipart;
mod object_store;
mod objects;
mod overlap;
mod pace;
mod read_pool;
mod reapply;
mod records;
mod s3;
mod takeover;

pub use capabilities::CapabilityProbe;
pub use condition_support::ConditionSupport;
pub use dry_run::{DryRun, is_rehearsed};
pub use fetch::{ContentCheck, FetchError, Fetcher, ObjectBytes, ObjectRef};
pub use file_reader::{FILE_GONE, checksum_of};
pub use instrumented::{Instrumented, ObservedRequest, RequestObserver};
pub use listing::ListingProgress;
pub use multipart::largest_file;
pub use object_store::{
    ObjectRequest, ObjectStore, ObservedAnswer, StoreAnswer, StoreResponse, UploadRef,
};
pub use objects::{
    DeleteRequest, DeleteResult, FileOwner, ListedObject, ListedVersion, ObjectMetadata, Page,
    StoredObject, VersionPage, VersionPosition, WriteResult,
};
pub use overlap::OverlapReview;
pub use pace::PaceSettings;
/// Requests that may be under way at the start, and where their number does not follow the store.
pub use pace::START as CONCURRENCY_AT_START;
pub use records::{BucketRecords, last_probe};
pub use s3::{EndpointKind, InspectedObject, ObjectFacts, Payload, S3, S3Settings};

use crate::exclusivity::DeleteGuard;
use crate::model::{
    AttemptOutcome, Failure, FailureClass, KeyPrefix, ObjectKey, ObjectRecord, Operation, Outcome,
    OverlapSign, RelPath, RootGeneration, Shard, UnixMillis, UploadDisposition, UploadRecord,
    Version,
};
use crate::queue::Attempt;
use crate::root::{Root, now_ns};
use crate::rules::Rules;
use adopt::PreparedRecords;
use bucket::{AttemptWrites, BucketStore};
use condition_support::Conditions;
use file_reader::{FileSource, Piece};
use memory::{MemoryPurpose, TransferMemory, memory_of_parts};
use read_pool::ReaderPool;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Why a file is left that no parts are large enough for.
pub const TOO_LARGE: &str = "too-large";
/// How far the store's clock may be behind ours.
const CLOCK_SKEW_MS: UnixMillis = 300_000;
/// How objects are made.
#[derive(Debug, Clone)]
pub struct TransferSettings {
    /// What stands before every key.
    pub prefix: KeyPrefix,
    /// Files above this are sent in parts, bytes.
    pub multipart_threshold: u64,
    /// Size of a part, bytes; grows where 10,000 of them would not do.
    pub multipart_part_size: u64,
    /// Bytes of files in memory at once.
    pub memory: u64,
    /// Objects above this are copied in parts, bytes.
    pub copy_threshold: u64,
    /// Size of such a part, bytes.
    pub copy_part_size: u64,
    /// How hard the store is worked.
    pub pace: PaceSettings,
    /// Whether it is known what was in the bucket when the record was new.
    pub listed: bool,
    /// What an attempt has to know of the objects before it: which are this process's.
    pub share: Shard,
    /// Distinguishes the watched directory from any other one.
    pub source: Arc<str>,
    /// Whether objects that others made from this directory are taken over from them, files or none.
    pub takeover_pending: bool,
    /// The watched directory, counted.
    pub epoch: RootGeneration,
    /// What suggested another writer before the start, if the bucket was not compared since.
    pub overlap: OverlapSign,
    /// How to probe what the store can do, if that is configured.
    pub probe: Option<CapabilityProbe>,
    /// What is known of the store's conditions; a probe may find it out later. `None` if none are sent.
    pub conditions: Option<ConditionSupport>,
    /// What objects look like.
    pub rules: Arc<Rules>,
    /// Whether objects that are there are made to look like that, too.
    pub reapply_rules: bool,
    /// Whether another time or mode of a file changes its object.
    pub refresh_metadata: bool,
    /// Whether anything may be deleted.
    pub writer: Arc<DeleteGuard>,
    /// How old the last change of a file has to be that was queued before the start: since then, no
    /// event has shown whether it is being written.
    pub rest: Duration,
}

/// Carries operations out. One for the whole daemon.
#[derive(Debug)]
pub struct Transfer<S> {
    root: Arc<Root>,
    store: BucketStore<S>,
    records: BucketRecords,
    settings: TransferSettings,
    memory: TransferMemory,
    readers: ReaderPool,
    prepared: tokio::sync::Mutex<PreparedRecords>,
    conditions: Conditions,
    /// The bucket was listed, so that what the record does not know of is not there.
    knows_absence: AtomicBool,
    /// What the store says of an object is not what it compares.
    lacks_conditions: AtomicBool,
    /// Another writer was noticed, and the bucket has to be compared with the records.
    overlap: overlap::ComparisonNeed,
}

/// What the record says that a try has to know.
#[derive(Debug, Clone, Default)]
pub struct AttemptRecord {
    /// Of the path itself.
    pub mirrored: Option<ObjectRecord>,
    /// Of the path the file had before.
    pub rename_source: Option<ObjectRecord>,
    /// Size of an object that was there when the record was new.
    pub listed: Option<u64>,
    /// A multipart upload that an earlier try began and did not end.
    pub upload: Option<UploadRecord>,
    /// The watched directory of now.
    pub epoch: RootGeneration,
}

/// What a try is about.
#[derive(Debug)]
struct PutRequest<'a> {
    lease: &'a Attempt,
    key: ObjectKey,
    known: &'a AttemptRecord,
    writes: AttemptWrites,
    /// What was at the key when this attempt compared it, until a condition was made of it.
    compared: Mutex<Option<Option<StoredObject>>>,
    /// When the upload in parts was begun that this attempt may have left open, Unix milliseconds; 0
    /// if there is none.
    left_open: AtomicU64,
}

impl PutRequest<'_> {
    /// What is at the key was compared with the file.
    fn set_compared(&self, found: Option<StoredObject>) {
        *self.compared.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }

    /// What was compared, once.
    fn take_compared(&self) -> Option<Option<StoredObject>> {
        self.compared.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn path(&self) -> &RelPath {
        &self.lease.pending.path
    }

    fn version(&self) -> Version {
        self.lease.pending.version
    }
}

/// A file that was read as a whole, and the state it was in.
#[derive(Debug)]
struct ReadFile {
    source: FileSource,
    piece: Piece,
    racy: bool,
}

/// What came of reading a file before its try.
#[derive(Debug)]
pub struct ReadAhead(Result<ReadFile, Outcome>);

impl<S: ObjectStore> Transfer<S> {
    /// A transfer from `root` to `store`.
    ///
    /// # Errors
    ///
    /// If the system refuses what its readers need.
    pub fn new(
        root: Arc<Root>,
        store: S,
        records: BucketRecords,
        settings: TransferSettings,
    ) -> io::Result<Self> {
        let memory = TransferMemory::new(settings.memory, settings.multipart_part_size);
        let prepared = tokio::sync::Mutex::new(PreparedRecords::new(settings.listed));
        let conditions = Conditions::new(settings.conditions);
        let overlap = overlap::ComparisonNeed::new(settings.overlap);
        let knows_absence = AtomicBool::new(settings.listed);
        let store = BucketStore::new(store, settings.pace.clone());
        let readers = ReaderPool::new(store.current_limit())?;
        Ok(Self {
            root,
            store,
            records,
            settings,
            memory,
            readers,
            prepared,
            conditions,
            knows_absence,
            lacks_conditions: AtomicBool::new(false),
            overlap,
        })
    }

    /// How many requests may be under way at present.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.store.current_limit().get()
    }

    /// Reads the file of a single small put, while its row is still on the way to the disk. Nothing is
    /// asked of the store.
    pub async fn read_ahead(&self, leases: &[Attempt]) -> Option<ReadAhead> {
        let [lease] = leases else { return None };
        if !self.is_prepared() {
            return None;
        }
        let size = lease.pending.version.size;
        let whole = size <= self.settings.multipart_threshold;
        if lease.pending.operation != Operation::Put || !whole {
            return None;
        }
        Some(ReadAhead(self.read_whole(lease).await))
    }

    /// Tries once to put the file the lease permits, of which it may have been read already what there is
    /// to read.
    pub async fn send(
        &self,
        lease: &Attempt,
        known: &AttemptRecord,
        read: Option<ReadAhead>,
    ) -> AttemptOutcome {
        let key = match self.settings.prefix.key(&lease.pending.path) {
            Ok(key) => key,
            Err(error) => return AttemptOutcome::without_a_write(unnameable(&error.to_string())),
        };
        let put = PutRequest {
            lease,
            key,
            known,
            writes: AttemptWrites::default(),
            compared: Mutex::default(),
            left_open: AtomicU64::new(0),
        };
        let result = match put.version().size > self.settings.multipart_threshold {
            true => self.put_in_parts(&put).await,
            false => self.put_whole(&put, read).await,
        };
        let outcome = result.unwrap_or_else(|outcome| outcome);
        AttemptOutcome { outcome, written: put.writes.written() }
    }

    /// Aborts the upload of an earlier attempt. One whose id was never learned is looked for by its key;
    /// uploads that began for the key before ours are foreign.
    ///
    /// # Errors
    ///
    /// If the store does not do it; it stays noted.
    pub async fn abandon(&self, note: &UploadRecord) -> Result<(), Failure> {
        if let Ok(key) = self.settings.prefix.key(&note.path) {
            let found = match &note.upload_id {
                Some(id) => vec![(id.clone(), note.begun)],
                None => self.store.uploads(&key).await?,
            };
            for (id, begun) in found {
                if begun + CLOCK_SKEW_MS >= note.begun {
                    self.store.abort_upload(UploadRef { key: &key, id: &id }).await?;
                }
            }
        }
        self.records.record_upload_end(&note.path, note.upload_id.as_deref()).await;
        Ok(())
    }

    async fn read_whole(&self, lease: &Attempt) -> Result<ReadFile, Outcome> {
        let buffer = self.memory.buffer(lease.pending.version.size, MemoryPurpose::File).await;
        let open = self.opener(lease);
        let read = move || {
            let (source, racy) = open()?;
            let piece = source.read(0, buffer)?;
            source.confirm()?;
            Ok(ReadFile { source, piece, racy })
        };
        self.readers.run(MemoryPurpose::File, read).await
    }

    async fn put_whole(
        &self,
        put: &PutRequest<'_>,
        read: Option<ReadAhead>,
    ) -> Result<Outcome, Outcome> {
        if let Some(note) = &put.known.upload {
            self.abandon(note).await.map_err(Outcome::Failed)?;
        }
        let read = match read {
            Some(ReadAhead(read)) => read,
            None => self.read_whole(put.lease).await,
        };
        let ReadFile { source, piece: Piece { bytes, crc64nvme }, racy } = read?;
        let object = self.object_head(put, &source);
        let outcome = |etag, effort| {
            outcome(put, &source, &object, racy, PutResult { crc64nvme, etag, effort })
        };
        let there = match self.candidate(put).await? {
            Some(there) => self.accepted(there, crc64nvme, &bytes).await?,
            None => None,
        };
        if let Some(there) = there
            && let Some((etag, effort)) = self.reapplied(put, &object, crc64nvme, there).await?
        {
            return Ok(outcome(etag, effort));
        }
        if let Some(stored) = self.copy(put, &object, crc64nvme).await? {
            return Ok(outcome(stored.etag, UploadDisposition::Copied));
        }
        let stored = self.put_object(put, &object, bytes, crc64nvme).await?;
        check(&stored, crc64nvme)?;
        Ok(outcome(stored.etag, UploadDisposition::Sent))
    }

    /// What opens the file, and says whether a write in this very moment would go unseen.
    fn opener(
        &self,
        lease: &Attempt,
    ) -> impl FnOnce() -> Result<(FileSource, bool), Outcome> + Send + use<S> {
        let path = lease.pending.path.clone();
        let version = lease.pending.version;
        let root = Arc::clone(&self.root);
        // Of one that was queued before the start.
        let rest = (lease.queued == 0).then_some(self.settings.rest);
        let with_owner = self.settings.rules.have_owners();
        move || {
            let mut source = FileSource::open(&root, &path, version)?;
            if with_owner {
                source.read_owner()?;
            }
            let now = now_ns();
            if rest.is_some_and(|rest| source.fingerprint().age(now) < rest) {
                return Err(Outcome::LookAgain("it may be open, and was queued before the start"));
            }
            let racy = source.fingerprint().is_racy(now);
            Ok((source, racy))
        }
    }

    /// Whether a try would send the file whatever its bytes are, and without a question to the store:
    /// there is no object that could be it, and none to make it from.
    #[must_use]
    pub fn must_upload(lease: &Attempt, known: &AttemptRecord) -> bool {
        let size = lease.pending.version.size;
        let recorded =
            known.mirrored.as_ref().is_some_and(|mirrored| mirrored.fingerprint.size == size);
        let listed = known.mirrored.is_none() && known.listed == Some(size);
        let copied = lease.pending.copy_from.is_some();
        lease.sent_before.is_none() && !copied && !recorded && !listed
    }

    fn object_head(&self, put: &PutRequest<'_>, source: &FileSource) -> ObjectMetadata {
        ObjectMetadata {
            key: put.key.clone(),
            version: put.version(),
            mode: source.fingerprint().mode,
            file_owner: source.owner(),
            head: self.settings.rules.head(put.path()),
            source: Arc::clone(&self.settings.source),
            replaces_tags: self.settings.rules.have_tags() || self.settings.reapply_rules,
        }
    }
}

/// How an object came about, or turned out to be there.
struct PutResult {
    crc64nvme: u64,
    etag: Option<String>,
    effort: UploadDisposition,
}

fn outcome(
    put: &PutRequest<'_>,
    source: &FileSource,
    object: &ObjectMetadata,
    racy: bool,
    made: PutResult,
) -> Outcome {
    let PutResult { crc64nvme, etag, effort } = made;
    let head = head_after(put, object, effort);
    let fingerprint = *source.fingerprint();
    let epoch = put.known.epoch;
    Outcome::Mirrored(ObjectRecord { fingerprint, crc64nvme, etag, racy, epoch, head }, effort)
}

/// The object attributes for the state: an object that was left as it is keeps those it had, and
/// those of a found object are unknown.
fn head_after(
    put: &PutRequest<'_>,
    object: &ObjectMetadata,
    effort: UploadDisposition,
) -> Option<u64> {
    match effort {
        UploadDisposition::Sent | UploadDisposition::Copied => Some(object.head.digest()),
        UploadDisposition::Unchanged => {
            put.known.mirrored.as_ref().and_then(|mirrored| mirrored.head)
        }
        UploadDisposition::Found => None,
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
        retry_after_ms: None,
    }))
}

fn unnameable(message: &str) -> Outcome {
    Outcome::Failed(Failure {
        class: FailureClass::File,
        code: "name".into(),
        message: message.into(),
        answer_lost: false,
        retry_after_ms: None,
    })
}

#[cfg(test)]
mod tests;
