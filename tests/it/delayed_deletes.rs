//! `delete_delay_seconds`: the object of a deleted file stays for a while, over restarts, unless the file
//! comes back or a person decides. And `deletes list`, `approve` and `cancel`.

use crate::harness::http::Endpoints;
use crate::harness::log::Line;
use crate::harness::{Daemon, World, entries, key, until};
use file_sync_dev_s3::BUCKET;
use serde_json::Value;
use std::fs;

const HOUR: &str = "3600";

fn world(delay: &str) -> World {
    let mut world = World::new().setting("delete_delay_seconds", delay);
    world.set("listen_address", "127.0.0.1:0");
    world.set("admin_address", "127.0.0.1:0");
    world.tree.write("stays", "so that the tree is not empty");
    world
}

fn started(world: &World) -> (Daemon, Endpoints) {
    let daemon = world.start().ready();
    let endpoints = Endpoints::of(&daemon);
    until("it is in sync", || endpoints.status()["in_sync"] == true);
    (daemon, endpoints)
}

fn deletes(endpoints: &Endpoints, name: &str) -> Value {
    endpoints.status()["deletes"][name].clone()
}

fn wait_for_delayed(endpoints: &Endpoints, count: u64) {
    until("so many are delayed", || deletes(endpoints, "delayed") == count);
}

/// Path and due time of each delayed delete.
fn due_times(world: &World) -> Vec<(String, String)> {
    let listed = world.run(&["deletes", "list", "--json"]);
    assert_eq!(listed.code, Some(0), "{}", listed.errors);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let listed = listed.json();
    let entries = listed["entries"].as_array().expect("entries");
    let mut times: Vec<_> =
        entries.iter().map(|entry| (text(&entry["path"]), text(&entry["due"]))).collect();
    times.sort();
    times
}

#[test]
fn an_object_goes_so_long_after_its_file_and_its_copies_are_invalidated_then() {
    let (mut world, cloudfront) = World::new().behind_cloudfront();
    world.set("delete_delay_seconds", "3");
    world.set("listen_address", "127.0.0.1:0");
    world.set("admin_address", "127.0.0.1:0");
    world.tree.write("stays", "stays");
    world.tree.write("goes", "goes");
    let (daemon, endpoints) = started(&world);
    world.tree.remove("goes");
    wait_for_delayed(&endpoints, 1);
    assert_eq!(world.object("goes").as_deref(), Some(&b"goes"[..]));
    assert_eq!(cloudfront.requests().len(), 0);
    assert_eq!(endpoints.status()["in_sync"], true, "a delay is no gap");
    until("it is deleted", || world.object("goes").is_none());
    until("its copies are invalidated", || !cloudfront.requests().is_empty());
    world.wait_until_done();
    assert_eq!(deletes(&endpoints, "delayed"), 0);
    daemon.stop();
}

#[test]
fn a_file_that_comes_back_in_time_costs_no_delete_and_no_upload() {
    let world = world(HOUR);
    world.tree.fill("folder", 20);
    world.tree.write("again", "the same");
    let (daemon, endpoints) = started(&world);
    world.server.clear_requests();
    let aside = world.sibling_path("aside");
    fs::rename(world.tree.path("folder"), &aside).expect("renamed");
    world.tree.remove("again");
    wait_for_delayed(&endpoints, 21);
    let listed = world.run(&["queue", "list"]);
    assert!(listed.output.contains("delayed, due in"), "{}", listed.output);
    fs::rename(&aside, world.tree.path("folder")).expect("renamed");
    world.tree.write("again", "the same");
    wait_for_delayed(&endpoints, 0);
    world.wait_until_done();
    for operation in ["PutObject", "DeleteObject", "DeleteObjects", "CopyObject"] {
        assert_eq!(world.server.count(operation), 0, "{operation}");
    }
    daemon.stop();
}

