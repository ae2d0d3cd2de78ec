//! The keys of request headers, and of access to objects.

use super::{DefaultValue, HOUR, Key, ValueKind, key, whole};

pub(in crate::config) const S3_ACL: Key = key(
    "s3_acl",
    ValueKind::Choice(&[
        "private",
        "public-read",
        "public-read-write",
        "authenticated-read",
        "aws-exec-read",
        "bucket-owner-read",
        "bucket-owner-full-control",
    ]),
    DefaultValue::Then("none is sent, and the bucket's owner has the objects"),
    "the canned ACL of objects, where no rule says another; needs `s3:PutObjectAcl`. A bucket without ACLs, as S3 makes \
     them, takes `bucket-owner-full-control` alone",
);
pub(in crate::config) const REFRESH_METADATA: Key = key(
    "refresh_metadata",
    ValueKind::Boolean,
    DefaultValue::Value("false"),
    "whether a change of a file's time or mode alone changes the metadata of its object, by a copy onto itself; see \
     [SEMANTICS.md](SEMANTICS.md#metadata)",
);
pub(in crate::config) const POSIX_METADATA: Key = key(
    "posix_metadata",
    ValueKind::Choice(&["none", "rclone", "s3-files", "both"]),
    DefaultValue::Value("rclone"),
    "the form of a file's time, permissions and owner in the metadata of its object: as rclone reads them (without the \
     owner), as S3 Files, FSx for Lustre and DataSync do, both, or none; see [SEMANTICS.md](SEMANTICS.md#metadata)",
);
pub(in crate::config) const S3_EXPECTED_BUCKET_OWNER: Key = key(
    "s3_expected_bucket_owner",
    ValueKind::Text,
    DefaultValue::Then("any account"),
    "the account that owns the bucket, 12 digits: S3 refuses every request if another one does",
);
pub(in crate::config) const S3_REQUESTER_PAYS: Key = key(
    "s3_requester_pays",
    ValueKind::Boolean,
    DefaultValue::Value("false"),
    "whether requests say that this account pays for them, as a bucket with requester pays demands",
);
pub(in crate::config) const S3_SSE_CUSTOMER_KEY_FILE: Key = key(
    "s3_sse_customer_key_file",
    ValueKind::Path,
    DefaultValue::Then("the store keeps the keys"),
    "a file with a key of 256 bits, with which the store encrypts every object below the prefix and which it does not \
     keep (SSE-C); see [A key of your own](#a-key-of-your-own)",
);
pub(in crate::config) const S3_CONNECT_TIMEOUT: Key = key(
    "s3_connect_timeout_seconds",
    whole("seconds", 1, 300),
    DefaultValue::Value("5"),
    "the longest time to establish a connection to S3; less than `s3_response_timeout_seconds`, which contains it",
);
pub(in crate::config) const S3_RESPONSE_TIMEOUT: Key = key(
    "s3_response_timeout_seconds",
    whole("seconds", 2, HOUR),
    DefaultValue::Value("30"),
    "the longest time of a small request, and the longest wait for a response after a body was sent; work of S3 on \
     large objects has more, by their size",
);
pub(in crate::config) const S3_IDLE_TIMEOUT: Key = key(
    "s3_idle_timeout_seconds",
    whole("seconds", 1, HOUR),
    DefaultValue::Value("60"),
    "the longest time without progress of a body; while it moves, an upload may take as long as the network needs",
);
