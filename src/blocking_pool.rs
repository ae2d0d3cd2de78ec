//! A bounded number of threads for one kind of blocking work.
//!
//! The runtime of the daemon creates a thread for blocking work while all others are busy, and ends
//! one that has been idle for ten seconds. Its threads take work in rotation, so that at an even
//! rate none is ever idle. A burst that reads a hundred files at once would leave a hundred
//! threads, each with its stack and its part of the allocator. Frequent kinds of work therefore
//! have their own threads, with an exact maximum.
//!
//! # Invariants
//!
//! - The first thread exists from the start to the end. If the system refuses another one, as
//!   with a limit on processes, the existing ones do the work.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// The idle time after which threads other than the first end.
const IDLE_MAX: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Threads with one name and an exact maximum.
#[derive(Debug)]
pub struct BlockingPool {
    pool: Arc<Pool>,
}

struct Pool {
    name: String,
    count: AtomicUsize,
    state: Mutex<PoolState>,
    /// Signals work, or the end.
    wake: Condvar,
}

#[derive(Default)]
struct PoolState {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    ended: bool,
}

/// Why work has no result.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The work panicked.
    #[error("the work panicked: {0}")]
    Panicked(String),
    /// The threads have ended.
    #[error("the threads have ended")]
    Ended,
}

impl WorkError {
    /// The payload with which to resume the panic of another thread.
    #[must_use]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        Box::new(self.to_string())
    }
}

impl BlockingPool {
    /// Creates at most `count` threads named `name`; all but the first are created when there is
    /// work.
    ///
    /// # Errors
    ///
    /// If the system refuses the first.
    pub fn new(name: &str, count: usize) -> io::Result<Self> {
        let pool = Arc::new(Pool {
            name: name.to_owned(),
            count: AtomicUsize::new(count.max(1)),
            state: Mutex::default(),
            wake: Condvar::new(),
        });
        pool.lock().threads = 1;
        pool.spawn()?;
        Ok(Self { pool })
    }

    /// Changes the maximum. Threads above it end when they are idle.
    pub fn set_count(&self, count: usize) {
        self.pool.count.store(count.max(1), Ordering::Relaxed);
    }

    /// Runs `work` on a thread. The work must not wait for other work of its kind.
    ///
    /// # Errors
    ///
    /// If it panics.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        let (send, receive) = oneshot::channel();
        self.pool.add(Box::new(move || {
            // The caller may have been dropped.
            drop(send.send(catch_unwind(AssertUnwindSafe(work))));
        }));
        match receive.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(panic)) => Err(WorkError::Panicked(message(&*panic))),
            Err(_) => Err(WorkError::Ended),
        }
    }
}

impl Drop for BlockingPool {
    fn drop(&mut self) {
        // A thread that waits for a disk does not delay the end.
        let mut state = self.pool.lock();
        state.ended = true;
        state.jobs.clear();
        drop(state);
        self.pool.wake.notify_all();
    }
}

impl Pool {
    fn add(self: &Arc<Self>, job: Job) {
        let mut state = self.lock();
        state.jobs.push_back(job);
        let another =
            state.jobs.len() > state.idle && state.threads < self.count.load(Ordering::Relaxed);
        state.threads += usize::from(another);
        drop(state);
        self.wake.notify_one();
        if another && self.spawn().is_err() {
            // The existing threads do the work.
            self.lock().threads -= 1;
        }
    }

    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        let pool = Arc::clone(self);
        let thread = std::thread::Builder::new().name(self.name.clone());
        thread.spawn(move || pool.work()).map(drop)
    }

    /// The loop of each thread.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if state.ended {
                return;
            }
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (woken, timeout) =
                self.wake.wait_timeout(state, IDLE_MAX).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.jobs.is_empty() && state.threads > 1 {
                state.threads -= 1;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.name).field("count", &self.count).finish()
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::{Barrier, mpsc};

    #[tokio::test]
    async fn as_many_jobs_run_at_once_as_there_are_threads() {
        const COUNT: usize = 3;
        let threads = BlockingPool::new("some", COUNT).expect("threads");
        let together = Arc::new(Barrier::new(COUNT));
        let now = Arc::new(AtomicUsize::new(0));
        let work = || {
            let together = Arc::clone(&together);
            let now = Arc::clone(&now);
            move || {
                let at_once = now.fetch_add(1, Ordering::SeqCst) + 1;
                // No thread passes before all have arrived.
                together.wait();
                now.fetch_sub(1, Ordering::SeqCst);
                at_once
            }
        };
        let working = (0..20 * COUNT).map(|_| threads.run(work()));
        let at_once = join_all(working).await.into_iter().map(|worked| worked.expect("it ends"));
        assert_eq!(at_once.max(), Some(COUNT));
    }

    #[tokio::test]
    async fn a_job_that_hangs_does_not_delay_the_drop() {
        let threads = BlockingPool::new("some", 1).expect("threads");
        let (end, ends) = mpsc::sync_channel::<()>(0);
        let mut working = Box::pin(threads.run(move || ends.recv().ok()));
        assert!(futures_util::poll!(&mut working).is_pending());
        drop(working);
        drop(threads);
        drop(end);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_ends_no_thread() {
        let threads = BlockingPool::new("some", 1).expect("threads");
        let panicked = threads.run(|| -> () { panic!("for the test") }).await;
        assert!(matches!(panicked, Err(WorkError::Panicked(why)) if why == "for the test"));
        assert!(threads.run(|| ()).await.is_ok());
    }
}
