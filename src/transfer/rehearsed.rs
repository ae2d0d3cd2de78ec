//! A store that is asked and never changed: what a try would do, found out by trying.
//!
//! Questions go through. What would make, replace or remove an object is answered as if it had been
//! done; the first part of a file that would be sent ends the try, because the others say no more.

use super::{
    DeleteRequest, DeleteResult, ObjectMetadata, ObjectStore, Page, StoredObject, WriteResult,
};
use crate::model::{Failure, FailureClass, ObjectKey, StoredPart, UnixMillis, Version};
use crate::writer::Condition;
use bytes::Bytes;
use std::collections::HashMap;
use std::ops::Range;
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
        age: None,
    }
}

impl<S: ObjectStore> ObjectStore for DryRun<S> {
    async fn put(
        &self,
        object: &ObjectMetadata,
        _: Bytes,
        crc64nvme: u64,
        _: Option<&Condition>,
    ) -> Result<WriteResult, Failure> {
        Ok(WriteResult::Stored(made(Some(object.version), Some(crc64nvme))))
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<StoredObject>, Failure> {
        match self.take_copied(key) {
            Some(version) => Ok(Some(made(Some(version), None))),
            None => self.store.head(key).await,
        }
    }

    async fn delete(&self, objects: &[DeleteRequest]) -> Vec<Result<DeleteResult, Failure>> {
        objects.iter().map(|_| Ok(DeleteResult::Gone)).collect()
    }

    async fn list(&self, prefix: &str, from: Option<String>) -> Result<Page, Failure> {
        self.store.list(prefix, from).await
    }

    async fn copy(
        &self,
        _: &ObjectKey,
        _: &str,
        object: &ObjectMetadata,
        _: Option<&Condition>,
    ) -> Result<Option<StoredObject>, Failure> {
        let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
        copied.insert(object.key.clone(), object.version);
        Ok(Some(made(Some(object.version), None)))
    }

    async fn begin_upload(&self, _: &ObjectMetadata) -> Result<String, Failure> {
        Ok(REHEARSED.to_owned())
    }

    async fn put_part(
        &self,
        _: &ObjectKey,
        _: &str,
        _: i32,
        _: Bytes,
        _: u64,
    ) -> Result<StoredPart, Failure> {
        // Of a class that leaves the upload as it is.
        Err(Failure {
            class: FailureClass::Unavailable,
            code: REHEARSED.to_owned(),
            message: "it would be sent".to_owned(),
            answer_lost: false,
            retry_after_ms: None,
        })
    }

    async fn copy_part(
        &self,
        _: (&ObjectKey, &str),
        _: Range<u64>,
        _: &ObjectKey,
        _: &str,
        number: i32,
    ) -> Result<Option<StoredPart>, Failure> {
        Ok(Some(StoredPart { number, etag: REHEARSED.to_owned(), crc64nvme: None }))
    }

    async fn complete_upload(
        &self,
        _: &ObjectKey,
        _: &str,
        _: &[StoredPart],
        _: u64,
        crc64nvme: u64,
        _: Option<&Condition>,
    ) -> Result<WriteResult, Failure> {
        Ok(WriteResult::Stored(made(None, Some(crc64nvme))))
    }

    async fn abort_upload(&self, _: &ObjectKey, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    async fn uploads(&self, key: &ObjectKey) -> Result<Vec<(String, UnixMillis)>, Failure> {
        self.store.uploads(key).await
    }
}
