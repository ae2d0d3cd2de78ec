//! Large files: sent in parts, and no unfinished upload is left behind.

use crate::harness::{World, until};
use file_sync_dev_s3::{Action, BUCKET, Gate, Rule};
use std::fs;

const MIB: usize = 1024 * 1024;

fn world() -> World {
    let mut world = World::new();
    world.set("multipart_threshold_mib", "5");
    world.set("multipart_part_size_mib", "5");
    world
}

/// Bytes of which no two parts are equal.
fn content(bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    fastrand::Rng::with_seed(bytes as u64).fill(&mut content);
    content
}

/// Renames a file into the tree, so that it is complete at once.
fn bring(world: &World, name: &str, content: &[u8]) {
    fs::write(world.sibling_path("aside"), content).expect("written");
    fs::rename(world.sibling_path("aside"), world.tree.path(name)).expect("renamed");
}

#[test]
fn a_file_above_the_threshold_is_sent_in_parts_and_arrives_whole() {
    let world = world();
    let daemon = world.start().ready();
    for (name, bytes) in [("below", 5 * MIB), ("above", 5 * MIB + 1), ("even", 15 * MIB)] {
        bring(&world, name, &content(bytes));
        world.wait_until_done();
    }
    assert_eq!((world.server.count("PutObject"), world.server.count("UploadPart")), (1, 2 + 3));
    assert_eq!(world.uploads(), []);
    let object = world.server.store().object(BUCKET, "m/above").expect("there");
    assert!(object.headers.metadata.contains_key("mtime"));
    daemon.stop();
}

#[test]
fn a_kill_in_the_midst_of_an_upload_leaves_none_behind_and_those_of_others_alone() {
    let mut world = world();
    let gate = Gate::shut();
    let rule = Rule::new(Action::Hold(gate.clone())).on("UploadPart").skip(1);
    let held = world.server.fail(rule);
    // A foreign upload in the same bucket: of another daemon, with another state.
    let kill_midway = |world: &World| {
        let daemon = world.start().ready();
        let before = world.server.faults().hits(held);
        until("a part hangs", || world.server.faults().hits(held) > before);
        daemon.kill();
    };
    bring(&world, "large", &content(12 * MIB));
    let state = world.state_dir();
    let prefix = "others";
    world.set("s3_prefix", prefix);
    world.set("state_dir", &world.sibling_path("other state").to_string_lossy());
    kill_midway(&world);
    let foreign = world.uploads();
    assert_eq!(foreign.len(), 1);

    world.set("s3_prefix", crate::harness::PREFIX);
    world.set("state_dir", &state.to_string_lossy());
    kill_midway(&world);
    assert_eq!(world.uploads().len(), 2);
    gate.open();
    let daemon = world.start();
    world.wait_until_done();
    until("only the other one is left", || world.uploads() == foreign);
    daemon.stop();
}

#[test]
fn an_upload_that_fails_at_any_step_is_aborted_and_the_file_arrives_all_the_same() {
    let world = world();
    for operation in ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"] {
        for (kind, action) in [("error", Action::internal_error()), ("lost", Action::LoseReply)] {
            let name = format!("{operation} {kind}");
            bring(&world, &name, &content(5 * MIB + 1));
            world.server.fail(Rule::new(action).on(operation).key(&format!("m/{name}")).times(1));
        }
    }
    let daemon = world.start();
    world.wait_until_done();
    // The name of an upload whose very beginning was lost is unknown.
    until("no upload is left", || {
        world.uploads().iter().all(|(key, _)| key == "m/CreateMultipartUpload lost")
    });
    daemon.stop();
}

#[test]
fn a_completion_whose_answer_was_lost_is_not_sent_again() {
    let world = world();
    world.server.fail(Rule::new(Action::LoseReply).on("CompleteMultipartUpload").times(1));
    let daemon = world.start().ready();
    bring(&world, "large", &content(11 * MIB));
    world.wait_until_done();
    assert_eq!(world.server.count("UploadPart"), 3);
    assert_eq!(world.versions("large").len(), 1);
    daemon.stop();
}

#[test]
fn a_completion_that_fails_with_status_200_is_no_success() {
    let world = world();
    let rule = Rule::new(Action::FailWithin200("InternalError"));
    world.server.fail(rule.on("CompleteMultipartUpload").times(1));
    let daemon = world.start().ready();
    bring(&world, "large", &content(6 * MIB));
    daemon.wait_for_file("upload.failed", "large");
    world.wait_until_done();
    until("no upload is left", || world.uploads().is_empty());
    daemon.stop();
}

#[test]
fn a_large_file_deleted_while_it_is_sent_leaves_nothing_behind() {
    let world = world();
    let gate = Gate::shut();
    let held = world.server.fail(Rule::new(Action::Hold(gate.clone())).on("UploadPart").skip(1));
    world.tree.write("stays", "so that the tree is not empty");
    let daemon = world.start().ready();
    bring(&world, "large", &content(12 * MIB));
    until("a part hangs", || world.server.faults().hits(held) > 0);
    world.tree.remove("large");
    gate.open();
    world.pass_a_marker("marker");
    world.wait_until_done();
    until("no upload is left", || world.uploads().is_empty());
    daemon.stop();
}

#[test]
fn an_upload_that_was_killed_goes_on_and_sends_only_what_is_missing() {
    let world = world();
    let gate = Gate::shut();
    let held = world.server.fail(Rule::new(Action::Hold(gate.clone())).on("UploadPart").skip(6));
    bring(&world, "large", &content(60 * MIB));
    let daemon = world.start();
    until("six parts are recorded", || world.parts_recorded() == 6);
    until("another one hangs", || world.server.faults().hits(held) > 0);
    daemon.kill();
    gate.open();
    until("S3 has done what it was asked for", || world.server.journal().in_flight() == 0);
    world.server.clear_requests();
    let daemon = world.start();
    daemon.wait_for_file("upload.completed", "large");
    world.wait_until_done();
    assert_eq!(world.server.count("CreateMultipartUpload"), 0);
    assert_eq!(world.server.count("UploadPart"), 6, "twelve parts, six of them there");
    assert_eq!(world.versions("large").len(), 1);
    assert_eq!(world.uploads(), []);
    daemon.stop();
}

#[test]
fn an_upload_interrupted_by_an_outage_goes_on_after_it() {
    let world = world();
    let daemon = world.start().ready();
    let away = world.server.fail(Rule::new(Action::internal_error()).on("UploadPart").skip(5));
    bring(&world, "large", &content(40 * MIB));
    daemon.wait_for("s3.unavailable");
    assert_eq!(world.uploads().len(), 1, "kept for later");
    world.server.faults().remove(away);
    world.wait_until_done();
    assert_eq!(world.server.count("CreateMultipartUpload"), 1);
    assert_eq!(world.uploads(), []);
    daemon.stop();
}

#[test]
fn an_upload_whose_file_went_during_an_outage_is_aborted() {
    let world = world();
    world.tree.write("stays", "so that the tree is not empty");
    let daemon = world.start().ready();
    let away = world.server.fail(Rule::new(Action::internal_error()).on("UploadPart").skip(2));
    bring(&world, "large", &content(40 * MIB));
    daemon.wait_for_file("upload.failed", "large");
    world.tree.remove("large");
    until("nothing waits", || world.waiting().is_empty());
    world.server.faults().remove(away);
    until("no upload is left", || world.uploads().is_empty());
    daemon.stop();
}
