//! Writes replace only what the record knows of.
//!
//! The condition of each write names the object that it replaces, or says that there is none. A store
//! refuses the write if another writer was there in between. An instance that stays then writes
//! anyway: its directory is the truth. One that is ending yields, because the other one stays.
//!
//! # Inspections while ending
//!
//! The entity tag follows from the content: an object that another writer has written with the same bytes
//! has the same one. The mark of the record in the metadata differs. So an instance that is ending inspects
//! each object before it replaces or deletes it, and its condition is what it has seen. On a store that does
//! not know conditions the inspection is all there is. What an attempt has compared with the file is not
//! inspected again for its first write.

use super::{
    AttemptRecord, ObjectMetadata, ObjectStore, PutRequest, StoredObject, Transfer, UploadRef,
    WriteResult,
};
use crate::exclusivity::Condition;
use crate::model::{
    Failure, FailureClass, ObjectKey, Outcome, OverlapSign, StoredPart, WriteEffect,
};
use bytes::Bytes;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Requests for one write: the second one follows an inspection of the object.
const WRITES_MAX: usize = 2;
/// The store's times are whole seconds.
const AGE_PRECISION: Duration = Duration::from_secs(1);

impl<S: ObjectStore> Transfer<S> {
    /// Puts an object, unless this instance has to yield.
    pub(super) async fn put_object(
        &self,
        put: &PutRequest<'_>,
        object: &ObjectMetadata,
        body: Bytes,
        crc64nvme: u64,
    ) -> Result<StoredObject, Outcome> {
        let mut condition = self.condition(put).await?;
        for _ in 0..WRITES_MAX {
            let body = body.clone();
            let writes = &put.writes;
            let result = self.store.put(writes, object, body, crc64nvme, condition.as_ref()).await;
            match result.map_err(Outcome::Failed)? {
                WriteResult::Stored(stored) => return Ok(stored),
                WriteResult::Conflict => condition = self.resolve_conflict(put, condition).await?,
            }
        }
        Err(conflict())
    }

    /// Completes a multipart upload, unless this instance has to yield.
    pub(super) async fn complete_upload(
        &self,
        put: &PutRequest<'_>,
        upload_id: &str,
        parts: &[StoredPart],
        size: u64,
        crc64nvme: u64,
    ) -> Result<StoredObject, Outcome> {
        let mut condition = self.condition(put).await?;
        for _ in 0..WRITES_MAX {
            let upload = UploadRef { key: &put.key, id: upload_id };
            let request = self.store.complete_upload(
                &put.writes,
                upload,
                parts,
                size,
                crc64nvme,
                condition.as_ref(),
            );
            match request.await.map_err(Outcome::Failed)? {
                WriteResult::Stored(stored) => return Ok(stored),
                WriteResult::Conflict => condition = self.resolve_conflict(put, condition).await?,
            }
        }
        Err(conflict())
    }

    /// Ends the attempt early if this instance is ending and has to yield.
    pub(super) async fn yield_to_other(&self, put: &PutRequest<'_>) -> Result<(), Outcome> {
        if self.is_ending() { self.condition(put).await.map(drop) } else { Ok(()) }
    }

    /// The condition of a copy. Only an instance that is ending has one: some stores take the condition of a
    /// copy for one on its source.
    pub(super) async fn copy_condition(
        &self,
        put: &PutRequest<'_>,
    ) -> Result<Option<Condition>, Outcome> {
        if self.is_ending() { self.condition(put).await } else { Ok(None) }
    }

    /// What has to hold for the next write of an attempt.
    async fn condition(&self, put: &PutRequest<'_>) -> Result<Option<Condition>, Outcome> {
        let recorded = self.recorded_condition(put);
        let trusts = self.conditions.replace_inspections();
        let suffices = trusts && recorded == Some(Condition::Absent);
        if !self.is_ending() || suffices {
            return Ok(recorded);
        }
        let inspected = match put.take_compared() {
            Some(found) => Ok(found),
            None => self.store.head(&put.key).await,
        };
        match inspected {
            Ok(found) => self.condition_for(&put.key, put.known, found),
            // It may write, and not read.
            Err(failure) if failure.class == FailureClass::Refused => Ok(recorded),
            Err(failure) => Err(Outcome::Failed(failure)),
        }
    }

