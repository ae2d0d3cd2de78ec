//! What the mirror needs of an object store, and how its errors are told apart.
//!
//! One of the two traits of the crate. A wrapper of it (for faults, for limits) lists every method:
//! none has a default.

use crate::model::{Failure, ObjectKey, StoredPart, UnixMillis, Version};
use crate::rules::Head;
use bytes::Bytes;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

/// An object to be put, without its bytes.
#[derive(Debug, Clone)]
pub struct ObjectHead {
    /// Its name.
    pub key: ObjectKey,
    /// Of the file; travels as metadata.
    pub version: Version,
    /// Of the file, as in `st_mode`; travels as metadata.
    pub mode: u32,
    /// What the rules say, and what is guessed.
    pub head: Head,
    /// Tells the watched directory from any other one; travels as metadata.
    pub source: Arc<str>,
    /// Whether a copy takes these tags instead of those its source has. Needs a permission of its
    /// own, so only where tags are in play.
    pub replaces_tags: bool,
}

impl ObjectHead {
    /// Tells whether an upload was begun with just this.
    #[must_use]
    pub fn digest(&self) -> u64 {
        crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, format!("{self:?}").as_bytes())
    }
}

/// What the store says of an object it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// Its entity tag.
    pub etag: Option<String>,
    /// Its size, and the file time we gave it, if we did.
    pub version: Option<Version>,
    /// The checksum of the whole object, if the store keeps it.
    pub crc64nvme: Option<u64>,
    /// Whether it carries the mark of this record: no other one, and nobody else, made it.
    pub ours: bool,
    /// The mark of the directory it was made from, whoever made it, as far as that was told.
    pub source: Option<String>,
}

/// An object to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condemned {
    /// Its name.
    pub key: ObjectKey,
    /// Its entity tag, if it is known.
    pub etag: Option<String>,
}

/// How a delete went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// Nothing is there any more.
    Gone,
    /// Something else is there than was meant, and was left alone.
    Replaced,
}

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its name; not one of ours, maybe.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Its entity tag.
    pub etag: Option<String>,
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The objects.
    pub objects: Vec<ListedObject>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

/// An object store, bound to one bucket. Each call makes one request and no retry.
pub trait ObjectStore: Send + Sync + 'static {
    /// Makes or replaces an object of `body`, whose checksum is `crc64nvme`.
    fn put(
        &self,
        object: &ObjectHead,
        body: Bytes,
        crc64nvme: u64,
    ) -> impl Future<Output = Result<StoredObject, Failure>> + Send;

    /// What there is under `key`; `None` if nothing.
    fn head(
        &self,
        key: &ObjectKey,
    ) -> impl Future<Output = Result<Option<StoredObject>, Failure>> + Send;

    /// Deletes these, each if it still has its entity tag, where the store can tell. Nothing being
    /// there is success. Answers for each, in their order; at most
    /// [`DELETE_BATCH_MAX`](crate::queue::DELETE_BATCH_MAX) at once.
    fn delete(
        &self,
        objects: &[Condemned],
    ) -> impl Future<Output = Vec<Result<Deleted, Failure>>> + Send;

    /// A page of the objects whose keys begin with `prefix`, from where the page before ended.
    fn list(
        &self,
        prefix: &str,
        from: Option<String>,
    ) -> impl Future<Output = Result<Page, Failure>> + Send;

    /// Makes `object` of the object `from`, if that one still has this entity tag; `None` if not.
    fn copy(
        &self,
        from: &ObjectKey,
        etag: &str,
        object: &ObjectHead,
    ) -> impl Future<Output = Result<Option<StoredObject>, Failure>> + Send;

    /// Begins a multipart upload and answers its id.
    fn begin_upload(
        &self,
        object: &ObjectHead,
    ) -> impl Future<Output = Result<String, Failure>> + Send;

    /// Sends one part.
    fn put_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: i32,
        body: Bytes,
        crc64nvme: u64,
    ) -> impl Future<Output = Result<StoredPart, Failure>> + Send;

    /// Makes a part of `range` of the object `from`, if that one still has this entity tag; `None` if
    /// not.
    fn copy_part(
        &self,
        from: (&ObjectKey, &str),
        range: Range<u64>,
        key: &ObjectKey,
        upload_id: &str,
        number: i32,
    ) -> impl Future<Output = Result<Option<StoredPart>, Failure>> + Send;

    /// Makes the object of its parts, if they are `size` bytes with this checksum.
    fn complete_upload(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        parts: &[StoredPart],
        size: u64,
        crc64nvme: u64,
    ) -> impl Future<Output = Result<StoredObject, Failure>> + Send;

    /// Throws a multipart upload away; its being gone is success.
    fn abort_upload(
        &self,
        key: &ObjectKey,
        upload_id: &str,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The unfinished multipart uploads of exactly this key: ids, and when they were begun.
    fn uploads(
        &self,
        key: &ObjectKey,
    ) -> impl Future<Output = Result<Vec<(String, UnixMillis)>, Failure>> + Send;
}
