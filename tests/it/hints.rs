//! Hints of other nodes: they make the service look at once, and can do nothing else.

use crate::harness::http::{Endpoints, get, send};
use crate::harness::{Daemon, World, until};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;

const TOKEN: &str = "a token of more than sixteen bytes";

/// A world in which nothing but a hint finds a change soon.
fn world() -> World {
    let world = World::new();
    fs::write(world.sibling_path("token"), TOKEN).expect("written");
    let token = world.sibling_path("token").to_string_lossy().into_owned();
    world
        .setting("watch_mode", "poll")
        .setting("poll_interval_seconds", "3600")
        .setting("poll_full_interval_seconds", "7200")
        .setting("listen_address", "127.0.0.1:0")
        .setting("admin_address", "127.0.0.1:0")
        .setting("hint_listen_address", "127.0.0.1:0")
        .setting("hint_token_file", &token)
}

fn started(world: &World) -> (Daemon, Endpoints, SocketAddr) {
    let daemon = world.start();
    let endpoints = Endpoints::of(&daemon);
    let line = daemon.wait_for_line("the address for hints", |line| {
        line.event() == "http.listening" && line.text("setting") == "hint_listen_address"
    });
    let address = line.text("address").parse().expect("an address");
    let daemon = daemon.ready();
    world.wait_until_done();
    (daemon, endpoints, address)
}

fn request(address: SocketAddr, token: &str, body: &str) -> String {
    let head = format!(
        "POST /-/hints HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         File-Sync-Relay: node-1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    head + body
}

/// Posts hints, and returns the status.
fn hint(address: SocketAddr, body: &str) -> u16 {
    send(address, &request(address, TOKEN, body)).0
}

fn closed(name: &str) -> String {
    format!("{{\"path\":\"{name}\",\"what\":\"closed\"}}\n")
}

fn hints(endpoints: &Endpoints, result: &str) -> u64 {
    let series = format!("file_sync_hints_total{{result=\"{result}\"}} ");
    let (_, text) = get(endpoints.public, "/metrics");
    let value = text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok());
    value.expect("the metric is there")
}

#[test]
fn a_hint_has_its_path_inspected_at_once() {
    let world = world();
    world.tree.write("old", "old");
    let (daemon, endpoints, address) = started(&world);
    world.tree.write("new/file", "new");
    assert_eq!(hint(address, &closed("new/file")), 202);
    world.wait_for_object("new/file", "new");
    world.tree.rename("new/file", "new/name");
    let renamed = "{\"path\":\"new/name\",\"what\":\"renamed\"}\n\
                   {\"path\":\"new/file\",\"what\":\"deleted\"}";
    assert_eq!(hint(address, renamed), 202);
    world.wait_for_object("new/name", "new");
    until("the old name is gone", || world.object("new/file").is_none());
    world.tree.fill("many", 20);
    assert_eq!(hint(address, "{\"path\":\"many\",\"what\":\"tree\"}"), 202);
    world.wait_until_done();
    until("the relay is known", || endpoints.status()["relays"]["fresh"] == 1);
    assert_eq!(hints(&endpoints, "taken"), 4);
    daemon.stop();
}

#[test]
fn a_hint_of_a_state_that_is_not_there_yet_is_inspected_again() {
    let world = world();
    world.tree.write("file", "before");
    let (daemon, _, address) = started(&world);
    // As while another node still sees the file before.
    let meta = |name: &Path| {
        use std::os::unix::fs::MetadataExt as _;
        let meta = fs::metadata(name).expect("there");
        (meta.len(), meta.mtime() * 1_000_000_000 + meta.mtime_nsec())
    };
    let later = world.sibling_path("later");
    fs::write(&later, "the state after").expect("written");
    let (size, mtime) = meta(&later);
    let line =
        format!("{{\"path\":\"file\",\"size\":{size},\"mtime\":{mtime},\"what\":\"closed\"}}");
    assert_eq!(hint(address, &line), 202);
    world.tree.write("marker", "marker");
    assert_eq!(hint(address, &closed("marker")), 202);
    world.wait_for_object("marker", "marker");
    fs::rename(&later, world.tree.path("file")).expect("moved in");
    world.wait_for_object("file", "the state after");
    daemon.stop();
}

#[test]
fn forged_hints_delete_nothing_read_nothing_outside_and_are_bounded() {
    let world = world();
    world.tree.write("kept", "kept");
    fs::write(world.sibling_path("secret"), "secret").expect("written");
    symlink(world.sibling_path("secret"), world.tree.path("link")).expect("made");
    symlink(world.sibling_path(""), world.tree.path("up")).expect("made");
    let (daemon, endpoints, address) = started(&world);
    let refused = [
        "{\"path\":\"../secret\",\"what\":\"closed\"}".to_owned(),
        "{\"path\":\"/etc/passwd\",\"what\":\"closed\"}".to_owned(),
        format!("{{\"path\":\"{}\",\"what\":\"closed\"}}", "x".repeat(4_096)),
        "nonsense".to_owned(),
    ];
    let taken = [
        "{\"path\":\"kept\",\"what\":\"deleted\"}".to_owned(),
        closed("link").trim().to_owned(),
        closed("up/secret").trim().to_owned(),
        closed(".hidden").trim().to_owned(),
        "{\"path\":\"kept\",\"what\":\"tree\"}".to_owned(),
        "{\"path\":\"absent/dir\",\"what\":\"tree\"}".to_owned(),
        "{\"path\":\"kept\",\"size\":9,\"mtime\":99999999999,\"what\":\"closed\"}".to_owned(),
    ];
    let body = [&refused[..], &taken[..]].concat().join("\n");
    for _ in 0..20 {
        assert_eq!(hint(address, &body), 202);
    }
    world.tree.write("marker", "marker");
    assert_eq!(hint(address, &closed("marker")), 202);
    world.wait_for_object("marker", "marker");
    assert_eq!(hints(&endpoints, "refused"), 80);
    world.wait_until_done();
    assert_eq!(world.deleted(), [""; 0]);
    assert!(world.history().iter().all(|change| !format!("{change:?}").contains("secret")));
    daemon.stop();
}

