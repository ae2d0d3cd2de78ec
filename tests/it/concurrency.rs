//! The number of concurrent requests follows the store, within the bounds of memory and files.

use crate::harness::http::Endpoints;
use crate::harness::{MemoryBound, World, until};
use file_sync_dev_s3::{Action, Rule};
use std::time::Duration;

/// The time of a request: far more than the work for it, in any build.
const DISTANCE: Duration = Duration::from_millis(500);
const FILES: usize = 1_500;
/// How many requests there are at the start.
const AT_START: u64 = 16;
/// How many are possible with the memory for content of [`MemoryBound`].
const POSSIBLE: u64 = 64;

fn far_world() -> World {
    let mut world = World::new();
    world.set("listen_address", "127.0.0.1:0");
    world.set("admin_address", "127.0.0.1:0");
    world.server.fail(Rule::new(Action::Delay(DISTANCE)).on("PutObject"));
    world
}

#[test]
fn requests_to_a_distant_store_grow_from_few_to_what_memory_allows() {
    let mut world = far_world();
    let bound = MemoryBound::for_world(&mut world);
    let daemon = world.start().ready();
    let endpoints = Endpoints::of(&daemon);
    let limit = || endpoints.status()["concurrency"]["limit"].as_u64().unwrap_or_default();
    until("the limit is known", || limit() == AT_START);
    world.tree.fill("folder", FILES);
    bound.until(&daemon, "the limit has grown", || limit() == POSSIBLE);
    assert!(daemon.has(|line| line.event() == "requests.limit"), "the bound is logged");
    bound.until(&daemon, "everything is sent", || world.difference().is_ok());
    let most = world.server.journal().in_flight_max() as u64;
    assert!(most > AT_START && most <= POSSIBLE + 4, "{most} requests at once");
    daemon.stop();
}

#[test]
fn a_store_that_throttles_gets_fewer_requests_and_the_limit_is_shown() {
    let world = far_world();
    let slow = world.server.fail(Rule::new(Action::slow_down()).on("PutObject"));
    let daemon = world.start().ready();
    let endpoints = Endpoints::of(&daemon);
    let limit = || endpoints.status()["concurrency"]["limit"].as_u64().unwrap_or_default();
    world.tree.fill("folder", 40);
    until("the limit is lower", || (1..AT_START).contains(&limit()));
    daemon.wait_for("transfer.slowed");
    world.server.faults().remove(slow);
    world.wait_until_done();
    daemon.stop();
}
