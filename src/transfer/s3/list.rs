//! Listings. XML has no way to write some characters that keys may have, so that one such key makes
//! the whole page unreadable. Then, and only then, the page is asked for with its keys encoded: not
//! every store encodes them in the same way.
//!
//! A store that does not know the second version of listings is listed by the first one.

use super::S3;
use super::capabilities::Feature;
use super::error::{contradiction, failure, is_status, lacks_operation};
use super::fetch::nanos;
use crate::model::Failure;
use crate::transfer::{ListedObject, Page};
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::list_objects::ListObjectsError;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Error;
use aws_sdk_s3::types::{EncodingType, Object};
use percent_encoding::percent_decode_str;

/// A page as the store wrote it.
#[derive(Debug)]
struct RawPage {
    objects: Vec<Object>,
    is_encoded: bool,
    is_truncated: bool,
    /// Where the store says that the next page begins.
    next: Option<String>,
}

impl S3 {
    pub(super) async fn list_page(
        &self,
        prefix: &str,
        from: Option<String>,
    ) -> Result<Page, Failure> {
        if self.capabilities.lacks(Feature::ListV2) {
            let page = self.list_v1(prefix, from.clone()).await.map_err(|error| failure(&error))?;
            return by_marker(page, from.as_deref());
        }
        let refusal = match self.list_v2(prefix, from.clone()).await {
            Ok(page) => return by_token(page, from.as_deref()),
            // Pages of the two versions do not go on from each other.
            Err(error) if from.is_none() && lacks_operation(&error) => failure(&error),
            Err(error) => return Err(failure(&error)),
        };
        let Ok(page) = self.list_v1(prefix, None).await else { return Err(refusal) };
        self.capabilities.note_lack(Feature::ListV2, &refusal);
        by_marker(page, None)
    }

    async fn list_v2(
        &self,
        prefix: &str,
        from: Option<String>,
    ) -> Result<RawPage, SdkError<ListObjectsV2Error, HttpResponse>> {
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .set_continuation_token(from);
        let encoded = request.clone().encoding_type(EncodingType::Url);
        let answer = match self.noted(request.customize()).send().await {
            Err(error) if is_status(&error, &[200]) => {
                self.noted(encoded.customize()).send().await?
            }
            answer => answer?,
        };
        Ok(RawPage {
            objects: answer.contents.unwrap_or_default(),
            is_encoded: answer.encoding_type == Some(EncodingType::Url),
            is_truncated: answer.is_truncated.unwrap_or(answer.next_continuation_token.is_some()),
            next: answer.next_continuation_token,
        })
    }

    async fn list_v1(
        &self,
        prefix: &str,
        from: Option<String>,
    ) -> Result<RawPage, SdkError<ListObjectsError, HttpResponse>> {
        let request = self.client.list_objects();
        let request = request.bucket(&self.bucket).prefix(prefix).set_marker(from);
        let encoded = request.clone().encoding_type(EncodingType::Url);
        let answer = match self.noted(request.customize()).send().await {
            Err(error) if is_status(&error, &[200]) => {
                self.noted(encoded.customize()).send().await?
            }
            answer => answer?,
        };
        Ok(RawPage {
            objects: answer.contents.unwrap_or_default(),
            is_encoded: answer.encoding_type == Some(EncodingType::Url),
            is_truncated: answer.is_truncated.unwrap_or(false),
            next: answer.next_marker,
        })
    }
}

/// A page of the second version: a token leads on.
fn by_token(page: RawPage, from: Option<&str>) -> Result<Page, Failure> {
    let next = page.next.clone().filter(|token| !token.is_empty());
    match (page.is_truncated, &next) {
        (true, None) => {
            return Err(contradiction("the listing says that it goes on, and not where"));
        }
        (false, Some(_)) => {
            return Err(contradiction("the listing says that it ends, and where it goes on"));
        }
        (true, token) if token.as_deref() == from => {
            return Err(contradiction("the listing goes on with the page that was asked for"));
        }
        _ => {}
    }
    Ok(page.with_next(next))
}

/// A page of the first version: the last key leads on.
fn by_marker(page: RawPage, from: Option<&str>) -> Result<Page, Failure> {
    if !page.is_truncated {
        return Ok(page.with_next(None));
    }
    let last = page.objects.last().and_then(|object| object.key.as_deref());
    let marker = page.next.as_deref().filter(|marker| !marker.is_empty()).or(last);
    let marker =
        marker.and_then(|key| if page.is_encoded { decoded(key) } else { Some(key.to_owned()) });
    match marker {
        None => Err(contradiction("the listing says that it goes on, and not where")),
        Some(marker) if from.is_some_and(|from| marker.as_str() <= from) => {
            Err(contradiction("the listing does not go on behind the key that was asked for"))
        }
        marker => Ok(page.with_next(marker)),
    }
}

