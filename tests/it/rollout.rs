//! Rollouts: while two instances work on one prefix, the one that ends never overwrites or deletes what the
//! other one wrote.

use crate::harness::log::Line;
use crate::harness::{Churn, Daemon, Ended, World, key, seed, sleep_for, until};
use file_sync_dev_s3::{Action, Gate, Options, Request, Rule, RuleId, StoreMode};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file that both instances have.
const PAGE: &str = "page";
/// A review of the bucket waits no longer than for the next scan. The old instance scans once: what it yields
/// it forgets, and the next scan would have it yield once more.
const REVIEW_SECONDS: &str = "2";
/// Its first content.
const FIRST: &str = "version 0";

/// Two pods with a volume and a state each, and one prefix.
struct Rollout {
    world: World,
    new_tree: PathBuf,
    /// When the new instance compares the bucket. The old one does so long after the test.
    review_seconds: &'static str,
}

impl Rollout {
    fn new(options: &Options) -> Self {
        let world = World::with(options).setting("shutdown_timeout_seconds", "120");
        world.tree.write("stays", "in the old pod");
        let new_tree = world.sibling_path("new pod");
        fs::create_dir(&new_tree).expect("created");
        fs::write(new_tree.join("stays"), "in the new pod").expect("written");
        Self { world, new_tree, review_seconds: REVIEW_SECONDS }
    }

    /// Two pods that have nothing but their page, and time for all that a test does between two comparisons.
    fn on_an_empty_prefix(options: &Options) -> Self {
        let mut rollout = Self::new(options);
        rollout.review_seconds = "5";
        rollout.world.tree.remove("stays");
        fs::remove_file(rollout.new_tree.join("stays")).expect("removed");
        rollout
    }

    /// Two pods, of which the old one has its first page in S3.
    fn with_old(options: &Options) -> (Self, Daemon) {
        let rollout = Self::new(options);
        let old = rollout.start_old(FIRST);
        (rollout, old)
    }

    /// Starts the instance of the old pod with these files in S3.
    fn start_old(&self, content: &str) -> Daemon {
        self.world.tree.write(PAGE, content);
        let old = self.world.start().ready();
        self.world.wait_for_object(PAGE, content);
        self.world.wait_until_done();
        old
    }

    /// Starts the instance of the new pod, whose volume has this page.
    fn start_new(&mut self, content: &str) -> Daemon {
        self.write_new(PAGE, content);
        let state = self.world.sibling_path("new state");
        self.start(&self.new_tree.clone(), &state)
    }

    /// Starts the instance of the new pod and waits until its page is in S3.
    fn send_new(&mut self, content: &str) -> Daemon {
        let new = self.start_new(content);
        self.world.wait_for_object(PAGE, content);
        new
    }

    /// Starts the instance of the new pod, which has the same page as the old one and takes the object over.
    fn take_over(&mut self) -> Daemon {
        let new = self.start_new(FIRST);
        new.wait_for_file("upload.unneeded", PAGE);
        new
    }

    /// Writes a file of the new pod.
    fn write_new(&self, name: &str, content: &str) {
        fs::write(self.new_tree.join(name), content).expect("written");
    }

    /// The old instance ends and yields, and the page stays as the new one has sent it.
    fn assert_new_wins(&self, old: Daemon, new: Daemon, content: &str) {
        assert_yielded(&old.wait());
        assert_eq!(self.page().as_deref(), Some(content));
        new.stop();
    }

    fn start(&mut self, tree: &Path, state: &Path) -> Daemon {
        self.world.set("watch_path", &tree.to_string_lossy());
        self.world.set("state_dir", &state.to_string_lossy());
        self.world.set("rescan_interval_seconds", self.review_seconds);
        self.world.start().ready()
    }

    /// Has all requests of one operation on the page refused.
    fn refuse(&self, operation: &'static str) -> RuleId {
        self.world.server.fail(Rule::new(Action::slow_down()).on(operation).key(&key(PAGE)))
    }

    /// Asks the instance to end, and stops it between two attempts of its drain, which were refused until
    /// then.
    fn hold_in_drain(&self, old: &Daemon, refusal: RuleId) {
        old.signal(Signal::TERM);
        old.wait_for("shutdown.signal");
        let faults = self.world.server.faults();
        let before = faults.hits(refusal);
        until("an attempt of the drain fails", || faults.hits(refusal) > before);
        old.stand_still();
        faults.remove(refusal);
    }

