//! The budget of files (`max_files`): new files are not uploaded while as many files are recorded or
//! waiting as the limit allows. Files that have an object record are never refused.
//!
//! # Invariants
//!
//! - A decision counts from the moment at which it is made, not from its commit on. Where it is not
//!   certain yet whether the state has counted it, a new file waits for the receipt.
//! - A renamed file is not refused: its previous object is deleted once the new one is there. Objects whose
//!   deletes are delayed do not count.
//! - At most [`PATHS_MAX`] refused paths are remembered, with about 200 bytes each. Those beyond are
//!   found by a scan of everything, at most one in [`MORE`], when there is room again.

use super::wanted::PlannedChange;
use super::{Engine, EngineSettings};
use crate::look::Inspection;
use crate::model::{ABOVE_MAX_FILES, Depth, Hint, Operation, RelPath, WriteState};
use crate::store::{RecordedState, StateCounts};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Maximum number of remembered paths.
const PATHS_MAX: usize = 65_536;
/// Refused paths that are inspected again at once, and the pause until the next of them.
const TAKEN_MAX: usize = 1_024;
const PAUSE: Duration = Duration::from_millis(250);
/// The pause until a file is inspected again that waits for a receipt.
pub(super) const COUNTING: Duration = Duration::from_millis(50);
/// Minimum time before a scan because of further paths.
const MORE: Duration = Duration::from_secs(60);

/// How many new files there may be, and those that are refused.
#[derive(Debug)]
pub(super) struct FileBudget {
    max: Option<u64>,
    /// The commits whose receipt has not come: the numbers of the state may or may not include them.
    uncounted: VecDeque<UncountedCommit>,
    refused: BTreeSet<RelPath>,
    /// There are refused paths that are not remembered.
    more: bool,
    next: Duration,
    /// The limit is reached, which was logged.
    logged: bool,
}

/// New files by the decisions of one commit.
#[derive(Debug)]
struct UncountedCommit {
    commit: u64,
    admitted: u64,
    /// Files that waited, and are refused now.
    withdrawn: u64,
}

impl FileBudget {
    pub(super) fn new(max: Option<u64>) -> Self {
        Self {
            max,
            uncounted: VecDeque::new(),
            refused: BTreeSet::new(),
            more: false,
            next: Duration::ZERO,
            logged: false,
        }
    }

    /// The least and the largest number of files that are recorded or waiting.
    fn used(&self, counts: StateCounts) -> (u64, u64) {
        let files = counts.mirrored.saturating_sub(counts.delayed);
        let counted = files + counts.unrecorded;
        let admitted: u64 = self.uncounted.iter().map(|commit| commit.admitted).sum();
        let withdrawn: u64 = self.uncounted.iter().map(|commit| commit.withdrawn).sum();
        (counted.saturating_sub(withdrawn), counted + admitted)
    }

    /// Whether a new file may be uploaded, by a decision of this commit; `None` if that is not certain
    /// yet. `waiting` says that it is one of those that wait already.
    pub(super) fn admits(
        &mut self,
        counts: StateCounts,
        commit: u64,
        waiting: bool,
    ) -> Option<bool> {
        let Some(max) = self.max else { return Some(true) };
        let (least, most) = self.used(counts);
        if waiting {
            let withdrawn = least > max;
            self.commit_mut(commit).withdrawn += u64::from(withdrawn);
            return Some(!withdrawn);
        }
        let admitted = most < max;
        self.commit_mut(commit).admitted += u64::from(admitted);
        (admitted || least >= max).then_some(admitted)
    }

    fn commit_mut(&mut self, commit: u64) -> &mut UncountedCommit {
        if self.uncounted.back().is_none_or(|last| last.commit != commit) {
            self.uncounted.push_back(UncountedCommit { commit, admitted: 0, withdrawn: 0 });
        }
        let last = self.uncounted.len() - 1;
        &mut self.uncounted[last]
    }

    /// The numbers of the state include this commit from now on.
    pub(super) fn written(&mut self, commit: u64) {
        while self.uncounted.front().is_some_and(|front| front.commit <= commit) {
            self.uncounted.pop_front();
        }
    }

    /// Remembers a refused file.
    fn note(&mut self, path: &RelPath) {
        if self.refused.len() < PATHS_MAX {
            self.refused.insert(path.clone());
        } else {
            self.more |= !self.refused.contains(path);
        }
    }

    /// Forgets a file that is not refused any more.
    fn forget(&mut self, path: &RelPath) {
        self.refused.remove(path);
    }

    /// When refused files have to be inspected again.
    pub(super) fn next_due(&self, counts: StateCounts) -> Option<Duration> {
        let waits = !self.refused.is_empty() || self.more;
        let has_room = self.max.is_some_and(|max| self.used(counts).1 < max);
        (waits && has_room).then_some(self.next)
    }

    /// Whether remembered files have to be inspected again.
    pub(super) fn has_due(&self, counts: StateCounts) -> bool {
        !self.refused.is_empty() && self.next_due(counts).is_some()
    }

    /// Takes the refused files for which there is room.
    pub(super) fn take_due(&mut self, counts: StateCounts, now: Duration) -> Vec<Hint> {
        let due = self.next_due(counts).is_some_and(|due| due <= now);
        let Some(max) = self.max.filter(|_| due) else { return Vec::new() };
        if self.refused.is_empty() {
            self.more = false;
            self.next = now + MORE;
            return vec![Hint::Tree(RelPath::root(), Depth::Whole)];
        }
        self.next = now + PAUSE;
        let room = max.saturating_sub(self.used(counts).1);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let taken = std::iter::from_fn(|| self.refused.pop_first());
        let taken = taken.take(room.min(TAKEN_MAX));
        taken.map(|path| Hint::Path(path, WriteState::Found)).collect()
    }

