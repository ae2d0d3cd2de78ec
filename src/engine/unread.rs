//! Paths that could not be read: each is inspected again after a pause, until it can be read or is
//! gone.
//!
//! # Invariants
//!
//! - What is in here is not covered: no answer says that all is well while it is.
//! - An entry leaves only by an inspection or a comparison that began after it was noted.
//! - Entries are bounded by [`PATHS_MAX`]; those beyond are counted, and found again by comparing
//!   everything.

use crate::model::{CoverageGaps, Depth, GapReason, Hint, RelPath, WriteState};
use crate::queue::Backoff;
use crate::reconcile::UnreadPath;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

/// Paths that are remembered by name.
const PATHS_MAX: usize = 1_024;
/// Pauses after an error that may pass by itself.
const ERROR: Backoff = Backoff { first_ms: 1_000, max_ms: 30_000 };
/// Pauses while permissions are in the way: a change of them mostly gives an event.
const DENIED: Backoff = Backoff { first_ms: 5_000, max_ms: 300_000 };
/// Pause before everything is compared because there are more paths than are remembered.
const MORE: Duration = Duration::from_secs(60);
/// Failures in a row after which a command does not wait any longer for an error to pass: 15 s.
const FAILURES_MAX: u32 = 5;
/// Paths that are named in a snapshot.
const NAMED_MAX: usize = 20;

/// What has to be done to know more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RecheckScope {
    /// An inspection of the path.
    Path,
    /// A comparison of the directory.
    Tree(Depth),
}

#[derive(Debug)]
struct UnreadEntry {
    scope: RecheckScope,
    why: String,
    /// Whether the error may pass by itself.
    passing: bool,
    failures: u32,
    due: Duration,
    /// Whether an inspection was asked for since.
    tried: bool,
    noted: u64,
}

/// All that could not be read.
#[derive(Debug, Default)]
pub(super) struct UnreadPaths {
    entries: BTreeMap<RelPath, UnreadEntry>,
    order: BTreeSet<(Duration, RelPath)>,
    /// Paths beyond those that are remembered, and when there was one last.
    more: u64,
    more_noted: u64,
    more_due: Option<Duration>,
    /// Counts what was noted, to distinguish before from after.
    clock: u64,
}

impl UnreadPaths {
    /// What is noted from now on is later than this.
    pub(super) fn clock(&self) -> u64 {
        self.clock
    }

    /// Counts something that is later than all before.
    pub(super) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// A path could not be read. Answers whether that is new.
    pub(super) fn note(&mut self, unread: UnreadPath, scope: RecheckScope, now: Duration) -> bool {
        self.clock += 1;
        let UnreadPath { path, why, passing } = unread;
        let before = self.entries.remove(&path);
        if let Some(before) = &before {
            self.order.remove(&(before.due, path.clone()));
        } else if self.entries.len() >= PATHS_MAX {
            self.note_more(1, now);
            return false;
        }
        let failures = before.as_ref().map_or(0, |before| before.failures) + 1;
        let scope = before.as_ref().map_or(scope, |before| before.scope.max(scope));
        let backoff = if passing { ERROR } else { DENIED };
        // Its jitter is the moment at which each was met.
        let due = now + Duration::from_millis(backoff.wait_ms(failures, 1.0));
        self.order.insert((due, path.clone()));
        let noted = self.clock;
        self.entries
            .insert(path, UnreadEntry { scope, why, passing, failures, due, tried: false, noted });
        before.is_none()
    }

    /// More paths could not be read than were named.
    pub(super) fn note_more(&mut self, count: u64, now: Duration) {
        if count > 0 {
            self.clock += 1;
            self.more += count;
            self.more_noted = self.clock;
            self.more_due.get_or_insert(now + MORE);
        }
    }

    /// A path was inspected, and it is known what is there. Answers whether it was in here and is no
    /// longer; a directory has to be listed as well.
    pub(super) fn inspected(&mut self, path: &RelPath, is_directory: bool, now: Duration) -> bool {
        let Some(entry) = self.entries.get(path) else { return false };
        if is_directory && entry.scope != RecheckScope::Path {
            return false;
        }
        if !entry.tried {
            // The inspection may be older than the one that failed.
            self.set_due(path, now);
            return false;
        }
        self.remove(path);
        true
    }

    /// Something about a directory has changed: what could not be read in it is tried at once.
    pub(super) fn expedite_within(&mut self, directory: &RelPath, now: Duration) {
        let within = self.entries.range(directory.clone()..);
        let within = within.take_while(|(path, _)| path.is_within(directory));
        let paths: Vec<_> = within.map(|(path, _)| path.clone()).collect();
        paths.iter().for_each(|path| self.set_due(path, now));
    }

