//! What people and programs may ask of the engine while it runs, and how they are answered.
//!
//! Requests come by a bounded channel; each has a channel of its own for its reply. A client that
//! disconnects costs nothing: its reply is dropped.

use super::flush::FlushResult;
use crate::detect::Detector;
use crate::hints::RemoteHint;
use crate::model::{QueueRow, RelPath};
use crate::store::{StateLookup, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait for the loop.
const REQUESTS_MAX: usize = 64;
/// Flushes that may be under way at once.
const FLUSHES_MAX: usize = 64;
/// Parked paths that are inspected again when everything is retried.
pub(super) const PARKED_MAX: usize = 10_000;

/// Something is asked for.
#[derive(Debug)]
pub enum ControlRequest {
    /// Is the loop alive?
    Ping(ControlReply<()>),
    /// Compare the whole tree now.
    Rescan(ControlReply<()>),
    /// Do the deletes that are held or delayed now; answers how many there are.
    ApproveDeletes {
        /// Do nothing if there are not so many.
        expect: Option<u64>,
        /// Where to answer.
        answer: ControlReply<u64>,
    },
    /// Drop the deletes that are held or delayed; answers how many there are.
    CancelDeletes {
        /// Do nothing if there are not so many.
        expect: Option<u64>,
        /// Where to answer.
        answer: ControlReply<u64>,
    },
    /// The deletes in the queue, the oldest first; so many rows at most.
    QueuedDeletes(usize, ControlReply<Vec<QueueRow>>),
    /// Try these at once, or everything that waits.
    Retry(Option<Vec<RelPath>>, ControlReply<RetryResult>),
    /// What waits, the oldest first; so many rows at most.
    Queued(usize, ControlReply<Vec<QueueRow>>),
    /// Other nodes have seen changes.
    Hints(Vec<RemoteHint>, ControlReply<()>),
    /// A shutdown is announced.
    EndSoon(ControlReply<()>),
    /// Answer when every change that was made before this is in S3.
    Flush {
        /// The last events are waited for this long.
        patience: Duration,
        /// Where to answer.
        answer: ControlReply<FlushResult>,
    },
}

/// What a request to retry found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetryResult {
    /// Queue entries that are scheduled.
    pub scheduled: u64,
    /// Requested paths without a queue entry. They are inspected nevertheless.
    pub not_queued: Vec<RelPath>,
}

/// Where an answer goes.
pub type ControlReply<T> = oneshot::Sender<Result<T, ControlError>>;

/// Why nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
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
    /// Another instance has the state.
    #[error("this instance waits for the one that holds the state directory")]
    WaitingForInstance,
    /// The daemon is coming to its end.
    #[error("the daemon is stopping")]
    Stopping,
}

/// A handle for those who ask. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    requests: mpsc::Sender<ControlRequest>,
    end_announced: Arc<AtomicBool>,
}

/// The other end, for those who answer.
pub type ControlRequests = mpsc::Receiver<ControlRequest>;

/// Both ends.
#[must_use]
pub fn channel() -> (Control, ControlRequests) {
    let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
    (Control { requests: sender, end_announced: Arc::default() }, receiver)
}

impl Control {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// If nothing was done.
    pub async fn ask<T>(
        &self,
        request: impl FnOnce(ControlReply<T>) -> ControlRequest,
    ) -> Result<T, ControlError> {
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(request(answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ControlError::Busy,
            mpsc::error::TrySendError::Closed(_) => ControlError::Stopping,
        })?;
        answered.await.unwrap_or(Err(ControlError::Stopping))
    }

    /// Announces that the pod is ending, also where no engine listens.
    ///
    /// # Errors
    ///
    /// If the engine could not be reached. The shutdown counts as announced anyway.
    pub async fn announce_end(&self) -> Result<(), ControlError> {
        self.end_announced.store(true, Ordering::Relaxed);
        self.ask(ControlRequest::EndSoon).await
    }

    /// Whether the end of the pod was announced.
    #[must_use]
    pub fn is_end_announced(&self) -> bool {
        self.end_announced.load(Ordering::Relaxed)
    }
}

pub(super) fn reply<T>(answer: ControlReply<T>, result: Result<T, ControlError>) {
    // The client may have disconnected.
    answer.send(result).ok();
}

/// Answers what is asked for in the record.
pub(super) async fn queued(store: &Store, limit: usize, answer: ControlReply<Vec<QueueRow>>) {
    let rows = store.queued(limit).await.map(|(rows, _)| rows);
    reply(answer, rows.map_err(|_| ControlError::Record));
}

