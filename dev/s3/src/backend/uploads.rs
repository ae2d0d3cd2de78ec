//! Multipart uploads.

use super::copies::readable_source;
use super::objects::headers;
use super::{Backend, read_body};
use crate::activity::wall_clock;
use crate::checksum::{Declared, sums};
use crate::mode::StoreMode;
use crate::multipart::{Completion, Part, Upload, Whole};
use crate::object::{Content, Object, slice};
use crate::store::Bucket;
use s3s::dto::{self, Checksum, ETag, Timestamp};
use s3s::{S3Request, S3Result, s3_error};
use std::collections::BTreeMap;

pub(super) async fn create_multipart_upload(
    backend: &Backend,
    request: S3Request<dto::CreateMultipartUploadInput>,
) -> S3Result<dto::CreateMultipartUploadOutput> {
    let input = request.input;
    let algorithm =
        input.checksum_algorithm.as_ref().map(|algorithm| algorithm.as_str().to_owned());
    let wish = input.checksum_type.as_ref().map(dto::ChecksumType::as_str);
    let upload = Upload {
        headers: headers!(input),
        whole: Whole::choose(algorithm.as_deref(), wish)?,
        algorithm,
        initiated: Timestamp::from(wall_clock()),
        parts: BTreeMap::new(),
    };
    let whole = upload.whole;
    let shows_checksums = !backend.modes.has(StoreMode::NoChecksums);
    let id = backend.store.write(&input.bucket, |bucket| {
        // Ids sort in the order the uploads were begun.
        let id = format!("upload-{:016x}", backend.store.number());
        bucket.uploads.insert((input.key.clone(), id.clone()), upload);
        Ok(id)
    })?;
    Ok(dto::CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        checksum_algorithm: input.checksum_algorithm.filter(|_| shows_checksums),
        checksum_type: shows_checksums.then(|| dto::ChecksumType::from_static(whole.name())),
        ..Default::default()
    })
}

fn upload_of<'a>(bucket: &'a mut Bucket, key: &str, id: &str) -> S3Result<&'a mut Upload> {
    bucket.uploads.get_mut(&(key.to_owned(), id.to_owned())).ok_or_else(|| s3_error!(NoSuchUpload))
}

pub(super) async fn upload_part(
    backend: &Backend,
    request: S3Request<dto::UploadPartInput>,
) -> S3Result<dto::UploadPartOutput> {
    let input = request.input;
    let declared = Declared {
        sums: sums!(input),
        md5: input.content_md5.clone(),
        is_promised: input.checksum_algorithm.is_some(),
    };
    backend.store.write(&input.bucket, |bucket| {
        let upload = upload_of(bucket, &input.key, &input.upload_id)?;
        if upload.headers.customer_key_md5 != input.sse_customer_key_md5 {
            return Err(s3_error!(InvalidRequest));
        }
        Ok(())
    })?;
    let (body, declared) = read_body(input.body, declared, request.trailing_headers).await?;
    let content = backend.store.content(body);
    let etag = ETag::Strong(content.etag());
    let checksums = backend.store.shown(declared.sums.clone());
    let part = Part { content, checksums: declared.sums, modified: Timestamp::from(wall_clock()) };
    backend.store.write(&input.bucket, |bucket| {
        upload_of(bucket, &input.key, &input.upload_id)?.add(input.part_number, part)
    })?;
    Ok(dto::UploadPartOutput {
        e_tag: Some(etag),
        checksum_crc32: checksums.checksum_crc32,
        checksum_crc32c: checksums.checksum_crc32c,
        checksum_crc64nvme: checksums.checksum_crc64nvme,
        checksum_sha1: checksums.checksum_sha1,
        checksum_sha256: checksums.checksum_sha256,
        ..Default::default()
    })
}

