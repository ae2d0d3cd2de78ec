//! Listings of all versions of objects.

use super::S3;
use super::error::{contradiction, failure, is_status};
use super::fetch::nanos;
use super::list::decoded;
use crate::model::Failure;
use crate::transfer::{ListedObject, ListedVersion, VersionPage, VersionPosition};
use aws_sdk_s3::types::{DeleteMarkerEntry, EncodingType, ObjectVersion};

impl S3 {
    /// A page of the versions of the objects whose keys begin with `prefix`, from where the page before
    /// ended.
    pub(in crate::transfer) async fn list_versions(
        &self,
        prefix: &str,
        from: Option<&VersionPosition>,
    ) -> Result<VersionPage, Failure> {
        let request = self
            .client
            .list_object_versions()
            .bucket(&self.bucket)
            .prefix(prefix)
            .set_key_marker(from.map(|from| from.key.clone()))
            .set_version_id_marker(from.and_then(|from| from.version_id.clone()));
        let encoded = request.clone().encoding_type(EncodingType::Url);
        // As in other listings: some characters of keys make the page unreadable.
        let answer = match request.send().await {
            Err(error) if is_status(&error, &[200]) => encoded.send().await,
            answer => answer,
        };
        let answer = answer.map_err(|error| failure(&error))?;
        let is_encoded = answer.encoding_type == Some(EncodingType::Url);
        let name = |key: String| if is_encoded { decoded(&key) } else { Some(key) };
        let next = match (answer.is_truncated, answer.next_key_marker.and_then(name)) {
            (Some(true), Some(key)) => {
                Some(VersionPosition { key, version_id: answer.next_version_id_marker })
            }
            (Some(true), None) => {
                return Err(contradiction("the listing says that it goes on, and not where"));
            }
            _ => None,
        };
        if next.is_some() && next.as_ref() == from {
            return Err(contradiction("the listing goes on with the page that was asked for"));
        }
        let versions = answer.versions.unwrap_or_default().into_iter();
        let versions = versions.filter_map(|version| version_from(version, &name));
        let markers = answer.delete_markers.unwrap_or_default().into_iter();
        let markers = markers.filter_map(|marker| marker_from(marker, &name));
        Ok(VersionPage { versions: versions.chain(markers).collect(), next })
    }
}

fn version_from(
    version: ObjectVersion,
    name: &impl Fn(String) -> Option<String>,
) -> Option<ListedVersion> {
    let object = ListedObject {
        key: name(version.key?)?,
        size: u64::try_from(version.size?).ok()?,
        etag: version.e_tag,
        modified_ns: version.last_modified.as_ref().and_then(nanos),
        storage_class: version.storage_class.map(|class| class.as_str().to_owned()),
        version_id: version.version_id,
        is_superseded: false,
    };
    let is_latest = version.is_latest.unwrap_or(false);
    Some(ListedVersion { object, is_latest, is_delete_marker: false })
}

fn marker_from(
    marker: DeleteMarkerEntry,
    name: &impl Fn(String) -> Option<String>,
) -> Option<ListedVersion> {
    let object = ListedObject {
        key: name(marker.key?)?,
        modified_ns: marker.last_modified.as_ref().and_then(nanos),
        version_id: marker.version_id,
        ..ListedObject::default()
    };
    let is_latest = marker.is_latest.unwrap_or(false);
    Some(ListedVersion { object, is_latest, is_delete_marker: true })
}
