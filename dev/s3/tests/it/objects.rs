//! Single objects, copies, deletions and listings.

use crate::client::{BUCKET, client, failure, keys, put, start, start_with};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumMode, Delete, MetadataDirective, ObjectIdentifier, StorageClass};
use file_sync_dev_s3::{Count, Options, What};

#[tokio::test]
async fn a_wrong_secret_is_refused_and_nothing_stored() {
    let (server, _) = start();
    let stranger = client(&server, "wrong");
    let refused =
        stranger.put_object().bucket(BUCKET).key("k").body(b"x".to_vec().into()).send().await;
    assert_eq!(failure(refused), (403, "SignatureDoesNotMatch".to_owned()));
    assert!(keys(&server).is_empty());
}

#[tokio::test]
async fn a_wrong_checksum_is_refused_and_nothing_stored() {
    let (server, client) = start();
    let wrong = "AAAAAAAAAAA=";
    let put = || client.put_object().bucket(BUCKET).key("k").body(b"x".to_vec().into());
    for refused in [
        put().checksum_crc64_nvme(wrong).send().await,
        put().checksum_crc32("AAAAAA==").send().await,
        put().checksum_crc32_c("AAAAAA==").send().await,
        put().checksum_sha1(wrong).send().await,
        put().checksum_sha256(wrong).send().await,
        put().content_md5(wrong).send().await,
        put().checksum_crc64_nvme(wrong).customize().disable_payload_signing().send().await,
    ] {
        assert_eq!(failure(refused), (400, "BadDigest".to_owned()));
    }
    assert!(keys(&server).is_empty() && server.store().history(BUCKET).is_empty());
}

#[tokio::test]
async fn a_bucket_that_does_not_exist_takes_nothing() {
    let (_server, client) = start();
    let refused =
        client.put_object().bucket("other").key("k").body(b"x".to_vec().into()).send().await;
    assert_eq!(failure(refused), (404, "NoSuchBucket".to_owned()));
    assert_eq!(failure(client.list_objects_v2().bucket("other").send().await).0, 404);
    assert!(client.head_bucket().bucket("other").send().await.is_err());
    assert!(client.head_bucket().bucket(BUCKET).send().await.is_ok());
}

#[tokio::test]
async fn what_is_stored_beside_the_bytes_is_shown_again() {
    let (_server, client) = start();
    client
        .put_object()
        .bucket(BUCKET)
        .key("k")
        .body(b"body".to_vec().into())
        .content_type("text/plain")
        .cache_control("no-cache")
        .metadata("mtime", "12.5")
        .storage_class(StorageClass::StandardIa)
        .server_side_encryption("aws:kms".into())
        .ssekms_key_id("key-1")
        .send()
        .await
        .expect("stored");
    let head = client.head_object().bucket(BUCKET).key("k").checksum_mode(ChecksumMode::Enabled);
    let head = head.send().await.expect("there");
    assert_eq!(head.content_type.as_deref(), Some("text/plain"));
    assert_eq!(head.cache_control.as_deref(), Some("no-cache"));
    assert_eq!(head.metadata.expect("metadata")["mtime"], "12.5");
    assert_eq!(head.storage_class, Some(StorageClass::StandardIa));
    assert_eq!(head.ssekms_key_id.as_deref(), Some("key-1"));
    assert_eq!(head.content_length, Some(4));
    assert!(head.checksum_crc32.is_some(), "the algorithm the client chose");
}

#[tokio::test]
async fn a_body_without_a_checksum_gets_crc64nvme() {
    let (server, client) = start();
    server.store().put(BUCKET, "k", "body");
    let head = client.head_object().bucket(BUCKET).key("k");
    let plain = head.clone().send().await.expect("there");
    assert_eq!(plain.checksum_crc64_nvme, None, "shown only when asked for");
    let head = head.checksum_mode(ChecksumMode::Enabled).send().await.expect("there");
    assert!(head.checksum_crc64_nvme.is_some());
}

#[tokio::test]
async fn signed_chunks_with_a_trailer_are_understood() {
    let (server, client) = start();
    let directory = std::env::temp_dir().join(format!("dev-s3-chunks-{}", std::process::id()));
    std::fs::write(&directory, vec![7; 200_000]).expect("a file");
    let body = ByteStream::from_path(&directory).await.expect("a file");
    client.put_object().bucket(BUCKET).key("k").body(body).send().await.expect("stored");
    std::fs::remove_file(&directory).expect("the file is ours");
    let object = server.store().object(BUCKET, "k").expect("there");
    assert_eq!(object.size, 200_000);
    assert!(object.checksums.checksum_crc32.is_some(), "it came behind the body");
}

