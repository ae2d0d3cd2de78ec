//! The rows in memory, and the orders they are taken in. Keeps its sets in step, decides nothing.

use super::HOLDING_ATTEMPTS_MAX;
use super::lane::{FRESH_MS, Rank};
use crate::model::{FailureClass, Operation, QueueRow, RelPath, UnixMillis, Version};
use std::collections::{BTreeSet, HashMap};

/// Rows that are looked at for one that may be taken out.
const EVICTION_LOOKS_MAX: usize = 64;

type ByTime = BTreeSet<(UnixMillis, RelPath)>;

#[derive(Debug)]
pub(super) struct WindowRow {
    pub(super) pending: QueueRow,
    pub(super) state: RowState,
    /// What the last failure was, for the release after an outage.
    pub(super) failed: Option<FailureClass>,
    /// Attempts of this process, or since its shutdown began.
    pub(super) tries: u32,
    /// What a try before the one under way may have left in the bucket.
    pub(super) sent_before: Option<Version>,
    /// When it was last wanted; 0 if that was before the start.
    pub(super) queued: UnixMillis,
    /// Of the first hint that the row stands for.
    pub(super) mark: u64,
    /// Of the first hint that came while it was running.
    pub(super) again_mark: u64,
    /// The latest of them reported the close of the file.
    pub(super) again_closed: bool,
    /// One of them was about a change that was seen when it happened.
    pub(super) again_fresh: bool,
    /// When its change was seen, if that was when it happened.
    pub(super) fresh: Option<UnixMillis>,
    pub(super) rank: Rank,
}

impl WindowRow {
    /// Whether deletes that were seen when they happened wait for it: the file may be one of theirs under
    /// another name. What else waits was not seen to come from anywhere.
    pub(super) fn holds_fresh(&self) -> bool {
        self.fresh.is_some() || self.pending.copy_from.is_some()
    }

    /// When it was seen, if its rank changes with time.
    fn expires(&self) -> Option<UnixMillis> {
        let put = self.pending.operation == Operation::Put;
        self.fresh.filter(|_| put && self.rank == Rank::Fresh)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowState {
    Ready,
    Waiting,
    Running { again: bool },
}

#[derive(Debug, Default)]
pub(super) struct Window {
    entries: HashMap<RelPath, WindowRow>,
    ready: [[ByTime; Class::COUNT]; Rank::COUNT],
    waiting: ByTime,
    /// Those of [`Rank::Fresh`] that have not started, by the time they were seen; no deletes.
    fresh: ByTime,
    /// Deletes among the waiting that were not tried yet: they will join a batch.
    gathering: ByTime,
    /// Puts that hold up deletes wanted after them.
    holding: ByTime,
    /// Those of them that hold up deletes which were seen when they happened.
    holding_fresh: ByTime,
    running: [usize; Class::COUNT],
    large_bytes: u64,
}

/// What has a share of its own of the tries that run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// A put in one request.
    Small,
    /// A put in parts: it takes long, and must not keep the small ones out.
    Large,
    /// A delete; many of them are one request.
    Delete,
}

impl Class {
    const COUNT: usize = 3;

