//! Files that cannot be mirrored: named with a reason, and without an effect on others.

use crate::harness::world::key;
use crate::harness::{World, until};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn an_unreadable_file_is_named_holds_nothing_up_and_arrives_when_it_can_be_read() {
    let world = World::new().without_rights();
    let secret = world.tree.path("secret");
    fs::write(&secret, "for root only").expect("written");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).expect("set");
    let daemon = world.start().ready();
    let line = daemon.wait_for_file("file.unreadable", "secret");
    assert_eq!(line.text("error.type"), "permission-denied");
    world.pass_a_marker("marker");
    let waiting = world.waiting();
    let parked: Vec<_> = waiting.iter().filter_map(|row| row.parked.as_deref()).collect();
    assert_eq!(parked, ["permission-denied"]);
    assert_eq!(world.object("secret"), None);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).expect("set");
    world.wait_until_done();
    assert_eq!(world.waiting(), []);
    daemon.stop();
}

#[test]
fn nothing_below_an_unreadable_folder_is_deleted_and_all_goes_on_when_it_can_be_read() {
    let world = World::new().without_rights();
    world.tree.fill("locked/sub", 10);
    world.tree.fill("open", 10);
    let daemon = world.start().ready();
    world.wait_until_done();
    daemon.stop();
    let locked = world.tree.path("locked");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).expect("set");
    let daemon = world.start().ready();
    daemon.wait_for_file("source.unreadable", "locked");
    world.tree.remove("open/0000");
    until("the deletion elsewhere is done", || world.object("open/0000").is_none());
    assert_eq!(world.deleted(), ["m/open/0000"]);
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).expect("set");
    world.tree.write("locked/sub/0000", "changed");
    world.wait_until_done();
    assert_eq!(world.deleted(), ["m/open/0000"]);
    daemon.stop();
}

#[test]
fn a_name_without_a_key_is_named_once_and_holds_nothing_up() {
    let world = World::new();
    let folders = ["x".repeat(250), "y".repeat(250), "z".repeat(250), "w".repeat(250)].join("/");
    let longest = format!("{folders}/{}", "e".repeat(1024 - key(&folders).len() - 1));
    let too_long = format!("{longest}e");
    assert_eq!(key(&longest).len(), 1024);
    world.tree.write(&longest, "just fits");
    world.tree.write(&too_long, "does not");
    world.tree.write(OsStr::from_bytes(b"folder/not utf-8 \xff"), "no key");
    world.tree.write("folder/proper", "content");
    let daemon = world.start().ready();
    let reason = |path: &str| daemon.wait_for_file("file.parked", path).text("reason").to_owned();
    assert!(reason(&too_long).contains("1025 bytes"), "{}", reason(&too_long));
    assert!(reason("folder/not utf-8 \\xff").contains("UTF-8"));
    world.wait_for_object("folder/proper", "content");
    world.wait_for_object(&longest, "just fits");
    world.pass_a_marker("marker");
    assert_eq!(world.waiting().iter().filter(|row| row.parked.is_some()).count(), 2);
    let ended = daemon.stop();
    assert_eq!(ended.events("file.parked").len(), 2, "once each");
}
