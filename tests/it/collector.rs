//! Collectors for traces and metrics that are away or never answer, and the ids in the log. What a
//! working collector receives is tested in `tests/e2e`, by independent decoders.

use crate::harness::{Daemon, World, patience, sleep_for, until};
use file_sync_dev_s3::{Action, Gate, Options, Rule, Server};
use std::net::TcpListener;
use std::time::Duration;

/// Names of the threads that are only there to export.
const EXPORTING: [&str; 2] = ["traces", "OpenTelemetry"];

fn exporting_threads(daemon: &Daemon) -> Vec<String> {
    let exports = |name: &String| EXPORTING.iter().any(|known| name.starts_with(known));
    daemon.threads().into_iter().filter(exports).collect()
}

/// A world whose daemons export to `endpoint`, and often.
fn exporting_to(endpoint: &str) -> World {
    let mut world = World::new();
    world.variable("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    world.variable("OTEL_BSP_SCHEDULE_DELAY", "10");
    world.variable("OTEL_METRIC_EXPORT_INTERVAL", "100");
    world
}

#[test]
fn the_lines_of_a_change_share_its_trace_and_no_other_has_it() {
    let world = World::new();
    let refused = Rule::new(Action::access_denied()).on("PutObject").key("m/refused.txt").times(2);
    world.server.fail(refused);
    let daemon = world.start().ready();
    world.tree.write("refused.txt", "content");
    world.tree.write("other.txt", "content");
    let of = |event, name| {
        let line = daemon.wait_for_file(event, name);
        let trace = line.text("trace_id").to_owned();
        let span = line.text("span_id").to_owned();
        assert_eq!((trace.len(), span.len()), (32, 16), "{}", line.shown());
        // It is not exported.
        assert_eq!(line.text("trace_flags"), "00");
        (trace, span)
    };
    let refused = of("change.queued", "refused.txt");
    assert_eq!(of("upload.failed", "refused.txt"), refused);
    assert_eq!(of("upload.completed", "refused.txt"), refused);
    let other = of("upload.completed", "other.txt");
    assert!(other.0 != refused.0 && other.1 != refused.1);
    assert_eq!(exporting_threads(&daemon), [""; 0], "without a collector nothing is exported");
    daemon.stop();
}

#[test]
fn a_collector_that_never_answers_delays_neither_work_nor_the_end() {
    // The kernel accepts connections, and nothing reads from them.
    let black_hole = TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = black_hole.local_addr().expect("an address");
    for protocol in ["grpc", "http/protobuf"] {
        let mut world = exporting_to(&format!("http://{address}"));
        world.variable("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        let daemon = world.start().ready();
        assert_eq!(exporting_threads(&daemon).len(), 2, "one for each signal");
        world.tree.fill("folder", 300);
        world.wait_until_done();
        let ended = daemon.stop();
        assert!(ended.took < patience(Duration::from_secs(6)), "{:?} until the end", ended.took);
        assert_eq!(ended.events("telemetry.left_behind").len(), 1, "{protocol}");
        assert_eq!(ended.errors, "", "{protocol}");
    }
}

#[test]
fn a_full_backlog_and_a_collector_that_never_answers_do_not_hold_up_the_end() {
    let black_hole = TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = black_hole.local_addr().expect("an address");
    let mut world = exporting_to(&format!("http://{address}"));
    world.set("shutdown_timeout_seconds", "3");
    let daemon = world.start().ready();
    // Requests are taken and not answered, so that none of it goes.
    world.server.fail(Rule::new(Action::Hold(Gate::shut())));
    world.tree.fill("folder", 3_000);
    until("the backlog is on disk", || world.waiting().len() == 3_000);
    let ended = daemon.terminate();
    assert_eq!((ended.code(), ended.signal()), (Some(0), None), "{}", ended.errors);
    // Its own deadline, and the collector's share.
    assert!(ended.took < patience(Duration::from_secs(9)), "{:?} until the end", ended.took);
    assert_eq!(ended.events("telemetry.left_behind").len(), 1);
    assert_eq!(world.waiting().len(), 3_000, "all of it goes on at the next start");
}

#[test]
fn a_collector_that_is_away_is_told_of_once() {
    // A port that nothing listens at, and that no other program takes.
    let mut away = Server::start(&Options::default()).expect("a server");
    away.stop();
    let endpoint = away.endpoint();
    let address = endpoint.trim_start_matches("http://");
    let world = exporting_to(&format!("http://user:secret@{address}"));
    let daemon = world.start().ready();
    for signal in ["traces", "metrics"] {
        world.pass_a_marker(signal);
        daemon.wait_for_line(&format!("no word of {signal}"), |line| {
            line.event() == "telemetry.export_failed" && line.text("signal") == signal
        });
    }
    // Time for many more tries.
    sleep_for(Duration::from_secs(2));
    world.pass_a_marker("after");
    let ended = daemon.stop();
    assert_eq!(ended.events("telemetry.export_failed").len(), 2, "one for each signal");
    assert!(!ended.lines.iter().any(|line| line.shown().contains("secret")));
    assert_eq!(ended.errors, "");
}

#[test]
fn what_is_asked_for_and_not_done_is_told_and_stops_nothing() {
    let mut world = exporting_to("http://127.0.0.1:9");
    world.variable("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
    world.variable("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem");
    let daemon = world.start().ready();
    until("each is named", || {
        let ignored = |name| daemon.has(|line| line.text("variable") == name);
        ignored("OTEL_EXPORTER_OTLP_PROTOCOL") && ignored("OTEL_EXPORTER_OTLP_CERTIFICATE")
    });
    world.pass_a_marker("marker");
    daemon.stop();
}
