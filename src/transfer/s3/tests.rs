//! What answers in the place of S3, and what stores do not know, on every operation.

use super::*;
use crate::exclusivity::{Condition, LeaseClaim, LeaseWrite};
use crate::model::{FailureClass, KeyPrefix, RelPath, Version};
use crate::rules::Rules;
use crate::transfer::{DeleteRequest, DeleteResult, ListingProgress};
use file_sync_dev_s3::{Action, BUCKET, Options, RawAnswer, Rule, Server, StoreMode};

const BODY: &[u8] = b"content";

fn server() -> Server {
    Server::start(&Options::default()).expect("a server")
}

fn key(name: &str) -> ObjectKey {
    KeyPrefix::default().key(&RelPath::new(name.as_bytes()).expect("a path")).expect("a key")
}

fn object(name: &str) -> ObjectMetadata {
    let path = RelPath::new(name.as_bytes()).expect("a path");
    ObjectMetadata {
        key: key(name),
        version: Version { size: BODY.len() as u64, mtime_ns: 0 },
        mode: 0o100_644,
        file_owner: None,
        head: Rules::default().head(&path),
        source: "here".into(),
        replaces_tags: false,
    }
}

fn checksum_of_body() -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, BODY)
}

fn condemned(name: &str) -> DeleteRequest {
    DeleteRequest { key: key(name), etag: None }
}

async fn put(store: &S3, name: &str) -> Result<StoredObject, Failure> {
    put_if(store, name, None).await.map(stored)
}

async fn put_if(
    store: &S3,
    name: &str,
    condition: Option<&Condition>,
) -> Result<WriteResult, Failure> {
    store.put(&object(name), Bytes::from_static(BODY), checksum_of_body(), condition).await
}

fn stored(result: WriteResult) -> StoredObject {
    let WriteResult::Stored(object) = result else { panic!("the condition does not hold") };
    object
}

async fn delete_two(store: &S3) -> Vec<Result<DeleteResult, Failure>> {
    store.delete(&[condemned("a"), condemned("b")]).await
}

/// What every operation makes of what it is answered.
async fn every_operation(store: &S3) -> Vec<(&'static str, bool, Result<(), Failure>)> {
    let key = &key("file");
    let from = (key, "\"0\"");
    let part = StoredPart { number: 1, etag: "\"0\"".into(), crc64nvme: None };
    let claim = br#"{"version":1,"number":1,"seconds":9,
        "holder":{"owner":"us","process":"1","name":"here"}}"#;
    let claim = LeaseClaim::parse(claim).expect("a claim");
    let write = LeaseWrite { claim, condition: Condition::Absent };
    let body = Bytes::from_static(BODY);
    let sum = checksum_of_body();
    let upload = UploadRef { key, id: "id" };
    let deleted = store.delete(&[condemned("file")]).await.remove(0);
    let each = delete_two(store).await;
    vec![
        ("put", true, put(store, "file").await.map(drop)),
        ("head", false, store.head(key).await.map(drop)),
        ("read", false, store.read_checksum(key, 7).await.map(drop)),
        ("delete", true, deleted.map(drop)),
        ("delete the first of two", true, each[0].clone().map(drop)),
        ("delete the second of two", true, each[1].clone().map(drop)),
        ("list", false, store.list("", None).await.map(drop)),
        ("copy", true, store.copy(from.0, from.1, &object("copy"), None).await.map(drop)),
        ("begin", true, store.begin_upload(&object("file")).await.map(drop)),
        ("part", true, store.put_part(upload, 1, body, sum).await.map(drop)),
        ("copy part", true, store.copy_part(from, 0..7, upload, 1).await.map(drop)),
        ("complete", true, store.complete_upload(upload, &[part], 7, sum, None).await.map(drop)),
        ("abort", true, store.abort_upload(upload).await),
        ("uploads", false, store.uploads(key).await.map(drop)),
        ("read lease", false, store.lease(key).await.map(drop)),
        ("write lease", true, store.write_lease(key, &write).await.map(drop)),
        ("give up lease", true, store.give_up_lease(key, "\"0\"").await),
    ]
}

