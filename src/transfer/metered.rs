//! An object store that somebody looks on at: every request is told of when it was answered.

use super::{Condemned, Deleted, ObjectHead, ObjectStore, Page, StoredObject};
use crate::model::{Failure, ObjectKey, StoredPart, UnixMillis};
use bytes::Bytes;
use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

/// A request that was made.
#[derive(Debug)]
pub struct Request<'a> {
    /// As S3 names it, such as `PutObject`.
    pub operation: &'static str,
    /// The object it was about; of a listing, the prefix.
    pub key: &'a str,
    /// The other objects, of a request about many.
    pub others: Vec<&'a str>,
    /// The multipart upload it belongs to.
    pub upload_id: Option<&'a str>,
    /// Which part of it was sent.
    pub part_number: Option<i32>,
    /// When it was begun.
    pub began: SystemTime,
    /// How long the answer took.
    pub took: Duration,
    /// Why it did not work, if it did not.
    pub failure: Option<&'a Failure>,
}

/// Looks on. It must neither block nor fail.
pub trait RequestObserver: fmt::Debug + Send + Sync + 'static {
    /// A request was answered, or nobody waits for its answer any more.
    fn answered(&self, request: &Request<'_>);
}

/// A store, and who looks on.
#[derive(Debug, Clone)]
pub struct Metered<S, O> {
    store: S,
    observer: O,
}

/// What is known of a request before its answer.
struct Begun<'a> {
    request: Request<'a>,
    instant: Instant,
}

impl<'a> Begun<'a> {
    #[allow(clippy::disallowed_methods, reason = "an adapter: the request is made now")]
    fn now(operation: &'static str, key: &'a str) -> Self {
        let request = Request {
            operation,
            key,
            others: Vec::new(),
            upload_id: None,
            part_number: None,
            began: SystemTime::now(),
            took: Duration::ZERO,
            failure: None,
        };
        Self { request, instant: Instant::now() }
    }

    fn of_upload(mut self, upload_id: &'a str, part_number: Option<i32>) -> Self {
        self.request.upload_id = Some(upload_id);
        self.request.part_number = part_number;
        self
    }

    /// Tells of the answer, and hands it on.
    fn answered<T>(
        self,
        observer: &impl RequestObserver,
        answer: Result<T, Failure>,
    ) -> Result<T, Failure> {
        let took = self.instant.elapsed();
        observer.answered(&Request { took, failure: answer.as_ref().err(), ..self.request });
        answer
    }
}

impl<S: ObjectStore, O: RequestObserver> Metered<S, O> {
    /// Has `observer` look on at `store`.
    #[must_use]
    pub fn new(store: S, observer: O) -> Self {
        Self { store, observer }
    }
}

impl<S: ObjectStore, O: RequestObserver> ObjectStore for Metered<S, O> {
    async fn put(
        &self,
        object: &ObjectHead,
        body: Bytes,
        crc64nvme: u64,
    ) -> Result<StoredObject, Failure> {
        let begun = Begun::now("PutObject", object.key.as_str());
        begun.answered(&self.observer, self.store.put(object, body, crc64nvme).await)
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<StoredObject>, Failure> {
        let begun = Begun::now("HeadObject", key.as_str());
        begun.answered(&self.observer, self.store.head(key).await)
    }

    /// Told of as one request, whatever the store makes of it.
    async fn delete(&self, objects: &[Condemned]) -> Vec<Result<Deleted, Failure>> {
        let mut keys = objects.iter().map(|object| object.key.as_str());
        let name = if objects.len() == 1 { "DeleteObject" } else { "DeleteObjects" };
        let mut begun = Begun::now(name, keys.next().unwrap_or_default());
        begun.request.others = keys.collect();
        let answers = self.store.delete(objects).await;
        let failed = answers.iter().find_map(|answer| answer.as_ref().err());
        // The observer is told, and every object keeps its own answer.
        drop(begun.answered(&self.observer, failed.cloned().map_or(Ok(()), Err)));
        answers
    }

    async fn list(&self, prefix: &str, from: Option<String>) -> Result<Page, Failure> {
        let begun = Begun::now("ListObjectsV2", prefix);
        begun.answered(&self.observer, self.store.list(prefix, from).await)
    }

    async fn copy(
        &self,
        from: &ObjectKey,
        etag: &str,
        object: &ObjectHead,
    ) -> Result<Option<StoredObject>, Failure> {
        let begun = Begun::now("CopyObject", object.key.as_str());
        begun.answered(&self.observer, self.store.copy(from, etag, object).await)
    }

    async fn begin_upload(&self, object: &ObjectHead) -> Result<String, Failure> {
        let begun = Begun::now("CreateMultipartUpload", object.key.as_str());
        begun.answered(&self.observer, self.store.begin_upload(object).await)
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: i32,
        body: Bytes,
        crc64nvme: u64,
    ) -> Result<StoredPart, Failure> {
        let begun = Begun::now("UploadPart", key.as_str()).of_upload(upload_id, Some(number));
        let answer = self.store.put_part(key, upload_id, number, body, crc64nvme).await;
        begun.answered(&self.observer, answer)
    }

    async fn copy_part(
        &self,
        from: (&ObjectKey, &str),
        range: Range<u64>,
        key: &ObjectKey,
        upload_id: &str,
        number: i32,
    ) -> Result<Option<StoredPart>, Failure> {
        let begun = Begun::now("UploadPartCopy", key.as_str()).of_upload(upload_id, Some(number));
        let answer = self.store.copy_part(from, range, key, upload_id, number).await;
        begun.answered(&self.observer, answer)
    }

    async fn complete_upload(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        parts: &[StoredPart],
        size: u64,
        crc64nvme: u64,
    ) -> Result<StoredObject, Failure> {
        let begun = Begun::now("CompleteMultipartUpload", key.as_str()).of_upload(upload_id, None);
        let answer = self.store.complete_upload(key, upload_id, parts, size, crc64nvme).await;
        begun.answered(&self.observer, answer)
    }

    async fn abort_upload(&self, key: &ObjectKey, upload_id: &str) -> Result<(), Failure> {
        let begun = Begun::now("AbortMultipartUpload", key.as_str()).of_upload(upload_id, None);
        begun.answered(&self.observer, self.store.abort_upload(key, upload_id).await)
    }

    async fn uploads(&self, key: &ObjectKey) -> Result<Vec<(String, UnixMillis)>, Failure> {
        let begun = Begun::now("ListMultipartUploads", key.as_str());
        begun.answered(&self.observer, self.store.uploads(key).await)
    }
}
