//! Records the events of the engine and the requests to S3.

use super::gauges::GaugeValues;
use super::metric_defs::labels;
use super::metrics::{MetricInstruments, seconds};
use super::spans::SpanQueue;
use super::traces::{AttemptRequests, BucketPlace, FinishedAttempt, has_failed};
use crate::engine::EngineObserver;
use crate::invalidate;
use crate::model::{
    Depth, ObjectKey, Operation, Outcome, RelPath, Trace, UploadDisposition, millis,
};
use crate::queue::Attempt;
use crate::reconcile::{ScanScope, Summary};
use crate::transfer::{ObservedRequest, RequestObserver};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Maximum number of remembered attempts: more than the rows of the queue in memory. The attempts
/// of an ended loop never end on their own.
const TRIES_MAX: usize = 32_768;

/// Receives events and records them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<RecorderState>);

#[derive(Debug)]
struct RecorderState {
    metrics: MetricInstruments,
    /// The queue of spans, if traces are exported, and the facts about the bucket.
    spans: Option<SpanQueue>,
    place: OnceLock<BucketPlace>,
    under_way: Mutex<UnderWay>,
}

/// Attempts in progress, by path: one operation at a time runs per path.
#[derive(Debug, Default)]
struct UnderWay {
    began: HashMap<RelPath, (SystemTime, Instant)>,
    /// Requests by key, if traces are exported.
    requests: HashMap<String, AttemptRequests>,
}

impl Recorder {
    pub(super) fn new(metrics: MetricInstruments, spans: Option<SpanQueue>) -> Self {
        let place = OnceLock::new();
        let under_way = Mutex::default();
        Self(Arc::new(RecorderState { metrics, spans, place, under_way }))
    }

    /// Sets the facts about the bucket for traces. Call it once.
    pub fn locate(&self, place: BucketPlace) {
        // The first value stays.
        drop(self.0.place.set(place));
    }

    /// Registers `levels`, which is called at each collection. Call it once; it must wait for
    /// nothing but a disk.
    pub fn observe(&self, levels: impl Fn() -> GaugeValues + Send + Sync + 'static) {
        self.0.metrics.observe(levels);
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queue of spans and the facts about the bucket, if traces are exported.
    fn traces(&self) -> Option<(&SpanQueue, &BucketPlace)> {
        self.0.spans.as_ref().zip(self.0.place.get())
    }

    fn key(&self, path: &RelPath) -> Option<ObjectKey> {
        self.traces().and_then(|(_, place)| place.prefix.key(path).ok())
    }
}

impl EngineObserver for Recorder {
    fn begun(&self, lease: &Attempt) {
        let path = &lease.pending.path;
        let key = self.key(path);
        let mut under_way = self.under_way();
        if under_way.began.len() >= TRIES_MAX {
            *under_way = UnderWay::default();
        }
        under_way.began.insert(path.clone(), clock());
        if let Some(key) = key {
            under_way.requests.insert(key.as_str().to_owned(), AttemptRequests::default());
        }
    }

    fn ended(&self, lease: &Attempt, outcome: &Outcome, trace: Trace) {
        let metrics = &self.0.metrics;
        let path = &lease.pending.path;
        let (now, instant) = clock();
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
            let lane = labels(&[("lane", lease.lane.as_str())]);
            metrics.sync_lag.record(seconds(Duration::from_millis(lag)), &lane);
            metrics.last_success.record(seconds(unix), &[]);
        }
        if (operation, result) == ("upload", "success") {
            metrics.upload_bytes.add(lease.pending.version.size, &[]);
            metrics.upload_duration.record(seconds(took), &[]);
        }
        if let Some((spans, place)) = self.traces()
            && trace.is_sampled(has_failed(lease, outcome))
        {
            let began = now - took;
            let key = key.as_ref();
            let ended = now;
            let tried = FinishedAttempt {
                trace,
                lease,
                key,
                outcome,
                operation,
                result,
                began,
                ended,
                requests,
            };
            spans.offer(tried.spans(place));
        }
    }

