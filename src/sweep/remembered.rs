//! What is known of the directories, and which of them have to be scanned: pure.

use super::hot::HotPaths;
use crate::model::{Depth, Hint, RelPath, WriteState};
use crate::root::{InspectError, ListedDirectory, Stat};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

/// Maximum number of remembered directories, about 200 bytes each. Those beyond it are found by full scans
/// only.
pub(super) const DIRECTORIES_MAX: usize = 262_144;
/// Maximum number of hot directories.
const HOT_DIRECTORIES_MAX: usize = 1_024;
/// Maximum number of entries in all hot directories: one sweep inspects no more files without a sign of a
/// change.
const HOT_ENTRIES_MAX: u64 = 65_536;
/// Maximum number of files that are inspected by each sweep on their own.
const HOT_FILES_MAX: usize = 4_096;
/// Maximum number of directories without a listing that wait for a scan. Beyond it, the tree is scanned.
const UNLISTED_MAX: usize = 1_024;
/// The age below which a change may share its time stamp with the next one: file systems store times of up
/// to two seconds.
const GRANULARITY: Duration = Duration::from_secs(2);
/// The number of changed listings under unchanged times after which those times are useless.
const MISSED_MAX: u32 = 3;

/// The attributes of a directory that change with its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DirectoryTimes {
    mtime_ns: i64,
    ctime_ns: i64,
    inode: u64,
    links: u64,
}

#[derive(Debug)]
struct RememberedDirectory {
    times: DirectoryTimes,
    /// A digest of the names.
    names: u64,
    entries: u32,
    /// The latest scan that has met it.
    scan: u32,
    /// The times were so recent when it was listed that a change after the listing may not differ.
    recent: bool,
    /// The names had changed, and the times had not: confirmed if they still have not at the next look.
    missed: bool,
}

/// The remembered directories.
#[derive(Debug)]
pub(super) struct RememberedDirectories {
    directories: BTreeMap<RelPath, RememberedDirectory>,
    /// Directories in which something has changed lately.
    hot: HotPaths,
    /// Files that have changed lately in directories too large to be hot, and open files.
    files: HotPaths,
    /// Directories that were found and not entered.
    unlisted: BTreeSet<RelPath>,
    /// The number of the latest scan.
    scan: u32,
    /// Whether the directory at the start of the scan has other names than before.
    renamed: bool,
    /// The number of directories that the latest scan found no room for.
    beyond: u64,
    missed: u32,
    /// The time for which a directory or a file is hot.
    hot_for: Duration,
}

impl DirectoryTimes {
    fn of(stat: &Stat) -> Self {
        let mtime_ns = stat.fingerprint.mtime_ns;
        let ctime_ns = stat.fingerprint.ctime_ns;
        Self { mtime_ns, ctime_ns, inode: stat.fingerprint.inode, links: stat.links }
    }

    /// Whether another change may have the same times. Programs can set a modification time in the
    /// future, so that it counts only in the past.
    fn are_recent(self, now_ns: i64) -> bool {
        let modified = if self.mtime_ns > now_ns { self.ctime_ns } else { self.mtime_ns };
        let age = now_ns.saturating_sub(self.ctime_ns.max(modified));
        u128::try_from(age).is_ok_and(|age| age < GRANULARITY.as_nanos()) || age < 0
    }
}

impl RememberedDirectories {
    /// Remembers nothing yet.
    pub(super) fn new(hot_for: Duration) -> Self {
        Self {
            directories: BTreeMap::new(),
            hot: HotPaths::new(HOT_DIRECTORIES_MAX, HOT_ENTRIES_MAX),
            files: HotPaths::new(HOT_FILES_MAX, HOT_FILES_MAX as u64),
            unlisted: BTreeSet::new(),
            scan: 0,
            renamed: false,
            beyond: 0,
            missed: 0,
            hot_for,
        }
    }

    /// Forgets everything but whether times are useless.
    pub(super) fn clear(&mut self) {
        *self = Self { missed: self.missed, scan: self.scan, ..Self::new(self.hot_for) };
    }

    /// A scan begins.
    pub(super) fn begin_scan(&mut self) {
        self.scan = self.scan.wrapping_add(1);
        self.renamed = false;
        self.beyond = 0;
    }

    /// The scan has listed `path`.
    pub(super) fn listed(&mut self, path: &RelPath, listed: &ListedDirectory, now_ns: i64) {
        let times = DirectoryTimes::of(&listed.before);
        let recent = times.are_recent(now_ns);
        let names = listed.names;
        let entries = u32::try_from(listed.entries).unwrap_or(u32::MAX);
        let scan = self.scan;
        self.unlisted.remove(path);
        let mut now = RememberedDirectory { times, names, entries, scan, recent, missed: false };
        if let Some(before) = self.directories.get_mut(path) {
            self.renamed |= before.names != names;
            let same = before.times == times;
            now.missed = same && (before.missed || (before.names != names && !before.recent));
            *before = now;
            return;
        }
        self.renamed = true;
        if self.directories.len() >= DIRECTORIES_MAX {
            self.beyond += 1;
        } else {
            self.directories.insert(path.clone(), now);
        }
    }

