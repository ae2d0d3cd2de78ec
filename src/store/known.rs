//! Lookups in the state, and their results.

use super::{StateCounts, StoreError};
use crate::model::{Fingerprint, ObjectRecord, QueueRow, RelPath, UploadRecord};

/// A lookup of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateLookup {
    /// The path.
    pub path: RelPath,
    /// The existing file, to find it under its previous name.
    pub file: Option<Fingerprint>,
    /// Only look up what may be in the bucket: not the queue, nor paths below, nor other names.
    pub bucket_only: bool,
}

impl StateLookup {
    /// Looks up the record of a path.
    #[must_use]
    pub fn for_path(path: RelPath) -> Self {
        Self { path, file: None, bucket_only: false }
    }

    /// Looks up what an attempt needs.
    #[must_use]
    pub fn with_bucket(path: RelPath) -> Self {
        Self { path, file: None, bucket_only: true }
    }
}

/// The result of a commit.
#[derive(Debug)]
pub struct CommitReceipt {
    /// The sizes of the state now.
    pub counts: StateCounts,
    /// The results of the lookups right after the changes.
    pub known: Result<Vec<RecordedState>, StoreError>,
}

/// The result of a lookup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordedState {
    /// The object record.
    pub mirrored: Option<ObjectRecord>,
    /// The queue entry.
    pub pending: Option<QueueRow>,
    /// Whether anything is recorded or queued below the path.
    pub below: bool,
    /// Another recorded path of the same file: of the one that exists without a record under this
    /// path, or of the one that was recorded and is missing.
    pub other_path: Option<RelPath>,
    /// The size of an object in the initial listing.
    pub listed: Option<u64>,
    /// An unfinished multipart upload of the path.
    pub upload: Option<UploadRecord>,
}
