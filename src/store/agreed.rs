//! Directories that agreed with the state in the last scan, each with a digest of its names and
//! files: the next scan need not read their rows.
//!
//! # Invariants
//!
//! - A digest covers what a walk saw and found in the state, file by file. It is removed as soon
//!   as a change at or below its directory is sent.
//! - A change that is sent during a scan keeps the scan from remembering the directories above
//!   it, because the scan may have read the rows before.
//! - In memory only. Without a digest, rows are compared one by one, as in the first scan of a
//!   process.

use super::{Change, Store};
use crate::model::RelPath;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Maximum number of remembered directories, about 32 bytes each; further ones are compared row by
/// row.
const DIRECTORIES_MAX: usize = 500_000;
/// Maximum number of directories that may change during one scan before it remembers no more.
const TOUCHED_MAX: usize = 65_536;

impl Store {
    /// The directories that agreed in the last scan.
    #[must_use]
    pub fn agreed(&self) -> &CleanDirs {
        &self.agreed
    }
}

/// The remembered directories. Cheap to clone: all clones share them.
#[derive(Debug, Clone, Default)]
pub struct CleanDirs {
    /// Random keys, so that a user cannot construct two directories with one digest.
    state: RandomState,
    memory: Arc<Mutex<CleanDigests>>,
}

#[derive(Debug, Default)]
struct CleanDigests {
    /// A digest of the settings: with another root generation or other patterns, the digests are
    /// invalid.
    about: u64,
    digests: HashMap<u64, u64, BuildHasherDefault<HashedKey>>,
    /// The directories changed since the running scan started; `None` without one.
    touched: Option<HashSet<u64, BuildHasherDefault<HashedKey>>>,
}

impl CleanDirs {
    /// The keys of digests.
    #[must_use]
    pub fn hasher(&self) -> &RandomState {
        &self.state
    }

    /// Starts a scan with a digest `about` its settings.
    pub fn begin(&self, about: u64) {
        let mut memory = self.lock();
        if memory.about != about {
            memory.digests.clear();
            memory.about = about;
        }
        memory.touched = Some(HashSet::default());
    }

    /// Ends the scan.
    pub fn end(&self) {
        self.lock().touched = None;
    }

    /// The digest with which everything in `directory` was as recorded, and nothing else was
    /// recorded below it.
    #[must_use]
    pub fn digest(&self, directory: &RelPath) -> Option<u64> {
        let key = self.key(directory.as_bytes());
        self.lock().digests.get(&key).copied()
    }

    /// Remembers it, unless a change was sent meanwhile.
    pub fn remember(&self, directory: &RelPath, digest: u64) {
        let key = self.key(directory.as_bytes());
        let mut memory = self.lock();
        let untouched = memory
            .touched
            .as_ref()
            .is_some_and(|touched| touched.len() < TOUCHED_MAX && !touched.contains(&key));
        if untouched
            && (memory.digests.len() < DIRECTORIES_MAX || memory.digests.contains_key(&key))
        {
            memory.digests.insert(key, digest);
        }
    }

    /// Removes the digests that `changes` invalidate, once these are sent: a later read of the rows
    /// sees the changes, and a scan with an earlier read is notified.
    pub(super) fn touched_by(&self, changes: &[Change]) -> TouchedDirs {
        let mut keys = Vec::new();
        let mut everything = false;
        for change in changes {
            match change {
                Change::Mirrored(path, _)
                | Change::Inherited(path, _)
                | Change::Found(path, ..)
                | Change::Replaced(path, _)
                | Change::Forgotten(path) => self.above(path, &mut keys),
                Change::Bound(_) | Change::Reviewed | Change::DeletesCancelled(_) => {
                    everything = true;
                }
                _ => {}
            }
        }
        TouchedDirs { keys, everything }
    }

    pub(super) fn touch(&self, touched: TouchedDirs) {
        if touched.keys.is_empty() && !touched.everything {
            return;
        }
        let mut memory = self.lock();
        if touched.everything {
            memory.digests.clear();
            memory.touched = None;
        }
        for key in touched.keys {
            memory.digests.remove(&key);
            if let Some(touched) = &mut memory.touched
                && touched.len() < TOUCHED_MAX
            {
                touched.insert(key);
            }
        }
    }

    /// Removes everything: the rows have changed.
    pub(super) fn forget(&self) {
        self.touch(TouchedDirs { keys: Vec::new(), everything: true });
    }

    /// The keys of the directories that contain `path`, the watched one included.
    fn above(&self, path: &RelPath, keys: &mut Vec<u64>) {
        let bytes = path.as_bytes();
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in std::iter::once(0).chain(ends) {
            keys.push(self.key(&bytes[..end]));
        }
    }

    fn key(&self, directory: &[u8]) -> u64 {
        self.state.hash_one(directory)
    }

    fn lock(&self) -> MutexGuard<'_, CleanDigests> {
        // The content is consistent after a panic: every change is one call.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The digests to remove.
#[derive(Debug)]
pub(super) struct TouchedDirs {
    keys: Vec<u64>,
    everything: bool,
}

/// Keys are already digests.
#[derive(Debug, Default)]
struct HashedKey(u64);

impl Hasher for HashedKey {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}
