//! Performs sweeps: one look at each remembered directory, on threads of its own, and hints of what has to
//! be scanned.

use super::memory::DirectoryMemory;
use super::pace;
use super::remembered::DIRECTORIES_MAX;
use crate::blocking_pool::BlockingPool;
use crate::model::{Depth, Hint, RelPath};
use crate::root::{InspectError, Root, Stat};
use futures_util::future::join_all;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Threads that wait for a file system at once. Answers of a network file system take a millisecond.
const THREADS: usize = 8;
/// Looks of one thread until it returns their results.
const LOOKS: usize = 64;
/// Batches of hints that may wait for the engine. Then the sweep waits.
const HINTS_MAX: usize = 4;
/// Sweeps for which a directory is hot after a change, at least.
const HOT_SWEEPS: u32 = 10;
/// The time for which a directory is hot after a change, at least.
const HOT_TIME: Duration = Duration::from_secs(300);

/// How often to sweep, and how often to scan everything nevertheless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepSettings {
    /// Time between two sweeps.
    pub interval: Duration,
    /// Time between two scans of the whole tree while sweeps are useful.
    pub full_interval: Duration,
}

/// Sweeps while it is active, until it is dropped.
#[derive(Debug)]
pub struct Sweeper {
    memory: DirectoryMemory,
    full_interval: Duration,
    active: watch::Sender<bool>,
    hints: mpsc::Receiver<Vec<Hint>>,
    task: JoinHandle<()>,
}

struct SweepTask {
    root: Arc<Root>,
    memory: DirectoryMemory,
    threads: BlockingPool,
    interval: Duration,
    /// Elapsed time counts from here.
    started: Instant,
    hints: mpsc::Sender<Vec<Hint>>,
    report: SweepReport,
}

/// What was logged, so that it is logged once.
#[derive(Debug, Default)]
struct SweepReport {
    slow: bool,
    full: bool,
    useless: bool,
}

impl Sweeper {
    /// Starts without being active. Times count from `started`.
    ///
    /// # Errors
    ///
    /// If there is no thread for it.
    pub fn start(root: Arc<Root>, settings: SweepSettings, started: Instant) -> io::Result<Self> {
        let SweepSettings { interval, full_interval } = settings;
        let memory = DirectoryMemory::new(HOT_TIME.max(interval * HOT_SWEEPS));
        let (sender, hints) = mpsc::channel(HINTS_MAX);
        let (active, is_active) = watch::channel(false);
        let task = SweepTask {
            root,
            memory: memory.clone(),
            threads: BlockingPool::new("sweep", THREADS)?,
            interval,
            started,
            hints: sender,
            report: SweepReport::default(),
        };
        let task = tokio::spawn(task.run(is_active));
        Ok(Self { memory, full_interval, active, hints, task })
    }

    /// What is remembered of directories, for the scans that list them.
    #[must_use]
    pub fn memory(&self) -> &DirectoryMemory {
        &self.memory
    }

    /// Sweeps from now on, or not.
    pub fn set_active(&self, active: bool) {
        self.active.send_if_modified(|before| {
            let changes = *before != active;
            if changes {
                self.memory.set_active(active);
                *before = active;
            }
            changes
        });
    }

    /// Time between two scans of the whole tree, if sweeps find changes between them.
    #[must_use]
    pub fn full_interval(&self) -> Option<Duration> {
        self.memory.is_useful().then_some(self.full_interval)
    }

    /// The next hints.
    pub async fn next(&mut self) -> Vec<Hint> {
        match self.hints.recv().await {
            Some(hints) => hints,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SweepTask {
    async fn run(mut self, mut active: watch::Receiver<bool>) {
        let mut next = self.started;
        while active.wait_for(|active| *active).await.is_ok() {
            next = (next + self.interval).max(Instant::now());
            tokio::time::sleep_until(next).await;
            if *active.borrow() && self.memory.is_useful() && self.sweep().await.is_none() {
                return;
            }
        }
    }

    /// Performs one sweep. Returns `None` if the receiver of the hints was dropped.
    async fn sweep(&mut self) -> Option<()> {
        let began = Instant::now();
        let files = self.memory.begin_sweep(began - self.started);
        self.send(files).await?;
        self.confirm_root().await?;
        let (total, _) = self.memory.size();
        let mut done = 0;
        let mut after = None;
        loop {
            let batch = self.memory.next(after.as_ref(), THREADS * LOOKS);
            let Some(last) = batch.last() else { break };
            after = Some(last.clone());
            done += batch.len();
            let looks = self.look(batch).await;
            let hints = self.memory.looked(looks, self.started.elapsed());
            self.send(hints).await?;
            let pause = pace::pause(done, total, began.elapsed(), self.interval);
            tokio::time::sleep(pause).await;
        }
        self.report(done, began.elapsed());
        Some(())
    }

    /// Has the tree scanned if the watched directory is not what it was. The scan reports it.
    async fn confirm_root(&self) -> Option<()> {
        let root = Arc::clone(&self.root);
        let confirmed = self.threads.run(move || root.confirm().is_ok()).await;
        match confirmed {
            Ok(false) => self.send(vec![Hint::Tree(RelPath::root(), Depth::Whole)]).await,
            _ => Some(()),
        }
    }

    async fn look(&self, batch: Vec<RelPath>) -> Vec<(RelPath, Result<Stat, InspectError>)> {
        let looks = batch.chunks(LOOKS).map(|paths| {
            let root = Arc::clone(&self.root);
            let paths = paths.to_vec();
            self.threads.run(move || {
                let looks = paths.into_iter().map(|path| {
                    let look = root.look_at_directory(&path);
                    (path, look)
                });
                looks.collect::<Vec<_>>()
            })
        });
        let looks = join_all(looks).await.into_iter();
        let resume = |panic: crate::blocking_pool::WorkError| {
            std::panic::resume_unwind(panic.into_panic());
        };
        looks.flat_map(|looks| looks.unwrap_or_else(resume)).collect()
    }

    async fn send(&self, hints: Vec<Hint>) -> Option<()> {
        if hints.is_empty() {
            return Some(());
        }
        self.hints.send(hints).await.ok()
    }

    fn report(&mut self, directories: usize, took: Duration) {
        let (remembered, beyond) = self.memory.size();
        tracing::debug!(
            event = "sweep.completed",
            directories,
            duration_ms = crate::model::millis(took),
            "sweep completed"
        );
        let slow = took > self.interval;
        if slow && !self.report.slow {
            tracing::warn!(
                event = "sweep.slow",
                directories,
                duration_seconds = took.as_secs(),
                interval_seconds = self.interval.as_secs(),
                "a sweep takes longer than poll_interval_seconds; changes are found later"
            );
        }
        self.report.slow = slow;
        if beyond > 0 && !self.report.full {
            tracing::warn!(
                event = "sweep.full",
                remembered,
                maximum = DIRECTORIES_MAX,
                "too many directories to remember; the others are covered by full scans only"
            );
        }
        self.report.full = beyond > 0;
        let useless = !self.memory.is_useful();
        if useless && !self.report.useless {
            tracing::warn!(
                event = "sweep.useless",
                interval_seconds = self.interval.as_secs(),
                "the file system does not change the times of a directory with its entries; \
                 scanning everything every poll_interval_seconds instead"
            );
        }
        self.report.useless = useless;
    }
}
