//! Objects, looked at and read: what a mirror needs rarely, and a comparison with the bucket always.

use super::S3;
use super::age::AnswerDate;
use super::capabilities::Feature;
use super::checksum::decode;
use super::error::{content_failure, failure, is_no_such_key, is_status, unconfirmed};
use super::head::{OWNER, SOURCE, file_owner, file_time, full_mode};
use crate::model::{Failure, ObjectKey};
use crate::transfer::FileOwner;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::types::{ChecksumMode, ServerSideEncryption};
use crc_fast::{CrcAlgorithm, Digest};
use std::time::Duration;

/// What the store says of an object of any origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedObject {
    /// Bytes.
    pub size: u64,
    /// Its entity tag.
    pub etag: Option<String>,
    /// Whether the tag may be made of MD5 sums of its bytes.
    pub md5_etag: bool,
    /// The file time in its metadata: ours, rclone's, or that of S3 Files and DataSync.
    pub mtime_ns: Option<i64>,
    /// The mode of the file in its metadata, as in `st_mode`.
    pub mode: Option<u32>,
    /// The owner of the file in its metadata.
    pub file_owner: Option<FileOwner>,
    /// The checksum of the whole object, if the store keeps it.
    pub crc64nvme: Option<u64>,
    /// Whether it carries the mark of this record.
    pub ours: bool,
    /// The mark of the directory it was made from.
    pub source: Option<String>,
    /// How long it has been as it is, by the store's own clock, as far as the store returns it.
    pub age: Option<Duration>,
}

pub(super) fn is_kms(encryption: &ServerSideEncryption) -> bool {
    !matches!(encryption, ServerSideEncryption::Aes256)
}

impl S3 {
    /// What there is under `key`; `None` if nothing.
    ///
    /// # Errors
    ///
    /// If the store does not say.
    pub async fn inspect(&self, key: &ObjectKey) -> Result<Option<InspectedObject>, Failure> {
        let date = AnswerDate::default();
        let send = |checksum: bool| {
            let request = self.client.head_object().bucket(&self.bucket).key(key.as_str());
            let request = request.set_checksum_mode(checksum.then_some(ChecksumMode::Enabled));
            self.noted(request.customize()).interceptor(date.clone()).send()
        };
        match self.with_feature(Feature::ChecksumMode, send).await {
            Ok(answer) => {
                let md5_etag = answer.sse_customer_algorithm.is_none()
                    && !answer.server_side_encryption.as_ref().is_some_and(is_kms);
                let size = answer.content_length.and_then(|size| u64::try_from(size).ok());
                let metadata = answer.metadata.unwrap_or_default();
                let age = answer.last_modified.and_then(|modified| date.since(&modified));
                Ok(Some(InspectedObject {
                    age,
                    size: size.unwrap_or_default(),
                    etag: answer.e_tag,
                    md5_etag,
                    mtime_ns: file_time(&metadata),
                    mode: full_mode(&metadata),
                    file_owner: file_owner(&metadata),
                    crc64nvme: answer.checksum_crc64_nvme.as_deref().and_then(decode),
                    ours: metadata.get(OWNER) == Some(&self.owner),
                    source: metadata.get(SOURCE).cloned(),
                }))
            }
            Err(error) if is_status(&error, &[400, 404]) => self.explain_refusal(key).await,
            Err(error) => Err(failure(&error)),
        }
    }

    /// An answer without a body does not say what is missing (the object, the bucket, or a route of a
    /// proxy), nor what is refused (credentials that have expired, or the request). So the object's first
    /// byte is requested, and the error document says it.
    pub(super) async fn explain_refusal(
        &self,
        key: &ObjectKey,
    ) -> Result<Option<InspectedObject>, Failure> {
        let request = self.client.get_object().bucket(&self.bucket).key(key.as_str());
        match self.noted(request.range("bytes=0-0").customize()).send().await {
            Err(error) if is_no_such_key(&error) => Ok(None),
            Err(error) if !is_status(&error, &[416]) => Err(failure(&error)),
            _ => Err(unconfirmed("HeadObject was refused, and GetObject was not")),
        }
    }

    /// CRC-64/NVME of the bytes of the object, read in pieces; `None` if there is no such object.
    ///
    /// # Errors
    ///
    /// If it cannot be read to its end.
    pub async fn read_checksum(&self, key: &ObjectKey, size: u64) -> Result<Option<u64>, Failure> {
        let patience = self.limits.for_reading(size);
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(patience).build();
        let limits = aws_sdk_s3::config::Config::builder().timeout_config(timeouts);
        let request = self.client.get_object().bucket(&self.bucket).key(key.as_str());
        let mut body = match request.customize().config_override(limits).send().await {
            Ok(answer) => answer.body,
            Err(error) if is_no_such_key(&error) => {
                return Ok(None);
            }
            Err(error) => return Err(failure(&error)),
        };
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        let mut left = size;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| content_failure(&error.to_string()))?;
            left = left
                .checked_sub(piece.len() as u64)
                .ok_or_else(|| content_failure("the content is longer than the object"))?;
            digest.update(&piece);
        }
        Ok(Some(digest.finalize()))
    }
}
