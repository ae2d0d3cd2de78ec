//! CloudFront through the AWS SDK. The only module that names it.
//!
//! The retries of the SDK are disabled: the worker owns them, and knows every request.

use super::invalidator::{InvalidateError, Invalidator, RequestStatus, ResponseMeta, RetryKind};
use crate::aws::Aws;
use crate::error_causes::messages;
use crate::model::PathBatch;
use aws_sdk_cloudfront::Client;
use aws_sdk_cloudfront::config::Region;
use aws_sdk_cloudfront::config::http::HttpResponse;
use aws_sdk_cloudfront::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_cloudfront::config::retry::RetryConfig;
use aws_sdk_cloudfront::config::timeout::TimeoutConfig;
use aws_sdk_cloudfront::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_cloudfront::error::{BoxError, BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_cloudfront::types::{Invalidation, InvalidationBatch, Paths};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Maximum time to connect.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Maximum time of a request and its response.
const REQUEST_PATIENCE: Duration = Duration::from_secs(30);
/// CloudFront has no region; one is needed to determine the partition.
const FALLBACK_REGION: &str = "us-east-1";

/// Error codes for throttling and outages. CloudFront's Throttling has status 400.
const UNAVAILABLE: [&str; 7] = [
    "InternalError",
    "InternalFailure",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Error codes of requests that will never be accepted.
const UNFIT: [&str; 6] = [
    "BatchTooLarge",
    "InconsistentQuantities",
    "InvalidArgument",
    "InvalidationBatchAlreadyExists",
    "MalformedXML",
    "MissingBody",
];

/// CloudFront.
#[derive(Debug, Clone)]
pub struct CloudFrontInvalidator {
    client: Client,
}

impl CloudFrontInvalidator {
    /// Creates a client. Sends no request.
    pub fn new(aws: &Aws) -> Self {
        let region = aws.shared().region().cloned();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_PATIENCE)
            .operation_timeout(REQUEST_PATIENCE)
            .build();
        let config = aws_sdk_cloudfront::config::Builder::from(aws.shared())
            .region(region.unwrap_or(Region::from_static(FALLBACK_REGION)))
            .retry_config(RetryConfig::disabled())
            .interceptor(aws.refusal_watch())
            .timeout_config(timeouts)
            .build();
        Self { client: Client::from_conf(config) }
    }
}

impl Invalidator for CloudFrontInvalidator {
    async fn create(
        &self,
        batch: &PathBatch,
    ) -> (Result<RequestStatus, InvalidateError>, ResponseMeta) {
        let document = match document(batch) {
            Ok(document) => document,
            Err(error) => return (Err(unfit(&error)), ResponseMeta::default()),
        };
        let request = self
            .client
            .create_invalidation()
            .distribution_id(&batch.distribution)
            .invalidation_batch(document);
        let listening = ResponseListener::default();
        let answer = request.customize().interceptor(listening.clone()).send().await;
        let answer = answer
            .map_err(|error| trouble(&error))
            .and_then(|answer| answer.invalidation.as_ref().map(status).ok_or_else(incomplete));
        (answer, listening.response())
    }

    async fn status(&self, distribution: &str, id: &str) -> Result<RequestStatus, InvalidateError> {
        let request = self.client.get_invalidation().distribution_id(distribution).id(id);
        let answer = request.send().await.map_err(|error| trouble(&error))?;
        answer.invalidation.as_ref().map(status).ok_or_else(incomplete)
    }
}

/// Records the metadata of one response.
#[derive(Debug, Clone, Default)]
struct ResponseListener(Arc<Mutex<ResponseMeta>>);

impl ResponseListener {
    fn response(&self) -> ResponseMeta {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Intercept for ResponseListener {
    fn name(&self) -> &'static str {
        "Listening"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ResponseMeta {
            status: Some(response.status().as_u16()),
            request_id: response.headers().get("x-amzn-requestid").map(str::to_owned),
        };
        Ok(())
    }
}

fn document(batch: &PathBatch) -> Result<InvalidationBatch, BuildError> {
    let quantity = i32::try_from(batch.paths.len()).unwrap_or(i32::MAX);
    let paths = Paths::builder().quantity(quantity).set_items(Some(batch.paths.clone())).build()?;
    InvalidationBatch::builder().paths(paths).caller_reference(&batch.reference).build()
}

fn status(invalidation: &Invalidation) -> RequestStatus {
    let completed = invalidation.status().eq_ignore_ascii_case("completed");
    RequestStatus { id: invalidation.id().to_owned(), completed }
}

/// Classifies an error by the next action.
fn trouble<E>(error: &SdkError<E, HttpResponse>) -> InvalidateError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let made =
        |kind, code: &str| InvalidateError { kind, code: code.into(), message: messages(error) };
    match error {
        SdkError::ConstructionFailure(_) => made(RetryKind::Unfit, "request"),
        SdkError::TimeoutError(_) => made(RetryKind::Unavailable, "timeout"),
        SdkError::ResponseError(_) => made(RetryKind::Unavailable, "response"),
        SdkError::DispatchFailure(dispatch) if dispatch.is_timeout() => {
            made(RetryKind::Unavailable, "timeout")
        }
        SdkError::DispatchFailure(dispatch) if dispatch.is_io() => {
            made(RetryKind::Unavailable, "connection")
        }
        // All others occurred before the connection: the credentials.
        SdkError::DispatchFailure(_) => made(RetryKind::Refused, "credentials"),
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = service.err().code();
            let code = code.map_or_else(|| format!("http-{status}"), str::to_owned);
            let message = service.err().message();
            let message = message.map_or_else(|| messages(error), str::to_owned);
            InvalidateError { kind: kind(&code, status), code, message }
        }
        _ => made(RetryKind::Unavailable, "unknown"),
    }
}

