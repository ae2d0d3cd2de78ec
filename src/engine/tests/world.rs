//! A directory, a record and a bucket made of maps, and an engine between them.

use super::super::*;
use super::flushing;
use crate::model::{
    Changed, Effort, Epoch, Failure, FailureClass, Fingerprint, Mirrored, Operation, Staleness,
    Version,
};
use crate::queue::{self, Backoff};
use crate::reconcile::{ReconcileError, Summary};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 7] = ["a", "b", "d/a", "d/b", "d/e/a", "f/a", "a.txt"];
/// Somebody else's object, with a name the directory may take.
pub(super) const FOREIGN: (&str, u64) = ("f/a", u64::MAX);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    pub(super) content: u64,
    fingerprint: Fingerprint,
}

/// What a key holds: the content, and the version we gave it, if it was us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) content: u64,
    pub(super) version: Option<Version>,
}

enum Task {
    Look(Vec<Rested>),
    Compare(Range),
    Write(Vec<Change>, Vec<Lease>),
    Refill(usize),
    /// A try that has read the file, or is about to delete.
    Try(Lease, Option<File>),
}

pub(super) struct World {
    rng: Rng,
    pub(super) disk: BTreeMap<RelPath, File>,
    mirrored: BTreeMap<RelPath, Mirrored>,
    pending: BTreeMap<RelPath, Pending>,
    pub(super) bucket: BTreeMap<RelPath, Object>,
    /// Objects of ours that were changed, of which no CDN was told.
    pub(super) stale: BTreeSet<RelPath>,
    tasks: Vec<Task>,
    /// Events that have happened and not been taken in.
    pub(super) events: Vec<Event>,
    /// What comparisons have told, which is taken in as there is room.
    compared: Vec<Event>,
    pub(super) engine: Engine,
    started: Duration,
    clock: Duration,
    changes: u64,
    pub(super) puts: u64,
    written: u64,
    faults: bool,
    /// Every change is told of, every look and comparison works: no rescan is needed.
    pub(super) honest: bool,
    /// What is promised to those who wait for a flush.
    pub(super) flushing: flushing::Flushing,
}

pub(super) fn path(name: &str) -> RelPath {
    RelPath::new(name.as_bytes()).expect("a proper path")
}

pub(super) fn at(ms: u64) -> Now {
    Now { elapsed: Duration::from_millis(ms), jitter: 0.5 }
}