#[test]
fn hints_need_the_token_and_have_a_size() {
    let world = world();
    let (daemon, _, address) = started(&world);
    for token in ["", "wrong", "a token of more than sixteen bytez"] {
        assert_eq!(send(address, &request(address, token, &closed("a"))).0, 401, "{token}");
    }
    assert_eq!(hint(address, ""), 202, "a sign of life");
    assert_eq!(hint(address, &closed("a").repeat(10_001)), 413);
    assert_eq!(hint(address, &"x".repeat((1 << 20) + 1)), 413);
    let (status, _) = get(address, "/status");
    assert_eq!(status, 404, "nothing else is there");
    let body = request(address, TOKEN, "").replace("POST /-/hints", "POST /-/approve-deletes");
    assert_eq!(send(address, &body).0, 404);
    daemon.stop();
}

#[test]
fn a_flood_of_hints_is_refused_and_the_service_goes_on() {
    let world = world();
    world.tree.write("kept", "kept");
    let (daemon, endpoints, address) = started(&world);
    let mut refused = 0;
    for round in 0..20 {
        let lines: String = (0..10_000).map(|index| closed(&format!("f{round}/{index}"))).collect();
        match hint(address, &lines) {
            202 => {}
            429 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert!(refused > 0, "a flood is not taken as a whole");
    assert!(hints(&endpoints, "dropped") > 0);
    world.tree.write("after", "after");
    until("hints are taken again", || hint(address, &closed("after")) == 202);
    world.wait_for_object("after", "after");
    world.wait_until_done();
    assert_eq!(world.deleted(), [""; 0]);
    assert!(daemon.peak_mib() < 400, "{}", daemon.peak_mib());
    daemon.stop();
}

#[test]
fn an_address_for_hints_needs_a_token_file() {
    let world = World::new().setting("hint_listen_address", "127.0.0.1:0");
    let run = world.run(&["check-config"]);
    assert_eq!(run.code, Some(78));
    assert!(run.errors.contains("hint_token_file"), "{}", run.errors);
}

/// Starts a relay of the world's directory, which sends to this address.
fn start_relay(world: &World, url: &str) -> Daemon {
    let mut command = world.command(&["relay"]);
    command.env("FILE_SYNC__HINT_URL", url);
    for unused in ["FILE_SYNC__S3_BUCKET", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        command.env_remove(unused);
    }
    let relay = Daemon::spawn(command);
    relay.wait_for("relay.watching");
    relay
}

/// A port that is free, for a service that is started again at the same one.
fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.local_addr().expect("known")
}

#[test]
fn what_a_relay_sees_is_mirrored_at_once() {
    let mut world = world();
    let address = free_address();
    world.set("hint_listen_address", &address.to_string());
    world.tree.write("old", "old");
    let (daemon, endpoints, _) = started(&world);
    let relay = start_relay(&world, &format!("http://{address}"));
    until("the relay is known", || endpoints.status()["relays"]["fresh"] == 1);
    world.tree.write("new/file", "new");
    world.wait_for_object("new/file", "new");
    world.tree.write("old", "another content");
    world.wait_for_object("old", "another content");
    world.tree.rename("new/file", "new/name");
    world.wait_until_equal();
    world.tree.remove("new/name");
    world.wait_until_equal();
    world.tree.fill("burst", 500);
    world.wait_until_equal();
    let ended = relay.stop();
    assert_eq!(ended.code(), Some(0));
    until("the relay has said goodbye", || endpoints.status()["relays"]["fresh"] == 0);
    daemon.stop();
}

#[test]
fn what_a_relay_sees_while_the_service_is_down_is_sent_afterwards() {
    let mut world = world();
    let address = free_address();
    world.set("hint_listen_address", &address.to_string());
    world.tree.write("old", "old");
    let (daemon, _, _) = started(&world);
    let relay = start_relay(&world, &format!("http://{address}"));
    world.tree.write("first", "first");
    world.wait_for_object("first", "first");
    daemon.kill();
    world.tree.write("old", "written while it was down");
    relay.wait_for("relay.send_failed");
    let (daemon, _, _) = started(&world);
    relay.wait_for("relay.connected");
    world.tree.write("old", "written after");
    world.wait_for_object("old", "written after");
    world.wait_until_equal();
    daemon.stop();
    assert_eq!(relay.stop().code(), Some(0));
}

#[test]
fn a_relay_without_a_target_is_a_wrong_configuration() {
    let world = World::new();
    let relay = Daemon::spawn(world.command(&["relay"]));
    assert_eq!(relay.wait().code(), Some(78));
}
