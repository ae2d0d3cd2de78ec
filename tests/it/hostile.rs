//! Hostile files and trees: none breaks a bound, and none delays another file.

use crate::harness::{World, until};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use std::fs::File;
use std::path::Path;
use std::process::Command;

#[test]
fn a_sparse_file_that_needs_larger_parts_than_memory_is_left_with_the_reason() {
    let mut world = World::new();
    world.set("transfer_memory_mib", "64");
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
    assert!(daemon.peak_mib() < 64 + 128, "{} MiB resident", daemon.peak_mib());
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
    let world = World::new();
    world.tree.write("file", "content");
    nest(world.tree.root(), 3_000);
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
    daemon.stop();
    let removed = Command::new("rm").arg("-rf").arg(world.tree.path("d")).status();
    assert!(removed.expect("it starts").success());
}