pub(in crate::engine) fn engine(at: Duration, counts: Counts, honest: bool) -> Engine {
    let rescan_interval = Duration::from_secs(if honest { u64::from(u32::MAX) } else { 600 });
    let settings = Settings {
        prefix: crate::model::KeyPrefix::default(),
        bucket: "bucket".into(),
        policy: crate::plan::Policy { propagate_deletes: true, epoch: Epoch(1) },
        settle: crate::settle::Settings {
            done: Duration::from_millis(250),
            writing: Duration::from_secs(5),
            longest: Duration::from_secs(60),
            paths_max: 4,
            trees_max: 2,
        },
        queue: queue::Settings {
            concurrency: 2,
            prepared: 2,
            large_bytes: 0,
            window_max: 3,
            backoff: Backoff { first_ms: 1_000, max_ms: 300_000 },
            delete_limit_percent: 100,
            delete_limit_count: 1_000,
        },
        rescan_interval,
        once: false,
        reapply: None,
        tracing: crate::model::Tracing::default(),
        invalidate: Some(Invalidate { new_objects: false, tagging: None }),
    };
    let mut engine = Engine::new(settings, counts, millis(at));
    engine.compare_all();
    engine
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut world = Self {
            rng: Rng::with_seed(seed),
            disk: BTreeMap::new(),
            mirrored: BTreeMap::new(),
            pending: BTreeMap::new(),
            bucket: BTreeMap::new(),
            stale: BTreeSet::new(),
            tasks: Vec::new(),
            events: Vec::new(),
            compared: Vec::new(),
            engine: engine(Duration::ZERO, Counts::default(), seed.is_multiple_of(2)),
            started: Duration::ZERO,
            clock: Duration::from_secs(1_000),
            changes: 0,
            puts: 0,
            written: 0,
            faults: true,
            honest: seed.is_multiple_of(2),
            flushing: flushing::Flushing::default(),
        };
        let (name, content) = FOREIGN;
        world.bucket.insert(path(name), Object { content, version: None });
        world
    }

    pub(super) fn counts(&self) -> Counts {
        let count = |wanted: &dyn Fn(&Pending) -> bool| {
            self.pending.values().filter(|row| wanted(row)).count() as u64
        };
        Counts {
            mirrored: self.mirrored.len() as u64,
            pending: self.pending.len() as u64,
            deletes: count(&|row| row.operation == Operation::Delete),
            parked: count(&|row| row.parked.is_some()),
            bytes: self.pending_bytes(),
        }
    }

    fn pending_bytes(&self) -> u64 {
        let sent = |row: &&Pending| row.operation == Operation::Put && row.parked.is_none();
        self.pending.values().filter(sent).map(|row| row.version.size).sum()
    }

    /// All that is not on disk is gone.
    fn crash(&mut self) {
        self.tasks.clear();
        self.events.clear();
        self.compared.clear();
        self.flushing.forget();
        self.written = 0;
        self.started = self.clock;
        self.engine = engine(self.clock, self.counts(), self.honest);
    }

    pub(super) fn apply(&mut self, event: Event) {
        let elapsed = self.clock.saturating_sub(self.started);
        let now = Now { elapsed, jitter: self.rng.f64() };
        for effect in self.engine.apply(event, now) {
            self.tasks.push(match effect {
                Effect::Look(paths) => Task::Look(paths),
                Effect::Compare(range) => Task::Compare(range),
                Effect::Write(changes, leases) => Task::Write(changes, leases),
                Effect::Refill(limit) => Task::Refill(limit),
                Effect::Abandon(note) => panic!("nothing was uploaded in parts: {note:?}"),
                Effect::SourceLost(reason) => panic!("nothing took the source away: {reason}"),
            });
        }
        self.flushed();
    }

    /// Somebody changes the directory; the watcher may or may not say so.
    fn change_disk(&mut self) {
        self.changes += 1;
        let name = path(NAMES[self.rng.usize(..NAMES.len())]);
        let other = path(NAMES[self.rng.usize(..NAMES.len())]);
        let kind = self.rng.u8(0..6);
        let subtree = kind == 5;
        self.flushing.changed(NAMES.iter().map(|known| path(known)).filter(|known| {
            *known == name || *known == other || (subtree && known.is_within(&other))
        }));
        let touched = match kind {
            0..=2 => {
                self.write(&name);
                vec![name]
            }
            3 => {
                self.disk.remove(&name);
                vec![name]
            }
            4 => {
                let Some(mut file) = self.disk.remove(&name) else { return };
                file.fingerprint.ctime_ns = self.nanos();
                self.disk.insert(other.clone(), file);
                vec![name, other]
            }
            _ => {
                self.disk.retain(|path, _| !path.is_within(&other));
                vec![other]
            }
        };
        let hints = match self.rng.u8(0..8) {
            // Lost: the next comparison has to find it.
            0 if !self.honest => return,
            1 => vec![Hint::Tree(RelPath::root(), Depth::Whole)],
            // What a directory that came or went is told by.
            0 | 2 => touched.into_iter().map(|path| Hint::Tree(path, Depth::Whole)).collect(),
            _ if subtree => {
                touched.into_iter().map(|path| Hint::Tree(path, Depth::Whole)).collect()
            }
            number => {
                let activity = [Activity::Done, Activity::Gone, Activity::Found, Activity::Writing];
                let activity = activity[usize::from(number) % 4];
                touched.into_iter().map(|path| Hint::Path(path, activity)).collect()
            }
        };
        self.events.push(Event::Hinted(hints));
    }

    fn write(&mut self, name: &RelPath) {
        let content = self.changes;
        let inode = self.rng.u64(0..3);
        let now = self.nanos();
        let size = self.rng.u64(0..2);
        let (mtime_ns, ctime_ns, btime_ns) = (now, now, now);
        let fingerprint =
            Fingerprint { mtime_ns, ctime_ns, inode, btime_ns, ..Fingerprint::of_size(size) };
        self.disk.insert(name.clone(), File { content, fingerprint });
    }

    /// Never the same twice, as on a file system with fine time stamps.
    fn nanos(&mut self) -> i64 {
        self.clock += Duration::from_nanos(1);
        i64::try_from(self.clock.as_nanos()).expect("not that far in the future")
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
            Task::Try(lease, read) => {
                let outcome = self.try_it(&lease, read);
                self.events.push(Event::Ended(vec![(lease, outcome)]));
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
            Change::Stale(Changed { path, staleness, .. }) => {
                if staleness == Staleness::Certain || self.mirrored.contains_key(&path) {
                    self.stale.remove(&path);
                }
            }
            other => panic!("the engine does not write {other:?}"),
        }
    }

    fn look(&mut self, rested: Rested) -> (Looked, Known) {
        let path = &rested.path;
        let file = self.disk.get(path);
        let below = |other: &RelPath| other != path && other.is_within(path);
        let known = Known {
            mirrored: self.mirrored.get(path).cloned(),
            pending: self.pending.get(path).cloned(),
            below: self.mirrored.keys().chain(self.pending.keys()).any(below),
            twin: None,
            listed: None,
            upload: None,
        };
        let changed = file.map(|file| u64::try_from(file.fingerprint.ctime_ns).unwrap_or(0));
        let age = changed.map(|ns| self.clock.saturating_sub(Duration::from_nanos(ns)));
        let observed = match file {
            _ if self.faults && !self.honest && self.rng.u8(0..20) == 0 => {
                Observed::Unknown("EIO".into())
            }
            Some(file) => Observed::File(file.fingerprint),
            None => Observed::Absent,
        };
        (Looked { rested, observed, age, instead: None, unsettled: false }, known)
    }

    fn compare(&mut self, range: Range) {
        if self.faults && self.rng.u8(0..10) == 0 {
            let error = Err(ReconcileError::Start(crate::root::LookError::Denied));
            self.compared.push(Event::Compared(range, error));
            return;
        }
        let direct = |path: &RelPath| path.parent().as_ref() == Some(&range.start);
        let here = |path: &RelPath| {
            path.is_within(&range.start) && (range.depth == Depth::Whole || direct(path))
        };
        let same = |path: &RelPath| match (self.disk.get(path), self.mirrored.get(path)) {
            (Some(file), Some(row)) => file.fingerprint.same_content(&row.fingerprint) && !row.racy,
            (file, row) => file.is_none() && row.is_none(),
        };
        let all = self.disk.keys().chain(self.mirrored.keys());
        let mut differing: Vec<_> = all.filter(|path| here(path) && !same(path)).cloned().collect();
        if range.start.is_root() && range.depth == Depth::Whole {
            let parked = self.pending.values().filter(|row| row.parked.is_some());
            differing.extend(parked.map(|row| row.path.clone()));
        }
        // As many at once as there is certainly room for.
        let batches = differing.chunks(2).map(|batch| Event::Differing(batch.to_vec()));
        self.compared.extend(batches.collect::<Vec<_>>());
        self.compared.push(Event::Compared(range, Ok(Summary::default())));
    }

    /// The first half of a try: the file is read.
    fn begin(&mut self, lease: Lease) {
        let row = self.pending.get(&lease.pending.path);
        assert_eq!(row, Some(&lease.pending), "a try begins after its row is on disk");
        let read = self.disk.get(&lease.pending.path).copied();
        self.tasks.push(Task::Try(lease, read));
    }

    /// The second half: S3 does it, or not, and answers, or not.
    fn try_it(&mut self, lease: &Lease, read: Option<File>) -> Outcome {
        let path = lease.pending.path.clone();
        let mirrored = self.mirrored.get(&path).cloned();
        let (done, answered) = match self.rng.u8(0..10) {
            0 if self.faults => (true, false),
            1 if self.faults => (false, false),
            2 if self.faults => (false, true),
            _ => (true, true),
        };
        let lost = |answer_lost| {
            let classes = [FailureClass::Unavailable, FailureClass::Object, FailureClass::Refused];
            let class = classes[usize::from(path.as_bytes()[0]) % 3];
            let (code, message) = ("Code".into(), "message".into());
            Outcome::Failed(Failure { class, code, message, answer_lost })
        };
        let object = self.bucket.get(&path).copied();
        match lease.pending.operation {
            Operation::Put => {
                let wanted = lease.pending.version;
                let Some(file) = read.filter(|file| Version::of(&file.fingerprint) == wanted)
                else {
                    return Outcome::LookAgain("the file has changed");
                };
                let row = Mirrored {
                    fingerprint: file.fingerprint,
                    crc64nvme: file.content,
                    etag: None,
                    racy: false,
                    epoch: Epoch(1),
                    head: None,
                };
                if lease.sent_before == Some(wanted)
                    && object.is_some_and(|object| object.version == Some(wanted))
                {
                    return Outcome::Mirrored(row, Effort::Found);
                }
                let unchanged = mirrored.is_some_and(|row| row.crc64nvme == file.content);
                if lease.sent_before.is_none() && unchanged {
                    return Outcome::Mirrored(row, Effort::Unchanged);
                }
                if done {
                    self.puts += 1;
                    let object = Object { content: file.content, version: Some(wanted) };
                    let before = self.bucket.insert(path.clone(), object);
                    if before.is_some_and(|before| before.version.is_some()) {
                        self.stale.insert(path.clone());
                    }
                }
                if answered && done {
                    Outcome::Mirrored(row, Effort::Sent)
                } else {
                    lost(!answered)
                }
            }
            Operation::Delete => {
                let ours = |object: Object| object.version.is_some();
                if mirrored.is_none() && !object.is_some_and(ours) {
                    return Outcome::Deleted;
                }
                if done {
                    let gone = self.bucket.remove(&path);
                    self.stale.extend(gone.map(|_| path.clone()));
                    let foreign = gone.is_some_and(|object| object.version.is_none());
                    assert!(!foreign, "an object that was never ours was deleted");
                }
                if answered && done { Outcome::Deleted } else { lost(!answered) }
            }
        }
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
        let told = self.engine.has_room() && !self.compared.is_empty();
        if told && (self.events.is_empty() || self.rng.bool()) {
            return Some(self.compared.remove(0));
        }
        (!self.events.is_empty()).then(|| self.events.remove(0))
    }

    fn check(&self) {
        assert!(self.engine.settle.len() <= 6, "the waiting are bounded");
        assert!(self.engine.queue.occupied() <= 2, "the running are bounded");
        assert!(self.engine.looks.len() <= LOOKS_MAX);
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
                let due = self.engine.next_tick().expect("something is to be done");
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