    /// The condition that follows from the record; none where it is in doubt.
    fn recorded_condition(&self, put: &PutRequest<'_>) -> Option<Condition> {
        let in_doubt =
            put.lease.sent_before.is_some() || put.writes.written() == WriteEffect::Maybe;
        if in_doubt || self.lacks_conditions.load(Ordering::Relaxed) {
            return None;
        }
        match &put.known.mirrored {
            Some(mirrored) => mirrored.etag.clone().map(Condition::Unchanged),
            // Nothing is known of a bucket that could not be listed.
            None => {
                let is_absent =
                    put.known.listed.is_none() && self.knows_absence.load(Ordering::Relaxed);
                is_absent.then_some(Condition::Absent)
            }
        }
    }

    /// The condition that follows from an inspection; an instance that is ending may have to yield.
    fn condition_for(
        &self,
        key: &ObjectKey,
        known: &AttemptRecord,
        found: Option<StoredObject>,
    ) -> Result<Option<Condition>, Outcome> {
        let Some(object) = found else { return Ok(Some(Condition::Absent)) };
        if self.is_ending() && self.is_of_another_writer(&object, known) {
            self.report_other_writer(key);
            return Err(Outcome::Yielded);
        }
        Ok(object.etag.map(Condition::Unchanged))
    }

    /// What to do after the store has refused a write because of its condition.
    async fn resolve_conflict(
        &self,
        put: &PutRequest<'_>,
        condition: Option<Condition>,
    ) -> Result<Option<Condition>, Outcome> {
        let found = match self.store.head(&put.key).await {
            Ok(found) => found,
            Err(failure) if failure.class == FailureClass::Refused && !self.is_ending() => {
                return Ok(None);
            }
            Err(failure) => return Err(Outcome::Failed(failure)),
        };
        let is_foreign = found.as_ref().is_some_and(|object| !object.ours);
        let etag = found.as_ref().and_then(|object| object.etag.clone()).map(Condition::Unchanged);
        let next = self.condition_for(&put.key, put.known, found)?;
        if etag.is_some() && etag == condition {
            // What the store says of an object is not what it compares.
            self.lacks_conditions.store(true, Ordering::Relaxed);
            return Ok(None);
        }
        if self.is_ending() {
            return Ok(next);
        }
        if is_foreign {
            self.report_other_writer(&put.key);
            self.note_overlap(OverlapSign::Noticed).await;
        }
        Ok(None)
    }

    /// Whether another writer has written this object since this instance has recorded it or, if it has
    /// not, since this instance has started. What was there before belongs to an instance that has ended.
    pub(super) fn is_of_another_writer(
        &self,
        object: &StoredObject,
        known: &AttemptRecord,
    ) -> bool {
        if object.ours {
            return false;
        }
        let plain = |etag: &str| etag.trim_matches('"').to_owned();
        let found = object.etag.as_deref().map(plain);
        let recorded = known.mirrored.as_ref();
        let etag = recorded.and_then(|mirrored| mirrored.etag.as_deref()).map(plain);
        if etag.is_some() && etag != found {
            return true;
        }
        if etag.is_some() && object.source.is_none() {
            // No daemon has written it, or the store keeps no metadata.
            return false;
        }
        // An object that was found and recorded has the mark of the one that wrote it.
        let has_written = recorded.is_some_and(|mirrored| mirrored.head.is_some());
        has_written || !self.is_older_than_instance(object)
    }

    #[expect(clippy::disallowed_methods, reason = "an adapter: the instance's age is measured now")]
    fn is_older_than_instance(&self, object: &StoredObject) -> bool {
        let uptime = self.settings.writer.uptime(Instant::now());
        object.age.is_some_and(|age| age + AGE_PRECISION >= uptime)
    }

    pub(super) fn is_ending(&self) -> bool {
        self.settings.writer.is_ending()
    }

    /// This instance is ending from now on: it yields to other writers.
    pub fn begin_ending(&self) {
        self.settings.writer.begin_ending();
    }

    /// Logs once that there is another writer.
    pub(super) fn report_other_writer(&self, key: &ObjectKey) {
        if !self.settings.writer.note_conflict() {
            return;
        }
        if self.is_ending() {
            tracing::warn!(
                event = "writer.other",
                aws.s3.key = %key,
                "another writer uses this prefix; this instance is ending and leaves what the other one wrote"
            );
        } else {
            tracing::warn!(
                event = "writer.other",
                aws.s3.key = %key,
                "another writer uses this prefix; this instance stays and overwrites what the other one wrote"
            );
        }
    }
}

/// The object was replaced again after the inspection.
fn conflict() -> Outcome {
    Outcome::Failed(Failure {
        class: FailureClass::Object,
        code: "conflict".into(),
        message: "another writer replaces the object at the same time".into(),
        answer_lost: false,
        retry_after_ms: None,
    })
}
