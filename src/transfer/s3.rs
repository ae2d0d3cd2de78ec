//! S3 by the AWS SDK. The only module that names it, with `s3/`.
//!
//! - The SDK's own retries are off: the queue owns them, and every request is one it knows of.
//! - A checksum goes with every body, computed while the file was read; S3 stores nothing that
//!   arrives otherwise. The SDK adds none of its own.
//! - Every request has a time limit that fits its size; a body that moves has as long as it needs.
//! - Only answers of S3 count, and no more of them is read than S3 says (`answer`, `screen`).

mod age;
mod answer;
mod answer_slot;
mod bucket_owner;
mod capabilities;
mod checksum;
mod client;
mod condition;
mod content_md5;
mod customer_key;
mod delete;
mod error;
mod fetch;
mod head;
mod inspect;
mod lease;
mod limits;
mod list;
mod retry_after;
mod screen;
#[cfg(test)]
mod tests;
mod uploads;
mod versions;

pub use client::{EndpointKind, Payload, S3Settings};
pub use fetch::ObjectFacts;
pub(super) use fetch::{FetchRange, Fetched};
pub use inspect::InspectedObject;

use super::{
    ObjectMetadata, ObjectRequest, ObjectStore, StoreAnswer, StoreResponse, StoredObject,
    UploadRef, WriteResult,
};
use crate::exclusivity::Condition;
use crate::model::{Failure, ObjectKey, StoredPart, Version};
use crate::rules::Checksum;
use answer::S3Operation;
use answer_slot::AnswerSlot;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::StalledStreamProtectionConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumType, CompletedMultipartUpload, CompletedPart, MetadataDirective, TaggingDirective,
};
use bytes::Bytes;
use capabilities::{Feature, StoreCapabilities};
use checksum::{CarriesBytes, decode, encode};
use condition::ConditionalWrite;
use error::{failure, incomplete, is_no_such_key, is_precondition_failed};
use head::MakesObject;
use limits::RequestLimits;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use std::ops::Range;
use std::sync::Arc;

/// Everything but what a URL may hold unescaped, and the separator.
const COPY_SOURCE_ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// An S3 bucket.
#[derive(Debug, Clone)]
pub struct S3 {
    client: Client,
    bucket: String,
    payload: Payload,
    checksum: Checksum,
    owner: String,
    limits: RequestLimits,
    /// The canned ACL of what is no file's object.
    acl: Option<String>,
    /// What the store turned out not to know.
    capabilities: Arc<StoreCapabilities>,
    /// The answers to the requests of this call.
    answers: AnswerSlot,
}

impl S3 {
    fn copy_source(&self, from: &ObjectKey) -> String {
        let from = percent_encoding::utf8_percent_encode(from.as_str(), COPY_SOURCE_ESCAPED);
        copy_source(&self.bucket, &from.to_string())
    }

    /// The checksum of a request that may have one.
    fn checksum_if(&self, allowed: bool) -> Checksum {
        if allowed { self.checksum } else { Checksum::None }
    }
}

/// Of an access point the ARN says that an object follows.
fn copy_source(bucket: &str, escaped_key: &str) -> String {
    let object = if bucket.starts_with("arn:") { "/object" } else { "" };
    format!("{bucket}{object}/{escaped_key}")
}

impl ObjectStore for S3 {
    /// The request is on the heap: one of the SDK has many kilobytes, and every layer around it would have
    /// room for two of them.
    async fn call(&self, request: ObjectRequest<'_>) -> StoreResponse {
        let call = self.for_call();
        let result = Box::pin(call.carry_out(request)).await;
        StoreResponse { result, http: call.take_answer() }
    }
}

impl S3 {
    async fn carry_out(&self, request: ObjectRequest<'_>) -> Result<StoreAnswer, Failure> {
        use ObjectRequest as R;
        Ok(match request {
            R::Put { object, body, crc64nvme, condition } => {
                StoreAnswer::Written(self.put_object(object, body, crc64nvme, condition).await?)
            }
            R::Head { key } => StoreAnswer::Found(self.head_object(key).await?),
            R::Delete { objects } => StoreAnswer::Deleted(self.delete_all(objects).await),
            R::List { prefix, from } => StoreAnswer::Listed(self.list_page(prefix, from).await?),
            R::Copy { from, etag, object, condition } => {
                StoreAnswer::Copied(self.copy_object(from, etag, object, condition).await?)
            }
            R::BeginUpload { object } => {
                StoreAnswer::UploadBegun(self.create_multipart_upload(object).await?)
            }
            R::PutPart { upload, number, body, crc64nvme } => {
                StoreAnswer::PartStored(self.upload_part(upload, number, body, crc64nvme).await?)
            }
            R::CopyPart { from, range, upload, number } => {
                StoreAnswer::PartCopied(self.upload_part_copy(from, range, upload, number).await?)
            }
            R::CompleteUpload { upload, parts, size, crc64nvme, condition } => {
                let request =
                    self.complete_multipart_upload(upload, parts, size, crc64nvme, condition);
                StoreAnswer::Written(request.await?)
            }
            R::AbortUpload { upload } => {
                self.abort_multipart_upload(upload).await.map(StoreAnswer::UploadAborted)?
            }
            R::ListUploads { key } => StoreAnswer::Uploads(self.uploads_of(key).await?),
        })
    }