#[tokio::test]
async fn a_range_is_read_and_one_behind_the_end_refused() {
    let (_server, client) = start();
    put(&client, "k", b"0123456789").await;
    let get = |range: &str| client.get_object().bucket(BUCKET).key("k").range(range).send();
    let read = get("bytes=2-4").await.expect("readable");
    assert_eq!(read.content_range.as_deref(), Some("bytes 2-4/10"));
    assert_eq!(&read.body.collect().await.expect("read").to_vec(), b"234");
    assert_eq!(failure(get("bytes=10-").await).0, 416);
}

#[tokio::test]
async fn conditions_on_a_put_are_judged_by_what_is_there() {
    let (server, client) = start();
    let put = || client.put_object().bucket(BUCKET).key("k").body(b"x".to_vec().into());
    assert_eq!(failure(put().if_match("\"none\"").send().await).0, 404);
    let etag = put().if_none_match("*").send().await.expect("stored").e_tag.expect("an ETag");
    assert_eq!(
        failure(put().if_none_match("*").send().await),
        (412, "PreconditionFailed".to_owned())
    );
    assert_eq!(failure(put().if_match("\"other\"").send().await).0, 412);
    assert!(put().if_match(etag).send().await.is_ok());
    assert_eq!(server.store().versions(BUCKET, "k").len(), 2);
}

#[tokio::test]
async fn a_deletion_spares_what_it_does_not_match() {
    let (server, client) = start();
    let etag = put(&client, "k", b"x").await;
    let delete = |etag: &str| client.delete_object().bucket(BUCKET).key("k").if_match(etag).send();
    assert_eq!(failure(delete("\"other\"").await).0, 412);
    assert_eq!(keys(&server), ["k"]);
    delete(&etag).await.expect("deleted");
    assert!(keys(&server).is_empty());
    let unconditional = client.delete_object().bucket(BUCKET).key("k").send().await;
    assert!(unconditional.is_ok(), "what is not there is deleted already");
    let history = server.store().history(BUCKET);
    assert!(matches!(history[..], [_, ref last] if matches!(last.what, What::Deleted)));
}

#[tokio::test]
async fn many_deletions_at_once_are_answered_one_by_one() {
    let (server, client) = start();
    for key in ["a", "b", "c"] {
        put(&client, key, b"x").await;
    }
    let object = |key: &str| ObjectIdentifier::builder().key(key);
    let delete = Delete::builder()
        .objects(object("a").build().expect("complete"))
        .objects(object("b").e_tag("\"other\"").build().expect("complete"))
        .objects(object("missing").build().expect("complete"));
    let delete = delete.build().expect("complete");
    let answer =
        client.delete_objects().bucket(BUCKET).delete(delete).send().await.expect("answered");
    assert_eq!(answer.deleted().len(), 2);
    assert_eq!(answer.errors().len(), 1);
    assert_eq!(answer.errors()[0].code(), Some("PreconditionFailed"));
    assert_eq!(keys(&server), ["b", "c"]);
}

