//! The configuration changes while the daemon runs: taken up, or refused, or wrong, and never half.

use crate::harness::http::{Endpoints, get};
use crate::harness::log::Line;
use crate::harness::world::key;
use crate::harness::{Daemon, World, until};
use file_sync_dev_s3::{Action, BUCKET, Gate, Rule};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A mounted ConfigMap: files are links into `..data`, which is a link that is exchanged.
struct Mounted {
    directory: PathBuf,
    versions: u32,
}

impl Mounted {
    fn new(world: &World, text: &str) -> Self {
        let mut mounted = Self { directory: world.sibling_path("config"), versions: 0 };
        fs::create_dir(&mounted.directory).expect("made");
        mounted.write(text);
        symlink("..data/config.yml", mounted.file()).expect("linked");
        mounted
    }

    fn file(&self) -> PathBuf {
        self.directory.join("config.yml")
    }

    /// What the kubelet does: a new directory, a new link, one rename, and the old directory goes.
    fn write(&mut self, text: &str) {
        let old = self.directory.join(format!("..2026_{}", self.versions));
        self.versions += 1;
        let name = format!("..2026_{}", self.versions);
        let new = self.directory.join(&name);
        fs::create_dir(&new).expect("made");
        fs::write(new.join("config.yml"), text).expect("written");
        let link = self.directory.join("..data_tmp");
        symlink(name, &link).expect("linked");
        fs::rename(link, self.directory.join("..data")).expect("renamed");
        if old.is_dir() {
            fs::remove_dir_all(old).expect("removed");
        }
    }
}

/// A daemon of a world whose log level is the file's.
fn start(world: &World, file: &Path) -> Daemon {
    let daemon = Daemon::spawn(world.command(&["run", "--config", &file.to_string_lossy()]));
    daemon.wait_for("service.started");
    daemon.ready()
}

/// As `subPath` mounts it: what the kubelet exchanges is another file then.
#[test]
fn a_file_that_is_mounted_by_itself_is_warned_of() {
    let Some(world) = World::in_mount_namespace() else { return };
    let source = world.sibling_path("source.yml");
    let directory = world.sibling_path("config");
    fs::create_dir(&directory).expect("made");
    let file = directory.join("config.yml");
    for file in [&source, &file] {
        fs::write(file, "s3_storage_class: STANDARD\n").expect("written");
    }
    let check = ["check-config", "--config", &file.to_string_lossy()];
    let warned = |world: &World| world.run(&check).errors.contains("mounted by itself");
    assert!(!warned(&world));
    // As a directory does.
    world.namespace().mount(&directory, &directory);
    assert!(!warned(&world));
    world.namespace().mount(&source, &file);
    assert!(warned(&world));
    let daemon = start(&world, &file);
    daemon.wait_for("config.mounted_alone");
    daemon.stop();
}

fn world() -> World {
    let mut world = World::new().default_of("log_level");
    world.set("listen_address", "127.0.0.1:0");
    world.set("admin_address", "127.0.0.1:0");
    world
}

fn wait_for_keys(daemon: &Daemon, event: &str, keys: &str) {
    daemon.wait_for_line(&format!("{event} of {keys}"), |line| {
        line.event() == event && line.text("keys") == keys
    });
}

fn counted(daemon: &Daemon, series: &str) -> String {
    let text = get(Endpoints::of(daemon).public, "/metrics").1;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("file_sync_{series} ")));
    line.unwrap_or_else(|| panic!("{series} is not in {text}")).to_owned()
}

#[test]
fn changed_rules_and_limits_hold_from_then_on() {
    let world = world();
    world.tree.write("page.html", "before");
    world.tree.fill("folder", 10);
    let mut mounted = Mounted::new(&world, "object_rules: []\n");
    let daemon = start(&world, &mounted.file());
    world.wait_until_done();
    let caching = || {
        let object = world.server.store().object(BUCKET, &key("page.html")).expect("there");
        object.headers.cache_control.clone()
    };
    assert_eq!(caching(), None);

    mounted.write(
        "object_rules: [{match: '*.html', cache_control: no-store}]\n\
         delete_limit_percent: 10\ndelete_limit_count: 1\n",
    );
    wait_for_keys(
        &daemon,
        "config.reloaded",
        "object_rules, delete_limit_percent, delete_limit_count",
    );
    world.tree.write("page.html", "after");
    world.wait_for_object("page.html", "after");
    assert_eq!(caching().as_deref(), Some("no-store"));
    world.tree.remove_folder("folder");
    daemon.wait_for("deletes.held");
    assert_eq!(world.deleted(), [""; 0]);

    mounted.write("object_rules: [{match: '*.html', cache_control: no-store}]\n");
    wait_for_keys(&daemon, "config.reloaded", "delete_limit_percent, delete_limit_count");
    until("what was held is deleted", || world.deleted().len() == 10);
    daemon.stop();
}