    async fn put_object(
        &self,
        object: &ObjectMetadata,
        body: Bytes,
        crc64nvme: u64,
        condition: Option<&Condition>,
    ) -> Result<WriteResult, Failure> {
        let size = body.len() as u64;
        let send = |checksum: bool, condition: Option<Condition>| {
            let request = self
                .client
                .put_object()
                .bucket(&self.bucket)
                .head(object, &self.owner)
                .condition(condition)
                .checksum(self.checksum_if(checksum), &body, crc64nvme)
                .body(ByteStream::from(body.clone()));
            self.with_body(request.customize(), size).send()
        };
        let send = &send;
        let send = |condition: Option<Condition>| {
            self.with_feature(Feature::Checksums, move |checksum| send(checksum, condition.clone()))
        };
        let answer = self.with_condition(Feature::WriteConditions, condition, send).await;
        let Some(answer) = answer.map_err(|error| failure(&error))? else {
            return Ok(WriteResult::Conflict);
        };
        Ok(WriteResult::Stored(StoredObject {
            etag: answer.e_tag,
            md5_etag: false,
            version: Some(object.version),
            crc64nvme: answer.checksum_crc64_nvme.as_deref().and_then(decode),
            ours: true,
            source: None,
            file_owner: None,
            age: None,
        }))
    }

    async fn head_object(&self, key: &ObjectKey) -> Result<Option<StoredObject>, Failure> {
        let found = self.inspect(key).await?;
        Ok(found.map(|found| StoredObject {
            version: found.mtime_ns.map(|mtime_ns| Version { size: found.size, mtime_ns }),
            etag: found.etag,
            md5_etag: found.md5_etag,
            crc64nvme: found.crc64nvme,
            ours: found.ours,
            source: found.source,
            file_owner: found.file_owner,
            age: found.age,
        }))
    }

    async fn copy_object(
        &self,
        from: &ObjectKey,
        etag: &str,
        object: &ObjectMetadata,
        condition: Option<&Condition>,
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
        let send = |condition: Option<Condition>| {
            self.patient(request.clone().condition(condition).customize(), size).send()
        };
        match self.with_condition(Feature::CopyConditions, condition, send).await {
            Ok(None) => Ok(None),
            Ok(Some(answer)) => {
                // It may have been made anyway, which is no sign of a source that is gone.
                let copied = answer.copy_object_result.filter(|copied| copied.e_tag.is_some());
                let copied = copied
                    .ok_or_else(|| incomplete(S3Operation::CopyObject, "without an entity tag"))?;
                Ok(Some(StoredObject {
                    etag: copied.e_tag,
                    md5_etag: false,
                    version: None,
                    crc64nvme: copied.checksum_crc64_nvme.as_deref().and_then(decode),
                    ours: true,
                    source: None,
                    file_owner: None,
                    age: None,
                }))
            }
            Err(error) if is_no_such_key(&error) || is_precondition_failed(&error) => Ok(None),
            Err(error) => Err(failure(&error)),
        }
    }

    async fn create_multipart_upload(&self, object: &ObjectMetadata) -> Result<String, Failure> {
        let send = |checksum: bool| {
            let checksum = self.checksum_if(checksum);
            let request = self.client.create_multipart_upload().bucket(&self.bucket);
            let request = request
                .head(object, &self.owner)
                .set_checksum_algorithm(checksum::to_sdk(checksum))
                .set_checksum_type(checksum_type(checksum));
            self.noted(request.customize()).send()
        };
        let answer = self.with_feature(Feature::Checksums, send).await;
        let id = answer.map_err(|error| failure(&error))?.upload_id.filter(|id| !id.is_empty());
        id.ok_or_else(|| incomplete(S3Operation::CreateMultipartUpload, "without an upload id"))
    }

    async fn upload_part(
        &self,
        upload: UploadRef<'_>,
        number: i32,
        body: Bytes,
        crc64nvme: u64,
    ) -> Result<StoredPart, Failure> {
        let size = body.len() as u64;
        let send = |checksum: bool| {
            let request = self
                .client
                .upload_part()
                .bucket(&self.bucket)
                .key(upload.key.as_str())
                .upload_id(upload.id)
                .part_number(number)
                .checksum(self.checksum_if(checksum), &body, crc64nvme)
                .body(ByteStream::from(body.clone()));
            self.with_body(request.customize(), size).send()
        };
        let answer = self.with_feature(Feature::Checksums, send).await;
        let etag = answer.map_err(|error| failure(&error))?.e_tag;
        let etag =
            etag.ok_or_else(|| incomplete(S3Operation::UploadPart, "without an entity tag"))?;
        Ok(StoredPart { number, etag, crc64nvme: Some(crc64nvme) })
    }

