//! Who may steer the daemon, and how its commands find it.

use crate::harness::http::{Endpoints, control, get, post, send};
use crate::harness::{Daemon, World, patience, until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn world() -> World {
    let mut world = World::new();
    world.set("listen_address", "127.0.0.1:0");
    world.set("admin_address", "127.0.0.1:0");
    world.tree.write("file", "content");
    world
}

fn started(world: &World) -> (Daemon, Endpoints) {
    let daemon = world.start();
    let endpoints = Endpoints::of(&daemon);
    (daemon.ready(), endpoints)
}

#[test]
fn every_control_request_is_logged_with_who_sent_it() {
    let world = world();
    let (daemon, endpoints) = started(&world);
    let mode = fs::metadata(&endpoints.socket).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(endpoints.post("/-/rescan", "").0, 200);
    let line = daemon.wait_for("control.request");
    let pid = format!("pid {}", std::process::id());
    assert_eq!(line.text("url.path"), "/-/rescan");
    assert!(line.text("client").contains(&pid), "{}", line.shown());
    assert_eq!(post(endpoints.admin, "/-/prestop", "").0, 403);
    let line = daemon.wait_for("control.refused");
    assert!(line.text("client").starts_with("127.0.0.1:"), "{}", line.shown());
    daemon.stop();
    assert!(!endpoints.socket.try_exists().expect("known"), "the socket goes with the daemon");
}

#[test]
fn root_may_use_the_socket_of_a_service_that_runs_as_another_user() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs another user");
        return;
    }
    let world = world().without_rights();
    let (daemon, endpoints) = started(&world);
    assert_eq!(endpoints.post("/-/rescan", "").0, 200);
    daemon.stop();
}

#[test]
fn the_token_of_the_file_permits_changes_by_tcp_as_it_is_now() {
    let mut world = world();
    let token = world.sibling_path("token");
    fs::write(&token, "0123456789abcdef0123\n").expect("written");
    world.set("admin_token_file", &token.to_string_lossy());
    let (daemon, endpoints) = started(&world);
    let admin = endpoints.admin;
    let sent = |token: &str| {
        let request = format!(
            "POST /-/rescan HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
        );
        send(admin, &request).0
    };
    assert_eq!(post(admin, "/-/rescan", "").0, 401);
    assert_eq!(sent("0123456789abcdef0124"), 401);
    assert_eq!(sent("0123456789abcdef0123"), 200);
    fs::write(&token, "another-token-of-24-bytes").expect("written");
    assert_eq!((sent("0123456789abcdef0123"), sent("another-token-of-24-bytes")), (401, 200));
    fs::remove_file(&token).expect("removed");
    assert_eq!(sent("another-token-of-24-bytes"), 503);
    let told = daemon.wait_for_line("the file is named", |line| {
        line.event() == "control.refused" && line.text("reason").contains("No such file")
    });
    assert!(told.text("reason").contains("/token"), "{}", told.shown());
    daemon.stop();
}

#[test]
fn a_socket_of_a_dead_instance_is_replaced_and_what_is_none_is_left() {
    let world = world();
    let socket = world.state_dir().join("admin.sock");
    fs::create_dir_all(world.state_dir()).expect("made");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("bound"));
    let (daemon, endpoints) = started(&world);
    assert_eq!(control(&socket, "/-/rescan", "").0, 200);
    assert_eq!(endpoints.socket, socket);
    daemon.kill();
    fs::remove_file(&socket).expect("it was left");
    fs::write(&socket, "precious").expect("written");
    let daemon = world.start().ready();
    let told = daemon.wait_for("listener.unavailable");
    assert_eq!(told.text("setting"), "admin_socket");
    assert!(told.text("error.message").contains("not a socket"), "{}", told.shown());
    assert_eq!(fs::read_to_string(&socket).expect("read"), "precious");
    fs::remove_file(&socket).expect("removed");
    daemon.wait_for_line("it listens", |line| {
        line.text("setting") == "admin_socket" && line.event() == "http.listening"
    });
    daemon.stop();
}

#[test]
fn commands_find_the_daemon_although_the_configuration_is_not_valid() {
    let mut world = world();
    let config = world.sibling_path("mounted.yml");
    fs::write(&config, "retry_interval_seconds: 7\n").expect("written");
    let path = config.to_string_lossy().into_owned();
    let daemon = Daemon::spawn(world.command(&["run", "--config", &path]));
    let endpoints = Endpoints::of(&daemon);
    let daemon = daemon.ready();
    for invalid in ["watch_mode: never\nunknown: 1\n", "[{", "admin_socket: [1]\n"] {
        fs::write(&config, invalid).expect("written");
        for arguments in [
            &["status"][..],
            &["flush"],
            &["queue", "list"],
            &["queue", "retry"],
            &["health", "--live"],
            &["health", "--started"],
        ] {
            let said = world.run(&[arguments, &["--config", &path]].concat());
            assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.errors);
            assert_eq!(said.errors.lines().count(), 1, "one line of note: {}", said.errors);
        }
    }
    // The state directory named only in what cannot be read any more is the packaged one or the default.
    world.set("admin_address", "off");
    assert_eq!(world.run(&["prestop", "--config", &path]).code, Some(0));
    until("it was announced", || endpoints.status()["phase"] == "ending");
    daemon.stop();
    assert_eq!(world.run(&["check-config", "--config", &path]).code, Some(78));
}