#[tokio::test]
async fn a_listing_comes_in_pages_by_prefix_and_in_order() {
    let (server, client) = start();
    for number in 0..25 {
        server.store().put(BUCKET, &format!("p/{number:02}"), "x");
    }
    server.store().put(BUCKET, "q", "x");
    let mut seen = Vec::new();
    let mut token = None;
    loop {
        let list = client.list_objects_v2().bucket(BUCKET).prefix("p/").max_keys(10);
        let page = list.set_continuation_token(token).send().await.expect("a page");
        seen.extend(page.contents().iter().map(|object| object.key().expect("a key").to_owned()));
        assert!(
            page.contents()
                .iter()
                .all(|object| object.e_tag().is_some() && object.size() == Some(1))
        );
        token = page.next_continuation_token.clone();
        assert_eq!(page.is_truncated(), Some(token.is_some()));
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..25).map(|number| format!("p/{number:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_listing_with_a_delimiter_groups_across_pages() {
    let (server, client) = start();
    for key in ["a/1", "a/2", "b", "c/1"] {
        server.store().put(BUCKET, key, "x");
    }
    let list = || client.list_objects_v2().bucket(BUCKET).delimiter("/").max_keys(1);
    let first = list().send().await.expect("a page");
    assert_eq!(first.common_prefixes()[0].prefix(), Some("a/"));
    let token = first.next_continuation_token.expect("more");
    let second = list().continuation_token(token).send().await.expect("a page");
    assert_eq!(second.contents()[0].key(), Some("b"));
}

#[tokio::test]
async fn a_file_and_a_directory_of_one_name_are_two_keys() {
    let (server, client) = start();
    put(&client, "a/b", b"1").await;
    put(&client, "a", b"2").await;
    assert_eq!(keys(&server), ["a", "a/b"]);
}

#[tokio::test]
async fn odd_keys_are_stored_and_listed_as_they_are() {
    let (server, client) = start();
    let mut odd = vec![
        " lead and trail ",
        "+plus",
        "%41",
        "#hash",
        "what?",
        "\u{1f600}",
        "/leading",
        "//",
        "../up",
        "a/./b",
        "a//b",
        "a&b<c>",
        "a\"b'c",
        "tab\there",
        "line\nbreak",
        "a\u{1}b",
        "*",
        "~",
        "=",
        "ä",
        "a\u{308}",
    ];
    for key in &odd {
        put(&client, key, b"x").await;
    }
    odd.sort_unstable();
    assert_eq!(keys(&server), odd);
    let list = client.list_objects_v2().bucket(BUCKET).encoding_type("url".into());
    let page = list.send().await.expect("a page");
    let listed = page.contents().iter().map(|object| {
        let key = object.key().expect("a key");
        percent_encoding::percent_decode_str(key).decode_utf8().expect("UTF-8").into_owned()
    });
    assert_eq!(listed.collect::<Vec<_>>(), odd);
    for key in &odd {
        client.head_object().bucket(BUCKET).key(*key).send().await.expect("there");
    }
}

#[tokio::test]
async fn a_copy_takes_the_bytes_and_what_is_beside_them_along() {
    let (server, client) = start();
    let stored = client.put_object().bucket(BUCKET).key("from +").content_type("text/plain");
    let etag =
        stored.body(b"x".to_vec().into()).send().await.expect("stored").e_tag.expect("an ETag");
    let copy = || client.copy_object().bucket(BUCKET).copy_source(format!("{BUCKET}/from%20%2B"));
    assert_eq!(failure(copy().key("to").copy_source_if_match("\"other\"").send().await).0, 412);
    let copied = copy().key("to").copy_source_if_match(&etag).send().await.expect("copied");
    assert_eq!(copied.copy_object_result.and_then(|result| result.e_tag), Some(etag));
    assert_eq!(server.objects(BUCKET)["to"].headers.content_type.as_deref(), Some("text/plain"));
    let replaced =
        copy().key("to").metadata_directive(MetadataDirective::Replace).content_type("a/b");
    replaced.send().await.expect("copied");
    assert_eq!(server.objects(BUCKET)["to"].headers.content_type.as_deref(), Some("a/b"));
    assert_eq!(failure(copy().key("from +").send().await), (400, "InvalidRequest".to_owned()));
    assert_eq!(failure(copy().key("new").if_none_match("*").if_match("\"x\"").send().await).0, 404);
}

#[tokio::test]
async fn every_body_ever_stored_is_remembered() {
    let (server, client) = start();
    put(&client, "k", b"one").await;
    put(&client, "k", b"two").await;
    client.delete_object().bucket(BUCKET).key("k").send().await.expect("deleted");
    put(&client, "k", b"three").await;
    assert_eq!(server.store().bodies(BUCKET, "k"), [&b"one"[..], b"two", b"three"]);
    let history = server.store().history(BUCKET);
    assert!(history.is_sorted_by_key(|change| change.sequence));
    assert_eq!(history.len(), 4);
}

#[tokio::test]
async fn without_bodies_size_and_checksum_are_still_known() {
    let (server, client) = start_with(&Options { keep_bodies: false, ..Options::default() });
    put(&client, "k", b"body").await;
    let object = server.store().object(BUCKET, "k").expect("there");
    assert_eq!((object.size, object.body.as_ref()), (4, None));
    assert_eq!(object.crc64nvme, crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, b"body"));
    assert_eq!(failure(client.get_object().bucket(BUCKET).key("k").send().await).0, 501);
}

#[tokio::test]
async fn a_discarding_server_answers_and_keeps_nothing() {
    let (server, client) = start_with(&Options { discard: true, ..Options::default() });
    let stranger = crate::client::client(&server, "wrong");
    put(&stranger, "k", b"body").await;
    assert!(keys(&server).is_empty() && server.store().history(BUCKET).is_empty());
    let listed = client.list_objects_v2().bucket(BUCKET).send().await.expect("an answer");
    assert_eq!(listed.contents(), []);
    let counts = server.journal().counts();
    assert_eq!(counts["PutObject"], Count { requests: 1, body_bytes: 4 });
    assert_eq!(counts["ListObjectsV2"], Count { requests: 1, body_bytes: 0 });
}

#[tokio::test]
async fn a_discarding_server_shows_what_clients_check_their_uploads_by() {
    let (_server, client) = start_with(&Options { discard: true, ..Options::default() });
    let put = client.put_object().bucket(BUCKET).key("k").body(b"body".to_vec().into());
    // The MD5 of it.
    let put = put.content_md5("hBotaJrYa9FhFEdFPCLG/A==").metadata("mtime", "12.5");
    let put = put.send().await.expect("stored");
    assert_eq!(put.e_tag(), Some("\"841a2d689ad86bd1611447453c22c6fc\""));
    let head = client.head_object().bucket(BUCKET).key("k").send().await.expect("there");
    assert_eq!((head.content_length(), head.e_tag()), (Some(4), put.e_tag()));
    assert_eq!(head.metadata().expect("metadata")["mtime"], "12.5");
    assert_eq!(failure(client.head_object().bucket(BUCKET).key("other").send().await).0, 404);
}

#[tokio::test]
async fn a_discarding_server_puts_parts_together() {
    let (_server, client) = start_with(&Options { discard: true, ..Options::default() });
    let begun = client.create_multipart_upload().bucket(BUCKET).key("k").send().await;
    let id = begun.expect("begun").upload_id.expect("an id");
    for number in [1, 2] {
        let part = client.upload_part().bucket(BUCKET).key("k").upload_id(&id).part_number(number);
        part.body(b"part".to_vec().into()).send().await.expect("taken");
    }
    let complete = || client.complete_multipart_upload().bucket(BUCKET).key("k").upload_id(&id);
    let completed = complete().checksum_crc64_nvme("AAAAAAAAAAA=").send().await.expect("whole");
    assert!(completed.e_tag().is_some_and(|etag| etag.ends_with("-2\"")));
    assert_eq!(completed.checksum_crc64_nvme(), Some("AAAAAAAAAAA="));
    let head = client.head_object().bucket(BUCKET).key("k").send().await.expect("there");
    assert_eq!(head.content_length(), Some(8));
    assert_eq!(failure(complete().send().await), (404, "NoSuchUpload".to_owned()));
}

#[tokio::test]
async fn a_store_without_checksums_tells_none_and_verifies_all_the_same() {
    let options = Options { checksums: false, ..Options::default() };
    let (server, client) = start_with(&options);
    let put = |body: &[u8]| {
        let put = client.put_object().bucket(BUCKET).key("k").checksum_crc64_nvme("rosUhgp5mIg=");
        put.body(body.to_vec().into()).send()
    };
    assert_eq!(put(b"123456789").await.expect("stored").checksum_crc64_nvme, None);
    assert!(put(b"12345678").await.is_err(), "verified");
    let copy = client.copy_object().bucket(BUCKET).key("c").copy_source(format!("{BUCKET}/k"));
    let copied = copy.send().await.expect("copied").copy_object_result.expect("a result");
    assert_eq!(copied.checksum_crc64_nvme, None);
    for key in ["k", "c"] {
        let head = client.head_object().bucket(BUCKET).key(key);
        let head = head.checksum_mode(ChecksumMode::Enabled).send().await.expect("there");
        assert_eq!((head.checksum_crc64_nvme, head.checksum_crc32), (None, None));
    }
    assert_eq!(keys(&server), ["c", "k"]);
}

#[tokio::test]
async fn a_store_without_conditions_takes_every_write() {
    for (conditional_writes, status) in [(true, 412), (false, 200)] {
        let options = Options { conditional_writes, ..Options::default() };
        let (_server, client) = start_with(&options);
        put(&client, "k", b"1").await;
        let put = client.put_object().bucket(BUCKET).key("k").if_none_match("*").send().await;
        let copy = client.copy_object().bucket(BUCKET).key("k").copy_source(format!("{BUCKET}/k"));
        let copy = copy.metadata_directive(MetadataDirective::Replace).if_match("\"other\"");
        let answers = [put.map_or_else(|e| failure::<(), _>(Err(e)).0, |_| 200), {
            copy.send().await.map_or_else(|e| failure::<(), _>(Err(e)).0, |_| 200)
        }];
        assert_eq!(answers, [status; 2]);
    }
}
