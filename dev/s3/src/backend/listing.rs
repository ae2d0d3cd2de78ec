//! Listings, and what a bucket says of itself.

use super::Backend;
use crate::mode::StoreMode;
use crate::multipart::{PART_NUMBER_MAX, Upload};
use crate::object::{Object, base64};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{self, Timestamp};
use s3s::{S3Request, S3Result, s3_error};
use std::ops::Bound;
use std::sync::Arc;

/// S3 lists this many keys in one answer.
const KEYS_MAX: usize = 1000;

/// What S3 leaves as it is in listings with encoded keys.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b'*');

pub(super) fn page_size(asked_for: Option<i32>) -> usize {
    asked_for.and_then(|max| usize::try_from(max).ok()).unwrap_or(KEYS_MAX).min(KEYS_MAX)
}

pub(super) fn count(items: usize) -> Option<i32> {
    i32::try_from(items).ok()
}

/// A page of a listing.
#[derive(Default)]
pub(super) struct Page {
    pub(super) contents: Vec<dto::Object>,
    pub(super) prefixes: Vec<String>,
    /// The last key or prefix on the page; the next page begins behind it.
    pub(super) last: String,
    pub(super) is_truncated: bool,
}

/// As the client wants keys and prefixes written.
pub(super) fn encode(text: &str, encoding: Option<&dto::EncodingType>) -> String {
    match encoding.map(dto::EncodingType::as_str) {
        Some("url") => utf8_percent_encode(text, PLAIN).to_string(),
        _ => text.to_owned(),
    }
}

pub(super) async fn list_objects_v2(
    backend: &Backend,
    request: S3Request<dto::ListObjectsV2Input>,
) -> S3Result<dto::ListObjectsV2Output> {
    let input = request.input;
    let after = match &input.continuation_token {
        Some(token) => decode_token(token)?,
        None => input.start_after.clone().unwrap_or_default(),
    };
    let mut page = backend.store.view(&input.bucket, |bucket| {
        let behind = (Bound::Excluded(after.as_str()), Bound::Unbounded);
        let objects = bucket.objects.range::<str, _>(behind);
        let prefix = input.prefix.as_deref().unwrap_or("");
        Ok(fill(objects, prefix, input.delimiter.as_deref(), &after, page_size(input.max_keys)))
    })?;
    let shows_checksums = !backend.modes.has(StoreMode::NoChecksums);
    page.contents.iter_mut().for_each(|object| hide_checksums(object, shows_checksums));
    let encode = |text: &str| encode(text, input.encoding_type.as_ref());
    for object in &mut page.contents {
        object.key = object.key.as_deref().map(encode);
    }
    let prefixes =
        page.prefixes.iter().map(|prefix| dto::CommonPrefix { prefix: Some(encode(prefix)) });
    Ok(dto::ListObjectsV2Output {
        key_count: count(page.contents.len() + page.prefixes.len()),
        common_prefixes: Some(prefixes.collect()),
        next_continuation_token: page.is_truncated.then(|| base64(page.last.as_bytes())),
        is_truncated: Some(page.is_truncated),
        contents: Some(page.contents),
        max_keys: count(page_size(input.max_keys)),
        prefix: Some(encode(input.prefix.as_deref().unwrap_or(""))),
        delimiter: input.delimiter.as_deref().map(encode),
        start_after: input.start_after.as_deref().map(encode),
        continuation_token: input.continuation_token,
        encoding_type: input.encoding_type,
        name: Some(input.bucket),
        request_charged: None,
    })
}

fn decode_token(token: &str) -> S3Result<String> {
    let bytes = base64_simd::STANDARD.decode_to_vec(token).ok();
    let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    key.ok_or_else(|| s3_error!(InvalidArgument, "The continuation token provided is incorrect"))
}

/// Fills a page with `objects`, which stand behind `after`, in order.
pub(super) fn fill<'a>(
    objects: impl Iterator<Item = (&'a String, &'a Arc<Object>)>,
    prefix: &str,
    delimiter: Option<&str>,
    after: &str,
    size: usize,
) -> Page {
    let mut page = Page { last: after.to_owned(), ..Page::default() };
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
    for (key, object) in objects {
        let Some(rest) = key.strip_prefix(prefix) else { continue };
        let group = delimiter.and_then(|delimiter| {
            let (name, _) = rest.split_once(delimiter)?;
            Some(format!("{prefix}{name}{delimiter}"))
        });
        // The group stands on this page or, if it was its last entry, on the one before.
        if group.as_ref().is_some_and(|group| *group == page.last) {
            continue;
        }
        if page.contents.len() + page.prefixes.len() == size {
            page.is_truncated = size > 0;
            break;
        }
        page.last = group.clone().unwrap_or_else(|| key.clone());
        match group {
            Some(group) => page.prefixes.push(group),
            None => page.contents.push(describe(key, object)),
        }
    }
    page
}

/// Leaves out what a store without checksums does not say.
pub(super) fn hide_checksums(object: &mut dto::Object, shows_checksums: bool) {
    if !shows_checksums {
        object.checksum_algorithm = None;
        object.checksum_type = None;
    }
}