/// Asserts that no operation takes `answer` for one of S3.
async fn is_an_outage(answer: RawAnswer) {
    let server = server();
    let store = for_tests(&server);
    server.fail(Rule::new(Action::Answer(answer.clone())));
    for (operation, is_write, result) in every_operation(&store).await {
        let failure = result.expect_err(operation);
        assert_eq!(failure.code, "not-an-s3-answer", "{operation}: {failure:?} of {answer:?}");
        assert_eq!(failure.class, FailureClass::Unavailable, "{operation}");
        assert!(failure.answer_lost || !is_write, "{operation} may have been carried out");
    }
}

#[tokio::test]
async fn an_html_page_is_not_an_answer_of_s3() {
    for status in [200, 302, 401, 403, 404, 405, 409, 412] {
        is_an_outage(RawAnswer::html(status)).await;
    }
    // A static page has an entity tag, too.
    is_an_outage(RawAnswer::html(200).header("etag", "\"65a1-3c\"")).await;
    is_an_outage(RawAnswer::html(200).header("x-amz-cf-id", "of CloudFront, not of S3")).await;
}

#[tokio::test]
async fn an_empty_success_is_not_an_answer_of_s3() {
    is_an_outage(RawAnswer::new(200)).await;
    is_an_outage(RawAnswer::new(202)).await;
    is_an_outage(RawAnswer::new(200).header("content-type", "application/xml")).await;
}

#[tokio::test]
async fn the_default_backend_of_an_ingress_says_of_no_object_that_it_is_not_there() {
    let plain = RawAnswer::new(404).header("content-type", "text/plain");
    is_an_outage(plain.body("default backend - 404")).await;
    is_an_outage(RawAnswer::new(404)).await;
}

#[tokio::test]
async fn a_missing_bucket_or_upload_says_of_no_object_that_it_is_not_there() {
    let server = server();
    let store = for_tests(&server);
    for code in ["NoSuchBucket", "NoSuchUpload"] {
        let absent = RawAnswer::error(404, code, "It does not exist.");
        let rule = server.fail(Rule::new(Action::Answer(absent)));
        for (operation, _, result) in every_operation(&store).await {
            if operation == "abort" && code == "NoSuchUpload" {
                assert_eq!(result, Ok(()), "it is the upload that is to go");
                continue;
            }
            assert_eq!(result.expect_err(operation).code, code, "{operation}");
        }
        server.faults().remove(rule);
    }
    assert_eq!(store.head(&key("file")).await, Ok(None), "this one is not there");
}

#[tokio::test]
async fn an_error_of_a_delete_that_names_no_object_is_no_success_of_any() {
    let server = server();
    let store = for_tests(&server);
    for named in ["", "<Key>another</Key>"] {
        let error = format!("<Error>{named}<Code>AccessDenied</Code></Error>");
        let document = format!("<DeleteResult>{error}</DeleteResult>");
        server.fail(
            Rule::new(Action::Answer(RawAnswer::xml(200, document))).on("DeleteObjects").times(1),
        );
        server.clear_requests();
        assert_eq!(delete_two(&store).await, [Ok(DeleteResult::Gone), Ok(DeleteResult::Gone)]);
        assert_eq!(server.count("DeleteObject"), 2, "each was asked for by itself");
    }
}

#[tokio::test]
async fn an_error_in_an_answer_that_says_success_is_an_error() {
    let server = server();
    let store = for_tests(&server);
    let rule = server.fail(Rule::new(Action::FailWithin200("InternalError")));
    for (operation, is_write, result) in every_operation(&store).await {
        // The content of an object may be anything.
        let failure = result.expect_err(operation);
        if !["head", "read", "read lease"].contains(&operation) {
            assert_eq!(failure.code, "InternalError", "{operation}");
        }
        assert_eq!(failure.class, FailureClass::Unavailable, "{operation}");
        assert!(failure.answer_lost || !is_write, "{operation} may have been carried out");
    }
    server.faults().remove(rule);
    server.fail(Rule::new(Action::FailWithin200("PreconditionFailed")).on("CopyObject"));
    let refused = store.copy(&key("a"), "\"0\"", &object("b"), None).await.expect_err("an error");
    assert!(refused.answer_lost, "it may have been made anyway");
}

