//! d1: the source is missing, empty, or another one. Nothing is deleted.

use crate::harness::{World, seed, sleep_for, until};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const FILES: usize = 300;
/// Between two comparisons.
const POLL: &str = "1";

#[test]
fn d1_a_missing_or_swapped_source_deletes_nothing_at_any_moment_of_a_comparison() {
    const SWAPS: usize = 25;
    // On a busy machine a comparison may miss many of them.
    const SWAPS_MAX: usize = 1_000;
    let mut world = World::new();
    world.set("watch_mode", "poll");
    world.set("poll_interval_seconds", POLL);
    for folder in ["a", "b/c", "d"] {
        world.tree.fill(folder, FILES / 3);
    }
    let daemon = world.start().ready();
    world.wait_until_done();
    let root = world.tree.root().to_owned();
    let away = world.sibling_path("away");
    let mut dice = fastrand::Rng::with_seed(seed());
    for swap in 0..SWAPS_MAX {
        if swap >= SWAPS && daemon.has(|line| line.event() == "source.unavailable") {
            break;
        }
        sleep_for(Duration::from_millis(dice.u64(..150)));
        fs::rename(&root, &away).expect("renamed");
        // Missing, empty, and another volume with nothing of the first.
        if swap % 3 > 0 {
            fs::create_dir(&root).expect("made");
        }
        sleep_for(Duration::from_millis(dice.u64(..150)));
        if swap % 3 > 0 {
            fs::remove_dir_all(&root).expect("removed");
        }
        fs::rename(&away, &root).expect("renamed");
    }
    assert_eq!(world.deleted(), [""; 0]);
    // It was noticed, and it goes on.
    daemon.wait_for("source.unavailable");
    daemon.wait_for("source.available");
    world.pass_a_marker("marker");
    world.tree.remove("a/0000");
    until("the deletion is done", || world.deleted() == ["m/a/0000"]);
    world.wait_until_done();
    daemon.stop();
}

/// A world whose watched directory is a mounted volume.
fn on_a_volume() -> Option<(World, PathBuf)> {
    let mut world = World::in_mount_namespace()?;
    let volume = world.sibling_path("volume");
    fs::create_dir(&volume).expect("made");
    world.namespace().mount_memory("size=16m", &volume);
    world.namespace().mount(&volume, &world.watch_path());
    world.set("poll_interval_seconds", POLL);
    // Files that are overwritten in place change no directory.
    world.set("poll_full_interval_seconds", "2");
    Some((world, volume))
}

fn unmounted_or_swapped_at_rest(mode: &str) {
    let Some((mut world, volume)) = on_a_volume() else { return };
    world.set("watch_mode", mode);
    world.tree.fill("folder/sub", 30);
    let daemon = world.start().ready();
    world.wait_until_done();
    let space = world.namespace();
    let path = world.watch_path();
    // Unmounted: what is below the mount point is an empty directory.
    space.unmount(&path);
    daemon.wait_for("source.unavailable");
    space.mount(&volume, &path);
    daemon.wait_for("source.available");
    world.pass_a_marker("marker");
    // Another volume, empty, over it, at work and at a start.
    space.mount_memory("size=1m", &path);
    daemon.wait_for_line("that it is empty", |line| line.text("reason").contains("empty"));
    daemon.stop();
    let daemon = world.start();
    daemon.wait_for_line("that it is empty", |line| line.text("reason").contains("empty"));
    space.unmount(&path);
    daemon.wait_for("source.available");
    world.tree.remove("marker");
    world.tree.write("folder/sub/0000", "changed");
    world.wait_until_done();
    assert_eq!(world.deleted(), ["m/marker"]);
    // Another volume with files of its own.
    let other = world.sibling_path("other");
    fs::create_dir(&other).expect("made");
    fs::write(other.join("other"), "of another volume").expect("written");
    space.mount(&other, &path);
    daemon.wait_for("source.changed");
    world.wait_for_object("other", "of another volume");
    space.unmount(&path);
    world.pass_a_marker("last");
    world.wait_for_object("folder/sub/0001", "folder/sub 1");
    daemon.stop();
    assert_eq!(world.deleted(), ["m/marker"]);
}

#[test]
fn d1_an_unmounted_or_swapped_volume_that_is_polled_deletes_nothing() {
    unmounted_or_swapped_at_rest("poll");
}

#[test]
fn d1_an_unmounted_or_swapped_volume_at_rest_is_noticed_at_once_and_deletes_nothing() {
    unmounted_or_swapped_at_rest("events");
}

#[test]
fn d1_a_volume_swapped_at_any_moment_of_a_comparison_deletes_nothing() {
    const SWAPS: usize = 20;
    let Some((mut world, volume)) = on_a_volume() else { return };
    world.set("watch_mode", "poll");
    for folder in ["a", "b/c", "d"] {
        world.tree.fill(folder, FILES / 3);
    }
    let daemon = world.start().ready();
    world.wait_until_done();
    let space = world.namespace();
    let path = world.watch_path();
    let mut dice = fastrand::Rng::with_seed(seed());
    for swap in 0..SWAPS {
        sleep_for(Duration::from_millis(dice.u64(..100)));
        if swap % 2 == 0 {
            space.mount_memory("size=1m", &path);
            sleep_for(Duration::from_millis(dice.u64(..100)));
            space.unmount(&path);
        } else {
            space.unmount(&path);
            sleep_for(Duration::from_millis(dice.u64(..100)));
            space.mount(&volume, &path);
        }
    }
    world.pass_a_marker("marker");
    assert_eq!(world.deleted(), [""; 0]);
    world.wait_until_done();
    daemon.stop();
}
