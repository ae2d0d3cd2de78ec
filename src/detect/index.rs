//! Which directories are known, and how each is covered.
//!
//! # Invariant
//!
//! A directory is in here from the moment its watch is requested until the moment its end is
//! requested. A request for a watch on a directory that is in here must end the old watch in the
//! same batch: the watcher would otherwise accept it and continue to watch what was there before.

use crate::model::RelPath;
use std::collections::BTreeMap;
use std::ops::Bound;

/// How a directory is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WatchState {
    /// Watched by this instance.
    Watched(usize),
    /// The limits of the system left no watch for it.
    Unwatched,
    /// It may not be read.
    Unreadable,
}

/// Directories without a watch that are remembered by name, to try them again.
const POOR_MAX: u64 = 65_536;

/// The known directories, sorted, so that a subtree is one range.
#[derive(Debug, Default)]
pub(super) struct Index {
    directories: BTreeMap<RelPath, WatchState>,
    counts: WatchCounts,
}

/// How many directories are covered in which way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WatchCounts {
    pub(super) watched: u64,
    pub(super) unwatched: u64,
    pub(super) unreadable: u64,
    /// Directories without a watch beyond those that are remembered.
    pub(super) forgotten: u64,
}

impl Index {
    pub(super) fn insert(&mut self, directory: RelPath, cover: WatchState) {
        self.remove(&directory);
        let poor = self.counts.unwatched + self.counts.unreadable;
        if !matches!(cover, WatchState::Watched(_)) && poor >= POOR_MAX {
            self.counts.forgotten += 1;
            return;
        }
        *self.count(cover) += 1;
        self.directories.insert(directory, cover);
    }

    pub(super) fn get(&self, directory: &RelPath) -> Option<WatchState> {
        self.directories.get(directory).copied()
    }

    pub(super) fn remove(&mut self, directory: &RelPath) -> Option<WatchState> {
        let cover = self.directories.remove(directory)?;
        *self.count(cover) -= 1;
        Some(cover)
    }

    /// Whether the directory or anything below it is known.
    pub(super) fn knows_of(&self, directory: &RelPath) -> bool {
        let first = self.directories.range(directory..).next();
        first.is_some_and(|(path, _)| path.is_within(directory))
    }

    /// Removes the directory and all below it.
    pub(super) fn remove_subtree(&mut self, directory: &RelPath) -> Vec<(RelPath, WatchState)> {
        let within = |(path, _): &(&RelPath, &WatchState)| path.is_within(directory);
        let paths: Vec<RelPath> = self
            .directories
            .range(directory..)
            .take_while(within)
            .map(|(path, _)| path.clone())
            .collect();
        paths.into_iter().filter_map(|path| Some((path.clone(), self.remove(&path)?))).collect()
    }

    /// Some directories without a watch, the first after `after` in the order of paths.
    pub(super) fn poor(&self, after: Option<&RelPath>, count: usize) -> Vec<RelPath> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.directories
            .range::<RelPath, _>((from, Bound::Unbounded))
            .filter(|(_, cover)| !matches!(cover, WatchState::Watched(_)))
            .map(|(path, _)| path.clone())
            .take(count)
            .collect()
    }

    pub(super) fn counts(&self) -> WatchCounts {
        self.counts
    }

    fn count(&mut self, cover: WatchState) -> &mut u64 {
        match cover {
            WatchState::Watched(_) => &mut self.counts.watched,
            WatchState::Unwatched => &mut self.counts.unwatched,
            WatchState::Unreadable => &mut self.counts.unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).expect("a proper path")
    }

    #[test]
    fn a_subtree_is_removed_and_nothing_beside_it() {
        let mut index = Index::default();
        for directory in ["", "a", "a/b", "a/b/c", "a b", "a.d"] {
            index.insert(path(directory), WatchState::Watched(0));
        }
        index.insert(path("a/b/d"), WatchState::Unreadable);
        assert!(index.knows_of(&path("a/b/c")) && !index.knows_of(&path("a/c")));
        let removed: Vec<_> =
            index.remove_subtree(&path("a")).into_iter().map(|(path, _)| path).collect();
        assert_eq!(removed, ["a", "a/b", "a/b/c", "a/b/d"].map(path));
        assert_eq!((index.counts().watched, index.counts().unreadable), (3, 0));
        assert!(!index.knows_of(&path("a")));
    }

    #[test]
    fn directories_without_a_watch_are_found_again_in_turn() {
        let mut index = Index::default();
        for (directory, cover) in [
            ("a", WatchState::Unwatched),
            ("b", WatchState::Watched(1)),
            ("c", WatchState::Unreadable),
        ] {
            index.insert(path(directory), cover);
        }
        assert_eq!(index.poor(None, 1), [path("a")]);
        assert_eq!(index.poor(Some(&path("a")), 9), [path("c")]);
    }

    #[test]
    fn directories_without_a_watch_are_counted_where_there_is_no_room_for_their_names() {
        let mut index = Index::default();
        for number in 0..POOR_MAX + 3 {
            index.insert(path(&number.to_string()), WatchState::Unwatched);
        }
        index.insert(path("watched"), WatchState::Watched(0));
        let counts = index.counts();
        assert_eq!((counts.unwatched, counts.forgotten, counts.watched), (POOR_MAX, 3, 1));
    }
}
