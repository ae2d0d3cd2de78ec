//! Shutdown: in time, with 0, and with nothing lost.

use crate::harness::{Daemon, Ended, World, patience, seed, sleep_for, until};
use file_sync_dev_s3::{Action, Gate, Rule};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

/// What an end takes beside the drain: threads that still read, the record, the last log lines.
const MARGIN: Duration = Duration::from_secs(5);

#[test]
fn sigterm_under_load_ends_in_time_and_loses_nothing() {
    for time in [5, 2] {
        let (world, ended) = ended_under_load(time);
        assert!(ended.took < Duration::from_secs(time) + patience(MARGIN), "{:?}", ended.took);
        let left = ended.events("shutdown.left_over");
        assert_eq!(left.len(), 1);
        // A slow machine may not have looked at all of them, and says so: the next start compares them.
        let unseen = left[0].number("uninspected") > Some(0);
        let waiting: BTreeSet<_> = world.waiting().into_iter().map(|row| row.name).collect();
        for (name, content) in world.tree.wanted() {
            let there = world.object(&name).is_some_and(|body| body == content);
            let known = waiting.contains(&name) || unseen;
            assert!(there || known, "{name} is neither in S3 nor in the record");
        }
        world.server.faults().clear();
        let daemon = world.start();
        world.wait_until_done();
        daemon.stop();
    }
}

#[test]
fn sigterm_under_load_with_time_enough_leaves_nothing() {
    let (world, ended) = ended_under_load(120);
    assert!(ended.took < Duration::from_secs(120), "{:?}", ended.took);
    assert_eq!(ended.events("shutdown.left_over").len(), 0);
    assert_eq!(world.difference(), Ok(()));
}

/// A daemon with more to do than two seconds are enough for, with `time` seconds to end.
fn ended_under_load(time: u64) -> (World, Ended) {
    let mut world = World::new();
    world.set("shutdown_timeout_seconds", &time.to_string());
    world.set("max_concurrent_transfers", "2");
    world.server.fail(Rule::new(Action::Delay(Duration::from_millis(100))));
    world.tree.fill("folder", 100);
    let daemon = world.start().ready();
    until("it is at work", || world.server.count("PutObject") > 2);
    world.tree.fill("folder", 300);
    let ended = daemon.terminate();
    assert_eq!((ended.code(), ended.signal()), (Some(0), None));
    (world, ended)
}

#[test]
fn what_was_written_just_before_the_signal_reaches_the_bucket() {
    let world = World::new().default_of("debounce_milliseconds");
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = world.start().ready();
        world.tree.write("file", format!("{signal:?}"));
        world.tree.write(format!("new folder {signal:?}/file"), "content");
        daemon.signal(signal);
        let ended = daemon.wait();
        assert_eq!((ended.code(), ended.signal()), (Some(0), None));
        assert_eq!(world.difference(), Ok(()));
    }
}

#[test]
fn what_was_deleted_just_before_the_signal_is_gone_from_the_bucket() {
    let world = World::new();
    world.tree.fill("folder", 10);
    let daemon = world.start().ready();
    world.wait_until_done();
    world.tree.remove("folder/0000");
    daemon.stop();
    assert_eq!(world.difference(), Ok(()));
}

#[test]
fn a_second_signal_ends_at_once_and_loses_nothing() {
    let world = World::new().setting("shutdown_timeout_seconds", "3600");
    let gate = Gate::shut();
    world.server.fail(Rule::new(Action::Hold(gate.clone())));
    world.tree.fill("folder", 50);
    let daemon = world.start().ready();
    until("requests hang", || world.server.journal().in_flight() > 0);
    daemon.signal(Signal::TERM);
    daemon.wait_for("shutdown.signal");
    let ended = daemon.terminate();
    assert_eq!((ended.code(), ended.signal()), (Some(0), None));
    assert!(ended.took < patience(MARGIN), "{:?}", ended.took);
    gate.open();
    let daemon = world.start();
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn from_its_first_log_line_on_it_never_ends_by_the_signal() {
    let world = World::new().setting("shutdown_timeout_seconds", "2");
    let mut dice = fastrand::Rng::with_seed(seed());
    world.server.fail(Rule::new(Action::Delay(Duration::from_millis(5))));
    world.tree.fill("folder", 200);
    for _ in 0..10 {
        let daemon = world.start();
        daemon.wait_for("service.started");
        sleep_for(Duration::from_millis(dice.u64(..200)));
        let ended = daemon.terminate();
        assert_eq!((ended.code(), ended.signal()), (Some(0), None));
    }
    let daemon = world.start();
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn sigterm_ends_a_daemon_that_waits_for_its_directory() {
    let world = World::new();
    std::fs::remove_dir(world.tree.root()).expect("removed");
    let daemon = world.start();
    daemon.wait_for("source.unavailable");
    let ended = daemon.stop();
    assert!(ended.took < patience(MARGIN), "{:?}", ended.took);
}

#[test]
fn sigterm_ends_a_daemon_that_waits_for_the_answer_about_its_lease() {
    let world = World::new().setting("s3_lease_seconds", "60");
    let gate = Gate::shut();
    world.server.fail(Rule::new(Action::Hold(gate.clone())));
    let daemon = world.start();
    until("it asks", || world.server.journal().in_flight() > 0);
    let ended = daemon.stop();
    assert!(ended.took < patience(MARGIN), "{:?}", ended.took);
    gate.open();
}

#[test]
fn sigterm_in_an_outage_ends_in_time_with_all_in_the_record() {
    let mut world = World::new();
    world.set("shutdown_timeout_seconds", "2");
    world.server.stop();
    world.tree.fill("folder", 50);
    let daemon = world.start().ready();
    daemon.wait_for("s3.unavailable");
    let ended = daemon.stop();
    assert!(ended.took < Duration::from_secs(2) + patience(MARGIN), "{:?}", ended.took);
    assert_eq!(world.waiting().len(), 50);
    world.server.resume().expect("the address is ours");
    let daemon = world.start();
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn sigterm_before_the_configuration_was_read_is_a_request_like_any_other() {
    let world = World::new();
    world.tree.write("file", "content");
    let config = world.sibling_path("config");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &config, kind, mode, 0).expect("made");
    let path = config.to_string_lossy();
    let daemon = Daemon::spawn(world.command(&["run", "--config", &path]));
    // Opens when the daemon does, which then waits for what is in it.
    let mut writer = File::options().write(true).open(&config).expect("opened");
    daemon.signal(Signal::TERM);
    writer.write_all(b"retry_interval_seconds: 7\n").expect("written");
    drop(writer);
    let ended = daemon.wait();
    assert_eq!((ended.code(), ended.signal()), (Some(0), None), "{}", ended.errors);
    assert_eq!(ended.events("service.stopped").len(), 1);
}
