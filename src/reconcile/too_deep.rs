//! Directories whose path leaves no room for a key: a tree may have a million levels of them.

use super::{SKIPPED_MAX, Summary};
use crate::model::RelPath;

/// Directories without valid keys, which are not entered.
#[derive(Default)]
pub(super) struct TooDeep {
    count: u64,
    last: Option<RelPath>,
    named: Vec<RelPath>,
}

impl TooDeep {
    /// Counts a directory once, although it may be passed repeatedly in a row.
    pub(super) fn met(&mut self, path: &RelPath) {
        if self.last.as_ref() == Some(path) {
            return;
        }
        self.count += 1;
        self.last = Some(path.clone());
        if self.named.len() < SKIPPED_MAX {
            self.named.push(path.clone());
        }
    }

    pub(super) fn join(self, summary: &mut Summary) {
        summary.special += self.count;
        let named = self.named.into_iter().map(|path| (path, "directory with too long a path"));
        summary.skipped.extend(named);
    }
}