/// The class of an error. An operator has to look at unknown ones.
fn kind(code: &str, status: u16) -> RetryKind {
    match code {
        "TooManyInvalidationsInProgress" => RetryKind::Crowded,
        "NoSuchInvalidation" => RetryKind::Unknown,
        code if UNAVAILABLE.contains(&code) || status >= 500 || status == 429 => {
            RetryKind::Unavailable
        }
        code if UNFIT.contains(&code) => RetryKind::Unfit,
        _ => RetryKind::Refused,
    }
}

fn unfit(error: &BuildError) -> InvalidateError {
    InvalidateError { kind: RetryKind::Unfit, code: "request".into(), message: error.to_string() }
}

fn incomplete() -> InvalidateError {
    let message = "CloudFront answered without an invalidation".into();
    InvalidateError { kind: RetryKind::Unavailable, code: "incomplete-answer".into(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_metadata_of_a_response_is_recorded_also_for_a_refusal() {
        let server = file_sync_dev_s3::CloudFront::start().expect("a server");
        let shared = crate::aws::for_tests().shared().clone();
        let config = aws_sdk_cloudfront::config::Builder::from(&shared)
            .endpoint_url(server.endpoint())
            .retry_config(RetryConfig::disabled())
            .build();
        let cdn = CloudFrontInvalidator { client: Client::from_conf(config) };
        let mut batch = PathBatch {
            id: "b".into(),
            reference: "r".into(),
            distribution: file_sync_dev_s3::DISTRIBUTION.into(),
            paths: vec!["/a".into()],
            month: crate::model::MonthCount(0),
            created: 0,
            accepted: None,
            links: Vec::new(),
        };
        let response = |status| ResponseMeta { status: Some(status), request_id: Some("1".into()) };
        let (taken, said) = cdn.create(&batch).await;
        assert_eq!((taken.is_ok(), said), (true, response(201)));
        batch.distribution = "E0".into();
        let (refused, said) = cdn.create(&batch).await;
        assert_eq!((refused.is_err(), said), (true, response(404)));
        drop(server);
        let (_, said) = cdn.create(&batch).await;
        assert_eq!(said, ResponseMeta::default(), "no server answers");
    }

    #[test]
    fn errors_are_classified_by_the_next_action() {
        for (code, status, expected) in [
            ("TooManyInvalidationsInProgress", 400, RetryKind::Crowded),
            ("Throttling", 400, RetryKind::Unavailable),
            ("ServiceUnavailable", 503, RetryKind::Unavailable),
            ("http-502", 502, RetryKind::Unavailable),
            ("AccessDenied", 403, RetryKind::Refused),
            ("NoSuchDistribution", 404, RetryKind::Refused),
            ("ExpiredToken", 403, RetryKind::Refused),
            ("InvalidArgument", 400, RetryKind::Unfit),
            ("BatchTooLarge", 413, RetryKind::Unfit),
            ("NoSuchInvalidation", 404, RetryKind::Unknown),
        ] {
            assert_eq!(kind(code, status), expected, "{code}");
        }
    }
}
