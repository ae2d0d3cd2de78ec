//! The state directory in trouble: full, read-only, or locked. A clear message, and nothing lost.

use crate::harness::{Daemon, World, until};
use std::fs::{self, File};
use std::io::Write as _;

/// A world whose state is on a small volume of its own.
fn on_a_small_volume() -> Option<World> {
    let world = World::in_mount_namespace()?;
    fs::create_dir(world.state_dir()).expect("made");
    world.namespace().mount_memory("size=32m", &world.state_dir());
    world.tree.write("stays", "so that the tree is not empty");
    Some(world)
}

/// Takes all the room that there is.
fn fill(world: &World) {
    let mut ballast = File::create(world.state_seen().join("ballast")).expect("made");
    while ballast.write_all(&[0; 4096]).is_ok() {}
}

fn make_room(world: &World) {
    fs::remove_file(world.state_seen().join("ballast")).expect("removed");
}

/// More changes than what is allocated already has room for.
fn change_much(world: &World, round: usize) {
    for folder in 0..20 {
        for number in 0..100 {
            let name = format!("folder {folder}/{}-{number}", "long".repeat(40));
            world.tree.write(name, format!("{round} {folder} {number}"));
        }
    }
}

#[test]
fn a_state_that_is_full_at_work_only_delays() {
    let Some(world) = on_a_small_volume() else { return };
    let mut daemon = world.start().ready();
    world.wait_until_done();
    fill(&world);
    change_much(&world, 1);
    daemon.wait_for("state.write_failed");
    world.tree.remove_folder("folder 0");
    change_much(&world, 2);
    assert!(daemon.is_running());
    make_room(&world);
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn killed_and_terminated_with_a_full_state_it_loses_nothing() {
    let Some(world) = on_a_small_volume() else { return };
    for round in 0..2 {
        let daemon = world.start().ready();
        world.wait_until_done();
        fill(&world);
        change_much(&world, round);
        daemon.wait_for("state.write_failed");
        if round == 0 {
            daemon.kill();
        } else {
            // On a volume that survives this would be 0.
            assert_eq!(daemon.terminate().code(), Some(75));
        }
        make_room(&world);
    }
    let daemon = world.start();
    world.wait_until_done();
    assert_eq!(world.deleted(), [""; 0]);
    daemon.stop();
}

#[test]
fn a_state_that_is_full_at_the_start_ends_with_73_and_loses_nothing() {
    let Some(world) = on_a_small_volume() else { return };
    let daemon = world.start().ready();
    world.wait_until_done();
    daemon.stop();
    fill(&world);
    world.tree.write("new", "content");
    let ended = Daemon::spawn(world.command(&["run"])).wait();
    assert_eq!(ended.code(), Some(73), "{:?}", ended.lines);
    let reported = ended.events("service.failed")[0].text("error.message").to_owned();
    assert!(reported.contains("No space left on device"), "{reported}");
    make_room(&world);
    let daemon = world.start();
    world.wait_until_done();
    assert_eq!(world.deleted(), [""; 0]);
    daemon.stop();
}

#[test]
fn a_state_that_is_read_only_ends_with_73_and_a_clear_word() {
    let Some(world) = on_a_small_volume() else { return };
    let daemon = world.start().ready();
    world.wait_until_done();
    daemon.stop();
    let state = world.state_dir();
    let mut command = world.namespace().command("mount");
    assert!(command.args(["-o", "remount,ro"]).arg(&state).status().expect("run").success());
    for command in ["run", "once"] {
        let ended = Daemon::spawn(world.command(&[command])).wait();
        assert_eq!(ended.code(), Some(73), "{command}: {:?}", ended.lines);
        let reported = ended.events("service.failed")[0].text("error.message").to_owned();
        assert!(
            reported.contains("Read-only") && reported.contains("must be writable"),
            "{reported}"
        );
    }
    let mut command = world.namespace().command("mount");
    assert!(command.args(["-o", "remount,rw"]).arg(&state).status().expect("run").success());
    world.tree.write("new", "content");
    let daemon = world.start();
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn a_state_that_another_process_locks_for_a_while_only_delays() {
    let world = World::new();
    world.tree.write("stays", "so that the tree is not empty");
    let daemon = world.start().ready();
    world.wait_until_done();
    let file = world.state_dir().join("state.db");
    let holder = rusqlite::Connection::open(file).expect("opened");
    holder.execute_batch("BEGIN IMMEDIATE").expect("begun");
    world.tree.fill("folder", 20);
    world.tree.remove("stays");
    daemon.wait_for("state.write_failed");
    drop(holder);
    world.wait_until_done();
    until("and nothing waits", || world.waiting().is_empty());
    daemon.stop();
}