    fn from_entry(pending: &QueueRow, large_bytes: u64) -> Self {
        match pending.operation {
            Operation::Delete => Self::Delete,
            Operation::Put if pending.version.size > large_bytes => Self::Large,
            Operation::Put => Self::Small,
        }
    }
}

impl Window {
    /// A window in which puts of more than `large_bytes` are large.
    pub(super) fn new(large_bytes: u64) -> Self {
        Self { large_bytes, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn running(&self) -> usize {
        self.running.iter().sum()
    }

    pub(super) fn running_of(&self, class: Class) -> usize {
        self.running[class as usize]
    }

    pub(super) fn is_running(&self, path: &RelPath) -> bool {
        self.entries.get(path).is_some_and(|entry| matches!(entry.state, RowState::Running { .. }))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &WindowRow> {
        self.entries.values()
    }

    pub(super) fn get(&self, path: &RelPath) -> Option<&WindowRow> {
        self.entries.get(path)
    }

    /// Takes all deletes out that are not running, and returns the paths of those that are.
    pub(super) fn remove_deletes(&mut self) -> Vec<RelPath> {
        let delete = |entry: &&WindowRow| entry.pending.operation == Operation::Delete;
        let deletes = self.entries.values().filter(delete);
        let deletes: Vec<_> = deletes.map(|entry| entry.pending.path.clone()).collect();
        let (running, others): (Vec<_>, Vec<_>) =
            deletes.into_iter().partition(|path| self.is_running(path));
        for path in others {
            self.remove(&path);
        }
        running
    }

    pub(super) fn contains(&self, path: &RelPath) -> bool {
        self.entries.contains_key(path)
    }

    /// Whether `path` is running; if so, it will be looked at again.
    pub(super) fn note_if_running(&mut self, path: &RelPath) -> bool {
        match self.entries.get_mut(path) {
            Some(WindowRow { state: RowState::Running { again }, .. }) => {
                *again = true;
                true
            }
            _ => false,
        }
    }

    /// What runs at or below `directory` will be looked at again.
    pub(super) fn note_running_within(&mut self, directory: &RelPath, mark: u64) {
        for (path, entry) in &mut self.entries {
            if let RowState::Running { again } = &mut entry.state
                && path.is_within(directory)
            {
                *again = true;
                entry.again_mark = mark.min(entry.again_mark);
            }
        }
    }

    /// The oldest of a rank and class that may start, with the time its change was seen.
    pub(super) fn next_ready(&self, rank: Rank, class: Class) -> Option<(UnixMillis, &RelPath)> {
        self.ready_of(rank, class).first().map(|(since, path)| (*since, path))
    }

    /// How many of a rank and class may start.
    pub(super) fn ready(&self, rank: Rank, class: Class) -> usize {
        self.ready_of(rank, class).len()
    }

    fn ready_of(&self, rank: Rank, class: Class) -> &ByTime {
        &self.ready[rank as usize][class as usize]
    }

    /// Whether a change of just now has not started.
    pub(super) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Whether a put wanted before `since` has not had its tries. Of deletes that were seen when they
    /// happened, only the puts count that were, too, or that have their object from another name.
    pub(super) fn is_held_up(&self, since: UnixMillis, fresh: bool) -> bool {
        let holding = if fresh { &self.holding_fresh } else { &self.holding };
        holding.first().is_some_and(|(put, _)| *put <= since)
    }

    /// Since when the delete of this rank that is next may start.
    pub(super) fn delete_ready_at(&self, rank: Rank) -> Option<UnixMillis> {
        let (_, path) = self.next_ready(rank, Class::Delete)?;
        self.entries.get(path).map(|entry| entry.pending.next_try)
    }

    /// Whether a delete will be ready by itself that was not tried yet.
    pub(super) fn is_gathering(&self) -> bool {
        !self.gathering.is_empty()
    }

    pub(super) fn next_try(&self) -> Option<UnixMillis> {
        self.waiting.first().map(|(next_try, _)| *next_try)
    }

    /// Moves what has waited long enough to what may start, and what was fresh for long enough behind what
    /// is.
    pub(super) fn promote(&mut self, now: UnixMillis) {
        while self.next_try().is_some_and(|next_try| next_try <= now) {
            let Some((_, path)) = self.waiting.pop_first() else { break };
            let Some(entry) = self.entries.get_mut(&path) else { continue };
            entry.state = RowState::Ready;
            self.gathering.remove(&(entry.pending.next_try, path.clone()));
            let class = Class::from_entry(&entry.pending, self.large_bytes);
            self.ready[entry.rank as usize][class as usize].insert((entry.pending.since, path));
        }
        while self.fresh.first().is_some_and(|(at, _)| at + FRESH_MS <= now) {
            let Some((_, path)) = self.fresh.pop_first() else { break };
            let Some(entry) = self.entries.get_mut(&path) else { continue };
            entry.rank = Rank::Late;
            let class = Class::from_entry(&entry.pending, self.large_bytes) as usize;
            let by_age = (entry.pending.since, path);
            if self.ready[Rank::Fresh as usize][class].remove(&by_age) {
                self.ready[Rank::Late as usize][class].insert(by_age);
            }
        }
    }

    /// Takes out the row that would start last, so that a fresh one has room; it is on disk. A fresh row
    /// is taken only if it is `Late` and there is no other. A row that may have changed the bucket stays.
    pub(super) fn evict(&mut self) -> Option<WindowRow> {
        let ranks = [Rank::Rest, Rank::Late].into_iter();
        let mut sets = ranks.flat_map(|rank| [(rank, Class::Small), (rank, Class::Large)]);
        let path = sets.find_map(|(rank, class)| self.last_unsent(rank, class))?;
        self.remove(&path)
    }

    fn last_unsent(&self, rank: Rank, class: Class) -> Option<RelPath> {
        let mut last = self.ready_of(rank, class).iter().rev().take(EVICTION_LOOKS_MAX);
        let unsent = |(_, path): &&(UnixMillis, RelPath)| {
            self.entries.get(path).is_some_and(|entry| entry.pending.sent.is_none())
        };
        last.find(unsent).map(|(_, path)| path.clone())
    }

    /// Lets those of the waiting that are `wanted` wait no longer.
    pub(super) fn expedite(&mut self, now: UnixMillis, wanted: impl Fn(&WindowRow) -> bool) {
        for (path, entry) in &mut self.entries {
            let due = entry.pending.next_try;
            if entry.state == RowState::Waiting && due > now && wanted(entry) {
                self.waiting.remove(&(due, path.clone()));
                self.gathering.remove(&(due, path.clone()));
                entry.pending.next_try = now;
                self.waiting.insert((now, path.clone()));
            }
        }
    }

    /// Attempts of earlier count no more.
    pub(super) fn count_anew(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.tries = 0);
    }

    /// Wanted once more as it was `before`: its failures still count.
    pub(super) fn carry_over(&mut self, before: &WindowRow) {
        let Some(entry) = self.entries.get_mut(&before.pending.path) else { return };
        let wish = |entry: &WindowRow| (entry.pending.operation, entry.pending.version);
        if wish(entry) == wish(before) {
            (entry.tries, entry.failed) = (before.tries, before.failed);
        }
    }

    pub(super) fn insert_new(
        &mut self,
        pending: QueueRow,
        queued: UnixMillis,
        mark: u64,
        fresh: Option<UnixMillis>,
    ) {
        self.insert(WindowRow {
            rank: Rank::from_entry(&pending, fresh, queued),
            fresh,
            again_fresh: false,
            pending,
            state: RowState::Waiting,
            failed: None,
            tries: 0,
            sent_before: None,
            queued,
            mark,
            again_mark: u64::MAX,
            again_closed: false,
        });
    }

    /// Notes the hint behind what is known of `path`: its mark, whether it reported the close of the
    /// file, and whether it was seen when the change happened.
    pub(super) fn note_hint(&mut self, path: &RelPath, mark: u64, closed: bool, fresh: bool) {
        let Some(entry) = self.entries.get_mut(path) else { return };
        match entry.state {
            RowState::Running { .. } => {
                entry.again_mark = mark.min(entry.again_mark);
                entry.again_closed = closed;
                entry.again_fresh |= fresh;
            }
            RowState::Waiting | RowState::Ready => entry.mark = mark.min(entry.mark),
        }
    }

    /// Takes an entry in, to wait or to run as its state says.
    pub(super) fn insert(&mut self, entry: WindowRow) {
        let WindowRow { pending, state, .. } = &entry;
        let path = pending.path.clone();
        if pending.operation == Operation::Put && pending.attempts <= HOLDING_ATTEMPTS_MAX {
            self.holding.insert((pending.since, path.clone()));
            if entry.holds_fresh() {
                self.holding_fresh.insert((pending.since, path.clone()));
            }
        }
        match state {
            RowState::Running { .. } => {
                self.running[Class::from_entry(pending, self.large_bytes) as usize] += 1;
            }
            RowState::Waiting | RowState::Ready => {
                self.waiting.insert((pending.next_try, path.clone()));
                if pending.operation == Operation::Delete && pending.attempts == 0 {
                    self.gathering.insert((pending.next_try, path.clone()));
                }
                if let Some(at) = entry.expires() {
                    self.fresh.insert((at, path.clone()));
                }
            }
        }
        self.entries.insert(path, entry);
    }

    pub(super) fn remove(&mut self, path: &RelPath) -> Option<WindowRow> {
        let entry = self.entries.remove(path)?;
        let by_age = (entry.pending.since, path.clone());
        let class = Class::from_entry(&entry.pending, self.large_bytes);
        self.holding.remove(&by_age);
        self.holding_fresh.remove(&by_age);
        if let Some(at) = entry.expires() {
            self.fresh.remove(&(at, path.clone()));
        }
        match entry.state {
            RowState::Ready => {
                self.ready[entry.rank as usize][class as usize].remove(&by_age);
            }
            RowState::Waiting => {
                let by_time = (entry.pending.next_try, path.clone());
                self.waiting.remove(&by_time);
                self.gathering.remove(&by_time);
            }
            RowState::Running { .. } => self.running[class as usize] -= 1,
        }
        Some(entry)
    }
}
