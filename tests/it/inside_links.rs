//! `follow_symlinks: inside`: a link to a file beneath the directory is mirrored as that file, at once
//! when the file changes; a link that leads out is never read.

use crate::harness::{World, until};
use file_sync_dev_s3::BUCKET;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

fn world() -> World {
    World::new().setting("follow_symlinks", "inside")
}

/// Makes `name` a link to `target`, in one step.
fn link(world: &World, target: impl AsRef<Path>, name: &str) {
    let aside = world.sibling_path("new link");
    symlink(target, &aside).expect("linked");
    fs::rename(aside, world.tree.path(name)).expect("moved");
}

/// Replaces a file as most programs do.
fn replace(world: &World, name: &str, content: &str) {
    let aside = world.sibling_path("new file");
    fs::write(&aside, content).expect("written");
    fs::rename(aside, world.tree.path(name)).expect("moved");
}

#[test]
fn a_link_is_mirrored_as_the_file_that_it_leads_to_and_changes_with_it() {
    let world = world();
    world.tree.write("data/first", "one");
    world.tree.write("data/second", "two");
    link(&world, "data/first", "current");
    link(&world, "current", "chain");
    let daemon = world.start().ready();
    // No scan comes to help: all of it is seen by events.
    let both = |content: &str| {
        world.wait_for_object("current", content);
        world.wait_for_object("chain", content);
    };
    both("one");
    world.tree.write("data/first", "written");
    both("written");
    replace(&world, "data/first", "replaced");
    both("replaced");
    link(&world, "data/second", "current");
    both("two");
    world.tree.remove("data/second");
    for name in ["current", "chain", "data/second"] {
        until(&format!("{name} is gone"), || world.object(name).is_none());
    }
    world.tree.write("data/second", "back");
    both("back");
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    let verified = world.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{}", verified.output);
}

#[test]
fn a_change_while_nothing_runs_is_found_by_comparing() {
    let world = world();
    world.tree.write("data/first", "one");
    world.tree.write("data/second", "two");
    link(&world, "first", "data/link");
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(world.object("data/link").as_deref(), Some(&b"one"[..]));
    replace(&world, "data/first", "changed");
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(world.object("data/link").as_deref(), Some(&b"changed"[..]));
    link(&world, "second", "data/link");
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(world.object("data/link").as_deref(), Some(&b"two"[..]));
    // What is not followed any more is no file.
    let world = world.setting("follow_symlinks", "never");
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(world.object("data/link"), None);
    assert_eq!(world.object("data/second").as_deref(), Some(&b"two"[..]));
}

#[test]
fn a_link_that_leads_out_is_not_read_and_one_that_is_turned_out_loses_its_object() {
    let world = world();
    let secret = "content of another directory";
    fs::write(world.sibling_path("secret"), secret).expect("written");
    world.tree.write("file", "content");
    world.tree.write("directory/file", "content");
    link(&world, "file", "link");
    link(&world, world.sibling_path("secret"), "absolute");
    link(&world, "../../../../../../../../../../etc/passwd", "relative");
    link(&world, "directory", "to a directory");
    link(&world, "absolute", "chain");
    link(&world, "loop", "loop");
    let daemon = world.start().ready();
    for name in ["absolute", "relative", "to a directory", "chain", "loop"] {
        let line = daemon.wait_for_file("file.skipped", name);
        assert_eq!(line.text("kind"), "link");
    }
    world.wait_for_object("link", "content");
    link(&world, world.sibling_path("secret"), "link");
    until("its object is gone", || world.object("link").is_none());
    world.pass_a_marker("marker");
    let names: Vec<_> = world.server.objects(BUCKET).into_keys().collect();
    assert_eq!(names, ["m/directory/file", "m/file", "m/marker"]);
    let flushed = world.run(&["flush", "--timeout", "600s"]);
    assert_eq!(flushed.code, Some(0), "{}", flushed.errors);
    daemon.stop();
}
