//! A bucket in memory, whose answers are scripted request by request.

use crate::model::{Failure, FailureClass, ObjectKey, StoredPart, UnixMillis, Version};
use crate::transfer::{
    DeleteRequest, DeleteResult, ObjectMetadata, ObjectStore, Page, StoredObject, WriteResult,
};
use crate::writer::Condition;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// It is carried out, and its answer arrives.
    Answered,
    /// Its answer is lost with the connection.
    Lost { done: bool },
    /// The answer is none of S3's.
    Nonsense { done: bool },
    /// 500.
    Internal { done: bool },
    /// 403.
    Refused,
    /// 400.
    Declined,
}

#[derive(Debug, Clone)]
struct Object {
    body: Vec<u8>,
    version: Version,
    etag: String,
}

#[derive(Debug)]
struct Upload {
    key: String,
    version: Version,
    parts: BTreeMap<i32, Vec<u8>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    fates: VecDeque<Fate>,
    made: u64,
    checksums: bool,
}

/// The store. Cheap to clone; all clones are the same store.
#[derive(Debug, Clone, Default)]
pub(super) struct Scripted(Arc<Mutex<State>>);

impl Scripted {
    pub(super) fn new(checksums: bool) -> Self {
        Self(Arc::new(Mutex::new(State { checksums, ..State::default() })))
    }

    /// What becomes of the next requests. All after them are answered.
    pub(super) fn script(&self, fates: &[Fate]) {
        self.state().fates = fates.iter().copied().collect();
    }

    pub(super) fn ours(&self) -> Vec<(String, String)> {
        let state = self.state();
        state.objects.iter().map(|(key, object)| (key.clone(), object.etag.clone())).collect()
    }

    pub(super) fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        state.objects.iter().map(|(key, object)| (key.clone(), object.body.clone())).collect()
    }

    pub(super) fn uploads(&self) -> usize {
        self.state().uploads.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("sound")
    }

    /// Carries a request out as its fate is.
    fn request<T>(
        &self,
        request: impl FnOnce(&mut State) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut state = self.state();
        let fate = state.fates.pop_front().unwrap_or(Fate::Answered);
        let unavailable = FailureClass::Unavailable;
        let (done, failure) = match fate {
            Fate::Answered => return request(&mut state),
            Fate::Lost { done } => (done, failure(unavailable, "connection", true)),
            Fate::Internal { done } => (done, failure(unavailable, "InternalError", true)),
            Fate::Nonsense { done } => {
                (done, failure(FailureClass::Object, "incomplete-answer", true))
            }
            Fate::Refused => (false, failure(FailureClass::Refused, "AccessDenied", false)),
            Fate::Declined => (false, failure(FailureClass::Object, "InvalidRequest", false)),
        };
        if done {
            // Whatever it would have been answered.
            drop(request(&mut state));
        }
        Err(failure)
    }
}

impl State {
    fn make(&mut self, key: &str, body: Vec<u8>, version: Version) -> StoredObject {
        self.made += 1;
        let object = Object { body, version, etag: format!("\"{}\"", self.made) };
        let stored = self.show(&object);
        self.objects.insert(key.to_owned(), object);
        // What was made is not described by the answer.
        StoredObject { version: None, ..stored }
    }

    fn meets(&self, key: &str, condition: Option<&Condition>) -> bool {
        let there = self.objects.get(key).map(|object| &object.etag);
        match condition {
            None => true,
            Some(Condition::Absent) => there.is_none(),
            Some(Condition::Unchanged(etag)) => there == Some(etag),
        }
    }

    fn show(&self, object: &Object) -> StoredObject {
        StoredObject {
            etag: Some(object.etag.clone()),
            md5_etag: false,
            version: Some(object.version),
            crc64nvme: self.checksums.then(|| crc64nvme(&object.body)),
            ours: true,
            source: Some("here".to_owned()),
            age: None,
        }
    }
}

fn crc64nvme(body: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, body)
}

fn failure(class: FailureClass, code: &str, answer_lost: bool) -> Failure {
    Failure {
        class,
        code: code.to_owned(),
        message: "scripted".to_owned(),
        answer_lost,
        retry_after_ms: None,
    }
}

fn no_such_upload() -> Failure {
    failure(FailureClass::Object, "NoSuchUpload", false)
}