fn describe(key: &str, object: &Object) -> dto::Object {
    let algorithms = crate::checksum::algorithms(&object.checksums);
    dto::Object {
        key: Some(key.to_owned()),
        e_tag: Some(object.dto_etag()),
        size: i64::try_from(object.size).ok(),
        last_modified: Some(Timestamp::from(object.modified)),
        storage_class: Some(
            object.headers.storage_class.clone().unwrap_or("STANDARD".to_owned()).into(),
        ),
        checksum_algorithm: Some(
            algorithms.into_iter().map(dto::ChecksumAlgorithm::from_static).collect(),
        ),
        checksum_type: object.checksums.checksum_type.clone(),
        ..Default::default()
    }
}

pub(super) async fn list_multipart_uploads(
    backend: &Backend,
    request: S3Request<dto::ListMultipartUploadsInput>,
) -> S3Result<dto::ListMultipartUploadsOutput> {
    let input = request.input;
    let size = page_size(input.max_uploads);
    // A key marker alone stands behind all uploads of that key; no upload id sorts behind this.
    let id = input.upload_id_marker.clone().unwrap_or(char::MAX.to_string());
    let after = input.key_marker.clone().map(|key| (key, id));
    let mut uploads = backend.store.view(&input.bucket, |bucket| {
        let prefix = input.prefix.as_deref().unwrap_or("");
        let behind = bucket
            .uploads
            .iter()
            .filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
        let fitting = behind.filter(|((key, _), _)| key.starts_with(prefix));
        Ok(fitting
            .take(size + 1)
            .map(|((key, id), upload)| describe_upload(key, id, upload))
            .collect::<Vec<_>>())
    })?;
    let is_truncated = uploads.len() > size;
    uploads.truncate(size);
    let last = uploads.last().filter(|_| is_truncated);
    Ok(dto::ListMultipartUploadsOutput {
        next_key_marker: last.and_then(|upload| upload.key.clone()),
        next_upload_id_marker: last.and_then(|upload| upload.upload_id.clone()),
        is_truncated: Some(is_truncated),
        max_uploads: count(size),
        bucket: Some(input.bucket),
        key_marker: input.key_marker,
        upload_id_marker: input.upload_id_marker,
        prefix: input.prefix,
        uploads: Some(uploads),
        ..Default::default()
    })
}

fn describe_upload(key: &str, id: &str, upload: &Upload) -> dto::MultipartUpload {
    dto::MultipartUpload {
        key: Some(key.to_owned()),
        upload_id: Some(id.to_owned()),
        initiated: Some(upload.initiated.clone()),
        storage_class: upload.headers.storage_class.clone().map(Into::into),
        checksum_algorithm: upload.algorithm.clone().map(Into::into),
        checksum_type: Some(dto::ChecksumType::from_static(upload.whole.name())),
        ..Default::default()
    }
}

pub(super) async fn list_parts(
    backend: &Backend,
    request: S3Request<dto::ListPartsInput>,
) -> S3Result<dto::ListPartsOutput> {
    let input = request.input;
    let size = page_size(input.max_parts);
    let after = input.part_number_marker.unwrap_or(0);
    let name = (input.key.clone(), input.upload_id.clone());
    let (mut parts, whole) = backend.store.view(&input.bucket, |bucket| {
        let upload = bucket.uploads.get(&name).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let behind = upload
            .parts
            .range((Bound::Excluded(after), Bound::Included(PART_NUMBER_MAX.max(after + 1))));
        let parts = behind.take(size + 1).map(|(number, part)| dto::Part {
            part_number: Some(*number),
            e_tag: Some(dto::ETag::Strong(part.content.etag())),
            size: i64::try_from(part.content.size).ok(),
            last_modified: Some(part.modified.clone()),
            checksum_crc64nvme: backend.store.shown(part.checksums.clone()).checksum_crc64nvme,
            ..Default::default()
        });
        Ok((parts.collect::<Vec<_>>(), upload.whole))
    })?;
    let is_truncated = parts.len() > size;
    parts.truncate(size);
    let last = parts.last().filter(|_| is_truncated);
    Ok(dto::ListPartsOutput {
        next_part_number_marker: last.and_then(|part| part.part_number),
        is_truncated: Some(is_truncated),
        max_parts: count(size),
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        part_number_marker: input.part_number_marker,
        checksum_type: (!backend.modes.has(StoreMode::NoChecksums))
            .then(|| dto::ChecksumType::from_static(whole.name())),
        parts: Some(parts),
        ..Default::default()
    })
}

pub(super) async fn head_bucket(
    backend: &Backend,
    request: S3Request<dto::HeadBucketInput>,
) -> S3Result<dto::HeadBucketOutput> {
    backend.store.view(&request.input.bucket, |_| Ok(()))?;
    Ok(dto::HeadBucketOutput { bucket_region: Some(backend.region.clone()), ..Default::default() })
}

pub(super) async fn get_bucket_location(
    backend: &Backend,
    request: S3Request<dto::GetBucketLocationInput>,
) -> S3Result<dto::GetBucketLocationOutput> {
    backend.store.view(&request.input.bucket, |_| Ok(()))?;
    let region = Some(backend.region.clone()).filter(|region| region != "us-east-1");
    Ok(dto::GetBucketLocationOutput { location_constraint: region.map(Into::into) })
}

pub(super) async fn get_bucket_versioning(
    backend: &Backend,
    request: S3Request<dto::GetBucketVersioningInput>,
) -> S3Result<dto::GetBucketVersioningOutput> {
    backend.store.view(&request.input.bucket, |_| Ok(()))?;
    Ok(dto::GetBucketVersioningOutput::default())
}
