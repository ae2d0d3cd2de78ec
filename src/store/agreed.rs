//! Directories that were as the record says when they were last compared, each by a digest of its
//! names and of what was seen of its files: the next comparison need not read their rows.
//!
//! # Invariants
//!
//! - A digest is of what a walk saw and found in the record, file by file. It is gone as soon as
//!   anything recorded at or below its directory is handed in anew.
//! - What is handed in while a comparison is under way keeps it from remembering the directories above:
//!   it may have read the rows before.
//! - In memory only. Who has lost it compares row by row, as the first comparison of a process does.

use super::{Change, Store};
use crate::model::RelPath;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Directories that are remembered, some 32 bytes each; those beyond are compared row by row.
const DIRECTORIES_MAX: usize = 500_000;
/// Directories that may change during one comparison, before it remembers no more.
const TOUCHED_MAX: usize = 65_536;

impl Store {
    /// Directories that were as recorded when they were last compared.
    #[must_use]
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }
}

/// What is remembered. Cheap to clone: all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Agreed {
    /// Of names nobody can foresee, so that no two directories can be made to have one digest.
    state: RandomState,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    /// What else the digests hold for: another epoch, other patterns, and they mean nothing.
    about: u64,
    digests: HashMap<u64, u64, BuildHasherDefault<Hashed>>,
    /// What was handed in since the comparison that is under way began; `None` without one.
    touched: Option<HashSet<u64, BuildHasherDefault<Hashed>>>,
}

impl Agreed {
    /// What digests are made with.
    #[must_use]
    pub fn hasher(&self) -> &RandomState {
        &self.state
    }

    /// A comparison begins, which knows its directories `about` these settings.
    pub fn begin(&self, about: u64) {
        let mut memory = self.lock();
        if memory.about != about {
            memory.digests.clear();
            memory.about = about;
        }
        memory.touched = Some(HashSet::default());
    }

    /// It has ended.
    pub fn end(&self) {
        self.lock().touched = None;
    }

    /// The digest under which everything in `directory` was as recorded, and nothing was recorded
    /// below it that is not there.
    #[must_use]
    pub fn of(&self, directory: &RelPath) -> Option<u64> {
        let key = self.key(directory.as_bytes());
        self.lock().digests.get(&key).copied()
    }

    /// Remembers that, unless something was handed in meanwhile.
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

    /// Forgets what `changes` make untrue, once they are handed in: whoever reads the rows behind
    /// them sees them, and whoever read them before is told.
    pub(super) fn touched_by(&self, changes: &[Change]) -> Touched {
        let mut keys = Vec::new();
        let mut everything = false;
        for change in changes {
            match change {
                Change::Mirrored(path, _)
                | Change::Inherited(path, _)
                | Change::Found(path, ..)
                | Change::Forgotten(path) => self.above(path, &mut keys),
                Change::Bound(_) | Change::Reviewed => everything = true,
                _ => {}
            }
        }
        Touched { keys, everything }
    }

    pub(super) fn touch(&self, touched: Touched) {
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

    /// The keys of the directories `path` lies in, the watched one included.
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

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // What a panicking thread left behind is whole: every change is one call.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be forgotten.
#[derive(Debug)]
pub(super) struct Touched {
    keys: Vec<u64>,
    everything: bool,
}

/// Keys are digests already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
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
