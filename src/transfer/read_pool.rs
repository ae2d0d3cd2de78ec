//! The threads that read the watched directory for a transfer: few, for files are read far faster than they
//! are sent. What waits for them is bounded by the tries under way.

use super::MemoryPurpose;
use super::pace::CurrentLimit;
use crate::blocking_pool::BlockingPool;
use crate::model::{Failure, FailureClass, Outcome};
use std::io;

/// Threads that read small files, and as many for parts: one large file alone has all its parts read at
/// once, and none of them keeps a small file waiting.
const READERS_MIN: usize = 8;
/// However many requests there may be at once.
const READERS_MAX: usize = 64;
/// Requests for each of them: a small file is read in a small part of the time of its request, also across a
/// network.
const REQUESTS_EACH: usize = 8;

/// Those who read.
#[derive(Debug)]
pub(super) struct ReaderPool {
    files: BlockingPool,
    parts: BlockingPool,
    requests: CurrentLimit,
}

impl ReaderPool {
    /// As many as there is use for with so many requests at once, at any time.
    ///
    /// # Errors
    ///
    /// If the system refuses what they need.
    pub(super) fn new(requests: CurrentLimit) -> io::Result<Self> {
        let count = readers(requests.get());
        Ok(Self {
            files: BlockingPool::new("read files", count)?,
            parts: BlockingPool::new("read parts", count)?,
            requests,
        })
    }

    /// Runs `work`, which may block but must not wait for other work of its kind, when it is its turn.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        purpose: MemoryPurpose,
        work: impl FnOnce() -> Result<T, Outcome> + Send + 'static,
    ) -> Result<T, Outcome> {
        let threads = match purpose {
            MemoryPurpose::File => &self.files,
            MemoryPurpose::Part => &self.parts,
        };
        threads.set_count(readers(self.requests.get()));
        match threads.run(work).await {
            Ok(result) => result,
            Err(error) => Err(Outcome::Failed(Failure {
                class: FailureClass::Object,
                code: "panic".into(),
                message: error.to_string(),
                answer_lost: false,
                retry_after_ms: None,
            })),
        }
    }
}

fn readers(requests: usize) -> usize {
    (requests / REQUESTS_EACH).clamp(READERS_MIN, READERS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::{Arc, Mutex, PoisonError, mpsc};

    #[test]
    fn many_requests_have_more_readers_within_bounds() {
        let counts = [1, 64, 160, 1_000].map(readers);
        assert_eq!(counts, [READERS_MIN, 8, 20, READERS_MAX]);
    }

    #[tokio::test]
    async fn parts_keep_no_small_file_waiting() {
        let readers = ReaderPool::new(CurrentLimit::fixed(1)).expect("readers");
        let (end, ends) = mpsc::sync_channel::<()>(0);
        let ends = Arc::new(Mutex::new(ends));
        let parts = join_all((0..READERS_MIN).map(|_| {
            let ends = Arc::clone(&ends);
            readers.run(MemoryPurpose::Part, move || {
                // An error is the end of all of them.
                ends.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
                Ok(())
            })
        }));
        let file = async {
            let read = readers.run(MemoryPurpose::File, || Ok(())).await;
            drop(end);
            read
        };
        let (parts, file) = tokio::join!(parts, file);
        assert_eq!(file, Ok(()));
        assert_eq!(parts, vec![Ok(()); READERS_MIN]);
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_of_that_file() {
        let readers = ReaderPool::new(CurrentLimit::fixed(1)).expect("readers");
        let panicked = readers.run::<()>(MemoryPurpose::File, || panic!("so it is")).await;
        assert!(matches!(panicked, Err(Outcome::Failed(failure)) if failure.code == "panic"));
    }
}