    fn page(&self) -> Option<String> {
        self.world.object(PAGE).map(|body| String::from_utf8_lossy(&body).into_owned())
    }
}

/// The instance has ended well, and has said once that there is another writer.
fn assert_yielded(ended: &Ended) {
    let lines = ended.lines.iter().map(Line::shown).collect::<Vec<_>>().join("\n");
    assert_eq!((ended.code(), ended.signal()), (Some(0), None), "{}", ended.errors);
    assert_eq!(ended.events("writer.other").len(), 1, "{lines}");
    let yielded = ended.events("upload.yielded").len() + ended.events("delete.declined").len();
    assert_eq!(yielded, 1, "{lines}");
}

/// S3 itself, and stores that do not know conditions.
fn stores() -> [Options; 3] {
    [
        Options::default(),
        Options { modes: [StoreMode::IgnoresConditions].into(), ..Options::default() },
        Options { modes: [StoreMode::RejectsConditions].into(), ..Options::default() },
    ]
}

/// An object that is younger than an instance is not one of a pod before it.
fn let_the_instance_become_older() {
    sleep_for(Duration::from_secs(3));
}

#[test]
fn an_instance_that_ends_does_not_overwrite_what_the_new_one_sent() {
    for options in stores() {
        let (mut rollout, old) = Rollout::with_old(&options);
        let refusal = rollout.refuse("PutObject");
        rollout.world.tree.write(PAGE, "version 1 of the old pod");
        old.wait_for_file("upload.failed", PAGE);
        rollout.hold_in_drain(&old, refusal);
        let new = rollout.send_new("version 2");
        old.signal(Signal::CONT);
        rollout.assert_new_wins(old, new, "version 2");
    }
}

#[test]
fn an_instance_that_ends_does_not_overwrite_a_file_that_is_new_to_both() {
    for options in stores() {
        let (mut rollout, old) = Rollout::with_old(&options);
        let_the_instance_become_older();
        let rule = Rule::new(Action::slow_down()).on("PutObject").key(&key("report"));
        let refusal = rollout.world.server.fail(rule);
        rollout.world.tree.write("report", "of the old pod");
        old.wait_for_file("upload.failed", "report");
        rollout.hold_in_drain(&old, refusal);
        rollout.write_new("report", "of the new one");
        let new = rollout.start_new("version 2");
        rollout.world.wait_for_object("report", "of the new one");
        old.signal(Signal::CONT);
        assert_yielded(&old.wait());
        rollout.world.wait_for_object("report", "of the new one");
        new.stop();
    }
}

#[test]
fn an_instance_that_ends_does_not_delete_what_the_new_one_sent() {
    for options in stores() {
        let (mut rollout, old) = Rollout::with_old(&options);
        let refusal = rollout.refuse("DeleteObject");
        rollout.world.tree.remove(PAGE);
        old.wait_for_line("the delete fails", |line| {
            line.event().ends_with(".failed") && line.text("file.path") == PAGE
        });
        rollout.hold_in_drain(&old, refusal);
        let new = rollout.send_new("version 2");
        old.signal(Signal::CONT);
        rollout.assert_new_wins(old, new, "version 2");
    }
}

#[test]
fn content_that_both_have_does_not_hide_the_writer() {
    // An entity tag says what an object contains, not which instance wrote it.
    for operation in ["PutObject", "DeleteObject"] {
        let (mut rollout, old) = Rollout::with_old(&Options::default());
        let new = rollout.send_new("version 2");
        rollout.write_new(PAGE, FIRST);
        rollout.world.wait_for_object(PAGE, FIRST);
        rollout.refuse(operation);
        match operation {
            "PutObject" => rollout.world.tree.write(PAGE, "version 1 of the old pod"),
            _ => rollout.world.tree.remove(PAGE),
        }
        old.wait_for_line("the attempt fails", |line| {
            line.event().ends_with(".failed") && line.text("file.path") == PAGE
        });
        old.signal(Signal::TERM);
        rollout.assert_new_wins(old, new, FIRST);
    }
}

#[test]
fn a_request_under_way_at_the_end_does_not_overwrite_either() {
    let (mut rollout, old) = Rollout::with_old(&Options::default());
    let gate = Gate::shut();
    let rule = Rule::new(Action::Hold(gate.clone())).on("PutObject").key(&key(PAGE)).times(1);
    let held = rollout.world.server.fail(rule);
    rollout.world.tree.write(PAGE, "version 1 of the old pod");
    until("it is under way", || rollout.world.server.faults().hits(held) == 1);
    old.signal(Signal::TERM);
    old.wait_for("shutdown.signal");
    let new = rollout.send_new("version 2");
    gate.open();
    rollout.assert_new_wins(old, new, "version 2");
}

