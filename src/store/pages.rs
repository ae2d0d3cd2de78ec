//! What the thread that walks asks for: it blocks.

use super::{From, Store, StoreError, gone, thread};
use crate::model::{Mirrored, RelPath};
use tokio::sync::oneshot;

impl Store {
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
        let (answer, answered) = oneshot::channel();
        let request = thread::Request::Read(thread::Read::Range { within, from, limit, answer });
        self.requests.blocking_send(request).map_err(|_| gone())?;
        answered.blocking_recv().map_err(|_| gone())?
    }

    /// The parked paths after `after`, in their order, as many at most. Blocks.
    ///
    /// # Errors
    ///
    /// If the record cannot be read.
    pub fn parked_blocking(&self, after: Option<RelPath>) -> Result<Vec<RelPath>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let request = thread::Request::Read(thread::Read::Parked { after, answer });
        self.requests.blocking_send(request).map_err(|_| gone())?;
        answered.blocking_recv().map_err(|_| gone())?
    }
}
