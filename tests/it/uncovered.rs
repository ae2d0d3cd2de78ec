//! "In sync" is a promise: while something is known to be unread, no command says that all is well.

use crate::harness::http::{Endpoints, get};
use crate::harness::{Daemon, World, until};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

fn world() -> World {
    let world = World::new().without_rights();
    world.setting("listen_address", "127.0.0.1:0").setting("admin_address", "127.0.0.1:0")
}

fn started(world: &World) -> (Daemon, Endpoints) {
    let daemon = world.start();
    let endpoints = Endpoints::of(&daemon);
    (daemon.ready(), endpoints)
}

/// Whether this user is one whom permissions do not keep out, so that others have to be found.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives a path to another user than the daemon's, who alone may use it.
fn take_away(path: &Path) {
    if is_root() {
        chown(path, Some(0), Some(0)).expect("taken");
    }
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    let mode = if is_root() { mode } else { 0 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
}

fn give_back(path: &Path) {
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
}

/// How many unreadable paths Prometheus would read of.
fn metric(endpoints: &Endpoints) -> Option<u32> {
    const SERIES: &str = "file_sync_coverage_gaps{reason=\"unreadable\"} ";
    let (_, text) = get(endpoints.public, "/metrics");
    text.lines().find_map(|line| line.strip_prefix(SERIES)?.parse().ok())
}

/// Runs a command against the daemon.
fn flush(world: &World, endpoints: &Endpoints) -> Option<i32> {
    let mut command = world.command(&["flush", "--timeout", "5s", "--address"]);
    command.arg(endpoints.admin.to_string()).status().expect("it starts").code()
}

#[test]
fn a_directory_that_becomes_unreadable_while_running_is_told_by_every_command() {
    let world = world();
    world.tree.write("open/file", "content");
    let (daemon, endpoints) = started(&world);
    world.wait_until_done();
    until("all is in sync", || endpoints.status()["in_sync"] == true);
    let private = world.tree.path("pd");
    // As under `umask 077`: it is never readable, not for a moment.
    fs::create_dir(world.sibling_path("pd")).expect("made");
    fs::write(world.sibling_path("pd/y"), "y").expect("written");
    take_away(&world.sibling_path("pd"));
    fs::rename(world.sibling_path("pd"), &private).expect("moved in");
    until("the status has it", || endpoints.status()["state"] == "partly");
    let status = endpoints.status();
    assert_eq!(status["in_sync"], false);
    assert!(status["cause"].as_str().is_some_and(|cause| cause.contains("cannot be read")));
    assert_eq!(status["uncovered"]["unreadable"], 1);
    until("the metric has it", || metric(&endpoints) == Some(1));
    assert_eq!(flush(&world, &endpoints), Some(75));
    let line = daemon.wait_for_file("source.unreadable", "pd");
    assert_eq!(line.text("error.message"), "permission denied");
    let verified = world.run(&["verify", "--json"]);
    assert_eq!(verified.code, Some(1), "{}", verified.output);
    assert!(verified.differences().contains(&("unreadable".to_owned(), "pd".to_owned())));
    let plan = world.run(&["plan", "--json"]);
    assert!(plan.steps().contains(&("left".to_owned(), "pd".to_owned())), "{}", plan.output);
    give_back(&private);
    world.wait_for_object("pd/y", "y");
    until("all is in sync again", || endpoints.status()["in_sync"] == true);
    daemon.wait_for_file("source.readable", "pd");
    assert_eq!(flush(&world, &endpoints), Some(0));
    let ended = daemon.stop();
    assert_eq!(ended.events("source.unreadable").len(), 1, "one line when it is met");
    assert_eq!(ended.events("source.readable").len(), 1, "one line when it ends");
    take_away(&private);
    assert_eq!(world.once().code(), Some(75), "a single run does not say that all is well");
}
