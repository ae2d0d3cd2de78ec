//! CloudFront by the AWS SDK. The only module that names it.
//!
//! The SDK's own retries are off: the worker owns them, and every request is one it knows of.

use super::port::{Heard, Invalidator, Kind, Status, Trouble};
use crate::aws::{Aws, chain};
use crate::model::Batch;
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

/// Time to reach the endpoint.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Time for a request and its answer.
const REQUEST_PATIENCE: Duration = Duration::from_secs(30);
/// CloudFront is in no region; the partition is found by one.
const FALLBACK_REGION: &str = "us-east-1";

/// What CloudFront says when it wants fewer requests, or is not itself. Its Throttling has status 400.
const UNAVAILABLE: [&str; 7] = [
    "InternalError",
    "InternalFailure",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// What it says of a request it will never take.
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
pub struct CloudFront {
    client: Client,
}

impl CloudFront {
    /// A client. Makes no request.
    pub fn new(aws: &Aws) -> Self {
        let region = aws.shared().region().cloned();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_PATIENCE)
            .operation_timeout(REQUEST_PATIENCE)
            .build();
        let config = aws_sdk_cloudfront::config::Builder::from(aws.shared())
            .region(region.unwrap_or(Region::from_static(FALLBACK_REGION)))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .build();
        Self { client: Client::from_conf(config) }
    }
}

impl Invalidator for CloudFront {
    async fn create(&self, batch: &Batch) -> (Result<Status, Trouble>, Heard) {
        let document = match document(batch) {
            Ok(document) => document,
            Err(error) => return (Err(unfit(&error)), Heard::default()),
        };
        let request = self
            .client
            .create_invalidation()
            .distribution_id(&batch.distribution)
            .invalidation_batch(document);
        let listening = Listening::default();
        let answer = request.customize().interceptor(listening.clone()).send().await;
        let answer = answer
            .map_err(|error| trouble(&error))
            .and_then(|answer| answer.invalidation.as_ref().map(status).ok_or_else(incomplete));
        (answer, listening.heard())
    }

    async fn status(&self, distribution: &str, id: &str) -> Result<Status, Trouble> {
        let request = self.client.get_invalidation().distribution_id(distribution).id(id);
        let answer = request.send().await.map_err(|error| trouble(&error))?;
        answer.invalidation.as_ref().map(status).ok_or_else(incomplete)
    }
}

/// Notes what the answer to one request says of itself.
#[derive(Debug, Clone, Default)]
struct Listening(Arc<Mutex<Heard>>);

impl Listening {
    fn heard(&self) -> Heard {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Intercept for Listening {
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
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Heard {
            status: Some(response.status().as_u16()),
            request_id: response.headers().get("x-amzn-requestid").map(str::to_owned),
        };
        Ok(())
    }
}

fn document(batch: &Batch) -> Result<InvalidationBatch, BuildError> {
    let quantity = i32::try_from(batch.paths.len()).unwrap_or(i32::MAX);
    let paths = Paths::builder().quantity(quantity).set_items(Some(batch.paths.clone())).build()?;
    InvalidationBatch::builder().paths(paths).caller_reference(&batch.reference).build()
}

fn status(invalidation: &Invalidation) -> Status {
    let completed = invalidation.status().eq_ignore_ascii_case("completed");
    Status { id: invalidation.id().to_owned(), completed }
}

/// Sorts an error by what happens next.
fn trouble<E>(error: &SdkError<E, HttpResponse>) -> Trouble
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let made = |kind, code: &str| Trouble { kind, code: code.into(), message: chain(error) };
    match error {
        SdkError::ConstructionFailure(_) => made(Kind::Unfit, "request"),
        SdkError::TimeoutError(_) => made(Kind::Unavailable, "timeout"),
        SdkError::ResponseError(_) => made(Kind::Unavailable, "response"),
        SdkError::DispatchFailure(dispatch) if dispatch.is_timeout() => {
            made(Kind::Unavailable, "timeout")
        }
        SdkError::DispatchFailure(dispatch) if dispatch.is_io() => {
            made(Kind::Unavailable, "connection")
        }
        // What is neither came up before the connection: the credentials.
        SdkError::DispatchFailure(_) => made(Kind::Refused, "credentials"),
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = service.err().code();
            let code = code.map_or_else(|| format!("http-{status}"), str::to_owned);
            let message = service.err().message();
            let message = message.map_or_else(|| chain(error), str::to_owned);
            Trouble { kind: kind(&code, status), code, message }
        }
        _ => made(Kind::Unavailable, "unknown"),
    }
}

/// What an answer means. What is not known has to be looked at by somebody.
fn kind(code: &str, status: u16) -> Kind {
    match code {
        "TooManyInvalidationsInProgress" => Kind::Crowded,
        "NoSuchInvalidation" => Kind::Unknown,
        code if UNAVAILABLE.contains(&code) || status >= 500 || status == 429 => Kind::Unavailable,
        code if UNFIT.contains(&code) => Kind::Unfit,
        _ => Kind::Refused,
    }
}

fn unfit(error: &BuildError) -> Trouble {
    Trouble { kind: Kind::Unfit, code: "request".into(), message: error.to_string() }
}

fn incomplete() -> Trouble {
    let message = "CloudFront answered without an invalidation".into();
    Trouble { kind: Kind::Unavailable, code: "incomplete-answer".into(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_an_answer_says_of_itself_is_heard_also_of_a_refusal() {
        let server = file_sync_dev_s3::CloudFront::start().expect("a server");
        let shared = crate::aws::for_tests().shared().clone();
        let config = aws_sdk_cloudfront::config::Builder::from(&shared)
            .endpoint_url(server.endpoint())
            .retry_config(RetryConfig::disabled())
            .build();
        let cdn = CloudFront { client: Client::from_conf(config) };
        let mut batch = Batch {
            id: "b".into(),
            reference: "r".into(),
            distribution: file_sync_dev_s3::DISTRIBUTION.into(),
            paths: vec!["/a".into()],
            month: crate::model::Month(0),
            created: 0,
            accepted: None,
            links: Vec::new(),
        };
        let heard = |status| Heard { status: Some(status), request_id: Some("1".into()) };
        let (taken, said) = cdn.create(&batch).await;
        assert_eq!((taken.is_ok(), said), (true, heard(201)));
        batch.distribution = "E0".into();
        let (refused, said) = cdn.create(&batch).await;
        assert_eq!((refused.is_err(), said), (true, heard(404)));
        drop(server);
        let (_, said) = cdn.create(&batch).await;
        assert_eq!(said, Heard::default(), "nobody answers");
    }

    #[test]
    fn errors_are_told_apart_by_what_happens_next() {
        for (code, status, expected) in [
            ("TooManyInvalidationsInProgress", 400, Kind::Crowded),
            ("Throttling", 400, Kind::Unavailable),
            ("ServiceUnavailable", 503, Kind::Unavailable),
            ("http-502", 502, Kind::Unavailable),
            ("AccessDenied", 403, Kind::Refused),
            ("NoSuchDistribution", 404, Kind::Refused),
            ("ExpiredToken", 403, Kind::Refused),
            ("InvalidArgument", 400, Kind::Unfit),
            ("BatchTooLarge", 413, Kind::Unfit),
            ("NoSuchInvalidation", 404, Kind::Unknown),
        ] {
            assert_eq!(kind(code, status), expected, "{code}");
        }
    }
}