#[test]
fn from_prestop_on_an_instance_yields() {
    let (mut rollout, old) = Rollout::with_old(&Options::default());
    let said = rollout.world.run(&["prestop"]);
    assert_eq!(said.code, Some(0), "{}", said.errors);
    let new = rollout.send_new("version 2");
    rollout.world.tree.write(PAGE, "version 1 of the old pod");
    old.wait_for_file("upload.yielded", PAGE);
    old.signal(Signal::TERM);
    rollout.assert_new_wins(old, new, "version 2");
}

#[test]
fn a_large_file_of_an_instance_that_ends_yields_as_well() {
    const LARGE: usize = 17 << 20;
    let (mut rollout, old) = Rollout::with_old(&Options::default());
    let refusal = rollout.refuse("CompleteMultipartUpload");
    rollout.world.tree.write(PAGE, vec![b'1'; LARGE]);
    old.wait_for_file("upload.failed", PAGE);
    rollout.hold_in_drain(&old, refusal);
    let new = rollout.send_new("version 2");
    old.signal(Signal::CONT);
    assert_yielded(&old.wait());
    assert_eq!(rollout.page().as_deref(), Some("version 2"));
    assert_eq!(rollout.world.uploads(), []);
    new.stop();
}

#[test]
fn alone_an_instance_that_ends_sends_over_what_was_there_before_its_start() {
    // The object of a pod that went before this one started, with a state that went with it.
    let mut rollout = Rollout::new(&Options::default());
    rollout.start_old("of the pod before").stop();
    let new = rollout.start_new("of the pod before");
    new.wait_for_file("upload.unneeded", PAGE);
    let refusal = rollout.refuse("PutObject");
    rollout.write_new(PAGE, "the last word");
    new.wait_for_file("upload.failed", PAGE);
    rollout.hold_in_drain(&new, refusal);
    new.signal(Signal::CONT);
    let ended = new.wait();
    assert_eq!((ended.code(), ended.events("writer.other").len()), (Some(0), 0));
    assert_eq!(rollout.page().as_deref(), Some("the last word"));
}

