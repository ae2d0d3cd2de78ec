//! The commands of the real transfer, against a store whose answer to each request is scripted: the initial
//! listing, attempts, and the comparison with the bucket.
//!
//! Whatever their requests are answered with, the state names every object that may exist afterwards, and
//! later ones bring the bucket to what the directory is, without a ghost. That holds while other writers
//! put objects, after an instance that was ending, and from a lost state on for all that was made since.

mod instance;
mod state;
mod steps;
mod store;

use crate::model::{
    AttemptOutcome, ObjectRecord, Operation, Outcome, QueueRow, RelPath, RootGeneration, Version,
};
use crate::plan::{Decision, FileState, Policy, plan};
use crate::queue::{self, Queue};
use crate::root::Root;
use crate::store::Change;
use crate::transfer::{AttemptRecord, Transfer};
use instance::{empty_queue, instance};
use proptest::prelude::*;
use state::{TestState, binding};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use steps::{Step, abilities, steps};
use store::{Abilities, Fate, Scripted};
use tempfile::TempDir;

/// Short names, so that they meet: files that are sent whole, and in parts, and that change places.
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Sizes up to, and above, what is sent and copied in one request.
const SIZES: [usize; 4] = [0, 3, 9, 14];
/// Milliseconds between attempts: no back-off is longer.
const PAUSE: u64 = 600_000;
/// Attempts after which everything has to be at rest.
const ATTEMPTS_MAX: usize = 60;

fn path(name: &str) -> RelPath {
    RelPath::new(name.as_bytes()).expect("a proper path")
}

fn empty_state(epoch: RootGeneration) -> TestState {
    TestState::new(NAMES.map(path).to_vec(), epoch)
}

struct World {
    directory: TempDir,
    root: Arc<Root>,
    store: Scripted,
    abilities: Abilities,
    state: TestState,
    transfer: Transfer<Scripted>,
    is_ending: bool,
    epoch: RootGeneration,
    /// Keys and entity tags of objects of another directory that no record names any more.
    of_other_directories: BTreeSet<(String, String)>,
    queue: Queue,
    pending: BTreeMap<RelPath, QueueRow>,
    clock: u64,
    written: u64,
}

