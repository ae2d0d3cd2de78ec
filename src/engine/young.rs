//! Files that are too young to be sent: each is inspected again when it is old enough.
//!
//! # Invariants
//!
//! - At most [`PATHS_MAX`] paths are remembered, with about 200 bytes each. Those beyond are found
//!   by a scan of everything, at most one in [`MORE`].
//! - Nothing waits for them: they count as skipped.

use crate::model::{Depth, Hint, RelPath, WriteState};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// Maximum number of remembered paths.
const PATHS_MAX: usize = 65_536;
/// Minimum time before a scan because of further paths.
const MORE: Duration = Duration::from_secs(60);

/// The files, by the time at which they are old enough.
#[derive(Debug, Default)]
pub(super) struct YoungFiles {
    due: HashMap<RelPath, Duration>,
    order: BTreeSet<(Duration, RelPath)>,
    /// When a scan has to find those that are not remembered.
    more_due: Option<Duration>,
}

impl YoungFiles {
    /// Remembers a file that is old enough at `due`.
    pub(super) fn note(&mut self, path: &RelPath, due: Duration, now: Duration) {
        self.forget(path);
        if self.due.len() >= PATHS_MAX {
            self.more_due.get_or_insert(due.max(now + MORE));
            return;
        }
        self.due.insert(path.clone(), due);
        self.order.insert((due, path.clone()));
    }

    /// Forgets a file that is not too young any more.
    pub(super) fn forget(&mut self, path: &RelPath) {
        if let Some(due) = self.due.remove(path) {
            self.order.remove(&(due, path.clone()));
        }
    }

    /// When something has to be inspected.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let first = self.order.first().map(|(due, _)| *due);
        first.into_iter().chain(self.more_due).min()
    }

    /// Takes what has to be inspected now.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<Hint> {
        let mut hints = Vec::new();
        while self.order.first().is_some_and(|(due, _)| *due <= now)
            && let Some((_, path)) = self.order.pop_first()
        {
            self.due.remove(&path);
            hints.push(Hint::Path(path, WriteState::Found));
        }
        if self.more_due.is_some_and(|due| due <= now) {
            self.more_due = None;
            hints.push(Hint::Tree(RelPath::root(), Depth::Whole));
        }
        hints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> RelPath {
        RelPath::new(name.as_bytes()).expect("a proper path")
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_file_that_was_written_again_waits_anew() {
        let mut young = YoungFiles::default();
        young.note(&path("a"), seconds(10), seconds(0));
        young.note(&path("b"), seconds(12), seconds(0));
        young.note(&path("a"), seconds(15), seconds(5));
        assert_eq!(young.next_due(), Some(seconds(12)));
        let found = |name: &str| Hint::Path(path(name), WriteState::Found);
        assert_eq!(young.take_due(seconds(12)), [found("b")]);
        young.note(&path("c"), seconds(20), seconds(13));
        young.forget(&path("c"));
        assert_eq!(young.take_due(seconds(20)), [found("a")]);
        assert_eq!(young.next_due(), None);
    }

    #[test]
    fn what_there_is_no_room_for_is_found_by_one_scan() {
        let mut young = YoungFiles::default();
        for number in 0..PATHS_MAX + 3 {
            young.note(&path(&number.to_string()), seconds(100), seconds(0));
        }
        assert_eq!((young.due.len(), young.order.len()), (PATHS_MAX, PATHS_MAX));
        let hints = young.take_due(seconds(100));
        assert_eq!(hints.len(), PATHS_MAX + 1);
        assert_eq!(hints.last(), Some(&Hint::Tree(RelPath::root(), Depth::Whole)));
        assert_eq!(young.next_due(), None);
    }
}
