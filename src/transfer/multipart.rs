//! Large files: in parts, several at once, made an object only if the file did not change meanwhile.
//!
//! # Resuming
//!
//! What was sent is in the record, part by part. A try that ends because S3 or the daemon went away
//! leaves its upload where it is; the next one goes on with it if it would send the same state of the
//! file in the same parts under the same head. Every part is read again and sent only if it is not
//! what the store has confirmed, so nothing rests on time stamps.

use super::candidate::ObjectCandidate;
use super::entity_tag::TagSum;
use super::{
    AttemptRecord, FileSource, MemoryPurpose, ObjectMetadata, ObjectStore, PutRequest, PutResult,
    StoredObject, TOO_LARGE, Transfer, UploadRef, check, memory_of_parts, outcome,
};
use crate::model::{
    Failure, FailureClass, Outcome, StoredPart, UploadDisposition, UploadPlan, UploadRecord,
};
use crate::root::now_ns;
use crc_fast::{CrcAlgorithm, checksum_combine};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// S3's limits.
const PARTS_MAX: u64 = 10_000;
const PART_BYTES_MAX: u64 = 5 << 30;
/// Parts of one file that are read or sent at once.
const PARTS_AT_ONCE: usize = 8;

/// Waits for a change of the file, or for more memory.
fn too_large() -> Outcome {
    Outcome::Failed(Failure {
        class: FailureClass::File,
        code: TOO_LARGE.into(),
        message: "10,000 parts of the largest size that transfer_memory_mib allows do not suffice"
            .into(),
        answer_lost: false,
        retry_after_ms: None,
    })
}

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
        let size = self.version.size;
        let part_size = self.part_size;
        (1..=PARTS_MAX.cast_signed() as i32).map_while(move |number| {
            let from = u64::from(number.cast_unsigned() - 1) * part_size;
            (from < size).then(|| (number, from..size.min(from + part_size)))
        })
    }
}

/// The size wished for, or what it takes to have no more than [`PARTS_MAX`]. `None` where the file
/// needs larger parts than there is memory for, or than S3 takes.
pub(super) fn part_size(size: u64, wish: u64, memory: u64) -> Option<u64> {
    let part_size = wish.max(size.div_ceil(PARTS_MAX));
    (part_size <= largest_part(wish, memory)).then_some(part_size)
}

/// The largest file that can be sent with so much `memory`, bytes.
#[must_use]
pub fn largest_file(wish: u64, memory: u64) -> u64 {
    largest_part(wish, memory).saturating_mul(PARTS_MAX)
}

fn largest_part(wish: u64, memory: u64) -> u64 {
    memory_of_parts(memory, wish).min(PART_BYTES_MAX)
}

impl<S: ObjectStore> Transfer<S> {
    pub(super) async fn put_in_parts(&self, put: &PutRequest<'_>) -> Result<Outcome, Outcome> {
        let (source, racy) = self.readers.run(MemoryPurpose::Part, self.opener(put.lease)).await?;
        let source = Arc::new(source);
        let object = self.object_head(put, &source);
        let plan = self.upload_plan(put, &object).ok_or_else(too_large)?;
        let resumed = self.resumable(put, &object);
        if let (Some(note), None) = (put.known.upload.as_ref(), resumed) {
            self.abandon(note).await.map_err(Outcome::Failed)?;
        }
        let outcome = |made| outcome(put, &source, &object, racy, made);
        if let Some(made) = self.unsent(put, &source, &object).await? {
            if let Some(note) = resumed {
                self.abandon(note).await.map_err(Outcome::Failed)?;
            }
            return Ok(outcome(made));
        }
        if let Err(outcome) = self.yield_to_other(put).await {
            if let (Outcome::Yielded, Some(note)) = (&outcome, resumed) {
                self.abandon(note).await.map_err(Outcome::Failed)?;
            }
            return Err(outcome);
        }
        let (crc64nvme, stored) = self.upload(put, &source, &object, plan, resumed).await?;
        check(&stored, crc64nvme)?;
        Ok(outcome(PutResult { crc64nvme, etag: stored.etag, effort: UploadDisposition::Sent }))
    }

