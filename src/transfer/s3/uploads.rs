//! The unfinished multipart uploads of a key.

use super::S3;
use super::error::{contradiction, failure};
use crate::model::{Failure, ObjectKey, UnixMillis};
use aws_sdk_s3::types::MultipartUpload;

/// Pages that are read, of a thousand uploads each. What is left is found by the next attempt.
const PAGES_MAX: usize = 10;

/// Where the next page of a listing of uploads begins.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Marker {
    key: String,
    upload_id: Option<String>,
}

impl S3 {
    /// Their ids, and when they were begun. The key comes before all others with it as a prefix.
    pub(super) async fn uploads_of(
        &self,
        key: &ObjectKey,
    ) -> Result<Vec<(String, UnixMillis)>, Failure> {
        let mut uploads = Vec::new();
        let mut from: Option<Marker> = None;
        for _ in 0..PAGES_MAX {
            let request =
                self.client.list_multipart_uploads().bucket(&self.bucket).prefix(key.as_str());
            let request = request
                .set_key_marker(from.as_ref().map(|marker| marker.key.clone()))
                .set_upload_id_marker(from.as_ref().and_then(|marker| marker.upload_id.clone()));
            let answer = self.noted(request.customize()).send().await;
            let answer = answer.map_err(|error| failure(&error))?;
            let next = answer.next_key_marker.filter(|key| !key.is_empty());
            let next = next.map(|key| Marker { key, upload_id: answer.next_upload_id_marker });
            let next = follow(answer.is_truncated.unwrap_or(false), next, from.as_ref())?;
            let page = answer.uploads.unwrap_or_default();
            uploads.extend(page.into_iter().filter_map(|upload| of_key(upload, key)));
            match next {
                // Other keys follow from here on.
                Some(marker) if marker.key == key.as_str() => from = Some(marker),
                _ => break,
            }
        }
        Ok(uploads)
    }
}

/// Where the listing goes on, if it does.
fn follow(
    is_truncated: bool,
    next: Option<Marker>,
    from: Option<&Marker>,
) -> Result<Option<Marker>, Failure> {
    if !is_truncated {
        // Some stores name the last upload of the last page.
        return Ok(None);
    }
    match next {
        None => Err(contradiction("the listing of uploads says that it goes on, and not where")),
        Some(next) if Some(&next) == from => {
            Err(contradiction("the listing of uploads goes on with the page that was asked for"))
        }
        next => Ok(next),
    }
}

fn of_key(upload: MultipartUpload, key: &ObjectKey) -> Option<(String, UnixMillis)> {
    if upload.key() != Some(key.as_str()) {
        return None;
    }
    let initiated = upload.initiated.and_then(|time| time.to_millis().ok());
    let initiated = initiated.and_then(|time| u64::try_from(time).ok());
    Some((upload.upload_id?, initiated.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_of_uploads_that_contradicts_itself_is_an_error() {
        let marker = |id: &str| Marker { key: "k".into(), upload_id: Some(id.into()) };
        let code = |followed: Result<Option<Marker>, Failure>| followed.map_err(|f| f.code);
        let refused = Err("listing-contradicts-itself".to_owned());
        assert_eq!(code(follow(true, None, None)), refused);
        assert_eq!(code(follow(true, Some(marker("1")), Some(&marker("1")))), refused);
        assert_eq!(
            code(follow(true, Some(marker("2")), Some(&marker("1")))),
            Ok(Some(marker("2")))
        );
        assert_eq!(code(follow(false, Some(marker("2")), None)), Ok(None));
    }
}
