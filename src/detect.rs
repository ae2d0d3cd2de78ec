//! Noticing changes: hints where to look, never what happened.
//!
//! Every directory has a watch of its own, because a recursive watch loses what is created in a
//! directory before it learns of it. One worker thread keeps the watches up with a tree that
//! changes all the while; the event threads only put hints into a bounded set.
//!
//! # Invariants
//!
//! - Every change in a watched directory leads to a hint that covers it: its path, its directory,
//!   or a directory above it with all below.
//! - A hint is given only after the watches it relies on are set, so that nothing falls between a
//!   look and the next event.
//! - What is mounted or unmounted below the directory leads to a comparison of that place.
//! - Where there is no watch, [`Coverage`] says so. Writes through shared memory maps, through a
//!   hard link outside the tree, and by another machine give no event anywhere: the periodic comparison
//!   finds them.

mod clock;
mod cookie;
mod dirty;
mod event;
mod handler;
mod inbox;
mod index;
mod instances;
mod limits;
mod mounts;
mod tree;
mod watches;

#[cfg(test)]
mod tests;

use crate::model::{Hint, RelPath};
use crate::root::{Root, SourceGone};
use cookie::SyncCookies;
use event::WatchedPaths;
use handler::HandlerContext;
use inbox::Inbox;
use std::fmt;
use std::io::{self, PipeWriter};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tree::WatchTree;

/// Decides whether a path is mirrored; the flag says whether it is a directory. Other directories
/// are neither watched nor listed. Event threads call it: it must not block.
pub type PathPredicate = Arc<dyn Fn(&RelPath, bool) -> bool + Send + Sync>;

/// How to watch.
#[derive(Debug, Clone)]
pub struct DetectSettings {
    /// A private directory outside the watched one, on a local file system. It is created, and what
    /// earlier runs left in it is removed.
    pub cookie_dir: PathBuf,
    /// Directories after which another instance is begun, while there may be more. With more
    /// directories than that all instances are filled evenly.
    pub directories_per_instance: usize,
    /// Instances at most; a quarter of what the system allows the user is another limit.
    pub instances_max: usize,
    /// Directories watched at most. Each costs about 2 KB of memory, most of it the kernel's.
    pub directories_max: usize,
    /// The longest pause before directories without a watch are tried again; the first is a second.
    pub retry_interval: Duration,
}

impl DetectSettings {
    /// What fits a tree of a million files.
    #[must_use]
    pub fn new(cookie_dir: PathBuf) -> Self {
        Self {
            cookie_dir,
            directories_per_instance: 512,
            instances_max: 32,
            directories_max: 4_000_000,
            retry_interval: Duration::from_secs(60),
        }
    }
}

/// Why nothing can be watched.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The private directory cannot be used.
    #[error("the directory for cookies cannot be used: {0}")]
    Cookies(io::Error),
    /// The configured path does not lead to the directory that was opened.
    #[error(transparent)]
    Source(#[from] SourceGone),
    /// There is no thread for it.
    #[error("the thread for watching cannot be started: {0}")]
    Thread(io::Error),
}

/// Why it is not known that all earlier changes are among the hints.
#[derive(Debug, thiserror::Error)]
pub enum BarrierError {
    /// Not within this time.
    #[error("events of earlier changes were not all delivered in time")]
    Timeout,
    /// The cookie could not be placed.
    #[error("the cookie could not be placed: {0}")]
    Cookie(io::Error),
    /// The detector has ended.
    #[error("the detector has ended")]
    Ended,
}

/// How much of the tree is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coverage {
    /// Whether all directories were visited once since the start.
    pub armed: bool,
    /// Directories with a watch.
    pub watched: u64,
    /// Directories without a watch, for want of watches or instances. What changes in them is only
    /// found by comparing.
    pub unwatched: u64,
    /// Directories that may not be read.
    pub unreadable: u64,
    /// Instances of the watcher.
    pub instances: usize,
    /// Kernel queues that overflowed.
    pub overflows: u64,
    /// How often everything was watched anew, after an overflow for example.
    pub rebuilds: u64,
    /// Whether events were lost, and not everything is watched anew yet.
    pub lost: bool,
}

impl Coverage {
    /// Whether there are directories without a watch.
    #[must_use]
    pub fn is_poor(&self) -> bool {
        self.unwatched > 0 || self.unreadable > 0
    }

    /// Whether every change of what can be read gives an event.
    #[must_use]
    pub fn has_complete_events(&self) -> bool {
        self.unwatched == 0 && !self.lost
    }
}

