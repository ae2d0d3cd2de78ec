//! The traces of invalidations: one per batch, linked with those of its changes.
//!
//! ```text
//! mirror upload ─┬─ …
//!                └─ invalidated   from S3's response until the CDN accepts ──links to──┐
//! invalidate ◄──────────────────────────────────────────────────────────────────────────┘
//!   │  links to its changes
//!   └─ CloudFront.CreateInvalidation   each attempt
//! ```
//!
//! Batches without an exported change are not exported, unless something failed.

use super::traces::{at, blank, context, fail_with};
use crate::invalidate::InvalidationRequest;
use crate::model::{SpanReference, TraceLink};
use opentelemetry::KeyValue;
use opentelemetry::trace::{self, SpanContext, SpanId, SpanKind};
use opentelemetry_sdk::trace::SpanData;

/// The spans that are known at the end of this request.
pub(super) fn spans(request: &InvalidationRequest<'_>) -> Vec<SpanData> {
    let batch = request.batch;
    let failed = request.failed_before || request.answer.is_err();
    if batch.links.is_empty() && !failed {
        return Vec::new();
    }
    let own = batch.context();
    let began = at(request.began);
    let ended = at(request.ended);
    let mut call = blank(child_of(own), "CloudFront.CreateInvalidation".into(), began, ended);
    call.parent_span_id = SpanId::from(own.span_id);
    call.span_kind = SpanKind::Client;
    call.attributes = vec![
        KeyValue::new("rpc.system.name", "aws-api"),
        // The previous name of the attribute, which most tools still use.
        KeyValue::new("rpc.system", "aws-api"),
        KeyValue::new("rpc.service", "CloudFront"),
        KeyValue::new("rpc.method", "CreateInvalidation"),
        KeyValue::new("aws.cloudfront.distribution_id", batch.distribution.clone()),
    ];
    let response = request.response;
    let status = response.status.map(i64::from);
    call.attributes.extend(status.map(|code| KeyValue::new("http.response.status_code", code)));
    let id = response.request_id.clone();
    call.attributes.extend(id.map(|id| KeyValue::new("aws.request_id", id)));
    let id = match request.answer {
        Ok(status) => &status.id,
        Err(trouble) => {
            fail_with(&mut call, &trouble.code, &trouble.message);
            return vec![call];
        }
    };
    let mut whole = blank(referred(own), "invalidate".into(), at(batch.created), ended);
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let named = KeyValue::new("aws.cloudfront.invalidation_id", id.clone());
    whole.attributes = vec![
        KeyValue::new("aws.cloudfront.distribution_id", batch.distribution.clone()),
        named.clone(),
        KeyValue::new("file_sync.paths", number(batch.size())),
        KeyValue::new("file_sync.wildcards", number(batch.wildcards())),
    ];
    let links = batch.links.iter().map(|link| linked(link.context));
    whole.links.links = links.collect();
    let changes = batch.links.iter().map(|link| {
        let mut span = invalidated(link, ended);
        span.attributes = vec![named.clone()];
        span.links.links = vec![linked(own)];
        span
    });
    let mut spans: Vec<_> = changes.collect();
    spans.extend([call, whole]);
    spans
}

/// The last part of a change.
fn invalidated(link: &TraceLink, ended: std::time::SystemTime) -> SpanData {
    let context = child_of(link.context);
    let mut span = blank(context, "invalidated".into(), at(link.since), ended);
    span.parent_span_id = SpanId::from(link.context.span_id);
    span
}

fn child_of(parent: SpanReference) -> SpanContext {
    context(parent.trace_id, SpanId::from(fastrand::u64(1..)))
}

fn referred(own: SpanReference) -> SpanContext {
    context(own.trace_id, SpanId::from(own.span_id))
}

fn linked(to: SpanReference) -> trace::Link {
    trace::Link::with_context(referred(to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invalidate::{InvalidateError, RequestStatus, ResponseMeta, RetryKind};
    use crate::model::{MonthCount, PathBatch};

    fn batch(links: Vec<TraceLink>) -> PathBatch {
        PathBatch {
            id: "b".into(),
            reference: "r".into(),
            distribution: "E1".into(),
            paths: vec!["/a".into(), "/b/*".into()],
            month: MonthCount(0),
            created: 2_000,
            accepted: None,
            links,
        }
    }

    fn spans_of(
        batch: &PathBatch,
        answer: &Result<RequestStatus, InvalidateError>,
    ) -> Vec<SpanData> {
        let failed_before = false;
        let response = &ResponseMeta { status: Some(201), request_id: Some("R".into()) };
        spans(&InvalidationRequest {
            batch,
            began: 3_000,
            ended: 4_000,
            answer,
            response,
            failed_before,
        })
    }

    #[test]
    fn a_batch_and_its_changes_lead_to_each_other() {
        let change = TraceLink { context: SpanReference::from_name("change"), since: 1_000 };
        let batch = batch(vec![change]);
        let spans = spans_of(&batch, &Ok(RequestStatus { id: "I1".into(), completed: false }));
        let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["invalidated", "CloudFront.CreateInvalidation", "invalidate"]);
        let [batch_span, call, whole] = &spans[..] else { panic!("three spans") };
        assert_eq!(batch_span.span_context.trace_id(), referred(change.context).trace_id());
        assert_eq!(batch_span.parent_span_id, SpanId::from(change.context.span_id));
        assert_eq!((batch_span.start_time, batch_span.end_time), (at(1_000), at(4_000)));
        assert_eq!(batch_span.links.links[0].span_context, whole.span_context);
        assert_eq!(whole.links.links[0].span_context, referred(change.context));
        assert_eq!((whole.start_time, whole.parent_span_id), (at(2_000), SpanId::INVALID));
        assert_eq!(call.parent_span_id, whole.span_context.span_id());
        for response in
            [KeyValue::new("http.response.status_code", 201), KeyValue::new("aws.request_id", "R")]
        {
            assert!(call.attributes.contains(&response), "{response:?}");
        }
        assert_eq!(call.span_context.trace_id(), whole.span_context.trace_id());
    }

    #[test]
    fn failures_are_exported_and_unsampled_changes_are_not() {
        let taken = Ok(RequestStatus { id: "I1".into(), completed: false });
        assert!(spans_of(&batch(Vec::new()), &taken).is_empty());
        let code = "AccessDenied".into();
        let message = "no".into();
        let refused = Err(InvalidateError { kind: RetryKind::Refused, code, message });
        let spans = spans_of(&batch(Vec::new()), &refused);
        assert_eq!((spans.len(), &spans[0].status), (1, &trace::Status::error("no")));
    }
}
