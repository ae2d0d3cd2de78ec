//! Where no event reports a change, sweeps find it, and look at no more than each directory once.

use crate::harness::http::{Endpoints, get};
use crate::harness::{Daemon, World, patience, until};
use std::fs;
use std::io::{Seek as _, Write as _};
use std::time::{Duration, Instant};

const DIRECTORIES: u64 = 20;

/// A polled world, in which only sweeps find anything soon.
fn world() -> World {
    World::new()
        .setting("watch_mode", "poll")
        .setting("poll_interval_seconds", "1")
        .setting("poll_full_interval_seconds", "3600")
        .setting("listen_address", "127.0.0.1:0")
        .setting("admin_address", "127.0.0.1:0")
}

#[expect(clippy::disallowed_methods, reason = "how long a scan takes is measured")]
fn now() -> Instant {
    Instant::now()
}

fn started(world: &World) -> (Daemon, Endpoints) {
    let daemon = world.start();
    let endpoints = Endpoints::of(&daemon);
    let daemon = daemon.ready();
    world.wait_until_done();
    (daemon, endpoints)
}

/// The operations on the file system so far, by kind.
fn operations(endpoints: &Endpoints, kind: &str) -> u64 {
    let series = format!("file_sync_poll_operations_total{{kind=\"{kind}\"}} ");
    let (_, text) = get(endpoints.public, "/metrics");
    let value = text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok());
    value.expect("the metric is there")
}

/// Overwrites the start of a file, which changes nothing of its directory.
fn overwrite(world: &World, name: &str, content: &str) {
    let mut file = fs::OpenOptions::new().write(true).open(world.tree.path(name)).expect("open");
    file.rewind().expect("at the start");
    file.write_all(content.as_bytes()).expect("written");
}

/// Waits until nothing in the tree is hot or recent: a whole sweep has listed nothing.
fn wait_until_cold(endpoints: &Endpoints) {
    let mut before = (u64::MAX, 0);
    until("a sweep lists nothing", || {
        let lists = operations(endpoints, "list");
        let directories = operations(endpoints, "directory");
        if before.0 != lists {
            before = (lists, directories);
        }
        directories >= before.1 + 3 * (DIRECTORIES + 1)
    });
}

#[test]
fn an_idle_sweep_costs_one_look_at_each_directory() {
    const SWEEPS: u64 = 4;
    let world = world();
    for index in 0..DIRECTORIES {
        world.tree.fill(&format!("d{index}"), 50);
    }
    let newest = world.tree.path(format!("d{}", DIRECTORIES - 1));
    until("no change is recent", || {
        let changed = fs::metadata(&newest).and_then(|newest| newest.modified()).expect("known");
        changed.elapsed().is_ok_and(|age| age > Duration::from_secs(3))
    });
    let (daemon, endpoints) = started(&world);
    wait_until_cold(&endpoints);
    let kinds = ["directory", "list", "file"];
    let before = kinds.map(|kind| operations(&endpoints, kind));
    let began = now();
    until("some sweeps pass", || {
        operations(&endpoints, "directory") >= before[0] + SWEEPS * (DIRECTORIES + 1)
    });
    let sweeps = began.elapsed().as_secs_f64() + 2.0;
    let cost: u64 = kinds.map(|kind| operations(&endpoints, kind)).iter().sum::<u64>();
    let cost = cost - before.iter().sum::<u64>();
    let limit = 1.1 * (DIRECTORIES + 1) as f64 * sweeps;
    assert!(cost as f64 <= limit, "{cost} operations in {sweeps} sweeps of 1000 files");
    assert!(cost >= SWEEPS * (DIRECTORIES + 1));
    daemon.stop();
}

#[test]
fn what_changes_names_is_found_by_the_next_sweep() {
    let world = world();
    world.tree.fill("old", 5);
    world.tree.fill("gone", 5);
    world.tree.fill("deep/er/est", 3);
    let (daemon, _) = started(&world);
    world.tree.write("old/new", "new");
    world.tree.write("brand/new/directory/file", "new");
    world.tree.write("deep/er/beside", "new");
    world.tree.remove_folder("gone");
    world.tree.rename("deep/er/est", "old/est");
    world.tree.rename("old/est/0000", "deep/moved");
    world.wait_until_equal();
    // What is in new directories is swept from now on.
    world.tree.write("brand/new/directory/second", "second");
    world.tree.remove("old/new");
    world.wait_until_equal();
    // A file in the place of another one, with the same name.
    let other = world.sibling_path("other");
    fs::write(&other, "another file").expect("written");
    fs::rename(&other, world.tree.path("brand/new/directory/second")).expect("moved in");
    world.wait_for_object("brand/new/directory/second", "another file");
    daemon.stop();
}

#[test]
fn a_file_overwritten_in_place_is_found_by_the_next_sweep_where_something_changed_lately() {
    let world = world();
    world.tree.write("log/lines", "aaaa");
    world.tree.write("cold/lines", "aaaa");
    let (daemon, _) = started(&world);
    world.tree.write("log/beside", "something changed lately");
    world.wait_for_object("log/beside", "something changed lately");
    for content in ["bbbb", "cccc", "dddd"] {
        overwrite(&world, "log/lines", content);
        world.wait_for_object("log/lines", content);
    }
    daemon.stop();
}

#[test]
fn a_file_overwritten_in_place_in_a_cold_directory_is_found_by_the_full_scan() {
    const FULL: Duration = Duration::from_secs(5);
    let world = world().setting("poll_full_interval_seconds", "5");
    world.tree.write("cold/lines", "aaaa");
    let (daemon, endpoints) = started(&world);
    until("it is swept", || operations(&endpoints, "directory") > 4);
    let began = now();
    overwrite(&world, "cold/lines", "bbbb");
    world.wait_for_object("cold/lines", "bbbb");
    assert!(began.elapsed() < patience(FULL * 3), "{:?}", began.elapsed());
    daemon.stop();
}

#[test]
fn the_shutdown_finds_what_no_sweep_can_see() {
    let world = world().setting("poll_interval_seconds", "600");
    world.tree.write("cold/lines", "aaaa");
    let (daemon, _) = started(&world);
    overwrite(&world, "cold/lines", "bbbb");
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0));
    world.wait_for_object("cold/lines", "bbbb");
}

#[test]
fn a_limit_on_operations_slows_scans_down_and_delays_no_shutdown() {
    const FILES: usize = 400;
    let world = world().setting("poll_operations_per_second", "100");
    world.tree.fill("many", FILES);
    let began = now();
    let (daemon, _) = started(&world);
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    world.tree.write("many/last", "last");
    let began = now();
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0));
    assert!(began.elapsed() < patience(Duration::from_secs(3)), "{:?}", began.elapsed());
    world.wait_for_object("many/last", "last");
}
