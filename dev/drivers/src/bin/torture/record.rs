//! The daemon's state directory is lost or turned back, and what may be left in the bucket for it.
//!
//! # Invariant
//!
//! - An object that no state knows may remain: it was there when the state was lost, or came after
//!   the copy that the state was turned back to, under a new name or in the place of another object,
//!   and was not stored since.

use crate::stage::Stage;
use crate::target::Target;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

#[derive(Debug, Default)]
pub(crate) struct Record {
    /// With the number of the last change before.
    unrecorded: BTreeMap<String, u64>,
    uploads: BTreeSet<(String, String)>,
    /// The objects in the copy, if there is one, by the number of their version.
    copied: Option<BTreeMap<String, u64>>,
    pub(crate) wipes: u64,
    pub(crate) rollbacks: u64,
}

impl Record {
    /// Whether `key` may be left over.
    pub(crate) fn may_remain(&self, key: &str) -> bool {
        self.unrecorded.contains_key(key)
    }

    /// Whether an upload may be left over.
    pub(crate) fn may_linger(&self, upload: &(String, String)) -> bool {
        self.uploads.contains(upload)
    }

    /// A version was stored, and so is recorded by the daemon that stored it.
    pub(crate) fn stored(&mut self, key: &str, sequence: u64) {
        if self.unrecorded.get(key).is_some_and(|before| *before < sequence) {
            self.unrecorded.remove(key);
        }
    }

    /// Nothing that is in the bucket now need be known to any record.
    pub(crate) fn lose(&mut self, target: &Target) {
        let last = target.last_sequence();
        let keys = target.objects().into_keys();
        self.unrecorded.extend(keys.map(|key| (key, last)));
        self.uploads.extend(target.uploads());
    }

    /// The watched directory was another one meanwhile: earlier copies describe something else.
    pub(crate) fn forget_copy(&mut self) {
        self.copied = None;
    }

    /// Loses the state while the daemon is stopped.
    pub(crate) fn wipe(&mut self, stage: &Stage, target: &Target) -> io::Result<()> {
        target.settle()?;
        fs::remove_dir_all(stage.workspace.state())?;
        fs::create_dir(stage.workspace.state())?;
        self.lose(target);
        self.wipes += 1;
        Ok(())
    }

    /// Copies the state while the daemon is stopped, or turns it back to the copy there is.
    pub(crate) fn copy_or_roll_back(&mut self, stage: &Stage, target: &Target) -> io::Result<()> {
        target.settle()?;
        let objects = target.objects().into_iter();
        let objects = objects.map(|(key, object)| (key, object.sequence));
        let Some(copied) = self.copied.take() else {
            copy(&stage.workspace.state(), &stage.copy_of_state())?;
            self.copied = Some(objects.filter(|(key, _)| !self.may_remain(key)).collect());
            return Ok(());
        };
        copy(&stage.copy_of_state(), &stage.workspace.state())?;
        let last = target.last_sequence();
        // One that replaced an object of the copy looks foreign.
        let unknown = objects.filter(|(key, sequence)| copied.get(key) != Some(sequence));
        self.unrecorded.extend(unknown.map(|(key, _)| (key, last)));
        self.uploads.extend(target.uploads());
        self.rollbacks += 1;
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if fs::symlink_metadata(to).is_ok() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
