//! The table of all metrics: the instruments are made from it, and so is `docs/METRICS.md`.
//!
//! No label takes a value that somebody outside could make up, so that the number of series is fixed.

/// One metric.
#[derive(Debug, PartialEq)]
pub struct Metric {
    /// As Prometheus and OTLP name it, the same in both.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What is counted or measured, as OTLP writes it.
    pub unit: &'static str,
    /// What tells its series apart.
    pub labels: &'static [Label],
    /// What it means, in a sentence.
    pub help: &'static str,
}

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only goes up, and starts at nothing with the process.
    Counter,
    /// Is what it is now.
    Gauge,
    /// A distribution over these upper bounds.
    Histogram(&'static [f64]),
}

/// A label and what it can be.
#[derive(Debug, PartialEq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: &'static [&'static str],
}

/// From a small file in the same building to a day of outage.
const LAG: &[f64] =
    &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0];
/// From a request to a file of terabytes.
const UPLOAD: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];
/// From one directory to a tree of many millions of files.
const RECONCILE: &[f64] =
    &[0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0];

/// Kinds of work, and how it can end. An upload turns out to be a copy when it has worked.
const OPERATION: Label = Label { name: "operation", values: &["upload", "copy", "delete"] };
const OPERATION_RESULT: Label = Label {
    name: "result",
    values: &[
        "success",
        "unneeded",
        "changed",
        "unavailable",
        "throttled",
        "refused",
        "object",
        "file",
    ],
};
const REQUEST: Label = Label {
    name: "operation",
    values: &[
        "PutObject",
        "GetObject",
        "HeadObject",
        "DeleteObject",
        "DeleteObjects",
        "CopyObject",
        "ListObjectsV2",
        "CreateMultipartUpload",
        "UploadPart",
        "UploadPartCopy",
        "CompleteMultipartUpload",
        "AbortMultipartUpload",
        "ListMultipartUploads",
    ],
};
const REQUEST_RESULT: Label =
    Label { name: "result", values: &["success", "unavailable", "throttled", "refused", "object"] };
const REASON: Label = Label { name: "reason", values: &["name", "permission", "source", "other"] };
const MODE: Label = Label { name: "mode", values: &["events", "poll"] };
const OUTAGE: Label = Label { name: "class", values: &["unavailable", "throttled", "refused"] };
const DRIFT: Label = Label { name: "kind", values: &["new", "changed", "gone", "unreadable"] };

const INVALIDATION_RESULT: Label =
    Label { name: "result", values: &["accepted", "completed", "failed"] };

const RELOAD_RESULT: Label = Label { name: "result", values: &["applied", "refused", "invalid"] };
const RENEWAL_RESULT: Label = Label { name: "result", values: &["success", "failure"] };

