//! The record and the queue, in one SQLite file in `state_dir`.
//!
//! # What it promises
//!
//! - A change is on disk before its receipt arrives, and all changes of one call are there together.
//! - Changes are written in the order they were handed in, also when some could not be for a while.
//! - Reads see every change that was handed in before them, or are an error.
//! - The file belongs to one daemon: another one that opens it gets an error that says so, while
//!   `sqlite3` may look on.
//! - A record that is damaged, or tells of another bucket or prefix, is never acted on but moved
//!   aside and named in the log; one that a newer version made is refused.
//!
//! # How
//!
//! One thread owns the one connection. Changes that arrive while a commit is under way share the
//! next one, so that a burst costs few `fsync`s and a single change waits for none but its own.

mod agreed;
mod invalidations;
mod known;
mod listing;
mod pages;
mod queue;
mod rows;
mod schema;
mod share;
mod thread;
mod uploads;
mod view;

use crate::model::{
    Batch, Changed, Epoch, Mirrored, Month, Operation, Pending, RelPath, Share, Stale, StoredPart,
    UnixMillis, UploadNote,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

pub use agreed::Agreed;
pub use invalidations::{Backlog, WAITING_MAX};
pub use known::{Known, Question, Receipt};
pub use listing::{Listed, Listing};
pub use rows::{RANGE_ROWS_MAX, REASONS_MAX};
pub use share::Remapped;
pub use view::Viewed;

/// Requests that may wait for the thread; whoever sends more waits.
const REQUESTS_MAX: usize = 256;

/// Why the record could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or the file cannot be made.
    #[error(
        "the state directory {path:?} cannot be used: {source}; it must be writable by the user the service runs as"
    )]
    Create {
        /// What was to be made.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another daemon has it.
    #[error("{path:?} is in use by another process; give each instance a state_dir of its own")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A later version of the program made it.
    #[error(
        "the record {path:?} has schema version {found}, and this version of the program knows up to {known}; run the newer version, or move the file aside (the bucket is then compared anew)"
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Anything else.
    #[error("the record {path:?} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

/// The record's thread is gone, or cannot write any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the record cannot be written: {0}")]
pub struct StoreError(pub Arc<str>);

/// One change of the record.
#[derive(Debug, Clone)]
pub enum Change {
    /// Queue this, in the place of what was queued for its path.
    Queue(Pending),
    /// The object is there: record it, and take its path off the queue.
    Mirrored(RelPath, Mirrored),
    /// The object is gone: forget it, and take its path off the queue.
    Forgotten(RelPath),
    /// Take the path off the queue, and leave the record as it is.
    Settled(RelPath),
    /// A multipart upload is about to begin, or has. Its parts are told of one by one.
    UploadNoted(UploadNote),
    /// The store has confirmed a part of the path's upload.
    PartStored(RelPath, StoredPart),
    /// The upload of this id was completed or aborted.
    UploadEnded(RelPath, Option<String>),
    /// The bucket has an object of this size for the path, and the record does not know whose.
    Listed(RelPath, u64),
    /// The same for a shard, with the entity tag: a row of another object is forgotten.
    Found(RelPath, u64, Option<String>),
    /// The bucket has nothing of this shard but what was found.
    Reviewed,
    /// The object of a file that is gone, which another shard has left; unless the path is recorded.
    Inherited(RelPath, Mirrored),
    /// Facts about the watched directory and the bucket; see [`Bound`].
    Bound(Bound),
    /// An object has changed. To be written before what says so.
    Stale(Changed),
    /// What a CDN is about to be told, or was.
    Invalidation(Invalidation),
}

/// One change of what a CDN is told.
#[derive(Debug, Clone)]
pub enum Invalidation {
    /// These were made, of what waited and of another one, and so many paths are spent on them.
    Made {
        /// The new ones.
        batches: Vec<Batch>,
        /// What no longer waits.
        of: Vec<Stale>,
        /// The id of one that goes.
        instead_of: Option<String>,
        /// Paths, and the month in whose budget they count.
        spent: (Month, u64),
    },
    /// The CDN has taken this one, and calls it so.
    Accepted(String, String),
    /// This one is done.
    Ended(String),
}

/// All that the record holds of invalidations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Invalidations {
    /// What waits, in the order of a walk.
    pub stale: Vec<Stale>,
    /// What was made and has not ended, in the order of its making.
    pub batches: Vec<Batch>,
    /// Paths spent, by month.
    pub spent: Vec<(Month, u64)>,
}

