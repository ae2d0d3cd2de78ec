//! The one table of keys. Hints for unknown keys, the order of `check-config`, the defaults that
//! `meant` applies and the table in `docs/CONFIGURATION.md` all come from it.
//!
//! # Invariants
//!
//! - No name stands twice, nor both here and in [`REPLACED`].
//! - Every [`Absent::Value`] passes the check it stands in for.

mod nearest;

pub(super) use nearest::{nearest, nearest_of};

/// One setting, as a person sees it.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) absent: Absent,
    pub(super) meaning: &'static str,
}

/// What may be written for a key.
#[derive(Debug)]
pub(super) enum Kind {
    /// A file or directory; relative ones start at the working directory.
    Path,
    Text,
    Boolean,
    /// A whole number in this unit, within these bounds.
    Whole {
        unit: &'static str,
        min: u64,
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any number of texts.
    List,
    /// Any number of tables, each with fields of its own.
    Tables,
}

/// What holds where a key is not set.
#[derive(Debug)]
pub(super) enum Absent {
    /// Nothing: the key is required.
    Refused,
    /// This value, as it would be written.
    Value(&'static str),
    /// Something only the process can find out, described here.
    Then(&'static str),
}

/// Keys that belong together, with the heading they stand under.
pub(super) type Section = (&'static str, &'static [&'static Key]);

const fn key(name: &'static str, kind: Kind, absent: Absent, meaning: &'static str) -> Key {
    Key { name, kind, absent, meaning }
}

const fn whole(unit: &'static str, min: u64, max: u64) -> Kind {
    Kind::Whole { unit, min, max }
}

const DAY: u64 = 86_400;
/// More than anybody has processes for.
const SHARDS_MAX: u64 = 1024;
/// S3 takes parts of 5 MiB to 5 GiB, and 5 GiB in one request.
const S3_PART_MIB: (u64, u64) = (5, 5120);

pub(super) const WATCH_PATH: Key = key(
    "watch_path",
    Kind::Path,
    Absent::Refused,
    "the directory to mirror, which may appear later",
);
pub(super) const S3_BUCKET: Key = key(
    "s3_bucket",
    Kind::Text,
    Absent::Refused,
    "the bucket's name, or the alias or ARN of an access point",
);
pub(super) const S3_REGION: Key =
    key("s3_region", Kind::Text, Absent::Then("from the AWS chain"), "the bucket's region");
pub(super) const S3_PREFIX: Key = key(
    "s3_prefix",
    Kind::Text,
    Absent::Value(""),
    "stands before every key: `watch_path/a/b.txt` becomes `{s3_prefix}/a/b.txt`",
);
pub(super) const SHARD_COUNT: Key = key(
    "shard_count",
    whole("processes", 1, SHARDS_MAX),
    Absent::Value("1"),
    "how many processes share the directory, each with a `state_dir` of its own; see \
     [SCALING.md](SCALING.md#shards)",
);
pub(super) const SHARD_INDEX: Key = key(
    "shard_index",
    whole("number", 0, SHARDS_MAX - 1),
    Absent::Value("0"),
    "which of them this one is, counted from 0; no other one may have the same",
);
pub(super) const SHARD_DEPTH: Key = key(
    "shard_depth",
    whole("directories", 1, 16),
    Absent::Value("1"),
    "how many names at the start of a path decide whose it is; the same for all of them",
);
pub(super) const RETRY_FILE: Key = key(
    "retry_file",
    Kind::Path,
    Absent::Value("retry_queue.json"),
    "a view of what waits and why, as JSON; a relative path starts at `state_dir`",
);
pub(super) const RETRY_INTERVAL: Key = key(
    "retry_interval_seconds",
    whole("seconds", 1, DAY),
    Absent::Value("300"),
    "the longest pause between two tries of one file; 0 stands for the default",
);
pub(super) const CLOUDFRONT_ENABLED: Key = key(
    "cloudfront_enabled",
    Kind::Boolean,
    Absent::Value("false"),
    "whether CloudFront is told of changed objects",
);
pub(super) const CLOUDFRONT_DISTRIBUTION_ID: Key = key(
    "cloudfront_distribution_id",
    Kind::Text,
    Absent::Then("required where `cloudfront_enabled` is true"),
    "the distribution in front of the bucket, such as `E1234567890ABC`",
);
pub(super) const CLOUDFRONT_PATH_PREFIX: Key = key(
    "cloudfront_path_prefix",
    Kind::Text,
    Absent::Value(""),
    "stands before every path that viewers ask for, `/{cloudfront_path_prefix}/a/b.txt`: empty where the \
     origin's path is `/{s3_prefix}`, the same as `s3_prefix` where the origin has no path",
);
pub(super) const CLOUDFRONT_BATCH: Key = key(
    "cloudfront_batch_seconds",
    whole("seconds", 1, 3600),
    Absent::Value("10"),
    "how long changes are collected after the last one, six times as long at the most, before \
     CloudFront is told of all of them at once",
);
pub(super) const CLOUDFRONT_WILDCARD_THRESHOLD: Key = key(
    "cloudfront_wildcard_threshold",
    whole("entries", 1, 100_000),
    Absent::Value("50"),
    "more changed entries in one directory become one wildcard, `/dir/*`, which costs one path and \
     throws away every copy below",
);
pub(super) const CLOUDFRONT_BATCH_PATH_LIMIT: Key = key(
    "cloudfront_batch_path_limit",
    whole("paths", 1, 100),
    Absent::Value("100"),
    "the most paths that one round of changes may cost, however many they are; beyond it directories \
     become wildcards, the deepest first",
);
pub(super) const CLOUDFRONT_MONTHLY_PATH_LIMIT: Key = key(
    "cloudfront_monthly_path_limit",
    whole("paths", 0, 1_000_000_000),
    Absent::Value("0"),
    "the most paths in a calendar month (UTC): of the last tenth each round is one wildcard, and beyond \
     it nothing is sent before the next month; 0 for no limit",
);
pub(super) const CLOUDFRONT_INVALIDATE_NEW: Key = key(
    "cloudfront_invalidate_new",
    Kind::Boolean,
    Absent::Value("false"),
    "whether new objects are told of as well, for viewers who may have asked for them before they were \
     there",
);
pub(super) const CLOUDFRONT_INDEX_PATHS: Key = key(
    "cloudfront_index_paths",
    Kind::Boolean,
    Absent::Value("true"),
    "whether `/dir/` and `/dir` are told of with `/dir/index.html`; each of the three costs a path",
);
pub(super) const CLOUDFRONT_CACHE_TAG: Key = key(
    "cloudfront_cache_tag",
    Kind::Text,
    Absent::Then("no tags"),
    "the metadata in which objects carry the tags of their directories, such as `cache-tag`: one tag \
     stands for `/dir/*` then; see [Cache tags](#cache-tags)",
);
pub(super) const STATE_DIR: Key = key(
    "state_dir",
    Kind::Path,
    Absent::Then(
        "`$STATE_DIRECTORY`, else `/var/lib/file-sync-service` where it exists, else `.file-sync-service`",
    ),
    "holds the record and the queue, so put it on a volume that survives; never inside `watch_path`",
);
pub(super) const WATCH_MODE: Key = key(
    "watch_mode",
    Kind::Choice(&["auto", "events", "poll"]),
    Absent::Value("auto"),
    "how changes are seen; `auto` decides by the type of the file system, because events do not \
     tell of writes made on other nodes of NFS, EFS or FUSE",
);
pub(super) const POLL_INTERVAL: Key = key(
    "poll_interval_seconds",
    whole("seconds", 1, DAY),
    Absent::Value("30"),
    "the pause between two full looks at the tree while polling",
);
pub(super) const RESCAN_INTERVAL: Key = key(
    "rescan_interval_seconds",
    whole("seconds", 1, 7 * DAY),
    Absent::Value("3600"),
    "the pause between two full looks at the tree behind events, the safety net",
);
pub(super) const IGNORE: Key = key(
    "ignore",
    Kind::List,
    Absent::Value(""),
    "names that are not mirrored, in gitignore syntax, from the top of `watch_path`",
);
pub(super) const IGNORE_DEFAULTS: Key = key(
    "ignore_defaults",
    Kind::Boolean,
    Absent::Value("true"),
    "whether hidden files and directories, `*.tmp`, `*.swp`, `*~`, `*.tmp.*` and `lost+found` are \
     left out as well",
);
pub(super) const DEBOUNCE: Key = key(
    "debounce_milliseconds",
    whole("milliseconds", 0, 60_000),
    Absent::Value("250"),
    "how long a name rests after its file was closed, renamed or deleted",
);
pub(super) const OPEN_FILE_QUIET: Key = key(
    "open_file_quiet_seconds",
    whole("seconds", 0, 3600),
    Absent::Value("5"),
    "how long a file rests that is still open for writing",
);
pub(super) const DEBOUNCE_MAX: Key = key(
    "debounce_max_seconds",
    whole("seconds", 1, DAY),
    Absent::Value("60"),
    "the longest wait for a file that never rests; it is looked at then, and again later",
);
pub(super) const OBJECT_RULES: Key = key(
    "object_rules",
    Kind::Tables,
    Absent::Value(""),
    "what objects look like, by the names of their files: see [Object rules](#object-rules)",
);
pub(super) const S3_STORAGE_CLASS: Key = key(
    "s3_storage_class",
    Kind::Text,
    Absent::Then("the bucket's, `STANDARD`"),
    "the storage class of objects, such as `STANDARD_IA`, where no rule says another",
);
pub(super) const S3_SERVER_SIDE_ENCRYPTION: Key = key(
    "s3_server_side_encryption",
    Kind::Choice(&["AES256", "aws:kms", "aws:kms:dsse"]),
    Absent::Then("as the bucket does"),
    "how the store encrypts objects",
);
pub(super) const S3_KMS_KEY_ID: Key = key(
    "s3_kms_key_id",
    Kind::Text,
    Absent::Then("the account's own key"),
    "the key for `aws:kms` and `aws:kms:dsse`: an id, an alias or an ARN",
);
pub(super) const S3_CHECKSUM_ALGORITHM: Key = key(
    "s3_checksum_algorithm",
    Kind::Choice(&["crc64nvme", "crc32", "crc32c", "none"]),
    Absent::Value("crc64nvme"),
    "the checksum that goes with every body, and is kept with the object; `none` for stores that \
     refuse them all",
);
pub(super) const S3_ENDPOINT_URL: Key = key(
    "s3_endpoint_url",
    Kind::Text,
    Absent::Then("S3's own; the SDK reads `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL`"),
    "another store that speaks S3, such as `http://minio:9000`",
);
pub(super) const S3_FORCE_PATH_STYLE: Key = key(
    "s3_force_path_style",
    Kind::Boolean,
    Absent::Value("false"),
    "whether the bucket stands in the path of the URL instead of in its host name",
);
pub(super) const S3_PROBE: Key = key(
    "s3_probe",
    Kind::Boolean,
    Absent::Value("false"),
    "whether such a store is asked once what it can do, by two objects of a few bytes that are deleted again",
);
pub(super) const S3_LEASE: Key = key(
    "s3_lease_seconds",
    whole("seconds", 0, 86_400),
    Absent::Value("0"),
    "how long a daemon that deletes below the prefix may give no sign of life before another one takes its place; \
     `0` for none, see [SEMANTICS.md](SEMANTICS.md#one-writer)",
);
pub(super) const MAX_CONCURRENT_TRANSFERS: Key = key(
    "max_concurrent_transfers",
    whole("requests", 1, 1000),
    Absent::Value("16"),
    "the most uploads, parts and copies at one time; fewer by itself while S3 says SlowDown",
);
pub(super) const MULTIPART_THRESHOLD: Key = key(
    "multipart_threshold_mib",
    whole("MiB", S3_PART_MIB.0, S3_PART_MIB.1),
    Absent::Value("16"),
    "files larger than this are sent in parts, several at once, and such uploads resume",
);
pub(super) const MULTIPART_PART_SIZE: Key = key(
    "multipart_part_size_mib",
    whole("MiB", S3_PART_MIB.0, S3_PART_MIB.1),
    Absent::Value("8"),
    "the size of a part; larger by itself where a file would need more than 10,000",
);
pub(super) const TRANSFER_MEMORY: Key = key(
    "transfer_memory_mib",
    whole("MiB", S3_PART_MIB.0, 1_048_576),
    Absent::Value("128"),
    "the most memory for content on its way; at least `multipart_part_size_mib` and \
     `multipart_threshold_mib`, because one part, or one file below the threshold, is held whole",
);
pub(super) const BANDWIDTH_LIMIT: Key = key(
    "bandwidth_limit_mib_per_second",
    whole("MiB a second", 0, 1_048_576),
    Absent::Value("0"),
    "the most that is sent, over all transfers; 0 stands for no limit",
);
pub(super) const DELETE_POLICY: Key = key(
    "delete_policy",
    Kind::Choice(&["propagate", "keep"]),
    Absent::Value("propagate"),
    "whether a file's deletion deletes its object",
);
pub(super) const DELETE_LIMIT_PERCENT: Key = key(
    "delete_limit_percent",
    whole("percent", 0, 100),
    Absent::Value("50"),
    "one comparison that wants to delete more than this share of the objects **and** more than \
     `delete_limit_count` deletes nothing until somebody agrees",
);
pub(super) const DELETE_LIMIT_COUNT: Key = key(
    "delete_limit_count",
    whole("objects", 0, 1_000_000_000),
    Absent::Value("1000"),
    "see `delete_limit_percent`",
);
pub(super) const LISTEN_ADDRESS: Key = key(
    "listen_address",
    Kind::Text,
    Absent::Value("0.0.0.0:9187"),
    "where `/livez`, `/startupz`, `/readyz`, `/metrics`, `/status` and the status page are; nothing there \
     changes anything; `off` for none",
);
pub(super) const ADMIN_ADDRESS: Key = key(
    "admin_address",
    Kind::Text,
    Absent::Value("127.0.0.1:9188"),
    "where the commands `status`, `flush`, `queue`, `health` and `prestop` reach the daemon: the same with file \
     names, and what changes something; loopback only; `off` for none",
);
pub(super) const STATUS_FILE_NAMES: Key = key(
    "status_file_names",
    Kind::Boolean,
    Absent::Value("false"),
    "whether `listen_address` tells file names and settings as well",
);
pub(super) const STATUS_FILE: Key = key(
    "status_file",
    Kind::Path,
    Absent::Then("none is written"),
    "a file that holds what `/status` answers without file names, for other containers of the pod; replaced in \
     one step, at most once a second",
);
pub(super) const TERMINATION_MESSAGE: Key = key(
    "termination_message_path",
    Kind::Path,
    Absent::Value("/dev/termination-log"),
    "the file that takes the reason when the program ends with an error, and how much is left, if it is there: Kubernetes shows it",
);
pub(super) const SHUTDOWN_TIMEOUT: Key = key(
    "shutdown_timeout_seconds",
    whole("seconds", 0, DAY),
    Absent::Value("25"),
    "how long SIGTERM lets transfers finish; keep it below the pod's grace period",
);
pub(super) const LOG_FORMAT: Key = key(
    "log_format",
    Kind::Choice(&["json", "text"]),
    Absent::Then("`json`, but `text` on a terminal"),
    "how log lines look",
);
pub(super) const LOG_LEVEL: Key = key(
    "log_level",
    Kind::Text,
    Absent::Value("info"),
    "`off`, `error`, `warn`, `info`, `debug`, `trace`, or directives such as \
     `info,file_sync_service=debug`; `RUST_LOG` wins over file and variable",
);

/// Every key this version knows, in the order of the documentation.
pub(super) const SECTIONS: &[Section] = &[
    ("What is mirrored, and where to", &[&WATCH_PATH, &S3_BUCKET, &S3_REGION, &S3_PREFIX]),
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
    ("State", &[&STATE_DIR]),
    ("How changes are seen", &[&WATCH_MODE, &POLL_INTERVAL, &RESCAN_INTERVAL]),
    ("Which files", &[&IGNORE, &IGNORE_DEFAULTS]),
    ("When a file is ready", &[&DEBOUNCE, &OPEN_FILE_QUIET, &DEBOUNCE_MAX]),
    (
        "What objects look like",
        &[
            &OBJECT_RULES,
            &S3_STORAGE_CLASS,
            &S3_SERVER_SIDE_ENCRYPTION,
            &S3_KMS_KEY_ID,
            &S3_CHECKSUM_ALGORITHM,
        ],
    ),
    ("Stores other than AWS", &[&S3_ENDPOINT_URL, &S3_FORCE_PATH_STYLE, &S3_PROBE]),
    (
        "Transfers",
        &[
            &MAX_CONCURRENT_TRANSFERS,
            &MULTIPART_THRESHOLD,
            &MULTIPART_PART_SIZE,
            &TRANSFER_MEMORY,
            &BANDWIDTH_LIMIT,
        ],
    ),
    ("Deletions", &[&DELETE_POLICY, &DELETE_LIMIT_PERCENT, &DELETE_LIMIT_COUNT, &S3_LEASE]),
    (
        "Endpoints",
        &[&LISTEN_ADDRESS, &ADMIN_ADDRESS, &STATUS_FILE_NAMES, &STATUS_FILE, &TERMINATION_MESSAGE],
    ),
    ("The process", &[&SHUTDOWN_TIMEOUT, &LOG_FORMAT, &LOG_LEVEL]),
];

/// Keys of the original service's later builds, and what to do about each.
pub(super) const REPLACED: &[(&str, &str)] = &[
    ("max_retry_attempts", "remove it: nothing is ever given up, so there is no maximum"),
    ("invalidation_interval_seconds", "cloudfront_batch_seconds replaces it"),
    ("wildcard_threshold", "cloudfront_wildcard_threshold replaces it"),
];

/// Every key this version knows, in order.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|(_, keys)| keys.iter().copied())
}

/// The key of exactly this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

#[cfg(test)]
mod tests;
