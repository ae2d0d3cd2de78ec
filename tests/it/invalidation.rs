//! Invalidations for every change: at least once, without paying twice or without bound.

use crate::harness::wait::eventually_within;
use crate::harness::{Daemon, World, patience, seed, sleep_for, until};
use file_sync_dev_s3::{Action, Asked, BUCKET, CloudFront, Gate, Rule};
use std::collections::BTreeSet;
use std::time::Duration;

const CREATE: &str = "CreateInvalidation";

/// A world whose files are in S3 already, and a daemon that watches them.
fn mirrored(files: usize, change: impl FnOnce(World) -> World) -> (World, CloudFront, Daemon) {
    let (world, cloudfront) = change(World::new()).behind_cloudfront();
    world.tree.fill("folder", files);
    let daemon = world.start().ready();
    world.wait_until_done();
    (world, cloudfront, daemon)
}

fn change_all(world: &World, files: usize) {
    for file in 0..files {
        world.tree.write(name(file), format!("changed {file}"));
    }
}

fn name(file: usize) -> String {
    format!("folder/{file:04}")
}

fn fail(status: u16, code: &'static str) -> Action {
    Action::Fail { status, code }
}

/// All paths that were made, sorted.
fn paths(cloudfront: &CloudFront) -> Vec<String> {
    let made = cloudfront.invalidations().into_iter();
    let mut paths: Vec<_> = made.flat_map(|made| made.paths).collect();
    paths.sort_unstable();
    paths
}

fn wait_for_paths(cloudfront: &CloudFront, expected: &[String]) {
    eventually_within(Duration::from_secs(60), "invalidations are requested", || {
        let reported = paths(cloudfront);
        if reported == expected { Ok(()) } else { Err(format!("{reported:?}")) }
    });
}

fn wait_until_invalidated(world: &World) {
    until("no invalidation is pending", || {
        let left = world.invalidations();
        left.waiting.is_empty() && left.made.is_empty() && left.running == 0
    });
}

fn creates(cloudfront: &CloudFront) -> Vec<Asked> {
    cloudfront.requests().into_iter().filter(|asked| asked.operation == CREATE).collect()
}

#[test]
fn ten_changes_in_one_directory_are_one_invalidation_of_their_paths() {
    let (world, cloudfront, daemon) = mirrored(10, |world| world);
    assert_eq!(cloudfront.requests().len(), 0, "new objects have no old copies");
    change_all(&world, 10);
    let expected: Vec<_> = (0..10).map(|file| format!("/{}", name(file))).collect();
    wait_for_paths(&cloudfront, &expected);
    assert_eq!(cloudfront.invalidations().len(), 1);
    daemon.wait_for("invalidation.created");
    daemon.wait_for("invalidation.completed");
    wait_until_invalidated(&world);
    assert_eq!(world.invalidations().spent, 10);

    // A deletion is a change as well, and a quiet daemon asks nothing.
    world.tree.remove(&name(3));
    until("it is invalidated", || cloudfront.invalidations().len() == 2);
    assert_eq!(cloudfront.invalidations()[1].paths, ["/folder/0003"]);
    wait_until_invalidated(&world);
    let asked = cloudfront.requests().len();
    world.pass_a_marker("new");
    // Twice the quiet time.
    sleep_for(patience(Duration::from_secs(2)));
    assert_eq!(cloudfront.requests().len(), asked);
    daemon.stop();
}

#[test]
fn more_changes_than_the_threshold_in_a_directory_are_one_wildcard() {
    let (world, cloudfront, daemon) =
        mirrored(30, |world| world.setting("cloudfront_wildcard_threshold", "20"));
    world.tree.write("other", "content");
    world.wait_for_object("other", "content");
    change_all(&world, 30);
    world.tree.write("other", "changed");
    wait_for_paths(&cloudfront, &["/folder/*".to_owned(), "/other".to_owned()]);
    daemon.stop();
}

