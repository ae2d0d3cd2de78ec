//! The drain: while there is time to end in, what waits is tried.

use crate::harness::http::Endpoints;
use crate::harness::{Daemon, Ended, World, patience, sleep_for};
use file_sync_dev_s3::{Action, Rule};
use rustix::process::Signal;
use std::time::Duration;

/// What an end takes beside the drain.
const MARGIN: Duration = Duration::from_secs(5);
/// Files that were not sent when the signal came.
const FILES: usize = 100;

/// A daemon at rest with a deadline of `seconds`.
fn at_rest(seconds: u64) -> (World, Daemon) {
    let world = World::new().setting("shutdown_timeout_seconds", &seconds.to_string());
    world.tree.write("first", "first");
    let daemon = world.start().ready();
    world.wait_until_done();
    (world, daemon)
}

/// The world whose faults begin now, after `FILES` more files were written and SIGTERM came.
fn terminated_with(rule: Rule) -> (World, Ended) {
    let (world, daemon) = at_rest(120);
    world.server.fail(rule);
    world.tree.fill("folder", FILES);
    let ended = daemon.terminate();
    (world, ended)
}

fn assert_all_there(world: &World, ended: &Ended) {
    assert_eq!((ended.code(), ended.signal()), (Some(0), None), "{}", ended.errors);
    assert_eq!(world.difference(), Ok(()), "after {:?}", ended.took);
    assert_eq!(ended.events("shutdown.left_over").len(), 0);
}

#[test]
fn an_outage_that_ends_within_the_time_loses_nothing() {
    let (mut world, daemon) = at_rest(120);
    world.server.stop();
    world.tree.fill("folder", FILES);
    daemon.signal(Signal::TERM);
    daemon.wait_for("s3.unavailable");
    sleep_for(Duration::from_secs(6));
    world.server.resume().expect("the address is ours");
    let ended = daemon.wait();
    assert_all_there(&world, &ended);
    assert!(ended.took < patience(Duration::from_secs(10)), "{:?}", ended.took);
}

#[test]
fn requests_that_fail_at_random_in_the_drain_only_delay() {
    for probability in [0.05, 0.3] {
        let rule = Rule::new(Action::internal_error()).probability(probability);
        let (world, ended) = terminated_with(rule);
        assert_all_there(&world, &ended);
    }
}

#[test]
fn a_store_that_throttles_in_the_drain_only_delays() {
    let (world, ended) = terminated_with(Rule::new(Action::slow_down()).probability(0.1));
    assert_all_there(&world, &ended);
}

#[test]
fn one_file_that_is_answered_with_an_error_for_some_seconds_is_sent_all_the_same() {
    let rule = Rule::new(Action::internal_error()).key("m/folder/0007").times(5);
    let (world, ended) = terminated_with(rule);
    assert_all_there(&world, &ended);
}

#[test]
fn an_attempt_in_the_drain_inspects_the_object_once() {
    let key = "m/folder/0007";
    let rule = Rule::new(Action::internal_error()).on("PutObject").key(key).times(1);
    let (world, ended) = terminated_with(rule);
    assert_all_there(&world, &ended);
    let requests = world.server.requests();
    let of_key: Vec<_> = requests.iter().filter(|request| request.call.key == key).collect();
    let count = |name: &str| of_key.iter().filter(|request| request.call.operation == name).count();
    assert_eq!(count("PutObject"), 2);
    assert!(count("HeadObject") <= 2, "{}", count("HeadObject"));
}