#[tokio::test]
async fn no_answer_is_read_without_an_end() {
    let server = server();
    let store = for_tests(&server);
    let listing = "<ListBucketResult><Contents><Key>a</Key><Size>1</Size></Contents>";
    let documents = [
        RawAnswer::xml(200, listing).endless("<Contents><Key>a</Key><Size>1</Size></Contents>"),
        RawAnswer::xml(200, "<DeleteResult>").endless("<Deleted><Key>a</Key></Deleted>"),
        RawAnswer::html(200).endless("<p>Back soon</p>"),
        RawAnswer::new(200).header("etag", "\"0\"").endless(" "),
    ];
    for answer in documents {
        let rule = server.fail(Rule::new(Action::Answer(answer)));
        for (operation, _, result) in every_operation(&store).await {
            let failure = result.expect_err(operation);
            assert!(failure.message.len() <= 1024, "{operation}");
        }
        server.faults().remove(rule);
    }
    let error = RawAnswer::xml(403, "<Error><Code>AccessDenied</Code><Message>").endless("no ");
    server.fail(Rule::new(Action::Answer(error)));
    for (operation, _, result) in every_operation(&store).await {
        let failure = result.expect_err(operation);
        let expected = ["AccessDenied", "http-403"].contains(&failure.code.as_str());
        assert!(expected && failure.class == FailureClass::Refused, "{operation}: {failure:?}");
    }
}

#[tokio::test]
async fn a_message_of_five_megabytes_is_kept_short() {
    let server = server();
    let store = for_tests(&server);
    let message = "no ".repeat(5_000_000 / 3);
    server.fail(Rule::new(Action::Answer(RawAnswer::error(403, "AccessDenied", &message))));
    for (operation, _, result) in every_operation(&store).await {
        let failure = result.expect_err(operation);
        assert!(failure.message.len() <= 1024 && failure.code.len() <= 64, "{operation}");
        assert_eq!(failure.class, FailureClass::Refused, "{operation}: {failure:?}");
    }
}

#[tokio::test]
async fn a_weak_entity_tag_is_the_strong_one_that_a_proxy_weakened() {
    let server = server();
    let weak = RawAnswer::new(200).header("etag", "W/\"0123456789abcdef0123456789abcdef\"");
    server.fail(Rule::new(Action::Answer(weak)).on("PutObject"));
    let stored = put(&for_tests(&server), "file").await.expect("stored");
    assert_eq!(stored.etag.as_deref(), Some("\"0123456789abcdef0123456789abcdef\""));
}

/// The headers of the newer checksum family that any request carried.
fn checksum_headers(server: &Server) -> Vec<(&'static str, String)> {
    let is_one = |name: &str| {
        name.starts_with("x-amz-checksum")
            || ["x-amz-sdk-checksum-algorithm", "x-amz-mp-object-size", "x-amz-trailer"]
                .contains(&name)
    };
    let mut carried = Vec::new();
    for request in server.requests() {
        let names = request.headers.into_keys().filter(|name| is_one(name));
        carried.extend(names.map(|name| (request.call.operation, name)));
    }
    carried
}

async fn upload_of_one_part(store: &S3) -> Result<StoredObject, Failure> {
    let key = key("parts");
    let sum = checksum_of_body();
    let id = store.begin_upload(&object("parts")).await?;
    let upload = UploadRef { key: &key, id: &id };
    let part = store.put_part(upload, 1, Bytes::from_static(BODY), sum).await?;
    store.complete_upload(upload, &[part], BODY.len() as u64, sum, None).await.map(stored)
}

#[tokio::test]
async fn without_checksums_no_request_carries_a_header_of_them() {
    let server = server();
    let store = with_checksum(&server, Checksum::None);
    let stored = put(&store, "a").await.expect("stored");
    upload_of_one_part(&store).await.expect("stored");
    let etag = stored.etag.expect("an entity tag");
    store.copy(&key("a"), &etag, &object("b"), None).await.expect("copied").expect("found");
    assert!(store.head(&key("a")).await.expect("found").is_some());
    assert_eq!(delete_two(&store).await, [Ok(DeleteResult::Gone), Ok(DeleteResult::Gone)]);
    assert_eq!(server.count("DeleteObjects"), 1, "both in one request");
    drop(every_operation(&store).await);
    assert_eq!(checksum_headers(&server), []);
}

