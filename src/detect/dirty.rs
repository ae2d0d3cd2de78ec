//! The places that may have changed and were not handed on yet.
//!
//! # Invariants
//!
//! - What was added is handed out, or something wider is: nothing is ever lost.
//! - Memory is bounded by [`HintBounds`], never by the number of events. Full means wider: the names of
//!   a directory become the directory, and the directories become the tree.
//! - Directories are handed out in the order in which they became dirty, so that a busy one does
//!   not hold back the others.

use crate::model::{Depth, Hint, RelPath, WriteState};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// When hints become wider.
#[derive(Debug, Clone, Copy)]
pub(super) struct HintBounds {
    /// Names in one directory, before it becomes "all its entries".
    pub(super) names: usize,
    /// Directories, before they become "the whole tree".
    pub(super) directories: usize,
    /// Bytes of all of it, before it becomes "the whole tree".
    pub(super) bytes: usize,
}

impl HintBounds {
    /// Generous for a burst on any tree, and below a tenth of a small container's memory.
    pub(super) const DEFAULT: Self =
        Self { names: 128, directories: 65_536, bytes: 24 * 1024 * 1024 };
}

/// What a name costs beside its bytes.
const NAME_BYTES: usize = 40;
/// What a directory costs beside its path.
const DIRECTORY_BYTES: usize = 160;

/// A set of hints that folds upward.
#[derive(Debug)]
pub(super) struct HintSet {
    bounds: HintBounds,
    whole: bool,
    directories: HashMap<RelPath, HintKind>,
    /// Every directory once, the one that has been dirty for longest first.
    order: VecDeque<RelPath>,
    bytes: usize,
}

#[derive(Debug)]
enum HintKind {
    Names(BTreeMap<Box<[u8]>, WriteState>),
    Entries,
    Whole,
}

impl HintSet {
    pub(super) fn new(bounds: HintBounds) -> Self {
        Self { bounds, whole: false, directories: HashMap::new(), order: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.whole && self.order.is_empty()
    }

    /// Adds `hint`.
    pub(super) fn add(&mut self, hint: Hint) {
        match hint {
            Hint::Path(path, activity) => match path.parent() {
                Some(directory) => self.add_name(directory, path.file_name(), activity),
                None => self.add_directory(path, HintKind::Entries),
            },
            Hint::Tree(path, Depth::Whole) if path.is_root() => self.whole = true,
            Hint::Tree(path, Depth::Whole) => self.add_directory(path, HintKind::Whole),
            Hint::Tree(path, Depth::Entries) => self.add_directory(path, HintKind::Entries),
        }
        let full = self.order.len() > self.bounds.directories || self.bytes > self.bounds.bytes;
        if full {
            *self = Self { whole: true, ..Self::new(self.bounds) };
        }
    }

    /// Hands out about `count` hints: the names of one directory stay together.
    pub(super) fn take(&mut self, count: usize) -> Vec<Hint> {
        let mut hints = Vec::new();
        if std::mem::take(&mut self.whole) {
            hints.push(Hint::Tree(RelPath::root(), Depth::Whole));
        }
        while hints.len() < count {
            let Some(directory) = self.order.pop_front() else { break };
            self.bytes -= weight_of(&directory);
            match self.directories.remove(&directory) {
                Some(HintKind::Names(names)) => {
                    self.bytes -= names.keys().map(|name| weight_of_name(name)).sum::<usize>();
                    hints.extend(names.into_iter().filter_map(|(name, activity)| {
                        // Always succeeds: the name was a path's last.
                        Some(Hint::Path(directory.join(&name).ok()?, activity))
                    }));
                }
                Some(HintKind::Entries) => hints.push(Hint::Tree(directory, Depth::Entries)),
                Some(HintKind::Whole) => hints.push(Hint::Tree(directory, Depth::Whole)),
                // Never: every directory in the order is among the directories.
                None => {}
            }
        }
        hints
    }

    fn add_name(&mut self, directory: RelPath, name: &[u8], activity: WriteState) {
        let HintKind::Names(names) = self.entry(directory.clone()) else { return };
        if let Some(known) = names.get_mut(name) {
            *known = latest(*known, activity);
            return;
        }
        names.insert(name.into(), activity);
        let count = names.len();
        self.bytes += weight_of_name(name);
        if count > self.bounds.names {
            self.add_directory(directory, HintKind::Entries);
        }
    }

    fn add_directory(&mut self, directory: RelPath, wider: HintKind) {
        let what = self.entry(directory);
        if matches!(what, HintKind::Whole) {
            return;
        }
        if let HintKind::Names(names) = std::mem::replace(what, wider) {
            self.bytes -= names.keys().map(|name| weight_of_name(name)).sum::<usize>();
        }
    }

    fn entry(&mut self, directory: RelPath) -> &mut HintKind {
        match self.directories.entry(directory) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                self.bytes += weight_of(new.key());
                self.order.push_back(new.key().clone());
                new.insert(HintKind::Names(BTreeMap::new()))
            }
        }
    }
}

/// What is known of a name after it was seen once more. The last event decides whether the file is
/// being written; a listing or a change of permissions says nothing about that.
fn latest(known: WriteState, now: WriteState) -> WriteState {
    if now == WriteState::Found { known } else { now }
}

