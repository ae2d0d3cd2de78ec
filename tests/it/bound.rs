//! A user who may write where `watch_path` lies may put a link in its place. Nothing behind it is read.

use crate::harness::{Daemon, World, until};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A daemon that has mirrored a file, and a private directory.
fn mirrored() -> (World, Daemon, PathBuf) {
    let world = World::new();
    let secrets = world.sibling_path("secrets");
    fs::create_dir(&secrets).expect("made");
    fs::write(secrets.join("key"), "secret").expect("written");
    world.tree.write("file", "content");
    let daemon = world.start().ready();
    world.wait_until_done();
    (world, daemon, secrets)
}

fn refused(daemon: &Daemon) {
    daemon.wait_for_line("that it leads to another place", |line| {
        line.event() == "source.unavailable" && line.text("reason").contains("another place")
    });
}

fn nothing_of(world: &World, name: &str) {
    assert_eq!(world.versions(name), [""; 0]);
    assert_eq!(world.deleted(), [""; 0]);
}

#[test]
fn what_is_behind_a_link_put_in_the_place_of_watch_path_is_never_sent() {
    let (world, daemon, secrets) = mirrored();
    let root = world.tree.root();
    let aside = world.sibling_path("aside");
    fs::rename(root, &aside).expect("renamed");
    symlink(&secrets, root).expect("linked");
    refused(&daemon);
    daemon.stop();
    // It is the state that knows, not the process.
    let daemon = world.start();
    refused(&daemon);
    nothing_of(&world, "key");
    fs::remove_file(root).expect("removed");
    fs::rename(&aside, root).expect("renamed");
    daemon.wait_for("source.available");
    world.pass_a_marker("marker");
    nothing_of(&world, "key");
    daemon.stop();
}

#[test]
fn a_link_above_watch_path_that_leads_elsewhere_is_refused_as_well() {
    let mut world = World::new();
    let app = world.sibling_path("app");
    let other = world.sibling_path("other");
    for (directory, name) in [(&app, "file"), (&other, "key")] {
        fs::create_dir_all(directory.join("uploads")).expect("made");
        fs::write(directory.join("uploads").join(name), name).expect("written");
    }
    world.set("watch_path", &app.join("uploads").to_string_lossy());
    let daemon = world.start().ready();
    world.wait_for_object("file", "file");
    fs::rename(&app, world.sibling_path("aside")).expect("renamed");
    symlink(&other, &app).expect("linked");
    refused(&daemon);
    nothing_of(&world, "key");
    daemon.stop();
}

#[test]
fn the_state_behind_a_link_is_never_sent() {
    let (world, daemon, _) = mirrored();
    let root = world.tree.root();
    fs::rename(root, world.sibling_path("aside")).expect("renamed");
    symlink(world.state_dir(), root).expect("linked");
    daemon.wait_for_line("that it is the state", |line| {
        line.event() == "source.unavailable" && line.text("reason").contains("state_dir")
    });
    nothing_of(&world, "state.db");
    daemon.stop();
}

#[test]
fn who_agrees_to_another_directory_writes_its_path() {
    let (mut world, daemon, secrets) = mirrored();
    let root = world.tree.root().to_owned();
    fs::rename(&root, world.sibling_path("aside")).expect("renamed");
    symlink(&secrets, &root).expect("linked");
    refused(&daemon);
    daemon.stop();
    world.set("watch_path", &secrets.to_string_lossy());
    let daemon = world.start();
    daemon.wait_for("source.changed");
    world.wait_for_object("key", "secret");
    assert_eq!(world.deleted(), [""; 0]);
    daemon.stop();
}

/// Changes a link at once, as deployments do.
fn swap(link: &Path, target: &Path) {
    let new = link.with_extension("new");
    symlink(target, &new).expect("linked");
    fs::rename(&new, link).expect("renamed");
}