/// What the record is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Bucket, endpoint and prefix the keys belong to.
    pub target: String,
    /// What tells the watched directory from another one.
    pub source: String,
    /// How many watched directories there have been.
    pub epoch: Epoch,
    /// What marks the objects made from this record, and from no other.
    pub owner: String,
    /// Whether it is known what was in the bucket when the record was new.
    pub listed: bool,
    /// Whether paths may have come that another shard had.
    pub heir: bool,
    /// By which version the store was asked what it can do, if it was.
    pub probed: Option<String>,
}

/// How much the record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Files recorded as mirrored.
    pub mirrored: u64,
    /// Operations queued, the parked ones included.
    pub pending: u64,
    /// Deletes among them, without those of files that are recorded under another name.
    pub deletes: u64,
    /// Parked ones among them.
    pub parked: u64,
    /// Bytes of the files that are to be sent and are not parked.
    pub bytes: u64,
}

/// What the counts do not tell of the queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// When the longest waiting of those that are not parked was wanted.
    pub oldest: Option<UnixMillis>,
    /// Why the parked ones are, and how many for each reason; [`REASONS_MAX`] at most.
    pub parked: Vec<(String, u64)>,
}

/// Where a range of recorded files begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// At the first.
    Start,
    /// At this path, or what comes after it.
    At(RelPath),
    /// After this path.
    After(RelPath),
    /// After this path and all that lies below it.
    Past(RelPath),
}

/// What the record held when it was opened.
#[derive(Debug)]
pub struct Opened {
    /// The handle.
    pub store: Store,
    /// What it was bound to; `None` in a new record.
    pub bound: Option<Bound>,
    /// What it was of before, if that is not what it is of now.
    pub remapped: Option<Remapped>,
    /// How much it holds.
    pub counts: Counts,
    /// Multipart uploads that were noted and not ended, without those a queued put may go on with.
    pub uploads: Vec<UploadNote>,
    /// Where a record that must not be acted on was moved, if there was one, and why.
    pub moved_aside: Option<(PathBuf, Unusable)>,
}

/// Why a record must not be acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// It is damaged, or not ours.
    Damaged,
    /// It tells what is in another bucket or under another prefix.
    OtherTarget,
}

impl Unusable {
    /// The word in logs and in the name of the file that was moved aside.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::OtherTarget => "other-target",
        }
    }
}

/// Handle of the record's thread. Cheap to clone; the thread ends, with all on disk, when the last
/// one is dropped.
#[derive(Debug, Clone)]
pub struct Store {
    requests: mpsc::Sender<thread::Request>,
    agreed: Agreed,
    backlog: watch::Receiver<Backlog>,
    /// Closed when the thread has ended.
    ended: Arc<tokio::sync::Mutex<Option<oneshot::Receiver<()>>>>,
}

impl Store {
    /// Opens the record of `target` in `directory`, or makes it. It is one of `share` from then on.
    /// Blocks.
    ///
    /// # Errors
    ///
    /// If there is none that may be acted on, and none can be made.
    pub fn open(
        directory: &Path,
        target: &str,
        share: Share,
        now: UnixMillis,
    ) -> Result<Opened, OpenError> {
        let mut file = schema::open(directory, target, now)?;
        let path = file.path.clone();
        let unreadable = |source| OpenError::Unreadable { path: path.clone(), source };
        let remapped = share::keep_only(&mut file.connection, share).map_err(unreadable)?;
        let bound = rows::bound(&file.connection).map_err(unreadable)?;
        let counts = rows::counts(&file.connection).map_err(unreadable)?;
        let uploads = uploads::left_over(&file.connection).map_err(unreadable)?;
        let moved_aside = file.moved_aside.clone();
        let store = Self::run(file, counts, directory)?;
        Ok(Opened { store, bound, remapped, counts, uploads, moved_aside })
    }

    /// Starts the thread of an open record.
    fn run(file: schema::RecordFile, counts: Counts, directory: &Path) -> Result<Self, OpenError> {
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let (ended, end) = oneshot::channel::<()>();
        let unreadable = |source| OpenError::Unreadable { path: file.path.clone(), source };
        let found = invalidations::backlog(&file.connection).map_err(unreadable)?;
        let rare = rows::Rare::of(&file.connection).map_err(unreadable)?;
        let (told, backlog) = watch::channel(found);
        std::thread::Builder::new()
            .name("record".into())
            .spawn(move || {
                thread::run(file, rare, counts, told, inbox);
                // Whoever waits for the end learns it from this.
                drop(ended);
            })
            .map_err(|source| OpenError::Create { path: directory.into(), source })?;
        let ended = Arc::new(tokio::sync::Mutex::new(Some(end)));
        Ok(Self { requests, agreed: Agreed::default(), backlog, ended })
    }

