//! What the state contains: the object records, and the queue entries.

use super::{Fingerprint, RelPath};
use std::time::Duration;

/// Wall-clock time in milliseconds since the epoch, for values that survive a restart.
pub type UnixMillis = u64;

/// The object record of a path. Only recorded objects are ever deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRecord {
    /// The file when it was read.
    pub fingerprint: Fingerprint,
    /// CRC-64/NVME of the uploaded bytes.
    pub crc64nvme: u64,
    /// The entity tag of the object, from the store.
    pub etag: Option<String>,
    /// The file was written so shortly before it was read that its content must be compared again.
    pub racy: bool,
    /// The watched directory of the file: see [`RootGeneration`].
    pub epoch: RootGeneration,
    /// The digest of the object attributes; `None` if unknown.
    pub head: Option<u64>,
}

#[cfg(test)]
impl ObjectRecord {
    /// A record for tests.
    pub(crate) fn from_file(fingerprint: Fingerprint, epoch: RootGeneration) -> Self {
        Self { fingerprint, crc64nvme: 0, etag: None, racy: false, epoch, head: None }
    }
}

/// Counts the watched directories of this state. If the directory is another one (a new volume, a
/// restored copy), the count increases. Older records can then save an upload, but no longer cause
/// a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RootGeneration(pub u64);

/// An operation in the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Upload the file.
    Put,
    /// Delete the object.
    Delete,
}

impl Operation {
    /// The name in the state, in logs and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
        }
    }
}

/// A queue entry: the pending operation of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRow {
    /// The path.
    pub path: RelPath,
    /// The operation.
    pub operation: Operation,
    /// The version of the file; all zero for a delete.
    pub version: Version,
    /// The time when the change was detected.
    pub since: UnixMillis,
    /// The number of started attempts.
    pub attempts: u32,
    /// The time of the next attempt.
    pub next_try: UnixMillis,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// Why it does not wait for a time, but for the file or for an operator.
    pub parked: Option<String>,
    /// A recorded path whose object has these bytes already: the previous name of the file.
    pub copy_from: Option<RelPath>,
    /// For a delete: the file is recorded under another name, so that nothing is lost.
    pub moved: bool,
    /// A request with this version was started and not answered: the object may exist already, or,
    /// for a delete, be gone. In both cases the record is unreliable.
    pub sent: Option<Version>,
}

/// The reason of a queue entry whose delete is delayed until its `next_try`. It neither waits nor is skipped.
pub const DELETE_DELAYED: &str = "delete-delayed";

impl QueueRow {
    /// Whether it is a delete that is not due yet.
    #[must_use]
    pub fn is_delayed(&self) -> bool {
        self.parked.as_deref() == Some(DELETE_DELAYED)
    }

    /// A new entry without attempts.
    #[must_use]
    pub fn new(path: RelPath, operation: Operation, version: Version, since: UnixMillis) -> Self {
        Self {
            path,
            operation,
            version,
            since,
            attempts: 0,
            next_try: 0,
            error: None,
            parked: None,
            copy_from: None,
            moved: false,
            sent: None,
        }
    }
}

/// The version of a file, and of its object: the time is stored as metadata. It is sufficient to
/// recognise an object of ours whose request was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version {
    /// Bytes.
    pub size: u64,
    /// Time of the last content change, in nanoseconds since the epoch.
    pub mtime_ns: i64,
}

impl Version {
    /// The version that an inspection found.
    #[must_use]
    pub fn from_fingerprint(fingerprint: &Fingerprint) -> Self {
        Self { size: fingerprint.size, mtime_ns: fingerprint.mtime_ns }
    }
}

/// A multipart upload that was started, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRecord {
    /// The path of the file.
    pub path: RelPath,
    /// The id from the store; `None` until it is on disk.
    pub upload_id: Option<String>,
    /// The time of the start.
    pub begun: UnixMillis,
    /// What it uploads.
    pub plan: UploadPlan,
    /// The parts that the store has confirmed.
    pub parts: Vec<StoredPart>,
}

/// What a multipart upload sends. Only an upload with an equal plan can be resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadPlan {
    /// The version of the file.
    pub version: Version,
    /// The size of all parts except the last.
    pub part_size: u64,
    /// A digest of everything except the content, which is fixed when an upload starts.
    pub head: u64,
}

/// A part that the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    /// 1 to 10,000.
    pub number: i32,
    /// Its entity tag.
    pub etag: String,
    /// Its checksum, if it is known.
    pub crc64nvme: Option<u64>,
}

/// Converts a duration to the milliseconds of the state.
#[must_use]
pub fn millis(duration: Duration) -> UnixMillis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