#[test]
fn a_kill_and_a_restart_keep_the_remaining_time() {
    for shards in ["1", "2"] {
        let mut world = world(HOUR);
        world.set("shard_count", shards);
        (0..8).for_each(|folder| world.tree.fill(&format!("f{folder}"), 3));
        let (daemon, endpoints) = started(&world);
        let there = || {
            let keys = world.server.objects(BUCKET).into_keys();
            keys.filter(|key| key.starts_with("m/f")).count() as u64
        };
        let gone = there();
        assert!(gone > 0);
        (0..8).for_each(|folder| world.tree.remove_folder(&format!("f{folder}")));
        wait_for_delayed(&endpoints, gone);
        let before = due_times(&world);
        assert_eq!(before.len() as u64, gone);
        daemon.kill();
        let daemon = world.start().ready();
        // A comparison that finds them missing changes nothing.
        let scan = daemon.wait_for("scan.completed");
        assert_eq!(scan.number("gone"), Some(0), "{}", scan.shown());
        assert_eq!(due_times(&world), before, "{shards}");
        daemon.stop();
        // Without a delay, they are due at once.
        world.set("delete_delay_seconds", "0");
        let daemon = world.start().ready();
        let there = || {
            let keys = world.server.objects(BUCKET).into_keys();
            keys.filter(|key| key.starts_with("m/f")).count()
        };
        until("all of them are deleted", || there() == 0);
        daemon.stop();
    }
}

