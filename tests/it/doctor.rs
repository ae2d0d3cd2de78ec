//! `doctor`: what will go wrong is found before it does, each with one sentence and a remedy.

use crate::harness::{Said, World};
use file_sync_dev_s3::{Action, BUCKET, Options, Rule};
use serde_json::Value;
use std::net::TcpListener;

/// Requests of one run, however many checks there are.
const REQUESTS_MAX: u64 = 15;

fn examined(world: &World) -> Said {
    world.run(&["doctor", "--json"])
}

/// The result of a check, as its verdict and its remedy.
fn result(said: &Said, name: &str) -> (String, String) {
    let checks = said.json()["checks"].as_array().cloned().unwrap_or_default();
    let of = |check: &Value| check["check"] == name;
    let check = checks.iter().find(|check| of(check)).unwrap_or_else(|| panic!("{}", said.output));
    let text = |name: &str| check[name].as_str().expect("text").to_owned();
    (text("result"), text("remedy"))
}

/// Fails unless this check alone found a problem, with a remedy that names `remedy`.
fn assert_one_problem(said: &Said, check: &str, remedy: &str) {
    let (found, advice) = result(said, check);
    assert_eq!((said.code, found.as_str()), (Some(1), "problem"), "{}", said.output);
    assert!(advice.contains(remedy), "{advice}");
    assert_eq!(said.json()["totals"]["problems"], 1, "{}", said.output);
}

fn assert_one_warning(said: &Said, check: &str, remedy: &str) {
    let (found, advice) = result(said, check);
    assert_eq!((said.code, found.as_str()), (Some(0), "warning"), "{}", said.output);
    assert!(advice.contains(remedy), "{advice}");
}

/// A world in which one operation is answered so.
fn answered(operation: &'static str, action: Action) -> World {
    let world = World::new();
    world.server.fail(Rule::new(action).on(operation));
    world
}

#[test]
fn where_all_is_well_it_says_so_and_leaves_nothing() {
    let world = World::new();
    world.tree.fill("folder", 3);
    let said = examined(&world);
    assert_eq!(said.code, Some(0), "{} {}", said.output, said.errors);
    assert_eq!(said.json()["totals"]["problems"], 0);
    for check in
        ["configuration", "watch_path", "credentials", "list", "put", "head", "conditions", "copy"]
    {
        assert_eq!(result(&said, check).0, "ok", "{check}: {}", said.output);
    }
    assert!(world.server.objects(BUCKET).is_empty());
    assert!(
        world.server.journal().total() <= REQUESTS_MAX,
        "{:?}",
        world.server.journal().counts()
    );
    let text = world.run(&["doctor"]);
    assert_eq!(text.code, Some(0), "{}", text.output);
    assert!(text.output.contains("\u{2713} put"), "{}", text.output);
    let online = world.run(&["check-config", "--online"]);
    assert!(online.output.contains("watch_path:") && online.output.contains("\u{2713} put"));
}

#[test]
fn what_a_store_refuses_is_named_with_the_permission() {
    for (operation, check, permission) in [
        ("PutObject", "put", "s3:PutObject on arn:aws:s3:::"),
        ("HeadObject", "head", "s3:GetObject"),
        ("CreateMultipartUpload", "multipart", "s3:PutObject"),
        ("DeleteObjects", "delete", "s3:DeleteObject"),
    ] {
        let said = examined(&answered(operation, Action::access_denied()));
        assert_one_problem(&said, check, permission);
    }
}

#[test]
fn what_the_daemon_can_do_without_is_a_warning() {
    let said = examined(&answered("ListObjectsV2", Action::access_denied()));
    assert_one_warning(&said, "list", "s3:ListBucket on arn:aws:s3:::");
    let unknown = Action::Fail { status: 501, code: "NotImplemented" };
    assert_one_warning(&examined(&answered("CopyObject", unknown)), "copy", "a store that knows");
    let options = Options { conditional_writes: false, ..Options::default() };
    let mut world = World::with(&options);
    assert_one_warning(&examined(&world), "conditions", "one instance");
    world.set("s3_conditional_writes", "off");
    assert_eq!(result(&examined(&world), "conditions").0, "skipped");
}

#[test]
fn a_role_without_deletes_is_right_for_keep() {
    let mut world = answered("DeleteObjects", Action::access_denied());
    world.server.fail(Rule::new(Action::access_denied()).on("DeleteObject"));
    world.set("delete_policy", "keep");
    let said = examined(&world);
    assert_eq!((said.code, result(&said, "delete").0.as_str()), (Some(0), "ok"), "{}", said.output);
}

#[test]
fn a_bucket_that_cannot_be_used_is_one_problem_with_its_cause() {
    let redirect = Action::Fail { status: 301, code: "PermanentRedirect" };
    let unknown_key = Action::Fail { status: 403, code: "InvalidAccessKeyId" };
    for (action, remedy) in [
        (Action::no_such_bucket(), "correct s3_bucket"),
        (redirect, "s3_region"),
        (unknown_key, "correct the credentials"),
        (Action::expired_token(), "renew the credentials"),
        (Action::html_page(), "in the place of S3"),
    ] {
        let said = examined(&answered("ListObjectsV2", action));
        assert_one_problem(&said, "list", remedy);
        assert_eq!(result(&said, "objects").0, "skipped");
    }
}

#[test]
fn a_store_that_is_not_there_is_one_problem() {
    let mut world = World::new();
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    world.set("s3_endpoint_url", &format!("http://{free}"));
    assert_one_problem(&examined(&world), "list", "s3_endpoint_url");
}

#[test]
fn without_credentials_nothing_is_sent() {
    let mut world = World::new();
    world.without_variable("AWS_ACCESS_KEY_ID");
    assert_one_problem(&examined(&world), "credentials", "AWS_ACCESS_KEY_ID");
    assert_eq!(world.server.journal().total(), 0);
}

#[test]
fn a_directory_that_is_not_there_is_a_problem_and_the_bucket_is_tried_all_the_same() {
    let mut world = World::new();
    world.set("watch_path", "/nowhere/at/all");
    let said = examined(&world);
    assert_one_problem(&said, "watch_path", "mount its volume");
    assert_eq!(result(&said, "delete").0, "ok");
}

#[test]
fn a_state_directory_that_cannot_be_written_is_a_problem() {
    let mut world = World::new();
    world.set("state_dir", "/proc/file-sync-service");
    assert_one_problem(&examined(&world), "state_dir", "writable volume");
}

#[test]
fn a_collector_that_is_not_there_is_a_warning() {
    let mut world = World::new();
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    world.variable("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://me:secret@{free}"));
    let said = examined(&world);
    assert_one_warning(&said, "telemetry", "OTEL_EXPORTER_OTLP_ENDPOINT");
    assert!(!said.output.contains("secret"), "{}", said.output);
}
