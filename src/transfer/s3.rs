//! S3 by the AWS SDK. The only module that names it, with `s3/`.
//!
//! - The SDK's own retries are off: the queue owns them, and every request is one it knows of.
//! - A checksum goes with every body, computed while the file was read; S3 stores nothing that
//!   arrives otherwise. The SDK adds none of its own.
//! - Every request has a time limit that fits its size.

mod answered;
mod checksum;
mod client;
mod delete;
mod error;
mod head;
mod inspect;
mod lease;
mod list;

pub use client::{Payload, S3Settings};
pub use inspect::Inspected;

use super::{Condemned, Deleted, ObjectHead, ObjectStore, Page, StoredObject};
use crate::model::{Failure, ObjectKey, StoredPart, UnixMillis, Version};
use crate::rules::Checksum;
use aws_sdk_s3::Client;
use aws_sdk_s3::client::customize::CustomizableOperation;
use aws_sdk_s3::config::StalledStreamProtectionConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumType, CompletedMultipartUpload, CompletedPart, MetadataDirective, MultipartUpload,
    TaggingDirective,
};
use bytes::Bytes;
use checksum::{CarriesBytes, decode, encode};
use delete::Lacks;
use error::{failure, is_status};
use head::MakesObject;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Everything but what a URL may hold unescaped, and the separator.
const COPY_SOURCE_ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Longest time for a request without a body, or a small one.
const REQUEST_PATIENCE: Duration = Duration::from_secs(30);
/// What half of that is enough for.
const SMALL_BYTES: u64 = 15 * BODY_RATE_MIN;
/// A body may take so much longer as it would at this rate, bytes a second. Slower is stalled.
const BODY_RATE_MIN: u64 = 64 << 10;

/// An S3 bucket.
#[derive(Debug, Clone)]
pub struct S3 {
    client: Client,
    bucket: String,
    payload: Payload,
    checksum: Checksum,
    owner: String,
    /// What the store turned out not to know.
    lacks: Arc<Lacks>,
}

/// Gives a request that moves so many bytes the time it needs for them. Most need none: an override
/// costs as much CPU as a signature.
fn patient<T, E, B>(
    request: CustomizableOperation<T, E, B>,
    bytes: u64,
) -> CustomizableOperation<T, E, B> {
    match limits(bytes) {
        Some(limits) => request.config_override(limits),
        None => request,
    }
}

fn limits(bytes: u64) -> Option<aws_sdk_s3::config::Builder> {
    if bytes <= SMALL_BYTES {
        return None;
    }
    let patience = REQUEST_PATIENCE + Duration::from_secs(bytes / BODY_RATE_MIN);
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(patience).build();
    Some(aws_sdk_s3::config::Config::builder().timeout_config(timeouts))
}

impl S3 {
    fn copy_source(&self, from: &ObjectKey) -> String {
        let from = percent_encoding::utf8_percent_encode(from.as_str(), COPY_SOURCE_ESCAPED);
        format!("{}/{from}", self.bucket)
    }

    /// Of the whole object, not of the checksums of its parts.
    fn checksum_type(&self) -> Option<ChecksumType> {
        (self.checksum != Checksum::None).then_some(ChecksumType::FullObject)
    }
}

