//! How many requests are under way at once, and how many bytes a second: a store around the store.
//!
//! # Invariants
//!
//! - At most as many requests are under way as the [`AdaptiveLimit`] allows, of which parts of large files
//!   are three quarters.
//! - With a limit on bytes, over any longer time the rate is the limit, while single bodies go as fast as
//!   the network is. Small bodies do not wait for large ones: see [`Budget`].

mod adaptive;
mod budget;
mod permits;

use super::{ObjectRequest, ObjectStore, StoreResponse};
use crate::model::{BandwidthSchedule, Failure, FailureClass};
pub use adaptive::START;
use adaptive::{AdaptiveLimit, LimitChange, MeasuredRequest, RequestFeedback};
use budget::Budget;
use permits::{PermitPool, PooledPermit};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// Failures in a row, of whatever request, after which those that wait for a permit give up with the latest:
/// an outage does not cost a request for every file that was prepared.
const OUTAGE_FAILURES: u32 = 3;

/// What may be used.
#[derive(Debug, Clone)]
pub struct PaceSettings {
    /// The upper bound of the requests under way at once.
    pub requests: usize,
    /// Bytes of content a second, by the time of day.
    pub bandwidth: BandwidthSchedule,
}

/// A store that is asked no more than it takes.
#[derive(Debug)]
pub(super) struct RateLimited<S> {
    store: S,
    limit: Arc<ConcurrencyLimit>,
    budget: Option<Budget>,
}

/// How many requests may be under way at present.
#[derive(Debug, Clone)]
pub(super) struct CurrentLimit(Arc<AtomicUsize>);

impl CurrentLimit {
    #[cfg(test)]
    pub(super) fn fixed(requests: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(requests)))
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct ConcurrencyLimit {
    requests: Arc<PermitPool>,
    parts: Arc<PermitPool>,
    current: CurrentLimit,
    state: Mutex<PaceState>,
    started: Instant,
}

#[derive(Debug)]
struct PaceState {
    adaptive: AdaptiveLimit,
    /// How many requests have failed since the last one that was answered, when the latest did, and with
    /// what; `None` if none has.
    failed: Option<(u32, Instant, Failure)>,
}

impl PaceState {
    fn note(&mut self, failure: Option<&Failure>, now: Instant) {
        use FailureClass::{Refused, Unavailable};
        let before = self.failed.take().map_or(0, |(failures, ..)| failures);
        let failure = failure.filter(|failure| matches!(failure.class, Unavailable | Refused));
        self.failed = failure.map(|failure| (before.saturating_add(1), now, failure.clone()));
    }

    /// What a request has failed with that waited since then, without having been made.
    fn outage_since(&self, waiting: Instant) -> Option<Failure> {
        let (failures, at, failure) = self.failed.as_ref()?;
        let outage = *failures >= OUTAGE_FAILURES && waiting < *at;
        outage.then(|| Failure { answer_lost: false, ..failure.clone() })
    }
}

/// Permission for one request.
#[derive(Debug)]
struct RequestPermit {
    _permit: PooledPermit,
    limit: Arc<ConcurrencyLimit>,
    begun: MeasuredRequest,
}

impl<S> RateLimited<S> {
    pub(super) fn new(store: S, settings: PaceSettings) -> Self {
        let started = Instant::now();
        let bandwidth = settings.bandwidth;
        let budget = bandwidth.is_limited().then(|| Budget::new(bandwidth, started));
        let limit = Arc::new(ConcurrencyLimit::new(settings.requests, started));
        Self { store, limit, budget }
    }

    /// How many requests may be under way, at any time from now on.
    pub(super) fn current_limit(&self) -> CurrentLimit {
        self.limit.current.clone()
    }

    /// Makes a request of the store itself, whose answer has a body of `bytes`, when there is a permit.
    pub(super) async fn request<'a, T, F>(
        &'a self,
        bytes: u64,
        request: impl FnOnce(&'a S) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + 'a,
    {
        self.pay(bytes).await;
        let waiting = Instant::now();
        let permit = self.limit.enter().await;
        if let Some(failure) = self.limit.outage_since(waiting) {
            return Err(failure);
        }
        let result = request(&self.store).await;
        permit.leave(bytes, result.as_ref().err());
        result
    }

    /// Waits until so many bytes may be sent.
    async fn pay(&self, bytes: u64) {
        if let Some(budget) = self.budget.as_ref().filter(|_| bytes > 0) {
            budget.pay(bytes).await;
        }
    }
}

impl ConcurrencyLimit {
    fn new(max: usize, started: Instant) -> Self {
        let adaptive = AdaptiveLimit::new(max);
        let limit = adaptive.limit();
        Self {
            requests: PermitPool::new(limit),
            parts: PermitPool::new(parts_of(limit)),
            current: CurrentLimit(Arc::new(AtomicUsize::new(limit))),
            state: Mutex::new(PaceState { adaptive, failed: None }),
            started,
        }
    }

