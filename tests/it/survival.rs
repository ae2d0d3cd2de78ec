//! What an end says of what it leaves: whether the next start knows of it, how much it is, and which
//! files.

use crate::harness::http::Endpoints;
use crate::harness::{Daemon, Ended, World, patience, until};
use file_sync_dev_s3::{Action, Gate, Rule};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// Files that were not sent when the signal came.
const FILES: usize = 100;
/// Files that are named.
const NAMED: usize = 20;
/// What an end takes beside the drain.
const MARGIN: Duration = Duration::from_secs(5);

/// A deadline of so many seconds. A slow machine needs longer to learn of all files.
fn deadline(seconds: u64) -> Duration {
    Duration::from_secs(patience(Duration::from_secs(seconds)).as_secs())
}

/// A daemon at rest with a [`deadline`] of `seconds`, whose store is away and which has files to send.
fn left_alone(seconds: u64, settings: &[(&str, &str)]) -> (World, Daemon) {
    let seconds = deadline(seconds).as_secs();
    let mut world = World::new().setting("shutdown_timeout_seconds", &seconds.to_string());
    let message = world.sibling_path("termination-log");
    fs::write(&message, "").expect("written");
    world.set("termination_message_path", &message.to_string_lossy());
    world.set("listen_address", "127.0.0.1:0");
    world.set("admin_address", "127.0.0.1:0");
    for (key, value) in settings {
        world.set(key, value);
    }
    world.tree.write("first", "first");
    let daemon = world.start().ready();
    world.wait_until_done();
    world.server.stop();
    world.tree.fill("folder", FILES);
    (world, daemon)
}

/// The termination message.
fn message(world: &World) -> Value {
    let text = fs::read_to_string(world.sibling_path("termination-log")).expect("read");
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

fn prestop(daemon: &Daemon) {
    assert_eq!(Endpoints::of(daemon).post("/-/prestop", "").0, 200);
}

fn assert_lost(world: &World, ended: &Ended) {
    assert_eq!((ended.code(), ended.signal()), (Some(75), None), "{}", ended.errors);
    let left = ended.events("shutdown.left_over");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].number("missing"), Some(FILES as u64), "{}", left[0].shown());
    assert_eq!(left[0].text("files").matches("folder/").count(), NAMED, "{}", left[0].shown());
    assert!(!left[0].is_true("state_survives"));
    let said = message(world);
    for text in [left[0].text("message"), said["reason"].as_str().expect("a reason")] {
        assert!(text.contains("does not survive") && !text.contains("resume"), "{text}");
    }
    assert_eq!((&said["exit_code"], &said["missing"]), (&75.into(), &FILES.into()), "{said}");
    assert_eq!(said["files"].as_array().map(Vec::len), Some(NAMED), "{said}");
}

fn assert_kept(world: &World, ended: &Ended) {
    assert_eq!((ended.code(), ended.signal()), (Some(0), None), "{}", ended.errors);
    let left = ended.events("shutdown.left_over");
    assert_eq!(left[0].number("missing"), Some(FILES as u64), "{}", left[0].shown());
    assert!(left[0].text("message").contains("resume at the next start"), "{}", left[0].shown());
    assert_eq!(message(world)["state_survives"], true);
    assert_eq!(world.waiting().len(), FILES);
}

#[test]
fn what_is_left_after_prestop_is_lost_unless_the_manifest_says_otherwise() {
    let (world, daemon) = left_alone(1, &[]);
    prestop(&daemon);
    assert_lost(&world, &daemon.terminate());
    let (world, daemon) = left_alone(1, &[("state_survives", "yes")]);
    prestop(&daemon);
    assert_kept(&world, &daemon.terminate());
}

#[test]
fn what_is_left_without_prestop_is_kept_unless_the_manifest_says_otherwise() {
    let (world, daemon) = left_alone(1, &[("state_survives", "no")]);
    assert_lost(&world, &daemon.terminate());
    let (world, daemon) = left_alone(1, &[]);
    assert_kept(&world, &daemon.terminate());
}

#[test]
fn an_end_that_was_announced_before_the_directory_was_there_is_not_forgotten() {
    let mut world = World::new().setting("open_file_quiet_seconds", "60");
    world.set("listen_address", "127.0.0.1:0");
    world.set("admin_address", "127.0.0.1:0");
    std::fs::remove_dir(world.tree.root()).expect("removed");
    let daemon = world.start();
    daemon.wait_for("source.unavailable");
    prestop(&daemon);
    std::fs::create_dir(world.tree.root()).expect("made");
    let daemon = daemon.ready();
    let mut open = std::fs::File::create(world.tree.path("open")).expect("made");
    std::io::Write::write_all(&mut open, b"content").expect("written");
    world.wait_for_object("open", "content");
    daemon.stop();
}

