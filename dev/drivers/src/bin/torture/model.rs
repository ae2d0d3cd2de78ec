//! What one writer has made: its files with their contents, and what stands there besides.
//!
//! A writer is alone below its directory, so this is exact.

use crate::states::Content;
use file_sync_dev_s3::now;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A daemon that heard of a path less than this ago may still be about to look at it.
const RECENT: Duration = Duration::from_millis(2500);
/// Beyond this, times that have become meaningless are forgotten.
const TOUCHED_MAX: usize = 10_000;

/// The bytes of a file; shared by its names.
pub(crate) type Bytes = Rc<RefCell<Vec<u8>>>;

#[derive(Debug, Default)]
pub(crate) struct Model {
    files: BTreeMap<String, Bytes>,
    /// Links and FIFOs: nothing may be written to or below them.
    odd: BTreeSet<String>,
    touched: HashMap<String, Instant>,
}

impl Model {
    pub(crate) fn file(&self, path: &str) -> Option<&Bytes> {
        self.files.get(path)
    }

    pub(crate) fn paths(&self) -> Vec<&String> {
        self.files.keys().collect()
    }

    /// Whether a link or a FIFO stands at `path` or above it.
    pub(crate) fn is_odd(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        ends.filter_map(|at| path.get(..at)).any(|above| self.odd.contains(above))
    }

    /// All names of a file.
    pub(crate) fn names(&self, bytes: &Bytes) -> Vec<String> {
        let same = self.files.iter().filter(|(_, other)| Rc::ptr_eq(bytes, other));
        same.map(|(name, _)| name.clone()).collect()
    }

    /// Whether something happened to one of these names a moment ago.
    pub(crate) fn is_fresh(&self, names: &[String]) -> bool {
        let fresh = |at: &Instant| now().saturating_duration_since(*at) < RECENT;
        names.iter().any(|name| self.touched.get(name).is_some_and(fresh))
    }

    /// Something happens to this name.
    pub(crate) fn touch(&mut self, path: &str) {
        if self.touched.len() >= TOUCHED_MAX {
            self.touched.retain(|_, at| now().saturating_duration_since(*at) < RECENT);
        }
        self.touched.insert(path.to_owned(), now());
    }

    pub(crate) fn set_file(&mut self, path: &str, bytes: Bytes) {
        self.touch(path);
        self.odd.remove(path);
        self.files.insert(path.to_owned(), bytes);
    }

    pub(crate) fn set_odd(&mut self, path: &str) {
        self.touch(path);
        self.files.remove(path);
        self.odd.insert(path.to_owned());
    }

    /// `path` and all below it is gone.
    pub(crate) fn forget(&mut self, path: &str) {
        for (name, _) in self.below(path) {
            self.touch(&name);
            self.files.remove(&name);
        }
        self.odd.retain(|name| !is_below(name, path));
        self.touch(path);
    }

    /// `from` and all below it is called `to` now.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let renamed = |name: &str| name.strip_prefix(from).map(|rest| format!("{to}{rest}"));
        let moved = self.below(from);
        let odd: Vec<_> = self.odd.iter().filter(|name| is_below(name, from)).cloned().collect();
        self.forget(to);
        self.forget(from);
        for (name, bytes) in moved {
            self.touch(&name);
            if let Some(name) = renamed(&name) {
                self.set_file(&name, bytes);
            }
        }
        self.odd.extend(odd.iter().filter_map(|name| renamed(name)));
    }

    /// The files at and below `path`, with what they hold.
    pub(crate) fn below(&self, path: &str) -> Vec<(String, Bytes)> {
        let below = self.files.iter().filter(|(name, _)| is_below(name, path));
        below.map(|(name, bytes)| (name.clone(), Rc::clone(bytes))).collect()
    }
}

fn is_below(name: &str, path: &str) -> bool {
    name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a file holds now.
pub(crate) fn content(bytes: &Bytes) -> Content {
    Content::of(&bytes.borrow())
}
