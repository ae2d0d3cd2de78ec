//! What follows from hints of other nodes, and when: pure.

use super::wire::{RemoteChange, RemoteHint};
use crate::model::{Depth, Hint, RelPath, WriteState};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// Maximum number of paths of which the state is awaited. Sweeps find the others.
const AWAITED_MAX: usize = 16_384;
/// The first pause between two inspections of an awaited path; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// The time after which the state of a path is no longer awaited: longer than attributes are cached.
const AWAITED_TIME: Duration = Duration::from_secs(120);
/// Maximum number of directories that wait for a scan. Beyond it, the tree waits.
const DIRECTORIES_MAX: usize = 1_024;
/// The time between two scans of directories because of hints, so that they cannot keep scans running.
const SCAN_PAUSE: Duration = Duration::from_secs(30);

/// Hints that are not done with.
#[derive(Debug, Default)]
pub struct RemoteHints {
    awaited: HashMap<RelPath, AwaitedState>,
    due: BTreeSet<(Duration, RelPath)>,
    directories: BTreeMap<RelPath, Depth>,
    next_scan: Duration,
}

#[derive(Debug, Clone)]
struct AwaitedState {
    /// `None` if the file has to be absent.
    seen: Option<(u64, i64)>,
    state: WriteState,
    next: Duration,
    pause: Duration,
    until: Duration,
}

impl RemoteHints {
    /// Takes hints, and returns what to inspect now.
    pub fn take(&mut self, hints: Vec<RemoteHint>, now: Duration) -> Vec<Hint> {
        let mut inspect = Vec::new();
        for hint in hints {
            match (hint.change, hint.hint()) {
                (_, Hint::Tree(path, depth)) => self.add_directory(path, depth),
                (RemoteChange::Deleted, Hint::Path(path, state)) => {
                    self.await_state(&path, None, state, now);
                    inspect.push(Hint::Path(path, state));
                }
                (_, Hint::Path(path, state)) => {
                    if hint.seen.is_some() {
                        self.await_state(&path, hint.seen, state, now);
                    }
                    inspect.push(Hint::Path(path, state));
                }
            }
        }
        inspect
    }

    /// An inspection has found a file with this size and modification time, or none.
    pub fn inspected(&mut self, path: &RelPath, file: Option<(u64, i64)>) {
        let Some(awaited) = self.awaited.get(path) else { return };
        let is_there = match (awaited.seen, file) {
            (None, None) => true,
            // A later change has a hint of its own.
            (Some((size, mtime)), Some((found, at))) => (size, mtime) == (found, at) || at > mtime,
            _ => false,
        };
        if is_there {
            self.forget(path);
        }
    }

    /// What to inspect again now.
    pub fn take_due(&mut self, now: Duration) -> Vec<Hint> {
        let mut inspect = Vec::new();
        while let Some((next, path)) = self.due.first().cloned()
            && next <= now
        {
            let Some(mut awaited) = self.forget(&path) else { break };
            inspect.push(Hint::Path(path.clone(), awaited.state));
            awaited.pause = (awaited.pause * 2).min(PAUSE_MAX);
            awaited.next = now + awaited.pause;
            if awaited.next <= awaited.until {
                self.insert(path, awaited);
            }
        }
        if !self.directories.is_empty() && now >= self.next_scan {
            self.next_scan = now + SCAN_PAUSE;
            let directories = std::mem::take(&mut self.directories).into_iter();
            inspect.extend(directories.map(|(path, depth)| Hint::Tree(path, depth)));
        }
        inspect
    }

