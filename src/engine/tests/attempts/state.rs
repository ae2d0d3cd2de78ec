//! The state of the attempts: a real one, and what it says of the few names of the test.

use crate::model::{ObjectRecord, OverlapSign, RelPath, RootGeneration, Shard, UploadRecord};
use crate::store::{Change, StateBinding, StateLookup, Store};
use std::collections::BTreeMap;
use std::mem;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use tempfile::TempDir;

/// A file system in memory, where a commit costs next to nothing.
const MEMORY: &str = "/dev/shm";

/// What the state says of the bucket, for each name.
#[derive(Debug, Default)]
pub(super) struct NamedRecords {
    pub(super) mirrored: BTreeMap<RelPath, ObjectRecord>,
    pub(super) uploads: BTreeMap<RelPath, UploadRecord>,
    /// Sizes of objects that were there when the state was new.
    pub(super) listed: BTreeMap<RelPath, u64>,
}

/// A state in a directory of its own.
pub(super) struct TestState {
    pub(super) store: Store,
    names: Vec<RelPath>,
    named: Mutex<NamedRecords>,
    /// Changes that are in `named`, and not in the store yet.
    unwritten: Mutex<Vec<Change>>,
    _directory: TempDir,
}

impl TestState {
    /// Creates an empty state.
    pub(super) fn new(names: Vec<RelPath>, epoch: RootGeneration) -> Self {
        let directory = match Path::new(MEMORY).is_dir() {
            true => tempfile::tempdir_in(MEMORY),
            false => tempfile::tempdir(),
        };
        let directory = directory.expect("a directory");
        let opened = Store::open(directory.path(), "bucket", Shard::default(), 0).expect("a state");
        Self {
            store: opened.store,
            names,
            named: Mutex::default(),
            unwritten: Mutex::new(vec![Change::Bound(binding(epoch, false))]),
            _directory: directory,
        }
    }

    pub(super) fn recorded(&self) -> MutexGuard<'_, NamedRecords> {
        self.named.lock().expect("sound")
    }

    pub(super) fn record(&self, path: &RelPath) -> Option<ObjectRecord> {
        self.recorded().mirrored.get(path).cloned()
    }

    /// Adds a change, which is written by the next [`sync`](Self::sync).
    pub(super) fn add(&self, change: Change) {
        match &change {
            Change::Mirrored(path, row) => {
                let mut recorded = self.recorded();
                recorded.listed.remove(path);
                recorded.mirrored.insert(path.clone(), row.clone());
            }
            Change::Forgotten(path) => drop(self.recorded().mirrored.remove(path)),
            _ => {}
        }
        self.unwritten.lock().expect("sound").push(change);
    }

    /// Writes what was added, and reads what others have written.
    pub(super) async fn sync(&self) {
        let changes = mem::take(&mut *self.unwritten.lock().expect("sound"));
        self.store.write(changes).await.expect("written");
        let questions = self.names.iter().cloned().map(StateLookup::with_bucket).collect();
        let known = self.store.known(questions).await.expect("read");
        let mut named = NamedRecords::default();
        for (path, known) in self.names.iter().zip(known) {
            named.mirrored.extend(known.mirrored.map(|row| (path.clone(), row)));
            named.uploads.extend(known.upload.map(|upload| (path.clone(), upload)));
            named.listed.extend(known.listed.map(|size| (path.clone(), size)));
        }
        *self.recorded() = named;
    }
}

/// The binding of a state of this directory.
pub(super) fn binding(epoch: RootGeneration, listed: bool) -> StateBinding {
    StateBinding {
        target: "bucket".into(),
        source: "here".into(),
        origin: None,
        epoch,
        owner: "us".into(),
        listed,
        takeover_pending: false,
        probed: None,
        overlap: OverlapSign::Nothing,
    }
}
