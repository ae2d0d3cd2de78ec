//! Which answers are S3's. Whatever stands between the service and the store (a proxy, an ingress, a
//! login page) can answer in the store's place, with any status. Such an answer says nothing about an
//! object.
//!
//! # Invariants
//!
//! - A success counts only with what S3 says with it: an entity tag, a document with the right root
//!   element, status 204 for a delete.
//! - An error counts only with S3's document, or with a header that only S3 sends.

use super::error::NOT_AN_S3_ANSWER;
use super::retry_after::retry_after_ms;
use crate::model::{FailureClass, UnixMillis};
use aws_smithy_runtime_api::http::Headers;
use std::fmt;

/// Longest body of an answer without a listing, errors included.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest body of an answer that names up to 1,000 objects: keys of 1,024 bytes, each of which takes
/// three bytes where they are encoded, and what is said beside them.
const LISTING_BYTES_MAX: usize = 8 << 20;

/// Headers that S3 and its relatives send, and nothing in front of them.
const MARKS: [&str; 12] = [
    "x-amz-request-id",
    "x-amz-id-2",
    "x-amz-bucket-region",
    "x-amz-version-id",
    "x-amz-delete-marker",
    "x-amz-storage-class",
    "x-amz-server-side-encryption",
    "x-amz-expiration",
    "x-amz-object-size",
    "x-guploader-uploadid",
    "x-rgw-object-type",
    "x-minio-deployment-id",
];
/// Beginnings of others.
const MARK_PREFIXES: [&str; 3] = ["x-amz-meta-", "x-amz-checksum-", "x-goog-"];

/// An operation of S3 that is used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum S3Operation {
    AbortMultipartUpload,
    CompleteMultipartUpload,
    CopyObject,
    CreateMultipartUpload,
    DeleteObject,
    DeleteObjects,
    GetObject,
    HeadObject,
    ListMultipartUploads,
    ListObjects,
    ListObjectVersions,
    PutObject,
    UploadPart,
    UploadPartCopy,
    Other,
}

impl S3Operation {
    /// By the name that the SDK gives it.
    pub(super) fn from_name(name: &str) -> Self {
        match name {
            "AbortMultipartUpload" => Self::AbortMultipartUpload,
            "CompleteMultipartUpload" => Self::CompleteMultipartUpload,
            "CopyObject" => Self::CopyObject,
            "CreateMultipartUpload" => Self::CreateMultipartUpload,
            "DeleteObject" => Self::DeleteObject,
            "DeleteObjects" => Self::DeleteObjects,
            "GetObject" => Self::GetObject,
            "HeadObject" => Self::HeadObject,
            "ListMultipartUploads" => Self::ListMultipartUploads,
            "ListObjects" | "ListObjectsV2" => Self::ListObjects,
            "ListObjectVersions" => Self::ListObjectVersions,
            "PutObject" => Self::PutObject,
            "UploadPart" => Self::UploadPart,
            "UploadPartCopy" => Self::UploadPartCopy,
            _ => Self::Other,
        }
    }

    /// Whether it changes the bucket.
    fn is_write(self) -> bool {
        use S3Operation as O;
        !matches!(
            self,
            O::GetObject
                | O::HeadObject
                | O::ListMultipartUploads
                | O::ListObjects
                | O::ListObjectVersions
        )
    }

    /// Longest body of an answer with `status`; `None` for the content of an object, which is read
    /// piece by piece.
    pub(super) fn body_max(self, status: u16) -> Option<usize> {
        match self {
            Self::GetObject if is_success(status) => None,
            Self::ListObjects
            | Self::ListObjectVersions
            | Self::ListMultipartUploads
            | Self::DeleteObjects
                if is_success(status) =>
            {
                Some(LISTING_BYTES_MAX)
            }
            _ => Some(ANSWER_BYTES_MAX),
        }
    }

