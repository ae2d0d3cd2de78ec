//! The proxy in front of another S3.

use crate::client::{BUCKET, client_of, failure, is_unanswered, keys, put, start};
use file_sync_dev_s3::{Action, Options, Rule, SECRET_KEY, Server};
use std::net::SocketAddr;

/// An S3, a proxy in front of it, and a client that speaks to the proxy.
fn start_behind_proxy() -> (Server, Server, aws_sdk_s3::Client) {
    let (server, _) = start();
    let address: SocketAddr =
        server.endpoint().trim_start_matches("http://").parse().expect("an address");
    let proxy = Server::proxy(address, &Options::default()).expect("a free port");
    let client = client_of(&proxy.endpoint(), SECRET_KEY);
    (server, proxy, client)
}

#[tokio::test]
async fn without_faults_everything_passes_and_signatures_stay_right() {
    let (server, proxy, client) = start_behind_proxy();
    for key in ["k", "a b/ü%&+", "100% \n"] {
        put(&client, key, b"content").await;
        let got = client.get_object().bucket(BUCKET).key(key).send().await.expect("there");
        let direct = server.store().object(BUCKET, key).expect("stored");
        assert_eq!(got.e_tag, Some(format!("\"{}\"", direct.etag)));
        let bytes = got.body.collect().await.expect("read").into_bytes();
        assert_eq!(bytes, "content");
        let head = client.head_object().bucket(BUCKET).key(key).send().await.expect("there");
        assert_eq!(head.content_length, Some(7));
    }
    let absent = client.get_object().bucket(BUCKET).key("absent").send().await;
    assert_eq!(failure(absent), (404, "NoSuchKey".to_owned()));
    let listed = client.list_objects_v2().bucket(BUCKET).send().await.expect("listed");
    assert_eq!(listed.contents().len(), 3);
    assert_eq!(proxy.journal().total(), server.journal().total());
    let wrong = client_of(&proxy.endpoint(), "wrong");
    let refused = wrong.put_object().bucket(BUCKET).key("w").body(b"x".to_vec().into());
    assert_eq!(failure(refused.send().await), (403, "SignatureDoesNotMatch".to_owned()));
}

#[tokio::test]
async fn what_is_refused_or_answered_by_a_page_never_reaches_the_store() {
    let (server, proxy, client) = start_behind_proxy();
    let put = || client.put_object().bucket(BUCKET).key("k").body(b"x".to_vec().into()).send();
    proxy.fail(Rule::new(Action::access_denied()).times(1));
    assert_eq!(failure(put().await), (403, "AccessDenied".to_owned()));
    proxy.fail(Rule::new(Action::html_page()).times(1));
    assert_eq!(put().await.expect("any 200").e_tag, None);
    proxy.fail(Rule::new(Action::default_backend()).times(1));
    assert_eq!(failure(put().await).0, 404);
    proxy.fail(Rule::new(Action::Reset).times(1));
    assert!(is_unanswered(&put().await));
    assert_eq!(server.journal().total(), 0);
}

#[tokio::test]
async fn a_lost_or_broken_answer_is_of_a_request_that_was_carried_out() {
    let (server, proxy, client) = start_behind_proxy();
    put(&client, "from", b"x").await;
    for (action, key) in
        [(Action::LoseReply, "a"), (Action::TruncateReply(9), "b"), (Action::ResetReply(9), "c")]
    {
        proxy.fail(Rule::new(action).times(1));
        let copy = client.copy_object().bucket(BUCKET).key(key);
        assert!(copy.copy_source(format!("{BUCKET}/from")).send().await.is_err());
    }
    assert_eq!(keys(&server), ["a", "b", "c", "from"]);
}

#[tokio::test]
async fn a_request_that_is_reset_in_its_body_stores_nothing_and_the_next_one_passes() {
    let (server, proxy, client) = start_behind_proxy();
    for bytes in [0, 10, 100_000, u64::MAX] {
        proxy.fail(Rule::new(Action::ResetRequest(bytes)).times(1));
        let put = client.put_object().bucket(BUCKET).key("k").body(vec![7; 1 << 20].into());
        assert!(is_unanswered(&put.send().await));
        assert!(keys(&server).is_empty(), "after {bytes} bytes");
    }
    put(&client, "k", b"x").await;
    assert_eq!(keys(&server), ["k"]);
}

#[tokio::test]
async fn a_store_that_is_away_is_not_answered_for() {
    let (mut server, _proxy, client) = start_behind_proxy();
    server.stop();
    let put = client.put_object().bucket(BUCKET).key("k").body(b"x".to_vec().into()).send().await;
    assert!(is_unanswered(&put));
}
