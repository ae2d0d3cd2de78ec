//! What people and programs ask of the queue: when is it done, try now, do the deletes that are held.

use super::delayed::DeleteHold;
use super::window::{RowState, WindowRow};
use super::{Change, Queue};
use crate::model::{Operation, RecentDeletes, RelPath, UnixMillis};

impl Queue {
    /// Whether there are deletes without approval.
    #[must_use]
    pub fn deletes_wait(&self) -> bool {
        let hold = self.hold();
        let is_held = |entry: &WindowRow| is_held(entry, hold);
        self.deletes_held() && (self.has_delayed() || self.window.entries().any(is_held))
    }

    /// Notes the hint behind the present or next operation of `path`: its mark, whether it reported the
    /// close of the file, and whether it was seen when the change happened.
    pub fn note_hint(&mut self, path: &RelPath, mark: u64, closed: bool, fresh: bool) {
        self.window.note_hint(path, mark, closed, fresh);
    }

    /// The lowest mark of all that will be done without a person. Looks at everything.
    #[must_use]
    pub fn lowest_mark(&self) -> Option<u64> {
        let hold = self.hold();
        let entries = self.window.entries().filter(|entry| !is_held(entry, hold));
        entries.map(|entry| entry.mark.min(entry.again_mark)).min()
    }

    /// Whether rows may wait in the record that the window does not know of.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.outside() > 0 || self.window.len() >= self.settings.window_max
    }

    /// The deletes that were wanted until now may be done, however many they are. Delayed ones become due by
    /// [`Change::DeletesDueBy`].
    pub fn approve_deletes(&mut self, now: UnixMillis) {
        self.approved_until = Some(now);
        self.forget_delayed();
    }

    /// The deletes that were wanted until then may be done.
    #[must_use]
    pub fn approved_until(&self) -> Option<UnixMillis> {
        self.approved_until
    }

    /// What was approved before this queue.
    pub fn set_approved_until(&mut self, then: Option<UnixMillis>) {
        self.approved_until = then;
    }

    /// Deletes that were done lately, and count with those that are wanted.
    #[must_use]
    pub fn deleted_lately(&self) -> u64 {
        self.recent_deletes.count(self.settings.delete_limit, self.now)
    }

    /// The same for the queue that comes after this one.
    #[must_use]
    pub fn recent_deletes(&self) -> &RecentDeletes {
        &self.recent_deletes
    }

    /// What was deleted before this queue.
    pub fn set_recent_deletes(&mut self, recent: RecentDeletes) {
        self.recent_deletes = recent;
    }

    /// Counts a finished delete for a while, if it lost an object and had no approval.
    pub(super) fn count_delete(&mut self, entry: &WindowRow, now: UnixMillis) {
        let limit = self.settings.delete_limit;
        let row = &entry.pending;
        if limit.window_ms > 0 && !row.moved && self.is_unapproved(row.since) {
            self.recent_deletes.note(limit, now);
            self.recent_changed = true;
        }
    }

    /// What counts for the limit, if it has changed since it was last written.
    pub fn recent_change(&mut self) -> Option<Change> {
        let changed = std::mem::take(&mut self.recent_changed);
        changed.then(|| Change::RecentDeletes(self.recent_deletes.clone()))
    }

    /// When deletes that are held because of what was deleted lately are looked at again.
    pub(super) fn delete_release(&self) -> Option<UnixMillis> {
        if !self.deletes_held() {
            return None;
        }
        let end = self.recent_deletes.next_end(self.settings.delete_limit, self.now);
        end.filter(|end| *end > self.now)
    }

    /// Entries whose last attempt failed may be tried at once: an operator asked.
    pub fn retry(&mut self, now: UnixMillis) {
        self.breaker.probe_now(now);
        self.window.expedite(now, |entry| entry.pending.attempts > 0);
    }

    /// Whether what was wanted then has no approval.
    pub(super) fn is_unapproved(&self, since: UnixMillis) -> bool {
        self.approved_until.is_none_or(|until| since > until)
    }
}

/// Whether this is one of the deletes that wait for a person.
pub(super) fn is_held(entry: &WindowRow, hold: DeleteHold) -> bool {
    let row = &entry.pending;
    let runs = matches!(entry.state, RowState::Running { .. });
    row.operation == Operation::Delete && !runs && hold.covers(row.since)
}
