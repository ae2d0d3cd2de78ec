//! The trace of a change, built after an attempt from recorded times.
//!
//! ```text
//! mirror upload ─┬─ settle   from the detection of the change until it was queued
//!                ├─ queue    until its first attempt
//!                └─ upload ─┬─ S3.PutObject
//!                           └─ …
//! ```
//!
//! A failed attempt is exported at once, before its root span, so that the reason is visible during
//! an outage. The root span follows when the change is in S3. With a CDN, `invalidated` follows
//! later: see [`invalidations`](super::invalidations).

use super::metrics::SCOPE;
use crate::model::{Failure, KeyPrefix, ObjectKey, Operation, Outcome, Trace, UnixMillis};
use crate::queue::Attempt;
use crate::transfer::{ObservedAnswer, ObservedRequest};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Maximum number of requests of an attempt that become spans; a file of 10,000 parts would have as
/// many.
const REQUESTS_MAX: usize = 128;
/// Maximum length of an error message.
const MESSAGE_CHARS_MAX: usize = 512;

/// The facts about the bucket in spans.
#[derive(Debug, Clone)]
pub struct BucketPlace {
    /// The bucket.
    pub bucket: String,
    /// Its region, if it is set.
    pub region: Option<String>,
    /// The prefix of every key.
    pub prefix: KeyPrefix,
}

/// The requests of a running attempt.
#[derive(Debug, Default)]
pub(super) struct AttemptRequests {
    spans: Vec<RequestSpan>,
    left_out: u64,
}

#[derive(Debug)]
struct RequestSpan {
    operation: &'static str,
    upload_id: Option<String>,
    part_number: Option<i32>,
    began: SystemTime,
    took: Duration,
    failure: Option<Failure>,
    answer: ObservedAnswer,
}

impl AttemptRequests {
    /// Adds a request. Without room, it replaces the previous one: the first requests and the last
    /// are the most useful.
    pub(super) fn note(&mut self, request: &ObservedRequest<'_>) {
        if self.spans.len() >= REQUESTS_MAX {
            self.spans.pop();
            self.left_out += 1;
        }
        self.spans.push(RequestSpan {
            operation: request.operation,
            upload_id: request.upload_id.map(str::to_owned),
            part_number: request.part_number,
            began: request.began,
            took: request.took,
            failure: request.failure.cloned(),
            answer: request.answer.clone(),
        });
    }
}

/// A finished attempt.
#[derive(Debug)]
pub(super) struct FinishedAttempt<'a> {
    pub(super) trace: Trace,
    pub(super) lease: &'a Attempt,
    pub(super) key: Option<&'a ObjectKey>,
    pub(super) outcome: &'a Outcome,
    /// Its result: see the table of metrics.
    pub(super) operation: &'static str,
    pub(super) result: &'static str,
    pub(super) began: SystemTime,
    pub(super) ended: SystemTime,
    pub(super) requests: AttemptRequests,
}

/// Whether the change has had a failure so far.
pub(super) fn has_failed(lease: &Attempt, outcome: &Outcome) -> bool {
    lease.pending.attempts > 1 || matches!(outcome, Outcome::Failed(_))
}

