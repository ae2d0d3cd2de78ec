//! Which object a file becomes, and which files become none.

use crate::harness::{Churn, PREFIX, World, seed, until};
use file_sync_dev_s3::BUCKET;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, UNIX_EPOCH};

/// What a name can hold, and a careless program cannot.
const ODD_NAMES: [&str; 40] = [
    " in front",
    "behind ",
    "100%",
    "a%41b",
    "%2F",
    "%",
    "a+b",
    "#1",
    "what?",
    "a&b=c;d",
    "'single'",
    "\"double\"",
    "back\\slash",
    "*",
    "[x]{y}",
    "<angle>",
    "$HOME",
    "`id`",
    "pipe|",
    "a:b,c@d",
    "tilde~x",
    "dots...",
    "äöüß",
    "nfc-\u{e9}",
    "nfd-e\u{301}",
    "汉字",
    "emoji 😀",
    "zero\u{200b}width",
    "rtl-\u{202e}gpj",
    "line\nbreak",
    "carriage\rreturn",
    "tab\there",
    "bell\u{7}",
    "del\u{7f}",
    "line\u{2028}separator",
    "-rf",
    "--help",
    "tmp",
    "UPPER",
    "upper",
];

#[test]
fn every_name_arrives_byte_for_byte_whether_it_was_there_or_came_later() {
    let world = World::new();
    let write = |folder: &str| {
        for name in ODD_NAMES {
            world.tree.write(format!("{folder}/{name}"), format!("content of {name}"));
            world.tree.write(format!("{folder}/in {name}/{name}"), name);
        }
        world.tree.write(format!("{folder}/{}", "x".repeat(255)), "the longest name");
        world.tree.write(format!("{folder}/{}x", "ä".repeat(127)), "the longest name, too");
        world.tree.write(format!("{folder}/{}/deep", vec!["level"; 60].join("/")), "far below");
        world.tree.write(format!("{folder}/empty"), "");
    };
    write("before");
    let daemon = world.start().ready();
    write("after");
    world.wait_until_done();
    assert_eq!(world.server.objects(BUCKET).len(), 2 * (2 * ODD_NAMES.len() + 4));
    daemon.stop();
}

#[test]
fn an_object_tells_content_type_modification_time_and_mode() {
    let world = World::new();
    let daemon = world.start().ready();
    for (name, content_type) in [
        ("index.html", "text/html"),
        ("style.css", "text/css"),
        ("data.json", "application/json"),
        ("IMAGE.PNG", "image/png"),
        ("archive.tar.gz", "application/gzip"),
        ("noextension", "application/octet-stream"),
    ] {
        let aside = world.sibling_path(name);
        fs::write(&aside, name).expect("written");
        let time = UNIX_EPOCH + Duration::new(1_354_040_105, 123_456_789);
        File::options().write(true).open(&aside).expect("opened").set_modified(time).expect("set");
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o640)).expect("set");
        fs::rename(&aside, world.tree.path(name)).expect("renamed");
        world.wait_for_object(name, name);
        let object =
            world.server.store().object(BUCKET, &format!("{PREFIX}{name}")).expect("there");
        assert_eq!(object.headers.content_type.as_deref(), Some(content_type), "{name}");
        let metadata = |name: &str| object.headers.metadata.get(name).map(String::as_str);
        assert_eq!(metadata("mtime"), Some("1354040105.123456789"), "{name}");
        assert_eq!(metadata("mode"), Some("100640"), "{name}");
    }
    daemon.stop();
}

#[test]
fn a_change_replaces_the_object_and_a_deletion_deletes_it() {
    let world = World::new();
    world.tree.fill("folder", 20);
    let daemon = world.start().ready();
    world.wait_until_done();
    world.tree.write("folder/0000", "changed");
    world.tree.write("folder/0001", "");
    world.tree.remove("folder/0002");
    world.wait_until_equal();
    assert_eq!(world.deleted(), ["m/folder/0002"]);
    daemon.stop();
}

#[test]
fn a_renamed_folder_takes_its_objects_along_and_none_is_missing_meanwhile() {
    let world = World::new();
    world.tree.fill("old", 30);
    world.tree.fill("old/sub/sub", 30);
    let daemon = world.start().ready();
    world.wait_until_done();
    world.tree.rename("old", "new name");
    world.wait_until_done();
    world.assert_a_copy_was_there_all_the_time();
    assert_eq!(world.deleted().len(), 60);
    daemon.stop();
}

#[test]
fn files_moved_into_a_new_folder_are_there_before_their_old_objects_go() {
    let world = World::new().setting("open_file_quiet_seconds", "3");
    world.tree.fill("folder", 20);
    let daemon = world.start().ready();
    world.wait_until_done();
    // As `mkdir new && mv folder/* new/` does.
    fs::create_dir(world.tree.path("new")).expect("made");
    for number in 0..20 {
        world.tree.rename(&format!("folder/{number:04}"), &format!("new/{number:04}"));
    }
    world.wait_until_done();
    world.assert_a_copy_was_there_all_the_time();
    daemon.stop();
}

