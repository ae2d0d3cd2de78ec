//! The state: object records and queue, in one SQLite file in `state_dir`.
//!
//! # Guarantees
//!
//! - A change is on disk before its receipt arrives, and all changes of one call are committed
//!   together.
//! - Changes are written in the order of the calls, also if some could not be written for a
//!   while.
//! - Reads see every change of previous calls, or fail.
//! - The file belongs to one daemon: another one that opens it gets an error, while `sqlite3` may
//!   read it.
//! - A state that is damaged, or belongs to another bucket or prefix, is never used; it is
//!   renamed and logged. A state of a newer version is refused.
//!
//! # Implementation
//!
//! One thread owns the one connection. Changes that arrive during a commit share the next one, so
//! that a burst costs few `fsync`s and a single change waits only for its own.

mod agreed;
mod binding;
mod delayed;
mod error;
mod invalidations;
mod known;
mod listing;
mod pages;
mod permissions;
mod queue;
mod repair;
mod restoring;
mod rows;
mod schema;
mod scratch;
mod share;
mod sizes;
mod thread;
mod uploads;
mod view;

use crate::model::{
    ChangedObject, MonthCount, ObjectRecord, Operation, OverlapSign, PathBatch,
    PendingInvalidation, QueueRow, RecentDeletes, RelPath, RootGeneration, Shard, SourceOrigin,
    StoredPart, UnixMillis, UploadRecord,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

pub use agreed::CleanDirs;
pub use delayed::{DELAYED_ROWS_MAX, DelayedPage, DelayedPosition};
pub use error::{StoreError, StoreOpenError, UnusableState};
pub use invalidations::{InvalidationBacklog, WAITING_MAX};
pub use known::{CommitReceipt, RecordedState, StateLookup};
pub use listing::{Listing, ListingObject};
pub use rows::{RANGE_ROWS_MAX, REASONS_MAX};
pub use share::RemappedShard;
pub use sizes::{QueueStats, StateCounts};
pub use view::ReadOnlyState;

/// Maximum number of requests that wait for the thread; further senders wait.
const REQUESTS_MAX: usize = 256;

/// A change of the state.
#[derive(Debug, Clone)]
pub enum Change {
    /// Adds this queue entry, replacing the one of its path.
    Queue(QueueRow),
    /// The object exists: records it, and removes the queue entry of its path.
    Mirrored(RelPath, ObjectRecord),
    /// The object does not exist: removes its record and the queue entry of its path.
    Forgotten(RelPath),
    /// Removes the queue entry of the path, and keeps the record.
    Settled(RelPath),
    /// Deletes that are due later than this are due then.
    DeletesDueBy(UnixMillis),
    /// Removes all deletes from the queue but those of these paths. Their objects stay: a record that is of
    /// no present directory causes no delete.
    DeletesCancelled(Vec<RelPath>),
    /// A multipart upload is about to start, or has started. Its parts are recorded one by one.
    UploadNoted(UploadRecord),
    /// The store has confirmed a part of the path's upload.
    PartStored(RelPath, StoredPart),
    /// The upload with this id was completed or aborted.
    UploadEnded(RelPath, Option<String>),
    /// The bucket has an object of this size for the path, without a record.
    Listed(RelPath, u64),
    /// The same for a shard, with the entity tag: the record of another object is removed.
    Found(RelPath, u64, Option<String>),
    /// The listing of a shard is complete: the bucket has no other objects of it.
    Reviewed,
    /// Takes over the object of a missing file that another shard left, unless the path has a
    /// record.
    Inherited(RelPath, ObjectRecord),
    /// Another writer has replaced or deleted the object with this entity tag: removes its record,
    /// unless it is of another object meanwhile.
    Replaced(RelPath, String),
    /// The recent deletes, for the limit on deletes.
    RecentDeletes(RecentDeletes),
    /// Facts about the watched directory and the bucket; see [`StateBinding`].
    Bound(StateBinding),
    /// A restore into the watched directory has started, with this scope, or has ended.
    Restoring(Option<String>),
    /// An object has changed. It has to be written before the change that says so.
    Stale(ChangedObject),
    /// A change of pending invalidations.
    Invalidation(InvalidationChange),
}

/// A change of pending invalidations.
#[derive(Debug, Clone)]
pub enum InvalidationChange {
    /// Batches were created from pending paths and from another batch, at this cost.
    Made {
        /// The new batches.
        batches: Vec<PathBatch>,
        /// The paths that are no longer pending.
        of: Vec<PendingInvalidation>,
        /// The id of a batch that is removed.
        instead_of: Option<String>,
        /// The number of paths, and the month of their budget.
        spent: (MonthCount, u64),
    },
    /// The CDN has accepted this batch, with this id.
    Accepted(String, String),
    /// This batch is completed.
    Ended(String),
}

/// All invalidations in the state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredInvalidations {
    /// Pending paths, in the order of a walk.
    pub stale: Vec<PendingInvalidation>,
    /// Open batches, in the order of their creation.
    pub batches: Vec<PathBatch>,
    /// Used paths by month.
    pub spent: Vec<(MonthCount, u64)>,
}

