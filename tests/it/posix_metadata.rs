//! `posix_metadata`: the form of a file's time, permissions and owner in the metadata of its object. Whatever
//! the form, objects are recognised, adopted, refreshed and restored.

use crate::harness::world::key;
use crate::harness::{Daemon, World, until};
use file_sync_dev_s3::{Action, BUCKET, Options, Rule, StoreMode};
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::time::{Duration, UNIX_EPOCH};

const MIB: usize = 1 << 20;
const SECONDS: u64 = 1_595_002_920;
const FORMS: [&str; 4] = ["none", "rclone", "s3-files", "both"];

/// A file that is sent whole and one that is sent in parts, with a time and permissions of their own.
fn world(form: &str, modes: &[StoreMode]) -> World {
    let options = Options { modes: modes.iter().copied().collect(), ..Options::default() };
    let mut world = World::with(&options).setting("posix_metadata", form);
    world.set("multipart_threshold_mib", "5");
    world.set("multipart_part_size_mib", "5");
    world.tree.write("small", "small");
    world.tree.write("large", vec![7; 6 * MIB]);
    for name in ["small", "large"] {
        let file = File::options().write(true).open(world.tree.path(name)).expect("opened");
        file.set_modified(UNIX_EPOCH + Duration::new(SECONDS, 1)).expect("set");
        chmod(&world, name, 0o640);
    }
    world
}

fn chmod(world: &World, name: &str, mode: u32) {
    fs::set_permissions(world.tree.path(name), Permissions::from_mode(mode)).expect("set");
}

