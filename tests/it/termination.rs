//! The termination message: what Kubernetes shows of a container that has ended.

use crate::harness::World;
use file_sync_dev_s3::{Action, Rule};
use serde_json::Value;
use std::fs;

/// A world with a file for the message, and what it said.
fn world() -> (World, impl Fn() -> Value) {
    let mut world = World::new().setting("retry_interval_seconds", "1");
    let file = world.sibling_path("termination-log");
    fs::write(&file, "").expect("written");
    world.set("termination_message_path", &file.to_string_lossy());
    let said = move || {
        let text = fs::read_to_string(&file).expect("read");
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).expect("JSON")
    };
    (world, said)
}

#[test]
fn a_wrong_configuration_is_told_with_everything_that_is_wrong() {
    let (mut world, said) = world();
    world.set("watch_mode", "never");
    world.set("s3_bucket", "x");
    for command in ["run", "once"] {
        assert_eq!(world.run(&[command]).code, Some(78));
        let message = said();
        let reason = message["reason"].as_str().expect("a reason");
        assert!(reason.contains("watch_mode") && reason.contains("s3_bucket"), "{reason}");
        assert_eq!((&message["exit_code"], &message["pending"]), (&78.into(), &Value::Null));
    }
}

#[test]
fn what_is_left_is_told_with_files_bytes_and_age() {
    let (world, said) = world();
    world.tree.write("one", "12345");
    world.tree.write("two", "1234567");
    world.tree.write("fine", "1");
    world.server.fail(Rule::new(Action::access_denied()).key("m/one"));
    world.server.fail(Rule::new(Action::access_denied()).key("m/two"));
    let ended = world.once();
    assert_eq!(ended.code(), Some(75), "{}", ended.errors);
    let message = said();
    assert_eq!((&message["exit_code"], &message["pending"]), (&75.into(), &2.into()), "{message}");
    assert_eq!(message["pending_bytes"], 12);
    let age = message["oldest_age_seconds"].as_u64().expect("an age");
    assert!(age <= ended.took.as_secs() + 1, "{message}");
}

#[test]
fn a_state_that_somebody_else_has_is_told() {
    let (mut world, said) = world();
    world.set("lock_timeout_seconds", "0");
    let daemon = world.start().ready();
    assert_eq!(world.once().code(), Some(73));
    assert!(said()["reason"].as_str().expect("a reason").contains("in use by another process"));
    daemon.stop();
}
