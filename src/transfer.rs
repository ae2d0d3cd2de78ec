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
//! before it is read, and then for one of a few readers. Requests under way, and bytes a second, are bounded
//! around the store.

mod adopt;
mod copy;
mod delete;
mod memory;
mod metered;
mod multipart;
mod pace;
mod port;
mod probe;
mod readers;
mod reapply;
mod rehearsed;
mod s3;
mod source;

pub use metered::{Answer, Metered, Request, RequestObserver};
pub use pace::PaceSettings;
pub use port::{Condemned, Deleted, ListedObject, ObjectHead, ObjectStore, Page, StoredObject};
pub use probe::Probe;
pub use rehearsed::{Rehearsed, is_rehearsed};
pub use s3::{Inspected, Payload, S3, S3Settings};
pub use source::checksum_of;

use crate::model::{
    Effort, Epoch, Failure, FailureClass, KeyPrefix, Mirrored, ObjectKey, Operation, Outcome,
    RelPath, Share, StoredPart, UnixMillis, UploadNote, UploadPlan, Version,
};
use crate::queue::Lease;
use crate::root::{Root, now_ns};
use crate::rules::Rules;
use crate::writer::OneWriter;
use adopt::Prepared;
use memory::{Memory, Purpose};
use pace::Paced;
use readers::Readers;
use source::{Piece, Source};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Mutex;

/// How far the store's clock may be behind ours.
const CLOCK_SKEW_MS: UnixMillis = 300_000;
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
    /// Objects above this are copied in parts, bytes.
    pub copy_threshold: u64,
    /// Size of such a part, bytes.
    pub copy_part_size: u64,
    /// How hard the store is worked.
    pub pace: PaceSettings,
    /// Whether it is known what was in the bucket when the record was new.
    pub listed: bool,
    /// What is to be known of what was there: what is this process's.
    pub share: Share,
    /// Tells the watched directory from any other one.
    pub source: Arc<str>,
    /// Whether objects that others made from this directory are taken over from them, files or none.
    pub heir: Option<Epoch>,
    /// How to ask the store what it can do, if it is to be asked.
    pub probe: Option<Probe>,
    /// Whether an object is looked at before it is deleted: the store turned out not to know conditions.
    pub looks_before_delete: bool,
    /// What objects look like.
    pub rules: Arc<Rules>,
    /// Whether objects that are there are made to look like that, too.
    pub reapply_rules: bool,
    /// Whether anything may be deleted.
    pub writer: Arc<OneWriter>,
    /// How old the last change of a file has to be that was queued before the start: nobody has seen
    /// since whether it is being written.
    pub rest: Duration,
}

/// Where it is noted what the bucket may hold: multipart uploads, so that none is left behind by a
/// crash and large ones go on, and what was there when the record was new.
pub trait Journal: Send + Sync + 'static {
    /// Answers when it is on disk that an upload is about to begin, or, with its id, has begun.
    fn begun(
        &self,
        path: &RelPath,
        plan: &UploadPlan,
        upload_id: Option<&str>,
    ) -> impl Future<Output = ()> + Send;
    /// Answers when it is on disk that the store has this part of the path's upload.
    fn stored(&self, path: &RelPath, part: &StoredPart) -> impl Future<Output = ()> + Send;
    /// The upload was completed or aborted.
    fn ended(&self, path: &RelPath, upload_id: Option<&str>) -> impl Future<Output = ()> + Send;
    /// Answers when it is on disk that the bucket has objects of these sizes and entity tags; to an
    /// heir with those that are not recorded.
    fn listed(
        &self,
        objects: Vec<(RelPath, u64, Option<String>)>,
    ) -> impl Future<Output = Vec<RelPath>> + Send;
    /// Answers when it is on disk that these objects are of files that are gone, unless they are
    /// recorded.
    fn inherited(&self, objects: Vec<(RelPath, Mirrored)>) -> impl Future<Output = ()> + Send;
    /// Answers when it is on disk that the bucket has nothing else, if it was listed to its end, or that
    /// it cannot be listed.
    fn listing_ended(&self, complete: bool) -> impl Future<Output = ()> + Send;
    /// Which of these objects are neither recorded nor known to be somebody else's.
    fn unrecorded(
        &self,
        objects: Vec<(RelPath, u64, Option<String>)>,
    ) -> impl Future<Output = Vec<RelPath>> + Send;
    /// Answers when it is on disk that nothing of another shard is to be looked for any more.
    fn heir_no_more(&self) -> impl Future<Output = ()> + Send;
    /// Answers when it is on disk that the store was asked what it can do, and whether it knows conditions
    /// on deletes.
    fn probed(&self, note: &str, conditions: bool) -> impl Future<Output = ()> + Send;
}

