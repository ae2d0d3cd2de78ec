//! Blocking reads for the threads that inspect and walk, and pages of deletes.

use super::{
    DelayedPage, DelayedPosition, RecordedState, StartBound, StateLookup, Store, StoreError, gone,
    thread,
};
use crate::model::{ObjectRecord, QueueRow, RelPath, UnixMillis};
use tokio::sync::oneshot;

impl Store {
    /// The answers to `questions`, in their order. Blocks: for the thread that inspects.
    ///
    /// # Errors
    ///
    /// If the state cannot be read.
    pub fn known_blocking(
        &self,
        questions: Vec<StateLookup>,
    ) -> Result<Vec<RecordedState>, StoreError> {
        self.ask_blocking(|answer| thread::ReadRequest::Known(questions, answer))?
    }

    /// The object records within `within` from `from` on, in their order, at most `limit` or
    /// [`RANGE_ROWS_MAX`](super::RANGE_ROWS_MAX). Blocks: for the thread that walks.
    ///
    /// # Errors
    ///
    /// If the state cannot be read.
    pub fn range_blocking(
        &self,
        within: RelPath,
        from: StartBound,
        limit: usize,
    ) -> Result<Vec<(RelPath, ObjectRecord)>, StoreError> {
        self.ask_blocking(|answer| thread::ReadRequest::Range { within, from, limit, answer })?
    }

    /// A page of the skipped paths after `after`, in their order. Blocks.
    ///
    /// # Errors
    ///
    /// If the state cannot be read.
    pub fn parked_blocking(&self, after: Option<RelPath>) -> Result<Vec<RelPath>, StoreError> {
        self.ask_blocking(|answer| thread::ReadRequest::Parked { after, answer })?
    }

    /// The delayed deletes that are due until then, after a position.
    ///
    /// # Errors
    ///
    /// If the state cannot be read.
    pub async fn delayed_until(
        &self,
        until: UnixMillis,
        after: Option<DelayedPosition>,
    ) -> Result<DelayedPage, StoreError> {
        self.ask(|answer| {
            thread::StoreRequest::Read(thread::ReadRequest::Delayed { until, after, answer })
        })
        .await?
    }

    /// The deletes in the queue, oldest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// If the state cannot be read.
    pub async fn queued_deletes(&self, limit: usize) -> Result<Vec<QueueRow>, StoreError> {
        self.ask(|answer| thread::StoreRequest::Read(thread::ReadRequest::Deletes(limit, answer)))
            .await?
    }

    /// The paths of delayed deletes after `after`, in the order of a walk. Blocks.
    ///
    /// # Errors
    ///
    /// If the state cannot be read.
    pub fn delayed_paths_blocking(
        &self,
        after: Option<RelPath>,
    ) -> Result<Vec<RelPath>, StoreError> {
        self.ask_blocking(|answer| thread::ReadRequest::DelayedPaths { after, answer })?
    }

    fn ask_blocking<T>(
        &self,
        read: impl FnOnce(oneshot::Sender<T>) -> thread::ReadRequest,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let request = thread::StoreRequest::Read(read(answer));
        self.requests.blocking_send(request).map_err(|_| gone())?;
        answered.blocking_recv().map_err(|_| gone())
    }
}
