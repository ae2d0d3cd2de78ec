//! The changes that wait to be sent: pure.

use crate::hints::{RemoteChange, RemoteHint};
use crate::model::{Depth, Hint, RelPath, WriteState};
use std::collections::BTreeMap;

/// Maximum number of names that wait. Beyond it, their directories do.
const NAMES_MAX: usize = 10_000;
/// Maximum number of directories that wait. Beyond it, the tree does.
const DIRECTORIES_MAX: usize = 1_000;

/// What waits. A full buffer widens: names → directories → tree.
#[derive(Debug, Default)]
pub struct RelayBuffer {
    names: BTreeMap<RelPath, RemoteChange>,
    directories: BTreeMap<RelPath, RemoteChange>,
}

impl RelayBuffer {
    /// Adds what an event has reported.
    pub fn add(&mut self, hint: &Hint) {
        match hint {
            Hint::Path(path, state) => {
                let change = match state {
                    WriteState::Done => RemoteChange::Closed,
                    WriteState::Gone => RemoteChange::Deleted,
                    WriteState::Found | WriteState::Writing => RemoteChange::Written,
                };
                self.add_change(path.clone(), change);
            }
            Hint::Tree(path, Depth::Entries) => {
                self.add_change(path.clone(), RemoteChange::Entries);
            }
            Hint::Tree(path, Depth::Whole) => self.add_change(path.clone(), RemoteChange::Tree),
        }
    }

    fn add_change(&mut self, path: RelPath, change: RemoteChange) {
        if matches!(change, RemoteChange::Entries | RemoteChange::Tree) {
            let known = self.directories.entry(path).or_insert(change);
            *known = change.max(*known);
        } else {
            self.names.insert(path, change);
        }
        if self.names.len() > NAMES_MAX {
            for path in std::mem::take(&mut self.names).into_keys() {
                let parent = path.parent().unwrap_or_else(RelPath::root);
                self.directories.entry(parent).or_insert(RemoteChange::Entries);
            }
        }
        if self.directories.len() > DIRECTORIES_MAX {
            self.directories = BTreeMap::from([(RelPath::root(), RemoteChange::Tree)]);
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.directories.is_empty()
    }

    /// Takes at most `count` changes.
    pub fn take(&mut self, count: usize) -> Vec<RemoteHint> {
        let mut taken = Vec::new();
        for waiting in [&mut self.directories, &mut self.names] {
            while taken.len() < count
                && let Some((path, change)) = waiting.pop_first()
            {
                taken.push(RemoteHint { path, change, seen: None });
            }
        }
        taken
    }

    /// Adds changes that could not be sent. What is known of a path meanwhile is newer.
    pub fn put_back(&mut self, unsent: Vec<RemoteHint>) {
        for RemoteHint { path, change, .. } in unsent {
            if !self.names.contains_key(&path) {
                self.add_change(path, change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> RelPath {
        RelPath::new(name.as_bytes()).expect("a path")
    }

    /// Whether an inspection of `taken` finds a change of `name`.
    fn covers(taken: &[RemoteHint], name: &RelPath) -> bool {
        taken.iter().any(|hint| match hint.change {
            RemoteChange::Tree => name.is_within(&hint.path),
            RemoteChange::Entries => name.parent().as_ref() == Some(&hint.path),
            _ => hint.path == *name,
        })
    }

    #[test]
    fn a_full_buffer_widens_and_forgets_no_change() {
        let mut buffer = RelayBuffer::default();
        for count in [5, 20_000, 60_000] {
            let names: Vec<_> =
                (0..count).map(|index| path(&format!("d{}/f{index}", index % 2_000))).collect();
            for name in &names {
                buffer.add(&Hint::Path(name.clone(), WriteState::Done));
                assert!(buffer.names.len() <= NAMES_MAX);
                assert!(buffer.directories.len() <= DIRECTORIES_MAX);
            }
            let unsent = buffer.take(1_000);
            buffer.put_back(unsent);
            let mut taken = Vec::new();
            while !buffer.is_empty() {
                taken.extend(buffer.take(1_000));
            }
            assert!(names.iter().all(|name| covers(&taken, name)), "{count}");
        }
    }

    #[test]
    fn the_latest_change_of_a_name_counts() {
        let mut buffer = RelayBuffer::default();
        buffer.add(&Hint::Path(path("a"), WriteState::Done));
        let unsent = buffer.take(10);
        buffer.add(&Hint::Path(path("a"), WriteState::Gone));
        buffer.put_back(unsent);
        let taken = buffer.take(10);
        assert_eq!(
            taken.iter().map(|hint| hint.change).collect::<Vec<_>>(),
            [RemoteChange::Deleted]
        );
    }
}
