//! The watched directory goes away: nothing is deleted, and when it is back everything goes on.

use crate::harness::world::copy_tree;
use crate::harness::{Daemon, World, until};
use file_sync_dev_s3::{Action, Rule};
use std::fs;

/// A daemon that has mirrored a tree of some files.
fn mirrored() -> (World, Daemon) {
    let world = World::new();
    world.tree.fill("folder/sub", 30);
    world.tree.write("file", "at the top");
    let daemon = world.start().ready();
    world.wait_until_done();
    (world, daemon)
}

/// It has to go on as if nothing had been.
fn goes_on(world: &World, daemon: Daemon) {
    daemon.wait_for("source.available");
    world.pass_a_marker("marker");
    assert_eq!(world.deleted(), [""; 0]);
    world.tree.remove("file");
    world.tree.write("folder/sub/0000", "changed");
    world.wait_until_done();
    assert_eq!(world.deleted(), ["m/file"]);
    daemon.stop();
}

#[test]
fn a_directory_renamed_away_and_back_deletes_nothing() {
    let (world, daemon) = mirrored();
    let root = world.tree.root();
    let aside = world.sibling_path("aside");
    fs::rename(root, &aside).expect("renamed");
    daemon.wait_for("source.unavailable");
    fs::write(aside.join("meanwhile"), "written meanwhile").expect("written");
    fs::rename(&aside, root).expect("renamed");
    goes_on(&world, daemon);
    assert_eq!(world.versions("meanwhile"), ["written meanwhile"]);
}

#[test]
fn an_empty_directory_in_its_place_deletes_nothing() {
    let (world, daemon) = mirrored();
    let root = world.tree.root();
    let aside = world.sibling_path("aside");
    fs::rename(root, &aside).expect("renamed");
    fs::create_dir(root).expect("made");
    daemon.wait_for_line("that it is empty", |line| {
        line.event() == "source.unavailable" && line.text("reason").contains("empty")
    });
    fs::remove_dir(root).expect("removed");
    fs::rename(&aside, root).expect("renamed");
    goes_on(&world, daemon);
}

#[test]
fn an_empty_directory_in_its_place_at_the_start_deletes_nothing() {
    let (world, daemon) = mirrored();
    daemon.stop();
    let root = world.tree.root();
    let aside = world.sibling_path("aside");
    fs::rename(root, &aside).expect("renamed");
    fs::create_dir(root).expect("made");
    let daemon = world.start();
    daemon.wait_for("source.unavailable");
    fs::remove_dir(root).expect("removed");
    fs::rename(&aside, root).expect("renamed");
    goes_on(&world, daemon);
}

#[test]
fn a_directory_removed_and_restored_deletes_nothing_and_sends_nothing_again() {
    let (world, daemon) = mirrored();
    let root = world.tree.root();
    let aside = world.sibling_path("aside");
    copy_tree(root, &aside);
    fs::remove_dir_all(root).expect("removed");
    daemon.wait_for("source.unavailable");
    world.server.clear_requests();
    fs::rename(&aside, root).expect("renamed");
    daemon.wait_for("source.changed");
    world.pass_a_marker("marker");
    world.wait_until_done();
    assert_eq!(world.deleted(), [""; 0]);
    assert_eq!(world.server.journal().total(), 1, "only the marker is new");
    daemon.stop();
}

