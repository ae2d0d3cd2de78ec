//! The threads that read the watched directory for a transfer.
//!
//! The daemon's own runtime makes a thread for whatever may block while all others are busy, and ends one
//! that has been idle for ten seconds; which of them gets the next work goes round, so at an even pace
//! none ever is. A burst that reads a hundred files at once would leave a hundred threads for good, each
//! with its stack and its share of the allocator. So there are a few of their own: files are read far
//! faster than they are sent. What waits for them is bounded by the tries under way.

use super::Purpose;
use crate::model::{Failure, FailureClass, Outcome};
use std::io;
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that read small files, and as many for parts: one large file alone has all its parts read at
/// once, and none of them keeps a small file waiting.
const READERS: usize = 8;

/// Those who read.
#[derive(Debug)]
pub(super) struct Readers {
    files: Pool,
    parts: Pool,
}

impl Readers {
    /// # Errors
    ///
    /// If the system refuses what they need; threads are made when there is work.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { files: Pool::new("read files")?, parts: Pool::new("read parts")? })
    }

    /// Runs `work`, which may block but must not wait for other work of its kind, when it is its turn.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        purpose: Purpose,
        work: impl FnOnce() -> Result<T, Outcome> + Send + 'static,
    ) -> Result<T, Outcome> {
        let pool = match purpose {
            Purpose::File => &self.files,
            Purpose::Part => &self.parts,
        };
        match pool.handle.spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(Outcome::Failed(Failure {
                class: FailureClass::Object,
                code: "panic".into(),
                message: error.to_string(),
                answer_lost: false,
            })),
        }
    }
}

/// A runtime of which nothing is used but the threads that may block, and those exactly bounded. It is
/// there until the drop.
#[derive(Debug)]
struct Pool {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Pool {
    fn new(name: &str) -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.thread_name(name).max_blocking_threads(READERS).build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // A reader whom the disk does not answer must hold nobody up.
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
    use std::sync::{Arc, Barrier, Mutex, PoisonError, mpsc};

    /// Works that end when they are told to.
    struct Held {
        ends: Arc<Mutex<mpsc::Receiver<()>>>,
        end: mpsc::SyncSender<()>,
    }

    impl Held {
        fn new() -> Self {
            let (end, ends) = mpsc::sync_channel(0);
            Self { ends: Arc::new(Mutex::new(ends)), end }
        }

        fn work(&self) -> impl FnOnce() -> Result<(), Outcome> + use<> {
            let ends = Arc::clone(&self.ends);
            move || {
                // An error is the end of all of them.
                ends.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
                Ok(())
            }
        }

        fn end(self) {
            drop(self.end);
        }
    }

    #[tokio::test]
    async fn so_many_read_at_once_and_no_more() {
        let readers = Readers::new().expect("readers");
        for purpose in [Purpose::File, Purpose::Part] {
            let (together, now) = (Arc::new(Barrier::new(READERS)), Arc::new(AtomicUsize::new(0)));
            let work = || {
                let (together, now) = (Arc::clone(&together), Arc::clone(&now));
                move || {
                    let at_once = now.fetch_add(1, Ordering::SeqCst) + 1;
                    // Nobody gets past it before all are there.
                    together.wait();
                    now.fetch_sub(1, Ordering::SeqCst);
                    Ok(at_once)
                }
            };
            let working = (0..8 * READERS).map(|_| readers.run(purpose, work()));
            let at_once = join_all(working).await.into_iter().map(|read| read.expect("it ends"));
            assert_eq!(at_once.max(), Some(READERS));
        }
    }

    #[tokio::test]
    async fn parts_keep_no_small_file_waiting() {
        let readers = Readers::new().expect("readers");
        let held = Held::new();
        let parts = join_all((0..READERS).map(|_| readers.run(Purpose::Part, held.work())));
        let file = async {
            let read = readers.run(Purpose::File, || Ok(())).await;
            held.end();
            read
        };
        let (parts, file) = tokio::join!(parts, file);
        assert_eq!(file, Ok(()));
        assert_eq!(parts, vec![Ok(()); READERS]);
    }

    #[tokio::test]
    async fn readers_that_are_stuck_do_not_hold_up_the_end() {
        let readers = Readers::new().expect("readers");
        let held = Held::new();
        let mut reading = Box::pin(readers.run(Purpose::File, held.work()));
        assert!(futures_util::poll!(&mut reading).is_pending());
        drop(reading);
        drop(readers);
        held.end();
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_and_costs_no_reader() {
        let readers = Readers::new().expect("readers");
        for _ in 0..=READERS {
            let panicked = readers.run::<()>(Purpose::File, || panic!("so it is")).await;
            assert!(matches!(panicked, Err(Outcome::Failed(failure)) if failure.code == "panic"));
        }
    }
}
