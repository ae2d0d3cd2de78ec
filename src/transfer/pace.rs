//! How many requests are under way at once, and how many bytes a second: a store around the store.
//!
//! Concurrency follows what S3 says: being asked for less halves it, and each request that goes well
//! while all lanes are taken adds a fraction of one, so that a whole round adds one. It is the rule
//! TCP goes by, for the same reason: clients that know nothing of each other share what there is.
//!
//! # Invariants
//!
//! - At most `requests` are under way, of which parts of large files are three quarters.
//! - With a limit on bytes, over any longer time the rate is the limit, while single bodies go as fast as
//!   the network is. Small bodies do not wait for large ones: see [`Budget`].

mod aimd;
mod budget;

use super::{
    DeleteRequest, DeleteResult, ObjectMetadata, ObjectStore, Page, StoredObject, WriteResult,
};
use crate::model::{BandwidthSchedule, Failure, FailureClass, ObjectKey, StoredPart, UnixMillis};
use crate::writer::Condition;
use aimd::{Aimd, RequestFeedback};
use budget::Budget;
use bytes::Bytes;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Failures in a row, of whatever request, after which those that wait for a lane give up with the latest:
/// an outage does not cost a request for every file that was prepared.
const OUTAGE_FAILURES: u32 = 3;
/// Bodies up to this say something about S3's latency, larger ones about the network.
const SMALL_BODY: u64 = 64 << 10;

/// What may be used.
#[derive(Debug, Clone)]
pub struct PaceSettings {
    /// Requests under way at once.
    pub requests: usize,
    /// Bytes of content a second, by the time of day.
    pub bandwidth: BandwidthSchedule,
}

/// A store that is asked no more than it takes.
#[derive(Debug)]
pub(super) struct RateLimited<S> {
    store: S,
    lanes: Arc<ConcurrencyLimit>,
    parts: Semaphore,
    budget: Option<Budget>,
}

#[derive(Debug)]
struct ConcurrencyLimit {
    free: Arc<Semaphore>,
    state: Mutex<PaceState>,
    started: Instant,
}

#[derive(Debug)]
struct PaceState {
    aimd: Aimd,
    /// Lanes taken out of the semaphore.
    withheld: usize,
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
    permit: Option<OwnedSemaphorePermit>,
    lanes: Arc<ConcurrencyLimit>,
    /// Whether no other lane was free.
    last: bool,
    entered: Instant,
}

impl<S> RateLimited<S> {
    pub(super) fn new(store: S, settings: PaceSettings) -> Self {
        let requests = settings.requests.max(1);
        let state = PaceState { aimd: Aimd::new(requests), withheld: 0, failed: None };
        let started = Instant::now();
        Self {
            store,
            lanes: Arc::new(ConcurrencyLimit {
                free: Arc::new(Semaphore::new(requests)),
                state: Mutex::new(state),
                started,
            }),
            parts: Semaphore::new((requests * 3 / 4).max(1)),
            budget: settings
                .bandwidth
                .is_limited()
                .then(|| Budget::new(settings.bandwidth, started)),
        }
    }

    /// How many requests may be under way now.
    #[cfg(test)]
    pub(super) fn lanes(&self) -> usize {
        self.lanes.state.lock().unwrap_or_else(PoisonError::into_inner).aimd.lanes()
    }

    /// Makes a request with a body of `bytes` when there is a lane for it.
    async fn paced<T>(
        &self,
        bytes: u64,
        request: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.pay(bytes).await;
        let waiting = Instant::now();
        let lane = self.lanes.enter().await;
        if let Some(failure) = self.lanes.outage_since(waiting) {
            return Err(failure);
        }
        let result = request.await;
        lane.leave(bytes, result.as_ref().err());
        result
    }

    /// Makes a request of the store itself, whose answer has a body of `bytes`.
    pub(super) async fn request<'a, T, F>(
        &'a self,
        bytes: u64,
        request: impl FnOnce(&'a S) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + 'a,
    {
        self.paced(bytes, request(&self.store)).await
    }

    /// The same for a part of a large file.
    async fn paced_part<T>(
        &self,
        bytes: u64,
        request: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        // Never closed, so this is always some.
        let _share = self.parts.acquire().await.ok();
        self.paced(bytes, request).await
    }

    /// Waits until so many bytes may be sent.
    async fn pay(&self, bytes: u64) {
        if let Some(budget) = self.budget.as_ref().filter(|_| bytes > 0) {
            budget.pay(bytes).await;
        }
    }
}

impl ConcurrencyLimit {
    async fn enter(self: &Arc<Self>) -> RequestPermit {
        // Never closed, so this is always some.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        let last = self.free.available_permits() == 0;
        RequestPermit { permit, lanes: Arc::clone(self), last, entered: Instant::now() }
    }

