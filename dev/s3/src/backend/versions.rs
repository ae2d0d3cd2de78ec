//! Listings of versions: all that was ever stored, and each delete as a marker.

use super::Backend;
use super::listing::{count, encode, page_size};
use crate::store::{Change, What};
use s3s::dto::{self, Timestamp};
use s3s::{S3Request, S3Result};

pub(super) async fn list_object_versions(
    backend: &Backend,
    request: S3Request<dto::ListObjectVersionsInput>,
) -> S3Result<dto::ListObjectVersionsOutput> {
    let input = request.input;
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = input.key_marker.as_deref().unwrap_or("");
    let older = input.version_id_marker.as_deref().and_then(|id| id.parse::<u64>().ok());
    let is_behind = |change: &&Change| {
        *change.key > *after
            || (change.key == after && older.is_some_and(|older| change.sequence < older))
    };
    let size = page_size(input.max_keys);
    let (changes, newest, more) = backend.store.view(&input.bucket, |bucket| {
        let all = bucket.versions_below(&prefix);
        let newest = all.iter().enumerate().filter(|(at, change)| {
            at.checked_sub(1).is_none_or(|before| all[before].key != change.key)
        });
        let newest: Vec<u64> = newest.map(|(_, change)| change.sequence).collect();
        let mut changes: Vec<Change> =
            all.into_iter().filter(is_behind).take(size + 1).cloned().collect();
        let more = changes.len() > size;
        changes.truncate(size);
        Ok((changes, newest, more))
    })?;
    let encode = |text: &str| encode(text, input.encoding_type.as_ref());
    let last = changes.last().filter(|_| more);
    let next_key_marker = last.map(|change| encode(&change.key));
    let next_version_id_marker = last.map(|change| change.sequence.to_string());
    let mut output = dto::ListObjectVersionsOutput {
        encoding_type: input.encoding_type.clone(),
        is_truncated: Some(more),
        max_keys: count(size),
        name: Some(input.bucket.clone()),
        next_key_marker,
        next_version_id_marker,
        prefix: Some(encode(&prefix)),
        ..Default::default()
    };
    let mut versions = Vec::new();
    let mut markers = Vec::new();
    for change in &changes {
        let is_latest = Some(newest.contains(&change.sequence));
        let key = Some(encode(&change.key));
        let version_id = Some(change.sequence.to_string());
        let last_modified = Some(Timestamp::from(change.modified));
        match &change.what {
            What::Stored(object) => versions.push(dto::ObjectVersion {
                e_tag: Some(object.dto_etag()),
                is_latest,
                key,
                last_modified,
                size: i64::try_from(object.size).ok(),
                version_id,
                ..Default::default()
            }),
            What::Deleted => markers.push(dto::DeleteMarkerEntry {
                is_latest,
                key,
                last_modified,
                version_id,
                ..Default::default()
            }),
        }
    }
    output.versions = Some(versions);
    output.delete_markers = Some(markers);
    Ok(output)
}
