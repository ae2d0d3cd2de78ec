//! One writer: of two daemons on one prefix only one deletes, and the other says so.

use crate::harness::http::Endpoints;
use crate::harness::world::LEASE;
use crate::harness::{Churn, Daemon, World, key, patience, seed, until};
use file_sync_dev_s3::{Action, BUCKET, Options, Rule};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// No daemon takes a lease from a live one, and in no test does one wait for so long.
const LONG: &str = "3600";

/// The seconds of a lease that ends soon. Its holder renews it in time on a slow machine as well.
fn short() -> String {
    patience(Duration::from_secs(2)).as_secs().to_string()
}

/// Two trees whose daemons have one prefix: the world's own, and another one.
struct Two {
    world: World,
    other: PathBuf,
}

impl Two {
    fn new(lease: &str) -> Self {
        let mut world = World::new().setting("s3_lease_seconds", lease);
        for key in ["listen_address", "admin_address"] {
            world.set(key, "127.0.0.1:0");
        }
        world.tree.write("both", "equal");
        let other = world.sibling_path("other");
        fs::create_dir(&other).expect("made");
        fs::write(other.join("both"), "equal").expect("written");
        fs::write(other.join("of the other"), "its own").expect("written");
        // An empty directory would be taken for one whose volume is missing.
        fs::write(other.join("stays there"), "in the other").expect("written");
        Self { world, other }
    }

    fn start_first(&mut self) -> Daemon {
        let tree = self.world.watch_path();
        let state = self.world.state_dir();
        self.start(&tree, &state)
    }

    /// The same, once it holds the lease.
    fn start_holder(&mut self) -> Daemon {
        let first = self.start_first();
        first.wait_for("lease.held");
        first
    }

    fn start_other(&mut self) -> Daemon {
        let state = self.world.sibling_path("other state");
        self.start(&self.other.clone(), &state)
    }

    fn start(&mut self, tree: &Path, state: &Path) -> Daemon {
        self.world.set("watch_path", &tree.to_string_lossy());
        self.world.set("state_dir", &state.to_string_lossy());
        self.world.start().ready()
    }

    /// A file of the other daemon that the bucket has as well is removed.
    fn remove_of_other(&self, name: &str) {
        fs::remove_file(self.other.join(name)).expect("removed");
    }

    fn wait_until_gone(&self, name: &str) {
        until("it is gone", || self.world.object(name).is_none());
    }

    fn leases(&self) -> usize {
        let objects = self.world.server.objects(BUCKET);
        objects.keys().filter(|name| name.starts_with(&key(LEASE))).count()
    }
}

fn other_writer(daemon: &Daemon) -> bool {
    Endpoints::of(daemon).status()["deletes"]["other_writer"] == true
}

#[test]
fn the_second_of_two_daemons_says_so_and_deletes_nothing() {
    let mut two = Two::new(LONG);
    let first = two.start_holder();
    two.world.wait_for_object("both", "equal");
    let second = two.start_other();
    let line = second.wait_for("lease.other");
    assert_ne!(line.text("holder"), "", "{}", line.shown());
    // It sends what it has, and leaves what it could delete.
    two.world.wait_for_object("of the other", "its own");
    two.remove_of_other("of the other");
    two.remove_of_other("both");
    second.wait_for_line("why", |line| line.text("error.type") == "other-writer");
    until("the status has it", || other_writer(&second));
    assert_eq!(two.world.deleted(), [""; 0]);
    // The first has nothing to do with that.
    two.world.pass_a_marker("marker");
    two.world.tree.remove("marker");
    two.wait_until_gone("marker");
    assert!(!other_writer(&first));
    assert_eq!(two.world.object("both").as_deref(), Some(&b"equal"[..]));
    let ended = second.stop();
    assert_eq!(ended.events("deletes.withheld").len(), 1, "one warning for all deletes");
    first.stop();
    assert_eq!(two.leases(), 0, "given up");
}

#[test]
fn who_comes_after_one_that_was_stopped_deletes_at_once() {
    let mut two = Two::new(LONG);
    let first = two.start_holder();
    first.stop();
    let second = two.start_other();
    two.world.wait_for_object("of the other", "its own");
    two.remove_of_other("of the other");
    two.wait_until_gone("of the other");
    assert_eq!(second.stop().events("lease.other").len(), 0);
}

#[test]
fn a_holder_that_was_killed_is_followed_after_its_time() {
    let mut two = Two::new(&short());
    let first = two.start_holder();
    let second = two.start_other();
    second.wait_for("lease.other");
    two.world.wait_for_object("of the other", "its own");
    first.kill();
    two.remove_of_other("of the other");
    two.wait_until_gone("of the other");
    second.wait_for("lease.held");
    // The one that was killed comes back with its record, and is the second now.
    let first = two.start_first();
    first.wait_for("lease.other");
    second.stop();
    first.wait_for("lease.held");
    first.stop();
    assert_eq!(two.leases(), 0);
}

#[test]
fn the_same_record_at_work_again_deletes_at_once() {
    let mut two = Two::new(LONG);
    let first = two.start_holder();
    two.world.wait_for_object("both", "equal");
    first.kill();
    two.world.tree.remove("both");
    two.world.tree.write("marker", "marker");
    let first = two.start_first();
    two.wait_until_gone("both");
    assert_eq!(first.stop().events("lease.other").len(), 0);
}

