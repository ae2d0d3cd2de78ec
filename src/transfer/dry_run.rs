//! A store that is asked and never changed: what a try would do, found out by trying.
//!
//! Questions go through. What would make, replace or remove an object is answered as if it had been
//! done; the first part of a file that would be sent ends the try, because the others say no more.

use super::{
    DeleteResult, ObjectRequest, ObjectStore, StoreAnswer, StoreResponse, StoredObject, WriteResult,
};
use crate::model::{Failure, FailureClass, ObjectKey, StoredPart, Version};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The code of what ends a try early because it is known now that the file would be sent.
const REHEARSED: &str = "rehearsed";

/// A store that is asked and never changed.
#[derive(Debug)]
pub struct DryRun<S> {
    store: S,
    /// Copies whose result is still to be read.
    copied: Mutex<HashMap<ObjectKey, Version>>,
}

impl<S: ObjectStore> DryRun<S> {
    /// Keeps `store` as it is.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self { store, copied: Mutex::default() }
    }

    fn take_copied(&self, key: &ObjectKey) -> Option<Version> {
        self.copied.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }
}

/// Whether a try has ended because the file would be sent.
#[must_use]
pub fn is_rehearsed(failure: &Failure) -> bool {
    failure.code == REHEARSED
}

fn made(version: Option<Version>, crc64nvme: Option<u64>) -> StoredObject {
    StoredObject {
        etag: None,
        md5_etag: false,
        version,
        crc64nvme,
        ours: true,
        source: None,
        file_owner: None,
        age: None,
    }
}

impl<S: ObjectStore> ObjectStore for DryRun<S> {
    async fn call(&self, request: ObjectRequest<'_>) -> StoreResponse {
        let answer = match request {
            ObjectRequest::List { .. } | ObjectRequest::ListUploads { .. } => {
                return self.store.call(request).await;
            }
            ObjectRequest::Head { key } => match self.take_copied(key) {
                Some(version) => StoreAnswer::Found(Some(made(Some(version), None))),
                None => return self.store.call(request).await,
            },
            ObjectRequest::Put { object, crc64nvme, .. } => StoreAnswer::Written(
                WriteResult::Stored(made(Some(object.version), Some(crc64nvme))),
            ),
            ObjectRequest::Delete { objects } => {
                StoreAnswer::Deleted(objects.iter().map(|_| Ok(DeleteResult::Gone)).collect())
            }
            ObjectRequest::Copy { object, .. } => {
                let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
                copied.insert(object.key.clone(), object.version);
                StoreAnswer::Copied(Some(made(Some(object.version), None)))
            }
            ObjectRequest::BeginUpload { .. } => StoreAnswer::UploadBegun(REHEARSED.to_owned()),
            ObjectRequest::PutPart { .. } => return StoreResponse::from(Err(would_be_sent())),
            ObjectRequest::CopyPart { number, .. } => {
                let etag = REHEARSED.to_owned();
                StoreAnswer::PartCopied(Some(StoredPart { number, etag, crc64nvme: None }))
            }
            ObjectRequest::CompleteUpload { crc64nvme, .. } => {
                StoreAnswer::Written(WriteResult::Stored(made(None, Some(crc64nvme))))
            }
            ObjectRequest::AbortUpload { .. } => StoreAnswer::UploadAborted(()),
        };
        StoreResponse::from(Ok(answer))
    }
}

/// Ends an attempt, with a class that leaves the upload as it is.
fn would_be_sent() -> Failure {
    Failure {
        class: FailureClass::Unavailable,
        code: REHEARSED.to_owned(),
        message: "it would be sent".to_owned(),
        answer_lost: false,
        retry_after_ms: None,
    }
}
