//! Quiet time: a path is looked at when nothing has happened to it for a while.
//!
//! # Invariants
//!
//! - A hint is never dropped. A hint for a path that is waiting already joins it; where there is no
//!   room for another path, the hint widens to the directory, and then to the whole tree.
//! - However often a path is hinted, it is looked at after [`DebounceSettings::longest`].
//! - A [`flush`](Settle::flush) distinguishes the hints before it from later ones: each wait keeps
//!   the lowest [`FlushGeneration`] of its hints, through inspections and scans.
//! - What was seen to happen is looked at before what a comparison found, which has a quarter of each look.
//! - Time is an argument: the time since the engine started.

mod order;

use crate::model::{Depth, Hint, RelPath, WriteState};
use order::DueOrder;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How long to wait, and for how many.
#[derive(Debug, Clone)]
pub struct DebounceSettings {
    /// Quiet time after a file was closed, renamed or removed.
    pub done: Duration,
    /// Quiet time for a file that is still open for writing, or may be.
    pub writing: Duration,
    /// Longest wait for a path that never rests.
    pub longest: Duration,
    /// Paths that can wait at once; beyond it their directories do.
    pub paths_max: usize,
    /// Directories that can wait at once; beyond it the whole tree does.
    pub trees_max: usize,
}

/// Counts the flushes so far: what has a mark no higher than a flush's was hinted before it.
pub type FlushGeneration = u64;

/// A path whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyPath {
    /// The path.
    pub path: RelPath,
    /// The latest that was heard of it.
    pub activity: WriteState,
    /// When the first hint of this wait came.
    pub since: Duration,
    /// Whether it waited as long as anything may, and so has to be taken as it is.
    pub overdue: bool,
    /// A file that changed less than this long ago has to be known to be closed.
    pub rest: Duration,
    /// Of the first hint it stands for.
    pub mark: FlushGeneration,
    /// Whether one of the hints was of a change that was seen when it happened.
    pub fresh: bool,
}

impl ReadyPath {
    /// A path that is looked at and taken as it is, whatever was heard of it.
    #[must_use]
    pub fn as_it_is(path: RelPath) -> Self {
        let since = Duration::ZERO;
        let rest = Duration::ZERO;
        Self {
            path,
            activity: WriteState::Found,
            since,
            overdue: true,
            rest,
            mark: 0,
            fresh: false,
        }
    }
}

/// A directory whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyDir {
    /// The directory.
    pub path: RelPath,
    /// How far below it.
    pub depth: Depth,
    /// Of the first hint it stands for.
    pub mark: FlushGeneration,
    /// Whether one of the hints was of changes that were seen when they happened.
    pub fresh: bool,
}

#[derive(Debug, Clone, Copy)]
struct QuietWait {
    activity: WriteState,
    since: Duration,
    due: Duration,
    mark: FlushGeneration,
    fresh: bool,
}

#[derive(Debug, Clone, Copy)]
struct TreeWait {
    depth: Depth,
    due: Duration,
    mark: FlushGeneration,
    fresh: bool,
}

/// Paths and directories that wait for quiet.
#[derive(Debug)]
pub struct Settle {
    settings: DebounceSettings,
    paths: HashMap<RelPath, QuietWait>,
    order: DueOrder,
    trees: BTreeMap<RelPath, TreeWait>,
    /// Nothing waits any longer.
    hurried: bool,
    /// Files that are open for writing wait no longer than others.
    ending: bool,
    /// Of hints that come now.
    mark: FlushGeneration,
    /// What has this mark or a lower one waits no longer. What was there before the first flush has
    /// a mark as well, the lowest: it is in no hurry until there is one.
    flushed: Option<FlushGeneration>,
}

impl Settle {
    /// Nothing waits.
    #[must_use]
    pub fn new(settings: DebounceSettings) -> Self {
        Self {
            settings,
            paths: HashMap::new(),
            order: DueOrder::default(),
            trees: BTreeMap::new(),
            hurried: false,
            ending: false,
            mark: 1,
            flushed: None,
        }
    }

    /// The paths that wait, fresh ones first.
    pub fn waiting_paths(&self) -> impl Iterator<Item = &RelPath> {
        self.order.paths()
    }

