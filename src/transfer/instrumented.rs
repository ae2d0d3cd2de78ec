//! An object store with an observer, which receives every request when it was answered.

use super::{ObjectRequest, ObjectStore, ObservedAnswer, S3, StoreResponse};
use crate::exclusivity::{LeaseObject, LeaseWrite};
use crate::model::{Failure, ObjectKey};
use std::fmt;
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

/// A request before its answer.
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

    fn from_request(request: &ObjectRequest<'a>) -> Self {
        let mut begun = Self::now(request.operation(), request.key());
        begun.request.others = request.other_keys();
        begun.request.upload_id = request.upload_id();
        begun.request.part_number = request.part_number();
        begun
    }

    fn report(
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
        let call = self.store.for_call();
        let result = Box::pin(call.lease(key)).await;
        begun.report(&self.observer, result.as_ref().err(), call.take_answer());
        result
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
        let call = self.store.for_call();
        let result = Box::pin(call.write_lease(key, write)).await;
        begun.report(&self.observer, result.as_ref().err(), call.take_answer());
        result
    }

    /// Deletes it, as [`S3::give_up_lease`] does.
    ///
    /// # Errors
    ///
    /// Those of [`S3::give_up_lease`].
    pub async fn give_up_lease(&self, key: &ObjectKey, etag: &str) -> Result<(), Failure> {
        let begun = BegunRequest::now("DeleteObject", key.as_str());
        let call = self.store.for_call();
        let result = Box::pin(call.give_up_lease(key, etag)).await;
        begun.report(&self.observer, result.as_ref().err(), call.take_answer());
        result
    }
}

impl<S: ObjectStore, O: RequestObserver> ObjectStore for Instrumented<S, O> {
    /// Reports one request, however many the store makes of it. Of a delete of many objects the observer
    /// receives one failure, and every object keeps its own.
    async fn call(&self, request: ObjectRequest<'_>) -> StoreResponse {
        let begun = BegunRequest::from_request(&request);
        let response = self.store.call(request).await;
        begun.report(&self.observer, response.failures().next(), response.http.clone());
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyPrefix, RelPath};
    use crate::transfer::UploadRef;
    use file_sync_dev_s3::{Action, Options, Rule, Server};
    use std::sync::{Arc, Mutex};

    #[derive(Debug, Clone, Default)]
    struct RecordedRequests(Arc<Mutex<Vec<(&'static str, ObservedAnswer)>>>);

    impl RequestObserver for RecordedRequests {
        fn answered(&self, request: &ObservedRequest<'_>) {
            let mut recorded = self.0.lock().expect("no thread has panicked");
            recorded.push((request.operation, request.answer.clone()));
        }
    }

    #[tokio::test]
    async fn every_request_is_observed_with_status_and_ids_of_its_own_response() {
        let mut server = Server::start(&Options::default()).expect("a server");
        let recorded = RecordedRequests::default();
        let store = Instrumented::new(super::super::s3::for_tests(&server), recorded.clone());
        let path = RelPath::new(b"file").expect("a path");
        let key = KeyPrefix::default().key(&path).expect("a key");
        server.fail(Rule::new(Action::access_denied()).on("HeadObject").times(1));
        store.head(&key).await.expect_err("it is refused");
        assert_eq!(store.head(&key).await, Ok(None));
        let none = UploadRef { key: &key, id: "none" };
        // Requests of one task under way at the same time keep their answers apart.
        let (listed, gone) = tokio::join!(store.list("", None), store.abort_upload(none));
        assert!(listed.is_ok() && gone.is_ok());
        server.stop();
        store.head(&key).await.expect_err("there is no server");
        let mut recorded = recorded.0.lock().expect("no thread has panicked").clone();
        recorded[2..4].sort_by_key(|(operation, _)| *operation);
        let statuses: Vec<_> =
            recorded.iter().map(|(name, answer)| (*name, answer.status)).collect();
        let expected = [
            ("HeadObject", Some(403)),
            ("HeadObject", Some(404)),
            ("AbortMultipartUpload", Some(404)),
            ("ListObjectsV2", Some(200)),
            ("HeadObject", None),
        ];
        assert_eq!(statuses, expected);
        let ids: std::collections::BTreeSet<_> =
            recorded[..4].iter().map(|(_, answer)| answer.request_id.clone()).collect();
        assert_eq!((ids.len(), ids.contains(&None)), (4, false), "each has an id of its own");
        let extended =
            |answer: &ObservedAnswer| answer.extended_request_id.as_deref() == Some("in memory");
        assert!(recorded[..4].iter().all(|(_, answer)| extended(answer)));
    }
}
