//! A bucket that another account owns: ACLs that its policy demands, its owner, and who pays.

use crate::harness::{Ended, World, until};
use file_sync_dev_s3::{BUCKET, BUCKET_OWNER, Options, StoreMode};

const MIB: usize = 1024 * 1024;
const FULL_CONTROL: &str = "bucket-owner-full-control";

/// A store with this mode, and a daemon with small parts.
fn world(mode: StoreMode) -> World {
    let mut world = World::with(&Options { modes: [mode].into(), ..Options::default() });
    world.set("multipart_threshold_mib", "5");
    world.set("multipart_part_size_mib", "5");
    world
}

/// Files that are sent whole, in parts, copied within S3 and deleted, each as a daemon does it.
pub(crate) fn everything_is_mirrored(world: &World) -> Ended {
    world.tree.write("small", "content");
    world.tree.write("large", vec![7; 6 * MIB]);
    world.tree.write("moved", "renamed later");
    world.tree.write("gone", "deleted later");
    let daemon = world.start().ready();
    world.wait_until_done();
    world.tree.rename("moved", "moved away");
    world.tree.remove("gone");
    world.wait_until_done();
    until("an object was copied", || world.server.count("CopyObject") > 0);
    let ended = daemon.stop();
    assert_eq!(ended.events("upload.failed").len(), 0);
    ended
}

fn acl(world: &World, name: &str) -> Option<String> {
    let object = world.server.store().object(BUCKET, &format!("m/{name}")).expect(name);
    object.headers.acl.clone()
}

#[test]
fn an_acl_that_the_bucket_demands_is_on_every_object() {
    let mut world = world(StoreMode::DemandsAcl);
    world.set("s3_acl", FULL_CONTROL);
    world.set("s3_lease_seconds", "60");
    world.set("s3_probe", "true");
    everything_is_mirrored(&world);
    for name in ["small", "large", "moved away"] {
        assert_eq!(acl(&world, name).as_deref(), Some(FULL_CONTROL), "{name}");
    }
}

#[test]
fn a_rule_may_say_another_acl() {
    let mut world = World::new();
    world.set("s3_acl", FULL_CONTROL);
    world.set("object_rules", "- {match: /public/**, acl: public-read}");
    world.tree.write("public/page", "content");
    world.tree.write("private", "content");
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(acl(&world, "public/page").as_deref(), Some("public-read"));
    assert_eq!(acl(&world, "private").as_deref(), Some(FULL_CONTROL));
}

#[test]
fn every_request_names_the_owner_that_is_expected() {
    let mut world = world(StoreMode::DemandsOwner);
    world.set("s3_expected_bucket_owner", BUCKET_OWNER);
    world.set("s3_lease_seconds", "60");
    everything_is_mirrored(&world);
}

#[test]
fn a_bucket_of_another_owner_gets_nothing() {
    let mut world = world(StoreMode::DemandsOwner);
    world.set("s3_expected_bucket_owner", "444455556666");
    world.tree.write("file", "content");
    assert_eq!(world.once().code(), Some(75));
    assert!(world.object("file").is_none());
}

#[test]
fn every_request_says_that_the_requester_pays() {
    let mut world = world(StoreMode::RequesterPays);
    world.set("s3_requester_pays", "true");
    world.set("s3_lease_seconds", "60");
    everything_is_mirrored(&world);
}
