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
    ready_puts: ByTime,
    ready_deletes: ByTime,
    waiting: ByTime,
    /// Puts that hold up deletes wanted after them.
    holding: ByTime,
    running: usize,
}

impl Window {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn running(&self) -> usize {
        self.running
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
    pub(super) fn note_running_within(&mut self, directory: &RelPath) {
        for (path, entry) in &mut self.entries {
            if let State::Running { again } = &mut entry.state
                && path.is_within(directory)
            {
                *again = true;
            }
        }
    }

    pub(super) fn next_put(&self) -> Option<RelPath> {
        self.ready_puts.first().map(|(_, path)| path.clone())
    }

    /// The oldest delete that may start, unless a put wanted before it, or within `grace_ms` of it,
    /// has not had its tries.
    pub(super) fn next_delete(&self, grace_ms: UnixMillis) -> Option<RelPath> {
        let (since, path) = self.ready_deletes.first()?;
        let held_up = self.holding.first().is_some_and(|(put, _)| *put <= since + grace_ms);
        (!held_up).then(|| path.clone())
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
            let order = (entry.pending.since, path);
            match entry.pending.operation {
                Operation::Put => self.ready_puts.insert(order),
                Operation::Delete => self.ready_deletes.insert(order),
            };
        }
    }

    /// Lets those of the waiting that are `wanted` wait no longer.
    pub(super) fn hasten(&mut self, now: UnixMillis, wanted: impl Fn(&Entry) -> bool) {
        for (path, entry) in &mut self.entries {
            let due = entry.pending.next_try;
            if entry.state == State::Waiting && due > now && wanted(entry) {
                self.waiting.remove(&(due, path.clone()));
                entry.pending.next_try = now;
                self.waiting.insert((now, path.clone()));
            }
        }
    }

    pub(super) fn insert_new(&mut self, pending: Pending, queued: UnixMillis) {
        let state = State::Waiting;
        self.insert(Entry { pending, state, failed: None, tries: 0, sent_before: None, queued });
    }

    /// Takes an entry in, to wait or to run as its state says.
    pub(super) fn insert(&mut self, entry: Entry) {
        let Entry { pending, state, .. } = &entry;
        let path = pending.path.clone();
        if pending.operation == Operation::Put && pending.attempts <= HOLDING_ATTEMPTS_MAX {
            self.holding.insert((pending.since, path.clone()));
        }
        match state {
            State::Running { .. } => self.running += 1,
            State::Waiting | State::Ready => {
                self.waiting.insert((pending.next_try, path.clone()));
            }
        }
        self.entries.insert(path, entry);
    }

    pub(super) fn remove(&mut self, path: &RelPath) -> Option<Entry> {
        let entry = self.entries.remove(path)?;
        let by_age = (entry.pending.since, path.clone());
        self.holding.remove(&by_age);
        match entry.state {
            State::Ready => {
                self.ready_puts.remove(&by_age);
                self.ready_deletes.remove(&by_age);
            }
            State::Waiting => {
                self.waiting.remove(&(entry.pending.next_try, path.clone()));
            }
            State::Running { .. } => self.running -= 1,
        }
        Some(entry)
    }
}
