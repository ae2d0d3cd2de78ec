//! `max_files`: a program that fills the directory fills the bucket up to this number of files, and the
//! files that are in the bucket already stay mirrored.

use crate::harness::http::{Endpoints, get};
use crate::harness::world::key;
use crate::harness::{Daemon, World, until};
use file_sync_dev_s3::BUCKET;

fn world(max_files: u64) -> World {
    let world = World::new().setting("max_files", &max_files.to_string());
    world.setting("listen_address", "127.0.0.1:0").setting("admin_address", "127.0.0.1:0")
}

fn started(world: &World) -> (Daemon, Endpoints) {
    let daemon = world.start();
    let endpoints = Endpoints::of(&daemon);
    (daemon.ready(), endpoints)
}

fn objects(world: &World, prefix: &str) -> usize {
    let objects = world.server.objects(BUCKET);
    objects.keys().filter(|name| name.starts_with(&key(prefix))).count()
}

/// Waits until so many files are left above the limit, and nothing else is under way.
fn wait_for_refused(endpoints: &Endpoints, files: u64) {
    until(&format!("{files} files are above the limit"), || {
        let status = endpoints.status();
        let settled = status["state"] == "partly" || status["state"] == "in-sync";
        settled && status["uncovered"]["over-limit"] == files
    });
}

#[test]
fn above_the_limit_no_new_file_is_sent_and_the_others_go_on() {
    let world = world(5);
    (0..4).for_each(|number| world.tree.write(format!("known{number}"), "content"));
    let (daemon, endpoints) = started(&world);
    world.wait_until_done();
    (0..20).for_each(|number| world.tree.write(format!("flood{number}"), "x"));
    wait_for_refused(&endpoints, 19);
    assert_eq!(objects(&world, "flood"), 1);
    let status = endpoints.status();
    assert_eq!((&status["in_sync"], &status["state"]), (&false.into(), &"partly".into()));
    let cause = "19 new files are above max_files";
    assert!(status["cause"].as_str().is_some_and(|told| told.contains(cause)), "{status}");
    let metrics = get(endpoints.public, "/metrics").1;
    assert!(metrics.contains("file_sync_coverage_gaps{reason=\"over-limit\"} 19"), "{metrics}");
    let flushed = world.run(&["flush", "--timeout", "600s"]);
    assert_eq!(flushed.code, Some(75), "{}", flushed.output);
    assert!(flushed.errors.contains(cause), "{}", flushed.errors);

    // A file that is known is changed and renamed as before.
    world.tree.write("known0", "changed");
    world.wait_for_object("known0", "changed");
    world.tree.rename("known1", "renamed");
    world.wait_for_object("renamed", "content");
    until("the previous name is gone", || world.object("known1").is_none());
    wait_for_refused(&endpoints, 19);

    // A deleted file makes room for another one.
    world.tree.remove("known2");
    until("it is gone", || world.object("known2").is_none());
    wait_for_refused(&endpoints, 18);
    until("another one is there", || objects(&world, "flood") == 2);

    (0..20).for_each(|number| world.tree.remove(&format!("flood{number}")));
    until("all is well", || endpoints.status()["in_sync"] == true);
    assert_eq!(world.difference(), Ok(()));
    let ended = daemon.stop();
    let told = ended.events("files.limit_reached");
    assert_eq!(told.len(), 1, "it is logged once");
    assert_eq!(told[0].number("max_files"), Some(5));
    assert!(told[0].number("refused").is_some_and(|refused| refused > 0));
    assert_eq!(ended.events("files.limit_ended").len(), 1);
    assert_eq!(ended.events("file.parked").len(), 0, "no line for each file");
}

#[test]
fn a_single_run_sends_as_many_as_may_be_and_says_that_some_are_left() {
    let world = world(3);
    (0..10).for_each(|number| world.tree.write(format!("file{number}"), "x"));
    let planned = world.run(&["plan", "--json"]).json();
    let steps = planned["steps"].as_array().expect("steps");
    let left = steps.iter().filter(|step| step["reason"] == "above-max-files").count();
    assert_eq!((steps.len(), left), (10, 7));
    let ended = world.once();
    assert_eq!(ended.code(), Some(75), "{}", ended.errors);
    assert_eq!(objects(&world, "file"), 3);
    // The state remembers how many there are.
    assert_eq!(world.once().code(), Some(75));
    assert_eq!(objects(&world, "file"), 3);
    let world = world.setting("max_files", "10");
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(world.difference(), Ok(()));
}
