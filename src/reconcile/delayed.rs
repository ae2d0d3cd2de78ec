//! What a scan does about paths in the queue: that a file is missing whose delete is delayed is known, and
//! skipped paths are inspected again.

use super::{ReconcileError, ScanMerge};
use crate::model::RelPath;
use crate::store::{Store, StoreError};
use std::collections::VecDeque;

/// A page of them, and where the next one begins.
#[derive(Debug, Default)]
pub(super) struct DelayedPaths {
    page: VecDeque<RelPath>,
    /// The path after which the page begins, once it is read.
    after: Option<Option<RelPath>>,
    is_last: bool,
}

impl DelayedPaths {
    /// Whether the delete of `path` is delayed. Paths are asked for in their order.
    pub(super) fn has(&mut self, store: &Store, path: &RelPath) -> Result<bool, StoreError> {
        loop {
            while self.page.front().is_some_and(|delayed| delayed < path) {
                self.page.pop_front();
            }
            if let Some(delayed) = self.page.front() {
                return Ok(delayed == path);
            }
            if self.is_last {
                return Ok(false);
            }
            let after = self.after.take().flatten();
            self.page = store.delayed_paths_blocking(after)?.into();
            self.is_last = self.page.is_empty();
            self.after = Some(self.page.back().cloned());
        }
    }
}

impl ScanMerge<'_> {
    /// Returns the skipped paths.
    pub(super) fn parked(&mut self) -> Result<(), ReconcileError> {
        let mut after = None;
        loop {
            let page = self.store.parked_blocking(after)?;
            let Some(last) = page.last().cloned() else { return Ok(()) };
            for path in &page {
                self.differs(path)?;
            }
            after = Some(last);
        }
    }
}