#[test]
fn an_end_before_the_last_events_are_known_does_not_say_that_all_is_in_s3() {
    let mut world = World::new().setting("shutdown_timeout_seconds", "0");
    world.set("state_survives", "no");
    world.tree.write("first", "first");
    let daemon = world.start().ready();
    world.wait_until_done();
    // The signal is there when the events are.
    daemon.stand_still();
    world.server.stop();
    world.tree.write("last", "content");
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::CONT);
    let ended = daemon.wait();
    let left = ended.events("shutdown.left_over");
    assert_eq!((ended.code(), left.len()), (Some(75), 1), "{}", ended.errors);
    // Its event may have been there just before the signal.
    let known = left[0].number("missing") == Some(1);
    assert!(left[0].is_true("uncompared") || known, "{}", left[0].shown());
}

#[test]
fn hostile_names_of_what_is_left_are_escaped_in_log_and_message() {
    let (world, daemon) = left_alone(1, &[("state_survives", "no")]);
    let name = "a\nb\u{202e}\"c";
    world.tree.write(name, "content");
    let ended = daemon.terminate();
    let left = ended.events("shutdown.left_over");
    assert_eq!(left[0].number("missing"), Some(FILES as u64 + 1), "{}", left[0].shown());
    let escaped = "a\\nb\\u{202e}\"c";
    assert!(left[0].text("files").contains(escaped), "{}", left[0].shown());
    assert_eq!(message(&world)["files"][0], escaped);
}

#[test]
fn an_end_that_leaves_on_an_outage_is_short_where_the_state_survives() {
    let (mut world, daemon) = left_alone(60, &[("shutdown_on_outage", "leave")]);
    let ended = daemon.terminate();
    assert_kept(&world, &ended);
    assert!(ended.took < patience(Duration::from_secs(15)), "{:?}", ended.took);
    world.server.resume().expect("the address is ours");
    let daemon = world.start();
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn an_end_that_leaves_on_an_outage_waits_where_the_state_does_not_survive() {
    let (world, daemon) = left_alone(6, &[("shutdown_on_outage", "leave")]);
    prestop(&daemon);
    let ended = daemon.terminate();
    assert_lost(&world, &ended);
    assert!(ended.took > deadline(6) - Duration::from_secs(1), "{:?}", ended.took);
    assert!(ended.took < deadline(6) + patience(MARGIN), "{:?}", ended.took);
}

#[test]
fn an_end_that_leaves_on_an_outage_sends_everything_where_there_is_none() {
    let world = World::new()
        .setting("shutdown_timeout_seconds", "120")
        .setting("shutdown_on_outage", "leave");
    world.tree.write("first", "first");
    let daemon = world.start().ready();
    world.wait_until_done();
    // Nothing is sent before the signal, and nothing fails.
    let gate = Gate::shut();
    let held = world.server.fail(Rule::new(Action::Hold(gate.clone())).on("PutObject"));
    world.tree.fill("folder", FILES);
    until("requests wait", || world.server.faults().hits(held) > 0);
    daemon.signal(Signal::TERM);
    daemon.wait_for("shutdown.signal");
    gate.open();
    let ended = daemon.wait();
    assert_eq!((ended.code(), ended.signal()), (Some(0), None), "{}", ended.errors);
    assert_eq!(world.difference(), Ok(()));
}

/// A world in which the cgroup has a limit of 100 MiB.
fn world_with_little_memory() -> Option<World> {
    let world = World::in_mount_namespace()?;
    let limits = world.sibling_path("limits");
    fs::create_dir_all(limits.join("memory")).expect("made");
    for file in ["memory.max", "memory/memory.limit_in_bytes"] {
        fs::write(limits.join(file), (100_u64 << 20).to_string()).expect("written");
    }
    let bound = world
        .namespace()
        .command("mount")
        .arg("--bind")
        .arg(&limits)
        .arg("/sys/fs/cgroup")
        .status();
    assert!(bound.expect("run").success());
    Some(world)
}

#[test]
fn a_memory_limit_below_the_settings_is_told_and_content_gets_what_fits() {
    let Some(world) = world_with_little_memory() else { return };
    world.tree.write("file", "content");
    world.tree.write("large", vec![1; 20 << 20]);
    let daemon = world.start();
    let line = daemon.wait_for("memory.limit");
    assert_eq!(line.number("memory_limit_mib"), Some(100), "{}", line.shown());
    assert_eq!(line.number("used_transfer_memory_mib"), Some(36), "{}", line.shown());
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn plan_and_verify_heed_the_memory_limit_as_once_does() {
    let Some(world) = world_with_little_memory() else { return };
    // 10,000 parts of 96 MiB have room for it, and 10,000 parts of 27 MiB have not.
    let huge = fs::File::create(world.tree.path("huge")).expect("made");
    let Ok(()) = huge.set_len(400 << 30) else {
        println!("skipped: this file system has no files of 400 GiB");
        return;
    };
    world.tree.write("file", "content");
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    let planned = world.run(&["plan", "--json"]);
    assert_eq!(planned.code, Some(0), "{}", planned.errors);
    assert!(planned.errors.contains("the memory limit of 100 MiB"), "{}", planned.errors);
    let steps = planned.json();
    assert_eq!(steps["steps"][0]["kind"], "left", "{steps}");
    assert_eq!(steps["steps"][0]["reason"], "too-large", "{steps}");
    let verified = world.run(&["verify"]);
    assert!(verified.errors.contains("the memory limit of 100 MiB"), "{}", verified.errors);
}
