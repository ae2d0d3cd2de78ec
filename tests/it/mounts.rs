//! File systems mounted below the watched directory: not part of it, and what they hide is not gone.

use crate::harness::{Daemon, World, until};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

fn is_mounted(daemon: &Daemon, path: &str) {
    let line = daemon.wait_for_file("file.skipped", path);
    assert_eq!(line.text("kind"), "mount");
}

#[test]
fn what_is_mounted_below_at_work_is_named_once_and_hides_files_without_deleting_them() {
    let Some(world) = World::in_mount_namespace() else { return };
    world.tree.fill("folder/sub/deep", 10);
    world.tree.write("other", "content");
    let daemon = world.start().ready();
    world.wait_until_done();
    let space = world.namespace();
    let place = world.watch_path().join("folder/sub");
    space.mount_memory("size=1m", &place);
    is_mounted(&daemon, "folder/sub");
    world.tree.write("folder/sub/foreign", "of another file system");
    world.tree.write("folder/sub/deep/0000", "of another file system");
    world.tree.remove("other");
    world.pass_a_marker("marker");
    until("the deletion elsewhere is done", || world.object("other").is_none());
    // Beneath the mount life goes on, and only those outside of the namespace can see it.
    fs::remove_file(place.join("deep/0001")).expect("removed");
    fs::write(place.join("deep/new"), "written beneath").expect("written");
    space.unmount(&place);
    world.wait_until_done();
    assert_eq!(world.deleted(), ["m/other", "m/folder/sub/deep/0001"]);
    // It is watched again.
    world.tree.write("folder/sub/deep/0002", "changed");
    world.tree.write("folder/sub/another/file", "new");
    world.wait_until_done();
    space.mount_memory("size=1m", &place);
    world.pass_a_marker("second marker");
    let ended = daemon.stop();
    assert_eq!(ended.events("file.skipped").len(), 1);
    assert_eq!(world.versions("folder/sub/foreign").len(), 0);
    assert_eq!(world.versions("folder/sub/deep/0000").len(), 1);
}

#[test]
fn what_is_mounted_below_at_the_start_is_left_alone_and_compared_when_it_is_unmounted() {
    let Some(world) = World::in_mount_namespace() else { return };
    world.tree.fill("folder/sub/deep", 10);
    let daemon = world.start().ready();
    world.wait_until_done();
    daemon.stop();
    let space = world.namespace();
    let place = world.watch_path().join("folder/sub");
    space.mount_memory("size=1m", &place);
    let daemon = world.start().ready();
    is_mounted(&daemon, "folder/sub");
    world.pass_a_marker("marker");
    assert_eq!(world.deleted(), [""; 0]);
    fs::write(place.join("deep/0000"), "changed").expect("written");
    fs::remove_file(place.join("deep/0001")).expect("removed");
    space.unmount(&place);
    world.wait_until_done();
    world.tree.write("folder/sub/deep/0002", "changed");
    world.wait_until_done();
    assert_eq!(world.deleted(), ["m/folder/sub/deep/0001"]);
    daemon.stop();
}

#[test]
fn a_volume_in_the_place_of_another_below_the_root_changes_nothing() {
    let Some(world) = World::in_mount_namespace() else { return };
    world.tree.fill("folder/sub", 5);
    let space = world.namespace();
    let place = world.watch_path().join("folder");
    let daemon = world.start().ready();
    world.wait_until_done();
    for _ in 0..5 {
        space.mount_memory("size=1m", &place);
        space.mount_memory("size=1m", &place);
        space.unmount(&place);
    }
    world.pass_a_marker("marker");
    for _ in 0..5 {
        space.unmount(&place);
    }
    world.tree.write("folder/sub/0000", "changed");
    world.wait_until_done();
    assert_eq!(world.deleted(), [""; 0]);
    daemon.stop();
}

#[test]
fn a_file_system_that_others_may_write_to_is_polled_and_its_events_are_taken_all_the_same() {
    let Some(mut world) = World::in_mount_namespace() else { return };
    world.set("poll_interval_seconds", "1");
    // Not known to give an event for every change, like NFS, SMB, FUSE or 9p.
    let space = world.namespace();
    let path = world.watch_path();
    let mounted = space.command("mount").args(["-t", "ramfs", "none"]).arg(&path).status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("skipped: ramfs cannot be mounted here");
        return;
    }
    world.tree.write("file", "content");
    let daemon = world.start().ready();
    let mode = daemon.wait_for("watch.mode");
    assert_eq!((mode.text("mode"), mode.number("sweep_seconds")), ("poll", Some(1)));
    world.wait_until_done();
    daemon.stop();
    world.set("poll_interval_seconds", "3600");
    let daemon = world.start().ready();
    world.tree.write("file", "changed");
    world.wait_for_object("file", "changed");
    daemon.stop();
    world.set("watch_mode", "events");
    let daemon = world.start().ready();
    assert_eq!(daemon.wait_for("watch.mode").text("mode"), "events");
    daemon.stop();
}

#[test]
fn links_fifos_and_sockets_are_counted_and_named_once() {
    let mut world = World::new();
    world.set("watch_mode", "poll");
    world.set("poll_interval_seconds", "1");
    // Full scans only.
    world.set("poll_full_interval_seconds", "1");
    world.tree.write("folder/file", "content");
    symlink("file", world.tree.path("folder/link")).expect("made");
    drop(UnixListener::bind(world.tree.path("socket")).expect("bound"));
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, world.tree.path("fifo"), kind, mode, 0).expect("made");
    let daemon = world.start().ready();
    world.wait_until_done();
    // Several comparisons.
    for round in 0..3 {
        world.pass_a_marker(&format!("marker{round}"));
    }
    let ended = daemon.stop();
    let mut named: Vec<_> = ended.events("file.skipped").into_iter().collect();
    named.sort_by_key(|line| line.text("file.path").to_owned());
    let named: Vec<_> =
        named.iter().map(|line| (line.text("file.path"), line.text("kind"))).collect();
    assert_eq!(named, [("fifo", "fifo"), ("folder/link", "link"), ("socket", "socket")]);
    let compared = ended.events("scan.completed");
    assert!(compared.len() > 1 && compared.iter().all(|line| line.number("special") == Some(3)));
}
