//! When a file is complete: only states at rest reach the bucket.

use crate::harness::{World, seed, until};
use file_sync_dev_s3::{Action, Gate, Rule};
use std::fs::{self, File, FileTimes};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

const MIB: usize = 1024 * 1024;

#[test]
fn a_closed_file_arrives_by_its_close_and_not_by_the_quiet_time() {
    let defaults = World::new().default_of("debounce_milliseconds").default_of("log_level");
    let world = defaults.setting("open_file_quiet_seconds", "3600");
    let world = world.setting("debounce_max_seconds", "86400");
    let daemon = world.start().ready();
    world.tree.write("closed", "all of it");
    world.wait_for_object("closed", "all of it");
    let lag = daemon.wait_for_file("upload.completed", "closed").number("lag_ms");
    assert!(lag.is_some_and(|lag| lag >= 250), "{lag:?}");
    daemon.stop();
}

#[test]
fn a_file_that_stays_open_arrives_after_the_quiet_time() {
    let world = World::new();
    let daemon = world.start().ready();
    let mut file = File::create(world.tree.path("open")).expect("made");
    file.write_all(b"a log, and never closed").expect("written");
    world.wait_for_object("open", "a log, and never closed");
    let lag = daemon.wait_for_file("upload.completed", "open").number("lag_ms");
    assert!(lag.is_some_and(|lag| lag >= 1_000), "{lag:?}");
    drop(file);
    daemon.stop();
}

#[test]
fn a_file_written_in_steps_is_published_once_when_it_is_closed() {
    let mut world = World::new();
    world.set("open_file_quiet_seconds", "3600");
    world.set("debounce_max_seconds", "86400");
    let daemon = world.start().ready();
    let mut file = File::create(world.tree.path("steps")).expect("made");
    for step in 0..10 {
        writeln!(file, "step {step}").expect("written");
        // Long enough for a file that was closed.
        world.pass_a_marker(&format!("marker{step}"));
        assert_eq!(world.versions("steps").len(), 0, "published while it was open");
    }
    drop(file);
    let whole = fs::read(world.tree.path("steps")).expect("read");
    world.wait_for_object("steps", &whole);
    assert_eq!(world.versions("steps"), [whole]);
    daemon.stop();
}

#[test]
fn a_large_file_that_changes_while_it_is_sent_is_sent_again_as_a_whole() {
    let mut world = World::new();
    world.set("multipart_threshold_mib", "5");
    world.set("multipart_part_size_mib", "5");
    let gate = Gate::shut();
    let rule = Rule::new(Action::Hold(gate.clone())).on("UploadPart").skip(1).times(1);
    let held = world.server.fail(rule);
    let daemon = world.start().ready();
    let aside = world.sibling_path("large");
    fs::write(&aside, vec![b'1'; 12 * MIB]).expect("written");
    fs::rename(&aside, world.tree.path("large")).expect("renamed");
    until("the second part is on its way", || world.server.faults().hits(held) > 0);
    // Same size, and the old time put back: as a program may do that hides its traces.
    let file = File::options().write(true).open(world.tree.path("large")).expect("opened");
    let before = file.metadata().expect("known").modified().expect("known");
    file.write_all_at(&vec![b'2'; 12 * MIB], 0).expect("written");
    file.set_times(FileTimes::new().set_modified(before)).expect("set");
    drop(file);
    gate.open();
    world.wait_until_done();
    let versions = world.versions("large");
    let is_whole = |version: &&[u8]| version.iter().all(|&byte| byte == b'2');
    assert_eq!(versions.len(), 1, "a version with the first state's parts was published");
    assert!(is_whole(&versions[0].as_ref()) && versions[0].len() == 12 * MIB);
    until("no upload is left", || world.uploads().is_empty());
    daemon.stop();
}

#[test]
fn a_file_rewritten_all_the_time_is_never_published_torn() {
    const SIZE: usize = 256 * 1024;
    const VERSIONS: usize = 30;
    let world = World::new().setting("debounce_milliseconds", "0");
    let mut dice = fastrand::Rng::with_seed(seed());
    world.tree.write("file", vec![0; SIZE]);
    let daemon = world.start().ready();
    let mut generation = 0_u8;
    while world.versions("file").len() < VERSIONS {
        let seen = world.server.journal().total();
        // Over before it is looked at, or while it is queued, or in the middle of a read.
        for _ in 0..dice.usize(1..200) {
            generation = generation.wrapping_add(1);
            let file = File::options().write(true).open(world.tree.path("file")).expect("opened");
            file.write_all_at(&vec![generation; SIZE], 0).expect("written");
        }
        until("the daemon sends it", || world.server.journal().total() > seen);
    }
    world.wait_until_done();
    for version in world.versions("file") {
        let first = version.first().copied().expect("not empty");
        assert!(version.len() == SIZE && version.iter().all(|&byte| byte == first));
    }
    daemon.stop();
}

#[test]
fn two_states_of_one_size_within_a_clock_tick_both_count() {
    let world = World::new().setting("debounce_milliseconds", "0");
    let daemon = world.start().ready();
    for round in 0..100_u8 {
        // The second is written while the first is looked at, read or sent.
        world.tree.write("file", format!("first  {round:03}"));
        world.tree.write("file", format!("second {round:03}"));
        if round % 5 == 0 {
            world.wait_for_object("file", format!("second {round:03}"));
        }
    }
    world.wait_until_done();
    daemon.stop();
}
