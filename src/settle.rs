//! Quiet time: a path is looked at when nothing has happened to it for a while.
//!
//! # Invariants
//!
//! - A hint is never dropped. A hint for a path that is waiting already joins it; where there is no
//!   room for another path, the hint widens to the directory, and then to the whole tree.
//! - However often a path is hinted, it is looked at after [`Settings::longest`].
//! - What was hinted before a [`flush`](Settle::flush) can be told from what came later: each wait
//!   keeps the lowest [`Mark`] of the hints it stands for, through looks and comparisons.
//! - Time is an argument: the time since the engine started.

use crate::model::{Activity, Depth, Hint, RelPath};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// How long to wait, and for how many.
#[derive(Debug, Clone)]
pub struct Settings {
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
pub type Mark = u64;

/// A path whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rested {
    /// The path.
    pub path: RelPath,
    /// The latest that was heard of it.
    pub activity: Activity,
    /// When the first hint of this wait came.
    pub since: Duration,
    /// Whether it waited as long as anything may, and so has to be taken as it is.
    pub overdue: bool,
    /// Of the first hint it stands for.
    pub mark: Mark,
}

impl Rested {
    /// A path that is looked at and taken as it is, whatever was heard of it.
    #[must_use]
    pub fn as_it_is(path: RelPath) -> Self {
        Self { path, activity: Activity::Found, since: Duration::ZERO, overdue: true, mark: 0 }
    }
}

/// A directory whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestedTree {
    /// The directory.
    pub path: RelPath,
    /// How far below it.
    pub depth: Depth,
    /// Of the first hint it stands for.
    pub mark: Mark,
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    activity: Activity,
    since: Duration,
    due: Duration,
    mark: Mark,
}

#[derive(Debug, Clone, Copy)]
struct TreeWait {
    depth: Depth,
    due: Duration,
    mark: Mark,
}

/// Paths and directories that wait for quiet.
#[derive(Debug)]
pub struct Settle {
    settings: Settings,
    paths: HashMap<RelPath, Wait>,
    path_order: BTreeSet<(Duration, RelPath)>,
    trees: BTreeMap<RelPath, TreeWait>,
    /// Nothing waits any longer.
    rushed: bool,
    /// Files that are open for writing wait no longer than others.
    ending: bool,
    /// Of hints that come now.
    mark: Mark,
    /// What has this mark or a lower one waits no longer. What was there before the first flush has
    /// a mark as well, the lowest: it is in no hurry until there is one.
    flushed: Option<Mark>,
}

