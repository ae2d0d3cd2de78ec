//! Who is told of requests to the CDN beside the log, and what there is to know at one moment.

use super::port::{Heard, Status, Trouble};
use crate::model::{Batch, UnixMillis};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Looks on. It is called from the worker, and must neither block nor fail.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// The CDN was asked to throw copies away.
    fn asked(&self, request: &Request<'_>);
}

/// A request that has ended.
#[derive(Debug)]
pub struct Request<'a> {
    /// What it was for.
    pub batch: &'a Batch,
    /// When it began.
    pub began: UnixMillis,
    /// When it ended.
    pub ended: UnixMillis,
    /// What came of it.
    pub answer: &'a Result<Status, Trouble>,
    /// What the answer said of itself.
    pub heard: &'a Heard,
    /// Whether one before it has failed.
    pub failed_before: bool,
}

/// What became of paths since the start, and how things stand.
#[derive(Debug, Default)]
pub struct Totals {
    /// Taken by the CDN.
    pub(super) accepted: AtomicU64,
    /// Done at every edge.
    pub(super) completed: AtomicU64,
    /// In requests that failed, each time.
    pub(super) failed: AtomicU64,
    standing: Mutex<Standing>,
}

/// How things stand. No file name is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Paths spent this month, and how many may be; 0 for no limit.
    pub budget: (u64, u64),
    /// When the CDN last took something.
    pub last_success: Option<UnixMillis>,
    /// When it last did not, and the short stable name of why.
    pub last_error: Option<(UnixMillis, String)>,
}

impl Totals {
    /// The value of the label `result`, and the number.
    #[must_use]
    pub fn by_result(&self) -> [(&'static str, u64); 3] {
        [
            ("accepted", self.accepted.load(Ordering::Relaxed)),
            ("completed", self.completed.load(Ordering::Relaxed)),
            ("failed", self.failed.load(Ordering::Relaxed)),
        ]
    }

    /// How things stand.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.lock().clone()
    }

    pub(super) fn budget(&self, spent: u64, limit: u64) {
        self.lock().budget = (spent, limit);
    }

    pub(super) fn asked(&self, request: &Request<'_>) {
        let mut standing = self.lock();
        match request.answer {
            Ok(_) => standing.last_success = Some(request.ended),
            Err(trouble) => standing.last_error = Some((request.ended, trouble.code.clone())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
