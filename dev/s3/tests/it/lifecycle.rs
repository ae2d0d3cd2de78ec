//! Being down and coming back, and the record of requests.

use crate::client::{BUCKET, is_unanswered, keys, put, start};
use file_sync_dev_s3::{Action, Gate, Options, Rule, Server};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_stopped_server_refuses_and_a_resumed_one_has_kept_everything() {
    let (mut server, client) = start();
    put(&client, "k", b"x").await;
    let create =
        client.create_multipart_upload().bucket(BUCKET).key("m").send().await.expect("begun");
    let endpoint = server.endpoint();
    for _ in 0..3 {
        server.stop();
        server.stop();
        assert!(is_unanswered(&client.head_object().bucket(BUCKET).key("k").send().await));
        server.resume().expect("the port was kept");
        assert_eq!(server.endpoint(), endpoint);
        client.head_object().bucket(BUCKET).key("k").send().await.expect("there again");
    }
    let parts =
        client.list_parts().bucket(BUCKET).key("m").set_upload_id(create.upload_id).send().await;
    assert!(parts.is_ok());
    assert_eq!(keys(&server), ["k"]);
}

#[tokio::test]
async fn stopping_ends_requests_in_flight_and_stores_nothing_of_them() {
    let (mut server, client) = start();
    server.fail(Rule::new(Action::Hold(Gate::shut())));
    let held =
        tokio::spawn(async move { client.put_object().bucket(BUCKET).key("k").send().await });
    while server.journal().in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    server.stop();
    assert!(is_unanswered(&held.await.expect("no panic")));
    assert!(keys(&server).is_empty());
    assert_eq!(server.requests()[0].status, None);
    assert!(server.requests()[0].ended.is_some());
}

#[test]
fn a_synchronous_test_can_wait_for_what_happens() {
    let (server, client) = start();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let stored = runtime.spawn(async move { put(&client, "k", b"x").await });
    assert!(server.wait_until(LONG, |server| server.objects(BUCKET).contains_key("k")));
    assert!(server.wait_until(LONG, |server| server.journal().in_flight() == 0));
    runtime.block_on(stored).expect("no panic");
    assert_eq!((server.count("PutObject"), server.journal().total()), (1, 1));
    let request = &server.requests()[0];
    assert_eq!((request.call.operation, request.call.key.as_str()), ("PutObject", "k"));
    assert_eq!((request.status, request.body_bytes), (Some(200), 1));
    assert!(request.headers.contains_key("x-amz-checksum-crc32"));
    assert!(request.sequence < server.objects(BUCKET)["k"].sequence);
    server.clear_requests();
    assert_eq!((server.count("PutObject"), server.requests().len()), (0, 0));
}

#[test]
fn two_servers_know_nothing_of_each_other() {
    let (one, _) = start();
    let (two, _) = start();
    one.store().put(BUCKET, "k", "x");
    assert_ne!(one.endpoint(), two.endpoint());
    assert!(keys(&two).is_empty());
}

#[test]
fn only_the_latest_version_is_kept_where_memory_is_scarce() {
    let options = Options { latest_only: true, ..Options::default() };
    let server = Server::start(&options).expect("listens");
    let store = server.store();
    for body in ["one", "two"] {
        store.put(BUCKET, "key", body);
    }
    assert_eq!(
        store.object(BUCKET, "key").expect("it is there").body.as_deref(),
        Some(&b"two"[..])
    );
    store.remove(BUCKET, "key");
    assert!(store.objects(BUCKET).is_empty());
    assert!(store.history(BUCKET).is_empty());
}
