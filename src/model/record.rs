//! What the daemon remembers: what it has put into the bucket, and what it still wants to do.

use super::{Fingerprint, RelPath};
use std::time::Duration;

/// Wall-clock time, milliseconds since the epoch: what survives a restart is dated with it.
pub type UnixMillis = u64;

/// What we put into the bucket for a path. Only what stands here is ever deleted there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrored {
    /// The file as it was when it was read.
    pub fingerprint: Fingerprint,
    /// CRC-64/NVME of the bytes sent.
    pub crc64nvme: u64,
    /// The object's entity tag, as the store gave it.
    pub etag: Option<String>,
    /// The file was last written so shortly before it was read that its content must be compared
    /// once more.
    pub racy: bool,
    /// Which watched directory the file was seen in: see [`Epoch`].
    pub epoch: Epoch,
    /// Digest of what the object carries beside its bytes; `None` where nobody knows.
    pub head: Option<u64>,
}

#[cfg(test)]
impl Mirrored {
    /// Of a file that tests make up.
    pub(crate) fn of_file(fingerprint: Fingerprint, epoch: Epoch) -> Self {
        Self { fingerprint, crc64nvme: 0, etag: None, racy: false, epoch, head: None }
    }
}

/// Counts the watched directories this record has seen. When the directory turns out to be another
/// one (a new volume, a restored copy), the count goes up, and what was recorded before then can
/// still save an upload, but no longer cause a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

/// What is to be done in the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Send the file.
    Put,
    /// Delete the object.
    Delete,
}

impl Operation {
    /// The name in the record, in logs and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
        }
    }
}

/// One wanted operation: the row of a path in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The path.
    pub path: RelPath,
    /// What is wanted.
    pub operation: Operation,
    /// Which state of the file is wanted; all zero for a delete.
    pub version: Version,
    /// When the change was first seen.
    pub since: UnixMillis,
    /// Tries begun.
    pub attempts: u32,
    /// When to try next.
    pub next_try: UnixMillis,
    /// Why the last try failed.
    pub error: Option<String>,
    /// Why it waits for something else than time: for the file, for an operator.
    pub parked: Option<String>,
    /// A recorded path whose object has these bytes already: the file had this name before.
    pub copy_from: Option<RelPath>,
    /// For a delete: the file is recorded under another name now, so nothing is lost with this one.
    pub moved: bool,
    /// A request with this was begun whose answer is not known: the object may be there already, or,
    /// for a delete, be gone already. Either way the record cannot be relied on.
    pub sent: Option<Version>,
}

impl Pending {
    /// A wish that was never tried.
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

/// A state of a file, and of the object made from it: the time travels as metadata. Enough to
/// recognise an object as ours whose request was never answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version {
    /// Bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since the epoch.
    pub mtime_ns: i64,
}

impl Version {
    /// The state a look found.
    #[must_use]
    pub fn of(fingerprint: &Fingerprint) -> Self {
        Self { size: fingerprint.size, mtime_ns: fingerprint.mtime_ns }
    }
}

/// A multipart upload that was begun, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadNote {
    /// The path it is for.
    pub path: RelPath,
    /// As the store named it; `None` until its answer is on disk.
    pub upload_id: Option<String>,
    /// When.
    pub begun: UnixMillis,
    /// What is sent with it.
    pub plan: UploadPlan,
    /// The parts the store has confirmed.
    pub parts: Vec<StoredPart>,
}

/// What a multipart upload sends. Only an upload with the very same plan can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadPlan {
    /// The state of the file.
    pub version: Version,
    /// Bytes in each part but the last.
    pub part_size: u64,
    /// A digest of everything but the content, which is fixed when an upload begins.
    pub head: u64,
}

/// A part of a multipart upload that the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    /// 1 to 10,000.
    pub number: i32,
    /// Its entity tag.
    pub etag: String,
    /// Its checksum, if it is known.
    pub crc64nvme: Option<u64>,
}

/// Milliseconds of a duration, as the record keeps them.
#[must_use]
pub fn millis(duration: Duration) -> UnixMillis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
