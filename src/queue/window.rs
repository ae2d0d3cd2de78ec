//! The rows in memory, and the orders they are taken in. Keeps its sets in step, decides nothing.

use super::HOLDING_ATTEMPTS_MAX;
use crate::model::{FailureClass, Operation, Pending, RelPath, UnixMillis, Version};
use std::collections::{BTreeSet, HashMap};

type ByTime = BTreeSet<(UnixMillis, RelPath)>;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pending: Pending,
    pub(super) state: State,
    /// What the last failure was, for the release after an outage.
    pub(super) failed: Option<FailureClass>,
    /// Tries of this process.
    pub(super) tries: u32,
    /// What a try before the one under way may have left in the bucket.
    pub(super) sent_before: Option<Version>,
    /// When it was last wanted; 0 if that was before the start.
    pub(super) queued: UnixMillis,
    /// Of the first hint that the row stands for.
    pub(super) mark: u64,
    /// Of the first hint that came while it was running.
    pub(super) again_mark: u64,
    /// The latest of them told that the file was closed.
    pub(super) again_closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    Waiting,
    Running { again: bool },
}

#[derive(Debug, Default)]
pub(super) struct Window {
    entries: HashMap<RelPath, Entry>,
    ready: [ByTime; Class::COUNT],
    waiting: ByTime,
    /// Deletes among the waiting that were not tried yet: they will join a batch.
    gathering: ByTime,
    /// Puts that hold up deletes wanted after them.
    holding: ByTime,
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

    fn of(pending: &Pending, large_bytes: u64) -> Self {
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
        self.entries.get(path).is_some_and(|entry| matches!(entry.state, State::Running { .. }))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(super) fn contains(&self, path: &RelPath) -> bool {
        self.entries.contains_key(path)
    }

    /// Whether `path` is running; if so, it will be looked at again.
    pub(super) fn note_if_running(&mut self, path: &RelPath) -> bool {
        match self.entries.get_mut(path) {
            Some(Entry { state: State::Running { again }, .. }) => {
                *again = true;
                true
            }
            _ => false,
        }
    }

    /// What runs at or below `directory` will be looked at again.
    pub(super) fn note_running_within(&mut self, directory: &RelPath, mark: u64) {
        for (path, entry) in &mut self.entries {
            if let State::Running { again } = &mut entry.state
                && path.is_within(directory)
            {
                *again = true;
                entry.again_mark = mark.min(entry.again_mark);
            }
        }
    }

    /// The oldest of a class that may start, with the time its change was seen.
    pub(super) fn next_ready(&self, class: Class) -> Option<(UnixMillis, &RelPath)> {
        self.ready[class as usize].first().map(|(since, path)| (*since, path))
    }

    /// How many of a class may start.
    pub(super) fn ready(&self, class: Class) -> usize {
        self.ready[class as usize].len()
    }

    /// Whether a put wanted before `since` has not had its tries.
    pub(super) fn is_held_up(&self, since: UnixMillis) -> bool {
        self.holding.first().is_some_and(|(put, _)| *put <= since)
    }

    /// Since when the delete that is next may start.
    pub(super) fn delete_ready_at(&self) -> Option<UnixMillis> {
        let (_, path) = self.next_ready(Class::Delete)?;
        self.entries.get(path).map(|entry| entry.pending.next_try)
    }

    /// Whether a delete will be ready by itself that was not tried yet.
    pub(super) fn is_gathering(&self) -> bool {
        !self.gathering.is_empty()
    }

    pub(super) fn next_try(&self) -> Option<UnixMillis> {
        self.waiting.first().map(|(next_try, _)| *next_try)
    }

    /// Moves what has waited long enough to what may start.
    pub(super) fn promote(&mut self, now: UnixMillis) {
        while self.next_try().is_some_and(|next_try| next_try <= now) {
            let Some((_, path)) = self.waiting.pop_first() else { break };
            let Some(entry) = self.entries.get_mut(&path) else { continue };
            entry.state = State::Ready;
            self.gathering.remove(&(entry.pending.next_try, path.clone()));
            let class = Class::of(&entry.pending, self.large_bytes);
            self.ready[class as usize].insert((entry.pending.since, path));
        }
    }

    /// Lets those of the waiting that are `wanted` wait no longer.
    pub(super) fn hasten(&mut self, now: UnixMillis, wanted: impl Fn(&Entry) -> bool) {
        for (path, entry) in &mut self.entries {
            let due = entry.pending.next_try;
            if entry.state == State::Waiting && due > now && wanted(entry) {
                self.waiting.remove(&(due, path.clone()));
                self.gathering.remove(&(due, path.clone()));
                entry.pending.next_try = now;
                self.waiting.insert((now, path.clone()));
            }
        }
    }

    pub(super) fn insert_new(&mut self, pending: Pending, queued: UnixMillis, mark: u64) {
        self.insert(Entry {
            pending,
            state: State::Waiting,
            failed: None,
            tries: 0,
            sent_before: None,
            queued,
            mark,
            again_mark: u64::MAX,
            again_closed: false,
        });
    }

    /// What is known of `path` goes back to a hint with this mark, which told that the file was closed,
    /// or not.
    pub(super) fn note_hint(&mut self, path: &RelPath, mark: u64, closed: bool) {
        let Some(entry) = self.entries.get_mut(path) else { return };
        match entry.state {
            State::Running { .. } => {
                entry.again_mark = mark.min(entry.again_mark);
                entry.again_closed = closed;
            }
            State::Waiting | State::Ready => entry.mark = mark.min(entry.mark),
        }
    }

    /// Takes an entry in, to wait or to run as its state says.
    pub(super) fn insert(&mut self, entry: Entry) {
        let Entry { pending, state, .. } = &entry;
        let path = pending.path.clone();
        if pending.operation == Operation::Put && pending.attempts <= HOLDING_ATTEMPTS_MAX {
            self.holding.insert((pending.since, path.clone()));
        }
        match state {
            State::Running { .. } => {
                self.running[Class::of(pending, self.large_bytes) as usize] += 1;
            }
            State::Waiting | State::Ready => {
                self.waiting.insert((pending.next_try, path.clone()));
                if pending.operation == Operation::Delete && pending.attempts == 0 {
                    self.gathering.insert((pending.next_try, path.clone()));
                }
            }
        }
        self.entries.insert(path, entry);
    }

    pub(super) fn remove(&mut self, path: &RelPath) -> Option<Entry> {
        let entry = self.entries.remove(path)?;
        let by_age = (entry.pending.since, path.clone());
        let class = Class::of(&entry.pending, self.large_bytes);
        self.holding.remove(&by_age);
        match entry.state {
            State::Ready => drop(self.ready[class as usize].remove(&by_age)),
            State::Waiting => {
                let by_time = (entry.pending.next_try, path.clone());
                self.waiting.remove(&by_time);
                self.gathering.remove(&by_time);
            }
            State::Running { .. } => self.running[class as usize] -= 1,
        }
        Some(entry)
    }
}
