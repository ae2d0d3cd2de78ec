//! A bucket in memory, whose answers are scripted request by request.

use crate::exclusivity::Condition;
use crate::model::{Failure, FailureClass, ObjectKey, StoredPart, UnixMillis, Version};
use crate::transfer::{
    DeleteRequest, DeleteResult, ListedObject, ObjectMetadata, ObjectRequest, ObjectStore, Page,
    StoreAnswer, StoreResponse, StoredObject, UploadRef, WriteResult,
};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

/// Objects in a page of a listing: fewer than there are names.
const PAGE_OBJECTS: usize = 2;
/// The mark of an object that no state of this service made.
const FOREIGN: u64 = u64::MAX;

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
    /// A request that deletes several objects is answered for each of them: what becomes of one is the
    /// next fate. Any other request is carried out, and its answer arrives.
    Each,
}

/// How a store differs from S3.
#[derive(Debug, Clone, Copy)]
pub(super) struct Abilities {
    /// It keeps checksums, and returns them.
    pub(super) checksums: bool,
    /// It heeds the conditions of requests.
    pub(super) conditions: bool,
}

#[derive(Debug, Clone)]
struct Object {
    body: Vec<u8>,
    version: Version,
    etag: String,
    /// The state that made it.
    owner: u64,
    /// The directory it was made from.
    source: String,
}

#[derive(Debug)]
struct Upload {
    key: String,
    version: Version,
    owner: u64,
    parts: BTreeMap<i32, Vec<u8>>,
}

#[derive(Debug)]
struct State {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    fates: VecDeque<Fate>,
    made: u64,
    /// The state of now.
    owner: u64,
    abilities: Abilities,
}

/// The store. Cheap to clone; all clones are the same store.
#[derive(Debug, Clone)]
pub(super) struct Scripted(Arc<Mutex<State>>);

impl Scripted {
    pub(super) fn new(abilities: Abilities) -> Self {
        let state = State {
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            fates: VecDeque::new(),
            made: 0,
            owner: 0,
            abilities,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// The state was lost: what it made is from now on of another one.
    pub(super) fn lose_state(&self) {
        self.state().owner += 1;
    }

    /// Another writer puts an object, of the directory that `source` names.
    pub(super) fn put_foreign(&self, key: &str, body: &[u8], source: &str) {
        let mut state = self.state();
        state.made += 1;
        let object = Object {
            body: body.to_vec(),
            version: Version { size: body.len() as u64, mtime_ns: 0 },
            etag: format!("\"{}\"", state.made),
            owner: FOREIGN,
            source: source.to_owned(),
        };
        state.objects.insert(key.to_owned(), object);
    }

    /// What becomes of the next requests. All after them are answered.
    pub(super) fn script(&self, fates: &[Fate]) {
        self.state().fates = fates.iter().copied().collect();
    }

    /// Keys and entity tags of the objects that the state of now has made.
    pub(super) fn ours(&self) -> Vec<(String, String)> {
        let state = self.state();
        let ours = state.objects.iter().filter(|(_, object)| object.owner == state.owner);
        ours.map(|(key, object)| (key.clone(), object.etag.clone())).collect()
    }

    pub(super) fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        state.objects.iter().map(|(key, object)| (key.clone(), object.body.clone())).collect()
    }

    /// Unfinished uploads of the state of now.
    pub(super) fn uploads(&self) -> usize {
        let state = self.state();
        state.uploads.values().filter(|upload| upload.owner == state.owner).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("sound")
    }

    /// Carries a request out as its fate is.
    fn request<T>(
        &self,
        request: impl FnOnce(&mut State) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let state = &mut *self.state();
        let fate = state.fates.pop_front().unwrap_or(Fate::Answered);
        let Some((done, failure)) = fate.failure() else { return request(state) };
        if done {
            // Whatever it would have been answered.
            drop(request(state));
        }
        Err(failure)
    }
}

impl Fate {
    /// Whether the request is carried out, and the answer that arrives in place of its own.
    fn failure(self) -> Option<(bool, Failure)> {
        let unavailable = FailureClass::Unavailable;
        Some(match self {
            Self::Answered | Self::Each => return None,
            Self::Lost { done } => (done, failure(unavailable, "connection", true)),
            Self::Internal { done } => (done, failure(unavailable, "InternalError", true)),
            Self::Nonsense { done } => {
                (done, failure(FailureClass::Object, "incomplete-answer", true))
            }
            Self::Refused => (false, failure(FailureClass::Refused, "AccessDenied", false)),
            Self::Declined => (false, failure(FailureClass::Object, "InvalidRequest", false)),
        })
    }
}

impl State {
    fn make(&mut self, key: &str, body: Vec<u8>, version: Version) -> StoredObject {
        self.made += 1;
        let owner = self.owner;
        let etag = format!("\"{}\"", self.made);
        let object = Object { body, version, etag, owner, source: "here".to_owned() };
        let stored = self.show(&object);
        self.objects.insert(key.to_owned(), object);
        // What was made is not described by the answer.
        StoredObject { version: None, ..stored }
    }