    async fn upload_part_copy(
        &self,
        (from, etag): (&ObjectKey, &str),
        range: Range<u64>,
        upload: UploadRef<'_>,
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
            .key(upload.key.as_str())
            .upload_id(upload.id)
            .part_number(number);
        // The store reads and writes before it answers; that nothing moves meanwhile is no stall.
        let limits = self
            .limits
            .for_work(size)
            .unwrap_or_default()
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        match self.noted(request.customize()).config_override(limits).send().await {
            Ok(answer) => {
                let copied = answer.copy_part_result;
                let etag = copied.as_ref().and_then(|copied| copied.e_tag.clone());
                let etag = etag.ok_or_else(|| {
                    incomplete(S3Operation::UploadPartCopy, "without an entity tag")
                })?;
                let sum = copied.and_then(|copied| copied.checksum_crc64_nvme);
                Ok(Some(StoredPart { number, etag, crc64nvme: sum.as_deref().and_then(decode) }))
            }
            Err(error) if is_no_such_key(&error) || is_precondition_failed(&error) => Ok(None),
            Err(error) => Err(failure(&error)),
        }
    }

    async fn complete_multipart_upload(
        &self,
        upload: UploadRef<'_>,
        parts: &[StoredPart],
        size: u64,
        crc64nvme: u64,
        condition: Option<&Condition>,
    ) -> Result<WriteResult, Failure> {
        // The store compared each part when it came; the checksum of the whole is known of one kind.
        let complete = |with_checksum: bool, with_size: bool, condition: Option<Condition>| {
            let checksum = self.checksum_if(with_checksum);
            let declared = |crc64nvme| (checksum == Checksum::Crc64Nvme).then(|| encode(crc64nvme));
            let parts = parts.iter().map(|part| {
                CompletedPart::builder()
                    .part_number(part.number)
                    .e_tag(&part.etag)
                    .set_checksum_crc64_nvme(part.crc64nvme.and_then(declared))
                    .build()
            });
            let parts =
                CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
            let request = self
                .client
                .complete_multipart_upload()
                .bucket(&self.bucket)
                .key(upload.key.as_str())
                .upload_id(upload.id)
                .multipart_upload(parts)
                .condition(condition)
                .set_checksum_crc64_nvme(declared(crc64nvme))
                .set_checksum_type(checksum_type(checksum))
                .set_mpu_object_size(with_size.then_some(i64::try_from(size).unwrap_or(i64::MAX)));
            // Putting the parts together takes the store time by size, as sending them did.
            self.patient(request.customize(), size).send()
        };
        let complete = &complete;
        let send = |condition: Option<Condition>| {
            let sized = move |with_size: bool| {
                let condition = condition.clone();
                self.with_feature(Feature::Checksums, move |checksum| {
                    complete(checksum, with_size, condition.clone())
                })
            };
            self.with_feature(Feature::ObjectSize, sized)
        };
        let answer = self.with_condition(Feature::WriteConditions, condition, send).await;
        let Some(answer) = answer.map_err(|error| failure(&error))? else {
            return Ok(WriteResult::Conflict);
        };
        if answer.e_tag.is_none() {
            return Err(incomplete(S3Operation::CompleteMultipartUpload, "without an entity tag"));
        }
        Ok(WriteResult::Stored(StoredObject {
            etag: answer.e_tag,
            md5_etag: false,
            version: None,
            crc64nvme: answer.checksum_crc64_nvme.as_deref().and_then(decode),
            ours: true,
            source: None,
            file_owner: None,
            age: None,
        }))
    }

    async fn abort_multipart_upload(&self, upload: UploadRef<'_>) -> Result<(), Failure> {
        let request = self
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key(upload.key.as_str())
            .upload_id(upload.id);
        match self.noted(request.customize()).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_no_such_upload()) => Ok(()),
            Err(error) => Err(failure(&error)),
        }
    }
}

/// Of the whole object, not of the checksums of its parts.
fn checksum_type(checksum: Checksum) -> Option<ChecksumType> {
    (checksum != Checksum::None).then_some(ChecksumType::FullObject)
}

/// A client of an S3 in memory.
#[cfg(test)]
pub(super) fn for_tests(server: &file_sync_dev_s3::Server) -> S3 {
    with_checksum(server, Checksum::Crc64Nvme)
}

/// The settings of a bucket of AWS.
#[cfg(test)]
pub(super) fn settings_for_tests() -> S3Settings {
    S3Settings {
        bucket: file_sync_dev_s3::BUCKET.into(),
        endpoint_url: None,
        force_path_style: false,
        endpoint_kind: EndpointKind::default(),
        checksum: Checksum::Crc64Nvme,
        conditions: true,
        owner: "us".into(),
        expected_bucket_owner: None,
        requester_pays: false,
        acl: None,
        customer_key: None,
    }
}

#[cfg(test)]
fn with_checksum(server: &file_sync_dev_s3::Server, checksum: Checksum) -> S3 {
    let settings = S3Settings {
        endpoint_url: Some(server.endpoint()),
        force_path_style: true,
        checksum,
        ..settings_for_tests()
    };
    S3::new(&crate::aws::for_tests(), settings)
}