impl ObjectStore for S3 {
    async fn put(
        &self,
        object: &ObjectHead,
        body: Bytes,
        crc64nvme: u64,
    ) -> Result<StoredObject, Failure> {
        let size = body.len() as u64;
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .head(object, &self.owner)
            .checksum(self.checksum, &body, crc64nvme)
            .body(ByteStream::from(body));
        let request = patient(request.customize(), size);
        let request = match self.payload {
            Payload::Signed => request,
            Payload::Unsigned => request.disable_payload_signing(),
        };
        let answer = request.send().await.map_err(|error| failure(&error))?;
        Ok(StoredObject {
            etag: answer.e_tag,
            version: Some(object.version),
            crc64nvme: answer.checksum_crc64_nvme.as_deref().and_then(decode),
            ours: true,
            source: None,
        })
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<StoredObject>, Failure> {
        let found = self.inspect(key).await?;
        Ok(found.map(|found| StoredObject {
            version: found.mtime_ns.map(|mtime_ns| Version { size: found.size, mtime_ns }),
            etag: found.etag,
            crc64nvme: found.crc64nvme,
            ours: found.ours,
            source: found.source,
        }))
    }

    async fn delete(&self, objects: &[Condemned]) -> Vec<Result<Deleted, Failure>> {
        self.delete_all(objects).await
    }

    async fn list(&self, prefix: &str, from: Option<String>) -> Result<Page, Failure> {
        self.list_page(prefix, from).await
    }

    async fn copy(
        &self,
        from: &ObjectKey,
        etag: &str,
        object: &ObjectHead,
    ) -> Result<Option<StoredObject>, Failure> {
        let request = self
            .client
            .copy_object()
            .copy_source(self.copy_source(from))
            .copy_source_if_match(etag)
            .bucket(&self.bucket)
            .head(object, &self.owner)
            .metadata_directive(MetadataDirective::Replace)
            .set_tagging_directive(object.replaces_tags.then_some(TaggingDirective::Replace));
        // The store reads and writes the whole object before it answers.
        let size = object.version.size;
        match patient(request.customize(), size).send().await {
            Ok(answer) => Ok(answer.copy_object_result.map(|copied| StoredObject {
                etag: copied.e_tag,
                version: None,
                crc64nvme: copied.checksum_crc64_nvme.as_deref().and_then(decode),
                ours: true,
                source: None,
            })),
            Err(error) if is_status(&error, &[404, 412]) => Ok(None),
            Err(error) => Err(failure(&error)),
        }
    }

    async fn begin_upload(&self, object: &ObjectHead) -> Result<String, Failure> {
        let request = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .head(object, &self.owner)
            .set_checksum_algorithm(checksum::to_sdk(self.checksum))
            .set_checksum_type(self.checksum_type());
        let answer = request.send().await.map_err(|error| failure(&error))?;
        answer.upload_id.ok_or_else(|| error::incomplete("an upload without an id"))
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: i32,
        body: Bytes,
        crc64nvme: u64,
    ) -> Result<StoredPart, Failure> {
        let size = body.len() as u64;
        let request = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(key.as_str())
            .upload_id(upload_id)
            .part_number(number)
            .checksum(self.checksum, &body, crc64nvme)
            .body(ByteStream::from(body));
        let request = patient(request.customize(), size);
        let request = match self.payload {
            Payload::Signed => request,
            Payload::Unsigned => request.disable_payload_signing(),
        };
        let answer = request.send().await.map_err(|error| failure(&error))?;
        let etag = answer.e_tag.ok_or_else(|| error::incomplete("a part without an entity tag"))?;
        Ok(StoredPart { number, etag, crc64nvme: Some(crc64nvme) })
    }

    async fn copy_part(
        &self,
        (from, etag): (&ObjectKey, &str),
        range: Range<u64>,
        key: &ObjectKey,
        upload_id: &str,
        number: i32,
    ) -> Result<Option<StoredPart>, Failure> {
        let size = range.end - range.start;
        let request = self
            .client
            .upload_part_copy()
            .copy_source(self.copy_source(from))
            .copy_source_if_match(etag)
            .copy_source_range(format!("bytes={}-{}", range.start, range.end - 1))
            .bucket(&self.bucket)
            .key(key.as_str())
            .upload_id(upload_id)
            .part_number(number);
        // The store reads and writes before it answers; that nothing moves meanwhile is no stall.
        let limits = limits(size)
            .unwrap_or_default()
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        match request.customize().config_override(limits).send().await {
            Ok(answer) => {
                let copied = answer.copy_part_result;
                let etag = copied.as_ref().and_then(|copied| copied.e_tag.clone());
                let etag = etag.ok_or_else(|| error::incomplete("a part without an entity tag"))?;
                let sum = copied.and_then(|copied| copied.checksum_crc64_nvme);
                Ok(Some(StoredPart { number, etag, crc64nvme: sum.as_deref().and_then(decode) }))
            }
            Err(error) if is_status(&error, &[404, 412]) => Ok(None),
            Err(error) => Err(failure(&error)),
        }
    }

    async fn complete_upload(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        parts: &[StoredPart],
        size: u64,
        crc64nvme: u64,
    ) -> Result<StoredObject, Failure> {
        // The store compared each part when it came; the checksum of the whole is known of one kind.
        let told = |crc64nvme| (self.checksum == Checksum::Crc64Nvme).then(|| encode(crc64nvme));
        let parts = parts.iter().map(|part| {
            CompletedPart::builder()
                .part_number(part.number)
                .e_tag(&part.etag)
                .set_checksum_crc64_nvme(part.crc64nvme.and_then(told))
                .build()
        });
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(key.as_str())
            .upload_id(upload_id)
            .multipart_upload(parts)
            .set_checksum_crc64_nvme(told(crc64nvme))
            .set_checksum_type(self.checksum_type())
            .mpu_object_size(i64::try_from(size).unwrap_or(i64::MAX));
        // Putting the parts together takes the store time by size, as sending them did.
        let answer =
            patient(request.customize(), size).send().await.map_err(|error| failure(&error))?;
        Ok(StoredObject {
            etag: answer.e_tag,
            version: None,
            crc64nvme: answer.checksum_crc64_nvme.as_deref().and_then(decode),
            ours: true,
            source: None,
        })
    }

    async fn abort_upload(&self, key: &ObjectKey, upload_id: &str) -> Result<(), Failure> {
        let request = self
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key(key.as_str())
            .upload_id(upload_id);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_no_such_upload()) => Ok(()),
            Err(error) => Err(failure(&error)),
        }
    }

    async fn uploads(&self, key: &ObjectKey) -> Result<Vec<(String, UnixMillis)>, Failure> {
        // One page: nobody has a thousand unfinished uploads of one key, and what is left is found
        // by the next try.
        let request =
            self.client.list_multipart_uploads().bucket(&self.bucket).prefix(key.as_str());
        let answer = request.send().await;
        let uploads = answer.map_err(|error| failure(&error))?.uploads.unwrap_or_default();
        let of_key = uploads.into_iter().filter(|upload| upload.key() == Some(key.as_str()));
        let begun = |upload: MultipartUpload| {
            let initiated = upload.initiated.and_then(|time| time.to_millis().ok());
            let initiated = initiated.and_then(|time| u64::try_from(time).ok());
            Some((upload.upload_id?, initiated.unwrap_or_default()))
        };
        Ok(of_key.filter_map(begun).collect())
    }
}

/// A client of an S3 in memory.
#[cfg(test)]
pub(super) fn for_tests(server: &file_sync_dev_s3::Server) -> S3 {
    let settings = S3Settings {
        bucket: file_sync_dev_s3::BUCKET.into(),
        endpoint_url: Some(server.endpoint()),
        force_path_style: true,
        checksum: Checksum::Crc64Nvme,
        owner: "us".into(),
    };
    S3::new(&crate::aws::for_tests(), settings)
}
