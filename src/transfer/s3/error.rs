//! What the SDK's errors mean for what happens next.

use super::answer::{AnswerKind, NotAnS3Answer, S3Operation};
use super::retry_after::retry_after_ms;
use crate::error_causes::{causes, messages};
use crate::escape::is_hostile;
use crate::model::{Failure, FailureClass, NO_REGION};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ConnectorError, ProvideErrorMetadata, SdkError};

/// The code of an answer that did not come from S3.
pub(super) const NOT_AN_S3_ANSWER: &str = "not-an-s3-answer";
/// Longest code of a failure that is kept. S3's have up to 40 bytes.
const CODE_BYTES_MAX: usize = 64;
/// Longest message of a failure that is kept, in memory, in the state and in `retry_file`.
const MESSAGE_BYTES_MAX: usize = 1024;

/// The words of the SDK for a request without a region.
const REGION_MISSING: &str = "region must be set";

/// S3's way of saying that it is not itself.
const UNAVAILABLE: [&str; 4] =
    ["InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable"];

/// Its way of asking for less, and other stores'.
const THROTTLED: [&str; 6] = [
    "RequestLimitExceeded",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "TooManyRequestsException",
];

/// What an operator or a rotation of credentials has to fix; it concerns every object.
const REFUSED: [&str; 20] = [
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "Forbidden",
    "IllegalLocationConstraintException",
    "InvalidAccessKeyId",
    "InvalidBucketName",
    "InvalidBucketState",
    "InvalidToken",
    "KMS.DisabledException",
    "KMS.KMSInvalidStateException",
    "KMS.NotFoundException",
    "NoSuchBucket",
    "NotSignedUp",
    "PermanentRedirect",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
];

/// Sorts an error by what happens next.
pub(super) fn failure<E>(error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let made = |class, code: &str, answer_lost| {
        new_failure(class, code, &explained(&messages(error)), answer_lost)
    };
    match error {
        SdkError::ConstructionFailure(_) => made(FailureClass::Object, "request", false),
        SdkError::TimeoutError(_) => made(FailureClass::Unavailable, "timeout", true),
        SdkError::ResponseError(_) => made(FailureClass::Unavailable, "response", true),
        SdkError::DispatchFailure(dispatch) if dispatch.is_timeout() => {
            made(FailureClass::Unavailable, "timeout", true)
        }
        SdkError::DispatchFailure(dispatch)
            if is_about_credentials(dispatch.as_connector_error()) =>
        {
            made(FailureClass::Refused, "credentials", false)
        }
        SdkError::DispatchFailure(_) if messages(error).contains(REGION_MISSING) => {
            made(FailureClass::Refused, NO_REGION, false)
        }
        SdkError::DispatchFailure(dispatch) => {
            match not_an_s3_answer(dispatch.as_connector_error()) {
                Some(answer) => answer.failure(),
                // However the connection ended, the request may have come through before.
                None => made(FailureClass::Unavailable, "connection", true),
            }
        }
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let mut failure = answered(service.err(), status, || messages(error));
            failure.answer_lost |= is_within_success(error) && !failure.is_throttled();
            failure.retry_after_ms = retry_after_ms(service.raw().headers());
            failure
        }
        _ => made(FailureClass::Unavailable, "unknown", true),
    }
}

/// Credentials are asked for before the connection.
fn is_about_credentials(error: Option<&ConnectorError>) -> bool {
    find_cause::<CredentialsError>(error).is_some()
}

/// The screen in front of the SDK refuses answers as a connector does.
fn not_an_s3_answer(error: Option<&ConnectorError>) -> Option<&NotAnS3Answer> {
    find_cause(error)
}

fn find_cause<E: std::error::Error + 'static>(error: Option<&ConnectorError>) -> Option<&E> {
    let error = std::error::Error::source(error?)?;
    causes(error).find_map(|cause| cause.downcast_ref())
}

impl NotAnS3Answer {
    /// What happens next.
    pub(super) fn failure(&self) -> Failure {
        let lost = self.may_be_carried_out();
        let failure = new_failure(self.class(), &self.code(), &self.to_string(), lost);
        Failure { retry_after_ms: self.retry_after_ms(), ..failure }
    }
}

/// Adds what to do to errors whose words do not say it.
fn explained(message: &str) -> String {
    if message.contains("CaUsedAsEndEntity") {
        return format!(
            "{message}: the certificate of the server is that of an authority (CA:TRUE), which is not \
             accepted for a server; sign a certificate with CA:FALSE by it for the server, and keep the \
             authority in AWS_CA_BUNDLE"
        );
    }
    message.to_owned()
}

