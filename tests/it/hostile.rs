//! Hostile files and trees: none breaks a bound, and none delays another file.

use crate::harness::{MemoryBound, World, until, wait::size};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::Command;

#[test]
fn a_sparse_file_that_needs_larger_parts_than_memory_is_left_with_the_reason() {
    let mut world = World::new();
    let bound = MemoryBound::for_world(&mut world);
    let huge = File::create(world.tree.path("huge")).expect("made");
    let Ok(()) = huge.set_len(15 << 40) else {
        println!("skipped: this file system has no files of 15 TiB");
        return;
    };
    drop(huge);
    let daemon = world.start().ready();
    let line = daemon.wait_for_file("file.parked", "huge");
    assert_eq!(line.text("reason"), "too-large");
    world.pass_a_marker("marker");
    bound.assert_kept(&daemon);
    assert_eq!(world.server.count("CreateMultipartUpload"), 0);
    daemon.stop();
}

#[test]
fn a_file_larger_than_the_setting_is_left_until_it_is_smaller() {
    let mut world = World::new();
    world.set("max_file_size_mib", "1");
    world.tree.write("large", vec![7; (1 << 20) + 1]);
    world.tree.write("largest", vec![7; 1 << 20]);
    let daemon = world.start().ready();
    let line = daemon.wait_for_file("file.parked", "large");
    assert_eq!(line.text("reason"), "above-max-file-size");
    world.wait_for_object("largest", vec![7; 1 << 20]);
    assert_eq!(world.object("large"), None);
    let flushed = world.run(&["flush", "--timeout", "600s"]);
    assert_eq!(flushed.code, Some(0), "{}", flushed.errors);
    world.tree.write("large", "small now");
    world.wait_for_object("large", "small now");
    daemon.stop();
}

/// Makes directories in directories, whose path no system call takes at once.
fn nest(top: &Path, levels: usize) {
    let opened = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut at = openat(CWD, top, opened, Mode::empty()).expect("opened");
    for _ in 0..levels {
        mkdirat(&at, c"d", Mode::from_raw_mode(0o755)).expect("made");
        at = openat(&at, c"d", opened, Mode::empty()).expect("opened");
    }
}

#[test]
fn a_tree_deeper_than_any_key_is_left_at_the_first_directory_without_room() {
    let mut world = World::new();
    let bound = MemoryBound::for_world(&mut world);
    world.tree.write("file", "content");
    nest(world.tree.root(), 12_000);
    let daemon = world.start().ready();
    world.wait_for_object("file", "content");
    let line = daemon.wait_for_line("that it is not entered", |line| {
        line.event() == "file.skipped" && line.text("kind").contains("too long")
    });
    assert_eq!(line.text("file.path").len(), 1024 - "m/".len() - 1, "the first without room");
    // One level above there is room for a name of one byte.
    let deepest = world.tree.path(["d"; 510].join("/"));
    File::create(deepest.join("x")).expect("made");
    let name = format!("{}/x", ["d"; 510].join("/"));
    until("the deepest file is there", || world.object(&name).is_some());
    bound.assert_kept(&daemon);
    daemon.stop();
    let removed = Command::new("rm").arg("-rf").arg(world.tree.path("d")).status();
    assert!(removed.expect("it starts").success());
}

#[test]
fn tens_of_thousands_of_names_without_a_key_stay_within_the_bound_and_delay_no_other_file() {
    /// In each scan of the directory.
    const NAMED_MAX: usize = 1_000;
    let mut world = World::new();
    let bound = MemoryBound::for_world(&mut world);
    let names = size("IT_BAD_NAMES", 5_000);
    world.tree.write("folder/proper", "content");
    for number in 0..names {
        let mut name = format!("{number:06}").into_bytes();
        name.extend([0xff; 240]);
        File::create(world.tree.path("folder").join(OsString::from_vec(name))).expect("made");
    }
    let daemon = world.start();
    bound.until(&daemon, "the proper file arrives", || world.object("folder/proper").is_some());
    bound.until(&daemon, "all are recorded", || world.waiting().len() == names);
    world.tree.write("folder/later", "content");
    bound.until(&daemon, "a later file arrives", || world.object("folder/later").is_some());
    let ended = daemon.stop();
    let named = ended.events("file.parked").len();
    let scans = ended.events("scan.completed").len() + 1;
    assert!(named <= NAMED_MAX * scans, "{named} lines in {scans} scans");
}