#[test]
fn an_exchanged_config_map_is_taken_up() {
    let world = world();
    world.tree.write("wanted.txt", "text");
    world.tree.write("ignored.log", "log");
    let mut mounted = Mounted::new(&world, "ignore: ['*.log']\n");
    let daemon = start(&world, &mounted.file());
    world.wait_for_object("wanted.txt", "text");
    assert_eq!(world.object("ignored.log"), None);

    mounted.write("ignore: ['*.txt']\n");
    wait_for_keys(&daemon, "config.reloaded", "ignore");
    // What is newly wanted was found by a comparison of everything.
    world.wait_for_object("ignored.log", "log");
    // What is newly ignored stays as it is, whatever becomes of the file.
    world.tree.write("wanted.txt", "changed");
    world.tree.write("other.txt", "new");
    world.tree.write("marker.log", "later");
    world.wait_for_object("marker.log", "later");
    world.tree.remove("wanted.txt");
    world.tree.write("marker.log", "later still");
    world.wait_for_object("marker.log", "later still");
    world.wait_for_object("wanted.txt", "text");
    assert_eq!(world.object("other.txt"), None);
    assert_eq!(world.deleted(), [""; 0]);
    assert_eq!(counted(&daemon, "config_reloads_total{result=\"applied\"}"), "1");
    assert_eq!(counted(&daemon, "config_current"), "1");

    let debug = |line: &Line| line.text("severity") == "DEBUG";
    assert!(!daemon.has(debug));
    mounted.write("ignore: ['*.txt']\nlog_level: info,file_sync_service=debug\n");
    wait_for_keys(&daemon, "config.reloaded", "log_level");
    world.tree.write("marker.log", "last");
    daemon.wait_for_line("a line of level debug", debug);
    daemon.stop();
}

#[test]
fn a_configuration_that_is_wrong_changes_nothing_and_says_so() {
    let world = world();
    let mut mounted = Mounted::new(&world, "ignore: ['*.log']\n");
    let daemon = start(&world, &mounted.file());
    let endpoints = Endpoints::of(&daemon);
    assert_eq!(endpoints.status()["config"]["current"], true);
    mounted.write("ignore: ['*.txt']\npoll_interval_seconds: soon\n");
    let line = daemon.wait_for("config.invalid");
    assert!(line.text("error.message").contains("poll_interval_seconds: \"soon\""), "{line:?}");
    world.tree.write("a.txt", "a");
    world.tree.write("a.log", "a");
    world.wait_for_object("a.txt", "a");
    assert_eq!(world.object("a.log"), None);
    assert_eq!(counted(&daemon, "config_reloads_total{result=\"invalid\"}"), "1");
    assert_eq!(counted(&daemon, "config_current"), "0");
    let config = &endpoints.status()["config"];
    assert_eq!(config["problem"], "invalid");
    assert!(config["message"].as_str().is_some_and(|text| text.contains("soon")), "{config}");
    // Who may not see names sees no message either.
    let public = get(endpoints.public, "/status").1;
    assert!(public.contains("\"problem\":\"invalid\"") && !public.contains("soon"), "{public}");

    mounted.write("ignore: []\n");
    wait_for_keys(&daemon, "config.reloaded", "ignore");
    world.wait_for_object("a.log", "a");
    assert_eq!(counted(&daemon, "config_current"), "1");
    assert_eq!(endpoints.status()["config"]["problem"], serde_json::Value::Null);
    daemon.stop();
}

