//! An object store with an observer, which receives every request when it was answered.

use super::{
    DeleteRequest, DeleteResult, ObjectMetadata, ObjectStore, Page, S3, StoredObject, WriteResult,
};
use crate::model::{Failure, ObjectKey, StoredPart, UnixMillis};
use crate::writer::{Condition, LeaseObject, LeaseWrite};
use bytes::Bytes;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

/// A request that was made.
#[derive(Debug)]
pub struct ObservedRequest<'a> {
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
    /// What its answer said of itself; of a request that took several, that of the last.
    pub answer: ObservedAnswer,
}

/// What an answer says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedAnswer {
    /// The HTTP status; `None` where there was no answer.
    pub status: Option<u16>,
    /// What S3's support asks for …
    pub request_id: Option<String>,
    /// … and what it asks for beside it.
    pub extended_request_id: Option<String>,
}

tokio::task_local! {
    /// The latest answer to the request under way in this task.
    static ANSWER: RefCell<ObservedAnswer>;
}

/// Notes an answer, if the request has an observer.
pub(super) fn note(answer: ObservedAnswer) {
    // It has none.
    drop(ANSWER.try_with(|noted| noted.replace(answer)));
}

/// Sends a request, and returns the metadata of its answer. It is on the heap: a request of the SDK is
/// many kilobytes, and every layer around it would have room for two of them.
fn noted<T>(
    request: impl Future<Output = T> + Send,
) -> impl Future<Output = (T, ObservedAnswer)> + Send {
    let request = Box::pin(request);
    let noting = async {
        let result = request.await;
        (result, ANSWER.with(RefCell::take))
    };
    ANSWER.scope(RefCell::default(), noting)
}

/// Receives requests. It must neither block nor fail.
pub trait RequestObserver: fmt::Debug + Send + Sync + 'static {
    /// A request was answered, or its caller has given up.
    fn answered(&self, request: &ObservedRequest<'_>);
}

/// A store with an observer.
#[derive(Debug, Clone)]
pub struct Instrumented<S, O> {
    store: S,
    observer: O,
}

/// What is known of a request before its answer.
struct BegunRequest<'a> {
    request: ObservedRequest<'a>,
    instant: Instant,
}

impl<'a> BegunRequest<'a> {
    #[allow(clippy::disallowed_methods, reason = "an adapter: the request is made now")]
    fn now(operation: &'static str, key: &'a str) -> Self {
        let request = ObservedRequest {
            operation,
            key,
            others: Vec::new(),
            upload_id: None,
            part_number: None,
            began: SystemTime::now(),
            took: Duration::ZERO,
            failure: None,
            answer: ObservedAnswer::default(),
        };
        Self { request, instant: Instant::now() }
    }

    fn of_upload(mut self, upload_id: &'a str, part_number: Option<i32>) -> Self {
        self.request.upload_id = Some(upload_id);
        self.request.part_number = part_number;
        self
    }

    /// Sends the request, reports the answer, and returns it.
    fn answered<T>(
        self,
        observer: &impl RequestObserver,
        request: impl Future<Output = Result<T, Failure>> + Send,
    ) -> impl Future<Output = Result<T, Failure>> + Send {
        let noted = noted(request);
        async {
            let (result, answer) = noted.await;
            self.tell(observer, result.as_ref().err(), answer);
            result
        }
    }

    fn tell(
        self,
        observer: &impl RequestObserver,
        failure: Option<&Failure>,
        answer: ObservedAnswer,
    ) {
        let took = self.instant.elapsed();
        observer.answered(&ObservedRequest { took, failure, answer, ..self.request });
    }
}

impl<S: ObjectStore, O: RequestObserver> Instrumented<S, O> {
    /// Reports the requests of `store` to `observer`.
    #[must_use]
    pub fn new(store: S, observer: O) -> Self {
        Self { store, observer }
    }
}

