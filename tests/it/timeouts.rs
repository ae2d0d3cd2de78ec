//! The time limits of requests: settings that apply to each request, and to a running daemon.

use crate::harness::{Daemon, World, until};
use file_sync_dev_s3::{Action, Gate, Rule};
use std::cell::Cell;
use std::fs;

/// A daemon with this configuration besides, whose store does not answer to uploads of `name`.
fn start(world: &World, name: &str, settings: &str) -> (Daemon, Gate) {
    let gate = Gate::shut();
    let rule = Rule::new(Action::Hold(gate.clone())).on("PutObject").key(&format!("m/{name}"));
    world.server.fail(rule);
    let file = world.sibling_path("config.yml");
    fs::write(&file, settings).expect("written");
    let config = file.to_string_lossy().into_owned();
    (Daemon::spawn(world.command(&["run", "--config", &config])).ready(), gate)
}

fn error(daemon: &Daemon, name: &str) -> String {
    let line = daemon.wait_for_file("upload.failed", name);
    assert_eq!(line.text("error.type"), "timeout", "{}", line.shown());
    line.text("error.message").to_owned()
}

#[test]
fn a_request_without_an_answer_ends_after_the_set_time() {
    let world = World::new();
    let (daemon, gate) = start(&world, "small", "s3_response_timeout_seconds: 6\n");
    world.tree.write("small", "content");
    let reported = error(&daemon, "small");
    assert!(reported.contains("6s"), "{reported}");
    gate.open();
    world.wait_for_object("small", "content");
    daemon.stop();
}

#[test]
fn a_changed_time_limit_applies_to_a_running_daemon() {
    let world = World::new();
    let (daemon, gate) = start(&world, "large", "s3_response_timeout_seconds: 3600\n");
    let settings = "s3_connect_timeout_seconds: 1\ns3_response_timeout_seconds: 2\n";
    fs::write(world.sibling_path("config.yml"), settings).expect("written");
    let line = daemon.wait_for("config.reloaded");
    assert!(line.text("keys").contains("s3_response_timeout_seconds"), "{}", line.shown());
    until("the directory is watched under the new settings", || {
        let begun = Cell::new(0);
        daemon.has(|line| {
            begun.set(begun.get() + u32::from(line.event() == "watch.mode"));
            begun.get() > 1
        })
    });
    world.tree.write("large", vec![7; 70 << 10]);
    let reported = error(&daemon, "large");
    let waited =
        reported.split("no answer came for ").nth(1).and_then(|rest| rest.split('.').next());
    let waited = waited.and_then(|seconds| seconds.parse::<u64>().ok());
    // The time after a body counts from its end, however long the body itself may rest.
    assert!(waited.is_some_and(|seconds| seconds < 50), "{reported}");
    gate.open();
    world.wait_for_object("large", vec![7; 70 << 10]);
    daemon.stop();
}
