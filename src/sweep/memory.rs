//! The remembered directories, shared by the scans, which list directories, and the sweep.

use super::remembered::RememberedDirectories;
use crate::model::{Depth, Hint, RelPath, WriteState};
use crate::root::{InspectError, ListedDirectory, Stat, now_ns};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The remembered directories. Cheap to clone: all clones share them. It remembers nothing while it is
/// not active.
#[derive(Debug, Clone)]
pub struct DirectoryMemory(Arc<Mutex<SharedDirectories>>);

#[derive(Debug)]
struct SharedDirectories {
    active: bool,
    remembered: RememberedDirectories,
}

impl DirectoryMemory {
    /// Remembers nothing yet; a change keeps its directory hot for so long.
    pub(super) fn new(hot_for: Duration) -> Self {
        let remembered = RememberedDirectories::new(hot_for);
        Self(Arc::new(Mutex::new(SharedDirectories { active: false, remembered })))
    }

    /// A scan begins.
    pub fn begin_scan(&self) {
        self.with(RememberedDirectories::begin_scan);
    }

    /// The scan has listed `path`, or found it without a listing.
    pub fn visited(&self, path: &RelPath, listed: Option<&ListedDirectory>) {
        self.with(|remembered| match listed {
            Some(listed) => remembered.listed(path, listed, now_ns()),
            None => remembered.found(path),
        });
    }

    /// The scan has ended without an error.
    pub fn end_scan(&self, start: &RelPath, depth: Depth) {
        self.with(|remembered| remembered.end_scan(start, depth));
    }

    /// The directories that scans have found and not entered.
    #[must_use]
    pub fn take_unlisted(&self) -> Vec<Hint> {
        self.with(RememberedDirectories::take_unlisted).unwrap_or_default()
    }

    /// Something has changed at these paths.
    pub fn note_changes<'a>(
        &self,
        paths: impl Iterator<Item = (&'a RelPath, WriteState)>,
        now: Duration,
    ) {
        self.with(|remembered| {
            paths.for_each(|(path, state)| remembered.note_change(path, state, now));
        });
    }

    /// Whether changes of entries change the times of their directory.
    #[must_use]
    pub fn is_useful(&self) -> bool {
        self.lock().remembered.is_useful()
    }

    pub(super) fn set_active(&self, active: bool) {
        let mut shared = self.lock();
        if shared.active && !active {
            shared.remembered.clear();
        }
        shared.active = active;
    }

    pub(super) fn begin_sweep(&self, now: Duration) -> Vec<Hint> {
        self.with(|remembered| remembered.begin_sweep(now)).unwrap_or_default()
    }

    pub(super) fn next(&self, after: Option<&RelPath>, count: usize) -> Vec<RelPath> {
        self.with(|remembered| remembered.next(after, count)).unwrap_or_default()
    }

    pub(super) fn looked(
        &self,
        looks: Vec<(RelPath, Result<Stat, InspectError>)>,
        now: Duration,
    ) -> Vec<Hint> {
        let hints = self.with(|remembered| {
            let looks = looks.into_iter();
            looks.filter_map(|(path, look)| remembered.looked(&path, &look, now)).collect()
        });
        hints.unwrap_or_default()
    }

    /// The number of remembered directories, and of those that there was no room for.
    pub(super) fn size(&self) -> (usize, u64) {
        let shared = self.lock();
        (shared.remembered.len(), shared.remembered.beyond())
    }

    /// Calls `work` if the memory is active.
    fn with<T>(&self, work: impl FnOnce(&mut RememberedDirectories) -> T) -> Option<T> {
        let mut shared = self.lock();
        shared.active.then(|| work(&mut shared.remembered))
    }

    fn lock(&self) -> MutexGuard<'_, SharedDirectories> {
        // The content is consistent after a panic: every change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