    fn outage_since(&self, waiting: Instant) -> Option<Failure> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).outage_since(waiting)
    }

    /// Takes in how a request went, and makes the free lanes as many as they may be.
    fn heard(&self, heard: RequestFeedback, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.aimd.lanes();
        let most = state.aimd.most();
        state.aimd.hear(heard, now - self.started);
        let lanes = state.aimd.lanes();
        let wanted = most - lanes;
        if state.withheld > wanted {
            self.free.add_permits(state.withheld - wanted);
            state.withheld = wanted;
        }
        if lanes < before {
            tracing::warn!(
                event = "transfer.slowed",
                requests = lanes,
                "S3 is throttling, or bodies time out; fewer requests are made at once"
            );
        } else if before < most && lanes == most {
            tracing::info!(
                event = "transfer.restored",
                requests = lanes,
                "as many requests are made at once as before"
            );
        }
    }
}

impl RequestPermit {
    fn leave(self, bytes: u64, failure: Option<&Failure>) {
        let now = Instant::now();
        self.lanes.state.lock().unwrap_or_else(PoisonError::into_inner).note(failure, now);
        let heard = match failure {
            Some(failure) if failure.asks_for_less() => RequestFeedback::Less,
            // Many that share a thin line all come too late; fewer of them come in time.
            Some(failure) if bytes > 0 && failure.code == "timeout" => RequestFeedback::Less,
            Some(_) => return,
            None if self.last => {
                RequestFeedback::Well { latency: (bytes <= SMALL_BODY).then(|| now - self.entered) }
            }
            None => return,
        };
        self.lanes.heard(heard, now);
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        let mut state = self.lanes.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.withheld < state.aimd.most() - state.aimd.lanes()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            state.withheld += 1;
        }
    }
}

impl<S: ObjectStore> ObjectStore for RateLimited<S> {
    async fn put(
        &self,
        object: &ObjectMetadata,
        body: Bytes,
        crc64nvme: u64,
        condition: Option<&Condition>,
    ) -> Result<WriteResult, Failure> {
        let bytes = body.len() as u64;
        self.paced(bytes, self.store.put(object, body, crc64nvme, condition)).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<StoredObject>, Failure> {
        self.paced(0, self.store.head(key)).await
    }

    async fn delete(&self, objects: &[DeleteRequest]) -> Vec<Result<DeleteResult, Failure>> {
        let lane = self.lanes.enter().await;
        let answers = self.store.delete(objects).await;
        let less = answers.iter().filter_map(|answer| answer.as_ref().err());
        lane.leave(0, less.max_by_key(|failure| failure.asks_for_less()));
        answers
    }

    async fn list(&self, prefix: &str, from: Option<String>) -> Result<Page, Failure> {
        self.paced(0, self.store.list(prefix, from)).await
    }

    async fn copy(
        &self,
        from: &ObjectKey,
        etag: &str,
        object: &ObjectMetadata,
        condition: Option<&Condition>,
    ) -> Result<Option<StoredObject>, Failure> {
        self.paced(0, self.store.copy(from, etag, object, condition)).await
    }

    async fn begin_upload(&self, object: &ObjectMetadata) -> Result<String, Failure> {
        self.paced(0, self.store.begin_upload(object)).await
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: i32,
        body: Bytes,
        crc64nvme: u64,
    ) -> Result<StoredPart, Failure> {
        let bytes = body.len() as u64;
        let request = self.store.put_part(key, upload_id, number, body, crc64nvme);
        self.paced_part(bytes, request).await
    }

    async fn copy_part(
        &self,
        from: (&ObjectKey, &str),
        range: Range<u64>,
        key: &ObjectKey,
        upload_id: &str,
        number: i32,
    ) -> Result<Option<StoredPart>, Failure> {
        let request = self.store.copy_part(from, range, key, upload_id, number);
        self.paced_part(0, request).await
    }

    async fn complete_upload(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        parts: &[StoredPart],
        size: u64,
        crc64nvme: u64,
        condition: Option<&Condition>,
    ) -> Result<WriteResult, Failure> {
        let request = self.store.complete_upload(key, upload_id, parts, size, crc64nvme, condition);
        self.paced(0, request).await
    }

    async fn abort_upload(&self, key: &ObjectKey, upload_id: &str) -> Result<(), Failure> {
        self.paced(0, self.store.abort_upload(key, upload_id)).await
    }

    async fn uploads(&self, key: &ObjectKey) -> Result<Vec<(String, UnixMillis)>, Failure> {
        self.paced(0, self.store.uploads(key)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn whoever_waited_through_an_outage_makes_no_request() {
        let failure = Failure {
            class: FailureClass::Unavailable,
            code: "timeout".into(),
            message: "no answer".into(),
            answer_lost: true,
            retry_after_ms: None,
        };
        let mut state = PaceState { aimd: Aimd::new(4), withheld: 0, failed: None };
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        for millis in [10, 20] {
            state.note(Some(&failure), at(millis));
            assert_eq!(state.outage_since(start), None, "it may have been these two alone");
        }
        state.note(Some(&failure), at(30));
        let told = state.outage_since(at(29)).expect("an outage");
        assert!(!told.answer_lost && told.code == "timeout");
        assert_eq!(state.outage_since(at(30)), None, "a probe is made");
        state.note(None, at(40));
        assert_eq!(state.outage_since(start), None, "it is over");
    }
}