impl FinishedAttempt<'_> {
    /// The spans that are known at the end of this attempt.
    pub(super) fn spans(&self, place: &BucketPlace) -> Vec<SpanData> {
        let since = at(self.lease.pending.since);
        let mut spans = Vec::with_capacity(self.requests.spans.len() + 4);
        let done =
            matches!(self.outcome, Outcome::Mirrored(..) | Outcome::Yielded | Outcome::Deleted);
        if self.lease.pending.attempts <= 1 && !matches!(self.outcome, Outcome::LookAgain(_)) {
            let queued = at(self.lease.queued).max(since);
            spans.push(self.child("settle", since, queued));
            spans.push(self.child("queue", queued, self.began));
        }
        let mut tried = self.child(self.operation, self.began, self.ended);
        tried.attributes = vec![
            KeyValue::new("file_sync.result", self.result),
            KeyValue::new("file_sync.attempt", i64::from(self.lease.pending.attempts)),
        ];
        if self.requests.left_out > 0 {
            let left_out = i64::try_from(self.requests.left_out).unwrap_or(i64::MAX);
            tried.attributes.push(KeyValue::new("file_sync.requests_left_out", left_out));
        }
        match self.outcome {
            Outcome::Failed(failure) => fail(&mut tried, failure),
            Outcome::LookAgain(reason) => {
                tried.attributes.push(KeyValue::new("file_sync.reason", *reason));
            }
            Outcome::Mirrored(..) | Outcome::Yielded | Outcome::Deleted => {}
        }
        let parent = tried.span_context.span_id();
        spans.push(tried);
        spans
            .extend(self.requests.spans.iter().map(|request| self.request(parent, request, place)));
        if done {
            spans.push(self.whole(since, place));
        }
        spans
    }

    /// The root span of the change.
    fn whole(&self, since: SystemTime, place: &BucketPlace) -> SpanData {
        let pending = &self.lease.pending;
        let name = format!("mirror {}", self.operation);
        let mut span = self.span(name.into(), since, self.ended);
        span.span_context = self.context(SpanId::from(self.trace.span_id));
        span.attributes = vec![
            KeyValue::new("file.path", pending.path.to_string()),
            KeyValue::new("aws.s3.bucket", place.bucket.clone()),
            KeyValue::new("file_sync.result", self.result),
            KeyValue::new("file_sync.attempts", i64::from(pending.attempts)),
        ];
        if let Some(key) = self.key {
            span.attributes.push(KeyValue::new("aws.s3.key", key.to_string()));
        }
        if pending.operation == Operation::Put {
            let size = i64::try_from(pending.version.size).unwrap_or(i64::MAX);
            span.attributes.push(KeyValue::new("file.size", size));
        }
        span
    }

    fn request(&self, parent: SpanId, request: &RequestSpan, place: &BucketPlace) -> SpanData {
        let name = format!("S3.{}", request.operation);
        let ended = request.began + request.took;
        let mut span = self.span(name.into(), request.began, ended);
        span.parent_span_id = parent;
        span.span_kind = SpanKind::Client;
        span.attributes = vec![
            KeyValue::new("rpc.system.name", "aws-api"),
            // The previous name of the attribute, which most tools still use.
            KeyValue::new("rpc.system", "aws-api"),
            KeyValue::new("rpc.service", "S3"),
            KeyValue::new("rpc.method", request.operation),
            KeyValue::new("aws.s3.bucket", place.bucket.clone()),
        ];
        let texts = [
            ("aws.s3.key", self.key.map(ToString::to_string)),
            ("aws.s3.upload_id", request.upload_id.clone()),
            ("cloud.region", place.region.clone()),
            ("aws.request_id", request.answer.request_id.clone()),
            ("aws.extended_request_id", request.answer.extended_request_id.clone()),
        ];
        for (name, text) in texts {
            span.attributes.extend(text.map(|text| KeyValue::new(name, text)));
        }
        let part =
            request.part_number.map(|part| KeyValue::new("aws.s3.part_number", i64::from(part)));
        span.attributes.extend(part);
        let status = request.answer.status.map(i64::from);
        span.attributes
            .extend(status.map(|status| KeyValue::new("http.response.status_code", status)));
        if let Some(failure) = &request.failure {
            fail(&mut span, failure);
        }
        span
    }

    fn child(&self, name: &'static str, start: SystemTime, end: SystemTime) -> SpanData {
        let mut span = self.span(name.into(), start, end);
        span.parent_span_id = SpanId::from(self.trace.span_id);
        span
    }

    fn span(&self, name: Cow<'static, str>, start: SystemTime, end: SystemTime) -> SpanData {
        blank(self.context(SpanId::from(fastrand::u64(1..))), name, start, end)
    }

    fn context(&self, span_id: SpanId) -> SpanContext {
        context(self.trace.trace_id, span_id)
    }
}

/// The context of an exported span.
pub(super) fn context(trace_id: u128, span_id: SpanId) -> SpanContext {
    let trace_id = TraceId::from(trace_id);
    let flags = TraceFlags::SAMPLED;
    SpanContext::new(trace_id, span_id, flags, false, TraceState::default())
}

/// Creates an empty span.
pub(super) fn blank(
    span_context: SpanContext,
    name: Cow<'static, str>,
    start: SystemTime,
    end: SystemTime,
) -> SpanData {
    SpanData {
        span_context,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name,
        start_time: start,
        // A clock that was set back must not cause a negative duration.
        end_time: end.max(start),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder(SCOPE)
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

fn fail(span: &mut SpanData, failure: &Failure) {
    fail_with(span, &failure.code, &failure.message);
}

/// Marks a span as failed, with the reason.
pub(super) fn fail_with(span: &mut SpanData, code: &str, message: &str) {
    span.attributes.push(KeyValue::new("error.type", code.to_owned()));
    let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    span.status = Status::error(message);
}

pub(super) fn at(time: UnixMillis) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(time)
}
