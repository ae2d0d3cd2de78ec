//! What to do about a refused or failed request.

use super::address::BucketAddress;
use crate::model::Failure;

/// Codes of a missing permission. The answer to a HEAD has a status only.
const FORBIDDEN: [&str; 4] = ["AccessDenied", "AllAccessDisabled", "Forbidden", "http-403"];

/// Whether a permission is missing.
pub(super) fn is_forbidden(failure: &Failure) -> bool {
    FORBIDDEN.contains(&failure.code.as_str())
}

/// What to do about a failure of a request that needs the permission `action` on `address`.
#[must_use]
pub fn failure_remedy(failure: &Failure, action: &str, address: &BucketAddress) -> String {
    let text = match failure.code.as_str() {
        _ if is_forbidden(failure) => {
            return format!(
                "permit {action} on {}, see docs/PERMISSIONS.md",
                address.resource(action)
            );
        }
        "NoSuchBucket" => "make the bucket, or correct s3_bucket",
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => "set s3_region to the region of the bucket",
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" => {
            "correct the credentials: this store does not know them"
        }
        "ExpiredToken" | "ExpiredTokenException" => "renew the credentials: they have expired",
        "RequestTimeTooSkewed" => "set the clock of this machine",
        "credentials" => "provide credentials: an IRSA role, AWS_ACCESS_KEY_ID, or a profile",
        "connection" => "check s3_endpoint_url, DNS, network policies, proxies and certificates",
        "timeout" => "check network policies and proxies: the store does not answer in time",
        "not-an-s3-answer" => {
            "check s3_endpoint_url and proxies: something else answers in the place of S3"
        }
        "NotImplemented" | "http-501" | "MethodNotAllowed" => "use a store that knows this request",
        "SlowDown" | "ServiceUnavailable" | "InternalError" => {
            "run doctor again: the store is busy"
        }
        _ => "look up this code in the documentation of the store",
    };
    text.to_owned()
}
