//! Delayed deletes: when they are due, their paths are inspected, and decided as any change is.
//!
//! # Invariants
//!
//! - Nothing is read of them before the first comparison: until then a file may be there, unseen.
//! - A delay is never longer than the setting, whatever the clock of an earlier process said: after a start,
//!   what is due later is due after one delay.
//! - Time that passes while no process runs counts by the wall clock; while one runs, a clock that is set
//!   counts for nothing.

use super::{Effect, Engine, EngineTime};
use crate::model::{Hint, Operation, QueueRow, UnixMillis, WriteState};
use crate::settle::FlushGeneration;
use crate::store::{Change, DELAYED_ROWS_MAX, DelayedPosition};
use std::time::Duration;

/// The pause until what is due is read once more that was not decided: its file could not be inspected.
const AGAIN: Duration = Duration::from_secs(30);

/// What is known of delayed deletes.
#[derive(Debug, Default)]
pub(super) struct DelayedDeletes {
    /// Whether the delays of an earlier process are bounded.
    bounded: bool,
    /// When the first of them is due.
    next: Option<Duration>,
    /// Whether those that are due are being read.
    reading: bool,
    /// Where the next page begins, within those that are due.
    after: Option<DelayedPosition>,
    /// The time of the latest event.
    now: Duration,
    /// What looks under way know of the queue is void: deletes were cancelled since.
    voids_looks: bool,
}

/// Delayed deletes that are due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DueDeletes {
    /// Those of mirrored names, in the order in which they are due.
    pub rows: Vec<QueueRow>,
    /// Those of names that are not mirrored any more.
    pub ignored: Vec<QueueRow>,
    /// When the next one is due.
    pub next: Option<UnixMillis>,
}

impl DelayedDeletes {
    fn expedite(&mut self, at: Duration) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Whether no look may begin before those under way have ended.
    pub(super) fn voids_looks(&self) -> bool {
        self.voids_looks
    }

    /// Whether something is due, or being read.
    pub(super) fn is_busy(&self) -> bool {
        self.reading || self.next.is_some_and(|next| next <= self.now)
    }

    /// When something is due, if it is not being read.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.next.filter(|_| !self.reading)
    }
}

impl Engine {
    /// The deletes that wait for a person.
    #[must_use]
    pub fn deletes_waiting(&self) -> u64 {
        if self.queue.deletes_wait() { self.queue.counts().deletes } else { 0 }
    }

    /// The deletes that an approval lets go: those that wait for a person, and those that are delayed.
    #[must_use]
    pub fn deletes_to_approve(&self) -> u64 {
        self.deletes_waiting() + self.queue.counts().delayed
    }

    /// Until when the delete of `wish` is delayed, if it is.
    pub(super) fn delayed_until(
        &self,
        wish: &QueueRow,
        known: Option<&QueueRow>,
        now: EngineTime,
    ) -> Option<UnixMillis> {
        let delay_ms = self.settings.queue.delete_delay_ms;
        if wish.operation != Operation::Delete || delay_ms == 0 {
            return None;
        }
        let wall = self.wall(now);
        let known = known.filter(|row| row.operation == Operation::Delete);
        let due = match known {
            // It was due, and waits for its turn.
            _ if self.queue.has_due_delete(&wish.path) => return None,
            Some(row) if row.parked.is_none() => return None,
            Some(row) if row.is_delayed() => {
                let approved = self.queue.approved_until().is_some_and(|until| row.since <= until);
                if approved { wall } else { row.next_try.min(wall + delay_ms) }
            }
            _ => wall + delay_ms,
        };
        (due > wall).then_some(due)
    }

    /// Delays a delete.
    pub(super) fn delay(
        &mut self,
        wish: QueueRow,
        due: UnixMillis,
        known: Option<&QueueRow>,
        now: EngineTime,
    ) -> Option<Change> {
        self.delayed.expedite(self.elapsed(due));
        self.queue.delay(wish, due, known, self.wall(now))
    }

    /// Delayed deletes that are due later are due at this time.
    pub(super) fn expedite_delayed(&mut self, due: UnixMillis) {
        if self.queue.counts().delayed > 0 {
            self.changes.push(Change::DeletesDueBy(due));
            self.delayed.after = None;
            self.delayed.expedite(self.elapsed(due));
        }
    }

    /// Drops the deletes that are held or delayed.
    pub(super) fn cancel_deletes(&mut self) {
        let change = self.queue.cancel_deletes();
        self.changes.push(change);
        self.delayed.next = None;
        self.delayed.after = None;
        self.delayed.voids_looks = true;
    }

    /// Bounds the delays of an earlier process, and reads what is due.
    pub(super) fn advance_delayed(&mut self, now: EngineTime, effects: &mut Vec<Effect>) {
        self.delayed.now = now.elapsed;
        self.delayed.voids_looks &= !self.looks.is_empty();
        if !self.has_compared() {
            return;
        }
        if !std::mem::replace(&mut self.delayed.bounded, true) && self.queue.counts().delayed > 0 {
            let keeps = !self.settings.policy.propagate_deletes;
            let delay_ms = if keeps { 0 } else { self.settings.queue.delete_delay_ms };
            self.expedite_delayed(self.wall(now) + delay_ms);
            self.delayed.expedite(now.elapsed);
        }
        let due = self.delayed.next_due().is_some_and(|due| due <= now.elapsed);
        if due && self.has_room() && !self.holding {
            self.delayed.reading = true;
            // What is delayed from now on may not be in the answer.
            self.delayed.next = None;
            effects.push(Effect::ReadDelayed(self.wall(now), self.delayed.after.clone()));
        }
    }

    /// Has the paths of deletes inspected that are due.
    pub(super) fn deletes_due(&mut self, due: DueDeletes, now: EngineTime) {
        self.delayed.reading = false;
        let DueDeletes { rows, ignored, next } = due;
        let found = rows.len() + ignored.len();
        let last = rows.iter().chain(&ignored).map(|row| (row.next_try, row.path.clone())).max();
        for row in ignored {
            let change = self.queue.settle(&row.path, Some(&row));
            self.changes.extend(change);
        }
        for row in rows {
            let hint = Hint::Path(row.path, WriteState::Gone);
            self.settle.hint_of(hint, now.elapsed, FlushGeneration::MAX, false);
        }
        if found >= DELAYED_ROWS_MAX {
            self.delayed.after = last;
            self.delayed.expedite(now.elapsed);
            return;
        }
        let undecided = found > 0 || self.delayed.after.take().is_some();
        let next = next.map(|next| self.elapsed(next));
        let again = undecided.then_some(now.elapsed + AGAIN);
        self.delayed.next = self.delayed.next.into_iter().chain(next).chain(again).min();
    }

    /// Has the delete of a path decided once more that a look from before a cancellation found to be wanted.
    pub(super) fn is_void(&self, wish: &QueueRow) -> bool {
        self.delayed.voids_looks && wish.operation == Operation::Delete
    }

    /// When delayed deletes are due, for the next tick.
    pub(super) fn next_delayed(&self) -> Option<Duration> {
        let ready = self.has_compared() && self.has_room() && !self.holding;
        self.delayed.next_due().filter(|_| ready)
    }
}