/// An application with releases, of which one is current.
fn released(link: &str) -> (World, PathBuf) {
    let mut world = World::new();
    let app = world.sibling_path("app");
    for (release, name) in [("1", "old"), ("2", "new")] {
        let directory = app.join("releases").join(release);
        fs::create_dir_all(&directory).expect("made");
        fs::write(directory.join(name), release).expect("written");
        fs::write(directory.join("both"), "the same").expect("written");
    }
    let current = app.join("current");
    symlink(app.join("releases/1"), &current).expect("linked");
    world.set("watch_path", &current.to_string_lossy());
    world.set("watch_path_link", link);
    (world, app)
}

#[test]
fn a_link_that_deployments_change_is_followed_beneath_its_directory_and_no_further() {
    let (world, app) = released("follow");
    let current = app.join("current");
    let secrets = world.sibling_path("secrets");
    fs::create_dir(&secrets).expect("made");
    fs::write(secrets.join("key"), "secret").expect("written");
    let daemon = world.start().ready();
    world.wait_for_object("old", "1");
    world.wait_for_object("both", "the same");
    swap(&current, Path::new("releases/2"));
    world.wait_for_object("new", "2");
    until("the file of the release before is gone", || world.object("old").is_none());
    assert_eq!(world.versions("both").len(), 1, "the same bytes are not sent again");
    swap(&current, &secrets);
    daemon.wait_for_line("that it leads outside", |line| {
        line.event() == "source.unavailable" && line.text("reason").contains("leads out of")
    });
    assert_eq!(world.versions("key"), [""; 0]);
    daemon.stop();
    let daemon = world.start();
    daemon.wait_for("source.unavailable");
    swap(&current, Path::new("releases/1"));
    daemon.wait_for("source.available");
    world.wait_for_object("old", "1");
    assert_eq!(world.versions("key"), [""; 0]);
    daemon.stop();
}

#[test]
fn a_link_that_leads_elsewhere_is_noticed_without_an_event() {
    let (world, app) = released("bound");
    let daemon = world.start().ready();
    world.wait_for_object("old", "1");
    swap(&app.join("current"), Path::new("releases/2"));
    refused(&daemon);
    assert_eq!(world.versions("new"), [""; 0]);
    daemon.stop();
}

#[test]
fn a_first_write_in_a_directory_of_a_lower_layer_leaves_it_the_same_directory() {
    let Some(mut world) = World::in_mount_namespace() else { return };
    let layers = world.sibling_path("layers");
    let merged = world.sibling_path("merged");
    fs::create_dir(&layers).expect("made");
    fs::create_dir(&merged).expect("made");
    world.namespace().mount_memory("mode=755", &layers);
    let seen = world.namespace().seen(&layers);
    for directory in ["lower/data", "upper", "work"] {
        fs::create_dir_all(seen.join(directory)).expect("made");
    }
    for name in ["stays", "goes", "goes later"] {
        fs::write(seen.join("lower/data").join(name), name).expect("written");
    }
    world.namespace().mount_overlay(&layers, &merged);
    let data = world.namespace().seen(&merged).join("data");
    world.set("watch_path", &merged.join("data").to_string_lossy());
    let daemon = world.start().ready();
    world.wait_for_object("goes", "goes");
    world.wait_for_object("goes later", "goes later");
    fs::write(data.join("new"), "copied up").expect("written");
    world.wait_for_object("new", "copied up");
    fs::remove_file(data.join("goes")).expect("removed");
    until("its object is gone", || world.object("goes").is_none());
    let ended = daemon.stop();
    fs::remove_file(data.join("goes later")).expect("removed");
    let daemon = world.start();
    until("its object is gone", || world.object("goes later").is_none());
    for lines in [&ended.lines, &daemon.stop().lines] {
        let lost = |line: &&crate::harness::log::Line| line.event().starts_with("source.");
        assert_eq!(lines.iter().filter(lost).count(), 0, "{lines:?}");
    }
    assert!(world.object("stays").is_some());
}