/// The binding of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateBinding {
    /// Bucket, endpoint and prefix of the keys.
    pub target: String,
    /// The identity of the watched directory.
    pub source: String,
    /// Its location; `None` in an older state.
    pub origin: Option<SourceOrigin>,
    /// The root generation.
    pub epoch: RootGeneration,
    /// The mark of the objects of this state.
    pub owner: String,
    /// Whether the initial listing is complete.
    pub listed: bool,
    /// Whether paths of another shard may have to be taken over.
    pub takeover_pending: bool,
    /// The version that probed the store, if one did.
    pub probed: Option<String>,
    /// What suggests another writer since the bucket was compared with the records.
    pub overlap: OverlapSign,
}

/// The start of a range of object records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartBound {
    /// The first record.
    Start,
    /// This path, or the one after it.
    At(RelPath),
    /// After this path.
    After(RelPath),
    /// After this path and everything below it.
    Past(RelPath),
}

/// The content of the state when it was opened.
#[derive(Debug)]
pub struct OpenedState {
    /// The handle.
    pub store: Store,
    /// The previous binding; `None` in a new state.
    pub bound: Option<StateBinding>,
    /// The previous shard, if it is another one.
    pub remapped: Option<RemappedShard>,
    /// Its sizes.
    pub counts: StateCounts,
    /// The recent deletes.
    pub recent_deletes: RecentDeletes,
    /// Unfinished multipart uploads, without those that a queued upload can resume.
    pub uploads: Vec<UploadRecord>,
    /// The scope of a restore that has not ended.
    pub restoring: Option<String>,
    /// The new path of a state that must not be used, if there was one, and the reason.
    pub moved_aside: Option<(PathBuf, UnusableState)>,
}

/// Handle of the thread of the state. Cheap to clone; when the last one is dropped, the thread ends
/// with everything on disk.
#[derive(Debug, Clone)]
pub struct Store {
    requests: mpsc::Sender<thread::StoreRequest>,
    agreed: CleanDirs,
    backlog: watch::Receiver<InvalidationBacklog>,
    /// The directory of the state.
    directory: Arc<Path>,
    /// Closed when the thread has ended.
    ended: Arc<tokio::sync::Mutex<Option<oneshot::Receiver<()>>>>,
}

/// What is read of a state first.
struct FirstRead {
    remapped: Option<RemappedShard>,
    bound: Option<StateBinding>,
    counts: StateCounts,
    recent_deletes: RecentDeletes,
    restoring: Option<String>,
    uploads: Vec<UploadRecord>,
}