    async fn enter(self: &Arc<Self>) -> RequestPermit {
        let permit = self.requests.acquire().await;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Without this one.
        let others = self.requests.in_use().saturating_sub(1);
        let begun = state.adaptive.begin(others, Instant::now() - self.started);
        self.apply(&state.adaptive);
        RequestPermit { _permit: permit, limit: Arc::clone(self), begun }
    }

    fn outage_since(&self, waiting: Instant) -> Option<Failure> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).outage_since(waiting)
    }

    /// Makes the permits as many as the limit allows.
    fn apply(&self, adaptive: &AdaptiveLimit) {
        let limit = adaptive.limit();
        if self.current.0.swap(limit, Ordering::Relaxed) != limit {
            self.requests.resize(limit);
            self.parts.resize(parts_of(limit));
        }
    }
}

/// The part of the requests that parts of large files may have.
fn parts_of(requests: usize) -> usize {
    (requests * 3 / 4).max(1)
}

fn log_change(change: LimitChange, requests: usize) {
    match change {
        LimitChange::Slowed => tracing::warn!(
            event = "transfer.slowed",
            requests,
            "S3 is throttling, or bodies time out; fewer requests are made at once"
        ),
        LimitChange::Restored => tracing::info!(
            event = "transfer.restored",
            requests,
            "almost as many requests are made at once as before"
        ),
    }
}

impl RequestPermit {
    fn leave(self, bytes: u64, failure: Option<&Failure>) {
        let now = Instant::now();
        let limit = &self.limit;
        let feedback = match failure {
            None => RequestFeedback::Done(bytes),
            Some(failure) if failure.is_throttled() => RequestFeedback::Throttled,
            // Many that share a thin line all come too late; fewer of them come in time.
            Some(failure) if bytes > 0 && failure.code == "timeout" => RequestFeedback::Throttled,
            Some(_) => RequestFeedback::Failed,
        };
        let mut state = limit.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.note(failure, now);
        let limited = limit.requests.is_exhausted();
        let change = state.adaptive.end(self.begun, feedback, limited, now - limit.started);
        limit.apply(&state.adaptive);
        let requests = state.adaptive.limit();
        drop(state);
        if let Some(change) = change {
            log_change(change, requests);
        }
    }
}

impl<S: ObjectStore> ObjectStore for RateLimited<S> {
    async fn call(&self, request: ObjectRequest<'_>) -> StoreResponse {
        let bytes = request.body_bytes();
        let _part = match request.part_number() {
            Some(_) => Some(self.limit.parts.acquire().await),
            None => None,
        };
        // A delete has a failure for each of its objects, and is not given up with another request.
        let is_delete = matches!(request, ObjectRequest::Delete { .. });
        self.pay(bytes).await;
        let waiting = Instant::now();
        let permit = self.limit.enter().await;
        if let Some(failure) = self.limit.outage_since(waiting).filter(|_| !is_delete) {
            return StoreResponse::from(Err(failure));
        }
        let response = self.store.call(request).await;
        permit.leave(bytes, response.failures().max_by_key(|failure| failure.is_throttled()));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_caller_that_waited_through_an_outage_makes_no_request() {
        let failure = Failure {
            class: FailureClass::Unavailable,
            code: "timeout".into(),
            message: "no answer".into(),
            answer_lost: true,
            retry_after_ms: None,
        };
        let mut state = PaceState { adaptive: AdaptiveLimit::new(4), failed: None };
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        for millis in [10, 20] {
            state.note(Some(&failure), at(millis));
            assert_eq!(state.outage_since(start), None, "it may have been these two alone");
        }
        state.note(Some(&failure), at(30));
        let failure = state.outage_since(at(29)).expect("an outage");
        assert!(!failure.answer_lost && failure.code == "timeout");
        assert_eq!(state.outage_since(at(30)), None, "a probe is made");
        state.note(None, at(40));
        assert_eq!(state.outage_since(start), None, "it is over");
    }
}
