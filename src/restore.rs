//! The way back: brings the objects below the prefix into the watched directory.
//!
//! ```text
//! listing ──pages──► plan ──items──► download ──staged──► publish ──► state
//! (S3, pages)   (pure, with look)    (S3, staging)     (rename, fsync)
//! ```
//!
//! # Invariants
//!
//! - Nothing that exists is overwritten or deleted, and nothing is made outside the watched directory.
//! - A file appears whole, verified, with its time and permissions; it is durable before the state records
//!   it. So the next start of the daemon uploads and deletes nothing.
//! - From before the first file until everything is there, the state has a mark. While it has, the daemon
//!   deletes nothing, and a run of the restore goes on.
//! - Memory does not grow with the bucket: every channel has a bound, and content counts as memory of
//!   transfers.

mod download;
mod keys;
mod listing;
mod pages;
mod plan;
mod publish;
mod scope;
mod versions;

pub use plan::RestoreRun;
pub use scope::{RestoreScope, ScopePatternError};

use crate::filter::Filter;
use crate::model::{Failure, KeyPrefix, RelPath};
use crate::root::{Root, Staging};
use crate::store::{Change, Store, StoreError};
use crate::transfer::Fetcher;
use download::{Abort, Brought, DownloadItem, Downloader};
use futures_util::{StreamExt, TryStreamExt, stream};
use listing::{PlannedFile, Planner};
use publish::{RestorePublisher, STAGED_MAX};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

pub use listing::FirstPages;

/// Maximum number of planned pages that wait: each has at most a thousand objects.
const PAGES_MAX: usize = 2;
/// Maximum number of events that wait to be reported.
const EVENTS_MAX: usize = 256;
/// Objects in progress per permitted request: while one is written, another one is requested.
const PREPARED: usize = 2;
/// The interval of progress reports.
const PROGRESS: Duration = Duration::from_millis(500);

/// The inputs of a restore.
#[derive(Debug)]
pub struct Restore {
    /// The bucket.
    pub fetcher: Arc<Fetcher>,
    /// The prefix in the bucket.
    pub prefix: KeyPrefix,
    /// Selects the paths of this process.
    pub filter: Arc<Filter>,
    /// The objects that are wanted.
    pub scope: RestoreScope,
    /// Maximum number of requests at once.
    pub concurrency: usize,
    /// Whether this process has a part of the paths: then the daemon takes over objects without a record.
    pub is_shard: bool,
}

/// The directory and the state to restore into.
#[derive(Debug)]
pub struct RestoreTarget {
    /// The watched directory.
    pub root: Arc<Root>,
    /// The state.
    pub store: Store,
    /// The present run.
    pub run: RestoreRun,
    /// The mark of an earlier run that has not ended.
    pub mark: Option<String>,
}

/// An event of a running restore.
#[derive(Debug)]
pub enum RestoreEvent {
    /// An object that would be brought; only in a dry run.
    Planned {
        /// Its path.
        name: String,
        /// Its size.
        bytes: u64,
    },
    /// A file is in its place.
    Restored {
        /// Its size.
        bytes: u64,
    },
    /// A file was there already.
    There,
    /// A file that is there stays as it is.
    Kept,
    /// An object that cannot be a file, or cannot be read.
    Skipped {
        /// Its path, or its key.
        name: String,
        /// Why.
        reason: String,
    },
    /// An object that could not be read now; another run may.
    Failed {
        /// Its path.
        name: String,
        /// Why.
        reason: String,
    },
    /// So many more objects were listed, with so many bytes; `last` with the last of them.
    Listed {
        /// Objects.
        objects: u64,
        /// Bytes.
        bytes: u64,
        /// Whether that were all.
        last: bool,
    },
    /// Some time has passed.
    Tick {
        /// Bytes that were fetched so far.
        fetched: u64,
    },
}

/// The result of a restore.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestoreTotals {
    /// Files that were brought.
    pub restored: u64,
    /// Their bytes.
    pub restored_bytes: u64,
    /// Files that an earlier run has brought.
    pub there: u64,
    /// Files that were there and stay as they are.
    pub kept: u64,
    /// Objects that cannot be files, or that the store does not give.
    pub skipped: u64,
    /// Objects that could not be read now.
    pub failed: u64,
    /// Bytes that were fetched.
    pub fetched_bytes: u64,
}

