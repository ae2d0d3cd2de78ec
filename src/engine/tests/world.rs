//! A directory, a record and a bucket made of maps, and an engine between them.

mod attempt;

use super::super::*;
use super::flushing;
use crate::look::Inspection;
use crate::model::{
    ChangedObject, Fingerprint, ObjectRecord, Operation, QueueRow, RootGeneration, Staleness,
    Version,
};
use crate::plan::FileState;
use crate::queue::{self, Backoff};
use crate::reconcile::{ReconcileError, Summary};
use crate::store::RecordedState;
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const NAMES: [&str; 7] = ["a", "b", "d/a", "d/b", "d/e/a", "f/a", "a.txt"];
/// A foreign object, with a name the directory may take.
pub(super) const FOREIGN: (&str, u64) = ("f/a", u64::MAX);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    pub(super) content: u64,
    pub(super) fingerprint: Fingerprint,
}

/// What a key holds: the content, and the version we gave it, if it was us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) content: u64,
    pub(super) version: Option<Version>,
}

enum Task {
    Look(Vec<ReadyPath>),
    Compare(ScanScope),
    Write(Vec<Change>, Vec<Attempt>),
    ReadDelayed(UnixMillis),
    Refill(usize),
    /// A try that has read the file, or is about to delete.
    Try(Box<Attempt>, Option<File>),
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) disk: BTreeMap<RelPath, File>,
    mirrored: BTreeMap<RelPath, ObjectRecord>,
    pending: BTreeMap<RelPath, QueueRow>,
    pub(super) bucket: BTreeMap<RelPath, Object>,
    /// Objects of ours that were changed, without an invalidation.
    pub(super) stale: BTreeSet<RelPath>,
    tasks: Vec<Task>,
    /// Events that have happened and not been taken in.
    pub(super) events: Vec<Event>,
    /// What comparisons have found, which is taken in as there is room.
    compared: Vec<Event>,
    pub(super) engine: Engine,
    started: Duration,
    pub(super) clock: Duration,
    /// How long objects stay after their files.
    delete_delay: Duration,
    pub(super) changes: u64,
    pub(super) puts: u64,
    written: u64,
    faults: bool,
    /// Whether the store returns checksums: one that does not is asked after a copy what it has made.
    checksums: bool,
    /// Every change gives an event, every look and comparison works: no rescan is needed.
    pub(super) honest: bool,
    /// What the last inspection could not read.
    unread: BTreeSet<RelPath>,
    /// What is promised to those who wait for a flush.
    pub(super) flushing: flushing::Flushing,
}

pub(super) fn path(name: &str) -> RelPath {
    RelPath::new(name.as_bytes()).expect("a proper path")
}

pub(super) fn at(ms: u64) -> EngineTime {
    EngineTime { elapsed: Duration::from_millis(ms), jitter: 0.5 }
}

pub(in crate::engine) fn engine(at: Duration, counts: StateCounts, honest: bool) -> Engine {
    engine_with_delay(at, counts, honest, Duration::ZERO)
}

