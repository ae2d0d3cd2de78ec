//! What a new decision about a path keeps of the row that the path has.

use super::DELETE_GRACE_MS;
use crate::model::{Operation, QueueRow, UnixMillis};

/// A new wish joins the row of its path: it keeps the row's age, and its back-off if it is the same
/// wish once more.
pub(super) fn merged(wanted: QueueRow, before: Option<&QueueRow>, now: UnixMillis) -> QueueRow {
    let mut row = wanted;
    row.next_try = now;
    if let Some(before) = before {
        // The age of a delayed delete says nothing about the put that takes its place.
        if !(before.is_delayed() && row.operation == Operation::Put) {
            row.since = row.since.min(before.since);
        }
        row.sent = before.sent;
        let same = row.operation == before.operation && row.version == before.version;
        if same && before.parked.is_none() {
            row.attempts = before.attempts;
            row.error.clone_from(&before.error);
        }
    }
    if row.operation == Operation::Delete {
        row.next_try = now + DELETE_GRACE_MS;
        match before.filter(|before| before.operation == Operation::Delete) {
            // However often it is wanted, the grace ends.
            Some(before) if before.parked.is_none() => {
                row.next_try = row.next_try.min(before.next_try);
            }
            Some(_) => {}
            // The age of a put says nothing about the delete that takes its place.
            None => row.since = now,
        }
    }
    row
}
