//! Writes and deletes where no condition protects what another writer has put there: because they are turned
//! off, or because the store has none.

use crate::harness::{Daemon, World, key};
use file_sync_dev_s3::{BUCKET, Options, Request, StoreMode};

/// A file that goes in parts.
const LARGE: usize = 17 << 20;
/// Objects that another writer replaces: its file is changed, or removed.
const REPLACED: [&str; 2] = ["changed", "removed"];

/// A world that probes its store.
fn world(modes: &[StoreMode], conditional_writes: &str) -> World {
    let modes = modes.iter().copied().collect();
    World::with(&Options { modes, ..Options::default() })
        .setting("s3_probe", "true")
        .setting("s3_conditional_writes", conditional_writes)
}

/// Has every kind of write and delete done once.
fn work_through(world: &World) -> Daemon {
    world.tree.write("large", vec![b'1'; LARGE]);
    world.tree.fill("folder", 20);
    for name in ["renamed", "gone", "stays"].iter().chain(&REPLACED) {
        world.tree.write(name, format!("first content of {name}"));
    }
    let daemon = world.start().ready();
    world.wait_until_done();
    world.tree.write("large", vec![b'2'; LARGE]);
    world.tree.write("stays", "second content");
    world.tree.rename("renamed", "new name");
    world.tree.remove("gone");
    world.wait_until_done();
    world.tree.remove_folder("folder");
    world.wait_until_done();
    daemon
}

/// What another writer has put in the place of an object is overwritten by a change, and never deleted.
fn replace_objects(world: &World, daemon: &Daemon) {
    for name in REPLACED {
        world.server.store().put(BUCKET, &key(name), "of another writer");
    }
    world.tree.write("changed", "second content of it");
    world.wait_for_object("changed", "second content of it");
    world.tree.remove("removed");
    daemon.wait_for_line("it is left alone", |line| {
        line.event() == "delete.declined" && line.text("aws.s3.key") == key("removed")
    });
    world.wait_for_object("removed", "of another writer");
}

/// The conditions of writes and deletes. A copy names the entity tag of its source in any case.
fn conditions(world: &World) -> Vec<Request> {
    let is_condition = |name: &str| name == "if-match" || name == "if-none-match";
    let mut requests = world.server.requests();
    requests.retain(|request| request.headers.keys().any(|name| is_condition(name)));
    requests
}

#[test]
fn with_conditional_writes_off_no_request_has_a_condition() {
    for modes in [&[][..], &[StoreMode::RejectsConditions]] {
        let world = world(modes, "off");
        let daemon = work_through(&world);
        replace_objects(&world, &daemon);
        let ended = daemon.stop();
        for operation in
            ["PutObject", "CompleteMultipartUpload", "CopyObject", "DeleteObject", "DeleteObjects"]
        {
            assert!(world.server.count(operation) > 0, "{operation}");
        }
        let conditions = conditions(&world);
        assert!(conditions.is_empty(), "{conditions:?}");
        let lacks = ended.events("store.lacks");
        assert!(lacks.is_empty(), "nothing is refused: {lacks:?}");
    }
}

#[test]
fn on_a_store_without_conditions_an_object_is_inspected_before_it_is_deleted() {
    for mode in [StoreMode::IgnoresConditions, StoreMode::RejectsConditions] {
        let world = world(&[mode], "auto");
        let daemon = work_through(&world);
        replace_objects(&world, &daemon);
        let ended = daemon.stop();
        // What a store refuses is found out once for each feature.
        let mut lacks: Vec<_> = ended
            .events("store.lacks")
            .iter()
            .map(|line| line.text("feature").to_owned())
            .collect();
        lacks.sort_unstable();
        let count = lacks.len();
        lacks.dedup();
        assert_eq!(lacks.len(), count, "{lacks:?}");
        assert_eq!(count > 0, mode == StoreMode::RejectsConditions, "{lacks:?}");
    }
}

#[test]
fn conditions_that_are_turned_on_again_are_probed_again() {
    let mut world = world(&[], "off");
    world.tree.write("file", "content");
    assert_eq!(world.once().events("store.probed").len(), 1);
    assert!(conditions(&world).is_empty());
    world.set("s3_conditional_writes", "auto");
    world.tree.write("file", "changed");
    assert_eq!(world.once().events("store.probed").len(), 1);
    world.server.clear_requests();
    world.tree.write("stays", "stays");
    world.tree.remove("file");
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(world.server.count("HeadObject"), 0, "the condition suffices");
    assert!(conditions(&world).iter().any(|request| request.call.operation == "DeleteObject"));
}
