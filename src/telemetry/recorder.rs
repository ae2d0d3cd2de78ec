//! Looks on at the engine and at the requests to S3, and records what it sees.

use super::levels::Levels;
use super::metrics::{Metrics, labels, seconds};
use super::spans::SpanQueue;
use super::traces::{Place, Requests, Tried, has_failed};
use crate::engine::Observer;
use crate::invalidate;
use crate::model::{Depth, Effort, ObjectKey, Operation, Outcome, RelPath, Trace, millis};
use crate::queue::Lease;
use crate::reconcile::{Range, Summary};
use crate::transfer::{Request, RequestObserver};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tries that are remembered at once: more than the queue has rows in memory. Those of a loop that
/// was ended never end themselves.
const TRIES_MAX: usize = 32_768;

/// Looks on, and records. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    metrics: Metrics,
    /// Where traces go, if they do, and what they say of the place.
    spans: Option<SpanQueue>,
    place: OnceLock<Place>,
    under_way: Mutex<UnderWay>,
}

/// Tries under way. One operation at a time runs for a path, so that its name is enough.
#[derive(Debug, Default)]
struct UnderWay {
    began: HashMap<RelPath, (SystemTime, Instant)>,
    /// By the name of the object; only where they are wanted.
    requests: HashMap<String, Requests>,
}

impl Recorder {
    pub(super) fn new(metrics: Metrics, spans: Option<SpanQueue>) -> Self {
        let (place, under_way) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(Inner { metrics, spans, place, under_way }))
    }

    /// Says what traces tell of the place. To be called once.
    pub fn locate(&self, place: Place) {
        // The first one holds.
        drop(self.0.place.set(place));
    }

    /// Has `levels` asked whenever somebody wants to know how things stand. To be called once; it
    /// must not wait for anything but a disk.
    pub fn observe(&self, levels: impl Fn() -> Levels + Send + Sync + 'static) {
        self.0.metrics.observe(levels);
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where traces go and what they say of the place, if there are any.
    fn traces(&self) -> Option<(&SpanQueue, &Place)> {
        self.0.spans.as_ref().zip(self.0.place.get())
    }

    fn key(&self, path: &RelPath) -> Option<ObjectKey> {
        self.traces().and_then(|(_, place)| place.prefix.key(path).ok())
    }
}

impl Observer for Recorder {
    fn begun(&self, lease: &Lease) {
        let path = &lease.pending.path;
        let key = self.key(path);
        let mut under_way = self.under_way();
        if under_way.began.len() >= TRIES_MAX {
            *under_way = UnderWay::default();
        }
        under_way.began.insert(path.clone(), clock());
        if let Some(key) = key {
            under_way.requests.insert(key.as_str().to_owned(), Requests::default());
        }
    }

    fn ended(&self, lease: &Lease, outcome: &Outcome, trace: Trace) {
        let (metrics, path, (now, instant)) = (&self.0.metrics, &lease.pending.path, clock());
        let key = self.key(path);
        let (began, requests) = {
            let mut under_way = self.under_way();
            let requests = key.as_ref().and_then(|key| under_way.requests.remove(key.as_str()));
            (under_way.began.remove(path), requests.unwrap_or_default())
        };
        let took = began.map_or(Duration::ZERO, |(_, began)| instant - began);
        let (operation, result) = names(lease.pending.operation, outcome);
        metrics.operations.add(1, &labels(&[("operation", operation), ("result", result)]));
        if result == "success" {
            let unix = now.duration_since(UNIX_EPOCH).unwrap_or_default();
            let lag = millis(unix).saturating_sub(lease.pending.since);
            metrics.sync_lag.record(seconds(Duration::from_millis(lag)), &[]);
            metrics.last_success.record(seconds(unix), &[]);
        }
        if (operation, result) == ("upload", "success") {
            metrics.upload_bytes.add(lease.pending.version.size, &[]);
            metrics.upload_duration.record(seconds(took), &[]);
        }
        if let Some((spans, place)) = self.traces()
            && trace.is_sampled(has_failed(lease, outcome))
        {
            let (began, key) = (now - took, key.as_ref());
            let ended = now;
            let tried =
                Tried { trace, lease, key, outcome, operation, result, began, ended, requests };
            spans.offer(tried.spans(place));
        }
    }

    fn compared(&self, range: &Range, took: Duration, found: Option<&Summary>) {
        let whole = range.start.is_root() && range.depth == Depth::Whole;
        let Some(found) = found.filter(|_| whole) else { return };
        let metrics = &self.0.metrics;
        metrics.reconcile_duration.record(seconds(took), &[]);
        for (kind, files) in [
            ("new", found.new),
            ("changed", found.changed),
            ("gone", found.gone),
            ("unreadable", found.unreadable),
        ] {
            metrics.reconcile_drift.record(files, &labels(&[("kind", kind)]));
        }
    }
}

impl invalidate::Observer for Recorder {
    fn asked(&self, request: &invalidate::Request<'_>) {
        let Some(queue) = &self.0.spans else { return };
        let spans = super::invalidations::spans(request);
        if !spans.is_empty() {
            queue.offer(spans);
        }
    }
}

