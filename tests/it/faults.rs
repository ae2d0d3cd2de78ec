//! Requests that fail at random, and objects of others.

use crate::harness::{Churn, World, seed};
use file_sync_dev_s3::{Action, Options, Rule};

#[test]
fn requests_that_fail_at_random_only_delay() {
    let seed = seed();
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut world = World::with(&Options { seed: dice.u64(..), ..Options::default() });
    world.set("retry_interval_seconds", "1");
    world.set("multipart_threshold_mib", "5");
    world.set("multipart_part_size_mib", "5");
    for action in [
        Action::internal_error(),
        Action::slow_down(),
        Action::access_denied(),
        Action::expired_token(),
        Action::conflict(),
        Action::LoseReply,
        Action::Reset,
        Action::TruncateReply(10),
    ] {
        world.server.fail(Rule::new(action).probability(0.04));
    }
    world.put_foreign("folder/foreign", "not ours");
    let mut churn = Churn::new(dice.u64(..), &world.tree).with_large_files(6 << 20);
    churn.steps(50);
    let daemon = world.start();
    for round in 0..12 {
        churn.steps(30);
        // Waits for the daemon, so that failures and changes mix.
        world.pass_a_marker(&format!("marker{round}"));
    }
    let failed =
        world.server.requests().iter().filter(|request| !request.faults.is_empty()).count();
    assert!(failed > 20, "{failed} requests failed");
    world.server.faults().clear();
    world.wait_until_done();
    assert_eq!(world.versions("folder/foreign").len(), 1);
    churn.assert_nothing_was_torn(&world);
    daemon.stop();
}

#[test]
fn objects_of_others_are_never_touched() {
    let mut world = World::new();
    for name in ["other", "folder/other", "folder/sub/0", ".hidden", "folder.tmp/x"] {
        world.put_foreign(name, "not ours");
    }
    let daemon = world.start().ready();
    world.tree.fill("folder", 10);
    world.tree.fill("folder.tmp", 10);
    world.wait_until_done();
    world.tree.remove_folder("folder");
    world.tree.remove_folder("folder.tmp");
    world.pass_a_marker("marker");
    world.wait_until_done();
    daemon.stop();
    let daemon = world.start().ready();
    daemon.stop();
    assert_eq!(world.difference(), Ok(()));
}

/// A file takes the name of a foreign object, no upload of it succeeds, and it goes again.
fn foreign_object_after_failures_of(action: Action) {
    let mut world = World::new();
    world.put_foreign("file", "not ours");
    let refusal = world.server.fail(Rule::new(action).on("PutObject").key("m/file"));
    let daemon = world.start().ready();
    world.tree.write("stays", "so that the tree is not empty");
    world.tree.write("file", "ours, and never sent");
    daemon.wait_for_file("upload.failed", "file");
    world.tree.remove("file");
    world.pass_a_marker("marker");
    world.server.faults().remove(refusal);
    world.wait_until_done();
    assert_eq!(world.versions("file"), ["not ours"]);
    assert_eq!(world.server.count("DeleteObject"), 0);
    daemon.stop();
}

#[test]
fn an_object_of_somebody_else_stays_when_a_file_of_its_name_was_refused_and_goes() {
    foreign_object_after_failures_of(Action::access_denied());
}

#[test]
fn an_object_of_somebody_else_stays_when_nobody_knows_whether_it_was_replaced() {
    foreign_object_after_failures_of(Action::internal_error());
    foreign_object_after_failures_of(Action::Reset);
}

#[test]
fn an_upload_whose_answer_was_lost_is_asked_about_and_not_repeated() {
    let world = World::new();
    world.server.fail(Rule::new(Action::LoseReply).on("PutObject").times(1));
    let daemon = world.start().ready();
    world.tree.write("file", "content");
    daemon.wait_for_file("upload.failed", "file");
    world.wait_until_done();
    assert_eq!((world.server.count("PutObject"), world.server.count("HeadObject")), (1, 1));
    daemon.stop();
}

#[test]
fn an_object_whose_answer_was_lost_goes_with_its_file() {
    let world = World::new();
    world.tree.write("stays", "so that the tree is not empty");
    world.server.fail(Rule::new(Action::LoseReply).on("PutObject").key("m/file").times(1));
    // The question whether it is there fails for as long as the file is.
    let doubt = world.server.fail(Rule::new(Action::slow_down()).on("HeadObject"));
    let daemon = world.start().ready();
    world.tree.write("file", "content");
    daemon.wait_for_file("upload.failed", "file");
    world.tree.remove("file");
    world.pass_a_marker("marker");
    world.server.faults().remove(doubt);
    world.wait_until_done();
    assert_eq!(world.deleted(), ["m/file"]);
    daemon.stop();
}
