//! Large files: in parts, several at once, made an object only if the file did not change meanwhile.
//!
//! # Resuming
//!
//! What was sent is in the record, part by part. A try that ends because S3 or the daemon went away
//! leaves its upload where it is; the next one goes on with it if it would send the same state of the
//! file in the same parts under the same head. Every part is read again and sent only if it is not
//! what the store has confirmed, so nothing rests on time stamps.

use super::{
    Journal, Made, ObjectHead, ObjectStore, Purpose, Put, Source, StoredObject, Transfer, check,
    outcome,
};
use crate::model::{Effort, FailureClass, Outcome, StoredPart, UploadNote, UploadPlan};
use crc_fast::{CrcAlgorithm, checksum_combine};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// S3's limit.
const PARTS_MAX: u64 = 10_000;
/// Parts of one file that are read or sent at once.
const PARTS_AT_ONCE: usize = 8;

/// An upload under way.
struct Upload {
    id: String,
    plan: UploadPlan,
    /// Parts the store has confirmed to an earlier try.
    confirmed: HashMap<i32, StoredPart>,
}

impl UploadPlan {
    /// Numbers and ranges of the parts.
    pub(super) fn parts(&self) -> impl Iterator<Item = (i32, Range<u64>)> + use<> {
        let (size, part_size) = (self.version.size, self.part_size);
        (1..=PARTS_MAX.cast_signed() as i32).map_while(move |number| {
            let from = u64::from(number.cast_unsigned() - 1) * part_size;
            (from < size).then(|| (number, from..size.min(from + part_size)))
        })
    }
}

/// The size wished for, or what it takes to have no more than [`PARTS_MAX`].
pub(super) fn part_size(size: u64, wish: u64) -> u64 {
    wish.max(size.div_ceil(PARTS_MAX))
}

impl<S: ObjectStore, J: Journal> Transfer<S, J> {
    pub(super) async fn put_in_parts(&self, put: &Put<'_>) -> Result<Outcome, Outcome> {
        let version = put.version();
        let (source, racy) = self.readers.run(Purpose::Part, self.opener(put.lease)).await?;
        let source = Arc::new(source);
        let object = self.object_head(put, &source);
        let part_size = part_size(version.size, self.settings.multipart_part_size);
        let plan = UploadPlan { version, part_size, head: object.digest() };
        let begun = put.known.upload.as_ref();
        let resumed = begun.filter(|note| note.upload_id.is_some() && note.plan == plan);
        if let (Some(note), None) = (begun, resumed) {
            self.abandon(note).await.map_err(Outcome::Failed)?;
        }
        let outcome = |made| outcome(put, &source, &object, racy, made);
        if let Some(made) = self.unsent(put, &source, &object).await? {
            if let Some(note) = resumed {
                self.abandon(note).await.map_err(Outcome::Failed)?;
            }
            return Ok(outcome(made));
        }
        let (crc64nvme, stored) = self.upload(put, &source, &object, plan, resumed).await?;
        check(&stored, crc64nvme)?;
        Ok(outcome(Made { crc64nvme, etag: stored.etag, effort: Effort::Sent }))
    }

    /// Whether the object can be had without sending the file. It is read only if there is an object
    /// of its size, for reading costs less than sending.
    async fn unsent(
        &self,
        put: &Put<'_>,
        source: &Arc<Source>,
        object: &ObjectHead,
    ) -> Result<Option<Made>, Outcome> {
        let candidate = self.candidate(put).await?;
        let size = put.version().size;
        let twin = put.known.twin.as_ref().filter(|twin| twin.fingerprint.size == size);
        if candidate.is_none() && twin.is_none() {
            return Ok(None);
        }
        let reader = Arc::clone(source);
        let sum = move || {
            let crc64nvme = reader.checksum()?;
            reader.confirm()?;
            Ok(crc64nvme)
        };
        let crc64nvme = self.readers.run(Purpose::Part, sum).await?;
        if let Some(there) = candidate.and_then(|there| there.accepted(crc64nvme))
            && let Some((etag, effort)) = self.reapplied(put, object, crc64nvme, there).await?
        {
            return Ok(Some(Made { crc64nvme, etag, effort }));
        }
        let copied = self.copy(put, object, crc64nvme).await?;
        let effort = Effort::Copied;
        Ok(copied.map(|stored| Made { crc64nvme, etag: stored.etag, effort }))
    }