#[tokio::test]
async fn a_store_that_refuses_a_header_of_checksums_is_asked_once_and_then_without_it() {
    let server = server();
    let store = for_tests(&server);
    let refused = |operation, status, code: &str| {
        let answer = match operation {
            "HeadObject" => RawAnswer::new(status).header("x-amz-request-id", "1"),
            _ => RawAnswer::error(status, code, "A header is not known."),
        };
        Rule::new(Action::Answer(answer)).on(operation).times(1)
    };
    let operations = [
        refused("HeadObject", 400, ""),
        refused("PutObject", 501, "NotImplemented"),
        refused("CompleteMultipartUpload", 400, "InvalidArgument"),
        refused("DeleteObjects", 400, "InvalidRequest"),
    ];
    for rule in operations {
        server.fail(rule);
    }
    for round in 0..2 {
        put(&store, "a").await.expect("stored");
        put(&store, "b").await.expect("stored");
        assert!(store.head(&key("a")).await.expect("found").is_some(), "round {round}");
        upload_of_one_part(&store).await.expect("stored");
        assert_eq!(delete_two(&store).await, [Ok(DeleteResult::Gone), Ok(DeleteResult::Gone)]);
        if round == 0 {
            server.clear_requests();
        }
    }
    assert_eq!(checksum_headers(&server), []);
    assert_eq!((server.count("HeadObject"), server.count("DeleteObjects")), (1, 1));
}

#[tokio::test]
async fn a_store_that_takes_checksums_is_never_sent_content_that_does_not_fit_one() {
    let server = server();
    let store = for_tests(&server);
    put(&store, "a").await.expect("stored");
    let refused = Action::Fail { status: 400, code: "InvalidArgument" };
    server.fail(Rule::new(refused).on("PutObject"));
    server.clear_requests();
    assert_eq!(put(&store, "a").await.expect_err("refused").code, "InvalidArgument");
    assert_eq!(server.count("PutObject"), 1, "not once more without the checksum");
}

#[tokio::test]
async fn an_expired_token_does_not_end_deletes_of_many() {
    let server = server();
    let store = for_tests(&server);
    server.fail(Rule::new(Action::expired_token()).on("DeleteObjects").times(1));
    let refused = delete_two(&store).await;
    assert!(refused.iter().all(|answer| answer.as_ref().is_err_and(|f| f.code == "ExpiredToken")));
    server.clear_requests();
    assert_eq!(delete_two(&store).await, [Ok(DeleteResult::Gone), Ok(DeleteResult::Gone)]);
    assert_eq!((server.count("DeleteObjects"), server.count("DeleteObject")), (1, 0));
    let unknown = Action::Fail { status: 405, code: "MethodNotAllowed" };
    server.fail(Rule::new(unknown).on("DeleteObjects"));
    for requests in [1, 1] {
        assert_eq!(delete_two(&store).await, [Ok(DeleteResult::Gone), Ok(DeleteResult::Gone)]);
        assert_eq!(server.count("DeleteObjects"), 1 + requests, "asked once more, and not again");
    }
}

#[tokio::test]
async fn a_store_that_knows_only_the_first_version_of_listings_is_listed_by_it() {
    let server = server();
    let store = for_tests(&server);
    let unknown = Action::Fail { status: 501, code: "NotImplemented" };
    server.fail(Rule::new(unknown).on("ListObjectsV2"));
    let page = |keys: &[&str], more: bool| {
        let contents = |key: &&str| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>");
        let contents: String = keys.iter().map(contents).collect();
        let truncated = format!("<IsTruncated>{more}</IsTruncated>");
        let document = format!("<ListBucketResult>{truncated}{contents}</ListBucketResult>");
        Rule::new(Action::Answer(RawAnswer::xml(200, document)))
            .when(|call| call.key.is_empty() && call.operation != "ListObjectsV2")
            .times(1)
    };
    server.fail(page(&["a", "b"], true));
    server.fail(page(&["c"], false));
    let mut progress = ListingProgress::default();
    let mut from = None;
    let mut keys = Vec::new();
    loop {
        let page = store.list("", from).await.expect("a page");
        from = progress.advance(&page).expect("it leads on");
        keys.extend(page.objects.into_iter().map(|object| object.key));
        if from.is_none() {
            break;
        }
    }
    assert_eq!(keys, ["a", "b", "c"]);
    assert_eq!(server.count("ListObjectsV2"), 1);
}

