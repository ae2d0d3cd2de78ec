//! Quiet time: a path is looked at when nothing has happened to it for a while.
//!
//! # Invariants
//!
//! - A hint is never dropped. A hint for a path that is waiting already joins it; where there is no
//!   room for another path, the hint widens to the directory, and then to the whole tree.
//! - However often a path is hinted, it is looked at after [`Settings::longest`].
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
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    activity: Activity,
    since: Duration,
    due: Duration,
}

/// Paths and directories that wait for quiet.
#[derive(Debug)]
pub struct Settle {
    settings: Settings,
    paths: HashMap<RelPath, Wait>,
    path_order: BTreeSet<(Duration, RelPath)>,
    trees: BTreeMap<RelPath, (Depth, Duration)>,
    /// Nothing waits any longer.
    rushed: bool,
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
        match hint {
            Hint::Path(path, activity) => {
                let since = self.paths.get(&path).map_or(now, |wait| wait.since);
                self.wait(path, activity, since, now + self.quiet(activity));
            }
            Hint::Tree(path, depth) => self.wait_tree(path, depth, now + self.settings.done),
        }
    }

    /// Looks at a path soon that nobody else has a reason to look at; what waits already does so for
    /// as long as what was heard of it says.
    pub fn remind(&mut self, path: RelPath, now: Duration) {
        if !self.paths.contains_key(&path) {
            self.hint(Hint::Path(path, Activity::Done), now);
        }
    }

    /// Puts a path back that was looked at and had not rested for long enough.
    pub fn put_back(&mut self, rested: Rested, due: Duration) {
        let Rested { path, activity, since, .. } = rested;
        let since = self.paths.get(&path).map_or(since, |wait| wait.since.min(since));
        self.wait(path, activity, since, due);
    }

    /// When [`take_paths`](Self::take_paths) will have something.
    #[must_use]
    pub fn next_path_due(&self) -> Option<Duration> {
        self.path_order.first().map(|(due, _)| *due)
    }

    /// When [`take_tree`](Self::take_tree) will have something.
    #[must_use]
    pub fn next_tree_due(&self) -> Option<Duration> {
        self.trees.values().map(|(_, due)| *due).min()
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
            let overdue = self.rushed || now >= wait.since + self.settings.longest;
            rested.push(Rested { path, activity: wait.activity, since: wait.since, overdue });
        }
        rested
    }

    /// A directory whose time has come.
    pub fn take_tree(&mut self, now: Duration) -> Option<(RelPath, Depth)> {
        let due = |(_, (_, due)): &(&RelPath, &(Depth, Duration))| *due <= now;
        let path = self.trees.iter().find(due).map(|(path, _)| path.clone())?;
        let (depth, _) = self.trees.remove(&path)?;
        Some((path, depth))
    }

    /// Ends every wait, of now and of later: the daemon is stopping. What is still open for writing is
    /// taken as it is; the looks before and after the read keep a torn file out.
    pub fn rush(&mut self, now: Duration) {
        self.rushed = true;
        for (path, wait) in &mut self.paths {
            self.path_order.remove(&(wait.due, path.clone()));
            wait.due = wait.due.min(now);
            self.path_order.insert((wait.due, path.clone()));
        }
        for (_, due) in self.trees.values_mut() {
            *due = (*due).min(now);
        }
    }

    fn quiet(&self, activity: Activity) -> Duration {
        match activity {
            // The look tells how long a found file has rested already.
            Activity::Done | Activity::Found => self.settings.done,
            Activity::Writing => self.settings.writing,
        }
    }

    fn wait(&mut self, path: RelPath, activity: Activity, since: Duration, due: Duration) {
        if self.covered(&path) {
            return;
        }
        let due = due.min(since + self.settings.longest);
        if let Some(wait) = self.paths.get_mut(&path) {
            self.path_order.remove(&(wait.due, path.clone()));
            // "Found" tells nothing about a file of which more is known, nor that it rests.
            let known = activity == Activity::Found && wait.activity != Activity::Found;
            let (activity, due) = if known { (wait.activity, wait.due) } else { (activity, due) };
            *wait = Wait { activity, since: since.min(wait.since), due };
            self.path_order.insert((due, path));
        } else if self.paths.len() < self.settings.paths_max {
            self.path_order.insert((due, path.clone()));
            self.paths.insert(path, Wait { activity, since, due });
        } else {
            let parent = path.parent().unwrap_or_else(RelPath::root);
            self.wait_tree(parent, Depth::Entries, due);
        }
    }

    /// Whether a directory that waits will bring the path up anyway. Only asked while there is no
    /// room: otherwise the path keeps its own, shorter wait.
    fn covered(&self, path: &RelPath) -> bool {
        if self.paths.len() < self.settings.paths_max || self.paths.contains_key(path) {
            return false;
        }
        let mut above = std::iter::successors(path.parent(), RelPath::parent);
        let direct = path.parent();
        above.any(|directory| {
            let depth = self.trees.get(&directory).map(|(depth, _)| *depth);
            depth == Some(Depth::Whole) || (depth.is_some() && Some(&directory) == direct.as_ref())
        })
    }

    fn wait_tree(&mut self, path: RelPath, depth: Depth, due: Duration) {
        if let Some((depth_before, _)) = self.trees.get_mut(&path) {
            *depth_before = depth.max(*depth_before);
        } else if self.trees.len() < self.settings.trees_max {
            self.trees.insert(path, (depth, due));
        } else {
            self.trees.clear();
            self.trees.insert(RelPath::root(), (Depth::Whole, due));
        }
    }
}

#[cfg(test)]
mod tests;
