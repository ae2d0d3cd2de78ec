//! d8: lost events are found and logged. d14: what the daemon does itself is no event.

use crate::harness::daemon::is_whole_comparison;
use crate::harness::{World, sleep_for, until};
use rustix::process::Signal;
use std::fs::{self, File, FileTimes};
use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

/// A queue that is larger takes too long to fill.
const QUEUE_MAX: usize = 200_000;

#[test]
fn d8_an_overflow_of_the_event_queue_is_repaired_without_a_restart_and_told() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("read");
    let limit: usize = limit.trim().parse().expect("a number");
    if limit > QUEUE_MAX {
        println!("skipped: the kernel queues {limit} events, too many for this test");
        return;
    }
    let world = World::new();
    world.tree.fill("folder/sub", 50);
    let daemon = world.start().ready();
    world.wait_until_done();
    // While it stands still nothing reads the queue.
    daemon.stand_still();
    let names = ["flood1", "flood2"].map(|name| world.tree.path(name));
    let mut flood = names.map(|path| File::create(path).expect("made"));
    for turn in 0..limit + 1_000 {
        // Equal events in a row become one, so two files take turns.
        flood[turn % 2].write_all(b"x").expect("written");
    }
    drop(flood);
    // The queue is full: none of this gives an event.
    world.tree.fill("folder/new", 20);
    world.tree.write("folder/sub/0001", "changed");
    world.tree.remove("folder/sub/0002");
    world.tree.rename("folder/sub/0003", "renamed");
    daemon.signal(Signal::CONT);
    world.wait_until_done();
    daemon.wait_for("detect.rebuild");
    let drift = daemon.wait_for_line("what was missed is counted", |line| {
        is_whole_comparison(line) && line.number("gone").is_some_and(|gone| gone >= 1)
    });
    assert!(drift.number("new").is_some_and(|new| new >= 20), "{}", drift.shown());
    assert!(drift.number("changed").is_some_and(|changed| changed >= 1), "{}", drift.shown());
    // The new watches are alive.
    world.tree.write("folder/new/0000", "changed");
    world.wait_for_object("folder/new/0000", "changed");
    daemon.stop();
}

#[test]
fn d14_reading_a_whole_tree_anew_makes_no_events_of_its_own_and_no_storm() {
    const FILES: usize = 1_000;
    let world = World::new();
    for folder in 0..20 {
        world.tree.fill(&format!("{folder}"), FILES / 20);
    }
    let daemon = world.start();
    world.wait_until_done();
    daemon.stop();
    for name in world.tree.wanted().into_keys() {
        let file = File::options().write(true).open(world.tree.path(name)).expect("opened");
        file.set_times(FileTimes::new().set_modified(UNIX_EPOCH)).expect("set");
    }
    world.server.clear_requests();
    let daemon = world.start().ready();
    until("all was read", || world.waiting().is_empty() && world.racy() == 0);
    // Whatever that gave rise to would be seen by now.
    sleep_for(Duration::from_secs(1));
    let ended = daemon.stop();
    let queued = ended.events("change.queued").len();
    assert_eq!(queued, FILES, "each was read once");
    let compared = ended.lines.iter().filter(|line| is_whole_comparison(line)).count();
    assert_eq!(compared, 1, "and compared once");
    assert_eq!(ended.events("detect.rebuild").len(), 0);
    assert_eq!(world.server.journal().total(), 0, "nothing was sent");
}

#[test]
fn d8_what_no_watch_is_left_for_is_found_by_comparing() {
    let Some(mut world) = World::in_mount_namespace() else { return };
    world.set("poll_interval_seconds", "1");
    world.namespace().limit("max_inotify_watches", 20);
    for folder in 0..40 {
        world.tree.fill(&format!("{folder:02}"), 1);
    }
    let daemon = world.start().ready();
    world.wait_until_done();
    daemon.wait_for("detect.watch_limit");
    for folder in 0..40 {
        world.tree.write(format!("{folder:02}/0000"), "changed");
        world.tree.write(format!("{folder:02}/new/deep"), "new");
    }
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn d8_without_any_instance_of_the_watcher_everything_is_found_by_comparing() {
    let Some(mut world) = World::in_mount_namespace() else { return };
    world.set("poll_interval_seconds", "1");
    world.namespace().limit("max_inotify_instances", 0);
    world.tree.fill("folder", 5);
    let daemon = world.start();
    world.wait_until_done();
    daemon.wait_for("detect.instance_limit");
    world.tree.write("folder/0000", "changed");
    world.tree.remove("folder/0001");
    world.wait_until_done();
    daemon.stop();
}
