//! Directories that were made just now: their files may be there before the watch, and closed before it.

use crate::harness::tree::Tree;
use crate::harness::{World, eventually_within};
use std::fs::{self, File};
use std::io::Write as _;
use std::time::Duration;

/// Longer than any test waits: what arrives was known to be complete.
const NEVER: &str = "3600";
/// Far from the time after which a file would be taken as it is.
const SOON: Duration = Duration::from_secs(120);

fn world() -> World {
    let world = World::new().setting("open_file_quiet_seconds", NEVER);
    world.setting("debounce_max_seconds", "86400")
}

fn wait_soon(world: &World) {
    eventually_within(SOON, "the bucket has every file of the tree", || world.difference());
}

#[test]
fn a_file_closed_in_a_new_directory_arrives_without_the_quiet_time() {
    let world = world();
    let daemon = world.start().ready();
    for number in 0..40 {
        world.tree.write(format!("new{number}/file"), format!("{number}"));
    }
    wait_soon(&world);
    daemon.stop();
}

#[test]
fn files_closed_in_nested_new_directories_arrive_without_the_quiet_time() {
    let world = world();
    let daemon = world.start().ready();
    for number in 0..10 {
        world.tree.write(format!("{number}/a/b/c/deep"), "deep");
        world.tree.write(format!("{number}/a/beside"), "beside");
    }
    // More than are announced by their names. Written elsewhere: a close in the moment in which a directory
    // is watched anew is not seen, and such a file has the quiet time (docs/adr/013).
    Tree::new(world.sibling_path("made")).fill("in/one", 300);
    fs::rename(world.sibling_path("made"), world.tree.path("many")).expect("moved");
    wait_soon(&world);
    daemon.stop();
}

#[test]
fn a_tree_that_is_moved_in_arrives_without_the_quiet_time() {
    let world = world();
    let daemon = world.start().ready();
    let aside = world.sibling_path("aside");
    for directory in 0..20 {
        let directory = aside.join(format!("{directory}/below"));
        fs::create_dir_all(&directory).expect("made");
        for file in 0..10 {
            fs::write(directory.join(format!("{file}")), "moved").expect("written");
        }
    }
    fs::rename(&aside, world.tree.path("moved")).expect("renamed");
    wait_soon(&world);
    daemon.stop();
}

#[test]
fn what_was_closed_while_nobody_watched_arrives_without_the_quiet_time() {
    let world = world();
    world.tree.write("before/the/start", "closed");
    let daemon = world.start().ready();
    wait_soon(&world);
    daemon.stop();
}

#[test]
fn a_slow_writer_in_a_new_directory_is_never_seen_before_it_closes() {
    let world = world();
    let daemon = world.start().ready();
    let names: Vec<_> = (0..12).map(|number| format!("{number}/n/file")).collect();
    let open = |name: &String| {
        let path = world.tree.path(name);
        fs::create_dir_all(path.parent().expect("below the root")).expect("made");
        let mut file = File::create(path).expect("made");
        file.write_all(b"first half, ").expect("written");
        file
    };
    let mut files: Vec<_> = names.iter().map(open).collect();
    // Long enough for files that were closed, twice.
    for marker in ["one", "two"] {
        world.pass_a_marker(&format!("{marker}/closed"));
    }
    for (file, name) in files.iter_mut().zip(&names) {
        assert_eq!(world.versions(name).len(), 0, "{name} was sent while it was open");
        file.write_all(b"second half").expect("written");
    }
    world.pass_a_marker("three/closed");
    drop(files);
    wait_soon(&world);
    for name in &names {
        assert_eq!(world.versions(name), ["first half, second half"], "{name}");
    }
    daemon.stop();
}

/// The kernel answers only the owner of a file, and programs with `CAP_LEASE`.
#[test]
fn where_the_kernel_does_not_say_what_is_closed_the_quiet_time_decides() {
    let quiet = Duration::from_secs(3);
    let world = World::new().setting("open_file_quiet_seconds", &quiet.as_secs().to_string());
    let world = world.without_rights();
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: no other user can be had");
    }
    world.tree.write("file", "of another user");
    let daemon = world.start().ready();
    world.wait_for_object("file", "of another user");
    let written = fs::metadata(world.tree.path("file")).expect("there").modified().expect("known");
    let age = written.elapsed().expect("in the past");
    assert!(age >= quiet, "{age:?}");
    daemon.stop();
}