#[test]
fn slow_deletes_of_a_whole_tree_are_held_when_they_are_wanted() {
    const STEPS: usize = 10;
    const FILES: usize = 500;
    let world = world(HOUR);
    for step in 0..STEPS {
        world.tree.fill(&format!("{step}"), FILES);
    }
    let (daemon, endpoints) = started(&world);
    for step in 0..STEPS {
        world.tree.remove_folder(&format!("{step}"));
        wait_for_delayed(&endpoints, ((step + 1) * FILES) as u64);
    }
    let held = daemon.wait_for("deletes.held");
    assert!(held.text("approve").contains("deletes approve --expect"), "{}", held.shown());
    let status = endpoints.status();
    assert_eq!(status["state"], "deletes-held");
    assert_eq!(status["deletes"]["held"], (STEPS * FILES) as u64);
    daemon.stop();
    // Held over a restart, though nothing is due.
    let daemon = world.start().ready();
    let endpoints = Endpoints::of(&daemon);
    until("they are held", || deletes(&endpoints, "approval_needed") == true);
    let said = world.run(&["deletes", "approve", "--expect", "4999"]);
    assert_eq!(said.code, Some(1), "{}", said.errors);
    assert!(said.errors.contains("5000 deletes"), "{}", said.errors);
    assert_eq!(world.deleted(), [""; 0]);
    let said = world.run(&["deletes", "approve", "--expect", "5000"]);
    assert_eq!((said.code, &*said.output), (Some(0), "5000 deletes approved\n"), "{}", said.errors);
    until("all of them are deleted", || world.deleted().len() == STEPS * FILES);
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn cancelled_deletes_leave_their_objects_for_good_and_a_returning_file_is_not_sent() {
    let mut world = world(HOUR);
    world.set("delete_limit_count", "10");
    world.tree.fill("folder", 30);
    world.tree.fill("other", 10);
    let (daemon, endpoints) = started(&world);
    let aside = world.sibling_path("aside");
    fs::rename(world.tree.path("folder"), &aside).expect("renamed");
    wait_for_delayed(&endpoints, 30);
    daemon.wait_for("deletes.held");
    assert_eq!(world.run(&["deletes", "cancel", "--expect", "29"]).code, Some(1));
    let said = world.run(&["deletes", "cancel", "--expect", "30"]);
    let expected = "30 deletes cancelled; their objects stay\n";
    assert_eq!((said.code, &*said.output), (Some(0), expected), "{}", said.errors);
    until("nothing is held", || deletes(&endpoints, "held") == 0);
    assert_eq!(deletes(&endpoints, "delayed"), 0);
    // Neither a comparison nor a restart wants them again.
    assert_eq!(endpoints.post("/-/rescan", "").0, 200);
    world.pass_a_marker("stays");
    assert_eq!(world.run(&["deletes", "list"]).output, "no delete is held or delayed\n");
    daemon.stop();
    world.set("delete_delay_seconds", "0");
    let (daemon, endpoints) = started(&world);
    world.pass_a_marker("stays");
    assert_eq!(deletes(&endpoints, "held"), 0);
    assert_eq!(world.deleted(), [""; 0]);
    let verified = world.run(&["verify", "--json"]);
    assert_eq!(verified.code, Some(0), "they are kept: {}", verified.output);
    world.server.clear_requests();
    fs::rename(&aside, world.tree.path("folder")).expect("renamed");
    world.pass_a_marker("marker");
    world.wait_until_done();
    assert_eq!(world.server.count("PutObject"), 1, "the marker alone");
    // They are this directory's again.
    world.tree.remove("folder/0000");
    until("it is deleted", || world.deleted() == [key("folder/0000")]);
    daemon.stop();
}

#[test]
fn a_renamed_file_leaves_its_object_for_as_long() {
    let world = world(HOUR);
    world.tree.write("old", "content");
    let (daemon, endpoints) = started(&world);
    world.tree.rename("old", "new");
    world.wait_for_object("new", "content");
    wait_for_delayed(&endpoints, 1);
    assert_eq!(world.server.count("CopyObject"), 1);
    assert_eq!(world.object("old").as_deref(), Some(&b"content"[..]));
    let verified = world.run(&["verify", "--json"]);
    assert_eq!(verified.differences(), entries(&[("kept", "old")]), "{}", verified.output);
    let said = world.run(&["deletes", "approve"]);
    assert_eq!(said.output, "1 deletes approved\n", "{}", said.errors);
    until("it is deleted", || world.object("old").is_none());
    assert_eq!(world.object("new").as_deref(), Some(&b"content"[..]));
    daemon.stop();
}

#[test]
fn once_and_plan_leave_what_is_not_due() {
    let mut world = world(HOUR);
    world.tree.write("goes", "goes");
    assert_eq!(world.once().code(), Some(0));
    world.tree.remove("goes");
    let planned = world.run(&["plan", "--json"]);
    assert_eq!(planned.steps(), entries(&[("delayed", "goes")]), "{}", planned.output);
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    assert_eq!(ended.events("shutdown.delayed").len(), 1);
    assert!(world.object("goes").is_some());
    let planned = world.run(&["plan", "--json"]);
    assert_eq!(planned.steps(), entries(&[("delayed", "goes")]), "{}", planned.output);
    world.set("delete_delay_seconds", "0");
    let planned = world.run(&["plan", "--json"]);
    assert_eq!(planned.steps(), entries(&[("delete", "goes")]), "{}", planned.output);
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(world.deleted(), [key("goes")]);
}

#[test]
fn delays_that_are_lost_with_the_state_are_told() {
    for (survives, code) in [("yes", 0), ("no", 75)] {
        let mut world = world(HOUR);
        world.set("state_survives", survives);
        world.tree.write("goes", "goes");
        let (daemon, endpoints) = started(&world);
        world.tree.remove("goes");
        wait_for_delayed(&endpoints, 1);
        let ended = daemon.terminate();
        assert_eq!(ended.code(), Some(code), "{}", ended.errors);
        let left = ended.events("shutdown.left_over");
        assert_eq!(left.len(), usize::from(code == 75));
        let told = |line: &&&Line| line.text("message").contains("their objects stay");
        assert_eq!(left.iter().filter(told).count(), left.len(), "{left:?}");
        assert_eq!(world.deleted(), [""; 0]);
    }
}