pub(super) async fn upload_part_copy(
    backend: &Backend,
    request: S3Request<dto::UploadPartCopyInput>,
) -> S3Result<dto::UploadPartCopyOutput> {
    let input = request.input;
    let from = readable_source(
        backend,
        &input.copy_source,
        input.copy_source_if_match.clone(),
        input.copy_source_if_none_match.clone(),
        input.copy_source_sse_customer_key_md5.as_ref(),
    )?;
    let content = piece(&from, input.copy_source_range.as_deref())?;
    let etag = content.etag();
    let own = backend.store.shown(content.own_checksum());
    let modified = Timestamp::from(wall_clock());
    let part = Part { content, checksums: Checksum::default(), modified: modified.clone() };
    let algorithm = backend.store.write(&input.bucket, |bucket| {
        let upload = upload_of(bucket, &input.key, &input.upload_id)?;
        upload.add(input.part_number, part)?;
        Ok(upload.algorithm.clone())
    })?;
    let shows_own = algorithm.is_none_or(|algorithm| algorithm == "CRC64NVME");
    let result = dto::CopyPartResult {
        e_tag: Some(ETag::Strong(etag)),
        last_modified: Some(modified),
        checksum_crc64nvme: own.checksum_crc64nvme.filter(|_| shows_own),
        ..Default::default()
    };
    Ok(dto::UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() })
}

/// The bytes `range` of an object. Unlike a reader's range it must lie wholly within the object.
fn piece(from: &Object, range: Option<&str>) -> S3Result<Content> {
    let Some(body) = &from.body else {
        return Err(s3_error!(NotImplemented, "this server was started without keeping bodies"));
    };
    let Some(range) = range else { return Ok(Content::new(body.clone(), true)) };
    let wrong = || {
        s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last"
        )
    };
    let parsed = dto::Range::parse(range).map_err(|_| wrong())?;
    let dto::Range::Int { first, last: Some(last) } = parsed else { return Err(wrong()) };
    if last >= from.size {
        return Err(s3_error!(InvalidRange));
    }
    Ok(Content::new(slice(body, first..last + 1), true))
}

pub(super) async fn complete_multipart_upload(
    backend: &Backend,
    request: S3Request<dto::CompleteMultipartUploadInput>,
) -> S3Result<dto::CompleteMultipartUploadOutput> {
    let input = request.input;
    let completion = Completion {
        sums: sums!(input),
        parts: input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default(),
        checksum_type: input.checksum_type.map(|wish| wish.as_str().to_owned()),
        size: input.mpu_object_size,
        part_bytes_min: backend.part_bytes_min,
        has_equal_parts: backend.modes.has(StoreMode::EqualParts),
    };
    let condition = backend.condition(input.if_match, input.if_none_match);
    let object = backend.store.write(&input.bucket, |bucket| {
        let draft = upload_of(bucket, &input.key, &input.upload_id)?.complete(&completion)?;
        let object = backend.store.commit(bucket, &input.key, draft, &condition)?;
        bucket.uploads.remove(&(input.key.clone(), input.upload_id.clone()));
        Ok(object)
    })?;
    let checksums = object.checksums.clone();
    Ok(dto::CompleteMultipartUploadOutput {
        e_tag: Some(object.dto_etag()),
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        checksum_crc32: checksums.checksum_crc32,
        checksum_crc32c: checksums.checksum_crc32c,
        checksum_crc64nvme: checksums.checksum_crc64nvme,
        checksum_type: checksums.checksum_type,
        server_side_encryption: object.headers.server_side_encryption.clone().map(Into::into),
        ssekms_key_id: object.headers.kms_key_id.clone(),
        ..Default::default()
    })
}

pub(super) async fn abort_multipart_upload(
    backend: &Backend,
    request: S3Request<dto::AbortMultipartUploadInput>,
) -> S3Result<dto::AbortMultipartUploadOutput> {
    let input = request.input;
    backend.store.write(&input.bucket, |bucket| {
        upload_of(bucket, &input.key, &input.upload_id)?;
        bucket.uploads.remove(&(input.key.clone(), input.upload_id.clone()));
        Ok(())
    })?;
    Ok(dto::AbortMultipartUploadOutput::default())
}
