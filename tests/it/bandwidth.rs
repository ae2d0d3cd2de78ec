//! Limits on bandwidth by the time of day, in a running daemon.

use crate::harness::http::Endpoints;
use crate::harness::{Daemon, World, until};
use serde_json::Value;
use std::fs;

#[test]
fn the_limit_of_the_present_time_applies_and_is_told() {
    let mut world = World::new().setting("bandwidth_limit", "16KiB");
    world.set("listen_address", "127.0.0.1:0");
    world.set("admin_address", "127.0.0.1:0");
    let file = world.sibling_path("config.yml");
    // One of them contains the present time.
    let day = |limit: &str| {
        format!("bandwidth_schedule: [\"00:00-12:00 {limit}\", \"12:00-24:00 {limit}\"]\n")
    };
    fs::write(&file, day("512MiB")).expect("written");
    let config = file.to_string_lossy().into_owned();
    let daemon = Daemon::spawn(world.command(&["run", "--config", &config])).ready();
    let endpoints = Endpoints::of(&daemon);
    let shown = || endpoints.status()["bandwidth"].clone();
    assert_eq!(shown()["bytes_per_second"], 512 << 20, "{}", shown());
    let end = shown()["until"].as_str().unwrap_or_default().to_owned();
    assert!(end.contains("T00:00:00") || end.contains("T12:00:00"), "{end}");
    // With `bandwidth_limit`, this would take four minutes.
    world.tree.write("large", vec![7; 4 << 20]);
    world.wait_for_object("large", vec![7; 4 << 20]);
    fs::write(&file, day("off")).expect("written");
    until("the status has the new limit", || shown()["bytes_per_second"] == Value::Null);
    fs::write(&file, "{}").expect("written");
    until("the status has the limit of other times", || shown()["bytes_per_second"] == 16 << 10);
    assert_eq!(shown()["until"], Value::Null);
    daemon.stop();
}
