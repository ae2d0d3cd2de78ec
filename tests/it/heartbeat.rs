//! What a monitor receives, and what is logged of it.

use crate::harness::service::{Request, Service};
use crate::harness::{World, until};

/// A daemon's world with this monitor, whose check has a secret path.
fn monitored(monitor: &Service) -> World {
    let mut world = World::new();
    world.set("heartbeat_url", &format!("{}/check-5ab1", monitor.url()));
    world.set("heartbeat_interval_seconds", "5");
    world
}

fn is_for(path: &str) -> impl Fn(&Request) -> bool {
    let line = format!("POST {path} HTTP/1.1");
    move |request| request.line == line
}

#[test]
fn the_monitor_hears_that_the_bucket_follows_and_why_it_does_not() {
    let monitor = Service::start(|_| (200, "OK".to_owned()));
    let mut world = monitored(&monitor);
    world.tree.write("first", "first");
    let daemon = world.start().ready();
    world.wait_until_done();
    until("a heartbeat", || monitor.asked().iter().any(is_for("/check-5ab1")));
    assert!(!monitor.asked().iter().any(is_for("/check-5ab1/fail")), "{:?}", monitor.asked());

    world.server.stop();
    world.tree.write("second", "second");
    until("the failure", || monitor.asked().iter().any(is_for("/check-5ab1/fail")));
    let asked = monitor.asked();
    let failure = asked.iter().find(|request| is_for("/check-5ab1/fail")(request));
    let cause = &failure.expect("found before").body;
    assert!(cause.starts_with("s3-unavailable: S3 unreachable"), "{cause:?}");
    assert!(!cause.contains("second"), "no file names: {cause:?}");

    world.server.resume().expect("back");
    let failures = monitor.asked().len();
    until("it is in sync again", || monitor.asked()[failures..].iter().any(is_for("/check-5ab1")));
    assert_eq!(daemon.stop().events("heartbeat.failed").len(), 0);
}

#[test]
fn a_monitor_that_redirects_is_reported_once_and_its_path_never() {
    let monitor = Service::start(|_| (302, String::new()));
    let world = monitored(&monitor);
    let daemon = world.start().ready();
    let line = daemon.wait_for("heartbeat.failed");
    assert_eq!(line.text("severity"), "WARN");
    until("three heartbeats", || monitor.asked().len() >= 3);
    let ended = daemon.stop();
    assert_eq!(ended.events("heartbeat.failed").len(), 1);
    let shown = ended.lines.iter().map(|line| line.shown()).chain([ended.errors.clone()]);
    assert!(!shown.collect::<String>().contains("check-5ab1"), "the path is a secret");
}