/// The one way to make a failure of what the store or a library says: bounded, and without characters
/// that change what a person reads.
fn new_failure(class: FailureClass, code: &str, message: &str, answer_lost: bool) -> Failure {
    let code = bounded(code, CODE_BYTES_MAX);
    let message = bounded(message, MESSAGE_BYTES_MAX);
    Failure { class, code, message, answer_lost, retry_after_ms: None }
}

/// The start of `text`, escaped, in at most `max` bytes.
fn bounded(text: &str, max: usize) -> String {
    const ELLIPSIS: &str = "...";
    let mut bounded = String::with_capacity(text.len().min(max));
    for char in text.chars() {
        let before = bounded.len();
        if is_hostile(char) {
            bounded.extend(char.escape_unicode());
        } else {
            bounded.push(char);
        }
        if bounded.len() > max {
            bounded.truncate(before);
            while bounded.len() > max - ELLIPSIS.len() {
                bounded.pop();
            }
            bounded.push_str(ELLIPSIS);
            break;
        }
    }
    bounded
}

/// What the store says of one object of many, in an answer that is otherwise a success.
pub(super) fn from_code(code: Option<&str>, message: Option<&str>) -> Failure {
    let code = code.unwrap_or("unknown");
    let message = message.unwrap_or("the store did not say why");
    // An internal error can come after the work was done, and what has no name is none of S3's refusals.
    let answer_lost = UNAVAILABLE.contains(&code) || code == "unknown";
    new_failure(class(code, 200), code, message, answer_lost)
}

fn answered(
    error: &impl ProvideErrorMetadata,
    status: u16,
    context: impl Fn() -> String,
) -> Failure {
    if status < 300 {
        // The SDK could not read the document of a success.
        return new_failure(FailureClass::Unavailable, NOT_AN_S3_ANSWER, &context(), true);
    }
    let code = error.code().map_or_else(|| format!("http-{status}"), str::to_owned);
    let message = error.message().map_or_else(context, str::to_owned);
    new_failure(class(&code, status), &code, &message, may_be_done(&code, status))
}

/// Whether the work may have been done although an error was answered. A refusal, and being asked for
/// less, come before the work. An internal error can come after it, an error within an answer of success
/// as well, and one of a server between that has not seen S3's answer anyhow.
fn may_be_done(code: &str, status: u16) -> bool {
    !THROTTLED.contains(&code) && !(400..500).contains(&status)
}

fn class(code: &str, status: u16) -> FailureClass {
    if status == 429 || THROTTLED.contains(&code) {
        FailureClass::Throttled
    } else if status >= 500 || UNAVAILABLE.contains(&code) {
        FailureClass::Unavailable
    } else if REFUSED.contains(&code)
        || matches!(status, 301 | 307 | 401 | 403)
        || code.starts_with("KMS.")
    {
        FailureClass::Refused
    } else {
        FailureClass::Object
    }
}

/// Whether the store answered with one of these.
pub(super) fn is_status<E>(error: &SdkError<E, HttpResponse>, statuses: &[u16]) -> bool {
    let status = error.raw_response().map(|response| response.status().as_u16());
    status.is_some_and(|status| statuses.contains(&status))
}

/// The code of an error that the store answered with.
fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// Whether the store says that the object is not there. That the bucket or an upload is not there says
/// nothing about an object.
pub(super) fn is_no_such_key<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    is_status(error, &[404])
        && matches!(code(error), Some("NoSuchKey"))
        && !is_within_success(error)
}

/// Whether the object is not the one that the condition of the request is about.
pub(super) fn is_precondition_failed<E: ProvideErrorMetadata>(
    error: &SdkError<E, HttpResponse>,
) -> bool {
    is_status(error, &[412])
        && matches!(code(error), Some("PreconditionFailed") | None)
        && !is_within_success(error)
}

/// Whether the error came in an answer that said success: the work may have been done.
fn is_within_success<E>(error: &SdkError<E, HttpResponse>) -> bool {
    let kind = error.raw_response().and_then(|response| response.extension::<AnswerKind>());
    kind == Some(&AnswerKind::ErrorInSuccess)
}

