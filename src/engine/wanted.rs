//! What is wanted of a path, from a look at it: for the engine, and for its preview.

use super::EngineSettings;
use crate::model::{Operation, QueueRow, RelPath, UnixMillis, Version, WATCHED_DIRECTORY_EMPTY};
use crate::plan::{Decision, FileState, plan};
use crate::store::RecordedState;
use std::time::Duration;

/// What is wanted of a path.
pub(super) enum PlannedChange {
    /// This row, and why.
    Do(QueueRow, &'static str),
    /// Nothing; what waits is void.
    Nothing,
    /// This row, and why, if there is anything to do; then why nothing can be done until the file
    /// changes.
    Leave(QueueRow, Option<&'static str>, String),
    /// This row, and why, but not before this time has passed.
    Later(QueueRow, &'static str, Duration),
}

impl EngineSettings {
    /// What the object of `path` has to look like, where that is asked for.
    pub(super) fn head(&self, path: &RelPath) -> Option<u64> {
        self.reapply.as_ref().map(|rules| rules.head(path).digest())
    }

    /// The time until a file is old enough to be sent, if it is not.
    fn younger_by(&self, observed: &FileState, now_ns: i64) -> Option<Duration> {
        let FileState::File(fingerprint) = observed else { return None };
        fingerprint.is_younger_by(self.min_age, now_ns)
    }

    pub(super) fn plan(
        &self,
        path: &RelPath,
        observed: &FileState,
        known: &RecordedState,
    ) -> Decision {
        let mirrored = known.mirrored.as_ref();
        let pending = known.pending.as_ref();
        plan(observed, mirrored, pending, self.head(path), self.policy)
    }

    /// Decides about a path of which something was heard at `since`; `now_ns` is the wall clock at its
    /// inspection.
    pub(super) fn wanted(
        &self,
        path: &RelPath,
        observed: &FileState,
        known: &RecordedState,
        since: UnixMillis,
        now_ns: i64,
    ) -> PlannedChange {
        let row =
            |operation, version: Version| QueueRow::new(path.clone(), operation, version, since);
        match self.plan(path, observed, known) {
            Decision::Do(operation, reason) => {
                let version = match observed {
                    FileState::File(fingerprint) => Version::from_fingerprint(fingerprint),
                    FileState::Absent | FileState::Unknown(_) => Version::default(),
                };
                let mut wish = row(operation, version);
                match operation {
                    Operation::Put => wish.copy_from.clone_from(&known.other_path),
                    Operation::Delete => wish.moved = known.other_path.is_some(),
                }
                let size = (operation == Operation::Put).then_some(version.size);
                if let Some(why) = size.and_then(|size| self.largest.refuses(size)) {
                    return PlannedChange::Leave(wish, Some(reason), why.to_owned());
                }
                if let Err(error) = self.prefix.key(path) {
                    return PlannedChange::Leave(wish, Some(reason), error.to_string());
                }
                match self.younger_by(observed, now_ns) {
                    Some(left) if operation == Operation::Put => {
                        PlannedChange::Later(wish, reason, left)
                    }
                    _ => PlannedChange::Do(wish, reason),
                }
            }
            Decision::Nothing(_) => PlannedChange::Nothing,
            Decision::Wait => {
                let why = match observed {
                    FileState::Unknown(why) => why.clone(),
                    FileState::File(_) | FileState::Absent => String::new(),
                };
                let pending = known.pending.as_ref();
                if why == WATCHED_DIRECTORY_EMPTY {
                    match self.plan(path, &FileState::Absent, known) {
                        // The delete that follows if it is empty on purpose.
                        Decision::Do(operation, _) => {
                            let mut wish = row(operation, Version::default());
                            wish.moved = known.other_path.is_some();
                            return PlannedChange::Leave(wish, None, why);
                        }
                        // Nothing would be deleted, whatever the reason is.
                        Decision::Nothing(_) | Decision::Wait => return PlannedChange::Nothing,
                    }
                }
                let operation = pending.map_or(Operation::Put, |pending| pending.operation);
                let version = pending.map(|pending| pending.version).unwrap_or_default();
                PlannedChange::Leave(row(operation, version), None, why)
            }
        }
    }
}
