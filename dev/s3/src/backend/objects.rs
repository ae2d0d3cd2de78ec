//! Operations on single objects, and the deletion of many.

use super::{Backend, read_body};
use crate::checksum::{Declared, algorithms, sums};
use crate::mode::StoreMode;
use crate::object::{Content, Draft, Object, slice};
use crate::store::Condition;
use s3s::dto::{self, Checksum, ETagCondition, Timestamp};
use s3s::{S3Request, S3Result, s3_error};
use std::sync::Arc;

/// Collects what an object has beside its bytes from an input of s3s, all of which name it alike.
macro_rules! headers {
    ($input:expr) => {
        $crate::object::Headers {
            content_type: $input.content_type.clone(),
            cache_control: $input.cache_control.clone(),
            content_disposition: $input.content_disposition.clone(),
            content_encoding: $input.content_encoding.clone(),
            content_language: $input.content_language.clone(),
            expires: $input.expires.clone(),
            metadata: $input.metadata.clone().unwrap_or_default().into_iter().collect(),
            tagging: $input.tagging.clone(),
            storage_class: $input.storage_class.as_ref().map(|class| class.as_str().to_owned()),
            acl: $input.acl.as_ref().map(|acl| acl.as_str().to_owned()),
            server_side_encryption: $input
                .server_side_encryption
                .as_ref()
                .map(|sse| sse.as_str().to_owned()),
            kms_key_id: $input.ssekms_key_id.clone(),
            customer_key_md5: $input.sse_customer_key_md5.clone(),
            bucket_key_enabled: $input.bucket_key_enabled,
        }
    };
}
pub(super) use headers;

/// Fills the fields that the outputs of `GetObject` and `HeadObject` have in common.
macro_rules! describe {
    ($output:ident, $object:expr, $shows_checksums:expr) => {{
        let object: &Object = $object;
        let headers = &object.headers;
        let checksums =
            if $shows_checksums { object.checksums.clone() } else { Checksum::default() };
        dto::$output {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(object.size).ok(),
            e_tag: Some(object.dto_etag()),
            last_modified: Some(Timestamp::from(object.modified)),
            content_type: headers.content_type.clone().or(Some("binary/octet-stream".to_owned())),
            cache_control: headers.cache_control.clone(),
            content_disposition: headers.content_disposition.clone(),
            content_encoding: headers.content_encoding.clone(),
            content_language: headers.content_language.clone(),
            expires: headers.expires.clone(),
            metadata: Some(headers.metadata.clone().into_iter().collect()),
            storage_class: headers
                .storage_class
                .clone()
                .filter(|class| class != "STANDARD")
                .map(Into::into),
            server_side_encryption: headers.server_side_encryption.clone().map(Into::into),
            ssekms_key_id: headers.kms_key_id.clone(),
            sse_customer_algorithm: headers.customer_key_md5.as_ref().map(|_| "AES256".to_owned()),
            sse_customer_key_md5: headers.customer_key_md5.clone(),
            bucket_key_enabled: headers.bucket_key_enabled,
            checksum_crc32: checksums.checksum_crc32,
            checksum_crc32c: checksums.checksum_crc32c,
            checksum_crc64nvme: checksums.checksum_crc64nvme,
            checksum_sha1: checksums.checksum_sha1,
            checksum_sha256: checksums.checksum_sha256,
            checksum_type: checksums.checksum_type,
            ..Default::default()
        }
    }};
}

fn shows_checksums(mode: Option<&dto::ChecksumMode>) -> bool {
    mode.is_some_and(|mode| mode.as_str() == dto::ChecksumMode::ENABLED)
}

/// The checksum to keep: the client's, or S3's own if there was none.
pub(super) fn kept(declared: Checksum, content: &Content) -> Checksum {
    if algorithms(&declared).is_empty() { content.own_checksum() } else { declared }
}

pub(super) async fn put_object(
    backend: &Backend,
    request: S3Request<dto::PutObjectInput>,
) -> S3Result<dto::PutObjectOutput> {
    let input = request.input;
    // Refused before the body is read, as S3 does.
    backend.store.view(&input.bucket, |_| Ok(()))?;
    let declared = Declared {
        sums: sums!(input),
        md5: input.content_md5.clone(),
        is_promised: input.checksum_algorithm.is_some(),
    };
    let headers = headers!(input);
    let (body, declared) = read_body(input.body, declared, request.trailing_headers).await?;
    let content = backend.store.content(body);
    let checksums = kept(declared.sums, &content);
    let draft = Draft { etag: content.etag(), checksums, headers, content };
    let condition = backend.condition(input.if_match, input.if_none_match);
    let object = backend.store.write(&input.bucket, |bucket| {
        backend.store.commit(bucket, &input.key, draft, &condition)
    })?;
    let checksums = object.checksums.clone();
    Ok(dto::PutObjectOutput {
        e_tag: Some(object.dto_etag()),
        checksum_crc32: checksums.checksum_crc32,
        checksum_crc32c: checksums.checksum_crc32c,
        checksum_crc64nvme: checksums.checksum_crc64nvme,
        checksum_sha1: checksums.checksum_sha1,
        checksum_sha256: checksums.checksum_sha256,
        checksum_type: checksums.checksum_type,
        server_side_encryption: object.headers.server_side_encryption.clone().map(Into::into),
        ssekms_key_id: object.headers.kms_key_id.clone(),
        bucket_key_enabled: object.headers.bucket_key_enabled,
        ..Default::default()
    })
}

