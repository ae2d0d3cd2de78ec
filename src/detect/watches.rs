//! The watches of all directories: the index and the instances, kept in step.
//!
//! # Invariant
//!
//! An instance receives the end of a watch before the next watch is requested, so that a path is
//! never requested while its instance still has a watch for it (see [`Index`]).

use super::index::{Index, WatchCounts, WatchState};
use super::instances::{InotifyInstances, WatchRefusal, watch};
use crate::model::RelPath;
use notify::PathOp;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Who watches what.
pub(super) struct Watches {
    /// The path of the watched directory.
    root: PathBuf,
    instances: InotifyInstances,
    index: Index,
    /// Watches to end, by instance. Their directories are not in the index any more.
    ending: BTreeMap<usize, Vec<PathOp>>,
}

impl Watches {
    pub(super) fn new(root: PathBuf, instances: InotifyInstances) -> Self {
        Self { root, instances, index: Index::default(), ending: BTreeMap::new() }
    }

    /// Requests a watch for each directory, and ends the one that its path had. Those that get none
    /// are known as such afterwards.
    pub(super) fn request(&mut self, directories: &[RelPath]) {
        for directory in directories {
            if let Some(cover) = self.index.remove(directory) {
                self.end(directory, cover);
            }
        }
        let mut operations = std::mem::take(&mut self.ending);
        for directory in directories {
            match self.instances.assign() {
                Some(instance) => {
                    self.index.insert(directory.clone(), WatchState::Watched(instance));
                    let operation = watch(self.absolute(directory), directory.is_root());
                    operations.entry(instance).or_default().push(operation);
                }
                None => self.index.insert(directory.clone(), WatchState::Unwatched),
            }
        }
        for (instance, operations) in operations {
            for (path, refusal) in self.instances.apply(instance, operations) {
                self.refused(&path, instance, refusal);
            }
        }
    }

    /// Takes a directory and all below it out of the index and ends their watches, with the next
    /// request at the latest.
    pub(super) fn forget(&mut self, directory: &RelPath) {
        for (path, cover) in self.index.remove_subtree(directory) {
            self.end(&path, cover);
        }
    }

    /// Ends the watches of what was forgotten.
    pub(super) fn flush(&mut self) {
        if !self.ending.is_empty() {
            self.request(&[]);
        }
    }

    /// Notes that a directory has no watch.
    pub(super) fn give_up(&mut self, directory: RelPath, cover: WatchState) {
        self.index.insert(directory, cover);
    }

    pub(super) fn cover(&self, directory: &RelPath) -> Option<WatchState> {
        self.index.get(directory)
    }

    pub(super) fn know_of(&self, directory: &RelPath) -> bool {
        self.index.knows_of(directory)
    }

    pub(super) fn poor(&self, after: Option<&RelPath>, count: usize) -> Vec<RelPath> {
        self.index.poor(after, count)
    }

    pub(super) fn counts(&self) -> WatchCounts {
        self.index.counts()
    }

    pub(super) fn instances(&self) -> usize {
        self.instances.len()
    }

    /// Lets directories be tried again that got no watch.
    pub(super) fn try_again(&mut self) {
        self.instances.try_again();
    }

    /// Ends everything, and waits until the kernel has its watches back.
    pub(super) fn close(&mut self) {
        self.instances.close();
        self.index = Index::default();
        self.ending.clear();
    }

    fn refused(&mut self, path: &Path, instance: usize, refusal: WatchRefusal) {
        self.instances.release(instance);
        let below = path.strip_prefix(&self.root).map(|path| path.as_os_str().as_bytes());
        // Never fails: it is one of our own paths.
        let Some(directory) = below.ok().and_then(|path| RelPath::new(path).ok()) else { return };
        let cover = match refusal {
            WatchRefusal::Denied => WatchState::Unreadable,
            WatchRefusal::Other => WatchState::Unwatched,
        };
        self.index.insert(directory, cover);
    }

    fn end(&mut self, directory: &RelPath, cover: WatchState) {
        if let WatchState::Watched(instance) = cover {
            let operation = PathOp::Unwatch(self.absolute(directory));
            self.ending.entry(instance).or_default().push(operation);
            self.instances.release(instance);
            self.instances.freed();
        }
    }

    fn absolute(&self, directory: &RelPath) -> PathBuf {
        if directory.is_root() { self.root.clone() } else { self.root.join(directory.as_path()) }
    }
}
