//! Multipart uploads.

use crate::client::{BUCKET, failure, keys, put, start, start_with};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::complete_multipart_upload::{
    CompleteMultipartUploadError, CompleteMultipartUploadOutput,
};
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use base64_simd::STANDARD;
use crc_fast::CrcAlgorithm;
use file_sync_dev_s3::{Options, Server};

fn small_parts() -> (Server, Client) {
    start_with(&Options { part_bytes_min: 2, ..Options::default() })
}

fn crc64nvme(bytes: &[u8]) -> String {
    STANDARD.encode_to_string(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes).to_be_bytes())
}

async fn begin(client: &Client) -> String {
    let create = client.create_multipart_upload().bucket(BUCKET).key("k");
    let create = create
        .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
        .checksum_type(ChecksumType::FullObject);
    create.send().await.expect("begun").upload_id.expect("an id")
}

async fn part(client: &Client, id: &str, number: i32, body: &'static [u8]) -> CompletedPart {
    let upload = client.upload_part().bucket(BUCKET).key("k").upload_id(id).part_number(number);
    let upload = upload.body(body.to_vec().into()).checksum_crc64_nvme(crc64nvme(body));
    let etag = upload.send().await.expect("uploaded").e_tag.expect("an ETag");
    CompletedPart::builder().part_number(number).e_tag(etag).build()
}

async fn complete(
    client: &Client,
    id: &str,
    parts: &[CompletedPart],
    crc: &str,
    size: i64,
) -> Result<CompleteMultipartUploadOutput, SdkError<CompleteMultipartUploadError>> {
    let list = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec())).build();
    let complete = client.complete_multipart_upload().bucket(BUCKET).key("k").upload_id(id);
    let complete = complete.checksum_type(ChecksumType::FullObject).checksum_crc64_nvme(crc);
    complete.mpu_object_size(size).multipart_upload(list).send().await
}

#[tokio::test]
async fn parts_become_an_object_whose_whole_checksum_was_verified() {
    let (server, client) = small_parts();
    let id = begin(&client).await;
    let second = part(&client, &id, 2, b"def").await;
    let first = part(&client, &id, 1, b"abc").await;
    let parts = [first, second];
    assert_eq!(
        failure(complete(&client, &id, &parts, &crc64nvme(b"other"), 6).await).1,
        "BadDigest"
    );
    assert_eq!(
        failure(complete(&client, &id, &parts, &crc64nvme(b"abcdef"), 7).await).1,
        "InvalidRequest"
    );
    assert!(keys(&server).is_empty());
    let stored = complete(&client, &id, &parts, &crc64nvme(b"abcdef"), 6).await.expect("stored");
    assert!(stored.e_tag.expect("an ETag").ends_with("-2\""));
    let object = server.store().object(BUCKET, "k").expect("there");
    assert_eq!(object.body.as_deref(), Some(&b"abcdef"[..]));
    assert_eq!(object.checksums.checksum_crc64nvme, Some(crc64nvme(b"abcdef")));
    assert!(server.store().uploads(BUCKET).is_empty());
}

#[tokio::test]
async fn without_bodies_the_whole_checksum_is_verified_all_the_same() {
    let options = Options { part_bytes_min: 2, keep_bodies: false, ..Options::default() };
    let (server, client) = start_with(&options);
    let id = begin(&client).await;
    let parts = [part(&client, &id, 1, b"abc").await, part(&client, &id, 2, b"def").await];
    assert_eq!(
        failure(complete(&client, &id, &parts, &crc64nvme(b"other"), 6).await).1,
        "BadDigest"
    );
    complete(&client, &id, &parts, &crc64nvme(b"abcdef"), 6).await.expect("stored");
    assert_eq!(server.objects(BUCKET)["k"].size, 6);
}

