//! How an object's head is written: the one place for what a put, a copy and a multipart upload say
//! of the object they make.

use crate::rules::Encryption;
use crate::transfer::ObjectHead;
use aws_sdk_s3::operation::copy_object::builders::CopyObjectFluentBuilder;
use aws_sdk_s3::operation::create_multipart_upload::builders::CreateMultipartUploadFluentBuilder;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::HashMap;

/// The file's time of last change: seconds since the epoch with a fraction, the form rclone reads.
pub(super) const MTIME: &str = "mtime";
/// The file's permissions, octal, likewise.
pub(super) const MODE: &str = "mode";
/// Which record the object was made from.
pub(super) const OWNER: &str = "file-sync-owner";
/// Which directory it was made from, whoever made it: those who share one know each other's by it.
pub(super) const SOURCE: &str = "file-sync-source";

/// Everything but what a query may hold unescaped.
const TAG_ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request that makes an object.
pub(super) trait MakesObject: Sized {
    /// Says which, and what it is to look like.
    fn head(self, object: &ObjectHead, owner: &str) -> Self;
}

/// The builders of the SDK have the same methods, and no trait in common.
macro_rules! makes_object {
    ($($builder:ty),*) => {$(
        impl MakesObject for $builder {
            fn head(self, object: &ObjectHead, owner: &str) -> Self {
                let attributes = object.head.attributes();
                let encryption = attributes.encryption.as_ref();
                let class = attributes.storage_class.as_deref();
                self.key(object.key.as_str())
                    .content_type(object.head.content_type())
                    .set_cache_control(attributes.cache_control.clone())
                    .set_content_disposition(attributes.content_disposition.clone())
                    .set_content_encoding(attributes.content_encoding.clone())
                    .set_storage_class(class.map(StorageClass::from))
                    .set_server_side_encryption(encryption.map(to_sdk))
                    .set_ssekms_key_id(encryption.and_then(Encryption::key).map(str::to_owned))
                    .set_tagging(tagging(&attributes.tags))
                    .set_metadata(Some(metadata(object, owner)))
            }
        }
    )*};
}
makes_object!(PutObjectFluentBuilder, CopyObjectFluentBuilder, CreateMultipartUploadFluentBuilder);

fn to_sdk(encryption: &Encryption) -> ServerSideEncryption {
    ServerSideEncryption::from(encryption.as_str())
}

/// As a query; `None` where there are no tags, so that nobody needs the permission to set them.
fn tagging(tags: &[(String, String)]) -> Option<String> {
    let escaped = |text: &'_ str| utf8_percent_encode(text, TAG_ESCAPED).to_string();
    let tags = tags.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    Some(tags.collect::<Vec<_>>().join("&")).filter(|query| !query.is_empty())
}

/// What the file says, the mark of the record, and what the operator wants beside them.
fn metadata(object: &ObjectHead, owner: &str) -> HashMap<String, String> {
    let ours = [
        (MTIME.to_owned(), format_mtime(object.version.mtime_ns)),
        (MODE.to_owned(), format!("{:o}", object.mode)),
        (OWNER.to_owned(), owner.to_owned()),
        (SOURCE.to_owned(), object.source.to_string()),
    ];
    object.head.metadata().cloned().chain(ours).collect()
}

const NANOS: i128 = 1_000_000_000;

fn format_mtime(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = i128::from(nanos).abs();
    format!("{sign}{}.{:09}", nanos / NANOS, nanos % NANOS)
}

/// Reads what [`format_mtime`] wrote; anything else was not written by us.
pub(super) fn parse_mtime(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (seconds, fraction) = digits.split_once('.')?;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.len() != 9 || !plain(seconds) || !plain(fraction) {
        return None;
    }
    let nanos = seconds.parse::<i128>().ok()? * NANOS + fraction.parse::<i128>().ok()?;
    i64::try_from(sign * nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_times_survive_the_metadata_to_the_nanosecond() {
        for nanos in [0, 1, -1, 1_354_040_105_123_456_789, -1_500_000_000, i64::MAX, i64::MIN + 1] {
            assert_eq!(parse_mtime(&format_mtime(nanos)), Some(nanos));
        }
        assert_eq!(format_mtime(1_354_040_105_123_456_789), "1354040105.123456789");
        assert_eq!(format_mtime(-1_500_000_000), "-1.500000000");
    }

    #[test]
    fn a_time_somebody_else_wrote_is_not_taken_for_ours() {
        for text in ["", "1", "1.5", "1.1234567890", "+1.000000000", "x.000000000", "1.+00000000"] {
            assert_eq!(parse_mtime(text), None, "{text}");
        }
    }

    #[test]
    fn tags_are_written_as_a_query() {
        let tags = [("team a", "b&c=d"), ("ü/+", "")];
        let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(tagging(&tags).as_deref(), Some("team%20a=b%26c%3Dd&%C3%BC%2F%2B="));
        assert_eq!(tagging(&[]), None);
    }
}
