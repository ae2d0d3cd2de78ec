//! How many requests are under way at once, and how many bytes a second: a store around the store.
//!
//! Concurrency follows what S3 says: being asked for less halves it, and each request that goes well
//! while all lanes are taken adds a fraction of one, so that a whole round adds one. It is the rule
//! TCP goes by, for the same reason: clients that know nothing of each other share what there is.
//!
//! # Invariants
//!
//! - At most `requests` are under way, of which parts of large files are three quarters.
//! - With a limit on bytes, a body is sent when the bytes before it are paid for: over any longer
//!   time the rate is the limit, while single bodies go as fast as the network is.

mod aimd;

use super::{Condemned, Deleted, ObjectHead, ObjectStore, Page, StoredObject};
use crate::model::{Failure, FailureClass, ObjectKey, StoredPart, UnixMillis};
use aimd::{Aimd, Heard};
use bytes::Bytes;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Failures in a row, of whatever request, after which those that wait for a lane give up with the latest:
/// an outage does not cost a request for every file that was prepared.
const OUTAGE_FAILURES: u32 = 3;
/// Bodies up to this say something about S3's latency, larger ones about the network.
const SMALL_BODY: u64 = 64 << 10;

/// What may be used.
#[derive(Debug, Clone, Copy)]
pub struct PaceSettings {
    /// Requests under way at once.
    pub requests: usize,
    /// Bytes of content a second; `None` for as many as go.
    pub bytes_per_second: Option<u64>,
}

/// A store that is asked no more than it takes.
#[derive(Debug)]
pub(super) struct Paced<S> {
    store: S,
    lanes: Arc<Lanes>,
    parts: Semaphore,
    budget: Option<Mutex<Budget>>,
}

/// What the bytes sent so far have cost.
#[derive(Debug)]
struct Budget {
    bytes_per_second: u64,
    /// When they are paid for.
    paid: Instant,
}

impl Budget {
    /// When so many bytes may be sent.
    fn due(&mut self, bytes: u64, now: Instant) -> Instant {
        let due = self.paid.max(now);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.paid = due + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        due
    }
}

#[derive(Debug)]
struct Lanes {
    free: Arc<Semaphore>,
    state: Mutex<State>,
    started: Instant,
}

#[derive(Debug)]
struct State {
    aimd: Aimd,
    /// Lanes taken out of the semaphore.
    withheld: usize,
    /// How many requests have failed since the last one that was answered, when the latest did, and with
    /// what; `None` if none has.
    failed: Option<(u32, Instant, Failure)>,
}

impl State {
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
struct Lane {
    permit: Option<OwnedSemaphorePermit>,
    lanes: Arc<Lanes>,
    /// Whether no other lane was free.
    last: bool,
    entered: Instant,
}

impl<S> Paced<S> {
    pub(super) fn new(store: S, settings: PaceSettings) -> Self {
        let requests = settings.requests.max(1);
        let state = State { aimd: Aimd::new(requests), withheld: 0, failed: None };
        let started = Instant::now();
        Self {
            store,
            lanes: Arc::new(Lanes {
                free: Arc::new(Semaphore::new(requests)),
                state: Mutex::new(state),
                started,
            }),
            parts: Semaphore::new((requests * 3 / 4).max(1)),
            budget: settings
                .bytes_per_second
                .filter(|limit| *limit > 0)
                .map(|bytes_per_second| Mutex::new(Budget { bytes_per_second, paid: started })),
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

    /// Waits until the bytes sent before are paid for.
    async fn pay(&self, bytes: u64) {
        let Some(budget) = self.budget.as_ref().filter(|_| bytes > 0) else { return };
        let due = budget.lock().unwrap_or_else(PoisonError::into_inner).due(bytes, Instant::now());
        tokio::time::sleep_until(due).await;
    }
}

impl Lanes {
    async fn enter(self: &Arc<Self>) -> Lane {
        // Never closed, so this is always some.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        let last = self.free.available_permits() == 0;
        Lane { permit, lanes: Arc::clone(self), last, entered: Instant::now() }
    }

    fn outage_since(&self, waiting: Instant) -> Option<Failure> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).outage_since(waiting)
    }

    /// Takes in how a request went, and makes the free lanes as many as they may be.
    fn heard(&self, heard: Heard, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, most) = (state.aimd.lanes(), state.aimd.most());
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
                "S3 asks for less; fewer requests are made at once"
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

impl Lane {
    fn leave(self, bytes: u64, failure: Option<&Failure>) {
        let now = Instant::now();
        self.lanes.state.lock().unwrap_or_else(PoisonError::into_inner).note(failure, now);
        let heard = match failure {
            Some(failure) if failure.asks_for_less() => Heard::Less,
            Some(_) => return,
            None if self.last => {
                Heard::Well { latency: (bytes <= SMALL_BODY).then(|| now - self.entered) }
            }
            None => return,
        };
        self.lanes.heard(heard, now);
    }
}

impl Drop for Lane {
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

impl<S: ObjectStore> ObjectStore for Paced<S> {
    async fn put(
        &self,
        object: &ObjectHead,
        body: Bytes,
        crc64nvme: u64,
    ) -> Result<StoredObject, Failure> {
        let bytes = body.len() as u64;
        self.paced(bytes, self.store.put(object, body, crc64nvme)).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<StoredObject>, Failure> {
        self.paced(0, self.store.head(key)).await
    }

    async fn delete(&self, objects: &[Condemned]) -> Vec<Result<Deleted, Failure>> {
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
        object: &ObjectHead,
    ) -> Result<Option<StoredObject>, Failure> {
        self.paced(0, self.store.copy(from, etag, object)).await
    }

    async fn begin_upload(&self, object: &ObjectHead) -> Result<String, Failure> {
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
    ) -> Result<StoredObject, Failure> {
        let request = self.store.complete_upload(key, upload_id, parts, size, crc64nvme);
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

    #[test]
    fn whoever_waited_through_an_outage_makes_no_request() {
        let failure = Failure {
            class: FailureClass::Unavailable,
            code: "timeout".into(),
            message: "no answer".into(),
            answer_lost: true,
        };
        let mut state = State { aimd: Aimd::new(4), withheld: 0, failed: None };
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

    #[test]
    fn no_more_bytes_go_in_a_second_than_allowed() {
        let start = Instant::now();
        let mut budget = Budget { bytes_per_second: 1000, paid: start };
        let dues: Vec<_> =
            (0..4).map(|_| budget.due(500, start).duration_since(start).as_millis()).collect();
        assert_eq!(dues, [0, 500, 1000, 1500]);
        let later = start + Duration::from_secs(9);
        assert_eq!(budget.due(1, later), later, "time that was not used does not count");
    }
}
