//! Attempts by the real transfer, against a store whose answer to each request is scripted.
//!
//! Whatever the requests of an attempt are answered with, the state names every object that may exist
//! afterwards, and later attempts bring the bucket to what the directory is, without a ghost.

mod store;

use crate::model::{
    BandwidthSchedule, KeyPrefix, ObjectRecord, Operation, Outcome, QueueRow, RelPath,
    RootGeneration, Shard, StoredPart, UploadPlan, UploadRecord, Version,
};
use crate::plan::{Decision, FileState, Policy, plan};
use crate::queue::{self, Backoff, Queue};
use crate::root::Root;
use crate::store::{Change, StateCounts};
use crate::transfer::{self, AttemptRecord, Journal, PaceSettings, Transfer};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use store::{Fate, Scripted};
use tempfile::TempDir;

/// Short names, so that they meet: files that are sent whole, and in parts, and that change places.
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Sizes up to, and above, what is sent and copied in one request.
const SIZES: [usize; 4] = [0, 3, 9, 14];
/// Milliseconds between attempts: no back-off is longer.
const PAUSE: u64 = 600_000;
/// Attempts after which everything has to be at rest.
const ATTEMPTS_MAX: usize = 60;

/// What happens.
#[derive(Debug, Clone)]
enum Step {
    /// A file is written, and has this size.
    Write(usize, usize),
    /// It goes away.
    Remove(usize),
    /// It gets another name.
    Rename(usize, usize),
    /// What may start is tried, and its requests are answered like this, then all well.
    Attempt(Vec<Fate>),
}

/// Keeps the notes of uploads, as the state does.
#[derive(Debug, Default)]
struct Notes(Mutex<BTreeMap<RelPath, UploadRecord>>);

impl Journal for Arc<Notes> {
    async fn begun(&self, path: &RelPath, plan: &UploadPlan, upload_id: Option<&str>) {
        let upload_id = upload_id.map(str::to_owned);
        let note = UploadRecord {
            path: path.clone(),
            upload_id,
            begun: 0,
            plan: *plan,
            parts: Vec::new(),
        };
        self.0.lock().expect("sound").insert(path.clone(), note);
    }
    async fn stored(&self, path: &RelPath, part: &StoredPart) {
        let mut notes = self.0.lock().expect("sound");
        notes.get_mut(path).expect("begun").parts.push(part.clone());
    }
    async fn ended(&self, path: &RelPath, _: Option<&str>) {
        self.0.lock().expect("sound").remove(path);
    }
    async fn listed(&self, _: Vec<(RelPath, u64, Option<String>)>) -> Vec<RelPath> {
        Vec::new()
    }
    async fn inherited(&self, _: Vec<(RelPath, ObjectRecord)>) {}
    async fn listing_ended(&self, _: bool) {}
    async fn unrecorded(&self, _: Vec<(RelPath, u64, Option<String>)>) -> Vec<RelPath> {
        Vec::new()
    }
    async fn heir_no_more(&self) {}
    async fn probed(&self, _: &str, _: bool) {}
    async fn overlap(&self, _: bool) {}
    async fn compare(&self, _: Vec<(RelPath, u64, Option<String>)>, _: bool) {}
    async fn differing(&self) -> Vec<(RelPath, String)> {
        Vec::new()
    }
    async fn replaced(&self, _: Vec<(RelPath, String)>) {}
}

fn path(name: &str) -> RelPath {
    RelPath::new(name.as_bytes()).expect("a proper path")
}

struct World {
    directory: TempDir,
    root: Arc<Root>,
    store: Scripted,
    notes: Arc<Notes>,
    transfer: Transfer<Scripted, Arc<Notes>>,
    queue: Queue,
    mirrored: BTreeMap<RelPath, ObjectRecord>,
    pending: BTreeMap<RelPath, QueueRow>,
    clock: u64,
    written: u64,
}

impl World {
    fn new(checksums: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = Arc::new(Root::open(directory.path()).expect("a root"));
        let store = Scripted::new(checksums);
        let notes = Arc::new(Notes::default());
        let settings = transfer::TransferSettings {
            prefix: KeyPrefix::default(),
            multipart_threshold: 4,
            multipart_part_size: 5,
            memory: 1 << 20,
            copy_threshold: 10,
            copy_part_size: 5,
            pace: PaceSettings { requests: 2, bandwidth: BandwidthSchedule::default() },
            listed: true,
            share: Shard::default(),
            source: "here".into(),
            heir: false,
            epoch: RootGeneration::default(),
            overlap: false,
            probe: None,
            conditions: Some(transfer::ConditionSupport::Unknown),
            rules: Arc::default(),
            reapply_rules: false,
            refresh_metadata: false,
            writer: Arc::default(),
            rest: Duration::ZERO,
        };
        let queue = queue::QueueSettings {
            concurrency: 8,
            prepared: 8,
            large_bytes: 4,
            window_max: 100,
            backoff: Backoff { first_ms: 1_000, max_ms: 300_000 },
            delete_limit: crate::model::DeleteLimit { percent: 100, count: 1_000, window_ms: 0 },
            patience: None,
        };
        let transfer =
            Transfer::new(Arc::clone(&root), store.clone(), Arc::clone(&notes), settings);
        let transfer = transfer.expect("a transfer");
        let queue = Queue::new(queue, StateCounts::default());
        let mirrored = BTreeMap::new();
        let pending = BTreeMap::new();
        let clock = PAUSE;
        let written = 0;
        Self { directory, root, store, notes, transfer, queue, mirrored, pending, clock, written }
    }