    /// The root element of the document that a success consists of, if it does.
    fn root(self) -> Option<&'static str> {
        match self {
            Self::CompleteMultipartUpload => Some("CompleteMultipartUploadResult"),
            Self::CopyObject => Some("CopyObjectResult"),
            Self::CreateMultipartUpload => Some("InitiateMultipartUploadResult"),
            Self::DeleteObjects => Some("DeleteResult"),
            Self::ListMultipartUploads => Some("ListMultipartUploadsResult"),
            Self::ListObjects => Some("ListBucketResult"),
            Self::ListObjectVersions => Some("ListVersionsResult"),
            Self::UploadPartCopy => Some("CopyPartResult"),
            _ => None,
        }
    }
}

/// An answer, as far as its body was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct S3Answer<'a> {
    pub(super) status: u16,
    pub(super) headers: &'a Headers,
    pub(super) body: &'a [u8],
    /// Whether that is the whole body.
    pub(super) is_whole: bool,
}

/// What an answer of S3 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerKind {
    /// What its status says.
    AsItSays,
    /// An error, although its status says success: S3 sends the status before it knows.
    ErrorInSuccess,
}

/// An answer that is not S3's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{operation:?} was not answered by S3 but by something in its place, such as a proxy, an ingress \
     or a login page: status {status}, {content}, {lack}"
)]
pub(super) struct NotAnS3Answer {
    operation: S3Operation,
    status: u16,
    content: String,
    lack: &'static str,
    retry_after_ms: Option<UnixMillis>,
}

impl NotAnS3Answer {
    fn new(operation: S3Operation, answer: &S3Answer<'_>, lack: &'static str) -> Self {
        let content = answer.headers.get("content-type").unwrap_or("no content type").to_owned();
        let retry_after_ms = retry_after_ms(answer.headers);
        Self { operation, status: answer.status, content, lack, retry_after_ms }
    }

    /// A success without what S3 says with it, found when its document was read.
    pub(super) fn incomplete(operation: S3Operation, status: u16, lack: &'static str) -> Self {
        let content = "application/xml".to_owned();
        Self { operation, status, content, lack, retry_after_ms: None }
    }

    /// A short stable name.
    pub(super) fn code(&self) -> String {
        match self.status {
            400 | 411 | 413 | 414 | 429 | 431 | 500.. => format!("http-{}", self.status),
            _ => NOT_AN_S3_ANSWER.to_owned(),
        }
    }

    /// Statuses that refuse one request are about that request: a proxy refuses a long body or an
    /// unusual name. All others are an outage.
    pub(super) fn class(&self) -> FailureClass {
        match self.status {
            400 | 411 | 413 | 414 | 431 => FailureClass::Object,
            429 => FailureClass::Throttled,
            _ => FailureClass::Unavailable,
        }
    }

    /// How long not to ask again, if it says so.
    pub(super) fn retry_after_ms(&self) -> Option<UnixMillis> {
        self.retry_after_ms
    }

    /// Whether the request may have reached S3 and been carried out.
    pub(super) fn may_be_carried_out(&self) -> bool {
        self.operation.is_write()
    }
}

/// Distinguishes an answer of S3 from any other one.
pub(super) fn examine(
    operation: S3Operation,
    answer: &S3Answer<'_>,
) -> Result<AnswerKind, NotAnS3Answer> {
    let lack = if is_success(answer.status) {
        if answer.root() == Some("Error") {
            return Ok(AnswerKind::ErrorInSuccess);
        }
        match lack_of_success(operation, answer) {
            None => return Ok(AnswerKind::AsItSays),
            Some(lack) => lack,
        }
    } else if is_error(operation, answer) {
        return Ok(AnswerKind::AsItSays);
    } else {
        "without an error document of S3"
    };
    Err(NotAnS3Answer::new(operation, answer, lack))
}

