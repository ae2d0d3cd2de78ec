//! Copies within S3, for files that have another name now.
//!
//! In any doubt nothing is copied, and the file is sent.

use super::{ObjectMetadata, ObjectStore, PutRequest, StoredObject, Transfer, UploadRef, check};
use crate::model::{FailureClass, ObjectKey, ObjectRecord, Outcome, StoredPart, UploadPlan};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::ops::Range;

/// Parts of one object that are copied at once: the store does the work.
const PARTS_AT_ONCE: usize = 8;

/// The object to copy, which must still have the entity tag.
pub(super) struct CopySource<'a> {
    pub(super) key: ObjectKey,
    pub(super) etag: &'a str,
}

/// Whether sending can do what copying could not: an outage concerns both, a refusal need not.
pub(super) fn may_still_send(outcome: &Outcome) -> bool {
    use FailureClass::{Throttled, Unavailable};
    matches!(outcome, Outcome::Failed(failure) if !matches!(failure.class, Unavailable | Throttled))
}

impl<S: ObjectStore> Transfer<S> {
    /// Copies the object the file had under its name before, if it has these bytes. `None` where
    /// there is any doubt.
    pub(super) async fn copy(
        &self,
        put: &PutRequest<'_>,
        object: &ObjectMetadata,
        crc64nvme: u64,
    ) -> Result<Option<StoredObject>, Outcome> {
        let Some(from) = self.copy_source(put, crc64nvme) else { return Ok(None) };
        let stored = match self.copy_of(put, &from, object, crc64nvme).await {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(None),
            Err(outcome) if may_still_send(&outcome) => return Ok(None),
            Err(outcome) => return Err(outcome),
        };
        if stored.crc64nvme.is_some() {
            return Ok(check(&stored, crc64nvme).is_ok().then_some(stored));
        }
        // A store that returns no checksum is asked what it made.
        let made = self.store.head(&put.key).await.map_err(Outcome::Failed)?;
        Ok(made.filter(|made| made.ours && made.version == Some(put.version())))
    }

    /// Copies the object, in as many requests as its size takes. `None` if it is not what it was.
    pub(super) async fn copy_of(
        &self,
        put: &PutRequest<'_>,
        from: &CopySource<'_>,
        object: &ObjectMetadata,
        crc64nvme: u64,
    ) -> Result<Option<StoredObject>, Outcome> {
        if put.version().size > self.settings.copy_threshold {
            // The state has room for one upload of a path: a copy in parts would replace the record of
            // the one that continues, and a crash would leave that one open for ever.
            if self.resumable(put, object).is_some() {
                return Ok(None);
            }
            return self.copy_in_parts(put, from, object, crc64nvme).await;
        }
        let condition = self.copy_condition(put).await?;
        let copy =
            self.store.copy(&put.writes, &from.key, from.etag, object, condition.as_ref()).await;
        copy.map_err(Outcome::Failed)
    }

    fn copy_source<'a>(&self, put: &PutRequest<'a>, crc64nvme: u64) -> Option<CopySource<'a>> {
        let source: &'a ObjectRecord = put.known.rename_source.as_ref()?;
        let key = self.settings.prefix.key(put.lease.pending.copy_from.as_ref()?).ok()?;
        let same = source.crc64nvme == crc64nvme && source.fingerprint.size == put.version().size;
        same.then_some(CopySource { key, etag: source.etag.as_deref()? })
    }

    /// What one request would be too small for.
    async fn copy_in_parts(
        &self,
        put: &PutRequest<'_>,
        from: &CopySource<'_>,
        object: &ObjectMetadata,
        crc64nvme: u64,
    ) -> Result<Option<StoredObject>, Outcome> {
        let size = put.version().size;
        let part_size = self.settings.copy_part_size;
        // Nothing of it comes through our memory.
        let Some(part_size) = super::multipart::part_size(size, part_size, u64::MAX) else {
            return Ok(None);
        };
        self.yield_to_other(put).await?;
        let plan = UploadPlan { version: put.version(), part_size, head: object.digest() };
        let id = self.begin_upload(put, object, &plan).await?;
        let upload = UploadRef { key: &put.key, id: &id };
        let part = |(number, range): (i32, Range<u64>)| {
            self.store.copy_part((&from.key, from.etag), range, upload, number)
        };
        let parts = stream::iter(plan.parts()).map(part).buffered(PARTS_AT_ONCE);
        let copied = match parts.try_collect::<Vec<Option<StoredPart>>>().await {
            // With one part missing, the source is not what it was.
            Ok(parts) => match parts.into_iter().collect::<Option<Vec<StoredPart>>>() {
                Some(parts) => {
                    self.complete_upload(put, &id, &parts, size, crc64nvme).await.map(Some)
                }
                None => Ok(None),
            },
            Err(failure) => Err(Outcome::Failed(failure)),
        };
        match copied {
            Ok(Some(stored)) => {
                self.records.record_upload_end(put.path(), Some(&id)).await;
                Ok(Some(stored))
            }
            Ok(None) => {
                self.give_up(put, &id).await;
                Ok(None)
            }
            Err(outcome) => {
                self.give_up(put, &id).await;
                Err(outcome)
            }
        }
    }
}