impl World {
    fn new(abilities: Abilities) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = Arc::new(Root::open(directory.path()).expect("a root"));
        let store = Scripted::new(abilities);
        let state = empty_state(RootGeneration(1));
        Self {
            transfer: instance(&root, &store, &state, abilities, (true, RootGeneration(1))),
            directory,
            root,
            store,
            abilities,
            state,
            is_ending: false,
            epoch: RootGeneration(1),
            of_other_directories: BTreeSet::new(),
            queue: empty_queue(),
            pending: BTreeMap::new(),
            clock: PAUSE,
            written: 0,
        }
    }

    fn begin_instance(&mut self, listed: bool) {
        self.is_ending = false;
        self.transfer =
            instance(&self.root, &self.store, &self.state, self.abilities, (listed, self.epoch));
    }

    fn lose_state(&mut self) {
        self.store.lose_state();
        self.state = empty_state(self.epoch);
        self.pending.clear();
        self.queue = empty_queue();
        self.begin_instance(false);
        self.decide_all();
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
            }
            Step::Other(name, same_directory) => {
                self.written += 1;
                let source = if *same_directory { "here" } else { "elsewhere" };
                let body = vec![self.written as u8; SIZES[self.written as usize % SIZES.len()]];
                self.store.put_foreign(NAMES[*name], &body, source);
            }
            Step::End => {
                self.is_ending = true;
                self.transfer.begin_ending();
            }
            Step::Succeed => self.begin_instance(true),
            Step::Lose => self.lose_state(),
            Step::Move => self.watch_another_directory(),
            Step::Compare(fates) => {
                self.store.script(fates);
                // What could not be compared is compared later.
                drop(self.compare().await);
            }
        }
        self.store.script(&[]);
        self.state.sync().await;
        self.every_object_is_named();
    }

    /// As the engine does when another writer was noticed.
    async fn compare(&mut self) -> Result<(), crate::model::Failure> {
        // No state is compared before the bucket was listed for it.
        self.state.sync().await;
        self.transfer.prepare().await?;
        let review = self.transfer.last_review().await;
        self.state.sync().await;
        self.decide_all();
        review.map(drop)
    }

    /// As the state does when it is bound to another directory.
    fn watch_another_directory(&mut self) {
        self.epoch.0 += 1;
        self.state.add(Change::Bound(binding(self.epoch, true)));
        let doubtful = self.pending.values().filter(|row| row.sent.is_some());
        let doubtful: Vec<_> = doubtful.map(|row| row.path.clone()).collect();
        for path in doubtful {
            self.state.add(Change::Forgotten(path));
        }
        let recorded = self.state.recorded().mirrored.clone();
        self.pending.clear();
        let is_recorded = |key: &str, etag: &String| {
            recorded.get(&path(key)).is_some_and(|row| row.etag.as_ref() == Some(etag))
        };
        let unknown = self.store.ours().into_iter().filter(|(key, etag)| !is_recorded(key, etag));
        self.of_other_directories.extend(unknown);
        self.queue = empty_queue();
        self.begin_instance(true);
        self.decide_all();
    }

    fn decide_all(&mut self) {
        NAMES.iter().for_each(|name| self.decide(&path(name)));
    }

    /// As the engine does after a look at the path.
    fn decide(&mut self, path: &RelPath) {
        let observed = match self.root.look(path) {
            Ok(stat) => FileState::File(stat.fingerprint),
            Err(_) => FileState::Absent,
        };
        let mirrored = self.state.record(path);
        let mirrored = mirrored.as_ref();
        let pending = self.pending.get(path);
        let policy = Policy { propagate_deletes: true, epoch: self.epoch };
        let change = match plan(&observed, mirrored, pending, None, policy) {
            Decision::Do(operation, _) => {
                let version = match &observed {
                    FileState::File(fingerprint) => Version::from_fingerprint(fingerprint),
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
            row.fingerprint.inode == now.inode
                && Version::from_fingerprint(&row.fingerprint) == Version::from_fingerprint(now)
        };
        let recorded = self.state.recorded();
        let found = recorded.mirrored.iter().find(|(other, row)| *other != path && same(row));
        found.map(|(other, _)| other.clone())
    }

    fn apply(&mut self, change: Change) {
        self.state.add(change.clone());
        match change {
            Change::Queue(row) => drop(self.pending.insert(row.path.clone(), row)),
            Change::Mirrored(path, _) | Change::Forgotten(path) | Change::Settled(path) => {
                self.pending.remove(&path);
            }
            other => panic!("no attempt changes {other:?}"),
        }
    }

    fn known(&self, row: &QueueRow) -> AttemptRecord {
        let recorded = self.state.recorded();
        let from = row.copy_from.as_ref();
        AttemptRecord {
            mirrored: recorded.mirrored.get(&row.path).cloned(),
            rename_source: from.and_then(|from| recorded.mirrored.get(from).cloned()),
            listed: recorded.listed.get(&row.path).copied(),
            upload: recorded.uploads.get(&row.path).cloned(),
            epoch: self.epoch,
        }
    }

    /// Carries out what may start, as the engine does: deletes together, puts one by one.
    async fn perform(&self, leases: Vec<queue::Attempt>) -> Vec<(RelPath, AttemptOutcome)> {
        let mut ended = Vec::new();
        let (puts, deletes): (Vec<_>, Vec<_>) =
            leases.into_iter().partition(|lease| lease.pending.operation == Operation::Put);
        let mut batches: Vec<_> = puts.into_iter().map(|put| vec![put]).collect();
        batches.extend(Some(deletes).filter(|deletes| !deletes.is_empty()));
        for batch in batches {
            let paths: Vec<_> = batch.iter().map(|lease| lease.pending.path.clone()).collect();
            if let Err(failure) = self.transfer.prepare().await {
                let outcome = AttemptOutcome::without_a_write(Outcome::Failed(failure));
                ended.extend(paths.into_iter().map(|path| (path, outcome.clone())));
                continue;
            }
            self.state.sync().await;
            let known = |lease: queue::Attempt| {
                let known = self.known(&lease.pending);
                (lease, known)
            };
            let tries: Vec<_> = batch.into_iter().map(known).collect();
            let attempted = match &tries[..] {
                [(lease, known)] if lease.pending.operation == Operation::Put => {
                    vec![self.transfer.send(lease, known, None).await]
                }
                deletes => self.transfer.delete(deletes).await,
            };
            ended.extend(paths.into_iter().zip(attempted));
        }
        self.state.sync().await;
        ended
    }

    async fn attempt(&mut self) {
        self.clock += PAUSE;
        let leases = self.queue.start(self.clock, true);
        leases.iter().for_each(|lease| self.apply(Change::Queue(lease.pending.clone())));
        let ended = self.perform(leases).await;
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
        let notes = self.state.recorded().uploads.clone();
        for (_, note) in notes.into_iter().filter(|(path, _)| !self.pending.contains_key(path)) {
            // One that is refused stays noted.
            drop(self.transfer.abandon(&note).await);
        }
        self.state.sync().await;
    }

    /// The state names every object of ours: as it is, or as one that may be there.
    fn every_object_is_named(&self) {
        for (key, etag) in self.store.ours() {
            if self.of_other_directories.contains(&(key.clone(), etag.clone())) {
                continue;
            }
            let path = path(&key);
            let recorded = self.state.record(&path);
            let named = recorded.as_ref().is_some_and(|row| row.etag.as_ref() == Some(&etag));
            let pending = self.pending.get(&path);
            let doubtful = pending.is_some_and(|row| row.sent.is_some());
            assert!(doubtful || named, "{key} is a ghost: {recorded:?}, {pending:?}");
        }
    }

    fn tree(&self) -> BTreeMap<String, Vec<u8>> {
        let read = |name: &&str| {
            Some(((*name).to_owned(), fs::read(self.directory.path().join(name)).ok()?))
        };
        NAMES.iter().filter_map(read).collect()
    }

    /// Whether each file has its object, and nothing else is in the bucket of ours or that we know of.
    fn is_equal(&self) -> bool {
        let tree = self.tree();
        let mut objects = self.store.objects();
        let recorded = self.state.recorded();
        let ours = self.store.ours();
        // Objects of others, of a state that was lost, and of another directory stay where there is no file.
        objects.retain(|key, _| {
            let ours = ours.iter().find(|(ours, _)| ours == key);
            let remains = ours.is_none_or(|ours| self.of_other_directories.contains(ours));
            let record = recorded.mirrored.get(&path(key));
            let is_of_this = record.map(|record| record.epoch == self.epoch);
            tree.contains_key(key) || is_of_this.unwrap_or(!remains)
        });
        objects == tree
    }

    /// No more faults: everything comes to rest, and the bucket is the directory.
    async fn rest(&mut self) {
        if self.is_ending {
            self.begin_instance(true);
        }
        // What another writer did need not have been noticed.
        self.compare().await.expect("no more faults");
        for _ in 0..ATTEMPTS_MAX {
            if self.pending.is_empty() && self.is_equal() {
                // The last decision may have left an upload without a row.
                self.abandon().await;
                assert_eq!(self.store.uploads(), 0, "an upload is left open");
                return;
            }
            // A file just written counts as one to read again. Were it decided in each round, the probes of
            // an outage, one a round, would never be through with all of them.
            if self.pending.is_empty() {
                self.decide_all();
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

fn run(abilities: Abilities, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut world = World::new(abilities);
        for step in steps {
            world.step(step).await;
        }
        world.rest().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_the_requests_of_an_attempt_are_answered_the_state_names_every_object_that_may_exist(
        abilities in abilities(),
        steps in steps(),
    ) {
        run(abilities, &steps);
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
        run(Abilities { checksums: false, conditions: true }, &steps);
    }
}

/// What was found by chance, shortened.
#[test]
fn sequences_that_once_left_a_ghost_or_never_came_to_rest_leave_none() {
    use Fate::{Answered, Internal, Lost, Nonsense, Refused};
    use Step::{Attempt, Remove, Rename, Write};
    let sequences = [
        vec![
            Write(0, 14),
            Attempt(vec![]),
            Rename(0, 1),
            Attempt(vec![Answered, Lost { done: false }, Refused]),
            Attempt(vec![Refused]),
            Write(0, 0),
        ],
        vec![Write(0, 9), Attempt(vec![Lost { done: true }]), Remove(0)],
        vec![Write(2, 14), Attempt(vec![]), Rename(2, 0), Attempt(vec![Nonsense { done: true }])],
        vec![
            Write(1, 0),
            Remove(0),
            Attempt(vec![]),
            Write(0, 0),
            Write(2, 0),
            Attempt(vec![]),
            Write(1, 9),
            Attempt(vec![Internal { done: false }]),
            Write(1, 0),
            Attempt(vec![Internal { done: false }]),
            Attempt(vec![Lost { done: false }]),
        ],
    ];
    for steps in sequences {
        run(Abilities { checksums: false, conditions: true }, &steps);
    }
}

#[test]
fn what_was_put_in_the_place_of_another_directorys_object_leaves_no_ghost_when_its_file_goes() {
    let steps = [
        Step::Write(0, 3),
        Step::Attempt(vec![]),
        Step::Move,
        Step::Write(0, 0),
        Step::Attempt(vec![Fate::Lost { done: true }]),
        Step::Remove(0),
    ];
    run(Abilities { checksums: false, conditions: true }, &steps);
}