    fn delete(&mut self, object: &DeleteRequest) -> DeleteResult {
        let key = object.key.as_str();
        let there = self.objects.get(key).map(|object| &object.etag);
        let conditional = self.abilities.conditions && object.etag.is_some();
        if conditional && there.is_some() && there != object.etag.as_ref() {
            return DeleteResult::Replaced;
        }
        self.objects.remove(key);
        DeleteResult::Gone
    }

    fn meets(&self, key: &str, condition: Option<&Condition>) -> bool {
        let there = self.objects.get(key).map(|object| &object.etag);
        match condition.filter(|_| self.abilities.conditions) {
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
            crc64nvme: self.abilities.checksums.then(|| crc64nvme(&object.body)),
            ours: object.owner == self.owner,
            source: Some(object.source.clone()),
            file_owner: None,
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
    async fn call(&self, request: ObjectRequest<'_>) -> StoreResponse {
        self.carry_out(request).into()
    }
}

impl Scripted {
    fn carry_out(&self, request: ObjectRequest<'_>) -> Result<StoreAnswer, Failure> {
        use ObjectRequest as R;
        match request {
            R::Put { object, body, condition, .. } => {
                self.put_object(object, &body, condition).map(StoreAnswer::Written)
            }
            R::Head { key } => self.head_object(key).map(StoreAnswer::Found),
            R::Delete { objects } => Ok(StoreAnswer::Deleted(self.delete_objects(objects))),
            R::List { from, .. } => self.list_objects(from.as_ref()).map(StoreAnswer::Listed),
            R::Copy { from, etag, object, condition } => {
                self.copy_object(from, etag, object, condition).map(StoreAnswer::Copied)
            }
            R::BeginUpload { object } => self.start_upload(object).map(StoreAnswer::UploadBegun),
            R::PutPart { upload, number, body, crc64nvme } => {
                self.upload_part(upload, number, &body, crc64nvme).map(StoreAnswer::PartStored)
            }
            R::CopyPart { from, range, upload, number } => {
                self.upload_part_copy(from, range, upload, number).map(StoreAnswer::PartCopied)
            }
            R::CompleteUpload { upload, condition, .. } => {
                self.finish_upload(upload, condition).map(StoreAnswer::Written)
            }
            R::AbortUpload { upload } => self.end_upload(upload).map(StoreAnswer::UploadAborted),
            R::ListUploads { key } => self.uploads_of(key).map(StoreAnswer::Uploads),
        }
    }

    fn put_object(
        &self,
        object: &ObjectMetadata,
        body: &[u8],
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

    fn head_object(&self, key: &ObjectKey) -> Result<Option<StoredObject>, Failure> {
        self.request(|state| Ok(state.objects.get(key.as_str()).map(|object| state.show(object))))
    }

    fn delete_objects(&self, objects: &[DeleteRequest]) -> Vec<Result<DeleteResult, Failure>> {
        let state = &mut *self.state();
        let fate = state.fates.pop_front().unwrap_or(Fate::Answered);
        let answer = |state: &mut State, object: &DeleteRequest, fate: Fate| match fate.failure() {
            None => Ok(state.delete(object)),
            Some((done, failure)) => {
                if done {
                    state.delete(object);
                }
                Err(failure)
            }
        };
        let each = matches!(fate, Fate::Each);
        let answers = objects.iter().map(|object| {
            let own = if each { state.fates.pop_front() } else { Some(fate) };
            answer(state, object, own.unwrap_or(Fate::Answered))
        });
        answers.collect()
    }

    fn list_objects(&self, from: Option<&String>) -> Result<Page, Failure> {
        self.request(|state| {
            let after = |key: &&String| from.is_none_or(|from| *key > from);
            let keys: Vec<_> = state.objects.keys().filter(after).take(PAGE_OBJECTS).collect();
            let listed = |key: &&String| {
                let object = &state.objects[*key];
                ListedObject {
                    key: (*key).clone(),
                    size: object.body.len() as u64,
                    etag: Some(object.etag.clone()),
                    ..ListedObject::default()
                }
            };
            let last = keys.last().map(|key| (*key).clone());
            let next = last.filter(|last| state.objects.keys().any(|key| key > last));
            Ok(Page { objects: keys.iter().map(listed).collect(), next })
        })
    }

    fn copy_object(
        &self,
        from: &ObjectKey,
        etag: &str,
        object: &ObjectMetadata,
        condition: Option<&Condition>,
    ) -> Result<Option<StoredObject>, Failure> {
        self.request(|state| {
            if !state.meets(object.key.as_str(), condition) {
                return Ok(None);
            }
            let source = state.objects.get(from.as_str()).filter(|source| source.etag == etag);
            let body = source.map(|source| source.body.clone());
            Ok(body.map(|body| state.make(object.key.as_str(), body, object.version)))
        })
    }

    fn start_upload(&self, object: &ObjectMetadata) -> Result<String, Failure> {
        self.request(|state| {
            state.made += 1;
            let id = format!("upload-{}", state.made);
            let key = object.key.to_string();
            let version = object.version;
            let owner = state.owner;
            let upload = Upload { key, version, owner, parts: BTreeMap::new() };
            state.uploads.insert(id.clone(), upload);
            Ok(id)
        })
    }

    fn upload_part(
        &self,
        upload: UploadRef<'_>,
        number: i32,
        body: &[u8],
        crc64nvme: u64,
    ) -> Result<StoredPart, Failure> {
        self.request(|state| {
            let found = state.uploads.get_mut(upload.id).ok_or_else(no_such_upload)?;
            found.parts.insert(number, body.to_vec());
            Ok(StoredPart { number, etag: number.to_string(), crc64nvme: Some(crc64nvme) })
        })
    }

    fn upload_part_copy(
        &self,
        (from, etag): (&ObjectKey, &str),
        range: Range<u64>,
        upload: UploadRef<'_>,
        number: i32,
    ) -> Result<Option<StoredPart>, Failure> {
        self.request(|state| {
            let source = state.objects.get(from.as_str()).filter(|source| source.etag == etag);
            let Some(source) = source else { return Ok(None) };
            let part = source.body[range.start as usize..range.end as usize].to_vec();
            let found = state.uploads.get_mut(upload.id).ok_or_else(no_such_upload)?;
            found.parts.insert(number, part);
            Ok(Some(StoredPart { number, etag: number.to_string(), crc64nvme: None }))
        })
    }

    fn finish_upload(
        &self,
        upload: UploadRef<'_>,
        condition: Option<&Condition>,
    ) -> Result<WriteResult, Failure> {
        self.request(|state| {
            if !state.meets(upload.key.as_str(), condition) {
                return Ok(WriteResult::Conflict);
            }
            let found = state.uploads.remove(upload.id).ok_or_else(no_such_upload)?;
            let body = found.parts.into_values().flatten().collect();
            Ok(WriteResult::Stored(state.make(upload.key.as_str(), body, found.version)))
        })
    }

    fn end_upload(&self, upload: UploadRef<'_>) -> Result<(), Failure> {
        self.request(|state| {
            state.uploads.remove(upload.id);
            Ok(())
        })
    }

    fn uploads_of(&self, key: &ObjectKey) -> Result<Vec<(String, UnixMillis)>, Failure> {
        self.request(|state| {
            let of_key = state.uploads.iter().filter(|(_, upload)| upload.key == key.as_str());
            Ok(of_key.map(|(id, _)| (id.clone(), u64::MAX / 2)).collect())
        })
    }
}