    async fn upload(
        &self,
        put: &Put<'_>,
        source: &Arc<Source>,
        object: &ObjectHead,
        plan: UploadPlan,
        resumed: Option<&UploadNote>,
    ) -> Result<(u64, StoredObject), Outcome> {
        let upload = match resumed.and_then(Upload::resumed) {
            Some(upload) => {
                tracing::info!(
                    event = "upload.resumed",
                    aws.s3.key = %put.key,
                    aws.s3.upload_id = upload.id,
                    parts = upload.confirmed.len(),
                    of = plan.parts().count(),
                    "going on with the multipart upload of an earlier try"
                );
                upload
            }
            None => {
                let id = self.begin_upload(put, object, &plan).await?;
                Upload { id, plan, confirmed: HashMap::new() }
            }
        };
        let result = self.upload_parts(put, source, &upload).await;
        match &result {
            Ok(_) => self.journal.ended(put.path(), Some(&upload.id)).await,
            // The parts are worth keeping: the next try goes on.
            Err(Outcome::Failed(failure))
                if !matches!(failure.class, FailureClass::Object | FailureClass::File) => {}
            Err(_) => self.give_up(put, &upload.id).await,
        }
        result
    }

    /// Begins an upload, such that the record knows of it whatever happens.
    pub(super) async fn begin_upload(
        &self,
        put: &Put<'_>,
        object: &ObjectHead,
        plan: &UploadPlan,
    ) -> Result<String, Outcome> {
        self.journal.begun(put.path(), plan, None).await;
        match self.store.begin_upload(object).await {
            Ok(id) => {
                self.journal.begun(put.path(), plan, Some(&id)).await;
                Ok(id)
            }
            Err(failure) => {
                if !failure.answer_lost {
                    self.journal.ended(put.path(), None).await;
                }
                Err(Outcome::Failed(failure))
            }
        }
    }

    /// After a lost answer the object may be there, and the upload gone; an abort does no harm.
    pub(super) async fn give_up(&self, put: &Put<'_>, id: &str) {
        match self.store.abort_upload(&put.key, id).await {
            Ok(()) => self.journal.ended(put.path(), Some(id)).await,
            Err(failure) => tracing::warn!(
                event = "upload.abort_failed",
                aws.s3.key = %put.key,
                error.type = failure.code,
                error.message = failure.message,
                "multipart upload not aborted; it stays noted, and is before the next try"
            ),
        }
    }

    async fn upload_parts(
        &self,
        put: &Put<'_>,
        source: &Arc<Source>,
        upload: &Upload,
    ) -> Result<(u64, StoredObject), Outcome> {
        let _keeping = self.memory.keep();
        let part = |(number, range)| self.upload_part(put, source, upload, number, range);
        let parts = stream::iter(upload.plan.parts()).map(part).buffered(PARTS_AT_ONCE);
        let parts: Vec<(StoredPart, u64)> = parts.try_collect().await?;
        let confirmed = Arc::clone(source);
        self.readers.run(Purpose::Part, move || confirmed.confirm()).await?;
        let whole =
            parts.iter().zip(upload.plan.parts()).fold(0, |whole, ((_, part), (_, range))| {
                checksum_combine(CrcAlgorithm::Crc64Nvme, whole, *part, range.end - range.start)
            });
        let parts: Vec<_> = parts.into_iter().map(|(part, _)| part).collect();
        let size = upload.plan.version.size;
        let stored = self.store.complete_upload(&put.key, &upload.id, &parts, size, whole).await;
        Ok((whole, stored.map_err(Outcome::Failed)?))
    }

    /// Sends a part, if the store does not have it. Answers with the checksum of what the file has.
    async fn upload_part(
        &self,
        put: &Put<'_>,
        source: &Arc<Source>,
        upload: &Upload,
        number: i32,
        range: Range<u64>,
    ) -> Result<(StoredPart, u64), Outcome> {
        let buffer = self.memory.buffer(range.end - range.start, Purpose::Part).await;
        let reader = Arc::clone(source);
        let read = move || {
            // A file that has changed need not be sent to its end.
            reader.confirm()?;
            reader.read(range.start, buffer)
        };
        let piece = self.readers.run(Purpose::Part, read).await?;
        let there = upload.confirmed.get(&number);
        if let Some(part) = there.filter(|part| part.crc64nvme == Some(piece.crc64nvme)) {
            return Ok((part.clone(), piece.crc64nvme));
        }
        let sent = self
            .store
            .put_part(&put.key, &upload.id, number, piece.bytes, piece.crc64nvme)
            .await
            .map_err(Outcome::Failed)?;
        self.journal.stored(put.path(), &sent).await;
        Ok((sent, piece.crc64nvme))
    }
}

impl Upload {
    fn resumed(note: &UploadNote) -> Option<Self> {
        let confirmed = note.parts.iter().map(|part| (part.number, part.clone())).collect();
        Some(Self { id: note.upload_id.clone()?, plan: note.plan, confirmed })
    }
}
