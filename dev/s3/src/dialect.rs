//! What the [modes](StoreMode) of a store make of requests and answers on the wire. What they make of
//! the bucket is in the backend.

use crate::fault::Call;
use crate::mode::{StoreMode, StoreModes};
use crate::object::base64;
use crate::options::BUCKET_OWNER;
use hyper::HeaderMap;
use hyper::header::{ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use s3s::crypto::{Checksum as _, Md5};

/// Headers of requests that came with the newer checksums.
const CHECKSUM_HEADERS: [&str; 3] =
    ["x-amz-sdk-checksum-algorithm", "x-amz-mp-object-size", "x-amz-trailer"];
const CHECKSUM_PREFIX: &str = "x-amz-checksum-";
const CHECKSUM_MODE: &str = "x-amz-checksum-mode";
/// The ACL that lets the owner of the bucket read what others put there.
const FULL_CONTROL: &str = "bucket-owner-full-control";

/// Why a request is refused before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
}

const NOT_IMPLEMENTED: Refusal = Refusal { status: 501, code: "NotImplemented" };
const ACCESS_DENIED: Refusal = Refusal { status: 403, code: "AccessDenied" };
const INVALID_ARGUMENT: Refusal = Refusal { status: 400, code: "InvalidArgument" };

/// Whether the store refuses such a request.
pub(crate) fn refusal(modes: &StoreModes, call: &Call, headers: &HeaderMap) -> Option<Refusal> {
    let is_read = matches!(call.operation, "GetObject" | "HeadObject");
    let has_condition = headers.contains_key(IF_MATCH) || headers.contains_key(IF_NONE_MATCH);
    let has_checksum = || {
        let is_of_checksums =
            |name: &str| CHECKSUM_HEADERS.contains(&name) || name.starts_with(CHECKSUM_PREFIX);
        headers.keys().any(|name| is_of_checksums(name.as_str()))
    };
    if is_denied(modes, call, headers) {
        return Some(ACCESS_DENIED);
    }
    if modes.has(StoreMode::ListV1Only) && call.operation == "ListObjectsV2" {
        return Some(NOT_IMPLEMENTED);
    }
    if modes.has(StoreMode::RejectsConditions) && has_condition && !is_read {
        return Some(NOT_IMPLEMENTED);
    }
    if modes.has(StoreMode::NoBatchDelete) && call.operation == "DeleteObjects" {
        return Some(INVALID_ARGUMENT);
    }
    if modes.has(StoreMode::RejectsChecksumMode) && headers.contains_key(CHECKSUM_MODE) {
        return Some(INVALID_ARGUMENT);
    }
    (modes.has(StoreMode::RejectsChecksums) && has_checksum()).then_some(INVALID_ARGUMENT)
}

/// Whether the policy of the bucket refuses such a request.
fn is_denied(modes: &StoreModes, call: &Call, headers: &HeaderMap) -> bool {
    let has = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    let makes_object =
        matches!(call.operation, "PutObject" | "CreateMultipartUpload" | "CopyObject");
    let is_copy = headers.contains_key("x-amz-copy-source");
    let expects_source = || has("x-amz-source-expected-bucket-owner", BUCKET_OWNER);
    let expects_owner =
        has("x-amz-expected-bucket-owner", BUCKET_OWNER) && (!is_copy || expects_source());
    (modes.has(StoreMode::DemandsAcl) && makes_object && !has("x-amz-acl", FULL_CONTROL))
        || (modes.has(StoreMode::DemandsOwner) && !expects_owner)
        || (modes.has(StoreMode::DemandsCustomerKey) && lacks_customer_key(call, headers))
        || (modes.has(StoreMode::RequesterPays) && !has("x-amz-request-payer", "requester"))
}

/// Whether a request about the content of an object has no key, or one that does not fit its digest.
fn lacks_customer_key(call: &Call, headers: &HeaderMap) -> bool {
    let has_key = |prefix: &str| {
        let header = |name: &str| headers.get(format!("{prefix}{name}"))?.to_str().ok();
        let key = header("key").and_then(|key| base64_simd::STANDARD.decode_to_vec(key).ok());
        let fits = |key: Vec<u8>| {
            key.len() == 32 && header("key-md5") == Some(&*base64(&Md5::checksum(&key)))
        };
        header("algorithm") == Some("AES256") && key.is_some_and(fits)
    };
    let object = "x-amz-server-side-encryption-customer-";
    let source = "x-amz-copy-source-server-side-encryption-customer-";
    match call.operation {
        "PutObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "CompleteMultipartUpload"
        | "GetObject"
        | "HeadObject" => !has_key(object),
        "CopyObject" | "UploadPartCopy" => !has_key(object) || !has_key(source),
        _ => false,
    }
}

/// Makes the headers of an answer those of the store.
pub(crate) fn adapt(modes: &StoreModes, headers: &mut HeaderMap) {
    if modes.has(StoreMode::NoChecksums) {
        let names: Vec<_> = headers.keys().cloned().collect();
        for name in names.iter().filter(|name| name.as_str().starts_with(CHECKSUM_PREFIX)) {
            headers.remove(name);
        }
    }
    if modes.has(StoreMode::WeakEtags)
        && let Some(etag) = headers.get(ETAG).and_then(|etag| etag.to_str().ok())
        && etag.starts_with('"')
        && let Ok(weak) = HeaderValue::from_str(&format!("W/{etag}"))
    {
        headers.insert(ETAG, weak);
    }
}
