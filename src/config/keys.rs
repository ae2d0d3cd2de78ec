//! The table of keys. Suggestions for unknown keys, the order of `check-config`, the defaults of
//! `meant`, and the table in `docs/CONFIGURATION.md` are derived from it.
//!
//! # Invariants
//!
//! - Names are unique, here and in [`REPLACED`] together.
//! - Every [`DefaultValue::Value`] passes the check that it replaces.

mod aws_endpoint;
mod bandwidth;
mod deletions;
mod endpoints;
mod heartbeat;
mod hints;
mod nearest;
mod polling;
mod process;
mod requests;
mod selection;

pub(super) use aws_endpoint::*;
pub(super) use bandwidth::*;
pub(super) use deletions::{
    DELETE_DELAY, DELETE_LIMIT_COUNT, DELETE_LIMIT_PERCENT, DELETE_LIMIT_WINDOW, DELETE_POLICY,
};
pub(super) use endpoints::*;
pub(super) use heartbeat::*;
pub(super) use hints::{
    HINT_CA_FILE, HINT_LISTEN_ADDRESS, HINT_TLS_CERT_FILE, HINT_TLS_KEY_FILE, HINT_TOKEN_FILE,
    HINT_URL,
};
pub(super) use nearest::{nearest, nearest_of};
pub(super) use polling::*;
pub(super) use process::{
    LOCK_TIMEOUT, LOG_TRANSFERS, SANDBOX, SHUTDOWN_ON_OUTAGE, SHUTDOWN_TIMEOUT, STATE_DIR,
    STATE_SURVIVES,
};
pub(super) use requests::*;
pub(super) use selection::*;

/// A setting, as documented.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: ValueKind,
    pub(super) absent: DefaultValue,
    pub(super) meaning: &'static str,
}