impl FirstRead {
    fn from(connection: &mut rusqlite::Connection, share: Shard) -> rusqlite::Result<Self> {
        let remapped = share::retain_shard(connection, share)?;
        // The thread reads them again, but cannot repair what it has not started with.
        invalidations::backlog(connection)?;
        rows::NonEmptyHints::read(connection)?;
        Ok(Self {
            remapped,
            bound: binding::bound(connection)?,
            counts: rows::counts(connection)?,
            recent_deletes: rows::recent_deletes(connection)?,
            restoring: restoring::scope(connection)?,
            uploads: uploads::left_over(connection)?,
        })
    }
}

impl Store {
    /// Opens the state of `target` in `directory`, or creates it, and assigns it to `share`.
    /// Blocks.
    ///
    /// # Errors
    ///
    /// If there is none that can be used, and none can be created.
    pub fn open(
        directory: &Path,
        target: &str,
        share: Shard,
        now: UnixMillis,
    ) -> Result<OpenedState, StoreOpenError> {
        let mut file = schema::open(directory, target, now)?;
        let path = file.path.clone();
        let unreadable = |source| StoreOpenError::Unreadable { path: path.clone(), source };
        let mut found = FirstRead::from(&mut file.connection, share);
        if found.as_ref().is_err_and(repair::is_repairable) {
            // An index that contradicts its table passes every check of the rows.
            let repaired = repair::repair(&mut file.connection).map_err(unreadable)?;
            schema::log_repaired(repaired);
            found = FirstRead::from(&mut file.connection, share);
        }
        let FirstRead { remapped, bound, counts, recent_deletes, restoring, uploads } =
            found.map_err(unreadable)?;
        let moved_aside = file.moved_aside.clone();
        let store = Self::run(file, counts, directory)?;
        Ok(OpenedState {
            store,
            bound,
            remapped,
            counts,
            recent_deletes,
            uploads,
            restoring,
            moved_aside,
        })
    }

    /// Starts the thread of an open state.
    fn run(
        file: schema::RecordFile,
        counts: StateCounts,
        directory: &Path,
    ) -> Result<Self, StoreOpenError> {
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let (ended, end) = oneshot::channel::<()>();
        let unreadable = |source| StoreOpenError::Unreadable { path: file.path.clone(), source };
        let found = invalidations::backlog(&file.connection).map_err(unreadable)?;
        let rare = rows::NonEmptyHints::read(&file.connection).map_err(unreadable)?;
        let (backlog_sender, backlog) = watch::channel(found);
        let agreed = CleanDirs::default();
        let known = agreed.clone();
        std::thread::Builder::new()
            .name("record".into())
            .spawn(move || {
                thread::run(file, rare, counts, (backlog_sender, known), inbox);
                // Notifies those that wait for the end.
                drop(ended);
            })
            .map_err(|source| StoreOpenError::Create { path: directory.into(), source })?;
        let ended = Arc::new(tokio::sync::Mutex::new(Some(end)));
        Ok(Self { requests, agreed, backlog, directory: directory.into(), ended })
    }

    /// Creates an empty listing of the bucket, to be compared with this state.
    ///
    /// # Errors
    ///
    /// If there is no room for it.
    pub fn new_listing(&self) -> Result<Listing, StoreError> {
        Listing::new(&self.directory)
    }

    /// Writes `changes`, all or none, and returns the sizes of the state when they are on disk.
    ///
    /// # Errors
    ///
    /// If they are not on disk yet. Do not repeat them: they are retained and retried before the
    /// next write, including an empty one.
    pub async fn write(&self, changes: Vec<Change>) -> Result<StateCounts, StoreError> {
        Ok(self.hand_in(changes, Vec::new()).await.await?.counts)
    }

