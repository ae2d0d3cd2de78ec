//! Files with several names (hard links), and links that are followed. A write under one name gives no
//! event under the others, so they are inspected too.
//!
//! # Invariants
//!
//! - A state of a file makes its other names be inspected once, however often it is seen.
//! - An inspection of anything that a followed link depends on makes the link be inspected.
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
    fn from_fingerprint(fingerprint: &Fingerprint) -> Self {
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
    /// What each link depends on, and the links that depend on each of these paths.
    leads: HashMap<RelPath, Vec<RelPath>>,
    links: HashMap<RelPath, BTreeSet<RelPath>>,
    /// There was no room for a name, which has been said.
    full: bool,
}

impl LinkedFiles {
    /// `path` is a name of a file that has several.
    pub(super) fn note(&mut self, path: &RelPath, fingerprint: &Fingerprint) {
        let id = FileId::from_fingerprint(fingerprint);
        if self.names.get(path) == Some(&id) {
            return;
        }
        self.forget(path);
        if self.names.len() >= NAMES_MAX {
            self.report_full(path);
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

    fn report_full(&mut self, path: &RelPath) {
        if !std::mem::replace(&mut self.full, true) {
            tracing::warn!(
                event = "links.unfollowed",
                names = NAMES_MAX,
                file.path = %path,
                "too many hard links or followed links: of the rest, a change under one name reaches the \
                 others with the next comparison"
            );
        }
    }

    /// `link` depends on these paths from now on; on none if it is no link.
    pub(super) fn note_leads(&mut self, link: &RelPath, leads: &[RelPath]) {
        if self.leads.get(link).map_or(&[][..], Vec::as_slice) == leads {
            return;
        }
        for lead in self.leads.remove(link).unwrap_or_default() {
            if let Some(links) = self.links.get_mut(&lead) {
                links.remove(link);
                if links.is_empty() {
                    self.links.remove(&lead);
                }
            }
        }
        if leads.is_empty() {
            return;
        }
        if self.leads.len() >= NAMES_MAX {
            self.report_full(link);
            return;
        }
        self.leads.insert(link.clone(), leads.to_vec());
        for lead in leads {
            self.links.entry(lead.clone()).or_default().insert(link.clone());
        }
    }

    /// The links that depend on `path`.
    pub(super) fn links_by(&self, path: &RelPath) -> Vec<RelPath> {
        self.links.get(path).into_iter().flatten().cloned().collect()
    }

    /// The other names of the file that is in this state under `path`; none the second time.
    pub(super) fn others(&mut self, path: &RelPath, state: &Fingerprint) -> Vec<RelPath> {
        let Some(linked) = self.files.get_mut(&FileId::from_fingerprint(state)) else {
            return Vec::new();
        };
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
    fn a_link_is_known_by_all_that_it_depends_on_now() {
        let mut linked = LinkedFiles::default();
        linked.note_leads(&path("link"), &[path("chain"), path("file")]);
        linked.note_leads(&path("other"), &[path("file")]);
        assert_eq!(linked.links_by(&path("chain")), [path("link")]);
        assert_eq!(linked.links_by(&path("file")), [path("link"), path("other")]);
        linked.note_leads(&path("link"), &[path("another")]);
        assert_eq!(linked.links_by(&path("chain")), []);
        assert_eq!(linked.links_by(&path("file")), [path("other")]);
        linked.note_leads(&path("link"), &[]);
        linked.note_leads(&path("other"), &[]);
        assert!(linked.links.is_empty() && linked.leads.is_empty());
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
