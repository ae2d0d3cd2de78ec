//! Objects that may be the file already, so that nothing has to be sent.
//!
//! An object is known by its checksum; where the store keeps none, by its entity tag, if that is made of
//! MD5 sums; else by the file time in its metadata.

use super::entity_tag::TagSum;
use super::memory::MemoryPurpose;
use super::{ObjectStore, PutRequest, StoredObject, Transfer};
use crate::model::{ObjectRecord, Outcome, UploadDisposition, Version};
use bytes::Bytes;

/// An object that may be the file already.
#[derive(Debug)]
pub(super) enum ObjectCandidate {
    /// As the record says.
    Recorded(ObjectRecord),
    /// As the store says.
    Stored(StoredObject),
    /// As the store says, without a checksum. Its entity tag identifies the content.
    Tagged {
        object: StoredObject,
        /// What the bytes of the file go through.
        sum: Option<Box<TagSum>>,
        /// Whether its metadata has the time of the file.
        same_time: bool,
    },
}

impl ObjectCandidate {
    /// What the bytes of the file have to go through.
    pub(super) fn take_sum(&mut self) -> Option<TagSum> {
        match self {
            Self::Tagged { sum, .. } => sum.take().map(|sum| *sum),
            Self::Recorded(_) | Self::Stored(_) => None,
        }
    }

    /// Its entity tag, if it has the bytes of this checksum. `same_tag` says whether their sum is its
    /// entity tag, if that could be found out.
    pub(super) fn accepted(
        self,
        crc64nvme: u64,
        same_tag: Option<bool>,
    ) -> Option<(Option<String>, UploadDisposition)> {
        match self {
            Self::Recorded(mirrored) => (mirrored.crc64nvme == crc64nvme)
                .then_some((mirrored.etag, UploadDisposition::Unchanged)),
            Self::Stored(object) => object
                .crc64nvme
                .is_none_or(|there| there == crc64nvme)
                .then_some((object.etag, UploadDisposition::Found)),
            Self::Tagged { object, same_time, .. } => {
                same_tag.unwrap_or(same_time).then_some((object.etag, UploadDisposition::Found))
            }
        }
    }
}

impl<S: ObjectStore> Transfer<S> {
    /// An object that is the file already, if the bytes agree. Asks the store where the record does
    /// not know.
    pub(super) async fn candidate(
        &self,
        put: &PutRequest<'_>,
    ) -> Result<Option<ObjectCandidate>, Outcome> {
        let wanted = put.version();
        if let Some(sent_before) = put.lease.sent_before {
            // The record says nothing any more: the earlier try may have replaced what it names.
            if sent_before != wanted {
                return Ok(None);
            }
            let found = self.compare(put).await?;
            let same = |object: &StoredObject| object.ours && object.version == Some(wanted);
            return Ok(found.filter(same).map(ObjectCandidate::Stored));
        }
        if let Some(mirrored) = &put.known.mirrored {
            let same = mirrored.fingerprint.size == wanted.size;
            return Ok(same.then(|| ObjectCandidate::Recorded(mirrored.clone())));
        }
        if put.known.listed != Some(wanted.size) {
            return Ok(None);
        }
        // The record was lost, or is new: an object that is the file is taken over.
        let found = self.compare(put).await?;
        Ok(found.and_then(|object| self.adoptable(object, wanted)))
    }

    /// What is at the key. The condition of the next write is made of it, without another request.
    async fn compare(&self, put: &PutRequest<'_>) -> Result<Option<StoredObject>, Outcome> {
        let found = self.store.head(&put.key).await.map_err(Outcome::Failed)?;
        put.set_compared(found.clone());
        Ok(found)
    }

    /// An object of the size of the file, if there is a way to decide whether it is the file: by its
    /// checksum, by its entity tag, or by the time in its metadata.
    fn adoptable(&self, object: StoredObject, wanted: Version) -> Option<ObjectCandidate> {
        if object.crc64nvme.is_some() {
            return Some(ObjectCandidate::Stored(object));
        }
        let tag = object.etag.as_deref().filter(|_| object.md5_etag);
        let sum = tag
            .and_then(|tag| TagSum::new(tag, wanted.size, self.settings.multipart_part_size))
            .map(Box::new);
        let same_time = object.version == Some(wanted);
        match sum {
            Some(sum) => Some(ObjectCandidate::Tagged { object, sum: Some(sum), same_time }),
            None => same_time.then_some(ObjectCandidate::Stored(object)),
        }
    }

    /// Its entity tag, if it has these bytes.
    pub(super) async fn accepted(
        &self,
        mut there: ObjectCandidate,
        crc64nvme: u64,
        bytes: &Bytes,
    ) -> Result<Option<(Option<String>, UploadDisposition)>, Outcome> {
        let same_tag = match there.take_sum() {
            Some(mut sum) => {
                let bytes = bytes.clone();
                let compare = move || {
                    sum.update(&bytes);
                    Ok(sum.verdict())
                };
                self.readers.run(MemoryPurpose::File, compare).await?
            }
            None => None,
        };
        Ok(there.accepted(crc64nvme, same_tag))
    }
}