#[test]
fn names_are_sent_as_cloudfront_wants_them_below_the_path_prefix() {
    let names = [
        ("with space", "/site/with%20space"),
        ("a+b", "/site/a+b"),
        ("100%", "/site/100%25"),
        ("größe/Ä", "/site/gr%C3%B6%C3%9Fe/%C3%84"),
        ("\u{1f600}.png", "/site/%F0%9F%98%80.png"),
        ("test[1]{2}.html", "/site/test%5B1%5D%7B2%7D.html"),
        ("what?#", "/site/what%3F%23"),
        ("a&b<c>", "/site/a&b%3Cc%3E"),
        ("sub/index.html", "/site/sub/index.html"),
    ];
    let (world, cloudfront) =
        World::new().setting("cloudfront_path_prefix", "/site/").behind_cloudfront();
    for (name, _) in names {
        world.tree.write(name, "content");
    }
    let daemon = world.start().ready();
    world.wait_until_done();
    for (name, _) in names {
        world.tree.write(name, "changed");
    }
    let mut expected: Vec<_> = names.iter().map(|(_, path)| (*path).to_owned()).collect();
    expected.extend(["/site/sub".to_owned(), "/site/sub/".to_owned()]);
    expected.sort_unstable();
    wait_for_paths(&cloudfront, &expected);
    daemon.stop();
}

#[test]
fn however_many_changes_there_are_they_cost_no_more_paths_than_configured() {
    const LIMIT: usize = 12;
    let files = crate::harness::wait::size("IT_CHANGES", 2_000);
    let (world, cloudfront) = World::new()
        .setting("cloudfront_invalidate_new", "true")
        .setting("cloudfront_batch_seconds", "3600")
        .setting("cloudfront_batch_path_limit", "4")
        .setting("cloudfront_monthly_path_limit", &LIMIT.to_string())
        .setting("log_level", "warn,file_sync_service::invalidate=info")
        .behind_cloudfront();
    for folder in 0..files / 20 {
        world.tree.fill(&format!("{}/{folder}", folder % 13), 20);
    }
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    let reported = paths(&cloudfront);
    println!("{files} changes: {reported:?} in {:?}", ended.took);
    assert!(!reported.is_empty() && cloudfront.paid() <= LIMIT);
    for folder in 0..files / 20 {
        let path = format!("/{}/{folder}/0000", folder % 13);
        let covers = |reported: &String| {
            reported.strip_suffix('*').is_some_and(|reported| path.starts_with(reported))
        };
        assert!(reported.iter().any(covers), "{path}");
    }
}

#[test]
fn killed_before_cloudfront_has_it_the_same_request_is_sent_after_the_restart() {
    let (world, cloudfront, daemon) = mirrored(5, |world| world);
    cloudfront.fail(Rule::new(Action::Hold(Gate::shut())).on(CREATE));
    change_all(&world, 5);
    until("it is asked", || creates(&cloudfront).len() == 1);
    daemon.kill();
    let made = world.invalidations().made;
    assert_eq!((made.len(), cloudfront.paid()), (1, 0));
    cloudfront.faults().clear();

    let daemon = world.start();
    let expected: Vec<_> = (0..5).map(|file| format!("/{}", name(file))).collect();
    wait_for_paths(&cloudfront, &expected);
    assert_eq!(cloudfront.invalidations()[0].reference, made[0]);
    wait_until_invalidated(&world);
    assert_eq!(world.invalidations().spent, 5);
    daemon.stop();
}

#[test]
fn killed_before_the_answer_is_on_disk_nothing_is_paid_twice() {
    let (world, cloudfront, daemon) = mirrored(5, |world| world);
    cloudfront.fail(Rule::new(Action::LoseReply).on(CREATE));
    change_all(&world, 5);
    until("CloudFront has it", || cloudfront.paid() == 5);
    daemon.kill();
    let made = world.invalidations().made;
    assert_eq!(made, [cloudfront.invalidations()[0].reference.clone()]);
    let before = creates(&cloudfront).len();
    cloudfront.faults().clear();

    let daemon = world.start();
    wait_until_invalidated(&world);
    assert!(creates(&cloudfront).len() > before, "it is asked once more");
    assert_eq!((cloudfront.paid(), cloudfront.invalidations().len()), (5, 1));
    daemon.stop();
}

