//! Restores of a store that fails, and restores that are killed.

use super::{
    assert_nothing_is_deleted, assert_nothing_to_do, assert_whole, is_absent, mirrored, restored,
    snapshot, wipe,
};
use crate::harness::{World, entries, key, seed, sleep_for, until};
use file_sync_dev_s3::{Action, BUCKET, Call, Gate, Rule};
use std::collections::HashMap;
use std::fs;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How many requests there were about each key. A restore tries a request only so often: more than a few must
/// not fail.
#[derive(Clone, Default)]
struct RequestsByKey(Arc<Mutex<HashMap<String, u32>>>);

impl RequestsByKey {
    /// The first listing has five tries, and every other request has nine.
    const FEW: u32 = 4;

    /// A rule that hits nothing, to be the first one.
    fn counting(&self) -> Rule {
        let counts = Arc::clone(&self.0);
        Rule::new(Action::Delay(Duration::ZERO)).when(move |call| {
            *counts.lock().expect("sound").entry(call.key.clone()).or_default() += 1;
            false
        })
    }

    /// Whether a request is one of the first about its key.
    fn are_few(&self) -> impl Fn(&Call) -> bool + Send + Sync + 'static {
        let counts = Arc::clone(&self.0);
        move |call| {
            counts.lock().expect("sound").get(&call.key).is_none_or(|&count| count <= Self::FEW)
        }
    }
}

#[test]
fn faults_of_every_kind_only_delay() {
    let world = mirrored();
    let before = snapshot(&world);
    wipe(&world);
    let seed = seed();
    let requests = RequestsByKey::default();
    world.server.fail(requests.counting());
    for action in [
        Action::slow_down(),
        Action::internal_error(),
        Action::Reset,
        Action::LoseReply,
        Action::ResetReply(3),
        Action::TruncateReply(2),
        Action::html_page(),
        Action::default_backend(),
    ] {
        let rule = Rule::new(action).probability(0.05);
        world.server.fail(rule.when(requests.are_few()));
    }
    println!("seed {seed}");
    let said = restored(&world, &[]);
    world.server.faults().clear();
    assert_whole(&said);
    assert_eq!(snapshot(&world), before);
    assert_nothing_to_do(&world);
}

#[test]
fn an_outage_in_the_middle_ends_with_69_and_the_next_run_fetches_only_the_rest() {
    let mut world = mirrored();
    let before = snapshot(&world);
    wipe(&world);
    world.set("max_concurrent_transfers", "2");
    let refused = Rule::new(Action::Fail { status: 403, code: "AccessDenied" }).on("GetObject");
    world.server.fail(refused.skip(20));
    world.server.clear_requests();
    let said = restored(&world, &[]);
    assert_eq!(said.code, Some(69), "{} {}", said.output, said.errors);
    let brought = snapshot(&world).len();
    assert!(brought > 0 && brought < before.len(), "{brought}");
    // Meanwhile the daemon deletes nothing, and says so.
    let daemon = world.start();
    daemon.wait_for("restore.incomplete");
    let daemon = daemon.ready();
    let gone = snapshot(&world).into_keys().next().expect("one");
    let content = fs::read(world.tree.path(&gone)).expect("read");
    world.tree.remove(&gone);
    daemon.wait_for("deletes.withheld");
    daemon.stop();
    assert_eq!(world.deleted(), [""; 0]);
    drop(content);
    world.server.faults().clear();
    world.server.clear_requests();
    let said = restored(&world, &[]);
    assert_whole(&said);
    assert_eq!(snapshot(&world), before);
    assert_eq!(said.json()["totals"]["there"], brought - 1);
    assert_nothing_to_do(&world);
}