    /// Logs once that the limit is reached, and once that it no longer is.
    pub(super) fn report(&mut self, counts: StateCounts) {
        let reached = counts.over_limit > 0;
        if std::mem::replace(&mut self.logged, reached) == reached {
            return;
        }
        if reached {
            tracing::error!(
                event = "files.limit_reached",
                max_files = self.max.unwrap_or_default(),
                recorded = counts.mirrored,
                refused = counts.over_limit,
                "max_files is reached: new files are not uploaded until files are deleted or the limit is \
                 raised; changes and deletes of the others go on"
            );
        } else {
            tracing::info!(
                event = "files.limit_ended",
                recorded = counts.mirrored,
                "no new file is above max_files any more"
            );
        }
    }
}

impl EngineSettings {
    /// Whether uploading the file adds one to those in the bucket for longer than a rename takes.
    pub(super) fn adds_a_file(&self, looked: &Inspection, known: &RecordedState) -> bool {
        let renamed = known.other_path.is_some() && !looked.linked && self.policy.propagate_deletes;
        known.mirrored.is_none() && !renamed
    }
}

impl Engine {
    /// Refuses a new file that is above `max_files`. `None` if that is known in a moment.
    pub(super) fn within_budget(
        &mut self,
        wanted: PlannedChange,
        looked: &Inspection,
        known: &RecordedState,
    ) -> Option<PlannedChange> {
        let path = &looked.rested.path;
        let (wish, reason) = match wanted {
            PlannedChange::Do(wish, reason) => (wish, reason),
            other => {
                self.budget.forget(path);
                return Some(other);
            }
        };
        let is_new = wish.operation == Operation::Put
            && self.settings.adds_a_file(looked, known)
            && !self.queue.is_running(path);
        let waiting = self.queue.has_in_window(path) || is_waiting_put(known);
        let commit = self.flushes.next_commit();
        let counts = self.queue.counts();
        if !is_new || self.budget.admits(counts, commit, waiting)? {
            self.budget.forget(path);
            return Some(PlannedChange::Do(wish, reason));
        }
        self.budget.note(path);
        Some(PlannedChange::Leave(wish, Some(reason), ABOVE_MAX_FILES.to_owned()))
    }
}

/// Whether the state has a pending upload of the path that is not skipped.
pub(super) fn is_waiting_put(known: &RecordedState) -> bool {
    let waits = known.pending.as_ref();
    waits.is_some_and(|row| row.operation == Operation::Put && row.parked.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: usize) -> RelPath {
        RelPath::new(name.to_string().as_bytes()).expect("a proper path")
    }

    fn counts(mirrored: u64, unrecorded: u64) -> StateCounts {
        StateCounts { mirrored, unrecorded, ..StateCounts::default() }
    }

    #[test]
    fn without_a_limit_every_file_is_admitted() {
        let mut budget = FileBudget::new(None);
        assert_eq!(budget.admits(counts(u64::MAX / 2, 0), 1, false), Some(true));
        assert!(budget.uncounted.is_empty());
    }

    #[test]
    fn decisions_count_before_their_commit_and_once() {
        let mut budget = FileBudget::new(Some(10));
        let before = counts(6, 1);
        let admitted: Vec<_> = (0..5).map(|_| budget.admits(before, 1, false)).collect();
        // The receipt may have come with what another commit has counted.
        assert_eq!(admitted, [Some(true), Some(true), Some(true), None, None]);
        assert_eq!(budget.admits(before, 2, true), Some(true), "one that waits stays admitted");
        assert_eq!(budget.admits(counts(6, 4), 2, false), Some(false));
        budget.written(1);
        assert_eq!(budget.admits(counts(5, 4), 2, false), Some(true));
        assert_eq!(budget.admits(counts(5, 4), 2, false), None);
        assert_eq!(budget.admits(counts(6, 4), 2, false), Some(false));
    }

    #[test]
    fn a_lowered_limit_refuses_as_many_of_those_that_wait_as_are_too_many() {
        let mut budget = FileBudget::new(Some(10));
        let before = counts(6, 20);
        let admitted = (0..20).filter(|_| budget.admits(before, 1, true) == Some(true)).count();
        assert_eq!(admitted, 4);
    }

    #[test]
    fn refused_files_are_inspected_again_as_there_is_room() {
        let mut budget = FileBudget::new(Some(10));
        (0..5).for_each(|name| budget.note(&path(name)));
        assert_eq!(budget.next_due(counts(10, 0)), None);
        assert_eq!(budget.take_due(counts(10, 0), MORE), []);
        let found = |name: usize| Hint::Path(path(name), WriteState::Found);
        assert_eq!(budget.take_due(counts(8, 0), MORE), [found(0), found(1)]);
        assert_eq!(budget.next_due(counts(8, 0)), Some(MORE + PAUSE));
        assert_eq!(budget.take_due(counts(8, 0), MORE), []);
        budget.forget(&path(3));
        assert_eq!(budget.take_due(counts(0, 0), MORE + PAUSE), [found(2), found(4)]);
        assert_eq!(budget.next_due(counts(0, 0)), None);
    }

    #[test]
    fn what_there_is_no_room_to_remember_is_found_by_one_scan() {
        let mut budget = FileBudget::new(Some(10));
        (0..PATHS_MAX + 3).for_each(|name| budget.note(&path(name)));
        assert_eq!(budget.refused.len(), PATHS_MAX);
        budget.refused.clear();
        let hints = budget.take_due(counts(1, 0), MORE);
        assert_eq!(hints, [Hint::Tree(RelPath::root(), Depth::Whole)]);
        assert_eq!(budget.next_due(counts(1, 0)), None);
    }
}
