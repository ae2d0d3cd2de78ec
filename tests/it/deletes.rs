//! Deletions: many in one request, and held where there are too many, until the files return or a
//! person raises the limits.

use crate::harness::log::Line;
use crate::harness::{Daemon, World, until};
use file_sync_dev_s3::{Action, BUCKET, Rule};
use std::fs;

/// A daemon that has mirrored 40 files and may delete 10 of them, or half of all.
fn mirrored() -> (World, Daemon) {
    let mut world = World::new();
    world.set("delete_limit_count", "10");
    world.set("delete_limit_percent", "50");
    world.tree.fill("folder", 30);
    world.tree.fill("other", 10);
    let daemon = world.start().ready();
    world.wait_until_done();
    (world, daemon)
}

#[test]
fn more_deletions_than_both_limits_allow_are_held_until_the_files_return() {
    let (world, daemon) = mirrored();
    let aside = world.sibling_path("aside");
    fs::rename(world.tree.path("folder"), &aside).expect("renamed");
    let held = daemon.wait_for("deletes.held");
    assert!(held.number("deletes").is_some_and(|deletes| deletes > 10), "{}", held.shown());
    until("all of them are known", || world.waiting().len() == 30);
    // Everything else goes on.
    world.pass_a_marker("marker");
    world.tree.write("other/0000", "changed");
    world.wait_for_object("other/0000", "changed");
    assert_eq!(world.deleted(), [""; 0]);
    fs::rename(&aside, world.tree.path("folder")).expect("renamed");
    world.wait_until_done();
    daemon.wait_for("deletes.released");
    assert_eq!(world.deleted(), [""; 0]);
    daemon.stop();
}

#[test]
fn deletions_held_stay_held_over_a_restart_until_the_limits_are_raised() {
    let (mut world, daemon) = mirrored();
    world.tree.remove_folder("folder");
    daemon.wait_for("deletes.held");
    until("all of them are known", || world.waiting().len() == 30);
    daemon.stop();
    assert_eq!(world.deleted(), [""; 0]);
    let daemon = world.start().ready();
    daemon.wait_for("deletes.held");
    world.pass_a_marker("marker");
    daemon.stop();
    assert_eq!(world.deleted(), [""; 0]);
    world.set("delete_limit_percent", "100");
    let daemon = world.start().ready();
    world.wait_until_done();
    assert_eq!(world.deleted().len(), 30);
    daemon.stop();
}

#[test]
fn many_deletions_found_at_the_start_are_held() {
    let (world, daemon) = mirrored();
    daemon.stop();
    world.tree.remove_folder("folder");
    let daemon = world.start().ready();
    daemon.wait_for("deletes.held");
    world.pass_a_marker("marker");
    daemon.stop();
    assert_eq!(world.deleted(), [""; 0]);
}

#[test]
fn deletions_within_one_of_the_limits_are_done() {
    let (world, daemon) = mirrored();
    world.tree.remove_folder("other");
    world.wait_until_done();
    assert_eq!(world.deleted().len(), 10);
    // With those of before more than 10, and not more than half.
    for number in 0..9 {
        world.tree.remove(&format!("folder/{number:04}"));
    }
    world.wait_until_done();
    assert_eq!(world.deleted().len(), 19);
    daemon.stop();
}

#[test]
fn with_the_policy_keep_nothing_is_ever_deleted() {
    let world = World::new().setting("delete_policy", "keep");
    world.tree.fill("folder", 10);
    let daemon = world.start().ready();
    world.wait_until_done();
    world.tree.remove_folder("folder");
    world.pass_a_marker("marker");
    daemon.stop();
    let daemon = world.start().ready();
    world.pass_a_marker("another marker");
    daemon.stop();
    assert_eq!(world.deleted(), [""; 0]);
}

/// What `deploy/policy-keep.json` denies.
#[test]
fn with_the_policy_keep_a_role_that_may_not_delete_is_enough() {
    let world = World::new().setting("delete_policy", "keep");
    for operation in ["DeleteObject", "DeleteObjects"] {
        world.server.fail(Rule::new(Action::access_denied()).on(operation));
    }
    world.tree.fill("folder", 10);
    world.tree.write("renamed", "content");
    let daemon = world.start().ready();
    world.wait_until_done();
    world.tree.write("folder/0001", "changed");
    world.tree.remove("folder/0002");
    world.tree.rename("renamed", "new name");
    world.wait_for_object("new name", "content");
    world.wait_for_object("folder/0001", "changed");
    world.pass_a_marker("marker");
    let flushed = world.run(&["flush", "--timeout", "600s"]);
    assert_eq!(flushed.code, Some(0), "{}", flushed.errors);
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    let alarming = |line: &&Line| matches!(line.text("severity"), "WARN" | "ERROR");
    let refused =
        |line: &&Line| line.event().contains("delete") || line.shown().contains("AccessDenied");
    let alarms: Vec<_> = ended.lines.iter().filter(alarming).filter(refused).collect();
    assert!(alarms.is_empty(), "{alarms:?}");
    assert_eq!(world.once().code(), Some(0));
    for operation in ["DeleteObject", "DeleteObjects"] {
        assert_eq!(world.server.count(operation), 0, "{operation}");
    }
}

#[test]
fn many_deletions_are_few_requests() {
    let mut world = World::new();
    world.set("delete_limit_count", "10000");
    world.tree.write("stays", "so that the tree is not empty");
    world.tree.fill("folder", 2_500);
    let daemon = world.start().ready();
    world.wait_until_done();
    world.tree.move_out("folder");
    until("all are deleted", || world.server.objects(BUCKET).len() == 1);
    world.wait_until_done();
    assert!(world.server.count("DeleteObjects") <= 4, "{}", world.server.count("DeleteObjects"));
    assert_eq!(world.server.count("DeleteObject"), 0);
    daemon.stop();
}

#[test]
fn in_a_batch_each_object_has_its_own_fate() {
    let mut world = World::new();
    world.tree.write("stays", "so that the tree is not empty");
    // XML has no such character: this one goes by itself.
    let odd = "folder/\u{1}";
    world.tree.write(odd, "odd");
    world.tree.fill("folder", 4);
    let daemon = world.start().ready();
    world.wait_until_done();
    world.put_foreign("folder/0001", "foreign");
    world.tree.remove_folder("folder");
    world.wait_until_done();
    let left: Vec<_> = world.server.objects(BUCKET).into_keys().collect();
    assert_eq!(left, ["m/folder/0001", "m/stays"]);
    assert_eq!((world.server.count("DeleteObjects"), world.server.count("DeleteObject")), (1, 1));
    daemon.wait_for("delete.declined");
    daemon.stop();
}

#[test]
fn a_store_without_batches_gets_its_deletes_one_by_one() {
    let world = World::new();
    let unknown = Action::Fail { status: 501, code: "NotImplemented" };
    world.server.fail(Rule::new(unknown).on("DeleteObjects"));
    world.tree.write("stays", "so that the tree is not empty");
    world.tree.fill("folder", 10);
    let daemon = world.start().ready();
    world.wait_until_done();
    world.tree.remove_folder("folder");
    world.wait_until_done();
    assert_eq!((world.server.count("DeleteObjects"), world.server.count("DeleteObject")), (1, 10));
    daemon.stop();
}
