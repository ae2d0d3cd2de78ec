//! Which S3 operation a request asks for, known before its body is read, so that faults can hit it.

use crate::fault::Call;
use hyper::{HeaderMap, Method, Uri};
use percent_encoding::percent_decode_str;

/// What is not listed below.
const OTHER: &str = "Other";

/// The operations that a fault may be for.
pub(crate) const OPERATIONS: [&str; 19] = [
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateMultipartUpload",
    "DeleteObject",
    "DeleteObjects",
    "GetBucketLocation",
    "GetBucketVersioning",
    "GetObject",
    "HeadBucket",
    "HeadObject",
    "ListMultipartUploads",
    "ListObjectVersions",
    "ListObjects",
    "ListObjectsV2",
    "ListParts",
    "PutObject",
    "UploadPart",
    "UploadPartCopy",
];

/// Reads the operation, bucket and key off the request line.
pub(crate) fn call_of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Call {
    let path = percent_decode_str(uri.path()).decode_utf8_lossy().into_owned();
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let query = Query(uri.query().unwrap_or(""));
    let operation = if bucket.is_empty() {
        OTHER
    } else if key.is_empty() {
        on_bucket(method, &query)
    } else {
        on_object(method, &query, headers.contains_key("x-amz-copy-source"))
    };
    Call { operation, bucket: bucket.to_owned(), key: key.to_owned() }
}

/// The part of an address behind `?`.
struct Query<'a>(&'a str);

impl Query<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.split('&').any(|pair| pair.split('=').next() == Some(name))
    }

    /// Whether it has nothing that the first version of listings does not have.
    fn is_of_listing(&self) -> bool {
        let known = ["", "delimiter", "encoding-type", "marker", "max-keys", "prefix", "x-id"];
        self.0.split('&').all(|pair| known.contains(&pair.split('=').next().unwrap_or("")))
    }
}

fn on_bucket(method: &Method, query: &Query<'_>) -> &'static str {
    match *method {
        Method::HEAD => "HeadBucket",
        Method::POST if query.has("delete") => "DeleteObjects",
        Method::GET if query.has("versions") => "ListObjectVersions",
        Method::GET if query.has("uploads") => "ListMultipartUploads",
        Method::GET if query.has("list-type") => "ListObjectsV2",
        Method::GET if query.has("location") => "GetBucketLocation",
        Method::GET if query.has("versioning") => "GetBucketVersioning",
        Method::GET if query.is_of_listing() => "ListObjects",
        _ => OTHER,
    }
}

fn on_object(method: &Method, query: &Query<'_>, is_copy: bool) -> &'static str {
    let upload = query.has("uploadId");
    match *method {
        _ if query.has("tagging") || query.has("acl") || query.has("attributes") => OTHER,
        Method::HEAD => "HeadObject",
        Method::PUT if upload && is_copy => "UploadPartCopy",
        Method::PUT if upload => "UploadPart",
        Method::PUT if is_copy => "CopyObject",
        Method::PUT => "PutObject",
        Method::POST if upload => "CompleteMultipartUpload",
        Method::POST if query.has("uploads") => "CreateMultipartUpload",
        Method::GET if upload => "ListParts",
        Method::GET => "GetObject",
        Method::DELETE if upload => "AbortMultipartUpload",
        Method::DELETE => "DeleteObject",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &Method, address: &str) -> (&'static str, String) {
        let uri = address.parse().expect("an address");
        let call = call_of(method, &uri, &HeaderMap::new());
        (call.operation, call.key)
    }

    #[test]
    fn operations_are_told_by_method_and_query() {
        assert_eq!(call(&Method::PUT, "/b/k?x-id=PutObject").0, "PutObject");
        assert_eq!(call(&Method::PUT, "/b/k?partNumber=1&uploadId=u").0, "UploadPart");
        assert_eq!(call(&Method::POST, "/b/k?uploads").0, "CreateMultipartUpload");
        assert_eq!(call(&Method::POST, "/b/k?uploadId=u").0, "CompleteMultipartUpload");
        assert_eq!(call(&Method::GET, "/b?list-type=2&prefix=p").0, "ListObjectsV2");
        assert_eq!(call(&Method::GET, "/b?prefix=p&marker=m").0, "ListObjects");
        assert_eq!(call(&Method::GET, "/b?acl").0, "Other");
        assert_eq!(call(&Method::POST, "/b/?delete").0, "DeleteObjects");
    }

    #[test]
    fn keys_are_decoded_and_keep_their_slashes() {
        assert_eq!(call(&Method::PUT, "/b//a%20b/../%25c").1, "/a b/../%c");
    }
}
