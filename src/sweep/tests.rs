//! A simulated file system under random changes: whatever happens to names is scanned after one sweep.

use super::remembered::RememberedDirectories;
use crate::model::{Depth, Fingerprint, Hint, RelPath, WriteState};
use crate::root::{FileKind, InspectError, ListedDirectory, Stat};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const SECOND: i64 = 1_000_000_000;
const HOT_FOR: Duration = Duration::from_secs(300);

fn path(name: &str) -> RelPath {
    RelPath::new(name.as_bytes()).expect("a path")
}

#[derive(Debug, Clone)]
struct SimulatedDirectory {
    inode: u64,
    changed_ns: i64,
    /// The names, and the version of what each one is.
    names: BTreeMap<String, u64>,
}

/// A tree, and what the latest scan of each directory has seen.
struct SimulatedTree {
    directories: BTreeMap<RelPath, SimulatedDirectory>,
    scanned: BTreeMap<RelPath, BTreeMap<String, u64>>,
    memory: RememberedDirectories,
    now_ns: i64,
    /// The resolution of times; 0 if times never change.
    tick_ns: i64,
    version: u64,
    looks: usize,
}

impl SimulatedTree {
    fn new(tick_ns: i64) -> Self {
        let memory = RememberedDirectories::new(HOT_FOR);
        let mut tree = Self {
            directories: BTreeMap::new(),
            scanned: BTreeMap::new(),
            memory,
            now_ns: 1_000 * SECOND,
            tick_ns,
            version: 0,
            looks: 0,
        };
        tree.add_directory(&RelPath::root());
        tree
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now_ns.unsigned_abs())
    }

    fn pass(&mut self, time: Duration) {
        self.now_ns += i64::try_from(time.as_nanos()).expect("short");
    }

    fn stamp(&self) -> i64 {
        if self.tick_ns == 0 { SECOND } else { self.now_ns / self.tick_ns * self.tick_ns }
    }

    fn add_directory(&mut self, at: &RelPath) {
        self.version += 1;
        let changed_ns = self.stamp();
        let new = SimulatedDirectory { inode: self.version, changed_ns, names: BTreeMap::new() };
        self.directories.insert(at.clone(), new);
        if let Some(parent) = at.parent() {
            let name = String::from_utf8(at.file_name().to_vec()).expect("a name");
            self.set_name(&parent, &name, true);
        }
    }

    /// Creates, replaces or removes a name.
    fn set_name(&mut self, directory: &RelPath, name: &str, there: bool) {
        self.version += 1;
        let stamp = self.stamp();
        let version = self.version;
        let directory = self.directories.get_mut(directory).expect("a directory");
        directory.changed_ns = stamp;
        if there {
            directory.names.insert(name.to_owned(), version);
        } else {
            directory.names.remove(name);
        }
    }

    fn below(&self, start: &RelPath) -> Vec<RelPath> {
        self.directories.keys().filter(|path| path.is_within(start)).cloned().collect()
    }

    /// Renames a directory with everything in it, over another one if there is one.
    fn rename(&mut self, from: &RelPath, to: &RelPath) {
        for gone in self.below(to) {
            self.directories.remove(&gone);
        }
        for path in self.below(from) {
            let moved = self.directories.remove(&path).expect("it is there");
            let rest = &path.as_bytes()[from.as_bytes().len()..];
            let target = RelPath::new(&[to.as_bytes(), rest].concat()).expect("a path");
            self.directories.insert(target, moved);
        }
        for (path, there) in [(from, false), (to, true)] {
            let name = String::from_utf8(path.file_name().to_vec()).expect("a name");
            self.set_name(&path.parent().expect("not the root"), &name, there);
        }
    }

    fn stat(&self, path: &RelPath) -> Option<Stat> {
        let directory = self.directories.get(path)?;
        let fingerprint = Fingerprint {
            inode: directory.inode,
            mtime_ns: directory.changed_ns,
            ctime_ns: directory.changed_ns,
            ..Fingerprint::with_size(0)
        };
        Some(Stat { kind: FileKind::Directory, fingerprint, links: 2, mount_id: 1 })
    }

    fn scan(&mut self, start: &RelPath, depth: Depth) {
        self.memory.begin_scan();
        let below = self.below(start);
        self.scanned.retain(|path, _| depth == Depth::Entries || !path.is_within(start));
        for path in below {
            if depth == Depth::Entries && path != *start {
                if path.parent().as_ref() == Some(start) {
                    self.memory.found(&path);
                }
                continue;
            }
            let names = self.directories[&path].names.clone();
            let digest = names.keys().map(String::as_str).collect::<Vec<_>>().join("/");
            let listed = ListedDirectory {
                before: self.stat(&path).expect("it is there"),
                names: crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, digest.as_bytes()),
                entries: names.len(),
            };
            self.memory.listed(&path, &listed, self.now_ns);
            self.scanned.insert(path, names);
        }
        self.memory.end_scan(start, depth);
        for hint in self.memory.take_unlisted() {
            self.perform(hint);
        }
    }

    fn perform(&mut self, hint: Hint) {
        if let Hint::Tree(start, depth) = hint {
            if self.directories.contains_key(&start) {
                self.scan(&start, depth);
            } else {
                let parent = start.parent().expect("the root is there");
                self.perform(Hint::Tree(parent, Depth::Entries));
            }
        }
    }

    /// Performs one sweep, and returns its hints before they are performed.
    fn sweep(&mut self) -> Vec<Hint> {
        let mut hints = self.memory.begin_sweep(self.elapsed());
        let mut after = None;
        while let Some(next) = self.memory.next(after.as_ref(), 1).pop() {
            let look = self.stat(&next).ok_or(InspectError::Gone);
            let now = self.elapsed();
            hints.extend(self.memory.looked(&next, &look, now));
            self.looks += 1;
            after = Some(next);
        }
        hints
    }

    fn sweep_and_scan(&mut self) {
        for hint in self.sweep() {
            self.perform(hint);
        }
    }

    fn assert_scanned(&self, what: &str) {
        for (path, directory) in &self.directories {
            assert_eq!(self.scanned.get(path), Some(&directory.names), "{what}: {path:?}");
        }
    }

    fn change(&mut self, random: &mut fastrand::Rng) {
        let all: Vec<_> = self.directories.keys().cloned().collect();
        let directory = random.choice(&all).expect("the root is there").clone();
        let name = format!("f{}", random.u8(..4));
        let other = format!("d{}", random.u8(..3));
        let sub = directory.join(other.as_bytes()).expect("a path");
        match random.u8(..6) {
            0 | 1 => self.set_name(&directory, &name, true),
            2 => self.set_name(&directory, &name, false),
            3 if !self.directories.contains_key(&sub) && sub.as_bytes().len() < 12 => {
                self.add_directory(&sub);
            }
            4 if !directory.is_root() => {
                for gone in self.below(&directory) {
                    self.directories.remove(&gone);
                }
                let name = String::from_utf8(directory.file_name().to_vec()).expect("a name");
                self.set_name(&directory.parent().expect("not the root"), &name, false);
            }
            5 if !directory.is_root() && !sub.is_within(&directory) => {}
            _ => {
                let target = path("moved");
                if !directory.is_root()
                    && !target.is_within(&directory)
                    && !directory.is_within(&target)
                {
                    self.rename(&directory, &target);
                }
            }
        }
    }
}