    fn file(&self, name: usize) -> std::path::PathBuf {
        self.directory.path().join(NAMES[name])
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Write(name, size) => {
                self.written += 1;
                let content: Vec<u8> =
                    (0..*size).map(|at| (self.written as usize * 31 + at) as u8).collect();
                let written = SystemTime::UNIX_EPOCH + Duration::from_secs(self.written);
                fs::write(self.file(*name), content).expect("written");
                let file = fs::File::options().write(true).open(self.file(*name)).expect("opened");
                file.set_modified(written).expect("dated");
                self.decide(&path(NAMES[*name]));
            }
            Step::Remove(name) => {
                // It need not be there.
                drop(fs::remove_file(self.file(*name)));
                self.decide(&path(NAMES[*name]));
            }
            Step::Rename(from, to) => {
                drop(fs::rename(self.file(*from), self.file(*to)));
                self.decide(&path(NAMES[*to]));
                self.decide(&path(NAMES[*from]));
            }
            Step::Attempt(fates) => {
                self.store.script(fates);
                self.attempt().await;
                self.store.script(&[]);
                self.every_object_is_named();
            }
        }
    }

    /// As the engine does after a look at the path.
    fn decide(&mut self, path: &RelPath) {
        let observed = match self.root.look(path) {
            Ok(stat) => FileState::File(stat.fingerprint),
            Err(_) => FileState::Absent,
        };
        let mirrored = self.mirrored.get(path);
        let pending = self.pending.get(path);
        let policy = Policy { propagate_deletes: true, epoch: RootGeneration(1) };
        let change = match plan(&observed, mirrored, pending, None, policy) {
            Decision::Do(operation, _) => {
                let version = match &observed {
                    FileState::File(fingerprint) => Version::of(fingerprint),
                    _ => Version::default(),
                };
                let mut wish = QueueRow::new(path.clone(), operation, version, self.clock);
                match operation {
                    Operation::Put => wish.copy_from = self.source(path, &observed),
                    Operation::Delete => {}
                }
                self.queue.want(wish, pending, self.clock, false)
            }
            Decision::Nothing(_) => self.queue.settle(path, pending),
            Decision::Wait => None,
        };
        change.into_iter().for_each(|change| self.apply(change));
    }

    /// Where the file was recorded before.
    fn source(&self, path: &RelPath, observed: &FileState) -> Option<RelPath> {
        let FileState::File(now) = observed else { return None };
        let same = |row: &ObjectRecord| {
            row.fingerprint.inode == now.inode && Version::of(&row.fingerprint) == Version::of(now)
        };
        let found = self.mirrored.iter().find(|(other, row)| *other != path && same(row));
        found.map(|(other, _)| other.clone())
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Queue(row) => drop(self.pending.insert(row.path.clone(), row)),
            Change::Mirrored(path, row) => {
                self.pending.remove(&path);
                self.mirrored.insert(path, row);
            }
            Change::Forgotten(path) => {
                self.pending.remove(&path);
                self.mirrored.remove(&path);
            }
            Change::Settled(path) => drop(self.pending.remove(&path)),
            other => panic!("no attempt changes {other:?}"),
        }
    }

    fn known(&self, row: &QueueRow) -> AttemptRecord {
        let twin = row.copy_from.as_ref().and_then(|from| self.mirrored.get(from).cloned());
        AttemptRecord {
            mirrored: self.mirrored.get(&row.path).cloned(),
            twin,
            listed: None,
            upload: self.notes.0.lock().expect("sound").get(&row.path).cloned(),
            epoch: RootGeneration(1),
        }
    }

    async fn attempt(&mut self) {
        self.clock += PAUSE;
        let leases = self.queue.start(self.clock, true);
        leases.iter().for_each(|lease| self.apply(Change::Queue(lease.pending.clone())));
        let (puts, deletes): (Vec<_>, Vec<_>) =
            leases.into_iter().partition(|lease| lease.pending.operation == Operation::Put);
        let mut ended = Vec::new();
        for lease in puts {
            let known = self.known(&lease.pending);
            let attempted = self.transfer.send(&lease, &known, None).await;
            ended.push((lease.pending.path, attempted));
        }
        if !deletes.is_empty() {
            let known = |lease: queue::Attempt| {
                let known = self.known(&lease.pending);
                (lease, known)
            };
            let deletes: Vec<_> = deletes.into_iter().map(known).collect();
            let attempted = self.transfer.delete(&deletes).await;
            let paths = deletes.into_iter().map(|(lease, _)| lease.pending.path);
            ended.extend(paths.zip(attempted));
        }
        for (path, attempted) in ended {
            let again = matches!(attempted.outcome, Outcome::LookAgain(_));
            let ended = self.queue.end(&path, &attempted, self.clock, 0.5);
            ended.changes.into_iter().for_each(|change| self.apply(change));
            if ended.look_again || again {
                self.decide(&path);
            }
        }
        self.abandon().await;
    }

    /// As the engine does with uploads that no row goes on with.
    async fn abandon(&self) {
        let notes = self.notes.0.lock().expect("sound").clone();
        for (_, note) in notes.into_iter().filter(|(path, _)| !self.pending.contains_key(path)) {
            // One that is refused stays noted.
            drop(self.transfer.abandon(&note).await);
        }
    }

    /// The state names every object of ours: as it is, or as one that may be there.
    fn every_object_is_named(&self) {
        for (key, etag) in self.store.ours() {
            let path = path(&key);
            let recorded = self.mirrored.get(&path).and_then(|row| row.etag.as_ref());
            let doubtful = self.pending.get(&path).is_some_and(|row| row.sent.is_some());
            assert!(
                doubtful || recorded == Some(&etag),
                "{key} is a ghost: {:?}, {:?}",
                self.mirrored.get(&path),
                self.pending.get(&path)
            );
        }
    }

    fn tree(&self) -> BTreeMap<String, Vec<u8>> {
        let read = |name: &&str| {
            Some(((*name).to_owned(), fs::read(self.directory.path().join(name)).ok()?))
        };
        NAMES.iter().filter_map(read).collect()
    }

    /// No more faults: everything comes to rest, and the bucket is the directory.
    async fn rest(&mut self) {
        for _ in 0..ATTEMPTS_MAX {
            if self.pending.is_empty() && self.store.objects() == self.tree() {
                // The last decision may have left an upload without a row.
                self.abandon().await;
                assert_eq!(self.store.uploads(), 0, "an upload is left open");
                return;
            }
            // A file just written counts as one to read again. Were it decided in each round, the probes of
            // an outage, one a round, would never be through with all of them.
            if self.pending.is_empty() {
                NAMES.iter().for_each(|name| self.decide(&path(name)));
            }
            self.attempt().await;
            self.every_object_is_named();
        }
        panic!(
            "never at rest: bucket {:?}, tree {:?}, pending {:?}",
            self.store.objects(),
            self.tree(),
            self.pending
        );
    }
}

