//! Errors of system calls that pass by themselves, and limits that are reached at work: what was not
//! read is read within seconds, and until then nothing says that all is well.

use crate::harness::http::Endpoints;
use crate::harness::{Daemon, Failing, World, seed, sleep_for, until};
use std::time::Duration;

const FILES: usize = 10;
/// What fails in ways that pass.
const ERRORS: [&str; 8] =
    ["ENFILE", "EMFILE", "ENOMEM", "EIO", "ESTALE", "EAGAIN", "EINTR", "ETIMEDOUT"];

fn world() -> World {
    let world = World::new();
    world.setting("listen_address", "127.0.0.1:0").setting("admin_address", "127.0.0.1:0")
}

fn started(world: &World) -> (Daemon, Endpoints) {
    let daemon = world.start();
    let endpoints = Endpoints::of(&daemon);
    (daemon.ready(), endpoints)
}

fn flush(world: &World, endpoints: &Endpoints) -> Option<i32> {
    let mut command = world.command(&["flush", "--timeout", "1s", "--address"]);
    command.arg(endpoints.admin.to_string()).status().expect("it starts").code()
}

fn is_missing(world: &World) -> bool {
    world.difference().is_err()
}

/// Fails every call of this name, also with those paths alone, while a directory of files is made.
fn fails_while_files_arrive(call: &str, path: Option<&str>) {
    let mut dice = fastrand::Rng::with_seed(seed());
    // Of these two, openat2 has a way around: what they fail is read at once.
    let passes = |error: &&str| call == "openat2" && ["EAGAIN", "EINTR"].contains(error);
    let errors: Vec<_> = ERRORS.into_iter().filter(|error| !passes(error)).collect();
    let error = errors[dice.usize(..errors.len())];
    println!("{call} fails with {error}");
    let world = world();
    world.tree.fill("old", 3);
    let (daemon, endpoints) = started(&world);
    until("all is in sync", || endpoints.status()["in_sync"] == true);
    let path = path.map(|path| world.tree.path(path));
    let Some(failing) = Failing::start(&daemon, call, error, path.as_deref()) else { return };
    world.tree.fill("new", FILES);
    until("it is not in sync any more", || endpoints.status()["in_sync"] != true);
    for _ in 0..15 {
        let missing = is_missing(&world);
        let status = endpoints.status();
        let wrong = missing && status["in_sync"] == true && is_missing(&world);
        assert!(!wrong, "{call} fails with {error}: {status:#}");
        sleep_for(Duration::from_millis(200));
    }
    if is_missing(&world) {
        let code = flush(&world, &endpoints);
        // Everything may have been read and sent before the answer.
        assert!(code != Some(0) || !is_missing(&world), "{call} fails with {error}");
    }
    drop(failing);
    world.wait_until_done();
    until("all is in sync again", || endpoints.status()["in_sync"] == true);
    daemon.stop();
}

#[test]
fn directories_that_cannot_be_opened_for_a_moment_are_read_within_seconds() {
    fails_while_files_arrive("openat2", None);
}

#[test]
fn directories_that_cannot_be_listed_for_a_moment_are_read_within_seconds() {
    fails_while_files_arrive("getdents64", None);
}

#[test]
fn paths_that_cannot_be_inspected_for_a_moment_are_read_within_seconds() {
    fails_while_files_arrive("statx", None);
}

#[test]
fn a_file_that_cannot_be_read_for_a_moment_is_read_within_seconds() {
    fails_while_files_arrive("pread64", Some("new/0003"));
}

#[test]
fn watches_that_are_refused_for_a_moment_are_requested_again_within_seconds() {
    fails_while_files_arrive("inotify_add_watch", None);
}

#[test]
fn sigterm_while_files_cannot_be_read_tries_again_before_the_end() {
    let world = world();
    world.tree.fill("old", 3);
    let (daemon, endpoints) = started(&world);
    until("all is in sync", || endpoints.status()["in_sync"] == true);
    let Some(failing) = Failing::start(&daemon, "getdents64", "EIO", None) else { return };
    world.tree.fill("new", FILES);
    daemon.wait_for("source.unreadable");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("shutdown.signal");
    sleep_for(Duration::from_secs(1));
    drop(failing);
    let ended = daemon.wait();
    assert_eq!(ended.code(), Some(0));
    assert_eq!(world.difference(), Ok(()), "all of it is there at the end");
}

#[test]
fn too_many_open_files_are_named_as_what_they_are() {
    let world = world();
    world.tree.fill("old", 3);
    let (daemon, endpoints) = started(&world);
    until("all is in sync", || endpoints.status()["in_sync"] == true);
    let Some(failing) = Failing::start(&daemon, "openat2", "EMFILE", None) else { return };
    world.tree.fill("new", FILES);
    let line = daemon.wait_for("source.unreadable");
    assert!(line.text("error.message").contains("open files"), "{}", line.shown());
    drop(failing);
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn a_watch_limit_that_is_reached_at_work_is_compared_soon_and_watched_when_it_is_raised() {
    const FOLDERS: usize = 40;
    let Some(mut world) = World::in_mount_namespace() else { return };
    for (key, value) in [
        ("listen_address", "127.0.0.1:0"),
        ("admin_address", "127.0.0.1:0"),
        ("poll_interval_seconds", "2"),
    ] {
        world.set(key, value);
    }
    world.namespace().limit("max_inotify_watches", 20);
    world.tree.fill("old", 3);
    let (daemon, endpoints) = started(&world);
    until("all is in sync", || endpoints.status()["in_sync"] == true);
    for folder in 0..FOLDERS {
        world.tree.write(format!("{folder:02}/first"), "first");
    }
    daemon.wait_for("detect.watch_limit");
    for folder in 0..FOLDERS {
        world.tree.write(format!("{folder:02}/second"), "second");
    }
    until("the directories without a watch are reported", || {
        endpoints.status()["watch"]["unwatched_directories"].as_u64() > Some(0)
    });
    // Within the interval, not within the hour.
    world.wait_until_done();
    assert_eq!(endpoints.status()["watch"]["swept_every_seconds"], 2);
    until("a comparison has confirmed it", || endpoints.status()["in_sync"] == true);
    world.namespace().limit("max_inotify_watches", 10_000);
    until("all are watched", || endpoints.status()["watch"]["unwatched_directories"] == 0);
    assert_eq!(endpoints.status()["watch"]["compared_every_seconds"], 3_600);
    assert!(endpoints.status()["watch"]["swept_every_seconds"].is_null());
    world.tree.write("07/third", "by an event");
    world.wait_for_object("07/third", "by an event");
    daemon.stop();
}
