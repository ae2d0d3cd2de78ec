//! Probes, status and control over HTTP, and the commands that use them.

use crate::harness::http::{Endpoints, get, post, send};
use crate::harness::{Daemon, World, patience, rounds, until};
use file_sync_dev_s3::{Action, Rule};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
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
fn run(world: &World, endpoints: Endpoints, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = world.command(arguments);
    let output = command.arg("--address").arg(endpoints.admin.to_string()).output().expect("ran");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn file_names_leave_by_the_loopback_address_alone() {
    let world = world();
    world.tree.write("secret-name", "content");
    let (daemon, endpoints) = started(&world);
    world.wait_until_done();
    until("it is told", || endpoints.status()["in_sync"] == true);
    for path in ["/status", "/", "/metrics", "/readyz", "/page.js"] {
        let (code, body) = get(endpoints.public, path);
        assert_eq!(code, 200, "{path}: {body}");
        let directory = world.tree.root().to_string_lossy();
        let told = body.contains("secret-name") || body.contains(&*directory);
        assert!(!told, "{path}: {body}");
    }
    let status = endpoints.status();
    assert_eq!(status["recent"][0]["path"], "secret-name");
    assert!(status["settings"].as_array().is_some_and(|settings| settings.len() > 20));
    daemon.stop();
}

#[test]
fn the_status_says_what_cloudfront_is_told_and_why_it_is_not() {
    let (world, cloudfront) =
        world().setting("cloudfront_monthly_path_limit", "100").behind_cloudfront();
    world.tree.write("secret-name", "content");
    let (daemon, endpoints) = started(&world);
    world.wait_until_done();
    let told = || endpoints.status()["invalidations"].clone();
    let quiet = told();
    assert_eq!((&quiet["waiting_paths"], &quiet["failing"]), (&0.into(), &false.into()));
    assert_eq!(quiet["month"]["limit"], 100);

    cloudfront.fail(Rule::new(Action::access_denied()).on("CreateInvalidation"));
    world.tree.write("secret-name", "changed");
    until("it is refused", || told()["failing"] == true);
    let refused = told();
    assert_eq!((&refused["waiting_paths"], &refused["month"]["paths"]), (&1.into(), &1.into()));
    assert_eq!(refused["last_error"]["code"], "AccessDenied");
    let (code, table) = run(&world, endpoints, &["status"]);
    let line = "CloudFront   1 waiting; 1 of 100 paths this month; 0 under way";
    assert!(
        code == Some(0) && table.contains(line) && table.contains("AccessDenied at"),
        "{table}"
    );
    assert!(!get(endpoints.public, "/status").1.contains("secret-name"));

    daemon.stop();
    cloudfront.faults().clear();
    let (daemon, endpoints) = started(&world);
    let told = || endpoints.status()["invalidations"].clone();
    until("it is told", || told()["last_success"].is_string() && told()["waiting_paths"] == 0);
    assert_eq!(told()["month"]["paths"], 1);
    daemon.stop();
}

/// The value of a series, labels included, of what Prometheus would read.
fn metric(endpoints: Endpoints, series: &str) -> Option<f64> {
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
        until(&format!("{series} {value}"), || metric(endpoints, &series) == Some(value));
    };
    shows("watch_mode{mode=\"events\"}", 1.0);
    shows("source_available", 1.0);
    shows("watched_directories", 3.0);
    shows("pending_bytes", 0.0);
    assert!(metric(endpoints, "file_sync_watch_limit").is_some_and(|limit| limit > 0.0));
    let away = world.server.fail(Rule::new(Action::internal_error()));
    world.tree.write("waits", "12345");
    shows("pending_bytes", 5.0);
    shows("outage{class=\"unavailable\"}", 1.0);
    until("it grows old", || {
        metric(endpoints, "file_sync_oldest_pending_age_seconds").is_some_and(|age| age >= 1.0)
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
        let request = format!("POST /-/rescan HTTP/1.1\r\n{lines}\r\nConnection: close\r\n\r\n");
        assert_eq!(send(admin, &request).0, 403, "{lines}");
    }
    assert_eq!(post(admin, "/-/rescan", "").0, 200);
    daemon.stop();
}

#[test]
fn an_outage_makes_it_unready_and_leaves_it_alive() {
    let mut world = world();
    let (daemon, endpoints) = started(&world);
    until("it is ready", || get(endpoints.public, "/readyz").0 == 200);
    world.server.stop();
    world.tree.fill("folder", 10);
    daemon.wait_for("s3.unavailable");
    until("it is unready", || get(endpoints.public, "/readyz").0 == 503);
    let (_, reasons) = get(endpoints.public, "/readyz");
    assert!(reasons.contains("S3 takes nothing"), "{reasons}");
    assert_eq!(get(endpoints.public, "/livez").0, 200);
    assert_eq!(get(endpoints.public, "/startupz").0, 200);
    assert_eq!(endpoints.status()["state"], "s3-unavailable");
    let (code, told) = run(&world, endpoints, &["flush", "--timeout", "500ms"]);
    assert_eq!(code, Some(75), "{told}");
    assert_eq!(run(&world, endpoints, &["health", "--ready"]).0, Some(1));
    assert_eq!(run(&world, endpoints, &["health", "--live"]).0, Some(0));
    world.server.resume().expect("the address is ours");
    assert_eq!(run(&world, endpoints, &["flush"]).0, Some(0));
    assert_eq!(world.difference(), Ok(()));
    until("it is ready", || get(endpoints.public, "/readyz").0 == 200);
    daemon.stop();
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
    assert_eq!(endpoints.status()["state"], "source-missing");
    assert_eq!(post(endpoints.admin, "/-/flush", "").0, 503);
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
    let (code, body) = post(endpoints.admin, "/-/flush?timeout=20s", "");
    assert_eq!(code, 504, "a flush does not wait for a person: {body}");
    assert_eq!(world.deleted(), [""; 0]);
    let (code, body) = post(endpoints.admin, "/-/approve-deletes", "");
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
        // Somebody else goes on writing.
        world.tree.write("busy", format!("{round}"));
        let (code, body) = post(endpoints.admin, "/-/flush?timeout=60s", "");
        assert_eq!(code, 200, "round {round}: {body}");
        let object = world.object(&name);
        assert_eq!(object.as_deref(), Some(content.as_bytes()), "round {round}: {name}");
        if round % 10 == 9 {
            world.tree.remove(&name);
            assert_eq!(post(endpoints.admin, "/-/flush", "").0, 200);
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
    assert_eq!(run(&world, endpoints, &["flush"]).0, Some(0));
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
    let (code, _) = post(endpoints.admin, "/-/log-level", &large);
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
    let (code, told) = run(&world, endpoints, &["queue", "list"]);
    assert_eq!(code, Some(0));
    assert!(told.contains("bad") && told.contains("AccessDenied"), "{told}");
    world.server.faults().clear();
    assert_eq!(run(&world, endpoints, &["queue", "retry", "bad"]).0, Some(0));
    world.wait_for_object("bad", "content");
    assert_eq!(run(&world, endpoints, &["queue", "retry", "../bad"]).0, Some(1));
    daemon.stop();
}

#[test]
fn the_commands_say_how_it_is_and_that_nobody_is_there() {
    let world = world();
    let (daemon, endpoints) = started(&world);
    until("in sync", || endpoints.status()["in_sync"] == true);
    let (code, told) = run(&world, endpoints, &["status"]);
    assert_eq!(code, Some(0));
    assert!(told.starts_with("state        in-sync\n"), "{told}");
    let (code, told) = run(&world, endpoints, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((code, &status["schema"]), (Some(0), &1.into()));
    assert_eq!(run(&world, endpoints, &["prestop"]).0, Some(0));
    until("it is told", || endpoints.status()["phase"] == "ending");
    daemon.stop();
    for arguments in [&["status"][..], &["flush"], &["queue", "list"], &["prestop"]] {
        assert_eq!(run(&world, endpoints, arguments).0, Some(69), "{arguments:?}");
    }
    assert_eq!(run(&world, endpoints, &["health"]).0, Some(1));
}

#[test]
fn the_log_level_may_be_changed_while_it_runs() {
    let world = world().setting("log_level", "info");
    let (daemon, endpoints) = started(&world);
    assert_eq!(post(endpoints.admin, "/-/log-level", "info,=").0, 400);
    assert_eq!(post(endpoints.admin, "/-/log-level", "debug").0, 200);
    world.tree.write("file", "content");
    daemon.wait_for_file("change.queued", "file");
    daemon.stop();
}

#[test]
fn an_address_that_is_taken_ends_with_1_and_names_the_setting() {
    let mut world = world();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    world.set("listen_address", &taken.local_addr().expect("known").to_string());
    let message = world.beside("termination-log");
    fs::write(&message, "").expect("made");
    world.set("termination_message_path", &message.to_string_lossy());
    let ended = world.start().wait();
    assert_eq!(ended.code(), Some(1));
    assert!(ended.events("service.failed")[0].text("error.message").contains("listen_address"));
    let message = fs::read_to_string(message).expect("read");
    assert!(message.contains("listen_address") && message.contains("\"exit_code\":1"), "{message}");
}

#[test]
fn the_status_file_follows_and_holds_no_names() {
    let mut world = world();
    let file = world.beside("status.json");
    world.set("status_file", &file.to_string_lossy());
    let (daemon, _) = started(&world);
    world.tree.write("secret-name", "content");
    world.wait_for_object("secret-name", "content");
    until("it is told", || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains(r#""mirrored_files":1"#))
    });
    assert!(!fs::read_to_string(&file).expect("read").contains("secret-name"));
    daemon.stop();
}
