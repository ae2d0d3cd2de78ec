//! Deletes with a delay, and deletes on hold because they exceed the limit.
//!
//! # Invariants
//!
//! - A delayed delete is in the state only: the window holds what may start. When it is due, its path is
//!   inspected again, so that the same decision as for any change ends the delay or the delete.
//! - The limit counts a delayed delete for a window from when it is wanted. What exceeds the limit then stays
//!   on hold until it is approved, cancelled, or few enough deletes are left, however late they are due.
//! - Deletes of objects without a record count among the objects as well: an attempt without a response may
//!   have created them.

use super::merge::merged;
use super::{Change, Queue, StateCounts};
use crate::model::{DELETE_DELAYED, Operation, QueueRow, RelPath, UnixMillis};

/// Which deletes wait for a person.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeleteHold {
    /// Those that were wanted then or later.
    from: Option<UnixMillis>,
    /// Not those that were wanted until then.
    approved_until: Option<UnixMillis>,
}

impl DeleteHold {
    /// Whether a delete that was wanted then is one of them.
    pub(super) fn covers(self, since: UnixMillis) -> bool {
        let approved = self.approved_until.is_some_and(|until| since <= until);
        !approved && self.from.is_some_and(|from| since >= from)
    }
}

impl Queue {
    /// Wants a delete at `due`. `known` is the row the record has for the path.
    pub fn delay(
        &mut self,
        wanted: QueueRow,
        due: UnixMillis,
        known: Option<&QueueRow>,
        now: UnixMillis,
    ) -> Option<Change> {
        if self.window.note_if_running(&wanted.path) {
            return None;
        }
        let entry = self.take_out(&wanted.path);
        let before = entry.as_ref().map(|entry| &entry.pending).or(known);
        let row = QueueRow {
            next_try: due,
            parked: Some(DELETE_DELAYED.to_owned()),
            ..merged(wanted, before, now)
        };
        if entry.is_none() && known == Some(&row) {
            return None;
        }
        let limit = self.settings.delete_limit;
        let counted = before.is_some_and(|before| before.is_delayed() && !before.moved);
        let counts = !row.moved && self.is_unapproved(row.since);
        if counts && !counted {
            self.recent_deletes.note_delayed(limit, row.since);
            self.recent_changed = true;
        } else if counted && row.moved {
            self.note_undelayed(before);
        }
        Some(Change::Queue(row))
    }

    /// Whether a delete of this path may start without a delay.
    #[must_use]
    pub fn has_due_delete(&self, path: &RelPath) -> bool {
        let delete = |row: &QueueRow| row.operation == Operation::Delete;
        self.window.get(path).is_some_and(|entry| delete(&entry.pending))
    }

    /// A delayed delete is not wanted any more, or is one of a moved file.
    pub(super) fn note_undelayed(&mut self, before: Option<&QueueRow>) {
        let counted = |row: &&QueueRow| row.is_delayed() && !row.moved;
        if let Some(row) = before.filter(counted) {
            self.recent_deletes.take_back(self.settings.delete_limit, row.since);
            self.recent_changed = true;
        }
    }

    /// The row of a delete that is due now: its age counts from here on, but not for an approval.
    pub(super) fn due_now(
        &mut self,
        row: QueueRow,
        before: Option<&QueueRow>,
        now: UnixMillis,
    ) -> QueueRow {
        let delayed = before.filter(|before| before.is_delayed());
        let Some(before) = delayed.filter(|_| row.operation == Operation::Delete) else {
            return row;
        };
        let approved = self.approved_until.filter(|until| before.since <= *until);
        let since = approved.unwrap_or(before.next_try.min(now)).max(before.since);
        QueueRow { since, ..row }
    }

    /// All delayed deletes are approved or cancelled, and nothing is on hold.
    pub(super) fn forget_delayed(&mut self) {
        self.recent_deletes.clear_delayed();
        self.recent_changed = true;
    }

    /// Takes all deletes out of the window. Those that are not there are not taken in any more. The change is
    /// for the record.
    pub fn cancel_deletes(&mut self) -> Change {
        let running = self.window.remove_deletes();
        self.deletes_cancelled = self.departed.is_some();
        self.forget_delayed();
        Change::DeletesCancelled(running)
    }

    /// Whether there are deletes that are not due.
    pub(super) fn has_delayed(&self) -> bool {
        self.counts.delayed > 0
    }

    /// Whether deletes wait for an operator: more are wanted than both limits allow.
    #[must_use]
    pub fn deletes_held(&self) -> bool {
        self.exceeds() || self.recent_deletes.held_from().is_some()
    }

    /// Which deletes wait for an operator.
    pub(super) fn hold(&self) -> DeleteHold {
        let from = if self.exceeds() { Some(0) } else { self.recent_deletes.held_from() };
        DeleteHold { from, approved_until: self.approved_until }
    }

    /// Whether more deletes are wanted than both limits allow.
    fn exceeds(&self) -> bool {
        let limit = self.settings.delete_limit;
        let StateCounts { deletes, mirrored, unrecorded_deletes, .. } = self.counts;
        let objects = mirrored + unrecorded_deletes;
        let done = self.deleted_lately();
        let delay_ms = self.settings.delete_delay_ms;
        if delay_ms == 0 {
            return limit.is_exceeded(deletes, done, objects);
        }
        let wanted = match limit.window_ms {
            0 => self.delayed_deletes(),
            _ => self.recent_deletes.count_delayed(limit, self.now),
        };
        // Within the window, some of them may be done: their objects count as well.
        let done = if delay_ms < limit.window_ms { done.min(wanted) } else { 0 };
        limit.is_exceeded(wanted, 0, objects + done)
    }

    /// Delayed deletes of files without another name.
    fn delayed_deletes(&self) -> u64 {
        self.counts.delayed.saturating_sub(self.counts.delayed_moved)
    }

    /// Puts what exceeds the limit on hold, and ends the hold when few enough deletes are left.
    pub(super) fn update_hold(&mut self) {
        let limit = self.settings.delete_limit;
        let StateCounts { deletes, mirrored, unrecorded_deletes, .. } = self.counts;
        let held_from = self.recent_deletes.held_from();
        let from = match held_from {
            None if self.exceeds() => Some(self.now.saturating_sub(limit.window_ms)),
            Some(_) if !self.exceeds() => {
                let left = deletes + self.delayed_deletes();
                let done = self.deleted_lately();
                let too_many = limit.is_exceeded(left, done, mirrored + unrecorded_deletes);
                held_from.filter(|_| too_many)
            }
            held_from => held_from,
        };
        if from != held_from {
            self.recent_deletes.set_held_from(from);
            self.recent_changed = true;
        }
    }
}