#[tokio::test]
async fn requests_are_signed_with_the_time_of_a_store_whose_clock_differs() {
    let server = server();
    let store = for_tests(&server);
    let skewed = RawAnswer::error(403, "RequestTimeTooSkewed", "The difference is too large.");
    let skewed = skewed.header("date", "Fri, 02 Jan 2026 03:04:05 GMT");
    server.fail(Rule::new(Action::Answer(skewed)).on("PutObject").times(1));
    let refused = put(&store, "a").await.expect_err("refused");
    assert_eq!(refused.code, "RequestTimeTooSkewed");
    server.clear_requests();
    drop(put(&store, "a").await);
    let dates = server.requests().into_iter().filter_map(|mut it| it.headers.remove("x-amz-date"));
    let dates: Vec<_> = dates.collect();
    assert!(dates.iter().all(|date| date.starts_with("20260102T0304")), "{dates:?}");
    assert_eq!(dates.len(), 1);
}

#[test]
fn the_source_of_a_copy_is_named_as_s3_wants_it() {
    assert_eq!(copy_source("bucket", "a/b%20c"), "bucket/a/b%20c");
    let point = "arn:aws:s3:eu-central-1:123456789012:accesspoint/uploads";
    assert_eq!(copy_source(point, "a/b"), format!("{point}/object/a/b"));
    let outpost = "arn:aws:s3-outposts:eu-central-1:1:outpost/op-1/accesspoint/uploads";
    assert_eq!(copy_source(outpost, "a"), format!("{outpost}/object/a"));
}

#[tokio::test]
async fn a_write_whose_condition_does_not_hold_changes_nothing() {
    let server = server();
    let store = for_tests(&server);
    let first = put_if(&store, "a", Some(&Condition::Absent)).await.map(stored).expect("stored");
    let unchanged = Condition::Unchanged(first.etag.expect("a tag"));
    put_if(&store, "a", Some(&unchanged)).await.map(stored).expect("stored");
    let other = Condition::Unchanged("\"0\"".into());
    for (name, condition) in [("a", Condition::Absent), ("a", other.clone()), ("b", other)] {
        let put = put_if(&store, name, Some(&condition)).await;
        assert_eq!(put, Ok(WriteResult::Conflict), "{name} {condition:?}");
    }
    assert_eq!(server.store().versions(BUCKET, "a").len(), 2);
    assert_eq!(server.store().object(BUCKET, "b").map(drop), None);
}

#[tokio::test]
async fn a_store_without_conditions_is_found_out_once() {
    let modes = [StoreMode::RejectsConditions].into();
    let server = Server::start(&Options { modes, ..Options::default() }).expect("a server");
    let store = for_tests(&server);
    for _ in 0..3 {
        put_if(&store, "a", Some(&Condition::Absent)).await.map(stored).expect("stored");
    }
    assert_eq!(server.store().versions(BUCKET, "a").len(), 3);
    // With and without its checksum, then without the condition.
    assert_eq!(server.count("PutObject"), 3 + 2);
}

#[tokio::test]
async fn the_age_of_an_object_follows_the_clock_of_its_store() {
    let server = server();
    let store = for_tests(&server);
    put(&store, "a").await.expect("stored");
    let head = store.head(&key("a")).await.expect("an answer").expect("it is there");
    assert!(head.age.expect("an age") < std::time::Duration::from_secs(60));
}

#[tokio::test]
async fn credentials_that_have_expired_are_known_where_the_answer_has_no_body() {
    let server = server();
    let store = for_tests(&server);
    put(&store, "a").await.expect("stored");
    server.fail(Rule::new(Action::expired_token()));
    let refused = store.head(&key("a")).await.expect_err("it is refused");
    assert_eq!((refused.class, &*refused.code), (FailureClass::Refused, "ExpiredToken"));
}