impl RequestObserver for Recorder {
    fn answered(&self, request: &Request<'_>) {
        let result = request.failure.map_or("success", |failure| failure.class.as_str());
        let labels = labels(&[("operation", request.operation), ("result", result)]);
        self.0.metrics.s3_requests.add(1, &labels);
        if self.0.spans.is_none() {
            return;
        }
        let mut under_way = self.under_way();
        for key in std::iter::once(&request.key).chain(&request.others) {
            if let Some(requests) = under_way.requests.get_mut(*key) {
                requests.note(request);
            }
        }
    }
}

/// The operation as it turned out, and how it ended.
fn names(operation: Operation, outcome: &Outcome) -> (&'static str, &'static str) {
    let wanted = match operation {
        Operation::Put => "upload",
        Operation::Delete => "delete",
    };
    match outcome {
        Outcome::Mirrored(_, Effort::Sent) => ("upload", "success"),
        Outcome::Mirrored(_, Effort::Copied) => ("copy", "success"),
        Outcome::Mirrored(_, Effort::Unchanged | Effort::Found) => ("upload", "unneeded"),
        Outcome::Deleted => ("delete", "success"),
        Outcome::LookAgain(_) => (wanted, "changed"),
        Outcome::Failed(failure) => (wanted, failure.class.as_str()),
    }
}

#[expect(clippy::disallowed_methods, reason = "an adapter: what is recorded happens now")]
fn clock() -> (SystemTime, Instant) {
    (SystemTime::now(), Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Failure, FailureClass, Pending, Tracing, Version};
    use crate::telemetry::Telemetry;
    use crate::transfer::Answer;
    use std::collections::BTreeMap;

    fn lease(operation: Operation, size: u64) -> Lease {
        let path = RelPath::new(b"secret/\xff\n.txt").expect("a path");
        let version = Version { size, mtime_ns: 0 };
        Lease { pending: Pending::new(path, operation, version, 1), sent_before: None, queued: 0 }
    }

    fn measured() -> Telemetry {
        crate::telemetry::start(&BTreeMap::new())
    }

    fn trace(lease: &Lease) -> Trace {
        Tracing::default().of_row(&lease.pending)
    }

    fn failure(class: FailureClass) -> Failure {
        let (code, message) = ("code".to_owned(), "message".to_owned());
        Failure { class, code, message, answer_lost: false }
    }

    #[test]
    fn tries_are_counted_by_what_became_of_them_and_never_by_name() {
        let telemetry = measured();
        let (recorder, exposition) = (&telemetry.recorder, &telemetry.exposition);
        let (put, delete) = (lease(Operation::Put, 7), lease(Operation::Delete, 0));
        recorder.begun(&put);
        recorder.ended(&put, &Outcome::Failed(failure(FailureClass::Refused)), trace(&put));
        recorder.begun(&put);
        recorder.ended(&put, &Outcome::LookAgain("it has changed"), trace(&put));
        recorder.begun(&delete);
        recorder.ended(&delete, &Outcome::Deleted, trace(&delete));
        let text = exposition.render();
        for line in [
            "file_sync_operations_total{operation=\"upload\",result=\"refused\"} 1",
            "file_sync_operations_total{operation=\"upload\",result=\"changed\"} 1",
            "file_sync_operations_total{operation=\"upload\",result=\"success\"} 0",
            "file_sync_operations_total{operation=\"delete\",result=\"success\"} 1",
            "file_sync_upload_bytes_total 0",
            "file_sync_sync_lag_seconds_count 1",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} in\n{text}");
        }
        assert!(!text.contains("secret"));
        assert!(recorder.under_way().began.is_empty());
    }

    #[test]
    fn requests_are_counted_by_operation_and_result() {
        let telemetry = measured();
        let refused = failure(FailureClass::Unavailable);
        for failure in [None, Some(&refused), Some(&refused)] {
            telemetry.recorder.answered(&Request {
                operation: "PutObject",
                key: "secret/key",
                others: Vec::new(),
                upload_id: None,
                part_number: None,
                began: UNIX_EPOCH,
                took: Duration::ZERO,
                failure,
                answer: Answer::default(),
            });
        }
        let text = telemetry.exposition.render();
        for line in [
            "file_sync_s3_requests_total{operation=\"PutObject\",result=\"success\"} 1",
            "file_sync_s3_requests_total{operation=\"PutObject\",result=\"unavailable\"} 2",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} in\n{text}");
        }
        assert!(!text.contains("secret"));
    }

    #[test]
    fn tries_that_never_end_take_no_memory_for_ever() {
        let telemetry = measured();
        for number in 0..2 * TRIES_MAX {
            let mut lease = lease(Operation::Put, 0);
            lease.pending.path = RelPath::new(number.to_string().as_bytes()).expect("a path");
            telemetry.recorder.begun(&lease);
        }
        assert!(telemetry.recorder.under_way().began.len() <= TRIES_MAX);
    }
}