/// Watches until it is dropped or stopped.
pub struct Detector {
    inbox: Arc<Inbox>,
    cookies: Arc<SyncCookies>,
    worker: Option<JoinHandle<()>>,
    /// The thread that follows the table of mounts ends with it.
    _mounts: Option<PipeWriter>,
}

/// Where the hints come out.
#[derive(Debug)]
pub struct Hints {
    inbox: Arc<Inbox>,
}

impl Detector {
    /// Begins to watch. Returns as soon as the watched directory itself is watched; what is below
    /// it follows, and then a hint for the whole tree, so that a comparison begun on it misses
    /// nothing. Too few watches or instances are no error but poor [`Coverage`].
    ///
    /// # Errors
    ///
    /// If there is nothing to watch or no way to.
    pub fn start(
        root: Arc<Root>,
        wanted: PathPredicate,
        mut settings: DetectSettings,
    ) -> Result<(Self, Hints), DetectError> {
        settings.instances_max = settings.instances_max.min(limits::fair_instances());
        let cookies = SyncCookies::new(&settings.cookie_dir).map_err(DetectError::Cookies)?;
        let cookies = Arc::new(cookies);
        let inbox = Arc::new(Inbox::new());
        let shared = HandlerContext {
            inbox: inbox.clone(),
            places: Arc::new(WatchedPaths::new(root.path(), cookies.directory())),
            cookies: cookies.clone(),
            wanted,
        };
        // Before anything is listed: what is mounted from here on is looked at again.
        let mounts = mounts::follow(Arc::clone(&root), shared.clone());
        let mounts = mounts.inspect_err(|error| {
            tracing::warn!(
                event = "detect.mounts_lost",
                error.message = %error,
                "what is mounted below the watched directory is only noticed by comparisons"
            );
        });
        let mut tree = WatchTree::new(root, shared, settings);
        tree.begin()?;
        let worker = std::thread::Builder::new().name("detect".into()).spawn(|| tree.run());
        let worker = Some(worker.map_err(DetectError::Thread)?);
        let detector = Self { inbox: inbox.clone(), cookies, worker, _mounts: mounts.ok() };
        Ok((detector, Hints { inbox }))
    }

    /// Waits until a hint was given for every change that was made before this call, where there is
    /// a watch.
    ///
    /// # Errors
    ///
    /// If that did not happen within `patience`, or cannot be known.
    pub async fn barrier(&self, patience: Duration) -> Result<(), BarrierError> {
        let passed = tokio::time::timeout(patience, self.pass());
        passed.await.unwrap_or(Err(BarrierError::Timeout))
    }

    async fn pass(&self) -> Result<(), BarrierError> {
        let cookies = self.cookies.clone();
        let inbox = self.inbox.clone();
        let placed = tokio::task::spawn_blocking(move || cookies.place(&inbox)).await;
        let placed = placed.map_err(|_| BarrierError::Ended)?.map_err(BarrierError::Cookie)?;
        let mut progress = self.inbox.progress();
        let mut round = None;
        loop {
            progress.mark_unchanged();
            {
                let mut state = self.inbox.lock();
                if state.closed {
                    return Err(BarrierError::Ended);
                }
                let delivered = state.delivered.iter().all(|&last| last >= placed);
                if delivered && !state.out_of_sync {
                    // What was delivered may be a directory to visit: a round that begins now does.
                    let round = *round.get_or_insert_with(|| self.inbox.poke(&mut state));
                    if state.rounds_done >= round {
                        return Ok(());
                    }
                }
            }
            progress.changed().await.map_err(|_| BarrierError::Ended)?;
        }
    }

    /// How much of the tree is watched now.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        self.inbox.lock().coverage_now()
    }

    /// Ends watching and waits until the kernel has the watches back. Blocks.
    pub fn stop(mut self) {
        self.inbox.close();
        if let Some(worker) = self.worker.take()
            && worker.join().is_err()
        {
            tracing::error!(event = "detect.panicked", "the watching thread had panicked");
        }
    }
}

impl Drop for Detector {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

impl fmt::Debug for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detector").field("coverage", &self.coverage()).finish_non_exhaustive()
    }
}

impl Hints {
    /// Waits for hints and takes some; none where it is the coverage that has changed. `None` when the
    /// detector has ended and all were taken.
    pub async fn next(&mut self) -> Option<Vec<Hint>> {
        self.inbox.hints().await
    }

    /// Takes some of the hints that are there. Empty if there are none.
    #[must_use]
    pub fn now(&mut self) -> Vec<Hint> {
        self.inbox.hints_now()
    }
}
