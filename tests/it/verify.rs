//! `verify`: compares directory, record and bucket, and changes none of them.

use crate::harness::{World, entries};
use file_sync_dev_s3::BUCKET;
use std::fs;

fn mirrored() -> World {
    let world = World::new();
    world.tree.fill("folder", 20);
    // S3 has these in another order than a walk.
    world.tree.write("folder.txt", "beside");
    world.tree.write("folder-b/file", "beside");
    world.tree.write("large", vec![7; 17 << 20]);
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    world
}

#[test]
fn what_was_mirrored_is_equal() {
    let world = mirrored();
    world.server.clear_requests();
    let said = world.run(&["verify", "--json"]);
    assert_eq!((said.code, said.differences()), (Some(0), entries(&[])), "{}", said.errors);
    let totals = &said.json()["totals"];
    assert_eq!(
        (&totals["equal"], &totals["files"], &totals["objects"]),
        (&true.into(), &23.into(), &23.into())
    );
    assert_eq!(world.server.journal().total(), 1, "one listing");
    let said = world.run(&["verify", "--checksum"]);
    assert_eq!(said.code, Some(0), "{}", said.output);
    assert_eq!(said.output, "equal: 23 files, 23 objects\n");
}

#[test]
fn every_kind_of_difference_is_told() {
    let mut world = mirrored();
    world.tree.write("folder/0001", "changed");
    world.tree.write("folder/0002", "folder 2");
    world.tree.write("new", "new");
    world.tree.remove("folder/0003");
    world.server.store().remove(BUCKET, "m/folder/0004");
    world.server.store().put(BUCKET, "m/folder/0005", "folder x");
    world.put_foreign("foreign", "of another writer");
    world.put_foreign("folder//odd", "of another writer");
    let before = world.server.objects(BUCKET).len();
    let said = world.run(&["verify", "--json"]);
    assert_eq!(said.code, Some(1), "{}", said.errors);
    let expected = entries(&[
        ("differs", "folder/0001"),
        ("differs", "folder/0005"),
        ("extra", "folder/0003"),
        ("foreign", "foreign"),
        ("foreign", "m/folder//odd"),
        ("missing", "folder/0004"),
        ("missing", "new"),
        ("record", "folder/0002"),
    ]);
    assert_eq!(said.differences(), expected, "{}", said.output);
    let text = world.run(&["verify"]);
    assert_eq!((text.code, text.output.lines().count()), (Some(1), expected.len() + 1));
    assert!(
        text.output.contains("not equal (2 missing, 2 differs, 1 extra, 2 foreign, 1 record)"),
        "{}",
        text.output
    );
    assert_eq!(world.server.objects(BUCKET).len(), before);
}

#[test]
fn content_that_was_damaged_is_seen_by_reading_it_and_not_otherwise() {
    let world = mirrored();
    // The tags stay what they were: only the bytes could show it.
    world.server.store().damage(BUCKET, "m/folder/0007");
    world.server.store().damage(BUCKET, "m/large");
    let said = world.run(&["verify", "--json"]);
    assert_eq!((said.code, said.differences()), (Some(0), entries(&[])));
    let said = world.run(&["verify", "--checksum", "--json"]);
    let expected = entries(&[("differs", "folder/0007"), ("differs", "large")]);
    assert_eq!((said.code, said.differences()), (Some(1), expected), "{}", said.output);
}

#[test]
fn without_a_record_content_decides() {
    let mut world = mirrored();
    fs::remove_dir_all(world.state_dir()).expect("removed");
    world.put_foreign("folder/0001", "folder x");
    world.server.store().put(BUCKET, "m/left over", "x");
    let said = world.run(&["verify", "--json"]);
    assert_eq!(said.code, Some(1));
    assert_eq!(said.json()["totals"]["record"], 23);
    let said = world.run(&["verify", "--checksum", "--json"]);
    let differs = said.differences().into_iter().filter(|(word, _)| word == "differs");
    assert_eq!(differs.collect::<Vec<_>>(), [("differs".to_owned(), "folder/0001".to_owned())]);
    assert!(fs::symlink_metadata(world.state_dir()).is_err(), "it makes nothing");
}

#[test]
fn objects_that_are_meant_to_stay_are_no_difference() {
    let mut world = mirrored();
    world.set("delete_policy", "keep");
    world.set("ignore", "folder-b/");
    world.tree.remove("folder/0001");
    let said = world.run(&["verify", "--json"]);
    let expected = entries(&[("kept", "folder-b/file"), ("kept", "folder/0001")]);
    assert_eq!(
        (said.code, said.differences()),
        (Some(0), expected),
        "{} {}",
        said.output,
        said.errors
    );
}

#[test]
fn verify_runs_beside_a_daemon() {
    let world = mirrored();
    let daemon = world.start().ready();
    for number in 0..5 {
        world.pass_a_marker(&format!("marker {number}"));
        world.wait_until_done();
        let said = world.run(&["verify"]);
        assert_eq!(said.code, Some(0), "{} {}", said.output, said.errors);
    }
    daemon.stop();
}

#[test]
fn hostile_names_are_harmless_in_a_report() {
    let mut world = World::new();
    world.tree.write("stays", "so that the tree is not empty");
    let hostile = "bell\u{7}\u{1b}[31m\nline\u{202e}";
    world.put_foreign(hostile, "content");
    let text = world.run(&["verify"]).output;
    assert!(!text.chars().any(|char| char != '\n' && char.is_control()), "{text:?}");
    assert_eq!(text.lines().count(), 3, "{text}");
    let said = world.run(&["verify", "--json"]);
    assert!(
        said.differences()
            .contains(&("foreign".to_owned(), r"bell\u{7}\u{1b}[31m\nline\u{202e}".to_owned()))
    );
}

#[test]
fn verify_ends_with_69_when_s3_does_not_answer_and_70_when_the_record_cannot_be_read() {
    let mut world = mirrored();
    let record = world.state_dir().join("state.db");
    let newer = rusqlite::Connection::open(&record).expect("opened");
    newer.pragma_update(None, "user_version", 99).expect("written");
    drop(newer);
    assert_eq!(world.run(&["verify"]).code, Some(70));
    let older = rusqlite::Connection::open(&record).expect("opened");
    older.pragma_update(None, "user_version", 1).expect("written");
    drop(older);
    world.server.stop();
    assert_eq!(world.run(&["verify"]).code, Some(69));
}