#[test]
fn alone_an_instance_meets_no_condition_that_does_not_hold() {
    let world = World::new();
    let mut churn = Churn::new(seed(), &world.tree);
    for _ in 0..3 {
        let daemon = world.start().ready();
        world.server.fail(Rule::new(Action::LoseReply).probability(0.05));
        world.server.fail(Rule::new(Action::internal_error()).probability(0.05));
        churn.steps(100);
        world.server.faults().clear();
        churn.steps(20);
        let ended = daemon.stop();
        assert_eq!(ended.events("writer.other").len(), 0);
        assert_eq!(ended.events("upload.yielded").len(), 0);
    }
    let daemon = world.start();
    world.wait_until_done();
    daemon.stop();
    let requests = world.server.requests();
    // A copy has a condition on its source as well, which may have changed.
    let writes = |request: &&Request| request.call.operation == "PutObject";
    let writes: Vec<_> = requests.iter().filter(writes).collect();
    assert!(writes.len() > 50, "{}", writes.len());
    let refused: Vec<_> = writes.iter().filter(|write| write.status == Some(412)).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn what_the_ending_instance_did_to_an_object_that_was_taken_over_is_undone() {
    // The object keeps the mark of the one that wrote it, which therefore does not yield.
    for options in stores() {
        for removed in [false, true] {
            let (mut rollout, old) = Rollout::with_old(&options);
            let new = rollout.take_over();
            // However long the old one takes to end.
            new.stand_still();
            match removed {
                true => rollout.world.tree.remove(PAGE),
                false => rollout.world.tree.write(PAGE, "version 1 of the old pod"),
            }
            let ended = old.terminate();
            assert_eq!((ended.code(), ended.signal()), (Some(0), None), "{}", ended.errors);
            assert_ne!(rollout.page().as_deref(), Some(FIRST), "removed: {removed}");
            new.signal(Signal::CONT);
            rollout.world.wait_for_object(PAGE, FIRST);
            rollout.world.wait_for_object("stays", "in the new pod");
            new.wait_for("bucket.reviewed");
            new.stop();
        }
    }
}

#[test]
fn of_two_instances_that_started_on_an_empty_prefix_the_one_that_stays_wins() {
    const STAYS: &str = "of the instance that stays";
    const GOES: &str = "of the one that goes";
    for options in stores() {
        let mut rollout = Rollout::on_an_empty_prefix(&options);
        // Who sends a page has listed the bucket: both before there was anything in it.
        let gate = Gate::shut();
        let rule = Rule::new(Action::Hold(gate.clone())).on("PutObject").key(&key(PAGE)).times(1);
        let held = rollout.world.server.fail(rule);
        rollout.world.tree.write(PAGE, GOES);
        let goes = rollout.world.start();
        until("its page is under way", || rollout.world.server.faults().hits(held) == 1);
        let stays = rollout.send_new(STAYS);
        assert_eq!(stays.wait_for("bucket.listed").number("objects"), Some(0));
        stays.wait_for_file("upload.completed", PAGE);
        // However long the other one takes to end.
        stays.stand_still();
        gate.open();
        rollout.world.wait_for_object(PAGE, GOES);
        assert_eq!(goes.terminate().code(), Some(0));
        assert_eq!(rollout.page().as_deref(), Some(GOES));
        stays.signal(Signal::CONT);
        rollout.world.wait_for_object(PAGE, STAYS);
        stays.stop();
    }
}

#[test]
fn alone_on_an_empty_prefix_a_new_state_lists_the_bucket_twice_more_and_never_again() {
    const LISTINGS: u64 = 3;
    let world = World::new().setting("rescan_interval_seconds", "1");
    let daemon = world.start().ready();
    world.pass_a_marker("file");
    let listings = || world.server.count("ListObjectsV2");
    until("the bucket was compared twice", || listings() == LISTINGS);
    sleep_for(Duration::from_secs(3));
    assert_eq!(listings(), LISTINGS);
    let ended = daemon.stop();
    let reviewed = ended.events("bucket.reviewed");
    let found = reviewed.iter().map(|line| (line.number("replaced"), line.number("taken_over")));
    assert_eq!(found.collect::<Vec<_>>(), [(Some(0), Some(0)); 2]);
    // A restart has nothing to compare.
    world.server.clear_requests();
    let daemon = world.start().ready();
    world.pass_a_marker("another file");
    sleep_for(Duration::from_secs(3));
    assert_eq!(listings(), 0);
    daemon.stop();
}

#[test]
fn what_the_old_instance_wrote_over_the_new_one_while_both_ran_is_undone() {
    const LONGER: &str = "longer than anything that the old pod has";
    for options in stores() {
        let (mut rollout, old) = Rollout::with_old(&options);
        // No object has the size of its file: nothing is compared, and nothing taken over.
        rollout.write_new("stays", LONGER);
        let new = rollout.send_new(LONGER);
        rollout.world.wait_for_object("stays", LONGER);
        new.stand_still();
        rollout.world.tree.write(PAGE, "version 1 of the old pod");
        rollout.world.wait_for_object(PAGE, "version 1 of the old pod");
        assert_eq!(old.terminate().code(), Some(0));
        new.signal(Signal::CONT);
        rollout.world.wait_for_object(PAGE, LONGER);
        new.stop();
    }
}

#[test]
fn what_only_the_old_instance_sent_of_a_shared_directory_goes_with_its_file() {
    let (mut rollout, old) = Rollout::with_old(&Options::default());
    let tree = rollout.world.tree.root().to_owned();
    let state = rollout.world.sibling_path("new state");
    let new = rollout.start(&tree, &state);
    new.wait_for_file("upload.unneeded", PAGE);
    // The new one learns of the file when it is gone again, and the old one never learns that it is.
    new.stand_still();
    rollout.world.pass_a_marker("short");
    old.kill();
    rollout.world.tree.remove("short");
    new.signal(Signal::CONT);
    rollout.world.wait_until_equal();
    new.stop();
}

#[test]
fn what_only_the_old_volume_had_stays() {
    // Another volume proves nothing about files that it never had.
    let (mut rollout, old) = Rollout::with_old(&Options::default());
    let new = rollout.take_over();
    new.stand_still();
    rollout.world.pass_a_marker("of the old pod");
    rollout.world.tree.remove(PAGE);
    assert_eq!(old.terminate().code(), Some(0));
    new.signal(Signal::CONT);
    rollout.world.wait_for_object(PAGE, FIRST);
    new.wait_for("bucket.reviewed");
    new.stop();
    rollout.world.wait_for_object("of the old pod", "of the old pod");
}
