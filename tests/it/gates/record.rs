//! d3: the record is lost, another one, or an old one. d4: others write below the same prefix.

use crate::harness::http::control;
use crate::harness::world::copy_tree;
use crate::harness::{Daemon, World, until};
use file_sync_dev_s3::BUCKET;
use std::fs;
use std::path::Path;

/// A tree that was mirrored, without a running daemon.
fn mirrored() -> World {
    let world = World::new();
    world.tree.fill("folder", 10);
    world.tree.write("stays", "so that the tree is not empty");
    let daemon = world.start().ready();
    world.wait_until_done();
    daemon.stop();
    world
}

/// Runs a daemon until it has compared everything and is at rest.
fn run_once(world: &World) -> Daemon {
    let daemon = world.start().ready();
    let names: Vec<String> = world.tree.wanted().into_keys().collect();
    for name in names {
        let content = fs::read(world.tree.path(&name)).expect("read");
        world.wait_for_object(&name, content);
    }
    until("nothing waits", || world.waiting().is_empty());
    daemon
}

fn replace(directory: &Path, by: &Path) {
    fs::remove_dir_all(directory).expect("removed");
    copy_tree(by, directory);
}

#[test]
fn d3_a_state_that_was_wiped_deletes_nothing() {
    let world = mirrored();
    fs::remove_dir_all(world.state_dir()).expect("removed");
    world.tree.remove("folder/0000");
    world.tree.write("folder/0001", "changed");
    run_once(&world).stop();
    assert_eq!(world.deleted(), [""; 0]);
    assert!(world.object("folder/0000").is_some());
    // From the new record on, deletions count again.
    let daemon = world.start().ready();
    world.tree.remove("folder/0001");
    until("the deletion is done", || world.deleted() == ["m/folder/0001"]);
    daemon.stop();
}

#[test]
fn d3_the_state_of_another_directory_deletes_nothing() {
    let mut world = mirrored();
    let first = world.state_dir();
    let other = world.sibling_path("other");
    fs::create_dir(&other).expect("made");
    fs::write(other.join("another"), "of another tree").expect("written");
    // The same bucket and prefix, with another tree and a record of its own.
    world.set("watch_path", &other.to_string_lossy());
    let state = world.sibling_path("other state");
    world.set("state_dir", &state.to_string_lossy());
    let daemon = world.start().ready();
    world.wait_for_object("another", "of another tree");
    daemon.stop();
    replace(&state, &first);
    let daemon = world.start().ready();
    daemon.wait_for("source.changed");
    fs::write(other.join("marker"), "marker").expect("written");
    world.wait_for_object("marker", "marker");
    daemon.stop();
    assert_eq!(world.deleted(), [""; 0]);
}

#[test]
fn d3_a_state_that_was_rolled_back_deletes_nothing_that_is_there() {
    let mut world = mirrored();
    let saved = world.sibling_path("saved");
    copy_tree(&world.state_dir(), &saved);
    let daemon = world.start().ready();
    // After the copy: a change, a deletion, a new file, a rename, and a name that comes back.
    world.tree.write("folder/0000", "changed");
    world.tree.remove("folder/0001");
    world.tree.write("new", "new");
    world.tree.rename("folder/0002", "renamed");
    world.tree.remove("folder/0003");
    world.wait_until_done();
    world.tree.write("folder/0003", "back");
    world.wait_until_done();
    daemon.stop();
    // A foreign object takes a name that the old state believes to be ours.
    world.put_foreign("folder/0001", "not ours");
    let deleted = world.deleted();
    replace(&world.state_dir(), &saved);
    run_once(&world).stop();
    assert_eq!(world.deleted(), deleted);
    assert_eq!(world.difference(), Ok(()));
}

#[test]
fn d3_another_prefix_deletes_nothing() {
    let mut world = mirrored();
    let before = world.server.objects(BUCKET).len();
    world.set("s3_prefix", "other");
    let daemon = world.start().ready();
    assert_eq!(daemon.wait_for("state.moved_aside").text("why"), "other-target");
    until("all are there twice", || world.server.objects(BUCKET).len() == 2 * before);
    daemon.stop();
    world.set("s3_prefix", "");
    let daemon = world.start().ready();
    until("and three times", || world.server.objects(BUCKET).len() == 3 * before);
    daemon.stop();
    assert_eq!(world.deleted(), [""; 0]);
    assert_eq!(world.versions("folder/0009").len(), 1);
}

#[test]
fn d3_other_ignore_patterns_delete_nothing() {
    let mut world = mirrored();
    world.set("ignore", "folder/,0*");
    let daemon = world.start().ready();
    world.tree.remove("folder/0000");
    world.tree.remove_folder("folder");
    world.pass_a_marker("marker");
    daemon.stop();
    let daemon = world.start().ready();
    daemon.stop();
    assert_eq!(world.deleted(), [""; 0]);
    assert_eq!(world.server.objects(BUCKET).len(), 12);
}

#[test]
fn d4_two_daemons_on_one_prefix_and_a_foreign_object_all_survive() {
    let mut world = World::new();
    world.put_foreign("folder/foreign", "not ours");
    world.put_foreign("gone", "not ours either");
    let other = world.sibling_path("other");
    fs::create_dir_all(other.join("folder")).expect("made");
    let write_other = |name: &str, content: &str| {
        fs::write(other.join(name), content).expect("written");
    };
    world.tree.fill("folder", 10);
    world.tree.write("common", "of the first");
    let path = world.watch_path();
    let state = world.state_dir();
    let first = world.start().ready();
    world.wait_until_done();
    write_other("folder/second", "of the second");
    world.set("watch_path", &other.to_string_lossy());
    world.set("state_dir", &world.sibling_path("other state").to_string_lossy());
    let second = world.start().ready();
    world.wait_for_object("folder/second", "of the second");
    // The second one takes a name of the first, and the first one deletes it.
    write_other("common", "of the second");
    world.wait_for_object("common", "of the second");
    world.tree.remove("common");
    first.wait_for("delete.declined");
    first.wait_for("writer.other");
    // Each deletes all it has in a folder that both have.
    world.tree.remove_folder("folder");
    world.tree.write("marker", "marker");
    until("the first one's wait", || world.waiting().len() == 10);
    assert_eq!(world.deleted(), [""; 0], "it is not the only one");
    let socket = world.state_dir().join("admin.sock");
    let (code, _) = control(&socket, "/-/approve-deletes", "");
    assert_eq!(code, 200);
    until("the first one's are gone", || world.deleted().len() == 10);
    fs::remove_dir_all(other.join("folder")).expect("removed");
    until("the second one's are gone", || world.deleted().len() == 11);
    // A restart, the old one being still there, as in a rolling update.
    world.set("watch_path", &path.to_string_lossy());
    world.set("state_dir", &state.to_string_lossy());
    first.stop();
    let first = world.start().ready();
    world.wait_for_object("marker", "marker");
    assert_eq!(world.object("common").as_deref(), Some(&b"of the second"[..]));
    assert_eq!(world.versions("folder/foreign"), ["not ours"]);
    assert_eq!(world.versions("gone"), ["not ours either"]);
    assert_eq!(world.deleted().len(), 11);
    first.stop();
    second.stop();
}
