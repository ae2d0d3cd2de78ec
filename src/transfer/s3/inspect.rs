//! Objects, looked at and read: what a mirror needs rarely, and a comparison with the bucket always.

use super::checksum::decode;
use super::error::failure;
use super::head::{MTIME, OWNER, SOURCE, parse_mtime};
use super::{BODY_RATE_MIN, REQUEST_PATIENCE, S3};
use crate::model::{Failure, FailureClass, ObjectKey};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::types::ChecksumMode;
use crc_fast::{CrcAlgorithm, Digest};
use std::time::Duration;

/// What the store says of an object, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Bytes.
    pub size: u64,
    /// Its entity tag.
    pub etag: Option<String>,
    /// The file time we gave it, if we did.
    pub mtime_ns: Option<i64>,
    /// The checksum of the whole object, if the store keeps it.
    pub crc64nvme: Option<u64>,
    /// Whether it carries the mark of this record.
    pub ours: bool,
    /// The mark of the directory it was made from.
    pub source: Option<String>,
}

impl S3 {
    /// What there is under `key`; `None` if nothing.
    ///
    /// # Errors
    ///
    /// If the store does not say.
    pub async fn inspect(&self, key: &ObjectKey) -> Result<Option<Inspected>, Failure> {
        let request = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .checksum_mode(ChecksumMode::Enabled);
        match request.send().await {
            Ok(answer) => {
                let size = answer.content_length.and_then(|size| u64::try_from(size).ok());
                let metadata = answer.metadata.unwrap_or_default();
                Ok(Some(Inspected {
                    size: size.unwrap_or_default(),
                    etag: answer.e_tag,
                    mtime_ns: metadata.get(MTIME).and_then(|text| parse_mtime(text)),
                    crc64nvme: answer.checksum_crc64_nvme.as_deref().and_then(decode),
                    ours: metadata.get(OWNER) == Some(&self.owner),
                    source: metadata.get(SOURCE).cloned(),
                }))
            }
            Err(error) if error.as_service_error().is_some_and(|e| e.is_not_found()) => Ok(None),
            Err(error) => Err(failure(&error)),
        }
    }

    /// CRC-64/NVME of the bytes of the object, read in pieces; `None` if there is no such object.
    ///
    /// # Errors
    ///
    /// If it cannot be read to its end.
    pub async fn read_checksum(&self, key: &ObjectKey, size: u64) -> Result<Option<u64>, Failure> {
        let patience = REQUEST_PATIENCE + Duration::from_secs(size / BODY_RATE_MIN);
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(patience).build();
        let limits = aws_sdk_s3::config::Config::builder().timeout_config(timeouts);
        let request = self.client.get_object().bucket(&self.bucket).key(key.as_str());
        let mut body = match request.customize().config_override(limits).send().await {
            Ok(answer) => answer.body,
            Err(error) if error.as_service_error().is_some_and(|e| e.is_no_such_key()) => {
                return Ok(None);
            }
            Err(error) => return Err(failure(&error)),
        };
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| Failure {
                class: FailureClass::Unavailable,
                code: "body".into(),
                message: error.to_string(),
                answer_lost: false,
            })?;
            digest.update(&piece);
        }
        Ok(Some(digest.finalize()))
    }
}