#[tokio::test]
async fn a_wrong_list_of_parts_completes_nothing() {
    let (server, client) = small_parts();
    let id = begin(&client).await;
    let first = part(&client, &id, 1, b"abc").await;
    let second = part(&client, &id, 2, b"def").await;
    let crc = crc64nvme(b"abcdef");
    let foreign = CompletedPart::builder().part_number(2).e_tag("\"0\"").build();
    let missing = CompletedPart::builder().part_number(3).e_tag("\"0\"").build();
    for (parts, code) in [
        (vec![second.clone(), first.clone()], "InvalidPartOrder"),
        (vec![first.clone(), foreign], "InvalidPart"),
        (vec![first.clone(), second.clone(), missing], "InvalidPart"),
        (vec![first.clone()], "InvalidRequest"),
        (vec![], "MalformedXML"),
    ] {
        assert_eq!(failure(complete(&client, &id, &parts, &crc, 6).await).1, code);
    }
    assert!(keys(&server).is_empty());
}

#[tokio::test]
async fn a_part_that_is_too_small_may_only_be_the_last() {
    let (_server, client) = start();
    let id = begin(&client).await;
    let parts = [part(&client, &id, 1, b"abc").await, part(&client, &id, 2, b"def").await];
    let refused = complete(&client, &id, &parts, &crc64nvme(b"abcdef"), 6).await;
    assert_eq!(failure(refused), (400, "EntityTooSmall".to_owned()));
    let last = complete(&client, &id, &parts[..1], &crc64nvme(b"abc"), 3).await;
    assert!(last.is_ok());
}

#[tokio::test]
async fn a_part_with_another_checksum_algorithm_is_refused() {
    let (_server, client) = small_parts();
    let id = begin(&client).await;
    let upload = client.upload_part().bucket(BUCKET).key("k").upload_id(id).part_number(1);
    let refused = upload.body(b"abc".to_vec().into()).send().await;
    assert_eq!(
        failure(refused),
        (400, "InvalidRequest".to_owned()),
        "the client's default is CRC32"
    );
}

#[tokio::test]
async fn an_aborted_upload_is_gone_and_a_completed_one_too() {
    let (server, client) = small_parts();
    let id = begin(&client).await;
    let listed = client.list_multipart_uploads().bucket(BUCKET).send().await.expect("listed");
    assert_eq!(listed.uploads()[0].upload_id(), Some(id.as_str()));
    part(&client, &id, 1, b"abc").await;
    let parts =
        client.list_parts().bucket(BUCKET).key("k").upload_id(&id).send().await.expect("listed");
    assert_eq!(parts.parts()[0].size(), Some(3));
    let abort = || client.abort_multipart_upload().bucket(BUCKET).key("k").upload_id(&id).send();
    abort().await.expect("aborted");
    assert_eq!(failure(abort().await), (404, "NoSuchUpload".to_owned()));
    let listed = client.list_multipart_uploads().bucket(BUCKET).send().await.expect("listed");
    assert!(listed.uploads().is_empty() && keys(&server).is_empty());
}

#[tokio::test]
async fn a_part_can_be_copied_from_an_object() {
    let (server, client) = small_parts();
    put(&client, "from", b"0123456789").await;
    let id = begin(&client).await;
    let copy = client.upload_part_copy().bucket(BUCKET).key("k").upload_id(&id).part_number(1);
    let copy = copy.copy_source(format!("{BUCKET}/from"));
    assert_eq!(failure(copy.clone().copy_source_range("bytes=4-10").send().await).0, 416);
    let copied = copy.copy_source_range("bytes=4-9").send().await.expect("copied");
    let etag = copied.copy_part_result.and_then(|result| result.e_tag).expect("an ETag");
    let parts = [CompletedPart::builder().part_number(1).e_tag(etag).build()];
    complete(&client, &id, &parts, &crc64nvme(b"456789"), 6).await.expect("stored");
    assert_eq!(server.store().bodies(BUCKET, "k"), [&b"456789"[..]]);
}

#[tokio::test]
async fn conditions_on_a_completion_are_judged_by_what_is_there() {
    let (server, client) = small_parts();
    let id = begin(&client).await;
    let parts = vec![part(&client, &id, 1, b"abc").await];
    server.store().put(BUCKET, "k", "other");
    let list = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = client.complete_multipart_upload().bucket(BUCKET).key("k").upload_id(&id);
    let complete = complete.multipart_upload(list).checksum_type(ChecksumType::FullObject);
    assert_eq!(failure(complete.clone().if_none_match("*").send().await).0, 412);
    server.store().remove(BUCKET, "k");
    complete.if_none_match("*").send().await.expect("stored");
}