impl<O: RequestObserver> Instrumented<S3, O> {
    /// The lease of the prefix, as [`S3::lease`] finds it.
    ///
    /// # Errors
    ///
    /// Those of [`S3::lease`].
    pub async fn lease(&self, key: &ObjectKey) -> Result<Option<LeaseObject>, Failure> {
        let begun = BegunRequest::now("GetObject", key.as_str());
        begun.answered(&self.observer, self.store.lease(key)).await
    }

    /// Writes it, as [`S3::write_lease`] does.
    ///
    /// # Errors
    ///
    /// Those of [`S3::write_lease`].
    pub async fn write_lease(
        &self,
        key: &ObjectKey,
        write: &LeaseWrite,
    ) -> Result<Option<String>, Failure> {
        let begun = BegunRequest::now("PutObject", key.as_str());
        begun.answered(&self.observer, self.store.write_lease(key, write)).await
    }

    /// Deletes it, as [`S3::give_up_lease`] does.
    ///
    /// # Errors
    ///
    /// Those of [`S3::give_up_lease`].
    pub async fn give_up_lease(&self, key: &ObjectKey, etag: &str) -> Result<(), Failure> {
        let begun = BegunRequest::now("DeleteObject", key.as_str());
        begun.answered(&self.observer, self.store.give_up_lease(key, etag)).await
    }
}

