//! `plan`: says what `once` would do, and does nothing.

use crate::harness::{Entries, World, entries};
use file_sync_dev_s3::BUCKET;
use std::fs;

/// What `once` asked of S3 that changes something, in the words of the plan.
fn done(world: &World) -> Entries {
    let word = |operation: &str| match operation {
        "PutObject" | "CompleteMultipartUpload" => Some("upload"),
        "CopyObject" => Some("copy"),
        "DeleteObject" | "DeleteObjects" => Some("delete"),
        _ => None,
    };
    // A request about many objects names none of them.
    let keys = |request: &file_sync_dev_s3::Request| match request.call.operation {
        "DeleteObjects" => world.deleted(),
        _ => vec![request.call.key.clone()],
    };
    let requests = world.server.requests();
    let done = requests.iter().filter_map(|request| Some((word(request.call.operation)?, request)));
    done.flat_map(|(word, request)| {
        keys(request)
            .into_iter()
            .map(move |key| (word.to_owned(), key.strip_prefix("m/").unwrap_or(&key).to_owned()))
    })
    .collect()
}

/// A world that was mirrored, whose files are old enough to be trusted.
fn mirrored() -> World {
    let world = World::new();
    world.tree.fill("folder", 20);
    world.tree.write("touched", "the same");
    world.tree.write("large", vec![7; 17 << 20]);
    world.tree.write("large too", vec![8; 17 << 20]);
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    world
}

#[test]
fn plan_tells_of_everything_that_once_then_does() {
    let world = mirrored();
    world.tree.remove("folder/0000");
    world.tree.write("folder/0001", "changed");
    world.tree.rename("folder/0002", "folder/renamed");
    world.tree.write("new", "new");
    world.tree.write("touched", "the same");
    world.tree.write("large", vec![9; 17 << 20]);
    world.tree.rename("large too", "large as before");
    world.server.clear_requests();
    let record = fs::read(world.state_dir().join("state.db")).expect("read");
    let planned = world.run(&["plan", "--json"]);
    assert_eq!(planned.code, Some(0), "{}", planned.errors);
    assert_eq!(world.server.journal().total(), 0, "it believes the record, as once does");
    assert_eq!(fs::read(world.state_dir().join("state.db")).expect("read"), record);
    let expected = entries(&[
        ("copy", "folder/renamed"),
        ("copy", "large as before"),
        ("delete", "folder/0000"),
        ("delete", "folder/0002"),
        ("delete", "large too"),
        ("upload", "folder/0001"),
        ("upload", "large"),
        ("upload", "new"),
    ]);
    assert_eq!(planned.steps(), expected);
    assert_eq!(planned.json()["totals"]["copy"]["files"], 2);
    assert!(planned.json()["totals"]["recorded"].as_u64() >= Some(1), "{}", planned.output);
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(world.difference(), Ok(()));
    assert_eq!(done(&world), expected);
    let nothing = world.run(&["plan"]);
    assert_eq!((nothing.code, nothing.output.lines().count()), (Some(0), 1), "{}", nothing.output);
    assert!(nothing.output.starts_with("nothing to do;"), "{}", nothing.output);
}

#[test]
fn plan_without_a_record_finds_what_is_in_the_bucket_already() {
    let world = mirrored();
    fs::remove_dir_all(world.state_dir()).expect("removed");
    world.tree.write("new", "new");
    world.server.clear_requests();
    let planned = world.run(&["plan", "--json"]);
    assert_eq!(planned.steps(), entries(&[("upload", "new")]), "{}", planned.errors);
    assert_eq!(planned.json()["totals"]["recorded"], 23);
    let asked = world.server.requests();
    assert!(
        asked.iter().all(|asked| ["ListObjectsV2", "HeadObject"].contains(&asked.call.operation))
    );
    assert!(fs::symlink_metadata(world.state_dir()).is_err(), "it makes nothing");
}

#[test]
fn plan_says_which_deletes_would_be_held() {
    let mut world = World::new();
    world.set("delete_limit_count", "10");
    world.tree.fill("folder", 30);
    world.tree.fill("other", 10);
    assert_eq!(world.once().code(), Some(0));
    world.tree.rename("other", "moved");
    world.tree.remove_folder("folder");
    let planned = world.run(&["plan", "--json"]);
    assert_eq!(planned.code, Some(0));
    let held = planned.steps().into_iter().filter(|(word, _)| word == "held").count();
    assert_eq!((held, planned.json()["totals"]["held"]["files"].as_u64()), (40, Some(40)));
    assert_eq!(planned.json()["totals"]["copy"]["files"], 10);
    let text = world.run(&["plan"]).output;
    assert!(text.contains("held deletes are more than delete_limit_percent"), "{text}");
    assert_eq!(world.once().code(), Some(75));
    assert_eq!(world.deleted(), [""; 0]);
    // Files that were only moved are not lost, and do not count.
    world.set("delete_limit_percent", "100");
    let planned = world.run(&["plan", "--json"]);
    assert_eq!(planned.json()["totals"]["delete"]["files"], 40);
}

#[test]
fn plan_runs_beside_a_daemon_and_does_not_disturb_it() {
    let world = mirrored();
    let daemon = world.start().ready();
    for _ in 0..5 {
        let planned = world.run(&["plan"]);
        assert_eq!(planned.code, Some(0), "{}", planned.errors);
        world.pass_a_marker("marker");
    }
    assert!(
        !daemon.has(|line| line.event().starts_with("state.") && line.text("severity") == "error")
    );
    daemon.stop();
}

#[test]
fn hostile_names_are_harmless_in_a_plan_and_unspeakable_ones_are_left() {
    use std::os::unix::ffi::OsStrExt as _;
    let world = World::new();
    world.tree.write("bell\u{7}\u{1b}[31m\nline\u{202e}", "hostile");
    world.tree.write(std::ffi::OsStr::from_bytes(b"not utf-8 \xff"), "content");
    let text = world.run(&["plan"]).output;
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(!text.chars().any(|char| char != '\n' && char.is_control()), "{text:?}");
    let planned = world.run(&["plan", "--json"]);
    let expected =
        entries(&[("left", r"not utf-8 \xff"), ("upload", r"bell\u{7}\u{1b}[31m\nline\u{202e}")]);
    assert_eq!(planned.steps(), expected);
}

#[test]
fn plan_ends_with_69_where_s3_has_to_be_asked_and_does_not_answer() {
    let mut world = World::new();
    world.tree.write("new", "new");
    world.server.stop();
    let planned = world.run(&["plan"]);
    assert_eq!(planned.code, Some(69), "{}", planned.output);
    world.server.resume().expect("the address is ours");
    assert_eq!(world.server.objects(BUCKET).len(), 0);
}
