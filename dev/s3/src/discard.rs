//! Answers that cost next to nothing, for benchmarks of clients.
//!
//! # Invariants
//!
//! - No signature, checksum or condition is looked at. Bodies are read and forgotten.
//! - All that is kept of an object is what clients ask for to check on themselves: its size, its ETag
//!   (by the MD5s they declared), the checksum they sent, and the metadata. There is nothing to list
//!   and nothing to get.

use crate::activity::lock;
use crate::body::Metered;
use crate::object::{hex, length};
use crate::operation::call_of;
use http_body_util::BodyExt;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED};
use hyper::{HeaderMap, Response, StatusCode, Uri};
use s3s::crypto::{Checksum as _, Md5};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

const DECODED_LENGTH: &str = "x-amz-decoded-content-length";
const CRC64NVME: &str = "x-amz-checksum-crc64nvme";
/// Any time does: it is never compared with a clock.
const EPOCH: HeaderValue = HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT");

/// What is kept. Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Discard(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// The headers of `HeadObject`, by the path of the address.
    objects: HashMap<String, HeaderMap>,
    uploads: HashMap<String, Upload>,
    uploads_begun: u64,
}

#[derive(Debug, Default)]
struct Upload {
    metadata: HeaderMap,
    /// Size and MD5 by the number of the part.
    parts: BTreeMap<u32, (u64, [u8; 16])>,
}

/// An answer's status, headers and document.
type Answer = (StatusCode, HeaderMap, String);

impl Discard {
    /// Reads `request` to its end and answers it.
    pub(crate) async fn call(
        &self,
        request: hyper::Request<Metered>,
    ) -> Result<Response<s3s::Body>, hyper::Error> {
        let (head, mut body) = request.into_parts();
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            size += frame?.data_ref().map_or(0, |data| length(data.len()));
        }
        // In `aws-chunked` the body is longer than the object.
        let size = number(head.headers.get(DECODED_LENGTH)).unwrap_or(size);
        let call = call_of(&head.method, &head.uri, &head.headers);
        let (status, headers, document) =
            self.answer(call.operation, &head.uri, &head.headers, size);
        let mut answer = Response::new(s3s::Body::from(document));
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }

    fn answer(&self, operation: &str, uri: &Uri, headers: &HeaderMap, size: u64) -> Answer {
        let mut kept = lock(&self.0);
        let path = uri.path();
        match operation {
            "PutObject" => {
                let tag = quoted(&hex(&md5(headers)));
                kept.objects.insert(path.to_owned(), shown(size, &tag, metadata(headers)));
                (StatusCode::OK, stored(&tag, headers), String::new())
            }
            "HeadObject" => match kept.objects.get(path) {
                Some(shown) => (StatusCode::OK, shown.clone(), String::new()),
                None => (StatusCode::NOT_FOUND, HeaderMap::new(), String::new()),
            },
            "CreateMultipartUpload" => {
                kept.uploads_begun += 1;
                let id = format!("upload-{}", kept.uploads_begun);
                let upload = Upload { metadata: metadata(headers), parts: BTreeMap::new() };
                let answer = document(
                    "InitiateMultipartUploadResult",
                    &format!("<UploadId>{id}</UploadId>"),
                );
                kept.uploads.insert(id, upload);
                answer
            }
            "UploadPart" => {
                let part = argument(uri, "partNumber").and_then(|number| number.parse().ok());
                let upload = argument(uri, "uploadId").and_then(|id| kept.uploads.get_mut(id));
                let (Some(part), Some(upload)) = (part, upload) else { return no_such("Upload") };
                let md5 = md5(headers);
                upload.parts.insert(part, (size, md5));
                (StatusCode::OK, stored(&quoted(&hex(&md5)), headers), String::new())
            }
            "CompleteMultipartUpload" => {
                let upload = argument(uri, "uploadId").and_then(|id| kept.uploads.remove(id));
                let Some(upload) = upload else { return no_such("Upload") };
                let (size, tag) = upload.whole();
                kept.objects.insert(path.to_owned(), shown(size, &tag, upload.metadata));
                let sum = headers.get(CRC64NVME).and_then(|sum| sum.to_str().ok());
                let sum = sum.map_or_else(String::new, |sum| {
                    format!("<ChecksumCRC64NVME>{sum}</ChecksumCRC64NVME>")
                });
                let etag = tag.to_str().unwrap_or_default();
                document("CompleteMultipartUploadResult", &format!("<ETag>{etag}</ETag>{sum}"))
            }
            "AbortMultipartUpload" | "DeleteObject" => {
                (StatusCode::NO_CONTENT, HeaderMap::new(), String::new())
            }
            "HeadBucket" => (StatusCode::OK, HeaderMap::new(), String::new()),
            "ListObjectsV2" => document(
                "ListBucketResult",
                "<KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>",
            ),
            "ListMultipartUploads" => {
                document("ListMultipartUploadsResult", "<IsTruncated>false</IsTruncated>")
            }
            "GetObject" => no_such("Key"),
            _ => error(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
        }
    }
}

impl Upload {
    /// Size and ETag of the object: the MD5 of the parts' MD5s.
    fn whole(&self) -> (u64, HeaderValue) {
        let md5s: Vec<u8> = self.parts.values().flat_map(|(_, md5)| *md5).collect();
        let size = self.parts.values().map(|(size, _)| size).sum();
        (size, quoted(&format!("{}-{}", hex(&Md5::checksum(&md5s)), self.parts.len())))
    }
}

/// The MD5 the client declared; nothing is computed for those that did not.
fn md5(headers: &HeaderMap) -> [u8; 16] {
    let declared = headers.get("content-md5").map(HeaderValue::as_bytes);
    let decoded = declared.and_then(|text| base64_simd::STANDARD.decode_to_vec(text).ok());
    decoded.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
}

fn quoted(tag: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{tag}\"")).expect("hexadecimal digits")
}

fn number(value: Option<&HeaderValue>) -> Option<u64> {
    value?.to_str().ok()?.parse().ok()
}

fn argument<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let mut pairs = uri.query().unwrap_or("").split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

fn with_prefix(headers: &HeaderMap, prefix: &str) -> HeaderMap {
    let own = headers.iter().filter(|(name, _)| name.as_str().starts_with(prefix));
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn metadata(headers: &HeaderMap) -> HeaderMap {
    with_prefix(headers, "x-amz-meta-")
}

/// The headers of an answer to a body that was taken.
fn stored(tag: &HeaderValue, request: &HeaderMap) -> HeaderMap {
    let mut headers = with_prefix(request, "x-amz-checksum-");
    headers.insert(ETAG, tag.clone());
    headers
}

/// The headers of `HeadObject`.
fn shown(size: u64, tag: &HeaderValue, metadata: HeaderMap) -> HeaderMap {
    let mut headers = metadata;
    headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    headers.insert(ETAG, tag.clone());
    headers.insert(LAST_MODIFIED, EPOCH);
    headers
}

fn document(name: &str, content: &str) -> Answer {
    let xml = (CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    let headers: HeaderMap = HeaderMap::from_iter([xml] as [(HeaderName, HeaderValue); 1]);
    let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    (StatusCode::OK, headers, format!("{head}<{name}>{content}</{name}>"))
}

fn no_such(what: &str) -> Answer {
    error(StatusCode::NOT_FOUND, &format!("NoSuch{what}"))
}

fn error(status: StatusCode, code: &str) -> Answer {
    let (_, headers, document) = document("Error", &format!("<Code>{code}</Code>"));
    (status, headers, document)
}
