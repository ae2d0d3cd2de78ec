//! What one event changes in the record, made as short as it can be.

use crate::model::RelPath;
use crate::store::Change;
use std::collections::HashMap;

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
            | Change::Bound(_) => {}
        }
        kept.push(change);
    }
    kept
}