    /// Paths and directories that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.paths.len() + self.trees.len()
    }

    /// Paths that wait.
    #[must_use]
    pub fn paths(&self) -> usize {
        self.paths.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a hint in at `now`, of something that was seen to happen.
    pub fn hint(&mut self, hint: Hint, now: Duration) {
        self.hint_of(hint, now, FlushGeneration::MAX, true);
    }

    /// Takes a hint in that follows from an earlier one, which had this mark, and was of a change that was
    /// seen when it happened, or not.
    pub fn hint_of(&mut self, hint: Hint, now: Duration, mark: FlushGeneration, fresh: bool) {
        let mark = mark.min(self.mark);
        match hint {
            Hint::Path(path, activity) => {
                let since = self.paths.get(&path).map_or(now, |wait| wait.since);
                let due = now + self.quiet(activity);
                self.wait(path, QuietWait { activity, since, due, mark, fresh });
            }
            Hint::Tree(path, depth) => {
                let due = now + self.settings.done;
                self.wait_tree(path, TreeWait { depth, due, mark, fresh });
            }
        }
    }

    /// Inspects a path soon that has no other reason for an inspection; a path that waits already keeps
    /// its time.
    pub fn ensure_scheduled(
        &mut self,
        path: RelPath,
        activity: WriteState,
        now: Duration,
        mark: FlushGeneration,
        fresh: bool,
    ) {
        match self.paths.get_mut(&path) {
            Some(wait) => wait.mark = mark.min(wait.mark),
            None => self.hint_of(Hint::Path(path, activity), now, mark, fresh),
        }
    }

    /// Puts a path back that was looked at and had not rested for long enough. What was heard of it
    /// since then says more.
    pub fn requeue(&mut self, rested: ReadyPath, due: Duration) {
        let ReadyPath { path, activity, since, mark, fresh, .. } = rested;
        let wait = match self.paths.get(&path) {
            Some(newer) => {
                let since = newer.since.min(since);
                let mark = newer.mark.min(mark);
                QuietWait { since, mark, fresh: newer.fresh || fresh, ..*newer }
            }
            None => QuietWait { activity, since, due, mark, fresh },
        };
        self.wait(path, wait);
    }

    /// Whether `path` was written to lately, and not closed.
    #[must_use]
    pub fn is_being_written(&self, path: &RelPath) -> bool {
        self.paths.get(path).is_some_and(|wait| wait.activity == WriteState::Writing)
    }

    /// Of hints that come now.
    #[must_use]
    pub fn mark(&self) -> FlushGeneration {
        self.mark
    }

    /// The lowest mark of all that waits. Looks at everything.
    #[must_use]
    pub fn lowest_mark(&self) -> Option<FlushGeneration> {
        let paths = self.paths.values().map(|wait| wait.mark);
        paths.chain(self.trees.values().map(|wait| wait.mark)).min()
    }

    /// Ends the wait of all hints so far, and returns the mark that separates them from later hints.
    /// Files that are open for writing are taken as they are.
    pub fn flush(&mut self, now: Duration) -> FlushGeneration {
        let mark = self.mark;
        self.flushed = Some(mark);
        self.mark += 1;
        self.shorten_waits(now);
        mark
    }

    /// Ends the wait of all that was hinted, and from now on takes files that are open for writing as
    /// soon as those that were closed: there may not be much time.
    pub fn end_soon(&mut self, now: Duration) {
        self.ending = true;
        self.shorten_waits(now);
    }

    /// When [`take_paths`](Self::take_paths) will have something.
    #[must_use]
    pub fn next_path_due(&self) -> Option<Duration> {
        self.order.next_due()
    }

    /// When [`take_tree`](Self::take_tree) will have something.
    #[must_use]
    pub fn next_tree_due(&self) -> Option<Duration> {
        self.trees.values().map(|wait| wait.due).min()
    }

    /// The paths whose time has come, `limit` at most: fresh ones first, but each fourth is another one if
    /// there is any; of each kind the longest due first.
    pub fn take_paths(&mut self, now: Duration, limit: usize) -> Vec<ReadyPath> {
        let mut rested = Vec::new();
        while rested.len() < limit {
            let Some(path) = self.order.pop(now, rested.len() % 4 != 3) else { break };
            let Some(wait) = self.paths.remove(&path) else { continue };
            let QuietWait { activity, since, mark, fresh, .. } = wait;
            let hurried = self.hurried || self.ending || self.is_flushed(mark);
            let overdue = hurried || now >= since + self.settings.longest;
            let rest = self.settings.writing;
            rested.push(ReadyPath { path, activity, since, overdue, rest, mark, fresh });
        }
        rested
    }

    /// A directory whose time has come.
    pub fn take_tree(&mut self, now: Duration) -> Option<ReadyDir> {
        let due = |(_, wait): &(&RelPath, &TreeWait)| wait.due <= now;
        let path = self.trees.iter().find(due).map(|(path, _)| path.clone())?;
        let TreeWait { depth, mark, fresh, .. } = self.trees.remove(&path)?;
        // A hint for the whole tree means that the changes are unknown.
        let fresh = fresh && !(path.is_root() && depth == Depth::Whole);
        Some(ReadyDir { path, depth, mark, fresh })
    }

    /// Ends every wait, of now and of later: the daemon is stopping. What is still open for writing is
    /// taken as it is; the looks before and after the read keep a torn file out.
    pub fn hurry(&mut self, now: Duration) {
        self.hurried = true;
        self.shorten_waits(now);
    }

    fn shorten_waits(&mut self, now: Duration) {
        for (path, wait) in &mut self.paths {
            self.order.remove(wait.fresh, wait.due, path);
            wait.due = wait.due.min(now);
            self.order.insert(wait.fresh, wait.due, path.clone());
        }
        for wait in self.trees.values_mut() {
            wait.due = wait.due.min(now);
        }
    }

    fn is_flushed(&self, mark: FlushGeneration) -> bool {
        self.flushed.is_some_and(|flushed| mark <= flushed)
    }

    fn quiet(&self, activity: WriteState) -> Duration {
        match activity {
            // The inspection shows how long a file that was found has been quiet already.
            WriteState::Done | WriteState::Gone | WriteState::Found => self.settings.done,
            WriteState::Writing if self.ending => self.settings.done,
            WriteState::Writing => self.settings.writing,
        }
    }

    fn wait(&mut self, path: RelPath, mut new: QuietWait) {
        if self.covered(&path) {
            self.cover(&path, new.mark);
            return;
        }
        new.due = new.due.min(new.since + self.settings.longest);
        if let Some(before) = self.paths.get(&path).copied() {
            self.order.remove(before.fresh, before.due, &path);
            // "Found" adds nothing for a file of which more is known, nor that it is quiet.
            if new.activity == WriteState::Found && before.activity != WriteState::Found {
                (new.activity, new.due) = (before.activity, before.due);
            }
            new.since = new.since.min(before.since);
            new.fresh |= before.fresh;
            new.mark = new.mark.min(before.mark);
            if self.is_flushed(new.mark) {
                // A writer that continues does not delay a flush.
                new.due = new.due.min(before.due);
            }
            self.paths.insert(path.clone(), new);
            self.order.insert(new.fresh, new.due, path);
        } else if self.paths.len() < self.settings.paths_max {
            self.order.insert(new.fresh, new.due, path.clone());
            self.paths.insert(path, new);
        } else {
            let parent = path.parent().unwrap_or_else(RelPath::root);
            let QuietWait { due, mark, fresh, .. } = new;
            self.wait_tree(parent, TreeWait { depth: Depth::Entries, due, mark, fresh });
        }
    }

    /// Whether a directory that waits will bring the path up anyway. Only asked while there is no
    /// room: otherwise the path keeps its own, shorter wait.
    fn covered(&self, path: &RelPath) -> bool {
        if self.paths.len() < self.settings.paths_max || self.paths.contains_key(path) {
            return false;
        }
        self.above(path).is_some()
    }

    /// The directory that will.
    fn above(&self, path: &RelPath) -> Option<RelPath> {
        let direct = path.parent();
        std::iter::successors(path.parent(), RelPath::parent).find(|directory| {
            let depth = self.trees.get(directory).map(|wait| wait.depth);
            depth == Some(Depth::Whole) || (depth.is_some() && Some(directory) == direct.as_ref())
        })
    }

    /// That directory stands for the path's hint from now on.
    fn cover(&mut self, path: &RelPath, mark: FlushGeneration) {
        if let Some(wait) = self.above(path).and_then(|directory| self.trees.get_mut(&directory)) {
            wait.mark = mark.min(wait.mark);
        }
    }

    fn wait_tree(&mut self, path: RelPath, new: TreeWait) {
        if let Some(wait) = self.trees.get_mut(&path) {
            wait.depth = new.depth.max(wait.depth);
            wait.mark = new.mark.min(wait.mark);
            wait.fresh |= new.fresh;
        } else if self.trees.len() < self.settings.trees_max {
            self.trees.insert(path, new);
        } else {
            let mark =
                self.trees.values().map(|wait| wait.mark).fold(new.mark, FlushGeneration::min);
            self.trees.clear();
            let root = TreeWait { depth: Depth::Whole, mark, ..new };
            self.trees.insert(RelPath::root(), root);
        }
    }
}

#[cfg(test)]
mod tests;