#[test]
fn a_write_through_one_name_of_a_file_reaches_its_other_names() {
    let world = World::new();
    let link = |from: &str, to: &str| {
        fs::hard_link(world.tree.path(from), world.tree.path(to)).expect("linked");
    };
    world.tree.write("a", "before");
    world.tree.write("deep/other", "other");
    link("a", "deep/found");
    let daemon = world.start().ready();
    until("both names are there", || world.difference().is_ok());
    // One that the first comparison found, and one that came later.
    link("a", "later");
    until("the third name is there", || world.difference().is_ok());
    // Not replaced: all names lead to these bytes.
    fs::write(world.tree.path("a"), "and after").expect("written");
    for name in ["a", "deep/found", "later"] {
        until(&format!("{name} is new"), || {
            world.object(name).as_deref() == Some(&b"and after"[..])
        });
    }
    // A name that became another file has nothing to do with it any more.
    world.tree.remove("later");
    world.tree.write("later", "another file");
    fs::write(world.tree.path("deep/found"), "again").expect("written");
    until("all are as they should be", || world.difference().is_ok());
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[test]
fn a_removed_folder_takes_its_objects_with_it_and_no_others() {
    let world = World::new();
    for folder in ["a", "a/b", "a b", "a.txt"] {
        world.tree.fill(folder, 10);
    }
    let daemon = world.start().ready();
    world.wait_until_done();
    world.tree.remove_folder("a");
    world.wait_until_done();
    assert_eq!(world.deleted().len(), 20);
    assert!(world.deleted().iter().all(|key| key.starts_with("m/a/")), "{:?}", world.deleted());
    daemon.stop();
}

#[test]
fn a_file_can_become_a_folder_and_a_folder_a_file() {
    let world = World::new();
    world.tree.write("file", "a file");
    world.tree.fill("folder/sub", 5);
    let daemon = world.start().ready();
    world.wait_until_done();
    world.tree.remove("file");
    world.tree.fill("file/sub", 5);
    world.tree.remove_folder("folder");
    world.tree.write("folder", "a folder once");
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn hidden_and_temporary_files_never_arrive_until_they_get_a_proper_name() {
    let world = World::new();
    let ignored = [
        ".hidden",
        "folder/.env",
        ".git/config",
        "folder/.cache/deep/file",
        "a.tmp",
        "folder/b.swp",
        "c~",
        "d.tmp.123",
        "folder.tmp/inside",
        "lost+found/1",
        "folder/lost+found",
    ];
    let write = || ignored.iter().for_each(|name| world.tree.write(name, "nothing for S3"));
    write();
    let daemon = world.start().ready();
    write();
    world.tree.rename("a.tmp", "a.txt");
    world.tree.rename(".git", "git");
    world.pass_a_marker("marker");
    world.wait_until_done();
    let seen: BTreeSet<_> = world.history().into_iter().map(|change| change.key).collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["m/a.txt", "m/git/config", "m/marker"]);
    daemon.stop();
}

#[test]
fn a_link_or_a_fifo_is_never_read() {
    let world = World::new();
    fs::create_dir(world.sibling_path("outside")).expect("made");
    fs::write(world.sibling_path("outside/canary"), "not for S3").expect("written");
    let make = |number: u8| {
        symlink(world.sibling_path("outside"), world.tree.path(format!("folder{number}")))
            .expect("made");
        let canary = world.sibling_path("outside/canary");
        symlink(canary, world.tree.path(format!("file{number}"))).expect("made");
        let fifo = world.tree.path(format!("fifo{number}"));
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, fifo, kind, mode, 0).expect("made");
    };
    make(1);
    let daemon = world.start().ready();
    make(2);
    world.pass_a_marker("marker");
    world.wait_until_done();
    // The first try lists the bucket; the marker is all that was ever sent.
    assert_eq!((world.server.count("PutObject"), world.server.requests().len()), (1, 2));
    daemon.stop();
}

#[test]
fn a_file_that_a_link_takes_the_place_of_is_deleted_and_the_link_is_not_read() {
    let world = World::new();
    fs::write(world.sibling_path("canary"), "not for S3").expect("written");
    world.tree.write("file", "a file");
    world.tree.write("other", "another");
    let daemon = world.start().ready();
    world.wait_until_done();
    symlink(world.sibling_path("canary"), world.tree.path(".link")).expect("made");
    world.tree.rename(".link", "file");
    until("the object is gone", || world.object("file").is_none());
    assert_eq!(world.versions("file"), ["a file"]);
    daemon.stop();
}

#[test]
fn a_tree_turned_over_ends_equal_and_nothing_was_torn() {
    let world = World::new();
    let mut churn = Churn::new(seed(), &world.tree);
    churn.steps(300);
    let daemon = world.start();
    for round in 0..5 {
        churn.steps(300);
        world.pass_a_marker(&format!("marker{round}"));
    }
    world.wait_until_done();
    churn.assert_nothing_was_torn(&world);
    daemon.stop();
}
