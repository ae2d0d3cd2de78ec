//! Changes the attributes of an existing object by a copy onto itself: those of the rules, on request,
//! and the time, mode and owner of its file, with `refresh_metadata`.
//!
//! A copy is a request for each object, and expensive in some storage classes. Its result is recorded, so
//! that it can be interrupted at any time, and is not done twice.

use super::copy::{CopySource, may_still_send};
use super::{ObjectMetadata, ObjectStore, PutRequest, Transfer, check};
use crate::model::{ObjectRecord, Outcome, OverlapSign, UploadDisposition};
use crate::rules::PosixMetadata;

/// Why an object is copied onto itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// Its attributes follow other rules. It is sent again if it cannot be copied.
    Rules,
    /// Its file has another time, mode or owner. It stays as it is if it cannot be copied.
    Metadata,
}

impl<S: ObjectStore> Transfer<S> {
    /// Gives the object that has these bytes already its present attributes. Returns its entity tag and what
    /// that took, or `None` if it can only be sent again.
    ///
    /// An object that another program has put in the place of ours stays as it is.
    pub(super) async fn reapplied(
        &self,
        put: &PutRequest<'_>,
        object: &ObjectMetadata,
        crc64nvme: u64,
        found: (Option<String>, UploadDisposition),
    ) -> Result<Option<(Option<String>, UploadDisposition)>, Outcome> {
        let recorded =
            put.known.mirrored.as_ref().filter(|_| found.1 == UploadDisposition::Unchanged);
        // An earlier copy may have been made or not: the time says nothing of the mode.
        let in_doubt = found.1 == UploadDisposition::Found && put.lease.sent_before.is_some();
        let in_doubt = in_doubt || self.has_other_owner(put, object, recorded).await?;
        let Some(reason) = self.reason(recorded, object, in_doubt) else { return Ok(Some(found)) };
        let cannot_be_copied = |found| match reason {
            Reason::Rules => None,
            Reason::Metadata => Some(found),
        };
        let Some(etag) = found.0.as_deref() else { return Ok(cannot_be_copied(found)) };
        let from = CopySource { key: put.key.clone(), etag };
        match self.copy_of(put, &from, object, crc64nvme).await {
            Ok(Some(stored)) => {
                check(&stored, crc64nvme)?;
                Ok(Some((stored.etag, UploadDisposition::Copied)))
            }
            // Another writer has replaced or removed it, as far as the store says.
            Ok(None) => {
                self.note_overlap(OverlapSign::Noticed).await;
                Ok(Some(found))
            }
            // It may not be copied, or cannot be, as out of an archive.
            Err(outcome) if may_still_send(&outcome) => {
                if let (Reason::Metadata, Outcome::Failed(failure)) = (reason, &outcome) {
                    tracing::warn!(
                        event = "metadata.not_refreshed",
                        file.path = %put.path(),
                        error.r#type = %failure.code,
                        error.message = %failure.message,
                        "the object cannot be copied onto itself; it keeps its time, mode and owner"
                    );
                }
                Ok(cannot_be_copied(found))
            }
            Err(outcome) => Err(outcome),
        }
    }

    /// Whether the object names another owner than the file has. The state does not know it: the store is
    /// asked, if the file changed in something else than its content, time and mode.
    async fn has_other_owner(
        &self,
        put: &PutRequest<'_>,
        object: &ObjectMetadata,
        recorded: Option<&ObjectRecord>,
    ) -> Result<bool, Outcome> {
        let asked = self.settings.refresh_metadata && object.file_owner.is_some();
        if !asked || recorded.is_none() || self.reason(recorded, object, false).is_some() {
            return Ok(false);
        }
        let found = self.store.head(&put.key).await.map_err(Outcome::Failed)?;
        Ok(found.is_some_and(|found| found.file_owner != object.file_owner))
    }

    fn reason(
        &self,
        recorded: Option<&ObjectRecord>,
        object: &ObjectMetadata,
        in_doubt: bool,
    ) -> Option<Reason> {
        let head = recorded.and_then(|mirrored| mirrored.head);
        if self.settings.reapply_rules && head != Some(object.head.digest()) {
            return Some(Reason::Rules);
        }
        let differs = recorded.is_some_and(|mirrored| {
            let file = &mirrored.fingerprint;
            let has_mode = object.head.attributes().posix_metadata != PosixMetadata::None;
            file.mtime_ns != object.version.mtime_ns || (has_mode && file.mode != object.mode)
        });
        (self.settings.refresh_metadata && (differs || in_doubt)).then_some(Reason::Metadata)
    }
}
