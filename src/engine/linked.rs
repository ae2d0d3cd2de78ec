//! Files with several names (hard links). A write under one name gives no event under the others, so
//! they are inspected too.
//!
//! # Invariants
//!
//! - A state of a file makes its other names be inspected once, however often it is seen.
//! - Names are bounded by [`NAMES_MAX`]; a change of those beyond is found by the next comparison of the
//!   whole tree.

use crate::model::{Fingerprint, RelPath};
use crate::reconcile::LINKED_MAX as NAMES_MAX;
use std::collections::{BTreeSet, HashMap};

/// A file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(fingerprint: &Fingerprint) -> Self {
        Self { device: fingerprint.device, inode: fingerprint.inode }
    }
}

#[derive(Debug, Clone, Default)]
struct Linked {
    names: BTreeSet<RelPath>,
    /// The state because of which its names were inspected last.
    seen: Option<Fingerprint>,
}

/// The names of files that have several.
#[derive(Debug, Clone, Default)]
pub(super) struct LinkedFiles {
    files: HashMap<FileId, Linked>,
    names: HashMap<RelPath, FileId>,
    /// There was no room for a name, which has been said.
    full: bool,
}

impl LinkedFiles {
    /// `path` is a name of a file that has several.
    pub(super) fn note(&mut self, path: &RelPath, fingerprint: &Fingerprint) {
        let id = FileId::of(fingerprint);
        if self.names.get(path) == Some(&id) {
            return;
        }
        self.forget(path);
        if self.names.len() >= NAMES_MAX {
            if !std::mem::replace(&mut self.full, true) {
                tracing::warn!(
                    event = "links.unfollowed",
                    names = NAMES_MAX,
                    file.path = %path,
                    "too many hard links: of the rest, a change under one name reaches the others with the \
                     next comparison"
                );
            }
            return;
        }
        self.names.insert(path.clone(), id);
        self.files.entry(id).or_default().names.insert(path.clone());
    }

    /// `path` is gone, or has become the only name of a file.
    pub(super) fn forget(&mut self, path: &RelPath) {
        let Some(id) = self.names.remove(path) else { return };
        let Some(linked) = self.files.get_mut(&id) else { return };
        linked.names.remove(path);
        if linked.names.is_empty() {
            self.files.remove(&id);
        }
    }

    /// The other names of the file that is in this state under `path`; none the second time.
    pub(super) fn others(&mut self, path: &RelPath, state: &Fingerprint) -> Vec<RelPath> {
        let Some(linked) = self.files.get_mut(&FileId::of(state)) else { return Vec::new() };
        if linked.seen.replace(*state) == Some(*state) {
            return Vec::new();
        }
        linked.names.iter().filter(|name| *name != path).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> RelPath {
        RelPath::new(name.as_bytes()).expect("a path")
    }

    fn file(inode: u64, size: u64) -> Fingerprint {
        Fingerprint { size, mtime_ns: 1, ctime_ns: 1, inode, btime_ns: 1, device: 1, mode: 0 }
    }

    #[test]
    fn a_state_concerns_the_other_names_once() {
        let mut linked = LinkedFiles::default();
        for name in ["a", "b", "c"] {
            linked.note(&path(name), &file(1, 1));
        }
        linked.note(&path("other"), &file(2, 1));
        assert_eq!(linked.others(&path("b"), &file(1, 2)), [path("a"), path("c")]);
        assert_eq!(linked.others(&path("a"), &file(1, 2)), []);
        assert_eq!(linked.others(&path("a"), &file(1, 3)), [path("b"), path("c")]);
    }

    #[test]
    fn a_name_belongs_to_one_file_and_goes_with_it() {
        let mut linked = LinkedFiles::default();
        for (name, inode) in [("a", 1), ("b", 1), ("c", 1), ("c", 2), ("d", 2)] {
            linked.note(&path(name), &file(inode, 1));
        }
        linked.forget(&path("b"));
        assert_eq!(linked.others(&path("a"), &file(1, 2)), []);
        assert_eq!(linked.others(&path("c"), &file(2, 2)), [path("d")]);
        for name in ["a", "c", "d"] {
            linked.forget(&path(name));
        }
        assert!(linked.files.is_empty() && linked.names.is_empty());
    }

    #[test]
    fn names_are_bounded() {
        let mut linked = LinkedFiles::default();
        for index in 0..=NAMES_MAX {
            linked.note(&path(&index.to_string()), &file(1, 1));
        }
        assert_eq!(linked.names.len(), NAMES_MAX);
        assert_eq!(linked.others(&path("0"), &file(1, 2)).len(), NAMES_MAX - 1);
    }
}
