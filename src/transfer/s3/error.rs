//! What the SDK's errors mean for what happens next.

use crate::aws::chain;
use crate::model::{Failure, FailureClass};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ConnectorError, ProvideErrorMetadata, SdkError};

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

/// What an operator or a rotation of credentials has to mend; it concerns every object.
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
    let message = || chain(error);
    let made = |class, code: &str, answer_lost| Failure {
        class,
        code: code.into(),
        message: message(),
        answer_lost,
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
        // However the connection ended, the request may have come through before.
        SdkError::DispatchFailure(_) => made(FailureClass::Unavailable, "connection", true),
        SdkError::ServiceError(service) => {
            answered(service.err(), service.raw().status().as_u16(), message)
        }
        _ => made(FailureClass::Unavailable, "unknown", true),
    }
}

/// Credentials are asked for before the connection.
fn is_about_credentials(error: Option<&ConnectorError>) -> bool {
    let mut cause = error.and_then(std::error::Error::source);
    while let Some(error) = cause {
        if error.is::<CredentialsError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What the store says of one object of many, in an answer that is otherwise a success.
pub(super) fn of_one(code: Option<&str>, message: Option<&str>) -> Failure {
    let code = code.unwrap_or("unknown").to_owned();
    let message = message.unwrap_or("the store did not say why").to_owned();
    // An internal error can come after the work was done.
    Failure { class: class(&code, 200), message, answer_lost: code == "InternalError", code }
}

fn answered(
    error: &impl ProvideErrorMetadata,
    status: u16,
    context: impl Fn() -> String,
) -> Failure {
    let code = error.code().map_or_else(|| format!("http-{status}"), str::to_owned);
    Failure {
        class: class(&code, status),
        message: error.message().map_or_else(context, str::to_owned),
        // An internal error can come after the work was done; a refusal cannot.
        answer_lost: status >= 500 && !["SlowDown", "ServiceUnavailable"].contains(&code.as_str()),
        code,
    }
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

/// Whether the store does not know the condition of a request.
pub(super) fn lacks_condition<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    is_status(error, &[501]) || matches!(code, Some("NotImplemented" | "InvalidArgument"))
}

/// An answer that lacks what every S3 says.
pub(super) fn incomplete(what: &str) -> Failure {
    Failure {
        class: FailureClass::Object,
        code: "incomplete-answer".into(),
        message: format!("the store answered with {what}"),
        answer_lost: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::operation::put_object::PutObjectError;

    fn heard(error: ConnectorError) -> Failure {
        failure(&SdkError::<PutObjectError, HttpResponse>::dispatch_failure(error))
    }

    #[test]
    fn a_connection_that_ended_may_have_carried_the_request_out() {
        let closed = || "connection closed before message completed".into();
        for error in [ConnectorError::other(closed(), None), ConnectorError::io(closed())] {
            let failure = heard(error);
            assert!(failure.answer_lost, "{failure:?}");
            assert_eq!((failure.class, &*failure.code), (FailureClass::Unavailable, "connection"));
        }
    }

    #[test]
    fn without_credentials_nothing_was_sent() {
        let missing = CredentialsError::not_loaded("no providers in chain");
        let failure = heard(ConnectorError::other(missing.into(), None));
        assert!(!failure.answer_lost);
        assert_eq!((failure.class, &*failure.code), (FailureClass::Refused, "credentials"));
    }
}