/// The object to read, if the conditions of the reader hold.
fn readable(
    backend: &Backend,
    bucket: &str,
    (key, version): (&str, Option<&str>),
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
    customer_key: Option<&String>,
) -> S3Result<Arc<Object>> {
    let object = backend.store.view(bucket, |bucket| match version {
        Some(id) => bucket.version(key, id).cloned(),
        None => bucket.object(key).cloned(),
    })?;
    require_key(&object, customer_key)?;
    Condition { if_match, if_none_match: None }.check(Some(&object))?;
    let unwanted = Condition { if_match: None, if_none_match };
    unwanted.check(Some(&object)).map_err(|_| s3_error!(NotModified))?;
    Ok(object)
}

/// Refuses a reader with another key than the object has, or with one that it does not have.
pub(super) fn require_key(object: &Object, customer_key: Option<&String>) -> S3Result<()> {
    match (&object.headers.customer_key_md5, customer_key) {
        (Some(own), Some(sent)) if own != sent => Err(s3_error!(AccessDenied)),
        (Some(_), Some(_)) | (None, None) => Ok(()),
        (Some(_), None) | (None, Some(_)) => Err(s3_error!(InvalidRequest)),
    }
}

pub(super) async fn get_object(
    backend: &Backend,
    request: S3Request<dto::GetObjectInput>,
) -> S3Result<dto::GetObjectOutput> {
    let input = request.input;
    let object = readable(
        backend,
        &input.bucket,
        (&input.key, input.version_id.as_deref()),
        input.if_match,
        input.if_none_match,
        input.sse_customer_key_md5.as_ref(),
    )?;
    let Some(body) = object.body.clone() else {
        return Err(s3_error!(NotImplemented, "this server was started without keeping bodies"));
    };
    let whole = input.range.is_none();
    let mut output =
        describe!(GetObjectOutput, &object, whole && shows_checksums(input.checksum_mode.as_ref()));
    let body = match input.range {
        None => body,
        Some(range) => {
            let range = range.check(object.size)?;
            output.content_range =
                Some(format!("bytes {}-{}/{}", range.start, range.end - 1, object.size));
            output.content_length = i64::try_from(range.end - range.start).ok();
            slice(&body, range)
        }
    };
    output.tag_count = object.headers.tagging.as_ref().map(|tags| tag_count(tags));
    output.body = Some(s3s::Body::from(body).into());
    Ok(output)
}

fn tag_count(tagging: &str) -> i32 {
    i32::try_from(tagging.split('&').filter(|tag| !tag.is_empty()).count()).unwrap_or(i32::MAX)
}

pub(super) async fn head_object(
    backend: &Backend,
    request: S3Request<dto::HeadObjectInput>,
) -> S3Result<dto::HeadObjectOutput> {
    let input = request.input;
    let object = readable(
        backend,
        &input.bucket,
        (&input.key, input.version_id.as_deref()),
        input.if_match,
        input.if_none_match,
        input.sse_customer_key_md5.as_ref(),
    )?;
    Ok(describe!(HeadObjectOutput, &object, shows_checksums(input.checksum_mode.as_ref())))
}

pub(super) async fn delete_object(
    backend: &Backend,
    request: S3Request<dto::DeleteObjectInput>,
) -> S3Result<dto::DeleteObjectOutput> {
    let input = request.input;
    let if_match = input.if_match.filter(|_| backend.conditional_deletes);
    let condition = Condition { if_match, if_none_match: None };
    backend
        .store
        .write(&input.bucket, |bucket| backend.store.delete(bucket, &input.key, &condition))?;
    Ok(dto::DeleteObjectOutput::default())
}

/// S3 takes this many keys in one request.
const KEYS_MAX: usize = 1000;

pub(super) async fn delete_objects(
    backend: &Backend,
    request: S3Request<dto::DeleteObjectsInput>,
) -> S3Result<dto::DeleteObjectsOutput> {
    let input = request.input;
    if input.delete.objects.is_empty() || input.delete.objects.len() > KEYS_MAX {
        return Err(s3_error!(MalformedXML));
    }
    let has_condition = input.delete.objects.iter().any(|object| object.e_tag.is_some());
    if has_condition && backend.modes.has(StoreMode::RejectsConditions) {
        return Err(s3_error!(NotImplemented));
    }
    let mut deleted = Vec::new();
    let mut errors = Vec::new();
    backend.store.write(&input.bucket, |bucket| {
        for object in &input.delete.objects {
            let etag = object.e_tag.clone().filter(|_| backend.conditional_deletes);
            let if_match = etag.map(ETagCondition::ETag);
            let condition = Condition { if_match, if_none_match: None };
            let key = Some(object.key.clone());
            match backend.store.delete(bucket, &object.key, &condition) {
                Ok(()) => deleted.push(dto::DeletedObject { key, ..Default::default() }),
                Err(error) => errors.push(dto::Error {
                    key,
                    code: Some(error.code().as_str().to_owned()),
                    message: error.message().map(str::to_owned),
                    version_id: None,
                }),
            }
        }
        Ok(())
    })?;
    let deleted = (input.delete.quiet != Some(true)).then_some(deleted);
    Ok(dto::DeleteObjectsOutput { deleted, errors: Some(errors), request_charged: None })
}