/// What a success lacks to be S3's.
fn lack_of_success(operation: S3Operation, answer: &S3Answer<'_>) -> Option<&'static str> {
    use S3Operation as O;
    if !answer.is_whole {
        return Some("with a body that is longer than any of S3");
    }
    if let Some(root) = operation.root() {
        if answer.status != 200 || answer.root() != Some(root) {
            return Some("without the document of S3");
        }
        return (!answer.ends_root(root)).then_some("with a document that ends early");
    }
    let has_etag = answer.headers.get("etag").is_some_and(|etag| !unquoted(etag).is_empty());
    match operation {
        O::PutObject | O::UploadPart | O::HeadObject | O::GetObject if !has_etag => {
            Some("without an entity tag")
        }
        O::PutObject | O::UploadPart => {
            let genuine = answer.status == 200 && (answer.body.is_empty() || answer.is_marked());
            (!genuine).then_some("with a body")
        }
        O::HeadObject | O::GetObject => {
            let genuine = answer.is_marked() || has_s3_etag(answer.headers);
            (!genuine).then_some("without a header of S3")
        }
        O::DeleteObject | O::AbortMultipartUpload => {
            let genuine = answer.is_marked() || answer.status == 204;
            (!genuine).then_some("without a header of S3")
        }
        _ => None,
    }
}

/// Whether an error is S3's.
fn is_error(operation: S3Operation, answer: &S3Answer<'_>) -> bool {
    if operation == S3Operation::HeadObject {
        // It has no body. What is not there is asked for again in a way that has one.
        let is_plain = matches!(answer.status, 401 | 403) && !answer.has_page();
        return answer.status == 404 || is_plain || answer.is_marked() || answer.is_xml();
    }
    answer.root() == Some("Error") || (answer.body.is_empty() && answer.is_marked())
}

impl S3Answer<'_> {
    fn is_marked(&self) -> bool {
        self.headers.iter().any(|(name, _)| {
            MARKS.contains(&name) || MARK_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        })
    }

    /// Whether there would be a body if this were not the answer to a HEAD request.
    fn has_page(&self) -> bool {
        let length = self.headers.get("content-length");
        self.headers.get("content-type").is_some() && length != Some("0")
    }

    fn is_xml(&self) -> bool {
        self.headers.get("content-type").is_some_and(|content| content.contains("xml"))
    }

    fn root(&self) -> Option<&str> {
        root_element(self.body)
    }

    /// Whether the body ends as a document with this root does.
    fn ends_root(&self, root: &str) -> bool {
        let body = self.body.trim_ascii_end();
        if body.ends_with(b"/>") {
            // The root is the only element.
            let elements =
                body.windows(2).filter(|pair| pair[0] == b'<' && !b"?!".contains(&pair[1]));
            return elements.count() == 1;
        }
        let Some(body) = body.strip_suffix(b">") else { return false };
        let Some(before) = body.trim_ascii_end().strip_suffix(root.as_bytes()) else {
            return false;
        };
        let before = before.strip_suffix(b":").map_or(before, |before| {
            let namespace = before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric());
            &before[..before.len() - namespace.count()]
        });
        before.ends_with(b"</")
    }

    /// The status of an error whose answer says success.
    pub(super) fn status_within(&self) -> u16 {
        match error_code(self.body).as_deref() {
            Some("AccessDenied") => 403,
            Some("NoSuchBucket" | "NoSuchKey" | "NoSuchUpload") => 404,
            Some("PreconditionFailed") => 412,
            Some("ConditionalRequestConflict" | "OperationAborted") => 409,
            Some("ServiceUnavailable" | "SlowDown") => 503,
            Some(code) if !code.starts_with("Internal") => 400,
            _ => 500,
        }
    }
}

/// S3's own entity tags are the digest of the content, with the number of parts if there were any.
fn has_s3_etag(headers: &Headers) -> bool {
    let Some(etag) = headers.get("etag") else { return false };
    let etag = unquoted(etag);
    let (digest, parts) = etag.split_once('-').unwrap_or((etag, "1"));
    let is_digest = digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest && !parts.is_empty() && parts.bytes().all(|byte| byte.is_ascii_digit())
}

fn unquoted(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// The code in an error document, also in one of which only the start was read.
pub(super) fn error_code(document: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(document);
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (!code.is_empty() && code.len() <= 64 && code.bytes().all(plain)).then(|| code.to_owned())
}

/// The name of the root element of an XML document, without its namespace.
fn root_element(document: &[u8]) -> Option<&str> {
    let mut rest = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document).trim_ascii_start();
    loop {
        let end: &[u8] = if rest.starts_with(b"<?") {
            b"?>"
        } else if rest.starts_with(b"<!--") {
            b"-->"
        } else {
            break;
        };
        let at = rest.windows(end.len()).position(|window| window == end)?;
        rest = rest[at + end.len()..].trim_ascii_start();
    }
    let name = rest.strip_prefix(b"<")?;
    let end =
        name.iter().position(|byte| matches!(byte, b'>' | b'/') || byte.is_ascii_whitespace())?;
    let name = std::str::from_utf8(&name[..end]).ok()?;
    Some(name.rsplit_once(':').map_or(name, |(_, name)| name))
}

