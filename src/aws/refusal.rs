//! Detects responses that refuse the credentials.

use super::credentials::CachedCredentials;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Error codes for requests that were signed with invalid or expired keys.
const CODES: [&str; 9] = [
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
];
/// Error responses are short; the code is at their start.
const BODY_BYTES_MAX: usize = 4096;

/// How likely it is that other credentials would help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CredentialRefusal {
    /// The response names the credentials.
    Credentials,
    /// The response has no reason: `AccessDenied`, or no body, as for a HEAD.
    Unexplained,
}

/// Classifies a response by what it proves about the credentials of its request.
fn refusal(status: u16, body: &[u8]) -> Option<CredentialRefusal> {
    if !matches!(status, 400 | 401 | 403) {
        return None;
    }
    let body = String::from_utf8_lossy(body.get(..BODY_BYTES_MAX).unwrap_or(body));
    let is_code = |code: &str| body.contains(&format!("<Code>{code}</Code>"));
    if CODES.iter().any(|code| is_code(code)) {
        return Some(CredentialRefusal::Credentials);
    }
    // The response to a HEAD has no body: for an expired token, its status is 400.
    (status != 400 || body.is_empty()).then_some(CredentialRefusal::Unexplained)
}

/// Reports each refusal to the credentials.
#[derive(Debug, Clone)]
pub(crate) struct RefusalWatch(pub(super) Option<CachedCredentials>);

impl Intercept for RefusalWatch {
    fn name(&self) -> &'static str {
        "RefusalWatch"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(credentials) = &self.0 else { return Ok(()) };
        let response = context.response();
        let body = response.body().bytes().unwrap_or_default();
        if let Some(refusal) = refusal(response.status().as_u16(), body) {
            credentials.note_refusal(refusal);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_credentials_or_nothing() {
        let error =
            |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
        for code in CODES {
            for status in [400, 401, 403] {
                let refused = refusal(status, error(code).as_bytes());
                assert_eq!(refused, Some(CredentialRefusal::Credentials), "{code}");
            }
        }
        assert_eq!(
            refusal(403, error("AccessDenied").as_bytes()),
            Some(CredentialRefusal::Unexplained)
        );
        assert_eq!(refusal(403, b""), Some(CredentialRefusal::Unexplained));
        assert_eq!(
            refusal(400, b""),
            Some(CredentialRefusal::Unexplained),
            "HEAD with an expired token"
        );
        assert_eq!(refusal(400, error("MalformedXML").as_bytes()), None);
        assert_eq!(refusal(200, error("ExpiredToken").as_bytes()), None);
        assert_eq!(refusal(503, error("SlowDown").as_bytes()), None);
    }
}
