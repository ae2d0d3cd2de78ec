//! What one event changes in the record, made as short as it can be.

use crate::model::{
    ChangedObject, Outcome, QueueRow, RelPath, SpanReference, Staleness, UnixMillis,
    UploadDisposition,
};
use crate::queue::Attempt;
use crate::rules::Rules;
use crate::store::Change;
use std::collections::HashMap;
use std::sync::Arc;

/// A change to invalidate in a CDN.
#[derive(Debug, Clone)]
pub struct CdnChange {
    /// New objects as well: their being absent may be remembered.
    pub new_objects: bool,
    /// By which objects carry tags that copies are known by, if they do.
    pub tagging: Option<Arc<Rules>>,
}

impl CdnChange {
    /// The head by which an object is known to carry its tags.
    fn tagged(&self, path: &RelPath) -> Option<u64> {
        self.tagging.as_ref().map(|rules| rules.head(path).digest())
    }
}

/// The invalidation for the end of an attempt that has changed the object. It must be written with
/// the end, and before it.
pub(super) fn stale(
    invalidate: Option<&CdnChange>,
    lease: &Attempt,
    outcome: &Outcome,
    context: Option<SpanReference>,
    at: UnixMillis,
) -> Option<Change> {
    let invalidate = invalidate?;
    let certain = lease.sent_before.is_some() || invalidate.new_objects;
    let staleness = match outcome {
        Outcome::Deleted => Staleness::Certain,
        Outcome::Mirrored(_, UploadDisposition::Sent | UploadDisposition::Copied) if certain => {
            Staleness::Certain
        }
        Outcome::Mirrored(_, UploadDisposition::Sent | UploadDisposition::Copied) => {
            Staleness::IfReplaced
        }
        // An earlier try has changed it, and was not answered.
        Outcome::Mirrored(_, UploadDisposition::Found) if lease.sent_before.is_some() => {
            Staleness::Certain
        }
        Outcome::Mirrored(..) | Outcome::Yielded | Outcome::LookAgain(_) | Outcome::Failed(_) => {
            return None;
        }
    };
    let path = lease.pending.path.clone();
    // What an earlier attempt may have put in the place of the recorded object is unknown.
    let known = lease.sent_before.is_none();
    let tagged = if known { invalidate.tagged(&path) } else { None };
    Some(Change::Stale(ChangedObject { path, staleness, at, tagged, context }))
}

/// The same for a row that is removed while the result of its last attempt is unknown.
pub(super) fn stale_in_doubt(
    invalidate: Option<&CdnChange>,
    row: Option<&QueueRow>,
    at: UnixMillis,
) -> Option<Change> {
    let row = row.filter(|row| invalidate.is_some() && row.sent.is_some())?;
    let path = row.path.clone();
    let staleness = Staleness::Certain;
    Some(Change::Stale(ChangedObject { path, staleness, at, tagged: None, context: None }))
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
            Change::DeletesDueBy(_) | Change::DeletesCancelled(_) => queued.clear(),
            Change::UploadNoted(_)
            | Change::PartStored(..)
            | Change::UploadEnded(..)
            | Change::Listed(..)
            | Change::Found(..)
            | Change::Reviewed
            | Change::Inherited(..)
            | Change::Replaced(..)
            | Change::Bound(_)
            | Change::Restoring(_)
            | Change::RecentDeletes(_)
            | Change::Stale(..)
            | Change::Invalidation(_) => {}
        }
        kept.push(change);
    }
    kept
}
