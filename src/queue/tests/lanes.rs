//! Who goes first: fresh changes, whatever waits, while the backlog still progresses.

use super::super::lane::FRESH_MS;
use super::*;
use std::collections::{BTreeMap, VecDeque};

/// Milliseconds that one request takes.
const REQUEST_MS: UnixMillis = 50;

fn fresh(queue: &mut Queue, name: &str, operation: Operation, now: UnixMillis) -> Option<Change> {
    queue.want(wish(name, operation, now), None, now, true)
}

fn roomy(window_max: usize) -> Queue {
    let delete_limit = DeleteLimit { percent: 50, count: 1_000_000, window_ms: 0 };
    Queue::new(QueueSettings { window_max, delete_limit, ..settings() }, StateCounts::default())
}

fn finish(queue: &mut Queue, names: &[String], now: UnixMillis) {
    for name in names {
        queue.end(&path(name), &of(done()), now, 1.0);
    }
}

/// A queue and its record, with a store that needs [`REQUEST_MS`] for a request.
struct Simulation {
    queue: Queue,
    record: BTreeMap<RelPath, QueueRow>,
    /// In the order in which they end.
    running: VecDeque<(UnixMillis, String)>,
    now: UnixMillis,
}

impl Simulation {
    fn new(backlog: usize) -> Self {
        let settings =
            QueueSettings { concurrency: 10, prepared: 10, window_max: 20_000, ..settings() };
        let mut simulation = Self {
            queue: Queue::new(settings, StateCounts::default()),
            record: BTreeMap::new(),
            running: VecDeque::new(),
            now: 0,
        };
        for number in 0..backlog {
            simulation.want(&format!("old{number:07}"), false);
        }
        simulation
    }

    fn want(&mut self, name: &str, fresh: bool) {
        let known = self.record.get(&path(name)).cloned();
        let wish = wish(name, Operation::Put, self.now);
        match self.queue.want(wish, known.as_ref(), self.now, fresh) {
            Some(Change::Queue(row)) => drop(self.record.insert(row.path.clone(), row)),
            other => panic!("{other:?}"),
        }
    }

    /// One millisecond; the names that start.
    fn step(&mut self) -> Vec<String> {
        self.now += 1;
        while self.running.front().is_some_and(|(end, _)| *end <= self.now) {
            let Some((_, name)) = self.running.pop_front() else { break };
            self.queue.end(&path(&name), &of(done()), self.now, 1.0);
            self.record.remove(&path(&name));
        }
        let pending = self.record.len() as u64;
        self.queue.set_counts(StateCounts { pending, ..StateCounts::default() });
        if self.queue.wants_refill() {
            self.queue.refill(self.record.values().cloned().collect());
        }
        let names = started(&mut self.queue, self.now);
        self.running.extend(names.iter().map(|name| (self.now + REQUEST_MS, name.clone())));
        assert!(self.queue.window.len() <= 20_000);
        names
    }

    /// Until everything is done, with a fresh change each `every_ms`: how long it took the backlog, and the
    /// longest wait of a fresh change.
    fn run(&mut self, every_ms: Option<UnixMillis>) -> (UnixMillis, UnixMillis) {
        let mut waiting: BTreeMap<String, UnixMillis> = BTreeMap::new();
        let mut worst = 0;
        let mut backlog = self.record.len();
        while backlog > 0 {
            if every_ms.is_some_and(|every| self.now % every == 1) {
                let name = format!("new{:07}", self.now);
                self.want(&name, true);
                waiting.insert(name, self.now);
            }
            for name in self.step() {
                match waiting.remove(&name) {
                    Some(since) => worst = worst.max(self.now - since),
                    None => backlog -= 1,
                }
            }
        }
        (self.now, worst)
    }
}

/// 200 requests a second, and 50 changes a second on top of a backlog that does not fit into memory.
#[test]
fn fresh_changes_start_at_once_whatever_waits_and_the_backlog_goes_on() {
    let backlog = 100_000;
    let (alone, _) = Simulation::new(backlog).run(None);
    let (together, worst) = Simulation::new(backlog).run(Some(20));
    assert!(worst <= 2 * REQUEST_MS, "a fresh change has waited for {worst} ms");
    assert!(together * 100 <= alone * 135, "{together} ms instead of {alone} ms");
}

#[test]
fn more_fresh_changes_than_the_store_takes_leave_the_backlog_a_quarter() {
    let mut simulation = Simulation::new(1_000);
    let mut old = 0;
    let mut new = 0;
    for _ in 0..20_000 {
        if simulation.now.is_multiple_of(2) {
            simulation.want(&format!("new{}", simulation.now), true);
        }
        for name in simulation.step() {
            if name.starts_with("old") { old += 1 } else { new += 1 }
        }
    }
    assert_eq!(old, 1_000, "with {new} others");
    assert!(new >= 2_990, "{new}");
}

#[test]
fn of_four_starts_one_is_the_backlogs() {
    let mut queue = roomy(100);
    for number in 0..9 {
        want(&mut queue, &format!("old{number}"), Operation::Put, 0);
        fresh(&mut queue, &format!("new{number}"), Operation::Put, 10);
    }
    let mut order = Vec::new();
    for now in 10..18 {
        let names = started(&mut queue, now);
        finish(&mut queue, &names, now);
        order.extend(names);
    }
    let first: Vec<_> = order[..8].iter().map(String::as_str).collect();
    assert_eq!(first, ["new0", "new1", "new2", "old0", "new3", "new4", "new5", "old1"]);
}