/// The permitted values of a key.
#[derive(Debug)]
pub(super) enum ValueKind {
    /// A file or directory; a relative path starts at the working directory.
    Path,
    Text,
    Boolean,
    /// An integer in this unit, within these bounds.
    Whole {
        unit: &'static str,
        min: u64,
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any number of texts.
    List,
    /// Any number of tables with fields.
    Tables,
}

/// The value of a key that is not set.
#[derive(Debug)]
pub(super) enum DefaultValue {
    /// None: the key is required.
    Refused,
    /// This value, as it would be written.
    Value(&'static str),
    /// A value that the process determines, described here.
    Then(&'static str),
}

/// Keys that belong together, with their heading.
pub(super) type Section = (&'static str, &'static [&'static Key]);

const fn key(
    name: &'static str,
    kind: ValueKind,
    absent: DefaultValue,
    meaning: &'static str,
) -> Key {
    Key { name, kind, absent, meaning }
}

const fn whole(unit: &'static str, min: u64, max: u64) -> ValueKind {
    ValueKind::Whole { unit, min, max }
}

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;
/// An upper bound far above practical numbers.
const SHARDS_MAX: u64 = 1024;
/// S3 accepts parts of 5 MiB to 5 GiB, and 5 GiB in one request.
const S3_PART_MIB: (u64, u64) = (5, 5120);

pub(super) const WATCH_PATH: Key = key(
    "watch_path",
    ValueKind::Path,
    DefaultValue::Refused,
    "the directory to mirror, which may appear later",
);
pub(super) const WATCH_PATH_LINK: Key = key(
    "watch_path_link",
    ValueKind::Choice(&["bound", "follow"]),
    DefaultValue::Value("bound"),
    "what a link on the way to `watch_path` may do: lead where it led at the first start for ever, or, \
     with `follow`, to any directory beneath the one it lies in, as deployments change it; see \
     [Links on the way](#links-on-the-way)",
);
pub(super) const S3_BUCKET: Key = key(
    "s3_bucket",
    ValueKind::Text,
    DefaultValue::Refused,
    "the bucket's name, or the alias or ARN of an access point",
);
pub(super) const S3_REGION: Key = key(
    "s3_region",
    ValueKind::Text,
    DefaultValue::Then("from the AWS chain"),
    "the bucket's region",
);
pub(super) const S3_PREFIX: Key = key(
    "s3_prefix",
    ValueKind::Text,
    DefaultValue::Value(""),
    "stands before every key: `watch_path/a/b.txt` becomes `{s3_prefix}/a/b.txt`",
);
pub(super) const SHARD_COUNT: Key = key(
    "shard_count",
    whole("processes", 1, SHARDS_MAX),
    DefaultValue::Value("1"),
    "how many processes share the directory, each with a `state_dir` of its own; see \
     [SCALING.md](SCALING.md#shards)",
);
pub(super) const SHARD_INDEX: Key = key(
    "shard_index",
    whole("number", 0, SHARDS_MAX - 1),
    DefaultValue::Value("0"),
    "which of them this one is, counted from 0; no other one may have the same",
);
pub(super) const SHARD_DEPTH: Key = key(
    "shard_depth",
    whole("directories", 1, 16),
    DefaultValue::Value("1"),
    "how many names at the start of a path decide whose it is; the same for all of them",
);
pub(super) const RETRY_FILE: Key = key(
    "retry_file",
    ValueKind::Path,
    DefaultValue::Value("retry_queue.json"),
    "a view of what waits and why, as JSON; a relative path starts at `state_dir`",
);
pub(super) const RETRY_INTERVAL: Key = key(
    "retry_interval_seconds",
    whole("seconds", 1, DAY),
    DefaultValue::Value("300"),
    "the longest pause between two tries of one file; 0 stands for the default",
);
pub(super) const CLOUDFRONT_ENABLED: Key = key(
    "cloudfront_enabled",
    ValueKind::Boolean,
    DefaultValue::Value("false"),
    "whether changed objects are invalidated in CloudFront",
);
pub(super) const CLOUDFRONT_DISTRIBUTION_ID: Key = key(
    "cloudfront_distribution_id",
    ValueKind::Text,
    DefaultValue::Then("required where `cloudfront_enabled` is true"),
    "the distribution in front of the bucket, such as `E1234567890ABC`",
);
pub(super) const CLOUDFRONT_PATH_PREFIX: Key = key(
    "cloudfront_path_prefix",
    ValueKind::Text,
    DefaultValue::Value(""),
    "stands before every path that viewers ask for, `/{cloudfront_path_prefix}/a/b.txt`: empty where the \
     origin's path is `/{s3_prefix}`, the same as `s3_prefix` where the origin has no path",
);
pub(super) const CLOUDFRONT_BATCH: Key = key(
    "cloudfront_batch_seconds",
    whole("seconds", 1, 3600),
    DefaultValue::Value("10"),
    "how long changes are collected after the last one, at most six times as long, before \
     one invalidation is requested for all of them",
);
pub(super) const CLOUDFRONT_WILDCARD_THRESHOLD: Key = key(
    "cloudfront_wildcard_threshold",
    whole("entries", 1, 100_000),
    DefaultValue::Value("50"),
    "more changed entries in one directory become one wildcard, `/dir/*`, which costs one path and \
     invalidates every copy below",
);
pub(super) const CLOUDFRONT_BATCH_PATH_LIMIT: Key = key(
    "cloudfront_batch_path_limit",
    whole("paths", 1, 100),
    DefaultValue::Value("100"),
    "the most paths that one round of changes may cost, however many they are; beyond it directories \
     become wildcards, the deepest first",
);
pub(super) const CLOUDFRONT_MONTHLY_PATH_LIMIT: Key = key(
    "cloudfront_monthly_path_limit",
    whole("paths", 0, 1_000_000_000),
    DefaultValue::Value("0"),
    "the most paths in a calendar month (UTC): of the last tenth each round is one wildcard, and beyond \
     it nothing is sent before the next month; 0 for no limit",
);
pub(super) const CLOUDFRONT_INVALIDATE_NEW: Key = key(
    "cloudfront_invalidate_new",
    ValueKind::Boolean,
    DefaultValue::Value("false"),
    "whether new objects are invalidated as well, for viewers who may have asked for them before they were \
     there",
);
pub(super) const CLOUDFRONT_INDEX_PATHS: Key = key(
    "cloudfront_index_paths",
    ValueKind::Boolean,
    DefaultValue::Value("true"),
    "whether `/dir/` and `/dir` are invalidated with `/dir/index.html`; each of the three costs a path",
);
pub(super) const CLOUDFRONT_CACHE_TAG: Key = key(
    "cloudfront_cache_tag",
    ValueKind::Text,
    DefaultValue::Then("no tags"),
    "the metadata in which objects carry the tags of their directories, such as `cache-tag`: one tag \
     stands for `/dir/*` then; see [Cache tags](#cache-tags)",
);
pub(super) const WATCH_MODE: Key = key(
    "watch_mode",
    ValueKind::Choice(&["auto", "events", "poll"]),
    DefaultValue::Value("auto"),
    "how changes are seen; `auto` decides by the type of the file system, because events do not \
     show writes made on other nodes of NFS, EFS or FUSE",
);
pub(super) const DEBOUNCE: Key = key(
    "debounce_milliseconds",
    whole("milliseconds", 0, 60_000),
    DefaultValue::Value("250"),
    "how long a name rests after its file was closed, renamed or deleted",
);
pub(super) const OPEN_FILE_QUIET: Key = key(
    "open_file_quiet_seconds",
    whole("seconds", 0, 3600),
    DefaultValue::Value("5"),
    "how long a file rests that is still open for writing",
);
pub(super) const DEBOUNCE_MAX: Key = key(
    "debounce_max_seconds",
    whole("seconds", 1, DAY),
    DefaultValue::Value("60"),
    "the longest wait for a file that never rests; it is looked at then, and again later",
);
pub(super) const OBJECT_RULES: Key = key(
    "object_rules",
    ValueKind::Tables,
    DefaultValue::Value(""),
    "what objects look like, by the names of their files: see [Object rules](#object-rules)",
);
pub(super) const S3_STORAGE_CLASS: Key = key(
    "s3_storage_class",
    ValueKind::Text,
    DefaultValue::Then("the bucket's, `STANDARD`"),
    "the storage class of objects, such as `STANDARD_IA`, where no rule says another",
);
pub(super) const S3_SERVER_SIDE_ENCRYPTION: Key = key(
    "s3_server_side_encryption",
    ValueKind::Choice(&["AES256", "aws:kms", "aws:kms:dsse"]),
    DefaultValue::Then("as the bucket does"),
    "how the store encrypts objects",
);
pub(super) const S3_KMS_KEY_ID: Key = key(
    "s3_kms_key_id",
    ValueKind::Text,
    DefaultValue::Then("the account's own key"),
    "the key for `aws:kms` and `aws:kms:dsse`: an id, an alias or an ARN",
);
pub(super) const S3_CHECKSUM_ALGORITHM: Key = key(
    "s3_checksum_algorithm",
    ValueKind::Choice(&["crc64nvme", "crc32", "crc32c", "none"]),
    DefaultValue::Value("crc64nvme"),
    "the checksum that goes with every body, and is kept with the object; `none` for stores that \
     refuse them all",
);
pub(super) const S3_ENDPOINT_URL: Key = key(
    "s3_endpoint_url",
    ValueKind::Text,
    DefaultValue::Then("S3's own; the SDK reads `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL`"),
    "another store that speaks S3, such as `http://minio:9000`",
);
pub(super) const S3_FORCE_PATH_STYLE: Key = key(
    "s3_force_path_style",
    ValueKind::Boolean,
    DefaultValue::Value("false"),
    "whether the bucket stands in the path of the URL instead of in its host name",
);
pub(super) const S3_PROBE: Key = key(
    "s3_probe",
    ValueKind::Boolean,
    DefaultValue::Value("false"),
    "whether such a store is asked once what it can do, by two objects of a few bytes that are deleted again",
);
pub(super) const S3_CONDITIONAL_WRITES: Key = key(
    "s3_conditional_writes",
    ValueKind::Choice(&["auto", "off"]),
    DefaultValue::Value("auto"),
    "whether an object is written and deleted only if it is as this instance left it, where the store knows such \
     conditions; see [SEMANTICS.md](SEMANTICS.md#one-writer)",
);
pub(super) const S3_LEASE: Key = key(
    "s3_lease_seconds",
    whole("seconds", 0, 86_400),
    DefaultValue::Value("0"),
    "how long a daemon that deletes below the prefix may give no sign of life before another one takes its place; \
     `0` for none, see [SEMANTICS.md](SEMANTICS.md#one-writer)",
);
pub(super) const MAX_CONCURRENT_TRANSFERS: Key = key(
    "max_concurrent_transfers",
    whole("requests", 1, 1000),
    DefaultValue::Value("256"),
    "the upper bound of concurrent requests for uploads, parts and copies; the daemon starts with 16 at most, and \
     finds the best number by itself",
);
pub(super) const MULTIPART_THRESHOLD: Key = key(
    "multipart_threshold_mib",
    whole("MiB", S3_PART_MIB.0, S3_PART_MIB.1),
    DefaultValue::Value("16"),
    "files larger than this are sent in parts, several at once, and such uploads resume",
);
pub(super) const MULTIPART_PART_SIZE: Key = key(
    "multipart_part_size_mib",
    whole("MiB", S3_PART_MIB.0, S3_PART_MIB.1),
    DefaultValue::Value("8"),
    "the size of a part; larger by itself where a file would need more than 10,000",
);
pub(super) const TRANSFER_MEMORY: Key = key(
    "transfer_memory_mib",
    whole("MiB", S3_PART_MIB.0, 1_048_576),
    DefaultValue::Value("128"),
    "the most memory for content on its way; at least `multipart_part_size_mib` and \
     `multipart_threshold_mib`, because one part, or one file below the threshold, is held whole. A part has \
     three quarters of it at most, and a file 10,000 parts: larger ones are left (`too-large`)",
);
pub(super) const LOG_FORMAT: Key = key(
    "log_format",
    ValueKind::Choice(&["json", "text"]),
    DefaultValue::Then("`json`, but `text` on a terminal"),
    "how log lines look",
);
pub(super) const LOG_LEVEL: Key = key(
    "log_level",
    ValueKind::Text,
    DefaultValue::Value("info"),
    "`off`, `error`, `warn`, `info`, `debug`, `trace`, or directives such as \
     `info,file_sync_service=debug`; `RUST_LOG` wins over file and variable",
);

/// Every key of this version, in the order of the documentation.
pub(super) const SECTIONS: &[Section] = &[
    (
        "What is mirrored, and where to",
        &[&WATCH_PATH, &WATCH_PATH_LINK, &S3_BUCKET, &S3_REGION, &S3_PREFIX],
    ),
    ("Shards", &[&SHARD_COUNT, &SHARD_INDEX, &SHARD_DEPTH]),
    ("What waits", &[&RETRY_FILE, &RETRY_INTERVAL]),
    (
        "CloudFront",
        &[
            &CLOUDFRONT_ENABLED,
            &CLOUDFRONT_DISTRIBUTION_ID,
            &CLOUDFRONT_PATH_PREFIX,
            &CLOUDFRONT_BATCH,
            &CLOUDFRONT_WILDCARD_THRESHOLD,
            &CLOUDFRONT_BATCH_PATH_LIMIT,
            &CLOUDFRONT_MONTHLY_PATH_LIMIT,
            &CLOUDFRONT_INVALIDATE_NEW,
            &CLOUDFRONT_INDEX_PATHS,
            &CLOUDFRONT_CACHE_TAG,
        ],
    ),
    ("State", &[&STATE_DIR, &STATE_SURVIVES, &LOCK_TIMEOUT]),
    (
        "How changes are seen",
        &[&WATCH_MODE, &POLL_INTERVAL, &POLL_FULL_INTERVAL, &POLL_OPERATIONS, &RESCAN_INTERVAL],
    ),
    ("Which files", selection::SECTION),
    ("When a file is ready", &[&DEBOUNCE, &OPEN_FILE_QUIET, &DEBOUNCE_MAX]),
    (
        "What objects look like",
        &[
            &OBJECT_RULES,
            &POSIX_METADATA,
            &REFRESH_METADATA,
            &S3_STORAGE_CLASS,
            &S3_SERVER_SIDE_ENCRYPTION,
            &S3_KMS_KEY_ID,
            &S3_SSE_CUSTOMER_KEY_FILE,
            &S3_CHECKSUM_ALGORITHM,
            &S3_ACL,
            &S3_EXPECTED_BUCKET_OWNER,
            &S3_REQUESTER_PAYS,
        ],
    ),
    ("AWS endpoints", aws_endpoint::SECTION),
    ("Stores other than AWS", &[&S3_ENDPOINT_URL, &S3_FORCE_PATH_STYLE, &S3_PROBE]),
    (
        "Transfers",
        &[
            &MAX_CONCURRENT_TRANSFERS,
            &MULTIPART_THRESHOLD,
            &MULTIPART_PART_SIZE,
            &TRANSFER_MEMORY,
            &BANDWIDTH_LIMIT,
            &BANDWIDTH_LIMIT_MIB,
            &BANDWIDTH_SCHEDULE,
            &BANDWIDTH_UTC_OFFSET,
            &S3_CONNECT_TIMEOUT,
            &S3_RESPONSE_TIMEOUT,
            &S3_IDLE_TIMEOUT,
            &S3_CONDITIONAL_WRITES,
        ],
    ),
    (
        "Deletions",
        &[
            &DELETE_POLICY,
            &DELETE_DELAY,
            &DELETE_LIMIT_PERCENT,
            &DELETE_LIMIT_COUNT,
            &DELETE_LIMIT_WINDOW,
            &S3_LEASE,
        ],
    ),
    ("Endpoints", endpoints::SECTION),
    ("Heartbeat", heartbeat::SECTION),
    ("Hints of other nodes", hints::SECTION),
    (
        "The process",
        &[
            &SHUTDOWN_TIMEOUT,
            &SHUTDOWN_ON_OUTAGE,
            &SANDBOX,
            &LOG_FORMAT,
            &LOG_LEVEL,
            &LOG_TRANSFERS,
        ],
    ),
];

/// Keys of later builds of the original service, and their replacements.
pub(super) const REPLACED: &[(&str, &str)] = &[
    ("max_retry_attempts", "remove it: nothing is ever given up, so there is no maximum"),
    ("invalidation_interval_seconds", "cloudfront_batch_seconds replaces it"),
    ("wildcard_threshold", "cloudfront_wildcard_threshold replaces it"),
];

/// Every key of this version, in order.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|(_, keys)| keys.iter().copied())
}

/// The key with exactly this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

#[cfg(test)]
mod tests;
