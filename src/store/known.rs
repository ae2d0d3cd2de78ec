//! What the record is asked, and what it answers.

use super::{Counts, StoreError};
use crate::model::{Fingerprint, Mirrored, Pending, RelPath, UploadNote};

/// A path the record is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The path.
    pub path: RelPath,
    /// The file that is there, to find it under the name it had before.
    pub file: Option<Fingerprint>,
    /// Only about what may be in the bucket: not what is queued, nor what lies below, nor other names.
    pub bucket_only: bool,
}

impl Question {
    /// Asks what is recorded of a path.
    #[must_use]
    pub fn of(path: RelPath) -> Self {
        Self { path, file: None, bucket_only: false }
    }

    /// Asks what a try has to know.
    #[must_use]
    pub fn of_bucket(path: RelPath) -> Self {
        Self { path, file: None, bucket_only: true }
    }
}

/// What has become of changes that were handed in.
#[derive(Debug)]
pub struct Receipt {
    /// How much there is now.
    pub counts: Counts,
    /// What the record said to the questions right after them.
    pub known: Result<Vec<Known>, StoreError>,
}

/// What the record says of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What is in the bucket.
    pub mirrored: Option<Mirrored>,
    /// What is queued.
    pub pending: Option<Pending>,
    /// Whether there is anything recorded or queued below the path.
    pub below: bool,
    /// Another recorded path that is this very file: the one that is there and was not recorded
    /// under this path, or the one that was recorded and is not there.
    pub twin: Option<RelPath>,
    /// Size of an object that was there when the record was new.
    pub listed: Option<u64>,
    /// A multipart upload for the path that was noted and not ended.
    pub upload: Option<UploadNote>,
}