fn name() -> impl Strategy<Value = usize> {
    0..NAMES.len()
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Answered),
        2 => any::<bool>().prop_map(|done| Fate::Lost { done }),
        2 => any::<bool>().prop_map(|done| Fate::Nonsense { done }),
        1 => any::<bool>().prop_map(|done| Fate::Internal { done }),
        3 => Just(Fate::Refused),
        1 => Just(Fate::Declined),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (name(), prop::sample::select(&SIZES[..])).prop_map(|(name, size)| Step::Write(name, size)),
        2 => name().prop_map(Step::Remove),
        2 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        5 => prop::collection::vec(fate(), 0..6).prop_map(Step::Attempt),
    ]
}

fn run(checksums: bool, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut world = World::new(checksums);
        for step in steps {
            world.step(step).await;
        }
        world.rest().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_the_requests_of_an_attempt_are_answered_the_state_names_every_object_that_may_exist(
        checksums in any::<bool>(),
        steps in prop::collection::vec(step(), 1..24),
    ) {
        run(checksums, &steps);
    }
}

#[test]
fn a_copy_that_was_made_and_not_confirmed_leaves_no_ghost_when_its_file_goes() {
    use Fate::{Answered, Nonsense, Refused};
    // The store returns no checksum, and refuses to say what was made; or its answer is no answer, and the
    // upload in its place is refused.
    for fates in [vec![Answered, Refused], vec![Nonsense { done: true }, Refused]] {
        let steps = [
            Step::Write(0, 3),
            Step::Attempt(Vec::new()),
            Step::Rename(0, 1),
            Step::Attempt(fates),
            Step::Remove(1),
        ];
        run(false, &steps);
    }
}
