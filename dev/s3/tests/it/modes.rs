//! Stores that differ from S3, and answers that are none of S3's.

use crate::client::{BUCKET, failure, is_unanswered, keys, put, start, start_with};
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart, Delete,
    ObjectIdentifier,
};
use file_sync_dev_s3::{Action, Options, RawAnswer, Rule, Server, StoreMode};

fn start_as(mode: StoreMode) -> (Server, Client) {
    let options = Options {
        modes: [mode].into(),
        part_bytes_min: 1,
        keep_bodies: true,
        ..Options::default()
    };
    start_with(&options)
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_store_without_checksums_says_none_and_verifies_them_all_the_same() {
    let (_server, client) = start_as(StoreMode::NoChecksums);
    let sum = "AAAAAAAAAAA=";
    let wrong = client.put_object().bucket(BUCKET).key("k").checksum_crc64_nvme(sum);
    let wrong = wrong.body(b"x".to_vec().into()).send().await;
    assert_eq!(failure(wrong), refused(400, "BadDigest"));
    let algorithm = ChecksumAlgorithm::Crc64Nvme;
    let stored = client.put_object().bucket(BUCKET).key("k").checksum_algorithm(algorithm);
    let stored = stored.body(b"x".to_vec().into()).send().await.expect("stored");
    assert_eq!(stored.checksum_crc64_nvme, None);
    let head = client.head_object().bucket(BUCKET).key("k").checksum_mode(ChecksumMode::Enabled);
    assert_eq!(head.send().await.expect("there").checksum_crc64_nvme, None);
    let copy = client.copy_object().bucket(BUCKET).key("l").copy_source(format!("{BUCKET}/k"));
    let copied = copy.send().await.expect("copied").copy_object_result.expect("a result");
    assert_eq!(copied.checksum_crc64_nvme, None);
    let listed = client.list_objects_v2().bucket(BUCKET).send().await.expect("listed");
    assert!(listed.contents().iter().all(|object| object.checksum_algorithm().is_empty()));
}

#[tokio::test]
async fn a_weak_etag_is_in_the_header_and_fits_no_condition() {
    let (server, client) = start_as(StoreMode::WeakEtags);
    let etag = put(&client, "k", b"x").await;
    assert!(etag.starts_with("W/\""), "{etag}");
    let head = client.head_object().bucket(BUCKET).key("k").send().await.expect("there");
    assert_eq!(head.e_tag.as_deref(), Some(etag.as_str()));
    let delete = client.delete_object().bucket(BUCKET).key("k").if_match(&etag).send().await;
    assert_eq!(failure(delete), refused(412, "PreconditionFailed"));
    let strong = etag.trim_start_matches("W/");
    client.delete_object().bucket(BUCKET).key("k").if_match(strong).send().await.expect("deleted");
    assert!(keys(&server).is_empty());
}

#[tokio::test]
async fn conditions_are_ignored_by_every_operation_or_rejected_by_every_one() {
    let other = "\"00000000000000000000000000000000\"";
    let (server, client) = start_as(StoreMode::IgnoresConditions);
    put(&client, "k", b"x").await;
    let write = client.put_object().bucket(BUCKET).key("k").if_none_match("*");
    write.body(b"y".to_vec().into()).send().await.expect("overwritten");
    let delete = client.delete_object().bucket(BUCKET).key("k").if_match(other);
    delete.send().await.expect("deleted");
    assert!(keys(&server).is_empty());

    let (server, client) = start_as(StoreMode::RejectsConditions);
    put(&client, "k", b"x").await;
    let write = client.put_object().bucket(BUCKET).key("l").if_none_match("*");
    let write = write.body(b"y".to_vec().into()).send().await;
    assert_eq!(failure(write), refused(501, "NotImplemented"));
    let delete = client.delete_object().bucket(BUCKET).key("k").if_match(other).send().await;
    assert_eq!(failure(delete), refused(501, "NotImplemented"));
    let object = ObjectIdentifier::builder().key("k").e_tag(other).build().expect("a key");
    let objects = Delete::builder().objects(object).build().expect("objects");
    let deletes = client.delete_objects().bucket(BUCKET).delete(objects).send().await;
    assert_eq!(failure(deletes), refused(501, "NotImplemented"));
    assert_eq!(keys(&server), ["k"]);
}

#[tokio::test]
async fn the_first_version_of_listings_reads_every_page_where_the_second_is_refused() {
    let (_server, client) = start_as(StoreMode::ListV1Only);
    for key in ["a", "b c", "d", "e/f"] {
        put(&client, key, b"x").await;
    }
    let second = client.list_objects_v2().bucket(BUCKET).send().await;
    assert_eq!(failure(second), refused(501, "NotImplemented"));
    let mut found = Vec::new();
    let mut marker = String::new();
    loop {
        let page = client.list_objects().bucket(BUCKET).max_keys(2).marker(&marker).send().await;
        let page = page.expect("a page");
        assert_eq!(page.next_marker, None, "S3 has one only where there is a delimiter");
        found.extend(page.contents().iter().filter_map(|object| object.key.clone()));
        marker = found.last().cloned().unwrap_or_default();
        if page.is_truncated != Some(true) {
            break;
        }
    }
    assert_eq!(found, ["a", "b c", "d", "e/f"]);
}

#[tokio::test]
async fn what_a_store_does_not_know_is_refused_and_changes_nothing() {
    let (server, client) = start_as(StoreMode::NoBatchDelete);
    put(&client, "k", b"x").await;
    let object = ObjectIdentifier::builder().key("k").build().expect("a key");
    let objects = Delete::builder().objects(object).build().expect("objects");
    let deletes = client.delete_objects().bucket(BUCKET).delete(objects).send().await;
    assert_eq!(failure(deletes), refused(400, "InvalidArgument"));
    assert_eq!(keys(&server), ["k"]);

    let (_server, client) = start_as(StoreMode::RejectsChecksumMode);
    put(&client, "k", b"x").await;
    let head = client.head_object().bucket(BUCKET).key("k");
    assert_eq!(failure(head.clone().checksum_mode(ChecksumMode::Enabled).send().await).0, 400);
    head.send().await.expect("without the header it is there");

    let (server, client) = start_as(StoreMode::RejectsChecksums);
    let write = client.put_object().bucket(BUCKET).key("k").checksum_crc64_nvme("AAAAAAAAAAA=");
    let write = write.body(b"x".to_vec().into()).send().await;
    assert_eq!(failure(write), refused(400, "InvalidArgument"));
    assert!(keys(&server).is_empty());
}

#[tokio::test]
async fn parts_of_different_sizes_become_no_object_where_they_have_to_be_equal() {
    for (sizes, fits) in [(vec![2, 2, 1], true), (vec![2, 3, 1], false), (vec![2, 3], false)] {
        let (_server, client) = start_as(StoreMode::EqualParts);
        let upload = client.create_multipart_upload().bucket(BUCKET).key("k").send().await;
        let id = upload.expect("begun").upload_id.expect("an id");
        let mut parts = CompletedMultipartUpload::builder();
        for (number, size) in (1..).zip(&sizes) {
            let part = client.upload_part().bucket(BUCKET).key("k").upload_id(&id);
            let part = part.part_number(number).body(vec![0; *size].into()).send().await;
            let etag = part.expect("sent").e_tag.expect("an ETag");
            parts = parts.parts(CompletedPart::builder().part_number(number).e_tag(etag).build());
        }
        let complete = client.complete_multipart_upload().bucket(BUCKET).key("k").upload_id(id);
        let complete = complete.multipart_upload(parts.build()).send().await;
        assert_eq!(complete.is_ok(), fits, "{sizes:?}");
    }
}

#[tokio::test]
async fn a_page_of_a_proxy_has_nothing_of_s3_and_stores_nothing() {
    let (server, client) = start();
    let put = |key: &str| client.put_object().bucket(BUCKET).key(key).body(b"x".to_vec().into());
    server.fail(Rule::new(Action::html_page()).times(1));
    let answer = put("page").send().await.expect("the client takes any 200");
    assert_eq!(answer.e_tag, None);
    server.fail(Rule::new(Action::default_backend()).times(1));
    assert_eq!(failure(put("ingress").send().await).0, 404);
    assert!(keys(&server).is_empty());
    server.fail(Rule::new(Action::Answer(RawAnswer::html(200).applied())).times(1));
    assert_eq!(put("after").send().await.expect("any 200").e_tag, None);
    assert_eq!(keys(&server), ["after"]);
}

#[tokio::test]
async fn a_request_reset_in_its_body_stores_nothing_and_an_answer_reset_in_its_body_does() {
    let (server, client) = start();
    let put = || client.put_object().bucket(BUCKET).key("k").body(vec![7; 1 << 20].into());
    server.fail(Rule::new(Action::ResetRequest(4096)).times(1));
    assert!(is_unanswered(&put().send().await));
    assert!(keys(&server).is_empty());
    put().send().await.expect("stored");
    server.fail(Rule::new(Action::ResetReply(4)).on("CopyObject").times(1));
    let copy = client.copy_object().bucket(BUCKET).key("l").copy_source(format!("{BUCKET}/k"));
    assert!(copy.send().await.is_err());
    assert_eq!(keys(&server), ["k", "l"]);
}