/// Whether the store may refuse a request because of a feature that it does not know.
pub(super) fn refuses_feature<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    match code(error) {
        None | Some("BadRequest") => is_status(error, &[400, 501]),
        Some("InvalidArgument" | "InvalidRequest" | "NotImplemented" | "UnsupportedArgument") => {
            is_status(error, &[400, 501])
        }
        Some(_) => is_status(error, &[501]),
    }
}

/// Whether the store does not know the operation. What it says of one request, such as that a token has
/// expired, says nothing about the operation.
pub(super) fn lacks_operation<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let unknown = matches!(
        code(error),
        Some("MalformedXML" | "MethodNotAllowed" | "MissingContentLength" | "MissingContentMD5")
    );
    is_status(error, &[405, 411, 501]) || unknown || refuses_feature(error)
}

/// Whether the store does not know the condition of a request.
pub(super) fn lacks_condition<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    is_status(error, &[501]) || matches!(code(error), Some("NotImplemented" | "InvalidArgument"))
}

/// A success whose document lacks what S3 says in it.
pub(super) fn incomplete(operation: S3Operation, lack: &'static str) -> Failure {
    NotAnS3Answer::incomplete(operation, 200, lack).failure()
}

/// A listing that cannot be followed to its end.
pub(super) fn contradiction(message: &str) -> Failure {
    new_failure(FailureClass::Object, "listing-contradicts-itself", message, false)
}

/// What ends the reading of an object's content.
pub(super) fn content_failure(message: &str) -> Failure {
    new_failure(FailureClass::Unavailable, "body", message, false)
}

/// Two answers about one object that cannot both be true.
pub(super) fn unconfirmed(message: &str) -> Failure {
    new_failure(FailureClass::Object, "unconfirmed", message, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::operation::put_object::PutObjectError;

    fn from_connector(error: ConnectorError) -> Failure {
        failure(&SdkError::<PutObjectError, HttpResponse>::dispatch_failure(error))
    }

    #[test]
    fn a_connection_that_ended_may_have_carried_the_request_out() {
        let closed = || "connection closed before message completed".into();
        for error in [ConnectorError::other(closed(), None), ConnectorError::io(closed())] {
            let failure = from_connector(error);
            assert!(failure.answer_lost, "{failure:?}");
            assert_eq!((failure.class, &*failure.code), (FailureClass::Unavailable, "connection"));
        }
    }

    #[test]
    fn only_a_refusal_and_a_request_for_less_prove_that_nothing_was_done() {
        for (code, status) in [
            ("AccessDenied", 403),
            ("PreconditionFailed", 412),
            ("NoSuchUpload", 404),
            ("SlowDown", 503),
            ("SlowDown", 200),
            ("TooManyRequests", 429),
        ] {
            assert!(!may_be_done(code, status), "{status} {code}");
        }
        for (code, status) in [
            ("InternalError", 500),
            ("InternalError", 200),
            ("ServiceUnavailable", 503),
            ("http-502", 502),
            ("http-504", 504),
            ("AccessDenied", 200),
            ("http-302", 302),
        ] {
            assert!(may_be_done(code, status), "{status} {code}");
        }
    }

    #[test]
    fn what_a_store_says_is_kept_short_and_cannot_change_what_a_person_reads() {
        let long = "é".repeat(5_000_000);
        let failure = from_code(Some(&long), Some(&long));
        assert!(failure.code.len() <= CODE_BYTES_MAX && failure.message.len() <= MESSAGE_BYTES_MAX);
        assert!(failure.message.ends_with("...") && failure.message.len() > MESSAGE_BYTES_MAX - 8);
        let failure = from_code(Some("a\nb"), Some("\u{1b}[2J\u{202e}x\u{9b}\u{61c}\u{feff}"));
        assert_eq!(failure.code, "a\\u{a}b");
        assert_eq!(failure.message, "\\u{1b}[2J\\u{202e}x\\u{9b}\\u{61c}\\u{feff}");
        assert_eq!(bounded("short", 64), "short");
    }

    #[test]
    fn a_certificate_that_is_its_own_authority_is_explained() {
        let cause = "invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))";
        let failure = from_connector(ConnectorError::io(cause.into()));
        assert!(failure.message.contains("CA:FALSE"), "{}", failure.message);
    }

    #[test]
    fn without_credentials_nothing_was_sent() {
        let missing = CredentialsError::not_loaded("no providers in chain");
        let failure = from_connector(ConnectorError::other(missing.into(), None));
        assert!(!failure.answer_lost);
        assert_eq!((failure.class, &*failure.code), (FailureClass::Refused, "credentials"));
    }
}
