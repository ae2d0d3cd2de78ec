//! What the handlers of requests share.

use super::ResponseSources;
use super::refusal_log::RefusalLog;
use crate::clock::unix_millis;
use crate::engine::control::{ControlError, ControlRequest as Ask};
use crate::model::{QueueRow, UnixMillis};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// Maximum time for the loop to answer, so that a health check is answered within its second.
pub(super) const PING_PATIENCE: Duration = Duration::from_millis(500);
/// The common state of the handlers.
#[derive(Debug)]
pub(super) struct HandlerState {
    pub(super) sources: ResponseSources,
    pub(super) refusals: RefusalLog,
    /// The time of the first ping without an answer.
    silent_since: Mutex<Option<UnixMillis>>,
}

impl HandlerState {
    pub(super) fn new(sources: ResponseSources) -> Arc<Self> {
        Arc::new(Self { sources, refusals: RefusalLog::default(), silent_since: Mutex::new(None) })
    }

    /// Pings the loop. Returns how long it has not answered.
    pub(super) async fn silence(&self) -> UnixMillis {
        let asked = unix_millis();
        let sign = timeout(PING_PATIENCE, self.sources.control.ask(Ask::Ping)).await;
        let mut since = self.silent_since.lock().unwrap_or_else(PoisonError::into_inner);
        // A full channel is not an answer; a loop that has ended was asked to.
        if matches!(sign, Ok(Ok(()) | Err(ControlError::Stopping))) {
            *since = None;
            return 0;
        }
        unix_millis().saturating_sub(*since.get_or_insert(asked))
    }

    /// The deletes in the queue.
    pub(super) async fn deletes(&self, limit: usize) -> Vec<QueueRow> {
        let rows = self.sources.control.ask(|answer| Ask::QueuedDeletes(limit, answer)).await;
        rows.unwrap_or_default()
    }

    pub(super) async fn rows(&self, limit: usize) -> Vec<QueueRow> {
        // If the rows cannot be read, none are shown.
        let rows = self.sources.control.ask(|answer| Ask::Queued(limit, answer)).await;
        rows.unwrap_or_default()
    }
}