pub(in crate::engine) fn engine_with_delay(
    at: Duration,
    counts: StateCounts,
    honest: bool,
    delete_delay: Duration,
) -> Engine {
    let rescan_interval = Duration::from_secs(if honest { u64::from(u32::MAX) } else { 600 });
    let settings = EngineSettings {
        prefix: crate::model::KeyPrefix::default(),
        bucket: "bucket".into(),
        endpoint: "store:443".into(),
        log_transfers: crate::model::TransferLog::All,
        policy: crate::plan::Policy { propagate_deletes: true, epoch: RootGeneration(1) },
        settle: crate::settle::DebounceSettings {
            done: Duration::from_millis(250),
            writing: Duration::from_secs(5),
            longest: Duration::from_secs(60),
            paths_max: 4,
            trees_max: 2,
        },
        queue: queue::QueueSettings {
            concurrency: 2,
            prepared: 2,
            large_bytes: 0,
            window_max: 3,
            backoff: Backoff { first_ms: 1_000, max_ms: 300_000 },
            delete_limit: crate::model::DeleteLimit { percent: 100, count: 1_000, window_ms: 0 },
            delete_delay_ms: millis(delete_delay),
            patience: None,
        },
        largest: crate::engine::Largest::default(),
        min_age: Duration::ZERO,
        max_files: None,
        rescan_interval,
        once: false,
        reapply: None,
        tracing: crate::model::TraceSettings::default(),
        invalidate: Some(CdnChange { new_objects: false, tagging: None }),
    };
    let mut engine = Engine::new(settings, counts, millis(at));
    engine.compare_all();
    engine
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let honest = seed.is_multiple_of(2);
        let delete_delay = Duration::from_secs(if seed.is_multiple_of(5) { 40 } else { 0 });
        let counts = StateCounts::default();
        let mut world = Self {
            delete_delay,
            rng: Rng::with_seed(seed),
            disk: BTreeMap::new(),
            mirrored: BTreeMap::new(),
            pending: BTreeMap::new(),
            bucket: BTreeMap::new(),
            stale: BTreeSet::new(),
            tasks: Vec::new(),
            events: Vec::new(),
            compared: Vec::new(),
            engine: engine_with_delay(Duration::ZERO, counts, honest, delete_delay),
            started: Duration::ZERO,
            clock: Duration::from_secs(1_000),
            changes: 0,
            puts: 0,
            written: 0,
            faults: true,
            checksums: !seed.is_multiple_of(3),
            honest,
            unread: BTreeSet::new(),
            flushing: flushing::Flushing::default(),
        };
        let (name, content) = FOREIGN;
        world.bucket.insert(path(name), Object { content, version: None });
        world
    }

    pub(super) fn counts(&self) -> StateCounts {
        let count = |wanted: &dyn Fn(&QueueRow) -> bool| {
            self.pending.values().filter(|row| wanted(row)).count() as u64
        };
        let delayed = count(&QueueRow::is_delayed);
        StateCounts {
            mirrored: self.mirrored.len() as u64,
            pending: self.pending.len() as u64 - delayed,
            delayed,
            delayed_moved: 0,
            unrecorded_deletes: 0,
            deletes: count(&|row| row.operation == Operation::Delete && !row.is_delayed()),
            parked: count(&|row| row.parked.is_some() && !row.is_delayed()),
            skipped: 0,
            over_limit: 0,
            unrecorded: 0,
            bytes: self.pending_bytes(),
        }
    }

    fn pending_bytes(&self) -> u64 {
        let sent = |row: &&QueueRow| row.operation == Operation::Put && row.parked.is_none();
        self.pending.values().filter(sent).map(|row| row.version.size).sum()
    }

    /// All that is not on disk is gone.
    fn crash(&mut self) {
        self.tasks.clear();
        self.events.clear();
        self.compared.clear();
        self.flushing.forget();
        self.unread.clear();
        self.written = 0;
        self.started = self.clock;
        self.engine = engine_with_delay(self.clock, self.counts(), self.honest, self.delete_delay);
    }

    pub(super) fn apply(&mut self, event: Event) {
        let elapsed = self.clock.saturating_sub(self.started);
        let now = EngineTime { elapsed, jitter: self.rng.f64() };
        for effect in self.engine.apply(event, now) {
            self.tasks.push(match effect {
                Effect::Look(paths) => Task::Look(paths),
                Effect::Compare(range) => Task::Compare(range),
                Effect::Write(changes, leases) => Task::Write(changes, leases),
                Effect::Refill(limit) => Task::Refill(limit),
                Effect::ReadDelayed(until, _) => Task::ReadDelayed(until),
                Effect::Abandon(note) => panic!("nothing was uploaded in parts: {note:?}"),
                Effect::SourceLost(reason) => panic!("nothing took the source away: {reason}"),
            });
        }
        self.flushed();
    }

    /// Ends something that is in flight.
    fn work(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        // Writes and what reads behind them keep their order, as the record's thread does.
        let index = self.rng.usize(..self.tasks.len());
        let is_write = |task: &Task| matches!(task, Task::Write(..));
        let earlier = self.tasks[..=index].iter().position(is_write);
        let index = match &self.tasks[index] {
            Task::Try(..) => index,
            _ => earlier.unwrap_or(index),
        };
        match self.tasks.remove(index) {
            Task::Look(paths) => {
                let looked = paths.into_iter().map(|rested| self.look(rested)).collect();
                self.events.push(Event::Looked(looked));
            }
            Task::Compare(range) => self.compare(range),
            Task::Write(changes, leases) => {
                changes.into_iter().for_each(|change| self.record(change));
                for lease in leases {
                    self.begin(lease);
                }
                self.written += 1;
                // Receipts may overtake each other.
                let at = self.rng.usize(..=self.events.len());
                self.events.insert(at, Event::Written(self.written, self.counts()));
            }
            Task::Refill(limit) => {
                let mut rows: Vec<_> =
                    self.pending.values().filter(|row| row.parked.is_none()).cloned().collect();
                rows.sort_by_key(|row| row.next_try);
                rows.truncate(limit);
                self.events.push(Event::Refilled(rows));
            }
            Task::ReadDelayed(until) => self.read_delayed(until),
            Task::Try(lease, read) => {
                let attempted = self.try_it(&lease, read);
                self.events.push(Event::Ended(vec![(*lease, attempted)]));
            }
        }
    }

    fn record(&mut self, change: Change) {
        match change {
            Change::Queue(row) => drop(self.pending.insert(row.path.clone(), row)),
            Change::Mirrored(path, mirrored) => {
                self.pending.remove(&path);
                self.mirrored.insert(path, mirrored);
            }
            Change::Forgotten(path) => {
                self.pending.remove(&path);
                self.mirrored.remove(&path);
            }
            Change::Settled(path) => drop(self.pending.remove(&path)),
            Change::DeletesDueBy(time) => {
                for row in self.pending.values_mut().filter(|row| row.is_delayed()) {
                    row.next_try = row.next_try.min(time);
                }
            }
            Change::RecentDeletes(_) => {}
            Change::Stale(ChangedObject { path, staleness, .. }) => {
                if staleness == Staleness::Certain || self.mirrored.contains_key(&path) {
                    self.stale.remove(&path);
                }
            }
            other => panic!("the engine does not write {other:?}"),
        }
    }

    fn look(&mut self, rested: ReadyPath) -> (Inspection, RecordedState) {
        let path = &rested.path;
        let file = self.disk.get(path);
        let below = |other: &RelPath| other != path && other.is_within(path);
        let known = RecordedState {
            mirrored: self.mirrored.get(path).cloned(),
            pending: self.pending.get(path).cloned(),
            below: self.mirrored.keys().chain(self.pending.keys()).any(below),
            ..RecordedState::default()
        };
        let changed = file.map(|file| u64::try_from(file.fingerprint.ctime_ns).unwrap_or(0));
        let age = changed.map(|ns| self.clock.saturating_sub(Duration::from_nanos(ns)));
        let fails = self.faults && self.rng.u8(0..20) == 0;
        let passing = fails && (self.honest || self.rng.bool());
        if fails {
            self.unread.insert(rested.path.clone());
        } else {
            self.unread.remove(&rested.path);
        }
        let observed = match file {
            _ if fails => FileState::Unknown("EIO".into()),
            Some(file) => FileState::File(file.fingerprint),
            None => FileState::Absent,
        };
        (Inspection { age, passing, ..Inspection::from_state(rested, observed) }, known)
    }

    fn compare(&mut self, range: ScanScope) {
        if self.faults && self.rng.u8(0..10) == 0 {
            let error = Err(ReconcileError::Start(crate::root::InspectError::Denied));
            self.compared.push(Event::Compared(range, error));
            return;
        }
        let direct = |path: &RelPath| path.parent().as_ref() == Some(&range.start);
        let here = |path: &RelPath| {
            path.is_within(&range.start) && (range.depth == Depth::Whole || direct(path))
        };
        let same = |path: &RelPath| match (self.disk.get(path), self.mirrored.get(path)) {
            (Some(file), Some(row)) => file.fingerprint.same_content(&row.fingerprint) && !row.racy,
            (None, Some(_)) => self.pending.get(path).is_some_and(QueueRow::is_delayed),
            (file, row) => file.is_none() && row.is_none(),
        };
        self.unread.retain(|path| !here(path));
        let all = self.disk.keys().chain(self.mirrored.keys());
        let mut differing: Vec<_> = all.filter(|path| here(path) && !same(path)).cloned().collect();
        if range.start.is_root() && range.depth == Depth::Whole {
            let parked = self.pending.values().filter(|row| row.parked.is_some());
            let parked = parked.filter(|row| !row.is_delayed());
            differing.extend(parked.map(|row| row.path.clone()));
        }
        // As many at once as there is certainly room for.
        let batches = differing.chunks(2).map(|batch| Event::Differing(batch.to_vec()));
        self.compared.extend(batches.collect::<Vec<_>>());
        self.compared.push(Event::Compared(range, Ok(Summary::default())));
    }

    /// Whether the delete of this path is delayed.
    pub(super) fn is_delayed(&self, path: &RelPath) -> bool {
        self.pending.get(path).is_some_and(QueueRow::is_delayed)
    }

    fn read_delayed(&mut self, until: UnixMillis) {
        let delayed = self.pending.values().filter(|row| row.is_delayed());
        let (rows, later): (Vec<_>, Vec<_>) =
            delayed.cloned().partition(|row| row.next_try <= until);
        let next = later.iter().map(|row| row.next_try).min();
        self.events.push(Event::DeletesDue(DueDeletes { rows, next, ..DueDeletes::default() }));
    }

    /// The first half of a try: the file is read.
    fn begin(&mut self, lease: Attempt) {
        let row = self.pending.get(&lease.pending.path);
        assert_eq!(row, Some(&lease.pending), "a try begins after its row is on disk");
        let read = self.disk.get(&lease.pending.path).copied();
        self.tasks.push(Task::Try(Box::new(lease), read));
    }

    pub(super) fn step(&mut self) {
        self.clock += Duration::from_millis(self.rng.u64(0..3_000));
        match self.rng.u8(0..20) {
            0..=4 => self.change_disk(),
            5 if self.rng.u8(0..4) == 1 => self.flush(),
            5 if self.rng.u8(0..4) == 0 => self.crash(),
            6..=12 => self.work(),
            _ => {
                let event = self.next_event().unwrap_or(Event::Tick);
                self.apply(event);
            }
        }
        self.check();
    }

    fn next_event(&mut self) -> Option<Event> {
        let has_differences = self.engine.has_room() && !self.compared.is_empty();
        if has_differences && (self.events.is_empty() || self.rng.bool()) {
            return Some(self.compared.remove(0));
        }
        (!self.events.is_empty()).then(|| self.events.remove(0))
    }

    fn check(&self) {
        assert!(self.engine.settle.len() <= 6, "the waiting are bounded");
        assert!(self.engine.queue.occupied() <= 2, "the running are bounded");
        assert!(self.engine.looks.len() <= LOOKS_MAX);
        let works = !self.engine.settle.is_empty() || !self.engine.looks.is_empty();
        let is_reported = works || !self.engine.gaps().is_empty();
        assert!(is_reported || self.unread.is_empty(), "all is well without {:?}", self.unread);
    }

    /// No more changes and no more faults: everything comes to rest.
    pub(super) fn rest(&mut self) {
        self.faults = false;
        for _ in 0..20_000 {
            if let Some(event) = self.next_event() {
                self.apply(event);
            } else if !self.tasks.is_empty() {
                self.work();
            } else {
                if self.at_rest() {
                    return;
                }
                let due = self.engine.next_tick().expect("something is due");
                let rescan = due > Duration::from_secs(1 << 30);
                assert!(!rescan, "only a rescan would find what is left");
                self.clock = self.clock.max(self.started + due);
                self.apply(Event::Tick);
            }
        }
        panic!(
            "it never came to rest: {:?}\ndisk {:?}\nmirrored {:?}\npending {:?}",
            self.engine, self.disk, self.mirrored, self.pending
        );
    }

    fn at_rest(&self) -> bool {
        let recorded: Vec<_> = self.mirrored.keys().collect();
        recorded == self.disk.keys().collect::<Vec<_>>()
            && self.pending.is_empty()
            && self.engine.settle.is_empty()
            && self.mirrored.iter().all(|(path, row)| row.crc64nvme == self.disk[path].content)
    }
}
