//! What one event changes in the record, made as short as it can be.

use crate::model::{Effort, Outcome, Pending, RelPath, Staleness, UnixMillis};
use crate::queue::Lease;
use crate::store::Change;
use std::collections::HashMap;

/// What a CDN has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalidate {
    /// New objects as well: their being absent may be remembered.
    pub new_objects: bool,
}

/// The end of a try as a CDN has to be told of it, if it has changed the object. To be written with the
/// end, and before it.
pub(super) fn stale(
    invalidate: Option<Invalidate>,
    lease: &Lease,
    outcome: &Outcome,
    now: UnixMillis,
) -> Option<Change> {
    let Invalidate { new_objects } = invalidate?;
    let certain = lease.sent_before.is_some() || new_objects;
    let staleness = match outcome {
        Outcome::Deleted => Staleness::Certain,
        Outcome::Mirrored(_, Effort::Sent | Effort::Copied) if certain => Staleness::Certain,
        Outcome::Mirrored(_, Effort::Sent | Effort::Copied) => Staleness::IfReplaced,
        // An earlier try has changed it, and was not answered.
        Outcome::Mirrored(_, Effort::Found) if lease.sent_before.is_some() => Staleness::Certain,
        Outcome::Mirrored(..) | Outcome::LookAgain(_) | Outcome::Failed(_) => return None,
    };
    Some(Change::Stale(lease.pending.path.clone(), staleness, now))
}

/// The same for a row that goes while nobody knows what its last try has done.
pub(super) fn stale_in_doubt(
    invalidate: Option<Invalidate>,
    row: Option<&Pending>,
    now: UnixMillis,
) -> Option<Change> {
    let row = row.filter(|row| invalidate.is_some() && row.sent.is_some())?;
    Some(Change::Stale(row.path.clone(), Staleness::Certain, now))
}

/// A row that is queued and started at once needs to be written only as it is in the end.
pub(super) fn last_of_each_path(changes: impl Iterator<Item = Change>) -> Vec<Change> {
    let mut queued: HashMap<RelPath, usize> = HashMap::new();
    let mut kept: Vec<Change> = Vec::new();
    for change in changes {
        match &change {
            Change::Queue(row) => {
                if let Some(&index) = queued.get(&row.path) {
                    kept[index] = change;
                    continue;
                }
                queued.insert(row.path.clone(), kept.len());
            }
            Change::Mirrored(path, _) | Change::Forgotten(path) | Change::Settled(path) => {
                queued.remove(path);
            }
            Change::UploadNoted(_)
            | Change::PartStored(..)
            | Change::UploadEnded(..)
            | Change::Listed(..)
            | Change::Bound(_)
            | Change::Stale(..)
            | Change::Invalidation(_) => {}
        }
        kept.push(change);
    }
    kept
}
