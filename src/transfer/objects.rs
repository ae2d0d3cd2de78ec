//! What travels between the mirror and an object store: objects to write and to delete, what the store has,
//! and pages of its listings. The store itself is the trait [`ObjectStore`](super::ObjectStore).

use crate::model::{ObjectKey, Version};
use crate::rules::ObjectAttributes;
use crc_fast::{CrcAlgorithm, Digest};
use std::sync::Arc;
use std::time::Duration;

/// An object to be put, without its bytes.
#[derive(Debug, Clone)]
pub struct ObjectMetadata {
    /// Its name.
    pub key: ObjectKey,
    /// Of the file; travels as metadata.
    pub version: Version,
    /// Of the file, as in `st_mode`; travels as metadata.
    pub mode: u32,
    /// Of the file, if it travels as metadata.
    pub file_owner: Option<FileOwner>,
    /// What the rules say, and what is guessed.
    pub head: ObjectAttributes,
    /// Distinguishes the watched directory from any other one; travels as metadata.
    pub source: Arc<str>,
    /// Whether a copy takes these tags instead of those its source has. Needs a permission of its
    /// own, so only where tags are in play.
    pub replaces_tags: bool,
}

/// User and group of a file, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileOwner {
    /// The user id.
    pub user: u32,
    /// The group id.
    pub group: u32,
}

impl ObjectMetadata {
    /// A digest of all fields. An upload resumes only if it was begun with the same digest, also by an
    /// earlier version of the program.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let Self { key, version, mode, file_owner, head, source, replaces_tags } = self;
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        for text in [key.as_str(), source] {
            digest.update(text.as_bytes());
            // Neither contains this byte, so that adjacent values cannot merge.
            digest.update(&[0]);
        }
        digest.update(&version.size.to_le_bytes());
        digest.update(&version.mtime_ns.to_le_bytes());
        digest.update(&mode.to_le_bytes());
        digest.update(&head.digest().to_le_bytes());
        digest.update(&[u8::from(*replaces_tags)]);
        if let Some(owner) = file_owner {
            digest.update(&owner.user.to_le_bytes());
            digest.update(&owner.group.to_le_bytes());
        }
        digest.finalize()
    }
}

/// What the store says of an object it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// Its entity tag.
    pub etag: Option<String>,
    /// Whether the tag may be made of MD5 sums of its bytes: not where a key of KMS or of the customer
    /// encrypts it.
    pub md5_etag: bool,
    /// Its size, and the file time in its metadata.
    pub version: Option<Version>,
    /// The checksum of the whole object, if the store keeps it.
    pub crc64nvme: Option<u64>,
    /// Whether it carries the mark of this state: no other state or program made it.
    pub ours: bool,
    /// The mark of the directory it was made from, by any daemon, as far as the store returns it.
    pub source: Option<String>,
    /// The owner of the file in its metadata, as far as the store returns it.
    pub file_owner: Option<FileOwner>,
    /// How long it has been as it is, by the store's own clock, as far as the store returns it.
    pub age: Option<Duration>,
}

/// The result of a write that may have a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteResult {
    /// The object is stored.
    Stored(StoredObject),
    /// The condition does not hold, and nothing was written.
    Conflict,
}

/// An object to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest {
    /// Its name.
    pub key: ObjectKey,
    /// Its entity tag, if it is known.
    pub etag: Option<String>,
}

/// How a delete went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteResult {
    /// Nothing is there any more.
    Gone,
    /// Something else is there than was meant, and was left alone.
    Replaced,
}

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListedObject {
    /// Its name; not one of ours, maybe.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Its entity tag.
    pub etag: Option<String>,
    /// When it was made, by the store's clock, nanoseconds since the epoch.
    pub modified_ns: Option<i64>,
    /// Its storage class, if it is not the usual one.
    pub storage_class: Option<String>,
    /// Its version, in a listing of versions.
    pub version_id: Option<String>,
    /// Whether another version, or a delete marker, has taken its place.
    pub is_superseded: bool,
}

/// A version or a delete marker of a listing of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    /// The object; of a delete marker without size and entity tag.
    pub object: ListedObject,
    /// Whether it is the present one.
    pub is_latest: bool,
    /// Whether the object was deleted.
    pub is_delete_marker: bool,
}

/// A part of a listing of versions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionPage {
    /// Versions and delete markers.
    pub versions: Vec<ListedVersion>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<VersionPosition>,
}

/// A position in a listing of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionPosition {
    /// The last key of the page before.
    pub key: String,
    /// The last version of it there.
    pub version_id: Option<String>,
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The objects.
    pub objects: Vec<ListedObject>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyPrefix, RelPath};
    use crate::rules::Rules;

    fn object() -> ObjectMetadata {
        let path = RelPath::new(b"a/b.txt").expect("a path");
        ObjectMetadata {
            key: KeyPrefix::new("p").expect("a prefix").key(&path).expect("a key"),
            version: Version { size: 5, mtime_ns: 7 },
            mode: 0o100_644,
            file_owner: None,
            head: Rules::default().head(&path),
            source: "volume".into(),
            replaces_tags: false,
        }
    }

    /// The digest of an upload that an earlier version of the program began: that upload resumes.
    #[test]
    fn an_upload_resumes_after_an_update_of_the_program() {
        assert_eq!(object().digest(), 0x677b_ce47_a23c_728d);
    }

    #[test]
    fn every_field_is_in_the_digest() {
        let mut digests = vec![object().digest()];
        let changes: [fn(&mut ObjectMetadata); 7] = [
            |object| object.version.size = 6,
            |object| object.version.mtime_ns = 8,
            |object| object.mode = 0o100_600,
            |object| object.source = "other".into(),
            |object| object.replaces_tags = true,
            |object| object.file_owner = Some(FileOwner { user: 1, group: 2 }),
            |object| object.file_owner = Some(FileOwner { user: 2, group: 1 }),
        ];
        for change in changes {
            let mut changed = object();
            change(&mut changed);
            digests.push(changed.digest());
        }
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), changes.len() + 1);
    }
}