    /// The scan has found `path`, and not entered it.
    pub(super) fn found(&mut self, path: &RelPath) {
        if let Some(known) = self.directories.get_mut(path) {
            known.scan = self.scan;
        } else if self.directories.len() >= DIRECTORIES_MAX {
            self.beyond += 1;
        } else if self.unlisted.len() < UNLISTED_MAX {
            self.unlisted.insert(path.clone());
        } else {
            self.unlisted = BTreeSet::from([RelPath::root()]);
        }
    }

    /// The scan has ended without an error: what it has not met is gone.
    pub(super) fn end_scan(&mut self, start: &RelPath, depth: Depth) {
        let scan = self.scan;
        if depth == Depth::Entries && !self.renamed {
            return;
        }
        let within = self.directories.range(start.clone()..);
        let within = within.take_while(|(path, _)| path.is_within(start));
        let mut gone = Vec::new();
        let mut top: Option<RelPath> = None;
        for (path, directory) in within {
            let is_missed = directory.scan != scan;
            match depth {
                Depth::Whole => gone.extend(is_missed.then(|| path.clone())),
                Depth::Entries if path == start => {}
                Depth::Entries if path.parent().as_ref() == Some(start) => {
                    top = is_missed.then(|| path.clone());
                    gone.extend(top.clone());
                }
                Depth::Entries => {
                    let is_gone = top.as_ref().is_some_and(|top| path.is_within(top));
                    gone.extend(is_gone.then(|| path.clone()));
                }
            }
        }
        for path in gone {
            self.directories.remove(&path);
            self.hot.remove(&path);
        }
    }

    /// The directories that were found and not entered.
    pub(super) fn take_unlisted(&mut self) -> Vec<Hint> {
        let unlisted = std::mem::take(&mut self.unlisted).into_iter();
        unlisted.map(|path| Hint::Tree(path, Depth::Whole)).collect()
    }

    /// Something has changed at `path`, or is being written.
    pub(super) fn note_change(&mut self, path: &RelPath, state: WriteState, now: Duration) {
        let until = now + self.hot_for;
        let Some(directory) = path.parent() else { return };
        let Some(known) = self.directories.get(&directory) else { return };
        let weight = u64::from(known.entries) + 1;
        let is_hot = self.hot.insert(&directory, weight, until);
        match state {
            WriteState::Gone => drop(self.files.remove(path)),
            WriteState::Done if is_hot => drop(self.files.remove(path)),
            WriteState::Found if is_hot => {}
            WriteState::Done | WriteState::Found | WriteState::Writing => {
                self.files.insert(path, 1, until);
            }
        }
    }

    /// A sweep begins. Returns the files to inspect.
    pub(super) fn begin_sweep(&mut self, now: Duration) -> Vec<Hint> {
        self.hot.expire(now);
        self.files.expire(now);
        let is_single = |path: &&RelPath| !path.parent().is_some_and(|dir| self.hot.contains(&dir));
        let files = self.files.iter().filter(is_single);
        files.map(|path| Hint::Path(path.clone(), WriteState::Found)).collect()
    }

    /// The directories after `after`, at most `count`.
    pub(super) fn next(&self, after: Option<&RelPath>, count: usize) -> Vec<RelPath> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        let next = self.directories.range((from, Bound::Unbounded)).take(count);
        next.map(|(path, _)| path.clone()).collect()
    }

    /// The sweep has inspected `path`. Returns what has to be scanned because of that.
    pub(super) fn looked(
        &mut self,
        path: &RelPath,
        look: &Result<Stat, InspectError>,
        now: Duration,
    ) -> Option<Hint> {
        let known = self.directories.get_mut(path)?;
        let entries = Hint::Tree(path.clone(), Depth::Entries);
        let stat = match look {
            Ok(stat) => stat,
            Err(InspectError::Io(_) | InspectError::Denied) => return Some(entries),
            // Its parent knows more about it.
            Err(InspectError::Gone | InspectError::NotBelow(_)) => {
                let parent = path.parent().unwrap_or_else(RelPath::root);
                return Some(Hint::Tree(parent, Depth::Entries));
            }
        };
        let times = DirectoryTimes::of(stat);
        if times == known.times {
            self.missed += u32::from(std::mem::take(&mut known.missed));
            return (known.recent || self.hot.contains(path)).then_some(entries);
        }
        let replaced = times.inode != known.times.inode;
        let weight = u64::from(known.entries) + 1;
        self.hot.insert(path, weight, now + self.hot_for);
        Some(if replaced { Hint::Tree(path.clone(), Depth::Whole) } else { entries })
    }

    /// Whether changes of entries change the times of their directory.
    pub(super) fn is_useful(&self) -> bool {
        self.missed < MISSED_MAX
    }

    /// The number of remembered directories.
    pub(super) fn len(&self) -> usize {
        self.directories.len()
    }

    /// The number of directories that there was no room for.
    pub(super) fn beyond(&self) -> u64 {
        self.beyond
    }
}
