//! The table of all metrics: the instruments and `docs/METRICS.md` are created from it.
//!
//! No label has a value that an external party can choose, so that the number of series is fixed.

use opentelemetry::KeyValue;

/// One metric.
#[derive(Debug, PartialEq)]
pub struct Metric {
    /// The name in Prometheus and OTLP.
    pub name: &'static str,
    /// The kind of the instrument.
    pub kind: InstrumentKind,
    /// The unit, in the notation of OTLP.
    pub unit: &'static str,
    /// The labels of its series.
    pub labels: &'static [Label],
    /// The description, one sentence.
    pub help: &'static str,
}

/// The kind of an instrument.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum InstrumentKind {
    /// Only increases, and starts at zero with the process.
    Counter,
    /// The present value.
    Gauge,
    /// A distribution over these upper bounds.
    Histogram(&'static [f64]),
}

/// A label and its values.
#[derive(Debug, PartialEq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: &'static [&'static str],
}

/// From a small file on the same network to a day of outage.
const LAG: &[f64] =
    &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0];
/// From a request to a file of terabytes.
const UPLOAD: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];
/// From one directory to a tree of many millions of files.
const RECONCILE: &[f64] =
    &[0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0];

/// The operations. An upload becomes a copy when the copy has succeeded.
const OPERATION: Label = Label { name: "operation", values: &["upload", "copy", "delete"] };
const OPERATION_RESULT: Label = Label {
    name: "result",
    values: &[
        "success",
        "unneeded",
        "yielded",
        "changed",
        "unavailable",
        "throttled",
        "refused",
        "object",
        "file",
        "read",
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
/// Whether a change was detected when it happened, was attempted before, or belongs to the backlog.
const LANE: Label = Label { name: "lane", values: &["fresh", "retry", "backlog"] };
const REASON: Label = Label { name: "reason", values: &["name", "permission", "source", "other"] };
const GAP: Label = Label {
    name: "reason",
    values: &["unreadable", "unlisted", "unwatched", "restless", "held", "over-limit", "skipped"],
};
const MODE: Label = Label { name: "mode", values: &["events", "poll"] };
/// The operations of scans and sweeps on the file system.
const POLL_KIND: Label = Label { name: "kind", values: &["directory", "list", "file"] };
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

        /// All metrics.
        pub const TABLE: &[Metric] = &[$($id),*];
    };
}

