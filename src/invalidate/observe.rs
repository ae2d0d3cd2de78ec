//! The observer of requests to the CDN, and the present status.

use super::invalidator::{InvalidateError, RequestStatus, ResponseMeta};
use crate::model::{PathBatch, UnixMillis};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Receives events for metrics and traces. The worker calls it; it must neither block nor fail.
pub trait InvalidationObserver: fmt::Debug + Send + Sync + 'static {
    /// An invalidation was requested.
    fn asked(&self, request: &InvalidationRequest<'_>);
}

/// A finished request.
#[derive(Debug)]
pub struct InvalidationRequest<'a> {
    /// The batch that was sent.
    pub batch: &'a PathBatch,
    /// When it began.
    pub began: UnixMillis,
    /// When it ended.
    pub ended: UnixMillis,
    /// The result.
    pub answer: &'a Result<RequestStatus, InvalidateError>,
    /// The metadata of the response.
    pub response: &'a ResponseMeta,
    /// Whether a previous attempt has failed.
    pub failed_before: bool,
}

/// Counts of paths since the start, and the present status.
#[derive(Debug, Default)]
pub struct InvalidationTotals {
    /// Paths that the CDN accepted.
    pub(super) accepted: AtomicU64,
    /// Paths whose invalidation is completed.
    pub(super) completed: AtomicU64,
    /// Paths of failed requests, counted each time.
    pub(super) failed: AtomicU64,
    standing: Mutex<WorkerStatus>,
}

/// The present status, without file names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerStatus {
    /// Paths used this month, and the maximum; 0 for no limit.
    pub budget: (u64, u64),
    /// The time of the last accepted request.
    pub last_success: Option<UnixMillis>,
    /// The time of the last failed request, and the short stable name of its cause.
    pub last_error: Option<(UnixMillis, String)>,
}

impl InvalidationTotals {
    /// The value of the label `result`, and the number.
    #[must_use]
    pub fn by_result(&self) -> [(&'static str, u64); 3] {
        [
            ("accepted", self.accepted.load(Ordering::Relaxed)),
            ("completed", self.completed.load(Ordering::Relaxed)),
            ("failed", self.failed.load(Ordering::Relaxed)),
        ]
    }

    /// The present status.
    #[must_use]
    pub fn standing(&self) -> WorkerStatus {
        self.lock().clone()
    }

    pub(super) fn budget(&self, spent: u64, limit: u64) {
        self.lock().budget = (spent, limit);
    }

    pub(super) fn asked(&self, request: &InvalidationRequest<'_>) {
        let mut standing = self.lock();
        match request.answer {
            Ok(_) => standing.last_success = Some(request.ended),
            Err(trouble) => standing.last_error = Some((request.ended, trouble.code.clone())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, WorkerStatus> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