/// Carries operations out. One for the whole daemon.
#[derive(Debug)]
pub struct Transfer<S, J> {
    root: Arc<Root>,
    store: Paced<S>,
    journal: J,
    settings: Settings,
    memory: Memory,
    readers: Readers,
    prepared: Mutex<Prepared>,
    looks_before_delete: AtomicBool,
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

/// A file that was read as a whole, and the state it was in.
#[derive(Debug)]
struct Read {
    source: Source,
    piece: Piece,
    racy: bool,
}

/// What came of reading a file before its try.
#[derive(Debug)]
pub struct ReadAhead(Result<Read, Outcome>);

impl<S: ObjectStore, J: Journal> Transfer<S, J> {
    /// A transfer from `root` to `store`.
    ///
    /// # Errors
    ///
    /// If the system refuses what its readers need.
    pub fn new(root: Arc<Root>, store: S, journal: J, settings: Settings) -> io::Result<Self> {
        let memory = Memory::new(settings.memory, settings.multipart_part_size);
        let readers = Readers::new(settings.pace.requests)?;
        let prepared = Mutex::new(Prepared::new(settings.listed));
        let looks_before_delete = AtomicBool::new(settings.looks_before_delete);
        let store = Paced::new(store, settings.pace);
        Ok(Self { root, store, journal, settings, memory, readers, prepared, looks_before_delete })
    }