#[test]
fn every_change_of_names_is_scanned_after_one_sweep_whatever_the_resolution_of_times() {
    for (tick_ns, seed) in [(1, 1), (SECOND / 100, 2), (SECOND, 3), (2 * SECOND, 4)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut tree = SimulatedTree::new(tick_ns);
        tree.scan(&RelPath::root(), Depth::Whole);
        for round in 0..2_000 {
            for _ in 0..random.u8(..4) {
                tree.change(&mut random);
                tree.pass(Duration::from_millis(random.u64(..300)));
            }
            let hints = tree.sweep();
            for hint in hints {
                if random.u8(..8) == 0 {
                    // The next sweep finds what happens during this one.
                    tree.change(&mut random);
                }
                tree.perform(hint);
            }
            if random.bool() {
                tree.sweep_and_scan();
                tree.assert_scanned(&format!("seed {seed}, round {round}"));
            }
            tree.pass(Duration::from_secs(random.u64(..40)));
        }
        assert!(tree.memory.is_useful(), "no false alarm, seed {seed}");
    }
}

#[test]
fn an_idle_sweep_looks_once_at_each_directory_and_scans_nothing() {
    let mut tree = SimulatedTree::new(SECOND);
    for index in 0..50 {
        tree.add_directory(&path(&format!("d{index}")));
    }
    tree.scan(&RelPath::root(), Depth::Whole);
    tree.pass(Duration::from_secs(30));
    tree.sweep_and_scan();
    tree.set_name(&path("d7"), "f", true);
    tree.pass(Duration::from_secs(30));
    tree.sweep_and_scan();
    tree.pass(HOT_FOR);
    tree.looks = 0;
    assert_eq!(tree.sweep(), []);
    assert_eq!(tree.looks, 51);
}

#[test]
fn a_directory_is_scanned_by_every_sweep_for_a_while_after_a_change() {
    let mut tree = SimulatedTree::new(1);
    tree.add_directory(&path("hot"));
    tree.add_directory(&path("cold"));
    tree.pass(Duration::from_secs(60));
    tree.scan(&RelPath::root(), Depth::Whole);
    assert_eq!(tree.sweep(), []);
    let changed = [path("hot/file")];
    let now = tree.elapsed();
    changed.iter().for_each(|path| tree.memory.note_change(path, WriteState::Found, now));
    for _ in 0..9 {
        tree.pass(Duration::from_secs(30));
        assert_eq!(tree.sweep(), [Hint::Tree(path("hot"), Depth::Entries)]);
        tree.sweep_and_scan();
    }
    tree.pass(Duration::from_secs(30));
    assert_eq!(tree.sweep(), []);
}

