//! How an object's head is written: the one place for what a put, a copy and a multipart upload say
//! of the object they make.

use crate::rules::{
    Encryption, FILE_GROUP, FILE_MTIME, FILE_OWNER, FILE_PERMISSIONS, MODE, MTIME, PosixMetadata,
};
use crate::transfer::{FileOwner, ObjectMetadata};
use aws_sdk_s3::operation::copy_object::builders::CopyObjectFluentBuilder;
use aws_sdk_s3::operation::create_multipart_upload::builders::CreateMultipartUploadFluentBuilder;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::types::{ObjectCannedAcl, ServerSideEncryption, StorageClass};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::HashMap;

/// The time in an object with neither form, as S3 Files writes it: this service recognises objects by it.
const OWN_MTIME: &str = "file-sync-mtime";
/// Which record the object was made from.
pub(super) const OWNER: &str = "file-sync-owner";
/// Which directory it was made from: daemons that share a directory recognise their objects by it.
pub(super) const SOURCE: &str = "file-sync-source";

/// Everything but what a query may hold unescaped.
const TAG_ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request that makes an object.
pub(super) trait MakesObject: Sized {
    /// Says which, and what it is to look like.
    fn head(self, object: &ObjectMetadata, owner: &str) -> Self;
}

/// The builders of the SDK have the same methods, and no trait in common.
macro_rules! makes_object {
    ($($builder:ty),*) => {$(
        impl MakesObject for $builder {
            fn head(self, object: &ObjectMetadata, owner: &str) -> Self {
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
                    .set_acl(attributes.acl.as_deref().map(ObjectCannedAcl::from))
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

/// As a query; `None` where there are no tags, so that the permission to set them is not needed.
fn tagging(tags: &[(String, String)]) -> Option<String> {
    let escaped = |text: &'_ str| utf8_percent_encode(text, TAG_ESCAPED).to_string();
    let tags = tags.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    Some(tags.collect::<Vec<_>>().join("&")).filter(|query| !query.is_empty())
}

/// What the file says, the mark of the record, and what the operator wants beside them.
fn metadata(object: &ObjectMetadata, owner: &str) -> HashMap<String, String> {
    let marks = [(OWNER, owner.to_owned()), (SOURCE, object.source.to_string())];
    let ours = posix_metadata(object).into_iter().chain(marks);
    let ours = ours.map(|(name, value)| (name.to_owned(), value));
    object.head.metadata().cloned().chain(ours).collect()
}

/// What the file says, in the forms that are written.
fn posix_metadata(object: &ObjectMetadata) -> Vec<(&'static str, String)> {
    let form = object.head.attributes().posix_metadata;
    let mtime_ns = object.version.mtime_ns;
    let mut metadata = Vec::new();
    if form.has_rclone() {
        metadata.push((MTIME, format_mtime(mtime_ns)));
        metadata.push((MODE, format!("{:o}", object.mode)));
    }
    if form.has_s3_files() {
        metadata.push((FILE_MTIME, format!("{mtime_ns}ns")));
        metadata.push((FILE_PERMISSIONS, format!("{:07o}", object.mode)));
    }
    if let Some(owner) = object.file_owner.filter(|_| form.has_s3_files()) {
        metadata.push((FILE_OWNER, owner.user.to_string()));
        metadata.push((FILE_GROUP, owner.group.to_string()));
    }
    if form == PosixMetadata::None {
        metadata.push((OWN_MTIME, format!("{mtime_ns}ns")));
    }
    metadata
}

const NANOS: i128 = 1_000_000_000;

fn format_mtime(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = i128::from(nanos).abs();
    format!("{sign}{}.{:09}", nanos / NANOS, nanos % NANOS)
}

/// The file time in the metadata of an object.
pub(super) fn file_time(metadata: &HashMap<String, String>) -> Option<i64> {
    let seconds = metadata.get(MTIME).and_then(|text| parse_mtime(text));
    let nanos = |name: &str| metadata.get(name)?.strip_suffix("ns")?.parse().ok();
    seconds.or_else(|| nanos(FILE_MTIME)).or_else(|| nanos(OWN_MTIME))
}

/// The owner of the file in the metadata of an object.
pub(super) fn file_owner(metadata: &HashMap<String, String>) -> Option<FileOwner> {
    let number = |name: &str| metadata.get(name)?.parse().ok();
    Some(FileOwner { user: number(FILE_OWNER)?, group: number(FILE_GROUP)? })
}

/// The mode of the file in the metadata of an object, as in `st_mode`.
pub(super) fn full_mode(metadata: &HashMap<String, String>) -> Option<u32> {
    let octal = |name: &str| u32::from_str_radix(metadata.get(name)?, 8).ok();
    octal(MODE).or_else(|| octal(FILE_PERMISSIONS))
}

/// The permissions in the metadata of an object, without bits that give rights to those who run it.
pub(super) fn file_mode(metadata: &HashMap<String, String>) -> Option<u32> {
    const PERMISSIONS: u32 = 0o777;
    full_mode(metadata).map(|mode| mode & PERMISSIONS)
}

/// Reads what [`format_mtime`] wrote, and what rclone writes: it leaves zeros at the end out.
fn parse_mtime(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.len() > 9 || !plain(seconds) || !plain(fraction) {
        return None;
    }
    let nanos =
        seconds.parse::<i128>().ok()? * NANOS + format!("{fraction:0<9}").parse::<i128>().ok()?;
    i64::try_from(sign * nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyPrefix, RelPath, Version};
    use crate::rules::{RuleSettings, Rules};
    use std::collections::BTreeSet;

    #[test]
    fn file_times_survive_the_metadata_to_the_nanosecond() {
        for nanos in [0, 1, -1, 1_354_040_105_123_456_789, -1_500_000_000, i64::MAX, i64::MIN + 1] {
            assert_eq!(parse_mtime(&format_mtime(nanos)), Some(nanos));
        }
        assert_eq!(format_mtime(1_354_040_105_123_456_789), "1354040105.123456789");
        assert_eq!(format_mtime(-1_500_000_000), "-1.500000000");
    }

    #[test]
    fn what_is_no_time_is_not_taken_for_one() {
        for text in ["", "-", ".5", "1.", "1.1234567890", "+1.0", "x.0", "1.+00", "1e3", "1.5s"] {
            assert_eq!(parse_mtime(text), None, "{text}");
        }
    }

    #[test]
    fn times_of_others_are_read_with_the_digits_they_have() {
        for (text, nanos) in [
            ("1354040105.1234", 1_354_040_105_123_400_000),
            ("1354040105", 1_354_040_105_000_000_000),
            ("-1.5", -1_500_000_000),
        ] {
            let metadata = HashMap::from([(MTIME.to_owned(), text.to_owned())]);
            assert_eq!(file_time(&metadata), Some(nanos), "{text}");
        }
        let other = |text: &str| HashMap::from([(FILE_MTIME.to_owned(), text.to_owned())]);
        assert_eq!(file_time(&other("1595002920000000001ns")), Some(1_595_002_920_000_000_001));
        assert_eq!(file_time(&other("1595002920")), None, "without its unit");
    }

    #[test]
    fn permissions_of_ours_and_of_others_are_read_without_special_bits() {
        for (name, text, mode) in [
            (MODE, "100644", Some(0o644)),
            (MODE, "104755", Some(0o755)),
            (FILE_PERMISSIONS, "0600", Some(0o600)),
            (FILE_PERMISSIONS, "rw-", None),
            ("other", "0600", None),
        ] {
            let metadata = HashMap::from([(name.to_owned(), text.to_owned())]);
            assert_eq!(file_mode(&metadata), mode, "{name} {text}");
        }
    }

    fn written(form: PosixMetadata) -> HashMap<String, String> {
        let settings = RuleSettings { posix_metadata: form, ..RuleSettings::default() };
        let path = RelPath::new(b"a").expect("a path");
        let object = ObjectMetadata {
            key: KeyPrefix::default().key(&path).expect("a key"),
            version: Version { size: 5, mtime_ns: -1_595_002_920_000_000_001 },
            mode: 0o100_640,
            file_owner: Some(FileOwner { user: 1000, group: u32::MAX }),
            head: Rules::new(&settings).expect("no patterns").head(&path),
            source: "here".into(),
            replaces_tags: false,
        };
        metadata(&object, "us")
    }

    #[test]
    fn each_form_has_its_names_and_the_time() {
        for (form, expected) in [
            (PosixMetadata::None, &[(OWN_MTIME, "-1595002920000000001ns")][..]),
            (PosixMetadata::Rclone, &[(MTIME, "-1595002920.000000001"), (MODE, "100640")]),
            (
                PosixMetadata::S3Files,
                &[
                    (FILE_MTIME, "-1595002920000000001ns"),
                    (FILE_PERMISSIONS, "0100640"),
                    (FILE_OWNER, "1000"),
                    (FILE_GROUP, "4294967295"),
                ],
            ),
        ] {
            let mut metadata = written(form);
            assert_eq!(file_time(&metadata), Some(-1_595_002_920_000_000_001));
            assert_eq!(metadata.remove(OWNER).as_deref(), Some("us"));
            assert_eq!(metadata.remove(SOURCE).as_deref(), Some("here"));
            let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
            assert_eq!(metadata, expected.iter().map(own).collect::<HashMap<_, _>>());
            let names: BTreeSet<_> = metadata.keys().map(String::as_str).collect();
            let reserved = form.names().collect::<BTreeSet<_>>();
            assert!(form == PosixMetadata::None || names == reserved, "{form:?}");
        }
        let both = written(PosixMetadata::Both);
        assert_eq!(both.len(), 8);
        assert_eq!(full_mode(&both), Some(0o100_640));
        assert_eq!(file_owner(&both), Some(FileOwner { user: 1000, group: u32::MAX }));
    }

    #[test]
    fn tags_are_written_as_a_query() {
        let tags = [("team a", "b&c=d"), ("ü/+", "")];
        let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(tagging(&tags).as_deref(), Some("team%20a=b%26c%3Dd&%C3%BC%2F%2B="));
        assert_eq!(tagging(&[]), None);
    }
}
