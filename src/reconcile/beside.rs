//! A comparison beside those who take what it finds.

use super::{Expected, Range, ReconcileError, Summary, reconcile};
use crate::filter::Filter;
use crate::model::{Failure, RelPath};
use crate::root::{Root, SourceGone};
use crate::store::{Store, StoreError};
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What is compared.
#[derive(Debug)]
pub struct Comparison {
    /// The watched directory.
    pub root: Arc<Root>,
    /// The record.
    pub store: Store,
    /// Which names are mirrored.
    pub filter: Arc<Filter>,
    /// What else has to agree.
    pub expected: Expected,
    /// How much of it.
    pub range: Range,
}

/// A comparison under way.
#[derive(Debug)]
pub struct Comparing(JoinHandle<Result<Summary, ReconcileError>>);

impl Comparison {
    /// Compares, and sends what differs, told in the words of who takes it. Ends early when nobody
    /// does any more. Blocks.
    ///
    /// # Errors
    ///
    /// If it could not be done to its end.
    pub fn send<T>(
        &self,
        to: &mpsc::Sender<T>,
        told: impl Fn(Vec<RelPath>) -> T,
    ) -> Result<Summary, ReconcileError> {
        let Self { root, store, filter, expected, range } = self;
        reconcile(root, store, filter, expected, range, &mut |paths| match to
            .blocking_send(told(paths))
        {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        })
    }

    /// Compares in a thread of its own, at most so many batches ahead of who takes them.
    #[must_use]
    pub fn start(self, ahead: usize) -> (mpsc::Receiver<Vec<RelPath>>, Comparing) {
        let (differing, differences) = mpsc::channel(ahead);
        let task = tokio::task::spawn_blocking(move || self.send(&differing, |paths| paths));
        (differences, Comparing(task))
    }
}

impl Comparing {
    /// What came of it.
    ///
    /// # Errors
    ///
    /// If it could not be done to its end.
    pub async fn end(self) -> Result<Summary, ReconcileError> {
        self.0.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

/// Why a report on what differs has no end.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// S3 did not answer.
    #[error("S3 cannot be asked: {}: {}", .0.code, .0.message)]
    Asked(Failure),
    /// The record cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory cannot be compared.
    #[error(transparent)]
    Compared(#[from] ReconcileError),
    /// The directory is not what it was.
    #[error(transparent)]
    Source(#[from] SourceGone),
    /// A path cannot be looked at, and the text says why.
    #[error("the directory cannot be looked at: {0}")]
    Look(String),
}
