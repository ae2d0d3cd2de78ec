//! An object: its bytes, or what is kept in their place, and all that is stored beside them.

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{Checksum, Timestamp};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Instant, SystemTime};

/// A version of an object, as the bucket holds it.
#[derive(Debug, Clone)]
pub struct Object {
    /// Bytes.
    pub size: u64,
    /// CRC64NVME of all of it, whatever the client sent.
    pub crc64nvme: u64,
    /// The bytes; `None` where [`Options::keep_bodies`](crate::Options::keep_bodies) is off.
    pub body: Option<Bytes>,
    /// Without the quotation marks.
    pub etag: String,
    /// What `HeadObject` shows in checksum mode: the client's digest, or S3's own CRC64NVME.
    pub checksums: Checksum,
    /// What the client had stored beside the bytes.
    pub headers: Headers,
    /// `Last-Modified`.
    pub modified: SystemTime,
    /// When this version could first be seen.
    pub stored: Instant,
    /// Its number among all versions and requests.
    pub sequence: u64,
}

/// What a client has stored beside the bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Headers {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Expires`.
    pub expires: Option<Timestamp>,
    /// `x-amz-meta-*`, names without the prefix.
    pub metadata: BTreeMap<String, String>,
    /// `x-amz-tagging`, as sent.
    pub tagging: Option<String>,
    /// `x-amz-storage-class`.
    pub storage_class: Option<String>,
    /// `x-amz-acl`.
    pub acl: Option<String>,
    /// `x-amz-server-side-encryption`.
    pub server_side_encryption: Option<String>,
    /// `x-amz-server-side-encryption-aws-kms-key-id`.
    pub kms_key_id: Option<String>,
    /// `x-amz-server-side-encryption-customer-key-MD5`: the key that a reader needs.
    pub customer_key_md5: Option<String>,
    /// `x-amz-server-side-encryption-bucket-key-enabled`.
    pub bucket_key_enabled: Option<bool>,
}

/// The content of an object or of a part of one.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) size: u64,
    pub(crate) crc64nvme: u64,
    pub(crate) md5: [u8; 16],
    pub(crate) body: Option<Bytes>,
}

/// Bytes come in memory sizes.
pub(crate) fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The bytes `range` of `body`, as far as there are any.
pub(crate) fn slice(body: &Bytes, range: std::ops::Range<u64>) -> Bytes {
    let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(body.len());
    body.slice(index(range.start)..index(range.end))
}

pub(crate) fn crc64nvme(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// As S3 writes digests.
pub(crate) fn base64(bytes: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

/// A version that is not stored yet.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) content: Content,
    pub(crate) etag: String,
    pub(crate) checksums: Checksum,
    pub(crate) headers: Headers,
}

impl Content {
    /// Takes stock of `body`, and keeps it if asked to.
    pub(crate) fn new(body: Bytes, keep: bool) -> Self {
        Self {
            size: length(body.len()),
            crc64nvme: crc64nvme(&body),
            md5: Md5::checksum(&body),
            body: keep.then_some(body),
        }
    }

    /// The ETag of an object sent whole.
    pub(crate) fn etag(&self) -> String {
        hex(&self.md5)
    }

    /// Puts parts together. The ETag is that of a multipart upload: the MD5 of the parts' MD5s.
    pub(crate) fn concat(parts: &[Self]) -> (Self, String) {
        let mut md5s = Vec::with_capacity(parts.len() * 16);
        let mut size = 0;
        let mut crc = crc64nvme(&[]);
        let mut body = parts.iter().all(|part| part.body.is_some()).then(Vec::new);
        for part in parts {
            md5s.extend_from_slice(&part.md5);
            size += part.size;
            crc =
                crc_fast::checksum_combine(CrcAlgorithm::Crc64Nvme, crc, part.crc64nvme, part.size);
            if let (Some(all), Some(bytes)) = (&mut body, &part.body) {
                all.extend_from_slice(bytes);
            }
        }
        let md5 = Md5::checksum(&md5s);
        let etag = format!("{}-{}", hex(&md5), parts.len());
        (Self { size, crc64nvme: crc, md5, body: body.map(Bytes::from) }, etag)
    }

    /// S3's own checksum, for objects that came without one.
    pub(crate) fn own_checksum(&self) -> Checksum {
        let value = base64(&self.crc64nvme.to_be_bytes());
        Checksum { checksum_crc64nvme: Some(value), ..Checksum::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_put_together_have_the_checksum_of_the_whole() {
        for keep in [true, false] {
            let parts = [&b"one"[..], b"", b"two and"].map(|part| Content::new(part.into(), keep));
            let (whole, etag) = Content::concat(&parts);
            assert_eq!((whole.size, whole.crc64nvme), (10, crc64nvme(b"onetwo and")));
            assert!(etag.ends_with("-3"), "{etag}");
            assert_eq!(whole.body.as_deref(), keep.then_some(&b"onetwo and"[..]));
        }
    }

    #[test]
    fn the_etag_of_an_object_sent_whole_is_its_md5() {
        assert_eq!(Content::new(Bytes::new(), true).etag(), "d41d8cd98f00b204e9800998ecf8427e");
    }
}
