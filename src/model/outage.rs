//! The cause of a failure as one sentence without object names, the same for every output.

use super::{Failure, FailureClass};

/// Codes of failures whose message is a chain of errors of this machine. Messages of a store may contain
/// object names.
const LOCAL_CODES: [&str; 5] = ["connection", "credentials", "response", "timeout", "unknown"];
/// The number of links of such a chain that state the action and the cause.
const CAUSE_LINKS: usize = 2;
/// Links that only say that something below them has failed.
const WRAPPERS: [&str; 10] = [
    "dispatch failure",
    "io error",
    "other",
    "timeout",
    "connection error",
    "client error (Connect)",
    "client error (SendRequest)",
    "error trying to connect",
    "tcp connect error",
    "request has timed out",
];
/// The words of the SDK if no source has credentials, and its sources with their names.
const NO_CREDENTIALS: &str = "no credentials found in chain";
const CREDENTIAL_SOURCES: [(&str, &str); 5] = [
    ("Environment", "environment"),
    ("Profile", "profile"),
    ("WebIdentityToken", "web identity"),
    ("EcsContainer", "container"),
    ("Ec2InstanceMetadata", "instance metadata"),
];
/// The code of a request without a region.
pub const NO_REGION: &str = "no-region";

/// What a code means, and who has to correct what.
const EXPLANATIONS: [(&str, &str); 17] = [
    ("AllAccessDisabled", "the account or the bucket is disabled"),
    ("AuthorizationHeaderMalformed", "s3_region is not the region of the bucket"),
    ("ExpiredToken", "the credentials have expired"),
    ("ExpiredTokenException", "the credentials have expired"),
    ("IllegalLocationConstraintException", "s3_region is not the region of the bucket"),
    ("InvalidAccessKeyId", "the store does not know the access key"),
    ("InvalidBucketName", "s3_bucket is not a valid name for this store"),
    ("InvalidToken", "the store does not know the session token"),
    ("KMS.DisabledException", "the KMS key is disabled"),
    ("KMS.NotFoundException", "the KMS key does not exist"),
    ("NoSuchBucket", "the bucket does not exist"),
    ("NotSignedUp", "the store does not know the account"),
    ("PermanentRedirect", "s3_region is not the region of the bucket"),
    ("RequestTimeTooSkewed", "the clock of this machine differs by more than 15 minutes"),
    ("SignatureDoesNotMatch", "the secret access key does not belong to the access key"),
    ("TokenRefreshRequired", "the session token has to be renewed"),
    ("not-an-s3-answer", "something else answers in its place"),
];

impl Failure {
    /// The innermost cause, without object names.
    #[must_use]
    pub fn public_cause(&self) -> String {
        if self.message.contains(NO_CREDENTIALS) {
            return no_credentials(&self.message);
        }
        if LOCAL_CODES.contains(&self.code.as_str()) {
            return innermost(&self.message);
        }
        let explained = EXPLANATIONS.iter().find(|(code, _)| *code == self.code);
        match (explained, denied_action(&self.message)) {
            (Some((code, explanation)), _) => format!("{code} ({explanation})"),
            (None, Some(action)) => format!("{} on {action}", self.code),
            (None, None) => self.code.clone(),
        }
    }

    /// Why S3 takes nothing, as one sentence. `endpoint` is the address of the store.
    #[must_use]
    pub fn outage_sentence(&self, endpoint: &str) -> String {
        if self.code == NO_REGION {
            return "requests to S3 cannot be signed: no AWS region is set; set s3_region or AWS_REGION"
                .to_owned();
        }
        let cause = self.public_cause();
        match (self.class, self.code.as_str()) {
            (FailureClass::Refused, _) => format!("S3 refuses requests: {cause}"),
            (FailureClass::Throttled, _) => format!("S3 is throttling requests: {cause}"),
            (_, "timeout") => format!("S3 does not answer: {cause} ({endpoint})"),
            (_, code) if LOCAL_CODES.contains(&code) => {
                format!("S3 unreachable: {cause} ({endpoint})")
            }
            (_, _) => format!("S3 answers with errors: {cause} ({endpoint})"),
        }
    }

    /// The code and the message, without the links of a chain that only wrap others.
    #[must_use]
    pub fn summary(&self) -> String {
        match LOCAL_CODES.contains(&self.code.as_str()) {
            true => format!("{}: {}", self.code, self.public_cause()),
            false => format!("{}: {}", self.code, self.message),
        }
    }
}