#[test]
fn killed_at_any_moment_every_change_is_invalidated_and_no_request_is_made_twice() {
    const ROUNDS: usize = 8;
    let mut dice = fastrand::Rng::with_seed(seed());
    // A quiet time that the longest life is longer than.
    let quiet = |world: World| world.setting("cloudfront_batch_seconds", "1");
    let (world, cloudfront, daemon) = mirrored(ROUNDS, quiet);
    daemon.kill();
    cloudfront.fail(Rule::new(Action::LoseReply).on(CREATE).probability(0.3));
    cloudfront.fail(Rule::new(fail(400, "Throttling")).on(CREATE).probability(0.2));
    for round in 0..ROUNDS {
        let daemon = world.start().ready();
        world.tree.write(name(round), format!("changed {round}"));
        world.wait_for_object(&name(round), format!("changed {round}"));
        let life = Duration::from_millis(dice.u64(0..1_800));
        println!("kill {round} after {life:?}");
        sleep_for(life);
        daemon.kill();
    }
    cloudfront.faults().clear();
    let daemon = world.start().ready();
    world.wait_until_done();
    wait_until_invalidated(&world);
    daemon.stop();
    let reported: BTreeSet<_> = paths(&cloudfront).into_iter().collect();
    let expected: BTreeSet<_> = (0..ROUNDS).map(|file| format!("/{}", name(file))).collect();
    assert_eq!(reported, expected);
    let made = cloudfront.invalidations();
    let references: BTreeSet<_> = made.iter().map(|made| &made.reference).collect();
    assert_eq!(references.len(), made.len());
    // One more than once: its upload was confirmed, and sent again because that was not on disk.
    assert!(cloudfront.paid() <= 2 * ROUNDS, "{} paths", cloudfront.paid());
    assert_eq!(world.invalidations().spent as usize, cloudfront.paid());
}

#[test]
fn throttling_and_quotas_are_waited_out() {
    let (world, cloudfront, daemon) = mirrored(3, |world| world);
    for (status, code) in [
        (400, "Throttling"),
        (400, "TooManyInvalidationsInProgress"),
        (503, "ServiceUnavailable"),
        (400, "Throttling"),
    ] {
        cloudfront.fail(Rule::new(fail(status, code)).on(CREATE).times(1));
    }
    cloudfront.fail(Rule::new(Action::Reset).on(CREATE).times(1));
    change_all(&world, 3);
    let expected: Vec<_> = (0..3).map(|file| format!("/{}", name(file))).collect();
    wait_for_paths(&cloudfront, &expected);
    assert_eq!(creates(&cloudfront).len(), 6);
    wait_until_invalidated(&world);
    assert_eq!(world.invalidations().spent, 3);
    let asked = cloudfront.requests();
    for pair in asked.windows(2) {
        // A second as it sends them, and the store sees some of them late.
        let between = pair[1].at - pair[0].at + patience(Duration::from_millis(100));
        assert!(between > Duration::from_secs(1), "{between:?} between two requests");
    }
    daemon.stop();
}

#[test]
fn a_request_that_is_never_taken_becomes_the_one_that_always_is() {
    let (world, cloudfront, daemon) = mirrored(3, |world| world);
    cloudfront.fail(Rule::new(fail(400, "InvalidArgument")).on(CREATE).times(1));
    change_all(&world, 3);
    wait_for_paths(&cloudfront, &["/*".to_owned()]);
    daemon.wait_for("invalidation.failed");
    daemon.stop();
}