macro_rules! table {
    ($($id:ident: $name:literal, $kind:expr, $unit:literal, [$($label:expr),*], $help:literal;)*) => {
        $(pub(super) const $id: Metric = Metric {
            name: concat!("file_sync_", $name),
            kind: $kind,
            unit: $unit,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// Every metric there is.
        pub const TABLE: &[Metric] = &[$($id),*];
    };
}

table! {
    PENDING_FILES: "pending_files", Kind::Gauge, "{file}", [],
        "Files that wait to be uploaded, copied or deleted, the parked ones included.";
    PENDING_BYTES: "pending_bytes", Kind::Gauge, "By", [],
        "Bytes of the files that wait to be uploaded.";
    OLDEST_PENDING: "oldest_pending_age_seconds", Kind::Gauge, "s", [],
        "How long the longest waiting change waits that is not parked; 0 if none waits.";
    PARKED_FILES: "parked_files", Kind::Gauge, "{file}", [REASON],
        "Files that wait with which nothing is done until they change or the next rescan.";
    DELETES_HELD: "deletes_held", Kind::Gauge, "{file}", [],
        "Deletes that wait for a person because they are more than the limits allow.";
    OTHER_WRITER: "other_writer", Kind::Gauge, "1", [],
        "1 while nothing is deleted because another daemon works below the same prefix, or nobody can tell; else 0.";
    MIRRORED_FILES: "mirrored_files", Kind::Gauge, "{file}", [],
        "Files recorded as being in S3.";
    OPERATIONS: "operations_total", Kind::Counter, "{operation}", [OPERATION, OPERATION_RESULT],
        "Tries to bring a change into S3, by how they ended.";
    UPLOAD_BYTES: "upload_bytes_total", Kind::Counter, "By", [],
        "Bytes of files that were sent and confirmed.";
    UPLOAD_DURATION: "upload_duration_seconds", Kind::Histogram(UPLOAD), "s", [],
        "Time of an upload that worked, from the first read of the file to the confirmation.";
    SYNC_LAG: "sync_lag_seconds", Kind::Histogram(LAG), "s", [],
        "Time from the moment a change was seen until it was in S3.";
    LAST_SUCCESS: "last_success_timestamp_seconds", Kind::Gauge, "s", [],
        "When a change was last brought into S3, in seconds since 1970; missing before the first.";
    S3_REQUESTS: "s3_requests_total", Kind::Counter, "{request}", [REQUEST, REQUEST_RESULT],
        "Requests to S3, by how they ended.";
    CREDENTIALS_EXPIRY: "credentials_expiry_timestamp_seconds", Kind::Gauge, "s", [],
        "When the credentials for AWS end, in seconds since 1970; missing while there are none, or no end.";
    CREDENTIALS_RENEWED: "credentials_renewed_timestamp_seconds", Kind::Gauge, "s", [],
        "When the credentials for AWS were last renewed, in seconds since 1970; missing before the first time.";
    CREDENTIALS_RENEWALS: "credentials_renewals_total", Kind::Counter, "{renewal}", [RENEWAL_RESULT],
        "Tries to renew the credentials for AWS, by how they ended.";
    CONFIG_RELOADS: "config_reloads_total", Kind::Counter, "{reload}", [RELOAD_RESULT],
        "Changes of the configuration file while running: taken up, refused because they need a restart, invalid.";
    CONFIG_CURRENT: "config_current", Kind::Gauge, "1", [],
        "1 while the daemon works by what the configuration file says, 0 while that was refused or is invalid.";
    OUTAGE_STATE: "outage", Kind::Gauge, "1", [OUTAGE],
        "1 while S3 takes nothing because of this, else 0.";
    SOURCE_AVAILABLE: "source_available", Kind::Gauge, "1", [],
        "1 while the watched directory is there and can be used, else 0.";
    WATCH_MODE: "watch_mode", Kind::Gauge, "1", [MODE],
        "1 for the way in which changes are seen, 0 for the other.";
    WATCHED_DIRECTORIES: "watched_directories", Kind::Gauge, "{directory}", [],
        "Directories whose changes are told by the kernel.";
    UNWATCHED_DIRECTORIES: "unwatched_directories", Kind::Gauge, "{directory}", [],
        "Directories that have no watch or cannot be read; their changes are found by comparing.";
    WATCH_LIMIT: "watch_limit", Kind::Gauge, "{directory}", [],
        "Watches that the kernel allows this user, fs.inotify.max_user_watches.";
    WATCH_OVERFLOWS: "watch_overflows_total", Kind::Counter, "{overflow}", [],
        "Overflows of the kernel's queue of events; each is followed by a comparison.";
    RECONCILE_DURATION: "reconcile_duration_seconds", Kind::Histogram(RECONCILE), "s", [],
        "Time of a comparison of the whole directory with the record.";
    RECONCILE_DRIFT: "reconcile_drift_files", Kind::Gauge, "{file}", [DRIFT],
        "Files that the last comparison of the whole directory found to differ from the record.";
    SHARD_INDEX: "shard_index", Kind::Gauge, "1", [],
        "Which shard of the directory this is, counted from 0.";
    SHARD_COUNT: "shard_count", Kind::Gauge, "1", [],
        "How many shards of the directory there are, as this one was told.";
    INVALIDATION_WAITING: "invalidation_waiting_paths", Kind::Gauge, "{path}", [],
        "Changed paths that CloudFront has not taken yet; missing where it is not told.";
    INVALIDATION_PATHS: "invalidation_paths_total", Kind::Counter, "{path}", [INVALIDATION_RESULT],
        "Paths of requests to CloudFront, by what became of them; each accepted one is paid.";
    STATE_BYTES: "state_bytes", Kind::Gauge, "By", [],
        "Bytes of the record and the queue on disk.";
    STATE_AVAILABLE: "state_volume_available_bytes", Kind::Gauge, "By", [],
        "Bytes that are left on the volume of state_dir.";
    STATE_CAPACITY: "state_volume_capacity_bytes", Kind::Gauge, "By", [],
        "Bytes that the volume of state_dir has in all.";
    BUILD_INFO: "build_info", Kind::Gauge, "1", [Label { name: "version", values: &[env!("CARGO_PKG_VERSION")] }],
        "Always 1; says which version runs.";
}
