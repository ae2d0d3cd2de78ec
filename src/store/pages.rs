//! Blocking reads for the threads that inspect and walk.

use super::{RecordedState, StartBound, StateLookup, Store, StoreError, gone, thread};
use crate::model::{ObjectRecord, RelPath};
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
