//! Probes, status and control over HTTP, and the commands that use them.

use crate::harness::http::{Endpoints, get, post, send};
use crate::harness::{Daemon, World, patience, rounds, until};
use file_sync_dev_s3::{Action, Rule};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

fn started(world: &World) -> (Daemon, Endpoints) {
    let daemon = world.start();
    let endpoints = Endpoints::of(&daemon);
    (daemon.ready(), endpoints)
}

fn world() -> World {
    let mut world = World::new();
    world.set("listen_address", "127.0.0.1:0");
    world.set("admin_address", "127.0.0.1:0");
    world
}

/// Runs a command against the daemon: its code, and what it printed.
fn run(world: &World, endpoints: &Endpoints, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = world.command(arguments);
    let output = command.arg("--socket").arg(&endpoints.socket).output().expect("ran");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn file_names_leave_by_the_loopback_address_alone() {
    let world = world();
    world.tree.write("secret-name", "content");
    let (daemon, endpoints) = started(&world);
    world.wait_until_done();
    until("the status has it", || endpoints.status()["in_sync"] == true);
    for path in ["/status", "/", "/metrics", "/readyz", "/page.js"] {
        let (code, body) = get(endpoints.public, path);
        assert_eq!(code, 200, "{path}: {body}");
        let directory = world.tree.root().to_string_lossy();
        let reported = body.contains("secret-name") || body.contains(&*directory);
        assert!(!reported, "{path}: {body}");
    }
    let status = endpoints.status();
    assert_eq!(status["recent"][0]["path"], "secret-name");
    assert!(status["settings"].as_array().is_some_and(|settings| settings.len() > 20));
    daemon.stop();
}

#[test]
fn the_status_shows_invalidations_and_why_they_fail() {
    let (world, cloudfront) =
        world().setting("cloudfront_monthly_path_limit", "100").behind_cloudfront();
    world.tree.write("secret-name", "content");
    let (daemon, endpoints) = started(&world);
    world.wait_until_done();
    let reported = || endpoints.status()["invalidations"].clone();
    let quiet = reported();
    assert_eq!((&quiet["waiting_paths"], &quiet["failing"]), (&0.into(), &false.into()));
    assert_eq!(quiet["month"]["limit"], 100);

    cloudfront.fail(Rule::new(Action::access_denied()).on("CreateInvalidation"));
    world.tree.write("secret-name", "changed");
    until("it is refused", || reported()["failing"] == true);
    let refused = reported();
    assert_eq!((&refused["waiting_paths"], &refused["month"]["paths"]), (&1.into(), &1.into()));
    assert_eq!(refused["last_error"]["code"], "AccessDenied");
    let (code, table) = run(&world, &endpoints, &["status"]);
    let line = "CloudFront   1 waiting; 1 of 100 paths this month; 0 under way";
    assert!(
        code == Some(0) && table.contains(line) && table.contains("AccessDenied at"),
        "{table}"
    );
    assert!(!get(endpoints.public, "/status").1.contains("secret-name"));

    daemon.stop();
    cloudfront.faults().clear();
    let (daemon, endpoints) = started(&world);
    let reported = || endpoints.status()["invalidations"].clone();
    until("the status has it", || {
        reported()["last_success"].is_string() && reported()["waiting_paths"] == 0
    });
    assert_eq!(reported()["month"]["paths"], 1);
    daemon.stop();
}

/// The value of a series, labels included, of what Prometheus would read.
fn metric(endpoints: &Endpoints, series: &str) -> Option<f64> {
    let (_, text) = get(endpoints.public, "/metrics");
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    value.parse().ok()
}

#[test]
fn gauges_tell_how_things_stand() {
    let mut world = world();
    world.set("delete_limit_count", "2");
    world.set("delete_limit_percent", "10");
    world.tree.fill("folder", 9);
    world.tree.write("other/deep", "content");
    let (daemon, endpoints) = started(&world);
    world.wait_until_done();
    let shows = |series: &str, value: f64| {
        let series = format!("file_sync_{series}");
        until(&format!("{series} {value}"), || metric(&endpoints, &series) == Some(value));
    };
    shows("watch_mode{mode=\"events\"}", 1.0);
    shows("source_available", 1.0);
    shows("watched_directories", 3.0);
    shows("pending_bytes", 0.0);
    assert!(metric(&endpoints, "file_sync_watch_limit").is_some_and(|limit| limit > 0.0));
    let away = world.server.fail(Rule::new(Action::internal_error()));
    world.tree.write("waits", "12345");
    shows("pending_bytes", 5.0);
    shows("outage{class=\"unavailable\"}", 1.0);
    until("it grows old", || {
        metric(&endpoints, "file_sync_oldest_pending_age_seconds").is_some_and(|age| age >= 1.0)
    });
    world.server.faults().remove(away);
    shows("outage{class=\"unavailable\"}", 0.0);
    world.tree.remove_folder("folder");
    shows("deletes_held", 9.0);
    daemon.stop();
}

#[test]
fn nothing_on_the_public_address_changes_anything() {
    let world = world();
    let (daemon, endpoints) = started(&world);
    for path in ["flush", "rescan", "prestop", "approve-deletes", "retry", "log-level"] {
        assert_eq!(post(endpoints.public, &format!("/-/{path}"), "").0, 404, "{path}");
        assert_eq!(get(endpoints.admin, &format!("/-/{path}")).0, 405, "{path}");
        if path != "flush" {
            let (code, reported) = post(endpoints.admin, &format!("/-/{path}"), "");
            assert_eq!(code, 403, "{path}: {reported}");
            assert!(reported.contains("admin_socket"), "{reported}");
        }
    }
    assert_eq!(get(endpoints.public, "/queue").0, 404);
    daemon.stop();
}

#[test]
fn a_request_that_another_site_made_a_browser_send_is_refused() {
    let world = world();
    let (daemon, endpoints) = started(&world);
    let admin = endpoints.admin;
    for lines in [
        "Host: evil.example".to_owned(),
        format!("Host: {admin}\r\nOrigin: http://evil.example"),
        format!("Host: {admin}\r\nSec-Fetch-Site: cross-site"),
    ] {
        let request = format!("POST /-/flush HTTP/1.1\r\n{lines}\r\nConnection: close\r\n\r\n");
        assert_eq!(send(admin, &request).0, 403, "{lines}");
    }
    assert_eq!(post(admin, "/-/flush", "").0, 200);
    daemon.stop();
}

#[test]
fn an_outage_makes_it_unready_and_leaves_it_alive() {
    let mut world = world();
    let (daemon, endpoints) = started(&world);
    until("it is ready", || get(endpoints.public, "/readyz").0 == 200);
    world.server.stop();
    world.tree.fill("folder", 10);
    let line = daemon.wait_for("s3.unavailable");
    assert_eq!((line.text("class"), line.text("error.type")), ("unavailable", "connection"));
    assert!(line.text("error.message").contains("Connection refused"), "{}", line.shown());
    until("it is unready", || get(endpoints.public, "/readyz").0 == 503);
    let (_, reasons) = get(endpoints.public, "/readyz");
    let endpoint = world.server.endpoint();
    let address = endpoint.trim_start_matches("http://");
    let sentence = format!("S3 unreachable: connection refused ({address})");
    assert_eq!(line.text("cause"), sentence);
    assert!(reasons.contains(&sentence), "{reasons}");
    let status = endpoints.status();
    assert_eq!(status["s3"]["outage"]["error_type"], "connection", "{status}");
    assert_eq!(status["s3"]["outage"]["cause"], *sentence);
    assert!(status["cause"].as_str().is_some_and(|cause| cause.starts_with(&sentence)), "{status}");
    assert!(run(&world, &endpoints, &["status"]).1.contains(&sentence));
    assert_eq!(get(endpoints.public, "/livez").0, 200);
    assert_eq!(get(endpoints.public, "/startupz").0, 200);
    assert_eq!(endpoints.status()["state"], "s3-unavailable");
    let (code, reported) = run(&world, &endpoints, &["flush", "--timeout", "500ms"]);
    assert_eq!(code, Some(75), "{reported}");
    assert_eq!(run(&world, &endpoints, &["health", "--ready"]).0, Some(1));
    assert_eq!(run(&world, &endpoints, &["health", "--live"]).0, Some(0));
    world.server.resume().expect("the address is ours");
    assert_eq!(run(&world, &endpoints, &["flush"]).0, Some(0));
    assert_eq!(world.difference(), Ok(()));
    until("it is ready", || get(endpoints.public, "/readyz").0 == 200);
    daemon.stop();
}

#[test]
fn a_store_that_refuses_is_named_with_class_and_cause_wherever_one_looks() {
    let world = world();
    let (daemon, endpoints) = started(&world);
    let refused = world.server.fail(Rule::new(Action::access_denied()));
    world.tree.write("secret-name", "content");
    let line = daemon.wait_for("s3.unavailable");
    assert_eq!((line.text("class"), line.text("error.type")), ("refused", "AccessDenied"));
    until("it is unready", || get(endpoints.public, "/readyz").0 == 503);
    let outage = endpoints.status()["s3"]["outage"].clone();
    let reported = (&outage["class"], &outage["error_type"]);
    assert_eq!(reported, (&"refused".into(), &"AccessDenied".into()), "{outage}");
    assert_eq!(metric(&endpoints, "file_sync_outage{class=\"refused\"}"), Some(1.0));
    for path in ["/readyz", "/status"] {
        let text = get(endpoints.public, path).1;
        assert!(text.contains("AccessDenied") && !text.contains("secret-name"), "{path}: {text}");
    }
    let (code, table) = run(&world, &endpoints, &["status"]);
    assert!(code == Some(0) && table.contains("AccessDenied"), "{table}");
    let (code, reported) = run(&world, &endpoints, &["flush", "--timeout", "500ms"]);
    assert!(code == Some(75) && reported.contains("AccessDenied"), "{reported}");
    world.server.faults().remove(refused);
    daemon.stop();
}

#[test]
fn answers_to_retry_and_flush_say_what_was_done() {
    let mut world = world();
    world.set("ignore", "*.secret");
    world.tree.write("first", "content");
    world.tree.write("key.secret", "never sent");
    let (daemon, endpoints) = started(&world);
    let (code, flushed) = run(&world, &endpoints, &["flush"]);
    assert!(code == Some(0) && flushed.starts_with("everything is in S3: "), "{flushed}");
    let (code, retried) = run(&world, &endpoints, &["queue", "retry", "nope.txt"]);
    assert_eq!(code, Some(1), "{retried}");
    assert!(retried.contains("nope.txt: nothing waits for this path"), "{retried}");
    assert_eq!(run(&world, &endpoints, &["queue", "retry", "key.secret"]).0, Some(1));
    world.pass_a_marker("marker");
    assert!(world.versions("key.secret").is_empty(), "it is ignored");
    world.tree.remove("key.secret");
    let address = format!("localhost:{}", endpoints.admin.port());
    let status = world.run(&["status", "--json", "--address", &address]);
    assert_eq!(status.code, Some(0), "{}", status.errors);
    let shard = &endpoints.status()["shard"];
    assert_eq!((&shard["index"], &shard["count"]), (&0.into(), &1.into()));
    world.server.stop();
    world.tree.fill("folder", 20);
    daemon.wait_for("s3.unavailable");
    until("all wait", || endpoints.status()["pending"]["files"] == 20);
    until("the outage is known", || endpoints.status()["state"] == "s3-unavailable");
    let (code, retried) = run(&world, &endpoints, &["queue", "retry"]);
    assert_eq!(code, Some(0), "{retried}");
    assert!(retried.contains("connection refused") && retried.contains("one of 20 "), "{retried}");
    world.server.resume().expect("the address is ours");
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn a_watched_status_is_printed_again_and_again() {
    let world = world();
    let (daemon, endpoints) = started(&world);
    let mut command = world.command(&["status", "--watch", "--socket"]);
    command.arg(&endpoints.socket).stdout(Stdio::piped());
    let mut watching = command.spawn().expect("it starts");
    let lines = BufReader::new(watching.stdout.take().expect("a pipe")).lines();
    let states = lines.map_while(Result::ok).filter(|line| line.starts_with("state "));
    assert_eq!(states.take(2).count(), 2);
    watching.kill().expect("killed");
    watching.wait().expect("it has ended");
    daemon.stop();
}

#[test]
fn commands_without_a_daemon_name_the_cause_of_an_unreachable_store() {
    let mut world = World::new();
    world.tree.write("file", "content");
    world.server.stop();
    for command in ["plan", "verify"] {
        let said = world.run(&[command]);
        assert_eq!(said.code, Some(69), "{command}: {}", said.errors);
        assert!(said.errors.contains("Connection refused"), "{command}: {}", said.errors);
    }
}

#[test]
fn a_directory_that_is_missing_is_told_and_keeps_nobody_from_starting() {
    let world = world();
    fs::remove_dir(world.tree.root()).expect("removed");
    let daemon = world.start();
    let endpoints = Endpoints::of(&daemon);
    until("it is started", || get(endpoints.public, "/startupz").0 == 200);
    let (code, reasons) = get(endpoints.public, "/readyz");
    assert_eq!(code, 503);
    assert!(reasons.contains("does not exist") && !reasons.contains("watched\""), "{reasons}");
    assert_eq!(get(endpoints.public, "/livez").0, 200);
    assert_eq!(endpoints.status()["state"], "source-unavailable");
    assert_eq!(endpoints.post("/-/flush", "").0, 503);
    daemon.stop();
}

#[test]
fn held_deletes_are_done_when_a_person_approves_them() {
    let mut world = world();
    world.set("delete_limit_count", "10");
    world.tree.fill("folder", 30);
    world.tree.fill("other", 10);
    let (daemon, endpoints) = started(&world);
    world.wait_until_done();
    world.tree.remove_folder("folder");
    until("they are held", || endpoints.status()["deletes"]["held"] == 30);
    assert_eq!(endpoints.status()["state"], "deletes-held");
    let (code, body) = endpoints.post("/-/flush?timeout=20s", "");
    assert_eq!(code, 504, "a flush does not wait for a person: {body}");
    assert_eq!(world.deleted(), [""; 0]);
    let (code, body) = endpoints.post("/-/approve-deletes", "");
    assert_eq!((code, body.trim()), (200, r#"{"approved":30}"#));
    world.wait_until_done();
    assert_eq!(world.deleted().len(), 30);
    daemon.stop();
}

/// `IT_ROUNDS=1000` is the long run.
#[test]
fn what_was_written_before_a_flush_is_in_s3_when_it_answers() {
    let world = world().default_of("debounce_milliseconds").default_of("open_file_quiet_seconds");
    let (daemon, endpoints) = started(&world);
    for round in 0..rounds(40) {
        let name = format!("folder {}/{}", round % 7, round % 50);
        let content = format!("round {round}");
        if round % 3 == 0 {
            world.tree.write(format!("{name}.tmp"), &content);
            world.tree.rename(&format!("{name}.tmp"), &name);
        } else {
            world.tree.write(&name, &content);
        }
        // Another process continues to write.
        world.tree.write("busy", format!("{round}"));
        let (code, body) = endpoints.post("/-/flush?timeout=60s", "");
        assert_eq!(code, 200, "round {round}: {body}");
        let object = world.object(&name);
        assert_eq!(object.as_deref(), Some(content.as_bytes()), "round {round}: {name}");
        if round % 10 == 9 {
            world.tree.remove(&name);
            assert_eq!(endpoints.post("/-/flush", "").0, 200);
            assert_eq!(world.object(&name), None, "round {round}: {name} was deleted");
        }
    }
    daemon.stop();
}

#[test]
fn a_flush_of_a_polled_directory_compares_it() {
    let mut world = world();
    world.set("watch_mode", "poll");
    world.set("poll_interval_seconds", "3600");
    let (daemon, endpoints) = started(&world);
    world.tree.write("new", "content");
    assert_eq!(run(&world, &endpoints, &["flush"]).0, Some(0));
    assert_eq!(world.object("new").as_deref(), Some(&b"content"[..]));
    daemon.stop();
}

#[test]
fn slow_clients_and_large_requests_hurt_nobody() {
    let world = world();
    let (daemon, endpoints) = started(&world);
    let slow: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(endpoints.public).expect("connected");
            stream.write_all(b"GET /livez HTTP/1.1\r\n").ok();
            stream
        })
        .collect();
    assert_eq!(get(endpoints.public, "/livez").0, 200);
    let large = "x".repeat(1 << 20);
    let code = send(endpoints.public, &format!("GET /{large} HTTP/1.1\r\n\r\n")).0;
    assert!(matches!(code, 0 | 400 | 414 | 431), "{code}");
    let (code, _) = endpoints.post("/-/log-level", &large);
    assert!(matches!(code, 0 | 413), "{code}");
    let mut first = slow.into_iter().next().expect("one");
    first.set_read_timeout(Some(patience(Duration::from_secs(30)))).expect("set");
    assert!(matches!(first.read(&mut [0; 64]), Ok(0) | Err(_)), "the oldest made room");
    assert_eq!(get(endpoints.admin, "/livez").0, 200);
    daemon.stop();
}

#[test]
fn the_queue_is_listed_with_reasons_and_tried_again_on_request() {
    use file_sync_dev_s3::{Action, Rule};
    let world = world().setting("retry_interval_seconds", "3600");
    world.server.fail(Rule::new(Action::access_denied()).key("m/bad"));
    let (daemon, endpoints) = started(&world);
    world.tree.write("bad", "content");
    until("it waits", || endpoints.status()["queue"][0]["attempts"].as_u64() > Some(0));
    until("it is listed with its reason", || {
        let (code, reported) = run(&world, &endpoints, &["queue", "list"]);
        assert_eq!(code, Some(0));
        reported.contains("bad") && reported.contains("AccessDenied")
    });
    world.server.faults().clear();
    assert_eq!(run(&world, &endpoints, &["queue", "retry", "bad"]).0, Some(0));
    world.wait_for_object("bad", "content");
    assert_eq!(run(&world, &endpoints, &["queue", "retry", "../bad"]).0, Some(1));
    daemon.stop();
}

#[test]
fn the_commands_say_how_it_is_and_that_nobody_is_there() {
    let world = world();
    let (daemon, endpoints) = started(&world);
    until("in sync", || endpoints.status()["in_sync"] == true);
    let (code, reported) = run(&world, &endpoints, &["status"]);
    assert_eq!(code, Some(0));
    assert!(reported.starts_with("state        in-sync\n"), "{reported}");
    let (code, reported) = run(&world, &endpoints, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&reported).expect("JSON");
    assert_eq!((code, &status["schema"]), (Some(0), &1.into()));
    assert_eq!(run(&world, &endpoints, &["prestop"]).0, Some(0));
    until("the status has it", || endpoints.status()["phase"] == "ending");
    daemon.stop();
    for arguments in [&["status"][..], &["flush"], &["queue", "list"], &["prestop"]] {
        assert_eq!(run(&world, &endpoints, arguments).0, Some(69), "{arguments:?}");
    }
    assert_eq!(run(&world, &endpoints, &["health"]).0, Some(1));
}

#[test]
fn the_log_level_may_be_changed_while_it_runs() {
    let world = world().setting("log_level", "info");
    let (daemon, endpoints) = started(&world);
    assert_eq!(endpoints.post("/-/log-level", "info,=").0, 400);
    assert_eq!(endpoints.post("/-/log-level", "debug").0, 200);
    world.tree.write("file", "content");
    daemon.wait_for_file("change.queued", "file");
    daemon.stop();
}

#[test]
fn an_address_that_a_neighbour_holds_is_tried_again_and_mirroring_goes_on() {
    let mut world = world();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("known");
    world.set("listen_address", &address.to_string());
    world.set("admin_address", &address.to_string());
    world.tree.write("file", "content");
    let daemon = world.start().ready();
    world.wait_for_object("file", "content");
    let reported = daemon.wait_for("listener.unavailable");
    assert_eq!(reported.text("setting"), "listen_address");
    drop(taken);
    daemon.wait_for_line("it listens", |line| {
        line.event() == "http.listening" && line.text("address") == address.to_string()
    });
    assert_eq!(get(address, "/livez").0, 200);
    daemon.stop();
}

#[test]
fn an_address_of_no_interface_is_a_wrong_configuration() {
    let mut world = world();
    world.set("listen_address", "192.0.2.1:9187");
    let message = world.sibling_path("termination-log");
    fs::write(&message, "").expect("made");
    world.set("termination_message_path", &message.to_string_lossy());
    let ended = world.start().wait();
    assert_eq!(ended.code(), Some(78));
    assert!(ended.events("service.failed")[0].text("error.message").contains("listen_address"));
    let message = fs::read_to_string(message).expect("read");
    assert!(
        message.contains("listen_address") && message.contains("\"exit_code\":78"),
        "{message}"
    );
}

#[test]
fn the_status_file_follows_and_holds_no_names() {
    let mut world = world();
    let file = world.sibling_path("status.json");
    world.set("status_file", &file.to_string_lossy());
    let (daemon, _) = started(&world);
    world.tree.write("secret-name", "content");
    world.wait_for_object("secret-name", "content");
    until("the status has it", || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains(r#""mirrored_files":1"#))
    });
    assert!(!fs::read_to_string(&file).expect("read").contains("secret-name"));
    daemon.stop();
}

#[test]
fn a_request_with_two_hosts_is_refused() {
    let world = world();
    let (daemon, endpoints) = started(&world);
    for address in [endpoints.public, endpoints.admin] {
        let hosts = format!("Host: {address}\r\nHost: evil.example");
        let request = format!("GET /livez HTTP/1.1\r\n{hosts}\r\nConnection: close\r\n\r\n");
        assert_eq!(send(address, &request).0, 400);
    }
    daemon.stop();
}
