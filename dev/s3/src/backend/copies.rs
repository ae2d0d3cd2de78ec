//! Copies within the server.

use super::objects::{headers, require_key};
use super::{Backend, condition_in_headers, source};
use crate::checksum::digest;
use crate::object::{Content, Draft, Headers, Object};
use crate::store::Condition;
use s3s::dto::{self, Checksum, ETagCondition, Timestamp};
use s3s::{S3Request, S3Result, s3_error};
use std::sync::Arc;

/// The content of a stored object, as if it had just been sent whole.
pub(super) fn content_of(object: &Object) -> Content {
    match &object.body {
        Some(body) => Content::new(body.clone(), true),
        None => {
            Content { size: object.size, crc64nvme: object.crc64nvme, md5: [0; 16], body: None }
        }
    }
}

/// The source of a copy, if the client's conditions on it hold.
pub(super) fn readable_source(
    backend: &Backend,
    from: &dto::CopySource,
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
    customer_key: Option<&String>,
) -> S3Result<Arc<Object>> {
    let (bucket, key) = source(from)?;
    let object = backend.store.view(bucket, |bucket| bucket.object(key).cloned())?;
    require_key(&object, customer_key)?;
    Condition { if_match, if_none_match }.check(Some(&object))?;
    Ok(object)
}

pub(super) async fn copy_object(
    backend: &Backend,
    request: S3Request<dto::CopyObjectInput>,
) -> S3Result<dto::CopyObjectOutput> {
    let sent = condition_in_headers(&request)?;
    let condition = backend.condition(sent.if_match, sent.if_none_match);
    let input = request.input;
    let from = readable_source(
        backend,
        &input.copy_source,
        input.copy_source_if_match.clone(),
        input.copy_source_if_none_match.clone(),
        input.copy_source_sse_customer_key_md5.as_ref(),
    )?;
    let replaces =
        input.metadata_directive.as_ref().is_some_and(|directive| directive.as_str() == "REPLACE");
    let headers = copied_headers(&input, &from, replaces);
    let onto_itself = source(&input.copy_source)? == (input.bucket.as_str(), input.key.as_str());
    if onto_itself && !replaces && headers == from.headers {
        return Err(s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing anything."
        ));
    }
    let content = content_of(&from);
    // A copy is made in one piece, so its ETag is the MD5; without the bytes the old one has to do.
    let etag = if content.body.is_some() { content.etag() } else { from.etag.clone() };
    let checksums = match (&input.checksum_algorithm, &content.body) {
        (Some(algorithm), Some(body)) => digest(&one_of(algorithm.as_str()), body),
        _ => from.checksums.clone(),
    };
    let draft = Draft { content, etag, checksums, headers };
    let object = backend.store.write(&input.bucket, |bucket| {
        backend.store.commit(bucket, &input.key, draft, &condition)
    })?;
    let checksums = object.checksums.clone();
    let result = dto::CopyObjectResult {
        e_tag: Some(object.dto_etag()),
        last_modified: Some(Timestamp::from(object.modified)),
        checksum_crc32: checksums.checksum_crc32,
        checksum_crc32c: checksums.checksum_crc32c,
        checksum_crc64nvme: checksums.checksum_crc64nvme,
        checksum_sha1: checksums.checksum_sha1,
        checksum_sha256: checksums.checksum_sha256,
        checksum_type: checksums.checksum_type,
    };
    Ok(dto::CopyObjectOutput { copy_object_result: Some(result), ..Default::default() })
}

/// Storage class, encryption and access are never copied; the rest is, unless the request replaces it.
fn copied_headers(input: &dto::CopyObjectInput, from: &Object, replaces: bool) -> Headers {
    let sent = headers!(input);
    let replaces_tags =
        input.tagging_directive.as_ref().is_some_and(|directive| directive.as_str() == "REPLACE");
    let tagging = if replaces_tags { sent.tagging.clone() } else { from.headers.tagging.clone() };
    if replaces {
        return Headers { tagging, ..sent };
    }
    Headers {
        tagging,
        storage_class: sent.storage_class,
        acl: sent.acl,
        server_side_encryption: sent.server_side_encryption,
        kms_key_id: sent.kms_key_id,
        customer_key_md5: sent.customer_key_md5,
        bucket_key_enabled: sent.bucket_key_enabled,
        ..from.headers.clone()
    }
}

/// A set of digests in which only `algorithm` has a value.
fn one_of(algorithm: &str) -> Checksum {
    let value = |name| (name == algorithm).then(String::new);
    Checksum {
        checksum_crc32: value("CRC32"),
        checksum_crc32c: value("CRC32C"),
        checksum_crc64nvme: value("CRC64NVME"),
        checksum_sha1: value("SHA1"),
        checksum_sha256: value("SHA256"),
        checksum_type: None,
    }
}