#[test]
fn nothing_is_deleted_while_the_lease_is_not_sure() {
    let mut two = Two::new(&short());
    let first = two.start_holder();
    two.world.pass_a_marker("marker");
    let silent = Action::Fail { status: 503, code: "SlowDown" };
    let silent = two.world.server.fail(Rule::new(silent).on("GetObject"));
    first.wait_for("lease.failed");
    until("the lease is not sure", || {
        two.world.tree.write("marker", "marker");
        two.world.wait_for_object("marker", "marker");
        two.world.tree.remove("marker");
        first.has(|line| line.text("error.type") == "lease-unknown")
    });
    two.world.server.faults().remove(silent);
    two.wait_until_gone("marker");
    first.stop();
}

#[test]
fn a_rolling_update_with_overlap_loses_nothing_and_leaves_nothing() {
    let mut two = Two::new(&short());
    let tree = two.world.watch_path();
    let state = two.world.state_dir();
    let mut churn = Churn::new(seed(), &two.world.tree);
    let mut old = two.start_first();
    for round in 0..4 {
        churn.steps(60);
        two.world.wait_until_equal();
        // A pod without a volume for its state: its record is new.
        let state = state.with_file_name(format!("state {round}"));
        let new = two.start(&tree, &state);
        let endpoints = Endpoints::of(&new);
        let files = two.world.tree.wanted().len();
        until("it knows what there is", || endpoints.status()["mirrored_files"] == files);
        churn.steps(60);
        old.stop();
        new.wait_for("lease.held");
        // What only the old one knew, and was removed before the new one had listed, is unknown now.
        assert_eq!(endpoints.post("/-/flush?timeout=30s", "").0, 200);
        churn.steps(60);
        old = new;
    }
    two.world.wait_until_equal();
    old.stop();
    two.world.wait_until_equal();
    assert_eq!(two.leases(), 0);
}

#[test]
fn a_single_run_holds_the_lease_for_as_long_as_it_lasts() {
    let mut two = Two::new(LONG);
    let ended = two.world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    assert_eq!(ended.events("lease.held").len(), 1);
    two.world.tree.write("marker", "marker");
    two.world.tree.remove("both");
    assert_eq!(two.world.once().code(), Some(0));
    assert_eq!((two.world.difference(), two.leases()), (Ok(()), 0));
    // Beside a daemon it deletes nothing, and says that something is left.
    let daemon = two.start_other();
    daemon.wait_for("lease.held");
    two.world.tree.remove("marker");
    two.world.tree.write("another", "marker");
    let tree = two.world.watch_path();
    let state = two.world.state_dir();
    two.world.set("watch_path", &tree.to_string_lossy());
    two.world.set("state_dir", &state.to_string_lossy());
    let ended = two.world.once();
    assert_eq!(ended.code(), Some(75), "{}", ended.errors);
    assert_eq!(two.world.object("marker").as_deref(), Some(&b"marker"[..]));
    daemon.stop();
}

#[test]
fn a_store_that_ignores_conditions_gives_the_lease_to_nobody() {
    let options = Options { conditional_writes: false, ..Options::default() };
    let world = World::with(&options).setting("s3_lease_seconds", "2");
    let daemon = world.start().ready();
    let line = daemon.wait_for("lease.failed");
    assert_eq!(line.text("error.type"), "unconditional");
    world.pass_a_marker("marker");
    world.tree.remove("marker");
    world.tree.write("another", "marker");
    daemon.wait_for_line("why", |line| line.text("error.type") == "lease-unknown");
    assert_eq!(world.deleted(), [""; 0]);
    assert_eq!(daemon.stop().events("lease.held").len(), 0);
}

#[test]
fn an_object_that_is_no_lease_is_left_alone_and_nothing_is_deleted() {
    let mut two = Two::new(LONG);
    two.world.put_foreign(LEASE, "foreign");
    let first = two.start_first();
    first.wait_for("lease.other");
    two.world.pass_a_marker("marker");
    two.world.tree.remove("marker");
    first.wait_for_line("why", |line| line.text("error.type") == "other-writer");
    assert_eq!(two.world.versions(LEASE), ["foreign"]);
    assert_eq!(two.world.deleted(), [""; 0]);
    first.stop();
}

#[test]
fn a_comparison_with_the_bucket_does_not_take_the_lease_for_an_object_of_somebody() {
    let mut two = Two::new(LONG);
    let first = two.start_first();
    two.world.wait_until_done();
    assert_eq!(two.leases(), 1);
    let said = two.world.run(&["verify", "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.output);
    first.stop();
}

#[test]
fn without_a_lease_only_the_objects_that_another_daemon_replaced_are_left_alone() {
    let mut two = Two::new("0");
    let replaced = ["name of both", "another name of both"];
    // An empty directory would be taken for one whose volume is missing.
    two.world.tree.write("stays", "in the first");
    for name in replaced {
        two.world.tree.write(name, "of the first");
        fs::write(two.other.join(name), "of the second").expect("written");
    }
    let first = two.start_first();
    two.world.wait_until_done();
    let second = two.start_other();
    for name in replaced {
        two.world.wait_for_object(name, "of the second");
    }
    second.stop();
    for name in replaced {
        two.world.tree.remove(name);
        first.wait_for_line("it is left alone", |line| {
            line.event() == "delete.declined" && line.text("aws.s3.key") == key(name)
        });
    }
    // All else is deleted as before, and no person has to approve.
    two.world.tree.remove("both");
    two.wait_until_gone("both");
    assert!(!other_writer(&first));
    assert_eq!(two.world.deleted(), [key("both")]);
    let ended = first.stop();
    let reported = ended.events("writer.other");
    assert_eq!(reported.len(), 1, "reported once");
    assert!(replaced.map(key).contains(&reported[0].text("aws.s3.key").to_owned()));
    for name in replaced {
        assert_eq!(two.world.object(name).as_deref(), Some(&b"of the second"[..]));
    }
}