#[test]
fn all_files_removed_from_a_directory_that_stays_are_not_deleted_before_there_is_another() {
    let world = World::new();
    world.tree.write("the last file", "content");
    let daemon = world.start().ready();
    world.wait_until_done();
    world.tree.remove("the last file");
    let line = daemon.wait_for("source.empty");
    assert_eq!((line.text("severity"), line.number("mirrored")), ("ERROR", Some(1)));
    assert_eq!(world.versions("the last file").len(), 1);
    assert_eq!(world.deleted(), [""; 0]);
    world.tree.write("another", "content");
    // What was held is inspected again at once.
    until("the last file is deleted", || world.deleted() == ["m/the last file"]);
    daemon.wait_for("source.filled");
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn another_directory_in_its_place_deletes_nothing_that_was_mirrored_from_the_first() {
    let (world, daemon) = mirrored();
    let root = world.tree.root();
    let aside = world.sibling_path("aside");
    fs::create_dir(&aside).expect("made");
    fs::write(aside.join("other"), "of another volume").expect("written");
    let away = world.sibling_path("away");
    fs::rename(root, &away).expect("renamed");
    fs::rename(&aside, root).expect("renamed");
    daemon.wait_for("source.changed");
    world.wait_for_object("other", "of another volume");
    daemon.stop();
    assert_eq!(world.deleted(), [""; 0]);
}

#[test]
fn deletions_that_waited_when_another_directory_took_its_place_are_not_done() {
    let (world, daemon) = mirrored();
    let refusal = world.server.fail(Rule::new(Action::slow_down()).on("DeleteObject"));
    world.tree.remove("file");
    daemon.wait_for_file("delete.failed", "file");
    daemon.kill();
    let root = world.tree.root();
    let away = world.sibling_path("away");
    fs::rename(root, &away).expect("renamed");
    fs::create_dir(root).expect("made");
    world.tree.write("other", "of another volume");
    world.server.faults().remove(refusal);
    let daemon = world.start();
    daemon.wait_for("source.changed");
    world.wait_for_object("other", "of another volume");
    until("the queue is empty", || world.waiting().is_empty());
    assert_eq!(world.deleted(), [""; 0]);
    daemon.stop();
}

#[test]
fn what_was_sent_without_an_answer_is_not_deleted_for_another_directory() {
    let (world, daemon) = mirrored();
    let lost = world.server.fail(Rule::new(Action::LoseReply).on("PutObject"));
    world.tree.write("unanswered", "sent");
    daemon.wait_for_file("upload.failed", "unanswered");
    daemon.kill();
    let root = world.tree.root();
    let away = world.sibling_path("away");
    fs::rename(root, &away).expect("renamed");
    fs::create_dir(root).expect("made");
    world.tree.write("other", "of another volume");
    world.server.faults().remove(lost);
    let daemon = world.start();
    daemon.wait_for("source.changed");
    world.wait_for_object("other", "of another volume");
    until("the queue is empty", || world.waiting().is_empty());
    assert_eq!(world.deleted(), [""; 0]);
    daemon.stop();
}

#[test]
fn uploads_without_an_answer_over_objects_of_another_directory_delete_none_of_them() {
    let world = World::new();
    world.tree.fill("folder", 300);
    let daemon = world.start().ready();
    world.wait_until_done();
    let lost = world.server.fail(Rule::new(Action::LoseReply).on("PutObject"));
    for number in 0..300 {
        world.tree.write(format!("folder/{number:04}"), "changed");
    }
    until("each is in doubt", || world.waiting().len() == 300);
    daemon.wait_for_file("upload.failed", "folder/0299");
    daemon.kill();
    let root = world.tree.root();
    fs::rename(root, world.sibling_path("away")).expect("renamed");
    fs::create_dir(root).expect("made");
    world.tree.write("other", "of another volume");
    world.server.faults().remove(lost);
    // The first scan and attempts at what waits run side by side.
    let daemon = world.start();
    daemon.wait_for("source.changed");
    world.wait_for_object("other", "of another volume");
    until("the queue is empty", || world.waiting().is_empty());
    assert_eq!(world.deleted(), [""; 0]);
    daemon.stop();
}

#[test]
fn it_waits_for_a_directory_that_is_not_there_yet() {
    let world = World::new();
    fs::remove_dir(world.tree.root()).expect("removed");
    let daemon = world.start();
    daemon.wait_for("source.unavailable");
    world.tree.fill("folder", 5);
    daemon.wait_for("source.available");
    world.wait_until_done();
    daemon.stop();
}
