//! The boundary: every answer is examined here before the SDK sees it, with a bounded part of its body.

use super::answer::{AnswerKind, NotAnS3Answer, S3Answer, S3Operation, error_code, examine};
use super::answer_slot::AnswerSlot;
use crate::aws::{Screen, read_start};
use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, ConnectorError};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::http::Headers;
use aws_smithy_types::body::SdkBody;

/// Writes on each request which operation it is, for the screen of its answer.
#[derive(Debug)]
pub(super) struct NameOperation;

impl Intercept for NameOperation {
    fn name(&self) -> &'static str {
        "NameOperation"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = config.load::<Metadata>().map_or("", Metadata::name);
        context.request_mut().add_extension(S3Operation::from_name(operation));
        Ok(())
    }
}

/// Passes on the answers of S3, and nothing else.
#[derive(Debug, Clone)]
pub(super) struct S3Answers;

impl Screen for S3Answers {
    type Request = (S3Operation, Option<AnswerSlot>);

    fn request(&self, request: &HttpRequest) -> Self::Request {
        let operation = request.extension().copied().unwrap_or(S3Operation::Other);
        (operation, request.extension().cloned())
    }

    async fn answer(
        self,
        (operation, answers): Self::Request,
        answer: Result<HttpResponse, ConnectorError>,
    ) -> Result<HttpResponse, ConnectorError> {
        let mut response = answer?;
        let status = response.status().as_u16();
        if let Some(answers) = answers {
            answers.set(status, response.headers());
        }
        let start = match operation.body_max(status) {
            Some(max) => Some(read_start(response.take_body(), max).await?),
            None => None,
        };
        let (body, is_whole) =
            start.as_ref().map_or((&[][..], true), |start| (&start.bytes[..], start.is_whole));
        let answer = S3Answer { status, headers: response.headers(), body, is_whole };
        let kind = examine(operation, &answer).map_err(refused)?;
        if kind == AnswerKind::ErrorInSuccess {
            let within = answer.status_within();
            *response.status_mut() = within.try_into().map_err(|_| no_status(operation, status))?;
        }
        if let Some(start) = start {
            let shortened = (!start.is_whole).then(|| shortened(&start.bytes));
            if shortened.is_some() {
                // The SDK holds some bodies against it.
                response.headers_mut().remove("content-length");
            }
            let body = shortened.map_or_else(|| SdkBody::from(start.bytes), SdkBody::from);
            *response.body_mut() = body;
        }
        response.add_extension(kind);
        make_etag_strong(response.headers_mut());
        Ok(response)
    }
}

fn refused(answer: NotAnS3Answer) -> ConnectorError {
    ConnectorError::other(answer.into(), None)
}

fn no_status(operation: S3Operation, status: u16) -> ConnectorError {
    refused(NotAnS3Answer::incomplete(operation, status, "with an error of no status"))
}

/// An error document that says too much, with what it says first.
fn shortened(document: &[u8]) -> String {
    let code = error_code(document).unwrap_or_else(|| "Unknown".to_owned());
    format!(
        "<Error><Code>{code}</Code><Message>The message is too long to be read.</Message></Error>"
    )
}

/// A proxy that compresses marks entity tags as weak. S3 compares them as strong ones.
fn make_etag_strong(headers: &mut Headers) {
    let strong = headers.get("etag").and_then(|etag| etag.strip_prefix("W/")).map(str::to_owned);
    if let Some(strong) = strong {
        headers.insert("etag", strong);
    }
}
