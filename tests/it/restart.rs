//! What happened while the daemon was down.

use crate::harness::{Churn, World, seed};
use file_sync_dev_s3::{Action, Rule};
use std::fs::{self, File, FileTimes};

#[test]
fn changes_and_deletions_made_while_it_was_down_are_found_at_the_start() {
    let world = World::new();
    let mut dice = fastrand::Rng::with_seed(seed());
    let mut churn = Churn::new(dice.u64(..), &world.tree);
    for _ in 0..4 {
        churn.steps(60);
        let daemon = world.start();
        world.wait_until_done();
        daemon.stop();
    }
    churn.assert_nothing_was_torn(&world);
}

#[test]
fn an_unchanged_tree_costs_no_request_at_a_restart() {
    let world = World::new();
    world.tree.fill("folder/sub", 100);
    let daemon = world.start();
    world.wait_until_done();
    daemon.stop();
    world.server.clear_requests();
    let daemon = world.start().ready();
    daemon.stop();
    assert_eq!(world.server.journal().total(), 0);
}

#[test]
fn an_unchanged_tree_costs_no_request_after_it_was_touched_or_renamed_back() {
    let world = World::new();
    world.tree.fill("folder", 10);
    let daemon = world.start();
    world.wait_until_done();
    daemon.stop();
    world.server.clear_requests();
    let touched = File::options().write(true).open(world.tree.path("folder/0000")).expect("opened");
    touched.set_modified(std::time::UNIX_EPOCH).expect("set");
    world.tree.rename("folder", "other");
    world.tree.rename("other", "folder");
    fs::copy(world.tree.path("folder/0001"), world.sibling_path("copy")).expect("copied");
    fs::rename(world.sibling_path("copy"), world.tree.path("folder/0001")).expect("renamed");
    let daemon = world.start().ready();
    daemon.stop();
    assert_eq!(world.server.journal().total(), 0);
}

#[test]
fn a_change_that_keeps_size_and_time_is_found_at_the_start() {
    let world = World::new();
    world.tree.write("file", "before");
    let daemon = world.start();
    world.wait_until_done();
    daemon.stop();
    let time = fs::metadata(world.tree.path("file")).expect("known").modified().expect("known");
    world.tree.write("file", "after!");
    let file = File::options().write(true).open(world.tree.path("file")).expect("opened");
    file.set_times(FileTimes::new().set_modified(time)).expect("set");
    let daemon = world.start();
    world.wait_for_object("file", "after!");
    daemon.stop();
}

#[test]
fn a_deletion_that_waited_is_not_done_if_the_file_is_back_at_the_start() {
    let world = World::new();
    world.tree.fill("folder", 10);
    let daemon = world.start();
    world.wait_until_done();
    let refusal = world.server.fail(Rule::new(Action::slow_down()).on("DeleteObject"));
    fs::rename(world.tree.path("folder/0000"), world.sibling_path("aside")).expect("renamed");
    daemon.wait_for_file("delete.failed", "folder/0000");
    daemon.kill();
    fs::rename(world.sibling_path("aside"), world.tree.path("folder/0000")).expect("renamed");
    world.server.faults().remove(refusal);
    let daemon = world.start().ready();
    world.wait_until_done();
    assert_eq!(world.deleted(), [""; 0]);
    daemon.stop();
}
