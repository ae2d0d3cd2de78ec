//! What people and programs ask of the queue: when is it done, try now, do the deletes that are held.

use super::Queue;
use super::window::{Entry, State};
use crate::model::{Operation, RelPath, UnixMillis};

impl Queue {
    /// Whether there are deletes that nobody has approved.
    #[must_use]
    pub fn deletes_wait(&self) -> bool {
        self.deletes_held() && self.window.entries().any(|entry| self.is_held(entry))
    }

    /// What is wanted for `path`, or will be when its try has ended, goes back to a hint with this
    /// mark, which told that the file was closed, or not.
    pub fn note_hint(&mut self, path: &RelPath, mark: u64, closed: bool) {
        self.window.note_hint(path, mark, closed);
    }

    /// The lowest mark of all that will be done without a person. Looks at everything.
    #[must_use]
    pub fn lowest_mark(&self) -> Option<u64> {
        let held = self.deletes_held();
        let entries = self.window.entries().filter(|entry| !(held && self.is_held(entry)));
        entries.map(|entry| entry.mark.min(entry.again_mark)).min()
    }

    /// Whether rows may wait in the record that the window does not know of.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.outside() > 0 || self.window.len() >= self.settings.window_max
    }

    /// The deletes that were wanted until now may be done, however many they are.
    pub fn approve_deletes(&mut self, now: UnixMillis) {
        self.approved_until = Some(now);
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

    /// Those whose last try failed may be tried at once: somebody asked.
    pub fn retry(&mut self, now: UnixMillis) {
        self.breaker.rush(now);
        self.window.hasten(now, |entry| entry.pending.attempts > 0);
    }

    /// Whether this is one of the deletes that wait for a person, while there are any.
    pub(super) fn is_held(&self, entry: &Entry) -> bool {
        let row = &entry.pending;
        let runs = matches!(entry.state, State::Running { .. });
        row.operation == Operation::Delete && !runs && self.is_unapproved(row.since)
    }

    /// Whether nobody has approved what was wanted then.
    pub(super) fn is_unapproved(&self, since: UnixMillis) -> bool {
        self.approved_until.is_none_or(|until| since > until)
    }
}