#[test]
fn an_outage_longer_than_the_time_is_waited_for_until_the_deadline() {
    // Longer on a slow machine, which needs longer to learn of all files.
    let deadline = Duration::from_secs(patience(Duration::from_secs(8)).as_secs());
    let (mut world, daemon) = at_rest(deadline.as_secs());
    world.server.stop();
    world.tree.fill("folder", FILES);
    let ended = daemon.terminate();
    assert_eq!((ended.code(), ended.signal()), (Some(0), None), "{}", ended.errors);
    assert!(ended.took > deadline - Duration::from_secs(1), "{:?}", ended.took);
    assert!(ended.took < deadline + patience(MARGIN), "{:?}", ended.took);
    assert_eq!(world.waiting().len(), FILES);
    let left = ended.events("shutdown.left_over");
    assert_eq!(left[0].number("pending"), Some(FILES as u64));
    world.server.resume().expect("the address is ours");
    let daemon = world.start();
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn what_is_refused_for_good_ends_the_drain_before_its_deadline() {
    for rule in [
        Rule::new(Action::access_denied()),
        Rule::new(Action::access_denied()).key("m/folder/0007"),
        Rule::new(Action::Fail { status: 400, code: "InvalidArgument" }).key("m/folder/0007"),
    ] {
        let (world, ended) = terminated_with(rule);
        assert_eq!((ended.code(), ended.signal()), (Some(0), None), "{}", ended.errors);
        assert!(ended.took < patience(Duration::from_secs(20)), "{:?}", ended.took);
        assert!(!world.waiting().is_empty());
        let left = ended.events("shutdown.left_over");
        assert_eq!(left[0].number("pending"), Some(world.waiting().len() as u64));
    }
}

#[test]
fn credentials_that_are_renewed_within_some_seconds_lose_nothing() {
    let (world, daemon) = at_rest(120);
    let refusal = world.server.fail(Rule::new(Action::expired_token()));
    world.tree.fill("folder", FILES);
    daemon.signal(Signal::TERM);
    daemon.wait_for("s3.unavailable");
    sleep_for(Duration::from_secs(2));
    world.server.faults().remove(refusal);
    assert_all_there(&world, &daemon.wait());
}

#[test]
fn once_waits_for_the_end_of_an_outage_of_some_seconds() {
    let mut world = World::new();
    world.tree.fill("folder", FILES);
    world.server.stop();
    let run = Daemon::spawn(world.command(&["once"]));
    run.wait_for("s3.unavailable");
    sleep_for(Duration::from_secs(12));
    world.server.resume().expect("the address is ours");
    assert_all_there(&world, &run.wait());
}

#[test]
fn once_sends_what_fails_at_random() {
    let world = World::new();
    world.tree.fill("folder", FILES);
    world.server.fail(Rule::new(Action::internal_error()).probability(0.3));
    assert_all_there(&world, &world.once());
}

/// What was written, rewritten and deleted less than two seconds before the signal.
fn change_without_a_word(world: &World) {
    world.tree.write("new folder/new", "new");
    world.tree.write("changed", "changed");
    world.tree.remove("gone");
    sleep_for(Duration::from_millis(1_500));
}

/// A daemon at rest that compares once an hour, stopped after changes without an event.
fn ended_without_events(world: &World) -> Ended {
    world.tree.write("changed", "as it was");
    world.tree.write("gone", "as it was");
    let daemon = world.start().ready();
    world.wait_until_done();
    change_without_a_word(world);
    daemon.terminate()
}

#[test]
fn a_directory_that_is_polled_is_compared_before_the_end() {
    let world = World::new().setting("watch_mode", "poll").setting("poll_interval_seconds", "3600");
    let ended = ended_without_events(&world);
    assert_all_there(&world, &ended);
    assert!(ended.took < patience(MARGIN), "{:?}", ended.took);
}

#[test]
fn a_directory_without_a_watch_is_compared_before_the_end() {
    for (limit, value) in [("max_inotify_watches", 3), ("max_inotify_instances", 0)] {
        let Some(mut world) = World::in_mount_namespace() else { return };
        world.set("poll_interval_seconds", "3600");
        world.namespace().limit(limit, value);
        for folder in 0..10 {
            world.tree.fill(&format!("{folder:02}"), 1);
        }
        let ended = ended_without_events(&world);
        assert_all_there(&world, &ended);
    }
}

#[test]
fn after_prestop_polling_goes_on_until_the_signal_and_the_end_compares_once_more() {
    let mut world = World::new();
    world.set("watch_mode", "poll");
    world.set("poll_interval_seconds", "1");
    world.set("listen_address", "127.0.0.1:0");
    world.set("admin_address", "127.0.0.1:0");
    let daemon = world.start().ready();
    assert_eq!(Endpoints::of(&daemon).post("/-/prestop", "").0, 200);
    world.tree.write("between", "found by polling");
    world.wait_for_object("between", "found by polling");
    world.tree.write("last", "found at the end");
    let ended = daemon.terminate();
    assert_all_there(&world, &ended);
}

#[test]
fn what_is_written_during_the_drain_of_a_polled_directory_is_sent_too() {
    let mut world = World::new();
    world.set("watch_mode", "poll");
    world.set("poll_interval_seconds", "3600");
    world.set("shutdown_timeout_seconds", "120");
    world.tree.write("first", "first");
    let daemon = world.start().ready();
    world.wait_until_done();
    world.tree.write("second", "second");
    world.server.stop();
    daemon.signal(Signal::TERM);
    daemon.wait_for("s3.unavailable");
    world.tree.write("third", "written while the drain waits for S3");
    world.server.resume().expect("the address is ours");
    assert_all_there(&world, &daemon.wait());
}
