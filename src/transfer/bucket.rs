//! The store as attempts see it: nothing can change an object there without being noted.
//!
//! Whether the bucket may be other than before is a matter of the whole attempt. The request that fails
//! last says nothing about those before it: a copy may have been made whose confirmation was refused, or
//! be made although a later upload was. So each request that makes, replaces or deletes an object takes
//! the [`AttemptWrites`] of its attempt, there is no other way to make one, and the queue receives them.
//!
//! A write counts from the moment it is sent, and stops to count only if the store has said that it
//! refused it. Success is no reason to forget it: until the attempt has ended well, only this shows
//! that there is an object.

use super::pace::{CurrentLimit, PaceSettings, RateLimited};
use super::{
    DeleteRequest, DeleteResult, ObjectMetadata, ObjectStore, Page, StoredObject, UploadRef,
    WriteResult,
};
use crate::exclusivity::Condition;
use crate::model::{Failure, ObjectKey, StoredPart, UnixMillis, WriteEffect};
use bytes::Bytes;
use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// The store of a bucket.
#[derive(Debug)]
pub(super) struct BucketStore<S>(RateLimited<S>);

/// The writes of one attempt. They are sent one after another.
#[derive(Debug, Default)]
pub(super) struct AttemptWrites(AtomicBool);

impl AttemptWrites {
    /// Whether the object may be other than before.
    pub(super) fn written(&self) -> WriteEffect {
        if self.0.load(Ordering::Relaxed) { WriteEffect::Maybe } else { WriteEffect::No }
    }

    /// Sends a write; `is_done` decides by its answer whether anything was done.
    async fn send<T>(
        &self,
        request: impl Future<Output = Result<T, Failure>>,
        is_done: impl FnOnce(&T) -> bool,
    ) -> Result<T, Failure> {
        let before = self.0.swap(true, Ordering::Relaxed);
        // Where this is dropped, the result is unknown.
        let answer = request.await;
        let may_be_done = match &answer {
            Ok(answer) => is_done(answer),
            Err(failure) => failure.answer_lost,
        };
        if !may_be_done {
            self.0.store(before, Ordering::Relaxed);
        }
        answer
    }
}

fn is_stored(result: &WriteResult) -> bool {
    matches!(result, WriteResult::Stored(_))
}

/// What makes, replaces and deletes objects.
impl<S: ObjectStore> BucketStore<S> {
    /// See [`ObjectStore::put`].
    pub(super) async fn put(
        &self,
        writes: &AttemptWrites,
        object: &ObjectMetadata,
        body: Bytes,
        crc64nvme: u64,
        condition: Option<&Condition>,
    ) -> Result<WriteResult, Failure> {
        writes.send(self.0.put(object, body, crc64nvme, condition), is_stored).await
    }

    /// See [`ObjectStore::copy`].
    pub(super) async fn copy(
        &self,
        writes: &AttemptWrites,
        from: &ObjectKey,
        etag: &str,
        object: &ObjectMetadata,
        condition: Option<&Condition>,
    ) -> Result<Option<StoredObject>, Failure> {
        writes.send(self.0.copy(from, etag, object, condition), Option::is_some).await
    }

    /// See [`ObjectStore::complete_upload`].
    pub(super) async fn complete_upload(
        &self,
        writes: &AttemptWrites,
        upload: UploadRef<'_>,
        parts: &[StoredPart],
        size: u64,
        crc64nvme: u64,
        condition: Option<&Condition>,
    ) -> Result<WriteResult, Failure> {
        let request = self.0.complete_upload(upload, parts, size, crc64nvme, condition);
        writes.send(request, is_stored).await
    }

    /// See [`ObjectStore::delete`]. Each object is another attempt's.
    pub(super) async fn delete(
        &self,
        objects: &[(&AttemptWrites, DeleteRequest)],
    ) -> Vec<Result<DeleteResult, Failure>> {
        let condemned: Vec<_> = objects.iter().map(|(_, object)| object.clone()).collect();
        let before: Vec<_> =
            objects.iter().map(|(writes, _)| writes.0.swap(true, Ordering::Relaxed)).collect();
        let answers = self.0.delete(&condemned).await;
        // One without an answer stays noted.
        for ((answer, (writes, _)), before) in answers.iter().zip(objects).zip(before) {
            let may_be_done = match answer {
                Ok(deleted) => *deleted == DeleteResult::Gone,
                Err(failure) => failure.answer_lost,
            };
            if !may_be_done {
                writes.0.store(before, Ordering::Relaxed);
            }
        }
        answers
    }
}

/// What changes no object.
impl<S: ObjectStore> BucketStore<S> {
    pub(super) fn new(store: S, settings: PaceSettings) -> Self {
        Self(RateLimited::new(store, settings))
    }

    /// See [`RateLimited::current_limit`].
    pub(super) fn current_limit(&self) -> CurrentLimit {
        self.0.current_limit()
    }

    pub(super) async fn head(&self, key: &ObjectKey) -> Result<Option<StoredObject>, Failure> {
        self.0.head(key).await
    }

    pub(super) async fn list(&self, prefix: &str, from: Option<String>) -> Result<Page, Failure> {
        self.0.list(prefix, from).await
    }

    pub(super) async fn begin_upload(&self, object: &ObjectMetadata) -> Result<String, Failure> {
        self.0.begin_upload(object).await
    }

    pub(super) async fn put_part(
        &self,
        upload: UploadRef<'_>,
        number: i32,
        body: Bytes,
        crc64nvme: u64,
    ) -> Result<StoredPart, Failure> {
        self.0.put_part(upload, number, body, crc64nvme).await
    }

    pub(super) async fn copy_part(
        &self,
        from: (&ObjectKey, &str),
        range: Range<u64>,
        upload: UploadRef<'_>,
        number: i32,
    ) -> Result<Option<StoredPart>, Failure> {
        self.0.copy_part(from, range, upload, number).await
    }

    pub(super) async fn abort_upload(&self, upload: UploadRef<'_>) -> Result<(), Failure> {
        self.0.abort_upload(upload).await
    }

    pub(super) async fn uploads(
        &self,
        key: &ObjectKey,
    ) -> Result<Vec<(String, UnixMillis)>, Failure> {
        self.0.uploads(key).await
    }
}
