//! CloudFront by the AWS SDK. The only module that names it.
//!
//! The SDK's own retries are off: the worker owns them, and every request is one it knows of.

use super::port::{Invalidator, Kind, Status, Trouble};
use crate::aws::{Aws, chain};
use crate::model::Batch;
use aws_sdk_cloudfront::Client;
use aws_sdk_cloudfront::config::Region;
use aws_sdk_cloudfront::config::http::HttpResponse;
use aws_sdk_cloudfront::config::retry::RetryConfig;
use aws_sdk_cloudfront::config::timeout::TimeoutConfig;
use aws_sdk_cloudfront::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_cloudfront::types::{Invalidation, InvalidationBatch, Paths};
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
    async fn create(&self, batch: &Batch) -> Result<Status, Trouble> {
        let request = self
            .client
            .create_invalidation()
            .distribution_id(&batch.distribution)
            .invalidation_batch(document(batch).map_err(|error| unfit(&error))?);
        let answer = request.send().await.map_err(|error| trouble(&error))?;
        answer.invalidation.as_ref().map(status).ok_or_else(incomplete)
    }

    async fn status(&self, distribution: &str, id: &str) -> Result<Status, Trouble> {
        let request = self.client.get_invalidation().distribution_id(distribution).id(id);
        let answer = request.send().await.map_err(|error| trouble(&error))?;
        answer.invalidation.as_ref().map(status).ok_or_else(incomplete)
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
