//! The order in which paths are looked at that have waited for long enough.

use crate::model::RelPath;
use std::collections::BTreeSet;
use std::time::Duration;

/// Paths by the end of their wait, those with a fresh change apart from the others.
#[derive(Debug, Default)]
pub(super) struct DueOrder {
    fresh: BTreeSet<(Duration, RelPath)>,
    rest: BTreeSet<(Duration, RelPath)>,
}

impl DueOrder {
    fn paths_mut(&mut self, fresh: bool) -> &mut BTreeSet<(Duration, RelPath)> {
        if fresh { &mut self.fresh } else { &mut self.rest }
    }

    pub(super) fn insert(&mut self, fresh: bool, due: Duration, path: RelPath) {
        self.paths_mut(fresh).insert((due, path));
    }

    pub(super) fn remove(&mut self, fresh: bool, due: Duration, path: &RelPath) {
        self.paths_mut(fresh).remove(&(due, path.clone()));
    }

    /// All of them, fresh ones first.
    pub(super) fn paths(&self) -> impl Iterator<Item = &RelPath> {
        self.fresh.iter().chain(&self.rest).map(|(_, path)| path)
    }

    /// When the next wait ends.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let first = |paths: &BTreeSet<(Duration, RelPath)>| paths.first().map(|(due, _)| *due);
        first(&self.fresh).into_iter().chain(first(&self.rest)).min()
    }

    /// A path whose wait has ended by now: a fresh one if there is one, or another one if `fresh` is not
    /// wanted.
    pub(super) fn pop(&mut self, now: Duration, fresh: bool) -> Option<RelPath> {
        [fresh, !fresh].into_iter().find_map(|fresh| {
            let paths = self.paths_mut(fresh);
            paths.first().filter(|(due, _)| *due <= now)?;
            paths.pop_first().map(|(_, path)| path)
        })
    }
}
