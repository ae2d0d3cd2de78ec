//! What is wanted of a path, from a look at it: for the engine, and for its preview.

use super::Settings;
use crate::model::{Operation, Pending, RelPath, UnixMillis, Version};
use crate::plan::{Decision, Observed, plan};
use crate::store::Known;

/// What is wanted of a path.
pub(super) enum Wanted {
    /// This row, and why.
    Do(Pending, &'static str),
    /// Nothing; what waits is void.
    Nothing,
    /// This row, and why if anything is to be done at all; then why nothing can be until the file
    /// changes.
    Leave(Pending, Option<&'static str>, String),
}

impl Settings {
    /// What the object of `path` has to look like, where that is asked for.
    pub(super) fn head(&self, path: &RelPath) -> Option<u64> {
        self.reapply.as_ref().map(|rules| rules.head(path).digest())
    }

    pub(super) fn plan(&self, path: &RelPath, observed: &Observed, known: &Known) -> Decision {
        let (mirrored, pending) = (known.mirrored.as_ref(), known.pending.as_ref());
        plan(observed, mirrored, pending, self.head(path), self.policy)
    }

    /// Decides about a path of which something was heard at `since`.
    pub(super) fn wanted(
        &self,
        path: &RelPath,
        observed: &Observed,
        known: &Known,
        since: UnixMillis,
    ) -> Wanted {
        let row = |operation, version| Pending::new(path.clone(), operation, version, since);
        match self.plan(path, observed, known) {
            Decision::Do(operation, reason) => {
                let version = match observed {
                    Observed::File(fingerprint) => Version::of(fingerprint),
                    Observed::Absent | Observed::Unknown(_) => Version::default(),
                };
                let mut wish = row(operation, version);
                match operation {
                    Operation::Put => wish.copy_from.clone_from(&known.twin),
                    Operation::Delete => wish.moved = known.twin.is_some(),
                }
                match self.prefix.key(path) {
                    Ok(_) => Wanted::Do(wish, reason),
                    Err(error) => Wanted::Leave(wish, Some(reason), error.to_string()),
                }
            }
            Decision::Nothing(_) => Wanted::Nothing,
            Decision::Wait => {
                let why = match observed {
                    Observed::Unknown(why) => why.clone(),
                    Observed::File(_) | Observed::Absent => String::new(),
                };
                let pending = known.pending.as_ref();
                let operation = pending.map_or(Operation::Put, |pending| pending.operation);
                let version = pending.map(|pending| pending.version).unwrap_or_default();
                Wanted::Leave(row(operation, version), None, why)
            }
        }
    }
}
