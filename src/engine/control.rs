//! What people and programs may ask of the engine while it runs, and how they are answered.
//!
//! Requests come by a bounded channel; each has a channel of its own for its answer. Whoever asks and
//! goes away costs nothing: an answer that nobody takes is dropped.

use super::flush::Flushed;
use crate::detect::Detector;
use crate::model::{Pending, RelPath};
use crate::store::Store;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait for the loop.
const REQUESTS_MAX: usize = 64;
/// Flushes that may be under way at once.
const FLUSHES_MAX: usize = 64;
/// Parked paths that are looked at again when everything is to be tried.
pub(super) const PARKED_MAX: usize = 10_000;

/// Something is asked for.
#[derive(Debug)]
pub enum Request {
    /// Is the loop alive?
    Ping(Answer<()>),
    /// Compare the whole tree now.
    Rescan(Answer<()>),
    /// Do the deletes that are held now; answers how many there are.
    ApproveDeletes(Answer<u64>),
    /// Try these at once, or everything that waits; answers how many.
    Retry(Option<Vec<RelPath>>, Answer<u64>),
    /// What waits, the oldest first; so many rows at most.
    Queued(usize, Answer<Vec<Pending>>),
    /// The daemon will be told to stop soon.
    EndSoon(Answer<()>),
    /// Answer when every change that was made before this is in S3.
    Flush {
        /// The last events are waited for this long.
        patience: Duration,
        /// Where to answer.
        answer: Answer<Flushed>,
    },
}

/// Where an answer goes.
pub type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// Why nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nothing to mirror.
    #[error("the watched directory is not there")]
    NoSource,
    /// Others wait already.
    #[error("too many requests wait already")]
    Busy,
    /// The record cannot be read.
    #[error("the record cannot be read")]
    Record,
    /// What was asked went with the configuration of then.
    #[error("the configuration has changed meanwhile; ask again")]
    Reconfigured,
    /// The daemon is coming to its end.
    #[error("the daemon is stopping")]
    Stopping,
}

/// A handle for those who ask. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control(mpsc::Sender<Request>);

/// The other end, for those who answer.
pub type Requests = mpsc::Receiver<Request>;

/// Both ends.
#[must_use]
pub fn channel() -> (Control, Requests) {
    let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
    (Control(sender), receiver)
}

impl Control {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// If nothing was done.
    pub async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(request(answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::Busy,
            mpsc::error::TrySendError::Closed(_) => Refusal::Stopping,
        })?;
        answered.await.unwrap_or(Err(Refusal::Stopping))
    }
}

pub(super) fn reply<T>(answer: Answer<T>, result: Result<T, Refusal>) {
    // Whoever asked may have gone.
    answer.send(result).ok();
}

/// Answers what is asked for in the record.
pub(super) async fn queued(store: &Store, limit: usize, answer: Answer<Vec<Pending>>) {
    let rows = store.queued(limit).await.map(|(rows, _)| rows);
    reply(answer, rows.map_err(|_| Refusal::Record));
}

/// Answers while there is no engine.
pub async fn without_source(request: Request, store: &Store) {
    match request {
        Request::Ping(answer) | Request::EndSoon(answer) => reply(answer, Ok(())),
        Request::Queued(limit, answer) => queued(store, limit, answer).await,
        Request::Rescan(answer) => reply(answer, Err(Refusal::NoSource)),
        Request::ApproveDeletes(answer) | Request::Retry(_, answer) => {
            reply(answer, Err(Refusal::NoSource));
        }
        Request::Flush { answer, .. } => reply(answer, Err(Refusal::NoSource)),
    }
}

/// Those who wait for a flush.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    last: u64,
    answers: Vec<(u64, Answer<Flushed>)>,
}

impl Waiting {
    /// The number of one more who waits, if there is room.
    pub(super) fn add(&mut self, answer: Answer<Flushed>) -> Option<u64> {
        if self.answers.len() >= FLUSHES_MAX {
            reply(answer, Err(Refusal::Busy));
            return None;
        }
        self.last += 1;
        self.answers.push((self.last, answer));
        Some(self.last)
    }

    /// Answers those whose flush has ended.
    pub(super) fn answer(&mut self, ended: Vec<(u64, Flushed)>) {
        for (id, flushed) in ended {
            if let Some(index) = self.answers.iter().position(|(known, _)| *known == id) {
                let (_, answer) = self.answers.swap_remove(index);
                reply(answer, Ok(flushed));
            }
        }
    }

    /// Answers all of them that nothing comes of it.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.answers.drain(..).for_each(|(_, answer)| reply(answer, Err(refusal)));
    }

    /// The numbers of those who have gone. They are forgotten.
    pub(super) fn gone(&mut self) -> Vec<u64> {
        let gone = self.answers.extract_if(.., |(_, answer)| answer.is_closed());
        gone.map(|(id, _)| id).collect()
    }
}

/// Waits until all that happened before is in the hints. Answers whether the tree has to be compared
/// besides, because hints do not tell of everything.
pub(super) async fn gather(
    detector: Option<Arc<Detector>>,
    tells_everything: bool,
    patience: Duration,
) -> bool {
    let Some(detector) = detector else { return true };
    match detector.barrier(patience).await {
        Ok(()) => !tells_everything || detector.coverage().is_poor(),
        Err(error) => {
            tracing::warn!(
                event = "watch.barrier_failed",
                error.message = %error,
                "not known whether the last events are there; comparing everything instead"
            );
            true
        }
    }
}