    /// Everything is tried at once, and an error that may pass is given time again.
    pub(super) fn expedite_all(&mut self, now: Duration) {
        let paths: Vec<_> = self.entries.keys().cloned().collect();
        for path in paths {
            self.set_due(&path, now);
            if let Some(entry) = self.entries.get_mut(&path) {
                entry.failures = 0;
            }
        }
    }

    /// A comparison that began at `began` has ended, and `still` could not be read. Answers what can
    /// be read now.
    pub(super) fn compared(
        &mut self,
        start: &RelPath,
        depth: Depth,
        began: u64,
        still: &HashSet<RelPath>,
    ) -> Vec<RelPath> {
        let covers = |path: &RelPath, entry: &UnreadEntry| match depth {
            Depth::Whole => path.is_within(start),
            Depth::Entries if path == start => entry.scope != RecheckScope::Tree(Depth::Whole),
            // Its directories were not entered.
            Depth::Entries => {
                entry.scope == RecheckScope::Path && path.parent().as_ref() == Some(start)
            }
        };
        let within = self.entries.range(start.clone()..);
        let within = within.take_while(|(path, _)| path.is_within(start));
        let ended = within.filter(|(path, entry)| {
            entry.noted <= began && covers(path, entry) && !still.contains(*path)
        });
        let ended: Vec<_> = ended.map(|(path, _)| path.clone()).collect();
        ended.iter().for_each(|path| self.remove(path));
        if start.is_root() && depth == Depth::Whole && self.more_noted <= began {
            self.more = 0;
            self.more_due = None;
        }
        ended
    }

    /// Where to look again now.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<Hint> {
        let mut hints = Vec::new();
        while let Some((_, path)) = self.order.first().filter(|(due, _)| *due <= now).cloned() {
            let Some(entry) = self.entries.get_mut(&path) else { break };
            entry.tried = true;
            hints.push(match entry.scope {
                RecheckScope::Path => Hint::Path(path.clone(), WriteState::Found),
                RecheckScope::Tree(depth) => Hint::Tree(path.clone(), depth),
            });
            // If nothing comes of it, it is tried again anyway.
            let pause = Duration::from_millis(if entry.passing { ERROR } else { DENIED }.max_ms);
            self.set_due(&path, now + pause);
        }
        if self.more_due.is_some_and(|due| due <= now) {
            self.more_due = Some(now + MORE);
            hints.push(Hint::Tree(RelPath::root(), Depth::Whole));
        }
        hints
    }

    /// Where to look again, whatever the time.
    pub(super) fn take_all(&mut self, now: Duration) -> Vec<Hint> {
        let paths: Vec<_> = self.entries.keys().cloned().collect();
        paths.iter().for_each(|path| self.set_due(path, now));
        self.take_due(now)
    }

    /// When there is something to look at again.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let first = self.order.first().map(|(due, _)| *due);
        first.into_iter().chain(self.more_due).min()
    }

    /// Whether nothing is left that is worth a wait.
    pub(super) fn is_given_up(&self) -> bool {
        self.entries.values().all(|entry| !entry.passing || entry.failures >= FAILURES_MAX)
    }

    /// Whether this very path is in here, and will not be otherwise by itself.
    pub(super) fn is_given_up_at(&self, path: &RelPath) -> bool {
        let entry = self.entries.get(path);
        entry.is_some_and(|entry| !entry.passing || entry.failures >= FAILURES_MAX)
    }

    /// Adds what is not covered, but for paths that the queue knows to be unreadable.
    pub(super) fn add_to(&self, gaps: &mut CoverageGaps) {
        for entry in self.entries.values() {
            match (entry.passing, entry.scope) {
                (true, _) => gaps.add(GapReason::Unlisted, 1),
                (false, RecheckScope::Tree(_)) => gaps.add(GapReason::Unreadable, 1),
                (false, RecheckScope::Path) => {}
            }
        }
        gaps.add(GapReason::Unlisted, self.more);
    }

    /// Paths that permissions keep from being inspected, which the queue knows as well, or will.
    pub(super) fn denied_paths(&self) -> u64 {
        let denied = |entry: &&UnreadEntry| !entry.passing && entry.scope == RecheckScope::Path;
        self.entries.values().filter(denied).count() as u64
    }

    /// Some of them, and why.
    pub(super) fn named(&self) -> Vec<(RelPath, String)> {
        let named = self.entries.iter().take(NAMED_MAX);
        named.map(|(path, entry)| (path.clone(), entry.why.clone())).collect()
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.more == 0
    }

    fn remove(&mut self, path: &RelPath) {
        if let Some(entry) = self.entries.remove(path) {
            self.order.remove(&(entry.due, path.clone()));
        }
    }

    fn set_due(&mut self, path: &RelPath, due: Duration) {
        if let Some(entry) = self.entries.get_mut(path) {
            self.order.remove(&(entry.due, path.clone()));
            entry.due = due;
            self.order.insert((due, path.clone()));
        }
    }
}
