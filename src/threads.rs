//! A few threads for work of one kind that may block.
//!
//! The daemon's own runtime makes a thread for whatever may block while all others are busy, and ends one
//! that has been idle for ten seconds; which of them gets the next work goes round, so at an even pace
//! none ever is. A burst that has a hundred files read at once would leave a hundred threads for good,
//! each with its stack and its share of the allocator. What there is much of has threads of its own, as
//! many as named and no more.

use std::io;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinError;

/// A runtime of which nothing is used but the threads that may block, and those exactly bounded.
#[derive(Debug)]
pub struct Threads {
    handle: Handle,
    /// There is one until the drop.
    runtime: Option<Runtime>,
}

impl Threads {
    /// At most `count` threads called `name`, made when there is work.
    ///
    /// # Errors
    ///
    /// If the system refuses what a runtime needs.
    pub fn new(name: &str, count: usize) -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.thread_name(name).max_blocking_threads(count).build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Runs `work` when it is its turn. It must not wait for other work of its kind.
    ///
    /// # Errors
    ///
    /// If it panics.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        self.handle.spawn_blocking(work).await
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // One whom the disk does not answer must hold nobody up.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier, mpsc};

    #[tokio::test]
    async fn so_many_work_at_once_and_no_more() {
        const COUNT: usize = 3;
        let threads = Threads::new("some", COUNT).expect("threads");
        let (together, now) = (Arc::new(Barrier::new(COUNT)), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let (together, now) = (Arc::clone(&together), Arc::clone(&now));
            move || {
                let at_once = now.fetch_add(1, Ordering::SeqCst) + 1;
                // Nobody gets past it before all are there.
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
    async fn one_that_is_stuck_does_not_hold_up_the_end() {
        let threads = Threads::new("some", 1).expect("threads");
        let (end, ends) = mpsc::sync_channel::<()>(0);
        let mut working = Box::pin(threads.run(move || ends.recv().ok()));
        assert!(futures_util::poll!(&mut working).is_pending());
        drop(working);
        drop(threads);
        drop(end);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_costs_no_thread() {
        let threads = Threads::new("some", 1).expect("threads");
        let panicked = threads.run(|| panic!("so it is")).await;
        assert!(panicked.is_err_and(|error: JoinError| error.is_panic()));
        assert!(threads.run(|| ()).await.is_ok());
    }
}
