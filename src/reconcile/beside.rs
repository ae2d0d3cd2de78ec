//! Runs a scan on a separate thread.

use super::{Expected, ReconcileError, ScanScope, Summary, reconcile};
use crate::filter::Filter;
use crate::model::{Failure, RelPath};
use crate::root::{Root, SourceGone};
use crate::store::{Store, StoreError};
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The inputs of a scan.
#[derive(Debug)]
pub struct ScanTask {
    /// The watched directory.
    pub root: Arc<Root>,
    /// The state.
    pub store: Store,
    /// Selects the names to mirror.
    pub filter: Arc<Filter>,
    /// The expected content of rows.
    pub expected: Expected,
    /// The scope.
    pub range: ScanScope,
}

/// A running scan.
#[derive(Debug)]
pub struct RunningScan(JoinHandle<Result<Summary, ReconcileError>>);

impl ScanTask {
    /// Scans, and sends the differences, converted for their receiver. Ends early when the receiver
    /// is dropped. Blocks.
    ///
    /// # Errors
    ///
    /// If it could not be completed.
    pub fn send<T>(
        &self,
        to: &mpsc::Sender<T>,
        wrap: impl Fn(Vec<RelPath>) -> T,
    ) -> Result<Summary, ReconcileError> {
        let Self { root, store, filter, expected, range } = self;
        reconcile(root, store, filter, expected, range, &mut |paths| {
            // An empty batch is not sent; it only checks for a dropped receiver.
            let ended = if paths.is_empty() {
                to.is_closed()
            } else {
                to.blocking_send(wrap(paths)).is_err()
            };
            if ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    /// Scans on a separate thread, with a bounded number of batches in the channel.
    #[must_use]
    pub fn start(self, ahead: usize) -> (mpsc::Receiver<Vec<RelPath>>, RunningScan) {
        let (differing, differences) = mpsc::channel(ahead);
        let task = tokio::task::spawn_blocking(move || self.send(&differing, |paths| paths));
        (differences, RunningScan(task))
    }
}

impl RunningScan {
    /// Returns the result.
    ///
    /// # Errors
    ///
    /// If it could not be completed.
    pub async fn end(self) -> Result<Summary, ReconcileError> {
        self.0.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

/// Why a report of differences is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// S3 did not answer.
    #[error("cannot reach S3: {}: {}", .0.code, .0.message)]
    Asked(Failure),
    /// The state cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The scan failed.
    #[error(transparent)]
    Compared(#[from] ReconcileError),
    /// The watched directory has changed.
    #[error(transparent)]
    Source(#[from] SourceGone),
    /// A path cannot be inspected, for this reason.
    #[error("the directory cannot be looked at: {0}")]
    Look(String),
}