/// The metadata of an object, without the marks of the service.
fn metadata(world: &World, name: &str) -> BTreeMap<String, String> {
    let object = world.server.store().object(BUCKET, &key(name)).expect(name);
    let metadata = object.headers.metadata.iter();
    metadata
        .filter(|(name, _)| !["file-sync-owner", "file-sync-source"].contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// What the form says of a file.
fn expected(world: &World, form: &str, name: &str) -> BTreeMap<String, String> {
    let file = fs::metadata(world.tree.path(name)).expect(name);
    let nanos = format!("{}{:09}ns", file.mtime(), file.mtime_nsec());
    let mut expected = BTreeMap::new();
    let mut add = |name: &str, value: String| expected.insert(name.to_owned(), value);
    if ["rclone", "both"].contains(&form) {
        add("mtime", format!("{}.{:09}", file.mtime(), file.mtime_nsec()));
        add("mode", format!("{:o}", file.mode()));
    }
    if ["s3-files", "both"].contains(&form) {
        add("file-mtime", nanos.clone());
        add("file-permissions", format!("0{:o}", file.mode()));
        add("file-owner", file.uid().to_string());
        add("file-group", file.gid().to_string());
    }
    if form == "none" {
        add("file-sync-mtime", nanos);
    }
    expected
}

fn once(world: &World, arguments: &[&str]) {
    let ended = Daemon::spawn(world.command(&[&["once"], arguments].concat())).wait();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
}

fn assert_nothing_sent(world: &World) {
    for operation in ["PutObject", "CreateMultipartUpload", "UploadPart", "CopyObject"] {
        assert_eq!(world.server.count(operation), 0, "{operation}");
    }
}

fn wipe_state(world: &World) {
    fs::remove_dir_all(world.state_dir()).expect("removed");
}

#[test]
fn objects_carry_the_chosen_form_whether_sent_whole_in_parts_or_copied() {
    for form in FORMS {
        let world = world(form, &[]);
        let daemon = world.start().ready();
        world.wait_until_done();
        for name in ["small", "large"] {
            assert_eq!(metadata(&world, name), expected(&world, form, name), "{form} {name}");
        }
        world.tree.rename("small", "renamed");
        world.wait_for_object("renamed", "small");
        world.wait_until_done();
        assert_eq!(world.server.count("CopyObject"), 1);
        assert_eq!(metadata(&world, "renamed"), expected(&world, form, "renamed"), "{form}");
        daemon.stop();
    }
}

#[test]
fn an_adopted_tree_and_a_restored_one_send_nothing_in_any_form() {
    for form in FORMS {
        // Without checksums, the time in the metadata decides.
        let world = world(form, &[StoreMode::NoChecksums]);
        once(&world, &[]);
        wipe_state(&world);
        world.server.clear_requests();
        once(&world, &[]);
        assert_nothing_sent(&world);
        let before = fs::metadata(world.tree.path("large")).expect("there");
        fs::remove_dir_all(world.tree.root()).expect("removed");
        wipe_state(&world);
        let restored = world.run(&["restore"]);
        assert_eq!(restored.code, Some(0), "{form}: {}", restored.errors);
        let after = fs::metadata(world.tree.path("large")).expect("there");
        assert_eq!(after.mtime(), before.mtime(), "{form}");
        assert_eq!(after.mtime_nsec(), before.mtime_nsec(), "{form}");
        let mode = if form == "none" { 0o100_644 } else { before.mode() };
        assert_eq!(after.mode(), mode, "{form}");
        once(&world, &[]);
        assert_nothing_sent(&world);
        assert_eq!(world.run(&["verify"]).code, Some(0), "{form}");
    }
}

#[test]
fn an_upload_without_an_answer_is_recognised_in_any_form() {
    for form in FORMS {
        let world = world(form, &[StoreMode::NoChecksums]);
        world.server.fail(Rule::new(Action::LoseReply).on("PutObject").times(1));
        let lost = Rule::new(Action::LoseReply).on("CompleteMultipartUpload").times(1);
        world.server.fail(lost);
        let daemon = world.start().ready();
        world.wait_until_done();
        assert_eq!(world.server.count("PutObject"), 1, "{form}");
        assert_eq!(world.server.count("CreateMultipartUpload"), 1, "{form}");
        daemon.stop();
    }
}

#[test]
fn a_refresh_follows_time_and_permissions_in_any_form() {
    for form in FORMS {
        let mut world = world(form, &[]);
        world.set("refresh_metadata", "true");
        once(&world, &[]);
        chmod(&world, "small", 0o600);
        let file = File::options().write(true).open(world.tree.path("large")).expect("opened");
        file.set_modified(UNIX_EPOCH + Duration::from_secs(SECONDS + 9)).expect("set");
        assert_eq!(world.run(&["verify"]).code, Some(1), "{form}");
        world.server.clear_requests();
        once(&world, &[]);
        // Without a mode in the object, there is none to change.
        let copies = if form == "none" { 1 } else { 2 };
        assert_eq!(world.server.count("CopyObject"), copies, "{form}");
        for name in ["small", "large"] {
            assert_eq!(metadata(&world, name), expected(&world, form, name), "{form} {name}");
        }
        assert_eq!(world.run(&["verify"]).code, Some(0), "{form}");
    }
}

#[test]
fn a_refresh_follows_another_owner_and_costs_a_question_otherwise() {
    let mut world = world("s3-files", &[]);
    world.set("refresh_metadata", "true");
    let daemon = world.start().ready();
    world.wait_until_done();
    world.server.clear_requests();
    // The same permissions once more are another change time, and the same owner.
    chmod(&world, "small", 0o640);
    until("it is compared", || world.server.count("HeadObject") == 1);
    world.wait_until_done();
    assert_nothing_sent(&world);
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can give files away");
    }
    chown(world.tree.path("small"), Some(1000), Some(100)).expect("given away");
    until("the owner is there", || {
        let metadata = metadata(&world, "small");
        metadata["file-owner"] == "1000" && metadata["file-group"] == "100"
    });
    assert_eq!(world.server.count("CopyObject"), 1);
    daemon.stop();
}

#[test]
fn another_form_reaches_existing_objects_on_request() {
    let mut world = world("rclone", &[]);
    once(&world, &[]);
    world.set("posix_metadata", "both");
    world.server.clear_requests();
    once(&world, &[]);
    assert_eq!(world.server.journal().total(), 0);
    once(&world, &["--reapply-rules"]);
    assert_eq!(world.server.count("CopyObject"), 2);
    assert_eq!(world.server.count("PutObject"), 0);
    for name in ["small", "large"] {
        assert_eq!(metadata(&world, name), expected(&world, "both", name), "{name}");
    }
    world.server.clear_requests();
    once(&world, &["--reapply-rules"]);
    assert_nothing_sent(&world);
}
