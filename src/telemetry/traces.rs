//! The trace of a change: built when a try has ended, from the times that were noted on the way.
//!
//! ```text
//! mirror upload ─┬─ settle   from the first sign of the change until it was queued
//!                ├─ queue    until its first try
//!                └─ upload ─┬─ S3.PutObject
//!                           └─ …
//! ```
//!
//! A try that failed is exported at once, with what it belongs to still open: nobody has to wait for
//! the end of an outage to see why. The first span follows when the change is in S3. Where a CDN is
//! told of it, its `invalidated` follows later: see [`invalidations`](super::invalidations).

use super::metrics::SCOPE;
use crate::model::{Failure, KeyPrefix, ObjectKey, Operation, Outcome, Trace, UnixMillis};
use crate::queue::Lease;
use crate::transfer::{Answer, Request};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Requests of one try that become spans; a file of 10,000 parts would make as many.
const REQUESTS_MAX: usize = 128;
/// What a failure says is cut here.
const MESSAGE_CHARS_MAX: usize = 512;

/// What the spans say of the place.
#[derive(Debug, Clone)]
pub struct Place {
    /// The bucket.
    pub bucket: String,
    /// Its region, if it is set.
    pub region: Option<String>,
    /// What stands before every key.
    pub prefix: KeyPrefix,
}

/// Requests of a try under way.
#[derive(Debug, Default)]
pub(super) struct Requests {
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
    answer: Answer,
}

impl Requests {
    /// Notes a request. Where there is no room the latest takes the place of the one before: the
    /// first and the last tell most.
    pub(super) fn note(&mut self, request: &Request<'_>) {
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

/// A try that has ended.
#[derive(Debug)]
pub(super) struct Tried<'a> {
    pub(super) trace: Trace,
    pub(super) lease: &'a Lease,
    pub(super) key: Option<&'a ObjectKey>,
    pub(super) outcome: &'a Outcome,
    /// What became of it: see the table of metrics.
    pub(super) operation: &'static str,
    pub(super) result: &'static str,
    pub(super) began: SystemTime,
    pub(super) ended: SystemTime,
    pub(super) requests: Requests,
}

/// Whether something has failed in the life of a change so far.
pub(super) fn has_failed(lease: &Lease, outcome: &Outcome) -> bool {
    lease.pending.attempts > 1 || matches!(outcome, Outcome::Failed(_))
}

impl Tried<'_> {
    /// The spans that are known with the end of this try.
    pub(super) fn spans(&self, place: &Place) -> Vec<SpanData> {
        let since = at(self.lease.pending.since);
        let mut spans = Vec::with_capacity(self.requests.spans.len() + 4);
        let done = matches!(self.outcome, Outcome::Mirrored(..) | Outcome::Deleted);
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
            Outcome::Mirrored(..) | Outcome::Deleted => {}
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

    /// The change from its beginning to its end.
    fn whole(&self, since: SystemTime, place: &Place) -> SpanData {
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

    fn request(&self, parent: SpanId, request: &RequestSpan, place: &Place) -> SpanData {
        let (name, ended) = (format!("S3.{}", request.operation), request.began + request.took);
        let mut span = self.span(name.into(), request.began, ended);
        span.parent_span_id = parent;
        span.span_kind = SpanKind::Client;
        span.attributes = vec![
            KeyValue::new("rpc.system.name", "aws-api"),
            // Its name before, which most tools still look for.
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

/// The context of a span that is exported.
pub(super) fn context(trace_id: u128, span_id: SpanId) -> SpanContext {
    let (trace_id, flags) = (TraceId::from(trace_id), TraceFlags::SAMPLED);
    SpanContext::new(trace_id, span_id, flags, false, TraceState::default())
}

/// A span that says nothing yet.
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
        // A clock that was set back makes no span of negative length.
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

/// Has the span say why it failed.
pub(super) fn fail_with(span: &mut SpanData, code: &str, message: &str) {
    span.attributes.push(KeyValue::new("error.type", code.to_owned()));
    let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    span.status = Status::error(message);
}

pub(super) fn at(time: UnixMillis) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(time)
}
