//! `once`: for jobs and CI, which read nothing but the exit code.

use crate::harness::World;
use file_sync_dev_s3::{Action, Rule};

#[test]
fn once_ends_with_0_when_all_is_in_s3_and_asks_nothing_the_second_time() {
    let world = World::new();
    world.tree.fill("folder", 50);
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    assert_eq!(world.difference(), Ok(()));
    world.server.clear_requests();
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(world.server.journal().total(), 0);
}

#[test]
fn a_dry_run_changes_nothing() {
    let world = World::new();
    world.tree.fill("folder", 3);
    let planned = world.run(&["once", "--dry-run"]);
    assert_eq!(planned.code, Some(0), "{}", planned.errors);
    assert!(planned.output.contains("3 to upload"), "{}", planned.output);
    assert_eq!(world.server.count("PutObject"), 0);
}

#[test]
fn once_finds_changes_and_deletions_since_the_last_run() {
    let world = World::new();
    world.tree.fill("folder", 50);
    assert_eq!(world.once().code(), Some(0));
    world.tree.remove("folder/0000");
    world.tree.write("folder/0001", "changed");
    world.tree.rename("folder/0002", "folder/renamed");
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(world.difference(), Ok(()));
}

#[test]
fn once_ends_with_75_when_one_file_is_refused() {
    let world = World::new().setting("retry_interval_seconds", "1");
    world.tree.fill("folder", 20);
    world.server.fail(Rule::new(Action::access_denied()).key("m/folder/0007"));
    let ended = world.once();
    assert_eq!(ended.code(), Some(75), "{:?}", ended.took);
    assert_eq!(ended.events("upload.completed").len(), 19);
    world.server.faults().clear();
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(world.difference(), Ok(()));
}

#[test]
fn once_ends_with_75_and_one_cause_when_every_file_is_refused() {
    let world = World::new().setting("retry_interval_seconds", "1");
    world.tree.fill("folder", 100);
    world.server.fail(Rule::new(Action::access_denied()));
    let ended = world.once();
    assert_eq!(ended.code(), Some(75));
    let sentence = "S3 refuses requests: AccessDenied";
    for event in ["s3.unavailable", "shutdown.left_over"] {
        assert_eq!(ended.events(event)[0].text("cause"), sentence, "{event}");
    }
    let failed = ended.events("upload.failed");
    let failed = failed.iter().filter(|line| line.text("severity") == "WARN").count();
    assert!(failed <= 13, "{failed} lines about single files");
}

#[test]
fn a_summary_takes_the_place_of_a_line_for_each_file() {
    for (mode, summed) in [("summary", 300), ("failures", 0)] {
        let world = World::new().setting("log_transfers", mode);
        world.tree.fill("folder", 300);
        let ended = world.once();
        assert_eq!((ended.code(), ended.events("upload.completed").len()), (Some(0), 0));
        let summaries = ended.events("transfers.summary");
        let uploads: u64 = summaries.iter().filter_map(|line| line.number("uploads")).sum();
        assert_eq!(uploads, summed, "{mode}");
        assert_eq!(world.difference(), Ok(()));
    }
}

#[test]
fn once_ends_with_0_and_a_number_when_a_file_has_no_key_and_with_75_if_that_is_strict() {
    use std::os::unix::ffi::OsStrExt as _;
    let world = World::new();
    world.tree.write("proper", "content");
    world.tree.write(std::ffi::OsStr::from_bytes(b"not utf-8 \xff"), "content");
    let ended = world.once();
    assert_eq!(ended.code(), Some(0));
    let told = ended.events("shutdown.skipped");
    assert_eq!(told.first().and_then(|line| line.number("skipped")), Some(1));
    assert_eq!(world.run(&["once", "--strict"]).code, Some(75));
    assert_eq!(world.difference(), Ok(()));
}

#[test]
fn once_ends_with_69_when_s3_cannot_be_reached_however_much_there_is() {
    let mut world = World::new().setting("retry_interval_seconds", "1");
    world.tree.fill("folder", 100);
    world.server.stop();
    assert_eq!(world.once().code(), Some(69));
    world.server.resume().expect("the address is ours");
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(world.difference(), Ok(()));
}

#[test]
fn once_ends_with_0_for_a_directory_without_files() {
    let world = World::new();
    assert_eq!(world.once().code(), Some(0));
}