#[test]
fn what_needs_a_restart_is_named_and_nothing_of_it_is_taken_up() {
    let world = world();
    let mut mounted = Mounted::new(&world, "ignore: ['*.log']\nshutdown_timeout_seconds: 25\n");
    let daemon = start(&world, &mounted.file());
    mounted.write("ignore: []\nshutdown_timeout_seconds: 26\nretry_file: /elsewhere/queue.json\n");
    wait_for_keys(&daemon, "config.reload_refused", "retry_file, shutdown_timeout_seconds");
    world.tree.write("a.log", "a");
    world.pass_a_marker("marker");
    assert_eq!(world.object("a.log"), None);
    let config = &Endpoints::of(&daemon).status()["config"];
    assert_eq!(config["problem"], "refused");
    assert_eq!(counted(&daemon, "config_reloads_total{result=\"refused\"}"), "1");
    // What was refused is taken back.
    mounted.write("ignore: ['*.log']\n");
    until("it is current", || counted(&daemon, "config_current") == "1");
    assert_eq!(counted(&daemon, "config_reloads_total{result=\"applied\"}"), "0");
    daemon.stop();
}

#[test]
fn sighup_asks_and_variables_stay_over_the_file() {
    let world = world();
    let file = world.sibling_path("config.yml");
    fs::write(&file, "debounce_milliseconds: 60000\n").expect("written");
    let daemon = start(&world, &file);
    // The world's own variable says 20.
    fs::write(&file, "debounce_milliseconds: 50000\n").expect("written");
    daemon.signal(Signal::HUP);
    daemon.wait_for("config.unchanged");
    world.pass_a_marker("marker");
    // Replaced by a rename, as editors do.
    let new = world.sibling_path("new.yml");
    fs::write(&new, "max_concurrent_transfers: 2\nbandwidth_limit_mib_per_second: 100\n")
        .expect("written");
    fs::rename(new, &file).expect("renamed");
    let keys = "max_concurrent_transfers, bandwidth_limit_mib_per_second";
    wait_for_keys(&daemon, "config.reloaded", keys);
    world.pass_a_marker("another");
    let settings = Endpoints::of(&daemon).status()["settings"].clone();
    let setting =
        |key| settings.as_array().and_then(|all| all.iter().find(|set| set["key"] == key).cloned());
    assert_eq!(setting("max_concurrent_transfers").expect("there")["value"], "2");
    assert_eq!(setting("debounce_milliseconds").expect("there")["value"], "20");
    daemon.stop();
}

#[test]
fn an_upload_that_is_under_way_is_not_cut() {
    let world = world();
    let mut mounted = Mounted::new(&world, "ignore: ['*.log']\n");
    let daemon = start(&world, &mounted.file());
    let gate = Gate::shut();
    let held = Rule::new(Action::Hold(gate.clone())).on("PutObject").times(1);
    world.server.fail(held);
    world.tree.write("a.txt", "a");
    until("it is under way", || world.server.journal().count("PutObject") == 1);
    mounted.write("ignore: []\n");
    wait_for_keys(&daemon, "config.reloaded", "ignore");
    world.tree.write("b.log", "b");
    assert_eq!(world.object("b.log"), None);
    gate.open();
    world.wait_for_object("b.log", "b");
    world.wait_for_object("a.txt", "a");
    assert_eq!(world.server.journal().count("PutObject"), 2, "each was sent once");
    daemon.stop();
}

#[test]
fn what_a_person_has_approved_stays_approved() {
    let mut world = world();
    world.set("delete_limit_count", "10");
    world.tree.fill("folder", 30);
    world.tree.fill("other", 10);
    let mut mounted = Mounted::new(&world, "ignore: ['*.log']\n");
    let daemon = start(&world, &mounted.file());
    let endpoints = Endpoints::of(&daemon);
    world.wait_until_done();
    let refused = Action::Fail { status: 403, code: "AccessDenied" };
    let refused = world.server.fail(Rule::new(refused).on("DeleteObjects"));
    world.tree.remove_folder("folder");
    until("they are held", || endpoints.status()["deletes"]["held"] == 30);
    assert_eq!(endpoints.post("/-/approve-deletes", "").0, 200);
    daemon.wait_for("delete.failed");
    mounted.write("ignore: []\n");
    world.tree.write("b.log", "by the new one");
    world.wait_for_object("b.log", "by the new one");
    world.server.faults().remove(refused);
    world.wait_until_done();
    assert_eq!(world.deleted().len(), 30);
    daemon.stop();
}