    /// When something is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        let path = self.due.first().map(|(next, _)| *next);
        let scan = (!self.directories.is_empty()).then_some(self.next_scan);
        path.into_iter().chain(scan).min()
    }

    fn add_directory(&mut self, path: RelPath, depth: Depth) {
        if self.directories.len() >= DIRECTORIES_MAX && !self.directories.contains_key(&path) {
            self.directories = BTreeMap::from([(RelPath::root(), Depth::Whole)]);
            return;
        }
        let known = self.directories.entry(path).or_insert(depth);
        *known = depth.max(*known);
    }

    fn await_state(
        &mut self,
        path: &RelPath,
        seen: Option<(u64, i64)>,
        state: WriteState,
        now: Duration,
    ) {
        self.forget(path);
        if self.awaited.len() >= AWAITED_MAX {
            return;
        }
        let next = now + PAUSE_FIRST;
        let until = now + AWAITED_TIME;
        let awaited = AwaitedState { seen, state, next, pause: PAUSE_FIRST, until };
        self.insert(path.clone(), awaited);
    }

    fn insert(&mut self, path: RelPath, awaited: AwaitedState) {
        self.due.insert((awaited.next, path.clone()));
        self.awaited.insert(path, awaited);
    }

    fn forget(&mut self, path: &RelPath) -> Option<AwaitedState> {
        let awaited = self.awaited.remove(path)?;
        self.due.remove(&(awaited.next, path.clone()));
        Some(awaited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Duration = Duration::from_millis;

    fn path(name: &str) -> RelPath {
        RelPath::new(name.as_bytes()).expect("a path")
    }

    fn hint(name: &str, change: RemoteChange, seen: Option<(u64, i64)>) -> RemoteHint {
        RemoteHint { path: path(name), change, seen }
    }

    fn inspections(hints: &mut RemoteHints) -> u32 {
        let mut count = 0;
        while let Some(due) = hints.next_due() {
            count += u32::try_from(hints.take_due(due).len()).expect("few");
        }
        count
    }

    #[test]
    fn a_state_is_inspected_again_until_it_is_there() {
        let mut hints = RemoteHints::default();
        let closed = hint("a", RemoteChange::Closed, Some((5, 9)));
        assert_eq!(hints.take(vec![closed], AT(0)), [Hint::Path(path("a"), WriteState::Done)]);
        hints.inspected(&path("a"), None);
        hints.inspected(&path("a"), Some((4, 8)));
        assert_eq!(hints.next_due(), Some(AT(500)));
        assert_eq!(hints.take_due(AT(500)), [Hint::Path(path("a"), WriteState::Done)]);
        assert_eq!(hints.next_due(), Some(AT(1_500)));
        hints.inspected(&path("a"), Some((5, 9)));
        assert_eq!(hints.next_due(), None);
    }

    #[test]
    fn a_state_that_never_comes_costs_a_bounded_number_of_inspections() {
        let mut hints = RemoteHints::default();
        hints.take(vec![hint("a", RemoteChange::Closed, Some((5, 9)))], AT(0));
        hints.take(vec![hint("b", RemoteChange::Deleted, None)], AT(0));
        hints.inspected(&path("b"), Some((1, 1)));
        let count = inspections(&mut hints);
        assert!((10..40).contains(&count), "{count}");
        assert!(hints.awaited.is_empty() && hints.due.is_empty());
    }

    #[test]
    fn a_later_state_and_an_absent_file_end_the_wait() {
        let mut hints = RemoteHints::default();
        hints.take(vec![hint("a", RemoteChange::Closed, Some((5, 9)))], AT(0));
        hints.inspected(&path("a"), Some((3, 10)));
        hints.take(vec![hint("b", RemoteChange::Deleted, None)], AT(0));
        hints.inspected(&path("b"), None);
        assert_eq!(hints.next_due(), None);
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut hints = RemoteHints::default();
        for round in 0..5 {
            let flood = (0..20_000)
                .map(|index| hint(&format!("{round}/{index}"), RemoteChange::Closed, Some((1, 1))));
            hints.take(flood.collect(), AT(round));
            let trees = (0..20_000)
                .map(|index| hint(&format!("{round}/{index}"), RemoteChange::Entries, None));
            hints.take(trees.collect(), AT(round));
        }
        assert!(hints.awaited.len() <= AWAITED_MAX && hints.due.len() <= AWAITED_MAX);
        assert!(hints.directories.len() <= DIRECTORIES_MAX);
    }

    #[test]
    fn hints_for_directories_are_scanned_at_most_twice_a_minute() {
        let mut hints = RemoteHints::default();
        let mut scans = 0;
        for second in 0..60 {
            hints.take(vec![hint("", RemoteChange::Tree, None)], AT(second * 1_000));
            scans += hints.take_due(AT(second * 1_000)).len();
        }
        assert_eq!(scans, 2);
    }
}