/// The last links of a chain of errors, without wrappers and numbers of errors.
fn innermost(message: &str) -> String {
    let mut links: Vec<_> = message.rsplit(": ").take(CAUSE_LINKS).collect();
    links.reverse();
    let wrapped = links.first().is_some_and(|first| WRAPPERS.contains(first));
    if wrapped && links.len() > 1 {
        links.remove(0);
    }
    let text = links.join(": ");
    let text = text.split(" (os error ").next().unwrap_or(&text);
    match text.strip_prefix("Connection ") {
        Some(rest) => format!("connection {rest}"),
        None => text.to_owned(),
    }
}

fn no_credentials(message: &str) -> String {
    let tried = CREDENTIAL_SOURCES.iter().filter(|(name, _)| message.contains(name));
    let tried: Vec<_> = tried.map(|(_, words)| *words).collect();
    match tried.is_empty() {
        true => "no AWS credentials found".to_owned(),
        false => format!("no AWS credentials found (tried {})", tried.join(", ")),
    }
}

/// The action that the message of a refusal names, such as `s3:PutObject`.
fn denied_action(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("to perform: ")?;
    let end = rest.find(|char: char| !(char.is_ascii_alphanumeric() || char == ':'));
    let action = end.map_or(Some(rest), |end| rest.get(..end))?;
    action.contains(':').then_some(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "10.0.0.7:9000";

    fn failure(class: FailureClass, code: &str, message: &str) -> Failure {
        Failure {
            class,
            code: code.to_owned(),
            message: message.to_owned(),
            answer_lost: true,
            retry_after_ms: None,
        }
    }

    #[test]
    fn every_outage_is_one_sentence_with_its_innermost_cause() {
        use FailureClass::{Refused, Throttled, Unavailable};
        let chain = "dispatch failure: other: the credential provider was not enabled: no credentials found in chain. \
             Attempted: Environment: not set; Profile: not set; Ec2InstanceMetadata: disabled";
        let denied = "User: arn:aws:iam::1:user/u is not authorized to perform: s3:PutObject on resource: \
                      \"arn:aws:s3:::mirror/secret.txt\"";
        for (class, code, message, expected) in [
            (
                Unavailable,
                "connection",
                "dispatch failure: io error: tcp connect error: Connection refused (os error 111)",
                "S3 unreachable: connection refused (10.0.0.7:9000)",
            ),
            (
                Unavailable,
                "connection",
                "dispatch failure: io error: dns error: failed to perform DNS lookup: failed to lookup address \
                 information: Name or service not known",
                "S3 unreachable: failed to lookup address information: Name or service not known (10.0.0.7:9000)",
            ),
            (
                Unavailable,
                "connection",
                "dispatch failure: other: TLS handshake failed: invalid peer certificate: UnknownIssuer",
                "S3 unreachable: invalid peer certificate: UnknownIssuer (10.0.0.7:9000)",
            ),
            (Unavailable, "timeout", "no answer", "S3 does not answer: no answer (10.0.0.7:9000)"),
            (
                Unavailable,
                "ServiceUnavailable",
                "secret.txt is away",
                "S3 answers with errors: ServiceUnavailable (10.0.0.7:9000)",
            ),
            (Throttled, "SlowDown", "secret.txt", "S3 is throttling requests: SlowDown"),
            (
                Refused,
                "credentials",
                chain,
                "S3 refuses requests: no AWS credentials found (tried environment, profile, instance metadata)",
            ),
            (Refused, "AccessDenied", denied, "S3 refuses requests: AccessDenied on s3:PutObject"),
            (Refused, "AccessDenied", "Access Denied", "S3 refuses requests: AccessDenied"),
            (
                Refused,
                "NoSuchBucket",
                "secret.txt",
                "S3 refuses requests: NoSuchBucket (the bucket does not exist)",
            ),
            (
                Refused,
                NO_REGION,
                "A region must be set",
                "requests to S3 cannot be signed: no AWS region is set; set s3_region or AWS_REGION",
            ),
        ] {
            let sentence = failure(class, code, message).outage_sentence(HOST);
            assert_eq!(sentence, expected);
            assert!(!sentence.contains("secret"), "{sentence}");
        }
    }

    #[test]
    fn a_summary_keeps_what_a_store_says_and_shortens_a_chain() {
        let chain =
            "dispatch failure: io error: tcp connect error: Connection refused (os error 111)";
        let refused = failure(FailureClass::Unavailable, "connection", chain);
        assert_eq!(refused.summary(), "connection: connection refused");
        let said = failure(FailureClass::Object, "InvalidTag", "the tag: x: is not valid");
        assert_eq!(said.summary(), "InvalidTag: the tag: x: is not valid");
    }

    #[test]
    fn the_explained_codes_are_sorted_and_unique() {
        assert!(EXPLANATIONS.is_sorted_by(|one, other| one.0 < other.0));
    }
}
