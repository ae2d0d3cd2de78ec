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
const SCAN: &[f64] = &[0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0];

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
const HINT_RESULT: Label = Label { name: "result", values: &["taken", "refused", "dropped"] };
const RELAY_STATE: Label = Label { name: "state", values: &["fresh", "silent"] };
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
        "Pending changes: files to upload, copy or delete, including skipped files.";
    PENDING_BYTES: "pending_bytes", InstrumentKind::Gauge, "By", [],
        "Bytes of the files that are pending for upload.";
    OLDEST_PENDING: "oldest_pending_age_seconds", InstrumentKind::Gauge, "s", [],
        "Age of the oldest pending change, excluding skipped files; 0 if there is none.";
    SKIPPED_FILES: "skipped_files", InstrumentKind::Gauge, "{file}", [REASON],
        "Files that are skipped until they change or the next scan, by reason.";
    COVERAGE_GAPS: "coverage_gaps", InstrumentKind::Gauge, "1", [GAP],
        "Paths, directories, files or changes that are known not to be in S3 as they are on disk, by reason.";
    DELETES_HELD: "deletes_held", InstrumentKind::Gauge, "{file}", [],
        "Deletes on hold, because they exceed the limits, until they are approved.";
    DELETES_DELAYED: "deletes_delayed", InstrumentKind::Gauge, "{file}", [],
        "Deletes that are not due yet.";
    OTHER_WRITER: "other_writer", InstrumentKind::Gauge, "1", [],
        "1 while nothing is deleted because another daemon uses the same prefix, or may use it; else 0.";
    MIRRORED_FILES: "mirrored_files", InstrumentKind::Gauge, "{file}", [],
        "Files with an object record: they are in S3.";
    OPERATIONS: "operations_total", InstrumentKind::Counter, "{operation}", [OPERATION, OPERATION_RESULT],
        "Sync attempts by operation and result.";
    UPLOAD_BYTES: "upload_bytes_total", InstrumentKind::Counter, "By", [],
        "Bytes of completed uploads.";
    UPLOAD_DURATION: "upload_duration_seconds", InstrumentKind::Histogram(UPLOAD), "s", [],
        "Duration of completed uploads, from the first read of the file to the response.";
    SYNC_LAG: "lag_seconds", InstrumentKind::Histogram(LAG), "s", [LANE],
        "Time from the detection of a change until it is in S3, by lane.";
    LAST_SUCCESS: "last_success_timestamp_seconds", InstrumentKind::Gauge, "s", [],
        "Time of the last change that reached S3, in seconds since 1970; absent before the first.";
    S3_REQUESTS: "s3_requests_total", InstrumentKind::Counter, "{request}", [REQUEST, REQUEST_RESULT],
        "Requests to S3 by operation and result.";
    CONCURRENCY_LIMIT: "concurrency_limit", InstrumentKind::Gauge, "{request}", [],
        "Concurrency limit: it adapts to the store, up to max_concurrent_transfers.";
    CREDENTIALS_EXPIRY: "credentials_expiry_timestamp_seconds", InstrumentKind::Gauge, "s", [],
        "Expiry of the AWS credentials, in seconds since 1970; absent without credentials or expiry.";
    CREDENTIALS_RENEWED: "credentials_renewed_timestamp_seconds", InstrumentKind::Gauge, "s", [],
        "Time of the last renewal of the AWS credentials, in seconds since 1970; absent before the first.";
    CREDENTIALS_RENEWALS: "credentials_renewals_total", InstrumentKind::Counter, "{renewal}", [RENEWAL_RESULT],
        "Renewals of the AWS credentials by result.";
    CONFIG_RELOADS: "config_reloads_total", InstrumentKind::Counter, "{reload}", [RELOAD_RESULT],
        "Changes of the configuration file: applied, refused because they need a restart, or invalid.";
    CONFIG_CURRENT: "config_current", InstrumentKind::Gauge, "1", [],
        "1 while the daemon uses the present configuration file, 0 while a change of it is refused or invalid.";
    OUTAGE_STATE: "outage", InstrumentKind::Gauge, "1", [OUTAGE],
        "1 during an S3 outage of this class, else 0.";
    SOURCE_AVAILABLE: "source_available", InstrumentKind::Gauge, "1", [],
        "1 while the watched directory is available, else 0.";
    WATCH_MODE: "watch_mode", InstrumentKind::Gauge, "1", [MODE],
        "1 for the active watch mode, 0 for the other.";
    WATCHED_DIRECTORIES: "watched_directories", InstrumentKind::Gauge, "{directory}", [],
        "Directories with a watch.";
    UNWATCHED_DIRECTORIES: "unwatched_directories", InstrumentKind::Gauge, "{directory}", [],
        "Directories without a watch, or that cannot be read; scans find their changes.";
    WATCH_LIMIT: "watch_limit", InstrumentKind::Gauge, "{directory}", [],
        "The kernel's limit of watches per user: fs.inotify.max_user_watches.";
    WATCH_OVERFLOWS: "watch_overflows_total", InstrumentKind::Counter, "{overflow}", [],
        "Overflows of the kernel's event queue; a scan follows each.";
    POLL_OPERATIONS: "poll_operations_total", InstrumentKind::Counter, "{operation}", [POLL_KIND],
        "Operations of sweeps and scans on the file system, by kind; network file systems may bill each.";
    HINTS: "hints_total", InstrumentKind::Counter, "{hint}", [HINT_RESULT],
        "Hints of other nodes: taken, refused because they are none, and dropped because there were too many.";
    RELAYS: "relays", InstrumentKind::Gauge, "{relay}", [RELAY_STATE],
        "Relays of other nodes that have sent a request within a minute, and those that have not.";
    SCAN_DURATION: "scan_duration_seconds", InstrumentKind::Histogram(SCAN), "s", [],
        "Duration of full scans.";
    SCAN_DRIFT: "scan_drift_files", InstrumentKind::Gauge, "{file}", [DRIFT],
        "Differences that the last full scan found, by kind.";
    SHARD_INDEX: "shard_index", InstrumentKind::Gauge, "1", [],
        "Index of this shard, from 0.";
    SHARD_COUNT: "shard_count", InstrumentKind::Gauge, "1", [],
        "Number of shards in the configuration of this shard.";
    INVALIDATION_WAITING: "invalidation_waiting_paths", InstrumentKind::Gauge, "{path}", [],
        "Changed paths whose invalidation CloudFront has not accepted; absent without CloudFront.";
    INVALIDATION_PATHS: "invalidation_paths_total", InstrumentKind::Counter, "{path}", [INVALIDATION_RESULT],
        "Paths of CloudFront invalidations by result; AWS bills accepted paths.";
    STATE_BYTES: "state_bytes", InstrumentKind::Gauge, "By", [],
        "Size of the state on disk.";
    STATE_AVAILABLE: "state_volume_available_bytes", InstrumentKind::Gauge, "By", [],
        "Available bytes of the volume of state_dir.";
    STATE_CAPACITY: "state_volume_capacity_bytes", InstrumentKind::Gauge, "By", [],
        "Capacity of the volume of state_dir, in bytes.";
    BUILD_INFO: "build_info", InstrumentKind::Gauge, "1", [Label { name: "version", values: &[env!("CARGO_PKG_VERSION")] }],
        "Always 1; the label has the running version.";
}

/// Labels with values of the table.
pub(super) fn labels<const N: usize>(pairs: &[(&'static str, &'static str); N]) -> [KeyValue; N] {
    pairs.map(|(name, value)| KeyValue::new(name, value))
}