impl RestoreTotals {
    /// Counts an event.
    pub fn count(&mut self, event: &RestoreEvent) {
        match event {
            RestoreEvent::Planned { bytes, .. } | RestoreEvent::Restored { bytes } => {
                self.restored += 1;
                self.restored_bytes += bytes;
            }
            RestoreEvent::There => self.there += 1,
            RestoreEvent::Kept => self.kept += 1,
            RestoreEvent::Skipped { .. } => self.skipped += 1,
            RestoreEvent::Failed { .. } => self.failed += 1,
            RestoreEvent::Listed { .. } => {}
            RestoreEvent::Tick { fetched } => self.fetched_bytes = *fetched,
        }
    }
}

/// Why a restore ended early. What was brought stays, and another run goes on.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The store is unreachable, or refuses.
    #[error("{}: {}", .0.code, .0.message)]
    Store(Failure),
    /// The directory cannot be written.
    #[error("the directory cannot be written: {}", crate::root::in_words(.0))]
    Disk(#[source] io::Error),
    /// The state cannot be written.
    #[error(transparent)]
    State(#[from] StoreError),
    /// Another part of it has ended, with the reason.
    #[error("the restore has stopped")]
    Stopped,
    /// The directory was replaced.
    #[error(transparent)]
    Source(#[from] crate::root::SourceGone),
}

impl From<Abort> for RestoreError {
    fn from(abort: Abort) -> Self {
        match abort {
            Abort::Store(failure) => Self::Store(failure),
            Abort::Disk(error) => Self::Disk(error),
        }
    }
}

type RestoreReporter<'a> = &'a mut (dyn FnMut(&RestoreEvent) + Send);

impl Restore {
    /// Lists the bucket up to its first object, which finds out whether it is there. Makes nothing.
    ///
    /// # Errors
    ///
    /// If it cannot be listed.
    pub async fn first_pages(&self) -> Result<FirstPages, Failure> {
        FirstPages::list(self).await
    }

    /// Reports what [`run`](Self::run) would do with `root`, if there is one.
    ///
    /// # Errors
    ///
    /// If the bucket cannot be listed, or the directory or the state cannot be read.
    pub async fn preview(
        &self,
        first: FirstPages,
        (root, store, run): (Option<Arc<Root>>, Store, RestoreRun),
        report: RestoreReporter<'_>,
    ) -> Result<RestoreTotals, RestoreError> {
        let mut totals = RestoreTotals::default();
        let mut report = |event: RestoreEvent| {
            totals.count(&event);
            report(&event);
        };
        let mut planner = Planner::new(self, first, root, store, run);
        while let Some(page) = planner.next_page().await? {
            for planned in page {
                report(match planned {
                    PlannedFile::Fetch(item) | PlannedFile::Compare(item, _) => {
                        RestoreEvent::Planned { name: item.path.to_string(), bytes: item.size }
                    }
                    PlannedFile::Leave(path, reason) => {
                        RestoreEvent::Skipped { name: path.to_string(), reason }
                    }
                    PlannedFile::Event(event) => event,
                });
            }
        }
        Ok(totals)
    }

    /// Brings everything, and reports what it cannot bring.
    ///
    /// # Errors
    ///
    /// If it ends early.
    pub async fn run(
        &self,
        first: FirstPages,
        into: RestoreTarget,
        report: RestoreReporter<'_>,
    ) -> Result<RestoreTotals, RestoreError> {
        let RestoreTarget { root, store, run, mark } = into;
        let mut totals = RestoreTotals::default();
        let staging = Arc::new(Staging::open(&root).map_err(RestoreError::Disk)?);
        if !run.resumed {
            // Without a mark, what is there was not staged by an earlier run that this one continues.
            staging.clear().map_err(RestoreError::Disk)?;
        }
        let downloader = Downloader::new(Arc::clone(&self.fetcher), Arc::clone(&staging));
        let downloader = downloader.map_err(RestoreError::Disk)?;
        let (events, mut received) = mpsc::channel(EVENTS_MAX);
        let (staged, stagings) = mpsc::channel(STAGED_MAX);
        let (pages, planned) = mpsc::channel(PAGES_MAX);
        let publisher = RestorePublisher {
            staging: Arc::clone(&staging),
            store: store.clone(),
            epoch: run.epoch,
        };
        let publishing = publisher.run(stagings, events.clone());
        let planning = self.plan_all(first, Arc::clone(&root), (store.clone(), run), pages);
        let bringing = self.bring_all(&downloader, (&root, &store, run), planned, (staged, events));
        let telling = async {
            let mut progress = tokio::time::interval(PROGRESS);
            loop {
                tokio::select! {
                    event = received.recv() => match event {
                        Some(event) => {
                            totals.count(&event);
                            report(&event);
                        }
                        None => break,
                    },
                    _ = progress.tick() => {
                        let event = RestoreEvent::Tick { fetched: downloader.fetched() };
                        totals.count(&event);
                        report(&event);
                    }
                }
            }
        };
        // An error of one ends the others by the channels between them; what is staged is still put in its
        // place.
        let (planning, bringing, publishing, ()) =
            Box::pin(async { tokio::join!(planning, bringing, publishing, telling) }).await;
        totals.fetched_bytes = downloader.fetched();
        publishing?;
        bringing?;
        planning?;
        if totals.failed > 0 {
            return Ok(totals);
        }
        staging.end().map_err(RestoreError::Disk)?;
        if self.is_shard && (!self.scope.is_whole() || totals.skipped > 0) {
            listing::disown_the_rest(self, &store).await?;
        }
        if mark.is_none_or(|mark| self.scope.completes(&mark)) {
            store.write(vec![Change::Restoring(None)]).await?;
        }
        Ok(totals)
    }

    async fn plan_all(
        &self,
        first: FirstPages,
        root: Arc<Root>,
        (store, run): (Store, RestoreRun),
        pages: mpsc::Sender<Vec<PlannedFile>>,
    ) -> Result<(), RestoreError> {
        let mut planner = Planner::new(self, first, Some(root), store, run);
        while let Some(page) = planner.next_page().await? {
            if pages.send(page).await.is_err() {
                // The receiver has the reason.
                return Ok(());
            }
        }
        Ok(())
    }

    async fn bring_all(
        &self,
        downloader: &Downloader,
        (root, store, run): (&Arc<Root>, &Store, RestoreRun),
        planned: mpsc::Receiver<Vec<PlannedFile>>,
        (staged, events): (mpsc::Sender<download::StagedFile>, mpsc::Sender<RestoreEvent>),
    ) -> Result<(), RestoreError> {
        let pages = stream::unfold(planned, |mut planned| async {
            planned.recv().await.map(|page| (stream::iter(page), planned))
        });
        let staged = &staged;
        let events = &events;
        let brought = pages.flatten().map(|planned| async move {
            let event = match planned {
                PlannedFile::Fetch(item) => {
                    bring(downloader, item, (root, store, run), staged).await?
                }
                PlannedFile::Leave(path, reason) => {
                    Some(leave((root, store, run), path, reason).await?)
                }
                PlannedFile::Compare(item, file) => {
                    listing::compare(self, (root, store), item, file, run).await?
                }
                PlannedFile::Event(event) => Some(event),
            };
            if let Some(event) = event {
                events.send(event).await.ok();
            }
            Ok::<_, RestoreError>(())
        });
        brought.buffer_unordered(self.concurrency.max(1) * PREPARED).try_collect().await
    }
}

/// Brings one object, and returns what there is to report now.
async fn bring(
    downloader: &Downloader,
    item: DownloadItem,
    into: (&Arc<Root>, &Store, RestoreRun),
    staged: &mpsc::Sender<download::StagedFile>,
) -> Result<Option<RestoreEvent>, RestoreError> {
    let path = item.path.clone();
    Ok(match downloader.bring(item).await? {
        Brought::Staged(file) => {
            // Without a receiver, it has ended with the reason.
            staged.send(file).await.map_err(|_| RestoreError::Stopped)?;
            None
        }
        Brought::Gone => None,
        Brought::Skipped(reason) => Some(leave(into, path, reason).await?),
        Brought::Failed(reason) => Some(RestoreEvent::Failed { name: path.to_string(), reason }),
    })
}

/// Leaves out an object. Without a file, the state forgets it, so that the daemon does not take it for one
/// whose file was deleted.
async fn leave(
    (root, store, run): (&Arc<Root>, &Store, RestoreRun),
    path: RelPath,
    reason: String,
) -> Result<RestoreEvent, RestoreError> {
    let name = path.to_string();
    // A run that begins with an empty directory finds nothing in the state that counts.
    if run.may_find_files() {
        let root = Arc::clone(root);
        let looked = path.clone();
        let looking = tokio::task::spawn_blocking(move || listing::look(&root, &looked));
        let present = match looking.await {
            Ok(present) => present?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        if !matches!(present, plan::Present::File(_)) {
            store.write(vec![Change::Forgotten(path)]).await?;
        }
    }
    Ok(RestoreEvent::Skipped { name, reason })
}