#[test]
fn held_deletes_are_approved_by_their_number() {
    let mut world = world();
    world.set("delete_limit_count", "10");
    world.tree.fill("folder", 30);
    world.tree.fill("other", 10);
    let (daemon, endpoints) = started(&world);
    world.wait_until_done();
    world.tree.remove_folder("folder");
    until("they are held", || endpoints.status()["deletes"]["held"] == 30);
    let said = world.run(&["deletes", "approve", "--expect", "29"]);
    assert_eq!(said.code, Some(1), "{}", said.errors);
    assert!(said.errors.contains("30 deletes are held or delayed, not 29"), "{}", said.errors);
    assert_eq!(endpoints.status()["deletes"]["held"], 30);
    let said = world.run(&["deletes", "approve", "--expect", "30"]);
    assert_eq!((said.code, &*said.output), (Some(0), "30 deletes approved\n"), "{}", said.errors);
    world.wait_until_done();
    assert_eq!(world.deleted().len(), 30);
    daemon.stop();
}

#[test]
fn a_new_instance_waits_for_the_state_and_then_takes_over() {
    let mut world = world();
    world.set("lock_timeout_seconds", "60");
    let (first, _) = started(&world);
    world.wait_until_done();
    let second = world.start();
    second.wait_for("instance.waiting");
    let public = second
        .wait_for_line("it listens", |line| line.text("setting") == "listen_address")
        .text("address")
        .parse()
        .expect("an address");
    assert_eq!((get(public, "/startupz").0, get(public, "/livez").0), (200, 200));
    let (code, reasons) = get(public, "/readyz");
    assert!(code == 503 && reasons.contains("another instance"), "{code}: {reasons}");
    assert!(get(public, "/status").1.contains("\"state\":\"waiting-for-instance\""));
    first.stop();
    let second = second.ready();
    world.tree.write("new", "content");
    world.wait_for_object("new", "content");
    let endpoints = Endpoints::of(&second);
    assert_eq!(endpoints.post("/-/flush", "").0, 200);
    second.stop();
}

#[test]
fn waiting_for_another_instance_ends_at_sigterm_or_when_its_time_is_over() {
    let mut world = world();
    let (first, _) = started(&world);
    world.set("lock_timeout_seconds", "600");
    let second = world.start();
    second.wait_for("instance.waiting");
    let ended = second.stop();
    assert!(ended.took < patience(Duration::from_secs(5)), "{:?}", ended.took);
    let left = ended.events("shutdown.left_over");
    assert!(left[0].text("message").contains("the next start compares it"), "{}", left[0].shown());
    world.set("lock_timeout_seconds", "1");
    assert_eq!(world.once().code(), Some(73));
    assert_eq!(world.start().wait().code(), Some(73));
    first.stop();
}

#[test]
fn who_never_got_the_state_does_not_end_as_if_everything_were_in_s3() {
    let mut world = world();
    let (first, _) = started(&world);
    world.set("lock_timeout_seconds", "600");
    world.set("state_survives", "no");
    for command in ["run", "once"] {
        let second = Daemon::spawn(world.command(&[command]));
        second.wait_for("instance.waiting");
        let ended = second.terminate();
        assert_eq!((ended.code(), ended.signal()), (Some(75), None), "{command}: {}", ended.errors);
        let left = ended.events("shutdown.left_over");
        assert!(left[0].is_true("uncompared"), "{}", left[0].shown());
        assert!(left[0].text("message").contains("does not survive"), "{}", left[0].shown());
    }
    first.stop();
}

#[test]
fn an_application_flushes_without_a_token_and_gets_the_true_result() {
    let mut world = world();
    let (daemon, endpoints) = started(&world);
    world.tree.write("result", "content");
    let (code, body) = post(endpoints.admin, "/-/flush?timeout=60s", "");
    let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let answered = (code, &answer["flushed"], &answer["skipped"]);
    assert_eq!(answered, (200, &true.into(), &0.into()), "{body}");
    assert!(answer["done"]["uploads"].as_u64() >= Some(1), "{body}");
    assert_eq!(world.object("result").as_deref(), Some(&b"content"[..]));
    world.server.stop();
    world.tree.write("result", "changed");
    let (code, body) = post(endpoints.admin, "/-/flush?timeout=1s", "");
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((code, &body["flushed"]), (504, &false.into()), "{body}");
    assert_eq!(post(endpoints.admin, "/-/flush?timeout=2h", "").0, 400, "it is bounded");
    world.server.resume().expect("the address is ours");
    daemon.stop();
}
