//! S3 gone for a while: changes wait, and few requests ask whether it is back.

use crate::harness::{Churn, World, seed, sleep_for, until};
use file_sync_dev_s3::{Action, RawAnswer, Rule};
use std::time::Duration;

#[test]
fn an_outage_only_delays() {
    let mut world = World::new();
    let mut dice = fastrand::Rng::with_seed(seed());
    let mut churn = Churn::new(dice.u64(..), &world.tree);
    churn.steps(100);
    let daemon = world.start().ready();
    world.wait_until_done();
    churn.steps(20);
    world.server.stop();
    churn.steps(100);
    daemon.wait_for("s3.unavailable");
    until("changes wait in the record", || world.waiting().len() > 20);
    churn.steps(100);
    world.server.resume().expect("the address is ours");
    // No file changes from here on.
    world.wait_until_done();
    daemon.wait_for("s3.available");
    churn.assert_nothing_was_torn(&world);
    daemon.stop();
}

#[test]
fn it_starts_without_s3_and_waits_for_it() {
    let mut world = World::new();
    world.tree.fill("folder", 50);
    world.server.stop();
    let mut daemon = world.start().ready();
    daemon.wait_for("s3.unavailable");
    assert!(daemon.is_running());
    world.server.resume().expect("the address is ours");
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn a_store_that_asks_for_a_pause_gets_it() {
    for answer in [
        RawAnswer::error(503, "ServiceUnavailable", "later"),
        RawAnswer::error(503, "SlowDown", "later"),
        RawAnswer::html(429),
    ] {
        let mut world = World::new();
        world.set("retry_interval_seconds", "1");
        world.tree.write("first", "first");
        let daemon = world.start().ready();
        world.wait_until_done();
        let answer = answer.header("retry-after", "5");
        let outage = world.server.fail(Rule::new(Action::Answer(answer)));
        let before = world.server.journal().total();
        world.tree.write("file", "content");
        sleep_for(Duration::from_secs(8));
        // Without the pause it would be one a second.
        let requests = world.server.journal().total() - before;
        assert!((1..=3).contains(&requests), "{requests} requests");
        world.server.faults().remove(outage);
        world.wait_until_done();
        daemon.stop();
    }
}

#[test]
fn an_outage_costs_few_requests_whatever_waits() {
    const CONCURRENCY: u64 = 4;
    let mut world = World::new();
    world.set("max_concurrent_transfers", &CONCURRENCY.to_string());
    world.set("retry_interval_seconds", "1");
    let outage = world.server.fail(Rule::new(Action::internal_error()));
    world.tree.fill("folder", 300);
    let began = file_sync_dev_s3::now();
    let daemon = world.start().ready();
    daemon.wait_for("s3.unavailable");
    sleep_for(Duration::from_secs(4));
    // Until it was noticed, and then a probe every half second at most.
    let requests = world.server.journal().total();
    let probes = 2 * (began.elapsed().as_secs() + 1);
    assert!(requests <= 3 + CONCURRENCY + probes, "{requests} requests, {probes} may be probes");
    assert!(requests > CONCURRENCY, "no request probed S3");
    world.server.faults().remove(outage);
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn a_refusal_of_everything_only_delays() {
    let world = World::new();
    let refusal = world.server.fail(Rule::new(Action::access_denied()));
    world.tree.fill("folder", 30);
    let daemon = world.start().ready();
    daemon.wait_for("s3.unavailable");
    world.server.faults().remove(refusal);
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn one_refused_file_holds_up_no_other() {
    let world = World::new();
    world.server.fail(Rule::new(Action::access_denied()).key("m/folder/0000"));
    world.tree.fill("folder", 30);
    let daemon = world.start().ready();
    daemon.wait_for_file("upload.failed", "folder/0000");
    for round in 0..5 {
        world.pass_a_marker(&format!("marker{round}"));
    }
    until("the others arrive", || world.versions("folder/0029").len() == 1);
    assert_eq!(world.object("folder/0000"), None);
    world.server.faults().clear();
    world.wait_until_done();
    daemon.stop();
}