table! {
    PENDING_FILES: "pending_files", InstrumentKind::Gauge, "{file}", [],
        "Files that wait to be uploaded, copied or deleted, the parked ones included.";
    PENDING_BYTES: "pending_bytes", InstrumentKind::Gauge, "By", [],
        "Bytes of the files that wait to be uploaded.";
    OLDEST_PENDING: "oldest_pending_age_seconds", InstrumentKind::Gauge, "s", [],
        "How long the longest waiting change waits that is not parked; 0 if none waits.";
    PARKED_FILES: "parked_files", InstrumentKind::Gauge, "{file}", [REASON],
        "Files that wait with which nothing is done until they change or the next rescan.";
    COVERAGE_GAPS: "coverage_gaps", InstrumentKind::Gauge, "1", [GAP],
        "What is known not to be in S3 as it is on disk, by reason: paths, directories, files or changes.";
    DELETES_HELD: "deletes_held", InstrumentKind::Gauge, "{file}", [],
        "Deletes that wait for a person because they are more than the limits allow.";
    DELETES_DELAYED: "deletes_delayed", InstrumentKind::Gauge, "{file}", [],
        "Deletes that are not due yet.";
    OTHER_WRITER: "other_writer", InstrumentKind::Gauge, "1", [],
        "1 while nothing is deleted because another daemon works below the same prefix, or may do so; else 0.";
    MIRRORED_FILES: "mirrored_files", InstrumentKind::Gauge, "{file}", [],
        "Files recorded as being in S3.";
    OPERATIONS: "operations_total", InstrumentKind::Counter, "{operation}", [OPERATION, OPERATION_RESULT],
        "Tries to bring a change into S3, by how they ended.";
    UPLOAD_BYTES: "upload_bytes_total", InstrumentKind::Counter, "By", [],
        "Bytes of files that were sent and confirmed.";
    UPLOAD_DURATION: "upload_duration_seconds", InstrumentKind::Histogram(UPLOAD), "s", [],
        "Time of an upload that worked, from the first read of the file to the confirmation.";
    SYNC_LAG: "lag_seconds", InstrumentKind::Histogram(LAG), "s", [LANE],
        "Time from the moment a change was seen until it was in S3, by lane.";
    LAST_SUCCESS: "last_success_timestamp_seconds", InstrumentKind::Gauge, "s", [],
        "When a change was last brought into S3, in seconds since 1970; missing before the first.";
    S3_REQUESTS: "s3_requests_total", InstrumentKind::Counter, "{request}", [REQUEST, REQUEST_RESULT],
        "Requests to S3, by how they ended.";
    CONCURRENCY_LIMIT: "concurrency_limit", InstrumentKind::Gauge, "{request}", [],
        "Requests that may be under way at once: it follows the store, up to max_concurrent_transfers.";
    CREDENTIALS_EXPIRY: "credentials_expiry_timestamp_seconds", InstrumentKind::Gauge, "s", [],
        "When the credentials for AWS end, in seconds since 1970; missing while there are none, or no end.";
    CREDENTIALS_RENEWED: "credentials_renewed_timestamp_seconds", InstrumentKind::Gauge, "s", [],
        "When the credentials for AWS were last renewed, in seconds since 1970; missing before the first time.";
    CREDENTIALS_RENEWALS: "credentials_renewals_total", InstrumentKind::Counter, "{renewal}", [RENEWAL_RESULT],
        "Tries to renew the credentials for AWS, by how they ended.";
    CONFIG_RELOADS: "config_reloads_total", InstrumentKind::Counter, "{reload}", [RELOAD_RESULT],
        "Changes of the configuration file while running: taken up, refused because they need a restart, invalid.";
    CONFIG_CURRENT: "config_current", InstrumentKind::Gauge, "1", [],
        "1 while the daemon works by what the configuration file says, 0 while that was refused or is invalid.";
    OUTAGE_STATE: "outage", InstrumentKind::Gauge, "1", [OUTAGE],
        "1 during an S3 outage of this class, else 0.";
    SOURCE_AVAILABLE: "source_available", InstrumentKind::Gauge, "1", [],
        "1 while the watched directory is there and can be used, else 0.";
    WATCH_MODE: "watch_mode", InstrumentKind::Gauge, "1", [MODE],
        "1 for the way in which changes are seen, 0 for the other.";
    WATCHED_DIRECTORIES: "watched_directories", InstrumentKind::Gauge, "{directory}", [],
        "Directories that are watched by events.";
    UNWATCHED_DIRECTORIES: "unwatched_directories", InstrumentKind::Gauge, "{directory}", [],
        "Directories that have no watch or cannot be read; their changes are found by comparing.";
    WATCH_LIMIT: "watch_limit", InstrumentKind::Gauge, "{directory}", [],
        "Watches that the kernel allows this user, fs.inotify.max_user_watches.";
    WATCH_OVERFLOWS: "watch_overflows_total", InstrumentKind::Counter, "{overflow}", [],
        "Overflows of the kernel's queue of events; each is followed by a comparison.";
    POLL_OPERATIONS: "poll_operations_total", InstrumentKind::Counter, "{operation}", [POLL_KIND],
        "Operations of sweeps and scans on the file system, by kind; network file systems may bill each.";
    RECONCILE_DURATION: "reconcile_duration_seconds", InstrumentKind::Histogram(RECONCILE), "s", [],
        "Time of a comparison of the whole directory with the record.";
    RECONCILE_DRIFT: "reconcile_drift_files", InstrumentKind::Gauge, "{file}", [DRIFT],
        "Files that the last comparison of the whole directory found to differ from the record.";
    SHARD_INDEX: "shard_index", InstrumentKind::Gauge, "1", [],
        "Which shard of the directory this is, counted from 0.";
    SHARD_COUNT: "shard_count", InstrumentKind::Gauge, "1", [],
        "Number of shards in the configuration of this one.";
    INVALIDATION_WAITING: "invalidation_waiting_paths", InstrumentKind::Gauge, "{path}", [],
        "Changed paths that CloudFront has not accepted yet; missing without CloudFront.";
    INVALIDATION_PATHS: "invalidation_paths_total", InstrumentKind::Counter, "{path}", [INVALIDATION_RESULT],
        "Paths of requests to CloudFront, by what became of them; each accepted one is paid.";
    STATE_BYTES: "state_bytes", InstrumentKind::Gauge, "By", [],
        "Bytes of the record and the queue on disk.";
    STATE_AVAILABLE: "state_volume_available_bytes", InstrumentKind::Gauge, "By", [],
        "Bytes that are left on the volume of state_dir.";
    STATE_CAPACITY: "state_volume_capacity_bytes", InstrumentKind::Gauge, "By", [],
        "Bytes that the volume of state_dir has in all.";
    BUILD_INFO: "build_info", InstrumentKind::Gauge, "1", [Label { name: "version", values: &[env!("CARGO_PKG_VERSION")] }],
        "Always 1; says which version runs.";
}

/// Labels with values of the table.
pub(super) fn labels<const N: usize>(pairs: &[(&'static str, &'static str); N]) -> [KeyValue; N] {
    pairs.map(|(name, value)| KeyValue::new(name, value))
}