/// Answers which deletes are in the record.
pub(super) async fn queued_deletes(
    store: &Store,
    limit: usize,
    answer: ControlReply<Vec<QueueRow>>,
) {
    let rows = store.queued_deletes(limit).await;
    reply(answer, rows.map_err(|_| ControlError::Record));
}

/// Answers which of these paths have a queue entry. Blocks.
pub(super) fn find_queued(store: &Store, paths: Vec<RelPath>, answer: ControlReply<RetryResult>) {
    let lookups = paths.iter().cloned().map(StateLookup::for_path).collect();
    let Ok(recorded) = store.known_blocking(lookups) else {
        return reply(answer, Err(ControlError::Record));
    };
    let mut result = RetryResult::default();
    for (path, recorded) in paths.into_iter().zip(recorded) {
        match recorded.pending {
            Some(_) => result.scheduled += 1,
            None => result.not_queued.push(path),
        }
    }
    reply(answer, Ok(result));
}

/// Answers while there is no engine.
pub async fn reject_no_source(request: ControlRequest, store: &Store) {
    match request {
        ControlRequest::Ping(answer) | ControlRequest::EndSoon(answer) => reply(answer, Ok(())),
        ControlRequest::Queued(limit, answer) => queued(store, limit, answer).await,
        ControlRequest::Rescan(answer) | ControlRequest::Hints(_, answer) => {
            reply(answer, Err(ControlError::NoSource));
        }
        ControlRequest::Retry(_, answer) => reply(answer, Err(ControlError::NoSource)),
        ControlRequest::QueuedDeletes(limit, answer) => {
            queued_deletes(store, limit, answer).await;
        }
        ControlRequest::ApproveDeletes { answer, .. }
        | ControlRequest::CancelDeletes { answer, .. } => {
            reply(answer, Err(ControlError::NoSource));
        }
        ControlRequest::Flush { answer, .. } => reply(answer, Err(ControlError::NoSource)),
    }
}

/// Answers while there is no state: another instance holds it, or it is being opened.
pub fn reject_no_state(request: ControlRequest) {
    let refusal = ControlError::WaitingForInstance;
    match request {
        ControlRequest::Ping(answer) | ControlRequest::EndSoon(answer) => reply(answer, Ok(())),
        ControlRequest::Queued(_, answer) | ControlRequest::QueuedDeletes(_, answer) => {
            reply(answer, Err(refusal));
        }
        ControlRequest::Rescan(answer) | ControlRequest::Hints(_, answer) => {
            reply(answer, Err(refusal));
        }
        ControlRequest::Retry(_, answer) => reply(answer, Err(refusal)),
        ControlRequest::ApproveDeletes { answer, .. }
        | ControlRequest::CancelDeletes { answer, .. } => {
            reply(answer, Err(refusal));
        }
        ControlRequest::Flush { answer, .. } => reply(answer, Err(refusal)),
    }
}

/// Those who wait for a flush.
#[derive(Debug, Default)]
pub(super) struct FlushWaiters {
    last: u64,
    answers: Vec<(u64, ControlReply<FlushResult>)>,
}

impl FlushWaiters {
    /// The number of one more who waits, if there is room.
    pub(super) fn add(&mut self, answer: ControlReply<FlushResult>) -> Option<u64> {
        if self.answers.len() >= FLUSHES_MAX {
            reply(answer, Err(ControlError::Busy));
            return None;
        }
        self.last += 1;
        self.answers.push((self.last, answer));
        Some(self.last)
    }

    /// Answers those whose flush has ended.
    pub(super) fn answer(&mut self, ended: Vec<(u64, FlushResult)>) {
        for (id, flushed) in ended {
            if let Some(index) = self.answers.iter().position(|(known, _)| *known == id) {
                let (_, answer) = self.answers.swap_remove(index);
                reply(answer, Ok(flushed));
            }
        }
    }

    /// Answers all of them that nothing comes of it.
    pub(super) fn refuse(&mut self, refusal: ControlError) {
        self.answers.drain(..).for_each(|(_, answer)| reply(answer, Err(refusal)));
    }

    /// The numbers of those who have gone. They are forgotten.
    pub(super) fn gone(&mut self) -> Vec<u64> {
        let gone = self.answers.extract_if(.., |(_, answer)| answer.is_closed());
        gone.map(|(id, _)| id).collect()
    }
}

/// Waits until all that happened before is in the hints. Returns whether the tree must be scanned
/// as well, because hints do not cover everything.
pub async fn gather(
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