#[test]
fn a_path_of_the_backlog_that_changes_is_fresh() {
    let mut queue = roomy(100);
    for number in 0..9 {
        want(&mut queue, &format!("old{number}"), Operation::Put, 0);
    }
    fresh(&mut queue, "old7", Operation::Put, 10);
    let lease = queue.start(10, true).remove(0);
    assert_eq!((lease.pending.path, lease.lane), (path("old7"), Lane::Fresh));
}

/// A burst that is more than the store takes.
#[test]
fn the_latest_change_does_not_wait_for_a_whole_burst() {
    let mut queue = roomy(1_000);
    for number in 0..100 {
        fresh(&mut queue, &format!("burst{number:02}"), Operation::Put, 0);
    }
    let later = FRESH_MS + 1;
    fresh(&mut queue, "latest", Operation::Put, later);
    assert_eq!(started(&mut queue, later)[0], "latest");
}

#[test]
fn a_fresh_change_takes_the_place_of_the_last_row_of_a_full_window() {
    let mut queue = queue();
    for number in 0..8 {
        want(&mut queue, &format!("old{number}"), Operation::Put, number);
    }
    let names = started(&mut queue, 10);
    assert_eq!(names, ["old0", "old1"]);
    fresh(&mut queue, "new", Operation::Put, 11);
    assert!(queue.window.len() <= settings().window_max);
    assert!(!queue.window.contains(&path("old7")), "it waits in the record");
    finish(&mut queue, &names, 12);
    assert_eq!(started(&mut queue, 12)[0], "new");
}

#[test]
fn a_fresh_delete_waits_for_the_fresh_puts_before_it_and_not_for_the_backlog() {
    let mut queue = roomy(100);
    for number in 0..50 {
        want(&mut queue, &format!("old{number:02}"), Operation::Put, 0);
    }
    fresh(&mut queue, "new-name", Operation::Put, 10);
    fresh(&mut queue, "old-name", Operation::Delete, 10);
    let names = started(&mut queue, 11);
    assert_eq!(names[0], "new-name");
    finish(&mut queue, &names[1..], 12);
    let mut order = Vec::new();
    for now in (2_000..2_100).step_by(10) {
        let names = started(&mut queue, now);
        finish(&mut queue, &names, now);
        order.extend(names);
    }
    assert!(!order.contains(&"old-name".to_owned()), "the new name is not there yet: {order:?}");
    queue.end(&path("new-name"), &of(done()), 2_200, 1.0);
    assert!(started(&mut queue, 2_200).contains(&"old-name".to_owned()));
}

/// It was found by a comparison that the old name is another file's now.
#[test]
fn a_fresh_delete_waits_for_the_copy_of_its_object() {
    let mut queue = roomy(100);
    let copy_from = Some(path("old-name"));
    let copy = QueueRow { copy_from, ..wish("new-name", Operation::Put, 0) };
    queue.want(copy, None, 0, false);
    fresh(&mut queue, "old-name", Operation::Delete, 10);
    assert_eq!(started(&mut queue, 2_000), ["new-name"]);
    assert_eq!(started(&mut queue, 2_000), [""; 0]);
    queue.end(&path("new-name"), &of(done()), 2_001, 1.0);
    assert_eq!(started(&mut queue, 2_001), ["old-name"]);
}

/// A put that a fresh delete may depend on is in the record alone.
#[test]
fn while_fresh_puts_may_be_unseen_a_delete_waits_for_all_before_it() {
    let mut queue = queue();
    for number in 0..8 {
        fresh(&mut queue, &format!("burst{number}"), Operation::Put, number);
    }
    // None of the window can be taken out, so this has no room.
    fresh(&mut queue, "new-name", Operation::Put, 8);
    assert!(!queue.window.contains(&path("new-name")));
    let counts = StateCounts { pending: 9, mirrored: 100, ..StateCounts::default() };
    queue.set_counts(counts);
    let names = started(&mut queue, 9);
    finish(&mut queue, &names, 9);
    want(&mut queue, "found", Operation::Put, 9);
    fresh(&mut queue, "old-name", Operation::Delete, 10);
    let mut order = Vec::new();
    for now in (2_000..2_200).step_by(10) {
        let names = started(&mut queue, now);
        finish(&mut queue, &names, now);
        order.extend(names);
    }
    let at = |name: &str| order.iter().position(|started| started == name);
    assert!(at("found") < at("old-name"), "{order:?}");
}

#[test]
fn changes_of_now_have_an_outage_probed_sooner() {
    let mut queue = roomy(100);
    want(&mut queue, "old", Operation::Put, 0);
    let mut now = 0;
    while now < 120_000 {
        for name in started(&mut queue, now) {
            queue.end(&path(&name), &of(failure(FailureClass::Unavailable)), now, 1.0);
        }
        now += 100;
    }
    assert!(queue.outage().is_some());
    let probe = queue.next_due(true).expect("a probe");
    fresh(&mut queue, "new", Operation::Put, now);
    let sooner = (now..now + 2_100).find(|now| started(&mut queue, *now) == ["new"]);
    let sooner = sooner.expect("a probe of what is new");
    assert!(sooner <= probe && sooner <= now + 2_000, "{sooner}");
    queue.end(&path("new"), &of(done()), sooner, 1.0);
    assert!(queue.outage().is_none());
}
