//! Hints of other nodes within the loop.

use super::EffectRunner;
use crate::engine::Event;
use crate::hints::RemoteHint;
use crate::model::{Depth, Hint, RelPath};
use crate::plan::FileState;
use crate::root::Root;
use crate::transfer::ObjectStore;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

impl<S: ObjectStore> EffectRunner<S> {
    /// Has the paths inspected that are mirrored here.
    pub(super) fn take_remote(&mut self, mut hints: Vec<RemoteHint>) {
        let filter = Arc::clone(&self.parts.filter);
        hints.retain(|hint| match hint.hint() {
            Hint::Path(path, _) => filter.wants_file(&path),
            Hint::Tree(path, _) => filter.wants_directory(&path),
        });
        let hints = self.remote.take(hints, self.started.elapsed());
        self.inspect_remote(hints);
    }

    /// Has awaited paths inspected again. Returns when the next ones are due.
    pub(super) fn inspect_awaited(&mut self) -> Option<Duration> {
        let due = self.remote.take_due(self.started.elapsed());
        self.inspect_remote(due);
        self.remote.next_due()
    }

    /// Notes which awaited states are there.
    pub(super) fn note_inspections(&mut self, event: &Event) {
        let Event::Looked(looked) = event else { return };
        for (inspection, _) in looked {
            let file = match &inspection.observed {
                FileState::File(file) => Some((file.size, file.mtime_ns)),
                FileState::Absent => None,
                FileState::Unknown(_) => continue,
            };
            self.remote.inspected(&inspection.rested.path, file);
        }
    }

    /// Passes hints to the engine, after the caches of the mount were renewed where they lead to.
    fn inspect_remote(&mut self, hints: Vec<Hint>) {
        if hints.is_empty() {
            return;
        }
        let threads = Arc::clone(&self.parts.looking);
        let root = Arc::clone(&self.parts.root);
        self.tasks.spawn(async move {
            let renewed = threads.run(move || {
                renew_caches(&root, &hints);
                hints
            });
            // A panic is a bug, and was reported; sweeps find the paths.
            renewed.await.ok().map(Event::Hinted)
        });
    }
}

/// Asks the server for the attributes of the directories and files, so that the inspections see what the
/// other node has written. Blocks.
fn renew_caches(root: &Root, hints: &[Hint]) {
    if root.identity().is_local() {
        return;
    }
    let mut directories = BTreeSet::new();
    for hint in hints {
        let directory = match hint {
            Hint::Path(path, _) => path.parent().unwrap_or_else(RelPath::root),
            Hint::Tree(path, Depth::Entries | Depth::Whole) => path.clone(),
        };
        directories.insert(directory);
    }
    for directory in directories {
        // The inspection finds the same error.
        drop(root.look_at_directory(&directory));
    }
    for hint in hints {
        if let Hint::Path(path, _) = hint {
            root.renew_attributes(path);
        }
    }
}
