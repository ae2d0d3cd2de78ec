//! Failures on demand.

use crate::client::{BUCKET, client, failure, is_unanswered, keys, put, start};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::types::CompletedMultipartUpload;
use file_sync_dev_s3::{Action, Gate, RawAnswer, Rule, SECRET_KEY};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_error_on_demand_has_its_status_and_code_and_stores_nothing() {
    let (server, client) = start();
    for (action, status, code) in [
        (Action::slow_down(), 503, "SlowDown"),
        (Action::internal_error(), 500, "InternalError"),
        (Action::access_denied(), 403, "AccessDenied"),
        (Action::expired_token(), 400, "ExpiredToken"),
        (Action::conflict(), 409, "ConditionalRequestConflict"),
        (Action::no_such_bucket(), 404, "NoSuchBucket"),
    ] {
        server.fail(Rule::new(action).on("PutObject").times(1));
        let put =
            client.put_object().bucket(BUCKET).key("k").body(b"x".to_vec().into()).send().await;
        assert_eq!(failure(put), (status, code.to_owned()));
    }
    assert!(keys(&server).is_empty());
    put(&client, "k", b"x").await;
}

#[tokio::test]
async fn the_client_gets_through_after_two_refusals() {
    let (server, _) = start();
    let client = client(&server, SECRET_KEY);
    let rule = server.fail(Rule::new(Action::slow_down()).key("k*").times(2));
    let retry = RetryConfig::standard().with_initial_backoff(Duration::from_millis(1));
    let config = client.config().to_builder().retry_config(retry).build();
    put(&aws_sdk_s3::Client::from_conf(config), "k", b"x").await;
    assert_eq!((server.count("PutObject"), server.faults().hits(rule)), (3, 2));
    let statuses: Vec<_> = server.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(503), Some(503), Some(200)]);
}

#[tokio::test]
async fn a_reset_connection_stores_nothing_and_a_lost_reply_does() {
    let (server, client) = start();
    let put =
        |key: &str| client.put_object().bucket(BUCKET).key(key).body(b"x".to_vec().into()).send();
    server.fail(Rule::new(Action::Reset).times(1));
    assert!(is_unanswered(&put("reset").await));
    assert!(keys(&server).is_empty());
    server.fail(Rule::new(Action::LoseReply).times(1));
    assert!(is_unanswered(&put("lost").await));
    assert_eq!(keys(&server), ["lost"]);
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.status.is_none() && request.faults.len() == 1)
    );
}

#[tokio::test]
async fn a_truncated_reply_starts_well_and_ends_early() {
    let (server, client) = start();
    put(&client, "k", b"0123456789").await;
    server.fail(Rule::new(Action::TruncateReply(4)).on("GetObject"));
    let read = client.get_object().bucket(BUCKET).key("k").send().await.expect("a head");
    assert_eq!(read.content_length, Some(10));
    assert!(read.body.collect().await.is_err());
}

#[tokio::test]
async fn a_completion_can_fail_with_status_200() {
    let (server, client) = start();
    server.fail(Rule::new(Action::FailWithin200("InternalError")).on("CompleteMultipartUpload"));
    let create =
        client.create_multipart_upload().bucket(BUCKET).key("k").send().await.expect("begun");
    let complete =
        client.complete_multipart_upload().bucket(BUCKET).key("k").set_upload_id(create.upload_id);
    let refused =
        complete.multipart_upload(CompletedMultipartUpload::builder().build()).send().await;
    assert_eq!(failure(refused), (200, "InternalError".to_owned()));
    assert_eq!(server.store().uploads(BUCKET).len(), 1);
}

#[tokio::test]
async fn requests_wait_at_a_gate_and_are_counted_there() {
    let (server, client) = start();
    let gate = Gate::shut();
    server.fail(Rule::new(Action::Hold(gate.clone())));
    let puts = ["a", "b", "c"].map(|key| {
        let client = client.clone();
        tokio::spawn(async move { put(&client, key, b"x").await })
    });
    // Waiting in `wait_until` would take the thread that the clients need.
    while server.journal().in_flight() < 3 {
        tokio::task::yield_now().await;
    }
    assert!(keys(&server).is_empty());
    gate.open();
    for put in puts {
        put.await.expect("no panic");
    }
    assert_eq!((server.in_flight_max(), keys(&server).len()), (3, 3));
}

#[tokio::test]
async fn a_slow_body_takes_as_long_as_it_says() {
    let (server, client) = start();
    server.fail(Rule::new(Action::SlowBody { bytes_per_second: 50 }));
    let began = file_sync_dev_s3::now();
    put(&client, "k", b"0123456789").await;
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(server.requests()[0].body_bytes, 10);
}

#[tokio::test]
async fn a_rule_taken_out_hits_no_more() {
    let (server, client) = start();
    let rule = server.fail(Rule::new(Action::access_denied()).when(|call| call.key == "k"));
    assert!(client.put_object().bucket(BUCKET).key("k").send().await.is_err());
    server.faults().remove(rule);
    put(&client, "k", b"x").await;
    server.fail(Rule::new(Action::access_denied()));
    server.faults().clear();
    put(&client, "k", b"y").await;
    assert!(server.wait_until(LONG, |server| server.journal().in_flight() == 0));
}

#[tokio::test]
async fn an_answer_given_byte_by_byte_carries_nothing_of_s3() {
    let (server, client) = start();
    let page = RawAnswer::html(200);
    server.fail(Rule::new(Action::Answer(page.clone())).on("PutObject").times(1));
    let put = || client.put_object().bucket(BUCKET).key("k").body(b"x".to_vec().into()).send();
    let answer = put().await.expect("the SDK believes any 200");
    assert_eq!(answer.e_tag, None);
    assert!(keys(&server).is_empty());
    server.fail(Rule::new(Action::Answer(page.applied())).on("PutObject").times(1));
    drop(put().await);
    assert_eq!(keys(&server), ["k"]);
}