impl RawPage {
    fn with_next(self, next: Option<String>) -> Page {
        let is_encoded = self.is_encoded;
        let objects = self.objects.into_iter();
        Page { objects: objects.filter_map(|object| listed(object, is_encoded)).collect(), next }
    }
}

/// What lacks a key, or has one that is no text, is nothing that we could name.
fn listed(object: Object, encoded: bool) -> Option<ListedObject> {
    let key = object.key?;
    let size = u64::try_from(object.size?).ok()?;
    let key = if encoded { decoded(&key)? } else { key };
    Some(ListedObject {
        key,
        size,
        etag: object.e_tag,
        modified_ns: object.last_modified.as_ref().and_then(nanos),
        storage_class: object.storage_class.map(|class| class.as_str().to_owned()),
        version_id: None,
        is_superseded: false,
    })
}

/// As S3 encodes it: a space is a plus.
pub(super) fn decoded(key: &str) -> Option<String> {
    let key = key.replace('+', " ");
    percent_decode_str(&key).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::super::for_tests;
    use super::*;
    use crate::transfer::ObjectStore as _;
    use file_sync_dev_s3::{BUCKET, Options, Server};

    #[tokio::test]
    async fn a_key_that_xml_cannot_write_is_listed_and_so_are_its_neighbours() {
        let server = Server::start(&Options::default()).expect("a server");
        let keys = ["a b+c%20", "bell\u{7}\u{1b}\n", "\u{e4}"];
        for key in keys {
            server.store().put(BUCKET, key, "content");
        }
        let page = for_tests(&server).list("", None).await.expect("a page");
        let listed: Vec<_> = page.objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(listed, keys);
        server.store().remove(BUCKET, keys[1]);
        server.clear_requests();
        let page = for_tests(&server).list("", None).await.expect("a page");
        assert_eq!((page.objects.len(), server.count("ListObjectsV2")), (2, 1));
    }

    #[test]
    fn keys_are_decoded_as_s3_encodes_them() {
        assert_eq!(decoded("a+b%2Bc%25%C3%A4").as_deref(), Some("a b+c%\u{e4}"));
        assert_eq!(decoded("%ff"), None);
    }

    fn page(is_truncated: bool, next: Option<&str>, keys: &[&str]) -> RawPage {
        let object = |key: &&str| Object::builder().key(*key).size(1).build();
        let objects = keys.iter().map(object).collect();
        RawPage { objects, is_encoded: false, is_truncated, next: next.map(str::to_owned) }
    }

    fn next(page: Result<Page, Failure>) -> Result<Option<String>, String> {
        page.map(|page| page.next).map_err(|failure| failure.code)
    }

    #[test]
    fn a_page_that_contradicts_itself_is_an_error_and_no_end() {
        let refused = Err("listing-contradicts-itself".to_owned());
        assert_eq!(next(by_token(page(true, None, &["a"]), None)), refused);
        assert_eq!(next(by_token(page(true, Some(""), &["a"]), None)), refused);
        assert_eq!(next(by_token(page(false, Some("t"), &["a"]), None)), refused);
        assert_eq!(next(by_token(page(true, Some("t"), &["a"]), Some("t"))), refused);
        assert_eq!(next(by_token(page(true, Some("u"), &["a"]), Some("t"))), Ok(Some("u".into())));
        assert_eq!(next(by_token(page(false, None, &["a"]), Some("t"))), Ok(None));
        assert_eq!(next(by_token(page(false, Some(""), &["a"]), Some("t"))), Ok(None));
    }

    #[test]
    fn the_first_version_goes_on_behind_the_last_key_and_never_back() {
        let refused = Err("listing-contradicts-itself".to_owned());
        assert_eq!(next(by_marker(page(true, None, &["a", "b"]), None)), Ok(Some("b".into())));
        assert_eq!(next(by_marker(page(true, Some("c"), &["a"]), Some("a"))), Ok(Some("c".into())));
        assert_eq!(next(by_marker(page(true, None, &[]), Some("a"))), refused);
        assert_eq!(next(by_marker(page(true, None, &["a", "b"]), Some("b"))), refused);
        assert_eq!(next(by_marker(page(false, None, &["a"]), Some("b"))), Ok(None));
    }
}