impl ObjectStore for Scripted {
    async fn put(
        &self,
        object: &ObjectMetadata,
        body: Bytes,
        _: u64,
        condition: Option<&Condition>,
    ) -> Result<WriteResult, Failure> {
        self.request(|state| {
            let key = object.key.as_str();
            if !state.meets(key, condition) {
                return Ok(WriteResult::Conflict);
            }
            Ok(WriteResult::Stored(state.make(key, body.to_vec(), object.version)))
        })
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<StoredObject>, Failure> {
        self.request(|state| Ok(state.objects.get(key.as_str()).map(|object| state.show(object))))
    }

    async fn delete(&self, objects: &[DeleteRequest]) -> Vec<Result<DeleteResult, Failure>> {
        let delete = |condemned: &DeleteRequest| {
            self.request(|state| {
                let key = condemned.key.as_str();
                let there = state.objects.get(key).map(|object| &object.etag);
                if there.is_some() && condemned.etag.is_some() && there != condemned.etag.as_ref() {
                    return Ok(DeleteResult::Replaced);
                }
                state.objects.remove(key);
                Ok(DeleteResult::Gone)
            })
        };
        objects.iter().map(delete).collect()
    }

    async fn list(&self, _: &str, _: Option<String>) -> Result<Page, Failure> {
        Ok(Page::default())
    }

    async fn copy(
        &self,
        from: &ObjectKey,
        etag: &str,
        object: &ObjectMetadata,
        _: Option<&Condition>,
    ) -> Result<Option<StoredObject>, Failure> {
        self.request(|state| {
            let source = state.objects.get(from.as_str()).filter(|source| source.etag == etag);
            let body = source.map(|source| source.body.clone());
            Ok(body.map(|body| state.make(object.key.as_str(), body, object.version)))
        })
    }

    async fn begin_upload(&self, object: &ObjectMetadata) -> Result<String, Failure> {
        self.request(|state| {
            state.made += 1;
            let id = format!("upload-{}", state.made);
            let key = object.key.to_string();
            let upload = Upload { key, version: object.version, parts: BTreeMap::new() };
            state.uploads.insert(id.clone(), upload);
            Ok(id)
        })
    }

    async fn put_part(
        &self,
        _: &ObjectKey,
        upload_id: &str,
        number: i32,
        body: Bytes,
        crc64nvme: u64,
    ) -> Result<StoredPart, Failure> {
        self.request(|state| {
            let upload = state.uploads.get_mut(upload_id).ok_or_else(no_such_upload)?;
            upload.parts.insert(number, body.to_vec());
            Ok(StoredPart { number, etag: number.to_string(), crc64nvme: Some(crc64nvme) })
        })
    }

    async fn copy_part(
        &self,
        (from, etag): (&ObjectKey, &str),
        range: Range<u64>,
        _: &ObjectKey,
        upload_id: &str,
        number: i32,
    ) -> Result<Option<StoredPart>, Failure> {
        self.request(|state| {
            let source = state.objects.get(from.as_str()).filter(|source| source.etag == etag);
            let Some(source) = source else { return Ok(None) };
            let part = source.body[range.start as usize..range.end as usize].to_vec();
            let upload = state.uploads.get_mut(upload_id).ok_or_else(no_such_upload)?;
            upload.parts.insert(number, part);
            Ok(Some(StoredPart { number, etag: number.to_string(), crc64nvme: None }))
        })
    }

    async fn complete_upload(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        _: &[StoredPart],
        _: u64,
        _: u64,
        condition: Option<&Condition>,
    ) -> Result<WriteResult, Failure> {
        self.request(|state| {
            if !state.meets(key.as_str(), condition) {
                return Ok(WriteResult::Conflict);
            }
            let upload = state.uploads.remove(upload_id).ok_or_else(no_such_upload)?;
            let body = upload.parts.into_values().flatten().collect();
            Ok(WriteResult::Stored(state.make(key.as_str(), body, upload.version)))
        })
    }

    async fn abort_upload(&self, _: &ObjectKey, upload_id: &str) -> Result<(), Failure> {
        self.request(|state| {
            state.uploads.remove(upload_id);
            Ok(())
        })
    }

    async fn uploads(&self, key: &ObjectKey) -> Result<Vec<(String, UnixMillis)>, Failure> {
        self.request(|state| {
            let of_key = state.uploads.iter().filter(|(_, upload)| upload.key == key.as_str());
            Ok(of_key.map(|(id, _)| (id.clone(), u64::MAX / 2)).collect())
        })
    }
}