    /// What an upload of the file sends; `None` where its parts would be larger than the memory allows.
    fn upload_plan(&self, put: &PutRequest<'_>, object: &ObjectMetadata) -> Option<UploadPlan> {
        let version = put.version();
        let wish = self.settings.multipart_part_size;
        let memory = self.settings.memory;
        let part_size = part_size(version.size, wish, memory)?;
        Some(UploadPlan { version, part_size, head: object.digest() })
    }

    /// The upload of an earlier attempt that this one can continue.
    pub(super) fn resumable<'a>(
        &self,
        put: &PutRequest<'a>,
        object: &ObjectMetadata,
    ) -> Option<&'a UploadRecord> {
        let plan = self.upload_plan(put, object)?;
        let known: &'a AttemptRecord = put.known;
        known.upload.as_ref().filter(|note| note.upload_id.is_some() && note.plan == plan)
    }

    /// Whether the object can be had without sending the file. It is read only if there is an object
    /// of its size, for reading costs less than sending.
    async fn unsent(
        &self,
        put: &PutRequest<'_>,
        source: &Arc<FileSource>,
        object: &ObjectMetadata,
    ) -> Result<Option<PutResult>, Outcome> {
        let mut candidate = self.candidate(put).await?;
        let size = put.version().size;
        let renamed = put.known.rename_source.as_ref();
        let renamed = renamed.filter(|before| before.fingerprint.size == size);
        if candidate.is_none() && renamed.is_none() {
            return Ok(None);
        }
        let reader = Arc::clone(source);
        let mut sum = candidate.as_mut().and_then(ObjectCandidate::take_sum);
        let read = move || {
            let crc64nvme = reader.checksum(sum.as_mut())?;
            reader.confirm()?;
            Ok((crc64nvme, sum.and_then(TagSum::verdict)))
        };
        let (crc64nvme, same_tag) = self.readers.run(MemoryPurpose::Part, read).await?;
        if let Some(there) = candidate.and_then(|there| there.accepted(crc64nvme, same_tag))
            && let Some((etag, effort)) = self.reapplied(put, object, crc64nvme, there).await?
        {
            return Ok(Some(PutResult { crc64nvme, etag, effort }));
        }
        let copied = self.copy(put, object, crc64nvme).await?;
        let effort = UploadDisposition::Copied;
        Ok(copied.map(|stored| PutResult { crc64nvme, etag: stored.etag, effort }))
    }

    async fn upload(
        &self,
        put: &PutRequest<'_>,
        source: &Arc<FileSource>,
        object: &ObjectMetadata,
        plan: UploadPlan,
        resumed: Option<&UploadRecord>,
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
            Ok(_) => self.records.record_upload_end(put.path(), Some(&upload.id)).await,
            // The parts are worth keeping: the next try goes on.
            Err(Outcome::Failed(failure))
                if !matches!(failure.class, FailureClass::Object | FailureClass::File) => {}
            Err(_) => self.give_up(put, &upload.id).await,
        }
        result
    }

    /// Begins an upload, such that the state names it whatever happens.
    ///
    /// The state names one upload of a path. One that an earlier request of this attempt may have left
    /// open, since its answer was lost or its abort refused, is looked for and aborted before.
    pub(super) async fn begin_upload(
        &self,
        put: &PutRequest<'_>,
        object: &ObjectMetadata,
        plan: &UploadPlan,
    ) -> Result<String, Outcome> {
        let left_open = put.left_open.load(Ordering::Relaxed);
        if left_open > 0 {
            let path = put.path().clone();
            let parts = Vec::new();
            let note = UploadRecord { path, upload_id: None, begun: left_open, plan: *plan, parts };
            self.abandon(&note).await.map_err(Outcome::Failed)?;
        }
        let now = now_ns() / 1_000_000;
        put.left_open.store(now.try_into().unwrap_or(1), Ordering::Relaxed);
        self.records.record_upload_start(put.path(), plan, None).await;
        match self.store.begin_upload(object).await {
            Ok(id) => {
                self.records.record_upload_start(put.path(), plan, Some(&id)).await;
                Ok(id)
            }
            Err(failure) => {
                if !failure.answer_lost {
                    put.left_open.store(0, Ordering::Relaxed);
                    self.records.record_upload_end(put.path(), None).await;
                }
                Err(Outcome::Failed(failure))
            }
        }
    }

    /// After a lost answer the object may be there, and the upload gone; an abort does no harm.
    pub(super) async fn give_up(&self, put: &PutRequest<'_>, id: &str) {
        match self.store.abort_upload(UploadRef { key: &put.key, id }).await {
            Ok(()) => {
                put.left_open.store(0, Ordering::Relaxed);
                self.records.record_upload_end(put.path(), Some(id)).await;
            }
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
        put: &PutRequest<'_>,
        source: &Arc<FileSource>,
        upload: &Upload,
    ) -> Result<(u64, StoredObject), Outcome> {
        let _keeping = self.memory.keep();
        let part = |(number, range)| self.upload_part(put, source, upload, number, range);
        let parts = stream::iter(upload.plan.parts()).map(part).buffered(PARTS_AT_ONCE);
        let parts: Vec<(StoredPart, u64)> = parts.try_collect().await?;
        let confirmed = Arc::clone(source);
        self.readers.run(MemoryPurpose::Part, move || confirmed.confirm()).await?;
        let whole =
            parts.iter().zip(upload.plan.parts()).fold(0, |whole, ((_, part), (_, range))| {
                checksum_combine(CrcAlgorithm::Crc64Nvme, whole, *part, range.end - range.start)
            });
        let parts: Vec<_> = parts.into_iter().map(|(part, _)| part).collect();
        let size = upload.plan.version.size;
        Ok((whole, self.complete_upload(put, &upload.id, &parts, size, whole).await?))
    }

    /// Sends a part, if the store does not have it. Answers with the checksum of what the file has.
    async fn upload_part(
        &self,
        put: &PutRequest<'_>,
        source: &Arc<FileSource>,
        upload: &Upload,
        number: i32,
        range: Range<u64>,
    ) -> Result<(StoredPart, u64), Outcome> {
        let buffer = self.memory.buffer(range.end - range.start, MemoryPurpose::Part).await;
        let reader = Arc::clone(source);
        let read = move || {
            // A file that has changed need not be sent to its end.
            reader.confirm()?;
            reader.read(range.start, buffer)
        };
        let piece = self.readers.run(MemoryPurpose::Part, read).await?;
        let there = upload.confirmed.get(&number);
        if let Some(part) = there.filter(|part| part.crc64nvme == Some(piece.crc64nvme)) {
            return Ok((part.clone(), piece.crc64nvme));
        }
        let to = UploadRef { key: &put.key, id: &upload.id };
        let sent = self.store.put_part(to, number, piece.bytes, piece.crc64nvme).await;
        let sent = sent.map_err(Outcome::Failed)?;
        self.records.record_part(put.path(), &sent).await;
        Ok((sent, piece.crc64nvme))
    }
}

impl Upload {
    fn resumed(note: &UploadRecord) -> Option<Self> {
        let confirmed = note.parts.iter().map(|part| (part.number, part.clone())).collect();
        Some(Self { id: note.upload_id.clone()?, plan: note.plan, confirmed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_part_is_never_larger_than_its_memory_and_what_needs_more_is_refused() {
        for (wish, memory) in [(8, 128), (8, 64), (5, 5), (512, 512), (8, 1 << 20)] {
            let wish = wish * MIB;
            let memory = memory * MIB;
            let largest = largest_file(wish, memory);
            for size in [1, MIB, wish * PARTS_MAX, largest / 2, largest] {
                let Some(part) = part_size(size, wish, memory) else {
                    panic!("{size} of {largest} needs no more than {memory}")
                };
                assert!(part <= memory && part <= PART_BYTES_MAX.max(wish));
                assert!(size.div_ceil(part) <= PARTS_MAX);
            }
            assert_eq!(part_size(largest + 1, wish, memory), None);
        }
        assert_eq!(part_size(15 << 40, 8 * MIB, 64 * MIB), None, "15 TiB in 64 MiB");
    }
}