    /// Writes `changes`, all or none, and answers when they are on disk how much there is then.
    ///
    /// # Errors
    ///
    /// If they are not on disk yet. They must not be handed in again: they are kept, and come before
    /// whatever is written next, if it be nothing.
    pub async fn write(&self, changes: Vec<Change>) -> Result<Counts, StoreError> {
        Ok(self.hand_in(changes, Vec::new()).await.await?.counts)
    }

    /// Hands `changes` in, behind all that was asked before, and answers the receipt to wait for, which
    /// tells what the record says to `questions` then; an error means the same as for
    /// [`write`](Self::write).
    pub async fn hand_in(
        &self,
        changes: Vec<Change>,
        questions: Vec<Question>,
    ) -> impl Future<Output = Result<Receipt, StoreError>> + Send + use<> {
        let (answer, receipt) = oneshot::channel();
        let touched = self.agreed.touched_by(&changes);
        let write = thread::Write { changes, questions, answer };
        let sent = self.requests.send(thread::Request::Write(write)).await;
        self.agreed.touch(touched);
        async move {
            sent.map_err(|_| gone())?;
            receipt.await.map_err(|_| gone())?
        }
    }

    /// What the record is bound to.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub async fn bound(&self) -> Result<Option<Bound>, StoreError> {
        self.ask(|answer| thread::Request::Read(thread::Read::Bound(answer))).await?
    }

    /// What the record says to each of `questions`, in their order.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub async fn known(&self, questions: Vec<Question>) -> Result<Vec<Known>, StoreError> {
        self.ask(|answer| thread::Request::Read(thread::Read::Known(questions, answer))).await?
    }

    /// What is queued after `after`, parked or not, in the order of a walk, [`RANGE_ROWS_MAX`] at most.
    ///
    /// # Errors
    ///
    /// If the record cannot be read.
    pub async fn queued_after(&self, after: Option<RelPath>) -> Result<Vec<Pending>, StoreError> {
        self.ask(|answer| thread::Request::Read(thread::Read::QueuedAfter(after, answer))).await?
    }

    /// What is queued and not parked, the next due first, `limit` at most.
    ///
    /// # Errors
    ///
    /// If the record cannot be read.
    pub async fn due(&self, limit: usize) -> Result<(Vec<Pending>, Counts), StoreError> {
        self.ask(|answer| thread::Request::Read(thread::Read::Due(limit, answer))).await?
    }

    /// What is queued, parked or not, the oldest first, `limit` at most.
    ///
    /// # Errors
    ///
    /// If the record cannot be read.
    pub async fn queued(&self, limit: usize) -> Result<(Vec<Pending>, Counts), StoreError> {
        self.ask(|answer| thread::Request::Read(thread::Read::Queued(limit, answer))).await?
    }

    /// All that the record holds of invalidations.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub async fn invalidations(&self) -> Result<Invalidations, StoreError> {
        self.ask(|answer| thread::Request::Read(thread::Read::Invalidations(answer))).await?
    }

    /// How much of invalidations the record holds, after every commit.
    #[must_use]
    pub fn backlog(&self) -> watch::Receiver<Backlog> {
        self.backlog.clone()
    }

    /// How long the queue has waited, and why what is parked is.
    ///
    /// # Errors
    ///
    /// If the record cannot be read.
    pub async fn survey(&self) -> Result<Survey, StoreError> {
        self.ask(|answer| thread::Request::Read(thread::Read::Survey(answer))).await?
    }

    /// Waits until the thread has ended. Every other handle must be dropped, or will be.
    pub async fn closed(self) {
        let end = self.ended.lock().await.take();
        drop(self);
        if let Some(end) = end {
            // An error says the same: it is gone.
            drop(end.await);
        }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> thread::Request,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}

fn gone() -> StoreError {
    StoreError("its thread has ended".into())
}

/// The queue's rows name their operation in plain words, for whoever looks with `sqlite3`.
fn operation_from(name: &str) -> Option<Operation> {
    [Operation::Put, Operation::Delete].into_iter().find(|operation| operation.as_str() == name)
}

#[cfg(test)]
mod tests;
