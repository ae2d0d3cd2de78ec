//! What the threads that look and walk ask for: it blocks.

use super::{From, Known, Question, Store, StoreError, gone, thread};
use crate::model::{Mirrored, RelPath};
use tokio::sync::oneshot;

impl Store {
    /// What the record says to each of `questions`, in their order. Blocks: for the thread that looks.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn known_blocking(&self, questions: Vec<Question>) -> Result<Vec<Known>, StoreError> {
        self.ask_blocking(|answer| thread::Read::Known(questions, answer))?
    }

    /// The recorded files within `within` and from `from` on, in their order, `limit` or
    /// [`RANGE_ROWS_MAX`](super::RANGE_ROWS_MAX) at most. Blocks: for the thread that walks.
    ///
    /// # Errors
    ///
    /// If the record cannot be read.
    pub fn range_blocking(
        &self,
        within: RelPath,
        from: From,
        limit: usize,
    ) -> Result<Vec<(RelPath, Mirrored)>, StoreError> {
        self.ask_blocking(|answer| thread::Read::Range { within, from, limit, answer })?
    }

    /// The parked paths after `after`, in their order, as many at most. Blocks.
    ///
    /// # Errors
    ///
    /// If the record cannot be read.
    pub fn parked_blocking(&self, after: Option<RelPath>) -> Result<Vec<RelPath>, StoreError> {
        self.ask_blocking(|answer| thread::Read::Parked { after, answer })?
    }

    fn ask_blocking<T>(
        &self,
        read: impl FnOnce(oneshot::Sender<T>) -> thread::Read,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let request = thread::Request::Read(read(answer));
        self.requests.blocking_send(request).map_err(|_| gone())?;
        answered.blocking_recv().map_err(|_| gone())
    }
}