impl Settle {
    /// Nothing waits.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            paths: HashMap::new(),
            path_order: BTreeSet::new(),
            trees: BTreeMap::new(),
            rushed: false,
            ending: false,
            mark: 1,
            flushed: None,
        }
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

    /// Takes a hint in at `now`.
    pub fn hint(&mut self, hint: Hint, now: Duration) {
        self.hint_of(hint, now, Mark::MAX);
    }

    /// Takes a hint in that follows from an earlier one, which had this mark.
    pub fn hint_of(&mut self, hint: Hint, now: Duration, mark: Mark) {
        let mark = mark.min(self.mark);
        match hint {
            Hint::Path(path, activity) => {
                let since = self.paths.get(&path).map_or(now, |wait| wait.since);
                let due = now + self.quiet(activity);
                self.wait(path, Wait { activity, since, due, mark });
            }
            Hint::Tree(path, depth) => {
                let due = now + self.settings.done;
                self.wait_tree(path, TreeWait { depth, due, mark });
            }
        }
    }

    /// Looks at a path soon that nobody else has a reason to look at; what waits already does so for
    /// as long as what was heard of it says.
    pub fn remind(&mut self, path: RelPath, activity: Activity, now: Duration, mark: Mark) {
        match self.paths.get_mut(&path) {
            Some(wait) => wait.mark = mark.min(wait.mark),
            None => self.hint_of(Hint::Path(path, activity), now, mark),
        }
    }

    /// Puts a path back that was looked at and had not rested for long enough. What was heard of it
    /// since then says more.
    pub fn put_back(&mut self, rested: Rested, due: Duration) {
        let Rested { path, activity, since, mark, .. } = rested;
        let wait = match self.paths.get(&path) {
            Some(newer) => {
                let (since, mark) = (newer.since.min(since), newer.mark.min(mark));
                Wait { since, mark, ..*newer }
            }
            None => Wait { activity, since, due, mark },
        };
        self.wait(path, wait);
    }

    /// Whether `path` was written to lately, and not closed.
    #[must_use]
    pub fn is_being_written(&self, path: &RelPath) -> bool {
        self.paths.get(path).is_some_and(|wait| wait.activity == Activity::Writing)
    }

    /// Of hints that come now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// The lowest mark of all that waits. Looks at everything.
    #[must_use]
    pub fn lowest_mark(&self) -> Option<Mark> {
        let paths = self.paths.values().map(|wait| wait.mark);
        paths.chain(self.trees.values().map(|wait| wait.mark)).min()
    }

    /// Ends the wait of all that was hinted so far, and answers the mark that tells it from what will
    /// be hinted. What is open for writing is taken as it is.
    pub fn flush(&mut self, now: Duration) -> Mark {
        let mark = self.mark;
        self.flushed = Some(mark);
        self.mark += 1;
        self.hasten(now);
        mark
    }

    /// Ends the wait of all that was hinted, and from now on takes files that are open for writing as
    /// soon as those that were closed: there may not be much time.
    pub fn end_soon(&mut self, now: Duration) {
        self.ending = true;
        self.hasten(now);
    }

    /// When [`take_paths`](Self::take_paths) will have something.
    #[must_use]
    pub fn next_path_due(&self) -> Option<Duration> {
        self.path_order.first().map(|(due, _)| *due)
    }

    /// When [`take_tree`](Self::take_tree) will have something.
    #[must_use]
    pub fn next_tree_due(&self) -> Option<Duration> {
        self.trees.values().map(|wait| wait.due).min()
    }

    /// The paths whose time has come, the longest due first, `limit` at most.
    pub fn take_paths(&mut self, now: Duration, limit: usize) -> Vec<Rested> {
        let mut rested = Vec::new();
        while rested.len() < limit {
            match self.path_order.first() {
                Some((due, _)) if *due <= now => {}
                _ => break,
            }
            let Some((_, path)) = self.path_order.pop_first() else { break };
            let Some(wait) = self.paths.remove(&path) else { continue };
            let Wait { activity, since, mark, .. } = wait;
            let hurried = self.rushed || self.ending || self.is_flushed(mark);
            let overdue = hurried || now >= since + self.settings.longest;
            rested.push(Rested { path, activity, since, overdue, mark });
        }
        rested
    }

    /// A directory whose time has come.
    pub fn take_tree(&mut self, now: Duration) -> Option<RestedTree> {
        let due = |(_, wait): &(&RelPath, &TreeWait)| wait.due <= now;
        let path = self.trees.iter().find(due).map(|(path, _)| path.clone())?;
        let TreeWait { depth, mark, .. } = self.trees.remove(&path)?;
        Some(RestedTree { path, depth, mark })
    }

    /// Ends every wait, of now and of later: the daemon is stopping. What is still open for writing is
    /// taken as it is; the looks before and after the read keep a torn file out.
    pub fn rush(&mut self, now: Duration) {
        self.rushed = true;
        self.hasten(now);
    }

    fn hasten(&mut self, now: Duration) {
        for (path, wait) in &mut self.paths {
            self.path_order.remove(&(wait.due, path.clone()));
            wait.due = wait.due.min(now);
            self.path_order.insert((wait.due, path.clone()));
        }
        for wait in self.trees.values_mut() {
            wait.due = wait.due.min(now);
        }
    }

    fn is_flushed(&self, mark: Mark) -> bool {
        self.flushed.is_some_and(|flushed| mark <= flushed)
    }

    fn quiet(&self, activity: Activity) -> Duration {
        match activity {
            // The look tells how long a file that was found has rested already.
            Activity::Done | Activity::Gone | Activity::Found => self.settings.done,
            Activity::Writing if self.ending => self.settings.done,
            Activity::Writing => self.settings.writing,
        }
    }

    fn wait(&mut self, path: RelPath, mut new: Wait) {
        if self.covered(&path) {
            self.cover(&path, new.mark);
            return;
        }
        new.due = new.due.min(new.since + self.settings.longest);
        if let Some(before) = self.paths.get(&path).copied() {
            self.path_order.remove(&(before.due, path.clone()));
            // "Found" tells nothing about a file of which more is known, nor that it rests.
            if new.activity == Activity::Found && before.activity != Activity::Found {
                (new.activity, new.due) = (before.activity, before.due);
            }
            new.since = new.since.min(before.since);
            new.mark = new.mark.min(before.mark);
            if self.is_flushed(new.mark) {
                // Whoever goes on writing does not put off a flush.
                new.due = new.due.min(before.due);
            }
            self.paths.insert(path.clone(), new);
            self.path_order.insert((new.due, path));
        } else if self.paths.len() < self.settings.paths_max {
            self.path_order.insert((new.due, path.clone()));
            self.paths.insert(path, new);
        } else {
            let parent = path.parent().unwrap_or_else(RelPath::root);
            let Wait { due, mark, .. } = new;
            self.wait_tree(parent, TreeWait { depth: Depth::Entries, due, mark });
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
    fn cover(&mut self, path: &RelPath, mark: Mark) {
        if let Some(wait) = self.above(path).and_then(|directory| self.trees.get_mut(&directory)) {
            wait.mark = mark.min(wait.mark);
        }
    }

    fn wait_tree(&mut self, path: RelPath, new: TreeWait) {
        if let Some(wait) = self.trees.get_mut(&path) {
            wait.depth = new.depth.max(wait.depth);
            wait.mark = new.mark.min(wait.mark);
        } else if self.trees.len() < self.settings.trees_max {
            self.trees.insert(path, new);
        } else {
            let mark = self.trees.values().map(|wait| wait.mark).fold(new.mark, Mark::min);
            self.trees.clear();
            let due = new.due;
            self.trees.insert(RelPath::root(), TreeWait { depth: Depth::Whole, due, mark });
        }
    }
}

#[cfg(test)]
mod tests;
