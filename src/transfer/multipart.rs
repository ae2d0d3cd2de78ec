//! Large files: part after part, made an object only if the file did not change meanwhile.

use super::{
    Journal, ObjectHead, ObjectStore, Put, Source, StoredObject, StoredPart, Transfer, blocking,
    check, head_after, unix_nanos,
};
use crate::model::{Effort, Mirrored, Outcome};
use crc_fast::{CrcAlgorithm, checksum_combine};
use std::sync::Arc;

/// S3's limit.
const PARTS_MAX: u64 = 10_000;

/// Pieces in which a file is read that is only compared.
const COMPARE_CHUNK: usize = 1 << 20;

/// An upload under way.
struct Upload {
    id: String,
    parts: Vec<StoredPart>,
    crc64nvme: u64,
}

impl<S: ObjectStore, J: Journal> Transfer<S, J> {
    pub(super) async fn put_in_parts(&self, put: Put<'_>) -> Result<Outcome, Outcome> {
        let (root, path, version) = (Arc::clone(&self.root), put.path().clone(), put.version());
        // Only a file of the size recorded can be the one that is there already; the record's
        // checksum, or the one the store keeps, can tell, and reading costs less than sending.
        let recorded = [&put.known.mirrored, &put.known.twin].into_iter().flatten();
        let compare = put.lease.sent_before == Some(version)
            || put.known.listed == Some(version.size)
            || recorded.into_iter().any(|recorded| recorded.fingerprint.size == version.size);
        let (source, racy, whole) = blocking(move || {
            let source = Source::open(&root, &path, version)?;
            let racy = source.fingerprint().is_racy(unix_nanos());
            let whole = if compare { Some(source.checksum(COMPARE_CHUNK)?) } else { None };
            source.confirm()?;
            Ok((Arc::new(source), racy, whole))
        })
        .await?;
        let object = self.object_head(&put, &source);
        let mirrored = |crc64nvme, etag, effort| Mirrored {
            fingerprint: *source.fingerprint(),
            crc64nvme,
            etag,
            racy,
            epoch: put.known.epoch,
            head: head_after(&put, &object, effort),
        };
        if let Some(whole) = whole {
            if let Some((etag, effort)) = self.already_there(&put, whole).await? {
                return Ok(Outcome::Mirrored(mirrored(whole, etag, effort), effort));
            }
            if let Some(stored) = self.copy(&put, &object, whole).await? {
                let copied = mirrored(whole, stored.etag, Effort::Copied);
                return Ok(Outcome::Mirrored(copied, Effort::Copied));
            }
        }
        let (crc64nvme, stored) = self.upload(&put, &object, &source).await?;
        check(&stored, crc64nvme)?;
        Ok(Outcome::Mirrored(mirrored(crc64nvme, stored.etag, Effort::Sent), Effort::Sent))
    }

    async fn upload(
        &self,
        put: &Put<'_>,
        object: &ObjectHead,
        source: &Arc<Source>,
    ) -> Result<(u64, StoredObject), Outcome> {
        self.journal.noted(put.path(), None).await;
        let id = match self.store.begin_upload(object).await {
            Ok(id) => id,
            Err(failure) => {
                if !failure.answer_lost {
                    self.journal.ended(put.path()).await;
                }
                return Err(Outcome::Failed(failure));
            }
        };
        self.journal.noted(put.path(), Some(&id)).await;
        let mut upload = Upload { id, parts: Vec::new(), crc64nvme: 0 };
        match self.upload_parts(put, source, &mut upload).await {
            Ok(stored) => {
                self.journal.ended(put.path()).await;
                Ok((upload.crc64nvme, stored))
            }
            Err(outcome) => {
                self.give_up(put, &upload.id).await;
                Err(outcome)
            }
        }
    }

    /// After a lost answer the object may be there, and the upload gone; an abort does no harm.
    async fn give_up(&self, put: &Put<'_>, id: &str) {
        match self.store.abort_upload(&put.key, id).await {
            Ok(()) => self.journal.ended(put.path()).await,
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
        upload: &mut Upload,
    ) -> Result<StoredObject, Outcome> {
        let size = put.version().size;
        let part_size = self.settings.multipart_part_size.max(size.div_ceil(PARTS_MAX));
        let mut offset = 0;
        while offset < size {
            let length = part_size.min(size - offset);
            let part = self.upload_part(put, source, upload, offset, length).await?;
            upload.crc64nvme =
                checksum_combine(CrcAlgorithm::Crc64Nvme, upload.crc64nvme, part.crc64nvme, length);
            upload.parts.push(part);
            offset += length;
        }
        let confirmed = Arc::clone(source);
        blocking(move || confirmed.confirm()).await?;
        let Upload { id, parts, crc64nvme } = upload;
        self.store
            .complete_upload(&put.key, id, parts, size, *crc64nvme)
            .await
            .map_err(Outcome::Failed)
    }

    async fn upload_part(
        &self,
        put: &Put<'_>,
        source: &Arc<Source>,
        upload: &Upload,
        offset: u64,
        length: u64,
    ) -> Result<StoredPart, Outcome> {
        let _share = self.share(length).await;
        let reader = Arc::clone(source);
        let piece = blocking(move || {
            // A file that has changed need not be sent to its end.
            reader.confirm()?;
            reader.read(offset, usize::try_from(length).unwrap_or(usize::MAX))
        })
        .await?;
        let number = i32::try_from(upload.parts.len() + 1).unwrap_or(i32::MAX);
        self.store
            .put_part(&put.key, &upload.id, number, piece.bytes, piece.crc64nvme)
            .await
            .map_err(Outcome::Failed)
    }
}