impl<S: ObjectStore, O: RequestObserver> ObjectStore for Instrumented<S, O> {
    async fn put(
        &self,
        object: &ObjectMetadata,
        body: Bytes,
        crc64nvme: u64,
        condition: Option<&Condition>,
    ) -> Result<WriteResult, Failure> {
        let begun = BegunRequest::now("PutObject", object.key.as_str());
        begun.answered(&self.observer, self.store.put(object, body, crc64nvme, condition)).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<StoredObject>, Failure> {
        let begun = BegunRequest::now("HeadObject", key.as_str());
        begun.answered(&self.observer, self.store.head(key)).await
    }

    /// Reported as one request, however many the store makes of it.
    async fn delete(&self, objects: &[DeleteRequest]) -> Vec<Result<DeleteResult, Failure>> {
        let mut keys = objects.iter().map(|object| object.key.as_str());
        let name = if objects.len() == 1 { "DeleteObject" } else { "DeleteObjects" };
        let mut begun = BegunRequest::now(name, keys.next().unwrap_or_default());
        begun.request.others = keys.collect();
        let (answers, answer) = noted(self.store.delete(objects)).await;
        // The observer receives one, and every object keeps its own answer.
        let failed = answers.iter().find_map(|answer| answer.as_ref().err());
        begun.tell(&self.observer, failed, answer);
        answers
    }

    async fn list(&self, prefix: &str, from: Option<String>) -> Result<Page, Failure> {
        let begun = BegunRequest::now("ListObjectsV2", prefix);
        begun.answered(&self.observer, self.store.list(prefix, from)).await
    }

    async fn copy(
        &self,
        from: &ObjectKey,
        etag: &str,
        object: &ObjectMetadata,
        condition: Option<&Condition>,
    ) -> Result<Option<StoredObject>, Failure> {
        let begun = BegunRequest::now("CopyObject", object.key.as_str());
        begun.answered(&self.observer, self.store.copy(from, etag, object, condition)).await
    }

    async fn begin_upload(&self, object: &ObjectMetadata) -> Result<String, Failure> {
        let begun = BegunRequest::now("CreateMultipartUpload", object.key.as_str());
        begun.answered(&self.observer, self.store.begin_upload(object)).await
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: i32,
        body: Bytes,
        crc64nvme: u64,
    ) -> Result<StoredPart, Failure> {
        let begun =
            BegunRequest::now("UploadPart", key.as_str()).of_upload(upload_id, Some(number));
        let request = self.store.put_part(key, upload_id, number, body, crc64nvme);
        begun.answered(&self.observer, request).await
    }

    async fn copy_part(
        &self,
        from: (&ObjectKey, &str),
        range: Range<u64>,
        key: &ObjectKey,
        upload_id: &str,
        number: i32,
    ) -> Result<Option<StoredPart>, Failure> {
        let begun =
            BegunRequest::now("UploadPartCopy", key.as_str()).of_upload(upload_id, Some(number));
        let request = self.store.copy_part(from, range, key, upload_id, number);
        begun.answered(&self.observer, request).await
    }

    async fn complete_upload(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        parts: &[StoredPart],
        size: u64,
        crc64nvme: u64,
        condition: Option<&Condition>,
    ) -> Result<WriteResult, Failure> {
        let begun =
            BegunRequest::now("CompleteMultipartUpload", key.as_str()).of_upload(upload_id, None);
        let request = self.store.complete_upload(key, upload_id, parts, size, crc64nvme, condition);
        begun.answered(&self.observer, request).await
    }

    async fn abort_upload(&self, key: &ObjectKey, upload_id: &str) -> Result<(), Failure> {
        let begun =
            BegunRequest::now("AbortMultipartUpload", key.as_str()).of_upload(upload_id, None);
        begun.answered(&self.observer, self.store.abort_upload(key, upload_id)).await
    }

    async fn uploads(&self, key: &ObjectKey) -> Result<Vec<(String, UnixMillis)>, Failure> {
        let begun = BegunRequest::now("ListMultipartUploads", key.as_str());
        begun.answered(&self.observer, self.store.uploads(key)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyPrefix, RelPath};
    use file_sync_dev_s3::{Action, Options, Rule, Server};
    use std::sync::{Arc, Mutex};

    #[derive(Debug, Clone, Default)]
    struct Heard(Arc<Mutex<Vec<(&'static str, ObservedAnswer)>>>);

    impl RequestObserver for Heard {
        fn answered(&self, request: &ObservedRequest<'_>) {
            let mut heard = self.0.lock().expect("no thread has panicked");
            heard.push((request.operation, request.answer.clone()));
        }
    }

    #[tokio::test]
    async fn every_request_is_told_of_with_the_status_and_the_ids_of_its_own_answer() {
        let mut server = Server::start(&Options::default()).expect("a server");
        let heard = Heard::default();
        let store = Instrumented::new(super::super::s3::for_tests(&server), heard.clone());
        let path = RelPath::new(b"file").expect("a path");
        let key = KeyPrefix::default().key(&path).expect("a key");
        server.fail(Rule::new(Action::access_denied()).on("HeadObject").times(1));
        store.head(&key).await.expect_err("it is refused");
        assert_eq!(store.head(&key).await, Ok(None));
        // Requests of one task under way at the same time keep their answers apart.
        let (listed, gone) = tokio::join!(store.list("", None), store.abort_upload(&key, "none"));
        assert!(listed.is_ok() && gone.is_ok());
        server.stop();
        store.head(&key).await.expect_err("there is no server");
        let mut heard = heard.0.lock().expect("no thread has panicked").clone();
        heard[2..4].sort_by_key(|(operation, _)| *operation);
        let statuses: Vec<_> = heard.iter().map(|(name, answer)| (*name, answer.status)).collect();
        let expected = [
            ("HeadObject", Some(403)),
            ("HeadObject", Some(404)),
            ("AbortMultipartUpload", Some(404)),
            ("ListObjectsV2", Some(200)),
            ("HeadObject", None),
        ];
        assert_eq!(statuses, expected);
        let ids: std::collections::BTreeSet<_> =
            heard[..4].iter().map(|(_, answer)| answer.request_id.clone()).collect();
        assert_eq!((ids.len(), ids.contains(&None)), (4, false), "each has an id of its own");
        let extended =
            |answer: &ObservedAnswer| answer.extended_request_id.as_deref() == Some("in memory");
        assert!(heard[..4].iter().all(|(_, answer)| extended(answer)));
    }
}
