//! Listings. XML has no way to write some characters that keys may have, so that one such key makes
//! the whole page unreadable. Then, and only then, the page is asked for with its keys encoded: not
//! every store encodes them in the same way.

use super::S3;
use super::error::{failure, is_status};
use crate::model::Failure;
use crate::transfer::{ListedObject, Page};
use aws_sdk_s3::types::{EncodingType, Object};
use percent_encoding::percent_decode_str;

impl S3 {
    pub(super) async fn list_page(
        &self,
        prefix: &str,
        from: Option<String>,
    ) -> Result<Page, Failure> {
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .set_continuation_token(from);
        let encoded = request.clone().encoding_type(EncodingType::Url);
        let answer = match request.send().await {
            Err(error) if is_status(&error, &[200]) => encoded.send().await,
            answer => answer,
        };
        let answer = answer.map_err(|error| failure(&error))?;
        let encoded = answer.encoding_type == Some(EncodingType::Url);
        let objects = answer.contents.unwrap_or_default().into_iter();
        Ok(Page {
            objects: objects.filter_map(|object| listed(object, encoded)).collect(),
            next: answer.next_continuation_token,
        })
    }
}

/// What lacks a key, or has one that is no text, is nothing that we could name.
fn listed(object: Object, encoded: bool) -> Option<ListedObject> {
    let (key, size) = (object.key?, u64::try_from(object.size?).ok()?);
    let key = if encoded { decoded(&key)? } else { key };
    Some(ListedObject { key, size, etag: object.e_tag })
}

/// As S3 encodes it: a space is a plus.
fn decoded(key: &str) -> Option<String> {
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
}