fn weight_of(directory: &RelPath) -> usize {
    directory.as_bytes().len() + DIRECTORY_BYTES
}

fn weight_of_name(name: &[u8]) -> usize {
    name.len() + NAME_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALL: HintBounds = HintBounds { names: 3, directories: 4, bytes: 2_000 };

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).expect("a proper path")
    }

    fn covers(taken: &Hint, added: &Hint) -> bool {
        let below = match added {
            Hint::Path(path, _) | Hint::Tree(path, _) => path,
        };
        match (taken, added) {
            (Hint::Tree(dir, Depth::Whole), _) => below.is_within(dir),
            (Hint::Tree(dir, Depth::Entries), Hint::Path(path, _)) => {
                path.is_root() || path.parent().as_ref() == Some(dir)
            }
            (Hint::Path(taken, _), Hint::Path(added, _)) => taken == added,
            (Hint::Tree(taken, Depth::Entries), Hint::Tree(added, Depth::Entries)) => {
                taken == added
            }
            _ => false,
        }
    }

    #[test]
    fn the_last_event_decides_whether_a_file_is_being_written() {
        use WriteState::{Done, Found, Gone, Writing};
        for (events, expected) in [
            (&[Writing, Done][..], Done),
            (&[Done, Writing], Writing),
            (&[Writing, Found], Writing),
            (&[Done, Found], Done),
            (&[Found, Writing], Writing),
            (&[Found, Done], Done),
            (&[Done, Gone], Gone),
            (&[Gone, Found], Gone),
            (&[Gone, Found, Writing, Done], Done),
        ] {
            let mut dirty = HintSet::new(HintBounds::DEFAULT);
            for &activity in events {
                dirty.add(Hint::Path(path("a/b"), activity));
            }
            assert_eq!(dirty.take(9), [Hint::Path(path("a/b"), expected)], "{events:?}");
            assert!(dirty.is_empty());
        }
    }

    #[test]
    fn full_means_wider() {
        let mut dirty = HintSet::new(SMALL);
        for name in ["d/1", "d/2", "d/3", "d/4"] {
            dirty.add(Hint::Path(path(name), WriteState::Done));
        }
        assert_eq!(dirty.take(9), [Hint::Tree(path("d"), Depth::Entries)]);
        for directory in ["1/x", "2/x", "3/x", "4/x", "5/x"] {
            dirty.add(Hint::Path(path(directory), WriteState::Done));
        }
        assert_eq!(dirty.take(9), [Hint::Tree(RelPath::root(), Depth::Whole)]);
        let long = "n".repeat(2_000);
        dirty.add(Hint::Path(path(&long), WriteState::Done));
        assert_eq!(dirty.take(9), [Hint::Tree(RelPath::root(), Depth::Whole)]);
        assert_eq!(dirty.bytes, 0);
    }

    #[test]
    fn a_busy_directory_does_not_hold_back_the_others() {
        let mut dirty = HintSet::new(HintBounds::DEFAULT);
        dirty.add(Hint::Path(path("b/x"), WriteState::Done));
        dirty.add(Hint::Path(path("a/x"), WriteState::Done));
        assert_eq!(dirty.take(1), [Hint::Path(path("b/x"), WriteState::Done)]);
        dirty.add(Hint::Path(path("b/x"), WriteState::Done));
        assert_eq!(dirty.take(1), [Hint::Path(path("a/x"), WriteState::Done)]);
    }

    fn any_hint() -> impl Strategy<Value = Hint> {
        let any_path = "([a-c](/[a-d]){0,2})?";
        (any_path, 0..5_usize).prop_map(|(text, kind)| match kind {
            0 => Hint::Path(path(&text), WriteState::Done),
            1 => Hint::Path(path(&text), WriteState::Found),
            2 => Hint::Path(path(&text), WriteState::Writing),
            3 => Hint::Tree(path(&text), Depth::Entries),
            _ => Hint::Tree(path(&text), Depth::Whole),
        })
    }

    proptest! {
        /// Hints are added one by one, with a batch taken whenever a step says so.
        #[test]
        fn nothing_is_lost_and_memory_is_bounded(
            steps in proptest::collection::vec((any_hint(), 0..6_usize), 0..60),
            names in 1..4_usize, directories in 1..5_usize, bytes in 200..3_000_usize,
        ) {
            let bounds = HintBounds { names, directories, bytes };
            let mut dirty = HintSet::new(bounds);
            let mut owed: Vec<Hint> = Vec::new();
            let settle = |owed: &mut Vec<Hint>, taken: &[Hint]| {
                owed.retain(|added| !taken.iter().any(|taken| covers(taken, added)));
            };
            for (hint, take) in steps {
                owed.push(hint.clone());
                dirty.add(hint);
                prop_assert!(dirty.order.len() <= directories && dirty.bytes <= bytes);
                prop_assert_eq!(dirty.order.len(), dirty.directories.len());
                if take < 3 {
                    let taken = dirty.take(take);
                    prop_assert!(taken.len() <= take.max(1) + names);
                    settle(&mut owed, &taken);
                }
            }
            settle(&mut owed, &dirty.take(usize::MAX));
            prop_assert!(owed.is_empty(), "{:?}", owed);
            prop_assert!(dirty.is_empty() && dirty.bytes == 0);
        }
    }
}