    fn compared(&self, range: &ScanScope, took: Duration, found: Option<&Summary>) {
        let whole = range.start.is_root() && range.depth == Depth::Whole;
        let Some(found) = found.filter(|_| whole) else { return };
        let metrics = &self.0.metrics;
        metrics.scan_duration.record(seconds(took), &[]);
        for (kind, files) in [
            ("new", found.new),
            ("changed", found.changed),
            ("gone", found.gone),
            ("unreadable", found.unreadable),
        ] {
            metrics.scan_drift.record(files, &labels(&[("kind", kind)]));
        }
    }
}

impl invalidate::InvalidationObserver for Recorder {
    fn asked(&self, request: &invalidate::InvalidationRequest<'_>) {
        let Some(queue) = &self.0.spans else { return };
        let spans = super::invalidations::spans(request);
        if !spans.is_empty() {
            queue.offer(spans);
        }
    }
}

impl RequestObserver for Recorder {
    fn answered(&self, request: &ObservedRequest<'_>) {
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

/// The actual operation, and its result.
fn names(operation: Operation, outcome: &Outcome) -> (&'static str, &'static str) {
    let wanted = match operation {
        Operation::Put => "upload",
        Operation::Delete => "delete",
    };
    match outcome {
        Outcome::Mirrored(_, UploadDisposition::Sent) => ("upload", "success"),
        Outcome::Mirrored(_, UploadDisposition::Copied) => ("copy", "success"),
        Outcome::Mirrored(_, UploadDisposition::Unchanged | UploadDisposition::Found) => {
            ("upload", "unneeded")
        }
        Outcome::Deleted => ("delete", "success"),
        Outcome::Yielded => (wanted, "yielded"),
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
    use crate::model::{Failure, FailureClass, QueueRow, TraceSettings, Version};
    use crate::queue::Lane;
    use crate::telemetry::Telemetry;
    use crate::transfer::ObservedAnswer;
    use std::collections::BTreeMap;

    fn lease(operation: Operation, size: u64) -> Attempt {
        let path = RelPath::new(b"secret/\xff\n.txt").expect("a path");
        let version = Version { size, mtime_ns: 0 };
        Attempt {
            pending: QueueRow::new(path, operation, version, 1),
            sent_before: None,
            queued: 0,
            lane: Lane::Fresh,
        }
    }

    fn measured() -> Telemetry {
        crate::telemetry::start(&BTreeMap::new())
    }

    fn trace(lease: &Attempt) -> Trace {
        TraceSettings::default().trace_for_entry(&lease.pending)
    }

    fn failure(class: FailureClass) -> Failure {
        let code = "code".to_owned();
        let message = "message".to_owned();
        Failure { class, code, message, answer_lost: false, retry_after_ms: None }
    }

    #[test]
    fn tries_are_counted_by_what_became_of_them_and_never_by_name() {
        let telemetry = measured();
        let recorder = &telemetry.recorder;
        let exposition = &telemetry.exposition;
        let put = lease(Operation::Put, 7);
        let delete = lease(Operation::Delete, 0);
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
            "file_sync_lag_seconds_count{lane=\"fresh\"} 1",
        ] {
            assert!(text.lines().any(|exported| exported == line), "{line} in\n{text}");
        }
        assert!(!text.contains("secret"));
        assert!(recorder.under_way().began.is_empty());
    }

    #[test]
    fn requests_are_counted_by_operation_and_result() {
        let telemetry = measured();
        let refused = failure(FailureClass::Unavailable);
        for failure in [None, Some(&refused), Some(&refused)] {
            telemetry.recorder.answered(&ObservedRequest {
                operation: "PutObject",
                key: "secret/key",
                others: Vec::new(),
                upload_id: None,
                part_number: None,
                began: UNIX_EPOCH,
                took: Duration::ZERO,
                failure,
                answer: ObservedAnswer::default(),
            });
        }
        let text = telemetry.exposition.render();
        for line in [
            "file_sync_s3_requests_total{operation=\"PutObject\",result=\"success\"} 1",
            "file_sync_s3_requests_total{operation=\"PutObject\",result=\"unavailable\"} 2",
        ] {
            assert!(text.lines().any(|exported| exported == line), "{line} in\n{text}");
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