#[test]
fn a_denial_is_reported_and_leaves_uploads_as_they_are() {
    let (world, cloudfront, daemon) = mirrored(20, |world| world);
    cloudfront.fail(Rule::new(fail(403, "AccessDenied")).on(CREATE));
    change_all(&world, 10);
    let line = daemon.wait_for("invalidation.failed");
    assert_eq!((line.text("severity"), line.text("error.type")), ("ERROR", "AccessDenied"));
    for file in 10..20 {
        world.tree.write(name(file), "changed");
    }
    world.wait_until_done();
    until("it was tried again", || creates(&cloudfront).len() >= 3);
    // Nothing else waits for it either.
    let ended = daemon.stop();
    assert_eq!(ended.events("upload.failed").len(), 0);
    let reported = ended.events("invalidation.failed").into_iter();
    let errors = reported.filter(|line| line.text("severity") == "ERROR").count();
    assert_eq!(errors, 1, "the same trouble is logged once");
    let left = ended.events("shutdown.left_over");
    assert_eq!(left[0].number("invalidations"), Some(20));

    cloudfront.faults().clear();
    let daemon = world.start();
    let expected: Vec<_> = (0..20).map(|file| format!("/{}", name(file))).collect();
    wait_for_paths(&cloudfront, &expected);
    daemon.stop();
}

#[test]
fn another_distribution_gets_what_the_wrong_one_never_accepted() {
    let (mut world, cloudfront) = World::new().behind_cloudfront();
    world.set("cloudfront_distribution_id", "EWRONG");
    world.tree.write("file", "content");
    let daemon = world.start().ready();
    world.wait_until_done();
    world.tree.write("file", "changed");
    let line = daemon.wait_for("invalidation.failed");
    assert_eq!(line.text("error.type"), "NoSuchDistribution");
    daemon.stop();
    world.set("cloudfront_distribution_id", file_sync_dev_s3::DISTRIBUTION);
    let daemon = world.start();
    wait_for_paths(&cloudfront, &["/file".to_owned()]);
    daemon.stop();
}

#[test]
fn sigterm_ends_the_quiet_time_and_the_next_start_sends_what_is_left() {
    let (mut world, cloudfront, daemon) = mirrored(4, |world| world);
    daemon.stop();
    world.set("cloudfront_batch_seconds", "3600");
    let daemon = world.start().ready();
    world.tree.write(name(0), "changed");
    daemon.wait_for_file("upload.completed", &name(0));
    assert_eq!(cloudfront.requests().len(), 0);
    daemon.stop();
    wait_for_paths(&cloudfront, &["/folder/0000".to_owned()]);

    world.set("shutdown_timeout_seconds", "2");
    let daemon = world.start().ready();
    cloudfront.fail(Rule::new(Action::Hold(Gate::shut())).on(CREATE));
    world.tree.write(name(1), "changed");
    daemon.wait_for_file("upload.completed", &name(1));
    let ended = daemon.stop();
    assert_eq!(ended.events("shutdown.left_over").len(), 1);
    cloudfront.faults().clear();
    world.set("cloudfront_batch_seconds", "1");
    let daemon = world.start();
    wait_for_paths(&cloudfront, &["/folder/0000".to_owned(), "/folder/0001".to_owned()]);
    daemon.stop();
}

#[test]
fn once_ends_when_cloudfront_has_taken_all_and_says_what_it_has_not() {
    let (world, cloudfront) =
        World::new().setting("cloudfront_batch_seconds", "3600").behind_cloudfront();
    world.tree.fill("folder", 3);
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(cloudfront.requests().len(), 0);
    world.tree.write(name(0), "changed");
    assert_eq!(world.once().code(), Some(0));
    wait_for_paths(&cloudfront, &["/folder/0000".to_owned()]);

    cloudfront.fail(Rule::new(fail(403, "AccessDenied")).on(CREATE));
    world.tree.write(name(1), "changed");
    let ended = world.once();
    assert_eq!(ended.code(), Some(75), "{}", ended.errors);
    assert_eq!(ended.events("shutdown.left_over")[0].number("invalidations"), Some(1));
    assert_eq!(world.difference(), Ok(()));
    cloudfront.faults().clear();
    assert_eq!(world.once().code(), Some(0));
    wait_for_paths(&cloudfront, &["/folder/0000".to_owned(), "/folder/0001".to_owned()]);
}