    /// Sends `changes` after all previous calls, and returns the receipt to wait for, which has the
    /// answers to `questions` after them. An error means the same as for [`write`](Self::write).
    pub async fn hand_in(
        &self,
        changes: Vec<Change>,
        questions: Vec<StateLookup>,
    ) -> impl Future<Output = Result<CommitReceipt, StoreError>> + Send + use<> {
        let (answer, receipt) = oneshot::channel();
        let touched = self.agreed.touched_by(&changes);
        let write = thread::WriteBatch { changes, questions, answer };
        let sent = self.requests.send(thread::StoreRequest::Write(write)).await;
        self.agreed.touch(touched);
        async move {
            sent.map_err(|_| gone())?;
            receipt.await.map_err(|_| gone())?
        }
    }

    /// The binding of the state.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub async fn bound(&self) -> Result<Option<StateBinding>, StoreError> {
        self.ask(|answer| thread::StoreRequest::Read(thread::ReadRequest::Bound(answer))).await?
    }

    /// The answers to `questions`, in their order.
    ///
    /// # Errors
    ///
    /// If the state cannot be read.
    pub async fn known(
        &self,
        questions: Vec<StateLookup>,
    ) -> Result<Vec<RecordedState>, StoreError> {
        self.ask(|answer| thread::StoreRequest::Read(thread::ReadRequest::Known(questions, answer)))
            .await?
    }

    /// The queue entries after `after`, skipped ones included, in the order of a walk, at most
    /// [`RANGE_ROWS_MAX`].
    ///
    /// # Errors
    ///
    /// If the state cannot be read.
    pub async fn queued_after(&self, after: Option<RelPath>) -> Result<Vec<QueueRow>, StoreError> {
        self.ask(|answer| {
            thread::StoreRequest::Read(thread::ReadRequest::QueuedAfter(after, answer))
        })
        .await?
    }

    /// The queue entries that are not skipped, next due first, at most `limit`.
    ///
    /// # Errors
    ///
    /// If the state cannot be read.
    pub async fn due(&self, limit: usize) -> Result<(Vec<QueueRow>, StateCounts), StoreError> {
        self.ask(|answer| thread::StoreRequest::Read(thread::ReadRequest::Due(limit, answer)))
            .await?
    }

    /// The queue entries, skipped ones included, oldest first, and then the delayed deletes; at most `limit`.
    ///
    /// # Errors
    ///
    /// If the state cannot be read.
    pub async fn queued(&self, limit: usize) -> Result<(Vec<QueueRow>, StateCounts), StoreError> {
        self.ask(|answer| thread::StoreRequest::Read(thread::ReadRequest::Queued(limit, answer)))
            .await?
    }

    /// All invalidations in the state.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub async fn invalidations(&self) -> Result<StoredInvalidations, StoreError> {
        self.ask(|answer| thread::StoreRequest::Read(thread::ReadRequest::Invalidations(answer)))
            .await?
    }

    /// The number of invalidations, updated after every commit.
    #[must_use]
    pub fn backlog(&self) -> watch::Receiver<InvalidationBacklog> {
        self.backlog.clone()
    }

    /// The age of the queue, and the reasons of skipped entries.
    ///
    /// # Errors
    ///
    /// If the state cannot be read.
    pub async fn survey(&self) -> Result<QueueStats, StoreError> {
        self.ask(|answer| thread::StoreRequest::Read(thread::ReadRequest::Survey(answer))).await?
    }

    /// Waits until the thread has ended. All other handles must be dropped.
    pub async fn closed(self) {
        let end = self.ended.lock().await.take();
        drop(self);
        if let Some(end) = end {
            // An error means the same: the thread has ended.
            drop(end.await);
        }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> thread::StoreRequest,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}

fn gone() -> StoreError {
    StoreError("its thread has ended".into())
}

/// The queue's rows name their operation in words, for readers with `sqlite3`.
fn operation_from(name: &str) -> Option<Operation> {
    [Operation::Put, Operation::Delete].into_iter().find(|operation| operation.as_str() == name)
}

#[cfg(test)]
mod tests;
