//! d2: what cannot be read is not gone.

use crate::harness::{World, seed, sleep_for};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

const FOLDERS: [&str; 6] = ["a", "a/b", "a/b/c", "d", "d/e", "f"];

#[test]
fn d2_directories_that_become_unreadable_at_any_moment_delete_nothing_below() {
    const ROUNDS: usize = 40;
    let mut world = World::new().without_rights();
    world.set("watch_mode", "poll");
    world.set("poll_interval_seconds", "1");
    for folder in FOLDERS {
        world.tree.fill(folder, 30);
    }
    let daemon = world.start().ready();
    world.wait_until_done();
    let mut dice = fastrand::Rng::with_seed(seed());
    let mode = |folder: &str, mode: u32| {
        let path = world.tree.path(folder);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    };
    let mut removed = Vec::new();
    for round in 0..ROUNDS {
        let folder = FOLDERS[dice.usize(..FOLDERS.len())];
        // Not listed, not entered, neither.
        mode(folder, [0o300, 0o600, 0o000][round % 3]);
        if round % 10 == 0 {
            // A deletion elsewhere, so that there is something to be decided.
            let name = format!("{}/{:04}", FOLDERS[round / 10], round % 7);
            removed.push(format!("m/{name}"));
            world.tree.remove(&name);
        }
        sleep_for(Duration::from_millis(dice.u64(..120)));
        mode(folder, 0o755);
    }
    world.wait_until_done();
    let mut deleted = world.deleted();
    deleted.sort();
    assert_eq!(deleted, removed);
    daemon.stop();
}

#[test]
fn d2_an_error_of_the_disk_in_any_step_of_a_look_deletes_nothing_that_is_there() {
    let inject = ["-f", "-qq", "-e", "inject=getpid:error=EIO", "true"];
    let traced = Command::new("strace").args(inject).output();
    if !traced.is_ok_and(|output| output.status.success()) {
        println!("skipped: no strace here that may make system calls fail");
        return;
    }
    let mut world = World::new();
    world.set("watch_mode", "poll");
    world.set("poll_interval_seconds", "1");
    for folder in FOLDERS {
        world.tree.fill(folder, 5);
    }
    let daemon = world.start().ready();
    world.wait_until_done();
    daemon.stop();
    let mut dice = fastrand::Rng::with_seed(seed());
    for call in ["getdents64", "statx", "openat2"] {
        let first = dice.usize(2..6);
        let step = dice.usize(2..5);
        println!("{call}: every {step}th fails from the {first}th on");
        let inject = format!("inject={call}:error=EIO:when={first}+{step}");
        world.wrap(&["strace", "-D", "-f", "-qqq", "-o", "/dev/null", "-e", &inject]);
        let daemon = world.start();
        // Two comparisons, and the looks at what they found.
        sleep_for(Duration::from_millis(2_200));
        daemon.kill();
        assert_eq!(world.deleted(), [""; 0], "when {call} failed");
    }
    world.wrap(&[]);
    let daemon = world.start().ready();
    world.tree.remove("a/0000");
    world.wait_until_done();
    assert_eq!(world.deleted(), ["m/a/0000"]);
    daemon.stop();
}