#[test]
fn killed_at_any_moment_it_goes_on_and_fetches_nothing_twice() {
    const KILLS: usize = 20;
    const CONCURRENCY: usize = 4;
    /// So many requests a life at most, so that no life brings all: then the next one would refuse.
    const REQUESTS: u64 = 12;
    let mut world = mirrored();
    world.tree.fill("more", 300);
    assert_eq!(world.once().code(), Some(0));
    let before = snapshot(&world);
    wipe(&world);
    world.set("max_concurrent_transfers", &CONCURRENCY.to_string());
    world.server.clear_requests();
    let mut dice = fastrand::Rng::with_seed(seed());
    for kill in 1..=KILLS {
        let life = Duration::from_millis(dice.u64(20..300));
        println!("kill {kill} after {life:?}");
        let gate = Gate::shut();
        let held = Rule::new(Action::Hold(gate.clone())).on("GetObject").skip(REQUESTS);
        world.server.fail(held);
        world.server.fail(Rule::new(Action::Delay(Duration::from_millis(10))).on("GetObject"));
        let mut command = world.command(&["restore"]);
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        sleep_for(life);
        assert_eq!(child.try_wait().expect("a child of ours"), None, "it ended before the kill");
        child.kill().expect("it runs");
        child.wait().expect("it is a child of ours");
        world.server.faults().clear();
        gate.open();
        until("no request is left", || world.server.journal().in_flight() == 0);
    }
    assert!(before.len() as u64 > KILLS as u64 * REQUESTS, "a life may have brought all");
    assert_whole(&restored(&world, &[]));
    assert_eq!(snapshot(&world), before);
    let parts = 17_usize.div_ceil(5);
    // What was requested, and what had arrived and was not staged yet.
    let most = before.len() - 1 + parts + KILLS * 2 * CONCURRENCY;
    let fetched = usize::try_from(world.server.count("GetObject")).expect("few");
    assert!(fetched <= most, "{fetched} requests, {most} at most");
    assert_nothing_to_do(&world);
}

#[test]
fn objects_in_an_archive_are_named_and_skipped() {
    let world = mirrored();
    wipe(&world);
    let archived = Action::Fail { status: 403, code: "InvalidObjectState" };
    world.server.fail(Rule::new(archived).on("GetObject").key("m/folder/sub/000*"));
    let said = restored(&world, &[]);
    assert_eq!(said.code, Some(75), "{}", said.errors);
    assert_eq!(said.json()["totals"]["skipped"], 10, "{}", said.output);
    assert!(said.output.contains("archive"), "{}", said.output);
    assert_nothing_is_deleted(&world);
}

#[test]
fn content_that_is_not_what_the_store_says_is_never_put_in_its_place() {
    let world = mirrored();
    wipe(&world);
    world.server.store().damage(BUCKET, &key("folder/sub/0007"));
    let said = restored(&world, &[]);
    assert_eq!(said.code, Some(75), "{}", said.errors);
    assert_eq!(said.entries("objects"), entries(&[("skipped", "folder/sub/0007")]));
    assert!(is_absent(&world.tree.path("folder/sub/0007")));
}

/// The parts that are noted beside a large object that is not whole yet.
fn noted_parts(world: &World) -> usize {
    const NOTE: usize = 16;
    let staging = world.tree.path(".file-sync-service.restore");
    let names = fs::read_dir(&staging).into_iter().flatten().flatten();
    let notes = names.filter(|name| name.path().extension().is_some_and(|end| end == "parts"));
    let bytes = notes.filter_map(|name| fs::read(name.path()).ok());
    bytes
        .map(|bytes| bytes.chunks(NOTE).filter(|note| note.iter().any(|byte| *byte != 0)).count())
        .sum()
}

#[test]
fn a_large_object_goes_on_with_the_parts_that_are_missing() {
    const PARTS: u64 = 4;
    let world = mirrored();
    let before = snapshot(&world);
    wipe(&world);
    let gate = Gate::shut();
    let held = Rule::new(Action::Hold(gate.clone())).on("GetObject").key("m/large").skip(2);
    world.server.fail(held);
    let mut command = world.command(&["restore"]);
    let mut child = command.stdout(Stdio::null()).spawn().expect("it starts");
    until("two parts have arrived", || noted_parts(&world) == 2);
    drop(child.kill());
    child.wait().expect("it is a child of ours");
    world.server.faults().clear();
    gate.open();
    until("no request is left", || world.server.journal().in_flight() == 0);
    world.server.clear_requests();
    assert_whole(&restored(&world, &[]));
    assert_eq!(snapshot(&world), before);
    let requests = world.server.requests().into_iter();
    let parts = requests
        .filter(|request| request.call.operation == "GetObject" && request.call.key == "m/large");
    assert_eq!(parts.count() as u64, PARTS - 2);
    assert_nothing_to_do(&world);
}
