//! `refresh_metadata`: another time or mode of a file changes the metadata of its object, and sends nothing.

use crate::harness::world::key;
use crate::harness::{World, entries, until};
use file_sync_dev_s3::{Action, BUCKET, Rule};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

const MIB: usize = 1 << 20;

fn world() -> World {
    let mut world = World::new().setting("refresh_metadata", "true");
    world.set("multipart_threshold_mib", "5");
    world.set("multipart_part_size_mib", "5");
    world.tree.write("small", "small");
    world.tree.write("large", vec![7; 6 * MIB]);
    world
}

fn touch(world: &World, name: &str, seconds: u64) {
    let file = File::options().write(true).open(world.tree.path(name)).expect("opened");
    file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).expect("set");
}

fn chmod(world: &World, name: &str, mode: u32) {
    fs::set_permissions(world.tree.path(name), Permissions::from_mode(mode)).expect("set");
}

fn metadata(world: &World, name: &str, field: &str) -> String {
    let object = world.server.store().object(BUCKET, &key(name)).expect(name);
    object.headers.metadata.get(field).cloned().unwrap_or_default()
}

/// Whether nothing was sent, and how many objects were copied.
fn copies(world: &World) -> u64 {
    for operation in ["PutObject", "UploadPart", "CreateMultipartUpload"] {
        assert_eq!(world.server.count(operation), 0, "{operation}");
    }
    world.server.count("CopyObject")
}

fn once(world: &World) {
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
}

#[test]
fn another_time_or_mode_reaches_the_object_and_nothing_is_sent() {
    let world = world();
    let daemon = world.start().ready();
    world.wait_until_done();
    world.server.clear_requests();
    touch(&world, "small", 1_000_000_000);
    touch(&world, "large", 1_000_000_001);
    until("both times are there", || {
        metadata(&world, "small", "mtime") == "1000000000.000000000"
            && metadata(&world, "large", "mtime") == "1000000001.000000000"
    });
    chmod(&world, "small", 0o640);
    until("the mode is there", || metadata(&world, "small", "mode") == "100640");
    assert_eq!(copies(&world), 3);
    assert_eq!(world.object("large").as_deref(), Some(&vec![7; 6 * MIB][..]));
    daemon.stop();
    let verified = world.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{}", verified.output);
}

#[test]
fn once_and_plan_and_verify_know_of_another_time() {
    let mut world = world();
    once(&world);
    touch(&world, "small", 1_000_000_000);
    let planned = world.run(&["plan", "--json"]);
    assert_eq!(planned.steps(), entries(&[("copy", "small")]), "{}", planned.errors);
    assert_eq!(world.run(&["verify"]).code, Some(1));
    world.server.clear_requests();
    once(&world);
    assert_eq!(metadata(&world, "small", "mtime"), "1000000000.000000000");
    assert_eq!(copies(&world), 1);
    assert_eq!(world.run(&["verify"]).code, Some(0));
    // Off, it costs nothing, and is no difference.
    world.set("refresh_metadata", "false");
    touch(&world, "small", 1_000_000_002);
    world.server.clear_requests();
    once(&world);
    assert_eq!(world.server.journal().total(), 0);
    assert_eq!(world.run(&["verify"]).code, Some(0));
    world.set("refresh_metadata", "true");
    let verified = world.run(&["verify", "--json"]);
    assert_eq!(verified.code, Some(1));
    assert_eq!(verified.differences(), entries(&[("differs", "small")]), "{}", verified.output);
    let verified = world.run(&["verify", "--checksum", "--json"]);
    assert_eq!(verified.differences(), entries(&[("differs", "small")]), "{}", verified.output);
}

#[test]
fn an_object_that_may_not_be_copied_keeps_its_time_and_is_not_sent_again() {
    let world = world();
    let daemon = world.start().ready();
    world.wait_until_done();
    world.server.clear_requests();
    world.server.fail(Rule::new(Action::access_denied()).on("CopyObject"));
    touch(&world, "small", 1_000_000_000);
    let line = daemon.wait_for_file("metadata.not_refreshed", "small");
    assert_eq!(line.text("error.type"), "AccessDenied", "{}", line.shown());
    world.wait_until_done();
    assert_ne!(metadata(&world, "small", "mtime"), "1000000000.000000000");
    assert_eq!(copies(&world), 1);
    daemon.stop();
}

#[test]
fn a_copy_that_was_not_answered_is_made_again() {
    let world = world();
    let daemon = world.start().ready();
    world.wait_until_done();
    world.server.fail(Rule::new(Action::Reset).on("CopyObject").times(1));
    chmod(&world, "small", 0o600);
    until("the mode is there", || metadata(&world, "small", "mode") == "100600");
    daemon.stop();
}
