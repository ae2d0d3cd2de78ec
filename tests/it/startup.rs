//! What it refuses to start with, and what it does with a record that cannot be used.

use crate::harness::{Daemon, World};
use std::fs;

#[test]
fn a_wrong_configuration_ends_with_78_and_says_all_that_is_wrong_at_once() {
    let mut world = World::new();
    world.set("s3_bucket", "s3://bucket/prefix");
    world.set("retry_interval_seconds", "5m");
    world.set("debounce_miliseconds", "20");
    let state_dir = world.tree.path("state");
    world.set("state_dir", &state_dir.to_string_lossy());
    for command in ["run", "once", "check-config"] {
        let ended = Daemon::spawn(world.command(&[command])).wait();
        assert_eq!(ended.code(), Some(78), "{command}");
        for reported in [
            "s3_bucket",
            "write the name alone, bucket",
            "FILE_SYNC__RETRY_INTERVAL_SECONDS",
            "5m",
            "DEBOUNCE_MILLISECONDS",
            "lies inside watch_path",
        ] {
            assert!(
                ended.errors.contains(reported),
                "{command} does not say {reported}:\n{}",
                ended.errors
            );
        }
        assert_eq!(ended.lines.len(), 0, "something was done anyway");
    }
    assert!(!state_dir.try_exists().expect("known"));
}

#[test]
fn a_missing_configuration_ends_with_78_and_names_what_is_required() {
    let world = World::new().default_of("watch_path").default_of("s3_bucket");
    let ended = Daemon::spawn(world.command(&[])).wait();
    assert_eq!(ended.code(), Some(78));
    assert!(ended.errors.contains("watch_path") && ended.errors.contains("s3_bucket"));
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let world = World::new();
    let ended = Daemon::spawn(world.command(&["onec"])).wait();
    assert_eq!(ended.code(), Some(2));
    assert!(ended.errors.contains("'once'"), "{}", ended.errors);
}

#[test]
fn a_second_daemon_on_the_same_state_ends_with_73_and_disturbs_nobody() {
    let world = World::new().setting("lock_timeout_seconds", "0");
    world.tree.fill("folder", 10);
    let first = world.start().ready();
    world.wait_until_done();
    let ended = world.start().wait();
    assert_eq!(ended.code(), Some(73));
    let failed = ended.events("service.failed");
    assert!(failed[0].text("error.message").contains("in use by another process"));
    assert_eq!(world.once().code(), Some(73));
    world.pass_a_marker("marker");
    first.stop();
    // The lock ends with its owner.
    assert_eq!(world.once().code(), Some(0));
}

#[test]
fn a_state_directory_that_cannot_be_made_ends_with_73() {
    let mut world = World::new();
    fs::write(world.sibling_path("a file"), "").expect("written");
    let inside = world.sibling_path("a file").join("state");
    world.set("state_dir", &inside.to_string_lossy());
    let ended = Daemon::spawn(world.command(&["run"])).wait();
    assert!(matches!(ended.code(), Some(73 | 78)), "{:?}", ended.code());
    let reported =
        format!("{}{}", ended.errors, ended.lines.iter().map(|l| l.shown()).collect::<String>());
    assert!(reported.contains("a file"), "{reported}");
}

/// Whatever became of the record: nothing is deleted, what is there arrives, and the record is kept.
fn without_its_record(world: &World, why: &str) {
    // With the state this would be a deletion. Without it the owner of the object is unknown.
    fs::remove_file(world.tree.path("folder/0000")).expect("removed");
    world.tree.write("folder/0001", "changed");
    let daemon = world.start().ready();
    let line = daemon.wait_for("state.moved_aside");
    assert_eq!(line.text("why"), why);
    assert!(fs::exists(line.text("path")).expect("known"), "{}", line.text("path"));
    world.wait_for_object("folder/0001", "changed");
    world.pass_a_marker("marker");
    assert_eq!(world.deleted(), [""; 0]);
    assert!(world.object("folder/0000").is_some());
    daemon.stop();
}

fn mirrored() -> World {
    let world = World::new();
    world.tree.fill("folder", 10);
    let daemon = world.start().ready();
    world.wait_until_done();
    daemon.stop();
    world
}

#[test]
fn a_record_that_is_no_database_is_moved_aside_and_nothing_is_deleted() {
    let world = mirrored();
    fs::write(world.state_dir().join("state.db"), "no database at all").expect("written");
    without_its_record(&world, "damaged");
}

#[test]
fn a_record_with_a_damaged_page_is_moved_aside_and_nothing_is_deleted() {
    let world = mirrored();
    let path = world.state_dir().join("state.db");
    let mut bytes = fs::read(&path).expect("read");
    let length = bytes.len();
    bytes[4096..length].fill(0x5a);
    fs::write(&path, bytes).expect("written");
    without_its_record(&world, "damaged");
}

#[test]
fn a_record_that_was_cut_short_is_moved_aside_and_nothing_is_deleted() {
    let world = mirrored();
    let path = world.state_dir().join("state.db");
    let bytes = fs::read(&path).expect("read");
    fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
    without_its_record(&world, "damaged");
}
