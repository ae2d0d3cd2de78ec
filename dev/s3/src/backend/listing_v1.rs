//! The first version of listings: it goes on behind a key, not by a token.

use super::Backend;
use super::listing::{count, encode, fill, hide_checksums, page_size};
use crate::mode::StoreMode;
use s3s::dto;
use s3s::{S3Request, S3Result};
use std::ops::Bound;

pub(super) async fn list_objects(
    backend: &Backend,
    request: S3Request<dto::ListObjectsInput>,
) -> S3Result<dto::ListObjectsOutput> {
    let input = request.input;
    let after = input.marker.clone().unwrap_or_default();
    let mut page = backend.store.view(&input.bucket, |bucket| {
        let behind = (Bound::Excluded(after.as_str()), Bound::Unbounded);
        let objects = bucket.objects.range::<str, _>(behind);
        let prefix = input.prefix.as_deref().unwrap_or("");
        Ok(fill(objects, prefix, input.delimiter.as_deref(), &after, page_size(input.max_keys)))
    })?;
    let encode = |text: &str| encode(text, input.encoding_type.as_ref());
    let shows_checksums = !backend.modes.has(StoreMode::NoChecksums);
    for object in &mut page.contents {
        object.key = object.key.as_deref().map(encode);
        hide_checksums(object, shows_checksums);
    }
    let prefixes =
        page.prefixes.iter().map(|prefix| dto::CommonPrefix { prefix: Some(encode(prefix)) });
    // Without a delimiter clients have to take the last key.
    let has_next_marker = page.is_truncated && input.delimiter.is_some();
    Ok(dto::ListObjectsOutput {
        common_prefixes: Some(prefixes.collect()),
        next_marker: has_next_marker.then(|| encode(&page.last)),
        is_truncated: Some(page.is_truncated),
        contents: Some(page.contents),
        max_keys: count(page_size(input.max_keys)),
        prefix: Some(encode(input.prefix.as_deref().unwrap_or(""))),
        delimiter: input.delimiter.as_deref().map(encode),
        marker: input.marker.as_deref().map(encode),
        encoding_type: input.encoding_type.clone(),
        name: Some(input.bucket),
        request_charged: None,
    })
}