#[test]
fn a_spent_budget_stops_invalidations_and_nothing_else() {
    let (world, cloudfront, daemon) =
        mirrored(6, |world| world.setting("cloudfront_monthly_path_limit", "4"));
    change_all(&world, 4);
    until("the budget is spent", || cloudfront.paid() == 4);
    world.tree.write(name(4), "changed");
    let line = daemon.wait_for("invalidation.budget_exhausted");
    assert_eq!((line.number("limit"), line.number("spent")), (Some(4), Some(4)));
    world.tree.write(name(5), "changed");
    world.wait_until_done();
    until("both wait", || world.invalidations().waiting.len() == 2);
    daemon.stop();
    assert_eq!(cloudfront.paid(), 4);

    // A restart does not forget what was spent; a higher limit lets it go on.
    let daemon = world.start();
    daemon.wait_for("invalidation.budget_exhausted");
    daemon.stop();
    assert_eq!(cloudfront.paid(), 4);
    let world = world.setting("cloudfront_monthly_path_limit", "100");
    let daemon = world.start();
    until("the rest is invalidated", || cloudfront.paid() == 6);
    daemon.stop();
}

#[test]
fn new_objects_are_invalidated_where_that_is_configured() {
    let (world, cloudfront) =
        World::new().setting("cloudfront_invalidate_new", "true").behind_cloudfront();
    world.tree.write("file", "content");
    let daemon = world.start();
    wait_for_paths(&cloudfront, &["/file".to_owned()]);
    daemon.stop();
}

#[test]
fn an_object_older_than_the_state_is_invalidated_when_it_is_replaced() {
    let (mut world, cloudfront) = World::new().behind_cloudfront();
    world.put_foreign("file", "old");
    world.put_foreign("same", "same");
    world.tree.write("file", "new");
    world.tree.write("same", "same");
    let daemon = world.start().ready();
    world.wait_until_done();
    wait_for_paths(&cloudfront, &["/file".to_owned()]);
    daemon.stop();
}

#[test]
fn one_tag_throws_a_directory_away_once_every_copy_in_it_carries_one() {
    let (mut world, cloudfront, daemon) =
        mirrored(30, |world| world.setting("cloudfront_wildcard_threshold", "20"));
    daemon.stop();
    world.set("cloudfront_cache_tag", "cache-tag");
    let daemon = world.start().ready();
    // Objects from before carry none, and neither do their copies.
    change_all(&world, 30);
    wait_for_paths(&cloudfront, &["/folder/*".to_owned()]);
    world.wait_until_done();
    wait_until_invalidated(&world);
    for file in 0..30 {
        let object = world.server.store().object(BUCKET, &format!("m/{}", name(file)));
        let carried = object.expect("an object").headers.metadata.get("cache-tag").cloned();
        assert_eq!(carried.as_deref(), Some("/m/,/m/folder/"));
    }
    for file in 0..30 {
        world.tree.write(name(file), format!("changed once more {file}"));
    }
    let expected = ["#/m/folder/", "/folder/*"].map(str::to_owned);
    wait_for_paths(&cloudfront, &expected);
    wait_until_invalidated(&world);
    // A file alone is a path, and so is one that is deleted.
    world.tree.remove(&name(3));
    let expected = ["#/m/folder/", "/folder/*", "/folder/0003"].map(str::to_owned);
    wait_for_paths(&cloudfront, &expected);
    wait_until_invalidated(&world);
    assert_eq!(world.invalidations().spent, 3);
    daemon.stop();
}

#[test]
fn objects_that_are_there_get_their_tags_on_request_and_their_copies_go() {
    let (mut world, cloudfront, daemon) =
        mirrored(6, |world| world.setting("cloudfront_wildcard_threshold", "3"));
    daemon.stop();
    world.set("cloudfront_cache_tag", "cache-tag");
    let reapply = Daemon::spawn(world.command(&["once", "--reapply-rules"])).wait();
    assert_eq!(reapply.code(), Some(0), "{}", reapply.errors);
    wait_for_paths(&cloudfront, &["/folder/*".to_owned()]);
    change_all(&world, 6);
    assert_eq!(world.once().code(), Some(0));
    wait_for_paths(&cloudfront, &["#/m/folder/", "/folder/*"].map(str::to_owned));
}