    /// Reads the file of a single small put, while its row is still on the way to the disk. Nothing is
    /// asked of the store.
    pub async fn read_ahead(&self, leases: &[Lease]) -> Option<ReadAhead> {
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
    pub async fn send(&self, lease: &Lease, known: &Known, read: Option<ReadAhead>) -> Outcome {
        let key = match self.settings.prefix.key(&lease.pending.path) {
            Ok(key) => key,
            Err(error) => return unnameable(&error.to_string()),
        };
        let put = Put { lease, key, known };
        let result = match put.version().size > self.settings.multipart_threshold {
            true => self.put_in_parts(&put).await,
            false => self.put_whole(&put, read).await,
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
        self.journal.ended(&note.path, note.upload_id.as_deref()).await;
        Ok(())
    }

    async fn read_whole(&self, lease: &Lease) -> Result<Read, Outcome> {
        let buffer = self.memory.buffer(lease.pending.version.size, Purpose::File).await;
        let open = self.opener(lease);
        let read = move || {
            let (source, racy) = open()?;
            let piece = source.read(0, buffer)?;
            source.confirm()?;
            Ok(Read { source, piece, racy })
        };
        self.readers.run(Purpose::File, read).await
    }

    async fn put_whole(&self, put: &Put<'_>, read: Option<ReadAhead>) -> Result<Outcome, Outcome> {
        if let Some(note) = &put.known.upload {
            self.abandon(note).await.map_err(Outcome::Failed)?;
        }
        let read = match read {
            Some(ReadAhead(read)) => read,
            None => self.read_whole(put.lease).await,
        };
        let Read { source, piece: Piece { bytes, crc64nvme }, racy } = read?;
        let object = self.object_head(put, &source);
        let outcome =
            |etag, effort| outcome(put, &source, &object, racy, Made { crc64nvme, etag, effort });
        let there = self.candidate(put).await?.and_then(|there| there.accepted(crc64nvme));
        if let Some(there) = there
            && let Some((etag, effort)) = self.reapplied(put, &object, crc64nvme, there).await?
        {
            return Ok(outcome(etag, effort));
        }
        if let Some(stored) = self.copy(put, &object, crc64nvme).await? {
            return Ok(outcome(stored.etag, Effort::Copied));
        }
        let stored = self.store.put(&object, bytes, crc64nvme).await.map_err(Outcome::Failed)?;
        check(&stored, crc64nvme)?;
        Ok(outcome(stored.etag, Effort::Sent))
    }

    /// What opens the file, and says whether a write in this very moment would go unseen.
    fn opener(
        &self,
        lease: &Lease,
    ) -> impl FnOnce() -> Result<(Source, bool), Outcome> + Send + use<S, J> {
        let (path, version) = (lease.pending.path.clone(), lease.pending.version);
        let root = Arc::clone(&self.root);
        // Of one that was queued before the start.
        let rest = (lease.queued == 0).then_some(self.settings.rest);
        move || {
            let source = Source::open(&root, &path, version)?;
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
    pub fn sends_for_sure(lease: &Lease, known: &Known) -> bool {
        let size = lease.pending.version.size;
        let recorded =
            known.mirrored.as_ref().is_some_and(|mirrored| mirrored.fingerprint.size == size);
        let listed = known.mirrored.is_none() && known.listed == Some(size);
        let copied = lease.pending.copy_from.is_some();
        lease.sent_before.is_none() && !copied && !recorded && !listed
    }

    /// An object that is the file already, if the bytes agree. Asks the store where the record does
    /// not know.
    async fn candidate(&self, put: &Put<'_>) -> Result<Option<Candidate>, Outcome> {
        let wanted = put.version();
        if let Some(sent_before) = put.lease.sent_before {
            // The record says nothing any more: the earlier try may have replaced what it names.
            if sent_before != wanted {
                return Ok(None);
            }
            let found = self.store.head(&put.key).await.map_err(Outcome::Failed)?;
            let same = |object: &StoredObject| object.ours && object.version == Some(wanted);
            return Ok(found.filter(same).map(Candidate::Stored));
        }
        if let Some(mirrored) = &put.known.mirrored {
            let same = mirrored.fingerprint.size == wanted.size;
            return Ok(same.then(|| Candidate::Recorded(mirrored.clone())));
        }
        if put.known.listed != Some(wanted.size) {
            return Ok(None);
        }
        // The record was lost, or is new: an object that is the file is taken over.
        let found = self.store.head(&put.key).await.map_err(Outcome::Failed)?;
        let same =
            |object: &StoredObject| object.crc64nvme.is_some() || object.version == Some(wanted);
        Ok(found.filter(same).map(Candidate::Stored))
    }

    fn object_head(&self, put: &Put<'_>, source: &Source) -> ObjectHead {
        ObjectHead {
            key: put.key.clone(),
            version: put.version(),
            mode: source.fingerprint().mode,
            head: self.settings.rules.head(put.path()),
            source: Arc::clone(&self.settings.source),
            replaces_tags: self.settings.rules.have_tags() || self.settings.reapply_rules,
        }
    }
}

/// An object that may be the file already.
#[derive(Debug)]
enum Candidate {
    /// As the record says.
    Recorded(Mirrored),
    /// As the store says.
    Stored(StoredObject),
}

impl Candidate {
    /// Its entity tag, if it has the bytes of this checksum.
    fn accepted(self, crc64nvme: u64) -> Option<(Option<String>, Effort)> {
        match self {
            Self::Recorded(mirrored) => {
                (mirrored.crc64nvme == crc64nvme).then_some((mirrored.etag, Effort::Unchanged))
            }
            Self::Stored(object) => object
                .crc64nvme
                .is_none_or(|there| there == crc64nvme)
                .then_some((object.etag, Effort::Found)),
        }
    }
}

/// How an object came about, or turned out to be there.
struct Made {
    crc64nvme: u64,
    etag: Option<String>,
    effort: Effort,
}

fn outcome(put: &Put<'_>, source: &Source, object: &ObjectHead, racy: bool, made: Made) -> Outcome {
    let Made { crc64nvme, etag, effort } = made;
    let head = head_after(put, object, effort);
    let fingerprint = *source.fingerprint();
    let epoch = put.known.epoch;
    Outcome::Mirrored(Mirrored { fingerprint, crc64nvme, etag, racy, epoch, head }, effort)
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

fn unnameable(message: &str) -> Outcome {
    Outcome::Failed(Failure {
        class: FailureClass::File,
        code: "name".into(),
        message: message.into(),
        answer_lost: false,
    })
}

#[cfg(test)]
mod tests;