#[test]
fn a_changed_file_in_a_directory_too_large_to_be_hot_is_inspected_alone() {
    let mut tree = SimulatedTree::new(1);
    tree.add_directory(&path("large"));
    for index in 0..70_000 {
        tree.directories
            .get_mut(&path("large"))
            .expect("it is there")
            .names
            .insert(format!("f{index}"), index);
    }
    tree.pass(Duration::from_secs(60));
    tree.scan(&RelPath::root(), Depth::Whole);
    let now = tree.elapsed();
    tree.memory.note_change(&path("large/f7"), WriteState::Found, now);
    tree.memory.note_change(&path("large/f8"), WriteState::Writing, now);
    tree.memory.note_change(&path("large/f8"), WriteState::Gone, now);
    assert_eq!(tree.sweep(), [Hint::Path(path("large/f7"), WriteState::Found)]);
    tree.pass(HOT_FOR);
    assert_eq!(tree.sweep(), []);
}

#[test]
fn an_open_file_is_inspected_by_every_sweep() {
    let mut tree = SimulatedTree::new(1);
    tree.pass(Duration::from_secs(60));
    tree.scan(&RelPath::root(), Depth::Whole);
    let now = tree.elapsed();
    tree.memory.note_change(&path("log"), WriteState::Writing, now);
    let hints = tree.sweep();
    assert_eq!(hints, [Hint::Tree(RelPath::root(), Depth::Entries)], "with its directory");
}

#[test]
fn a_replaced_directory_is_scanned_with_all_below() {
    let mut tree = SimulatedTree::new(1);
    tree.add_directory(&path("a"));
    tree.add_directory(&path("a/b"));
    tree.pass(Duration::from_secs(60));
    tree.scan(&RelPath::root(), Depth::Whole);
    tree.directories.get_mut(&path("a")).expect("it is there").inode = 77;
    assert_eq!(tree.sweep(), [Hint::Tree(path("a"), Depth::Whole)]);
}

#[test]
fn an_error_is_left_to_a_scan_which_reports_it() {
    let mut tree = SimulatedTree::new(1);
    tree.add_directory(&path("a"));
    tree.pass(Duration::from_secs(60));
    tree.scan(&RelPath::root(), Depth::Whole);
    let stale = || InspectError::Io(rustix::io::Errno::STALE.into());
    for _ in 0..2 {
        let now = tree.elapsed();
        let hint = tree.memory.looked(&path("a"), &Err(stale()), now);
        assert_eq!(hint, Some(Hint::Tree(path("a"), Depth::Entries)));
    }
}

#[test]
fn times_that_do_not_change_with_the_names_are_found_useless() {
    let mut tree = SimulatedTree::new(0);
    tree.pass(Duration::from_secs(60));
    tree.scan(&RelPath::root(), Depth::Whole);
    for index in 0..3 {
        assert!(tree.memory.is_useful(), "{index}");
        tree.set_name(&RelPath::root(), &format!("new{index}"), true);
        assert_eq!(tree.sweep(), [], "nothing shows it");
        tree.scan(&RelPath::root(), Depth::Whole);
        tree.sweep_and_scan();
    }
    assert!(!tree.memory.is_useful());
}

#[test]
fn a_change_between_the_look_and_the_listing_is_no_sign_of_useless_times() {
    let mut tree = SimulatedTree::new(1);
    tree.pass(Duration::from_secs(60));
    tree.scan(&RelPath::root(), Depth::Whole);
    for index in 0..9 {
        let before = tree.stat(&RelPath::root()).expect("it is there");
        tree.pass(Duration::from_secs(60));
        tree.set_name(&RelPath::root(), &format!("new{index}"), true);
        let listed = ListedDirectory { before, names: index, entries: 1 };
        tree.memory.begin_scan();
        tree.memory.listed(&RelPath::root(), &listed, tree.now_ns);
        tree.memory.end_scan(&RelPath::root(), Depth::Whole);
        tree.sweep_and_scan();
    }
    assert!(tree.memory.is_useful());
}

#[test]
fn what_is_remembered_has_a_maximum() {
    let mut memory = RememberedDirectories::new(HOT_FOR);
    let tree = SimulatedTree::new(1);
    let before = tree.stat(&RelPath::root()).expect("it is there");
    let listed = ListedDirectory { before, names: 1, entries: 1 };
    memory.begin_scan();
    for index in 0..super::remembered::DIRECTORIES_MAX + 3 {
        memory.listed(&path(&format!("d{index}")), &listed, 0);
    }
    assert_eq!(memory.len(), super::remembered::DIRECTORIES_MAX);
    assert_eq!(memory.beyond(), 3);
    let mut memory = RememberedDirectories::new(HOT_FOR);
    memory.begin_scan();
    for index in 0..5_000 {
        memory.found(&path(&format!("d{index}")));
    }
    let hints: BTreeSet<_> =
        memory.take_unlisted().iter().map(|hint| format!("{hint:?}")).collect();
    assert!(hints.len() <= 1_025, "{}", hints.len());
    assert!(hints.contains(&format!("{:?}", Hint::Tree(RelPath::root(), Depth::Whole))));
}