impl fmt::Display for S3Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in pairs {
            headers.insert(*name, *value);
        }
        headers
    }

    fn is_genuine(
        operation: S3Operation,
        status: u16,
        pairs: &[(&'static str, &'static str)],
        body: &str,
    ) -> bool {
        let headers = headers(pairs);
        let answer = S3Answer { status, headers: &headers, body: body.as_bytes(), is_whole: true };
        examine(operation, &answer).is_ok()
    }

    #[test]
    fn what_stores_of_many_makers_answer_is_genuine() {
        use S3Operation as O;
        let etag = ("etag", "\"0123456789abcdef0123456789abcdef\"");
        let xml = ("content-type", "application/xml");
        // Some send no id of the request.
        assert!(is_genuine(O::PutObject, 200, &[etag], ""));
        assert!(is_genuine(O::HeadObject, 200, &[etag, ("content-type", "text/html")], ""));
        assert!(is_genuine(O::DeleteObject, 204, &[], ""));
        // Some say what an empty body is.
        let html = ("content-type", "text/html; charset=utf-8");
        assert!(is_genuine(O::DeleteObject, 204, &[html], ""));
        assert!(is_genuine(O::UploadPart, 200, &[etag, html], ""));
        assert!(is_genuine(O::HeadObject, 403, &[html, ("content-length", "0")], ""));
        assert!(is_genuine(O::HeadObject, 404, &[], ""));
        assert!(is_genuine(O::HeadObject, 400, &[xml], ""));
        // Google's entity tags are no digests.
        let google = ("x-guploader-uploadid", "ABg5-Ux");
        assert!(is_genuine(O::HeadObject, 200, &[("etag", "\"CKih16GjycICEAE=\""), google], ""));
        assert!(is_genuine(O::DeleteObject, 200, &[("x-amz-request-id", "1")], ""));
        let listing = "\u{feff}<?xml version=\"1.0\"?>\n<!-- - -->\n<s3:ListBucketResult \
                       xmlns:s3=\"http://s3.amazonaws.com/doc/2006-03-01/\"></s3:ListBucketResult>\n";
        assert!(is_genuine(O::ListObjects, 200, &[], listing));
        assert!(is_genuine(O::DeleteObjects, 200, &[], "<DeleteResult/>"));
        assert!(is_genuine(O::DeleteObjects, 200, &[], "<?xml version='1.0'?><DeleteResult />"));
        assert!(is_genuine(O::PutObject, 403, &[], "<Error><Code>AccessDenied</Code></Error>"));
    }

    #[test]
    fn a_document_that_ends_early_is_not_one_of_s3() {
        let whole = "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>";
        for length in 0..whole.len() {
            let start: String = whole.chars().take(length).collect();
            assert!(!is_genuine(S3Operation::ListObjects, 200, &[], &start), "{start}");
        }
        assert!(is_genuine(S3Operation::ListObjects, 200, &[], whole));
        let other = whole.replace("ListBucketResult", "DeleteResult");
        assert!(!is_genuine(S3Operation::ListObjects, 200, &[], &other));
    }

    #[test]
    fn a_proxy_that_refuses_one_request_is_no_outage() {
        let answer = |status| {
            let headers = headers(&[("content-type", "text/html")]);
            let answer = S3Answer { status, headers: &headers, body: b"<html>", is_whole: true };
            let refused = examine(S3Operation::PutObject, &answer).expect_err("not of S3");
            (refused.code(), refused.class())
        };
        assert_eq!(answer(413), ("http-413".to_owned(), FailureClass::Object));
        assert_eq!(answer(503), ("http-503".to_owned(), FailureClass::Unavailable));
        assert_eq!(answer(429), ("http-429".to_owned(), FailureClass::Throttled));
        assert_eq!(answer(404), (NOT_AN_S3_ANSWER.to_owned(), FailureClass::Unavailable));
    }
}
