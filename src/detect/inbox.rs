//! What the event threads, the worker and the consumer share: one short lock.
//!
//! # Invariants
//!
//! - No holder of the lock does I/O or waits for anything else, so no event thread is ever delayed
//!   and the kernel's queue is read as fast as it fills.
//! - Nothing here grows without bound: hints fold upward, too many doubts become a rebuild.

use super::Coverage;
use super::clock::{WorkerNeeds, WorkerSchedule, WorkerTasks};
use super::dirty::{HintBounds, HintSet};
use super::event::Recheck;
use crate::model::{Depth, Hint, RelPath};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Paths waiting for the worker; one more, and it looks at everything.
const DOUBTS_MAX: usize = 65_536;
/// Directories waiting to be listed again; one more, and everything is.
const RELIST_MAX: usize = 1_024;
/// Hints handed on at once.
const HINTS_AT_ONCE: usize = 1_024;
/// The shared state and those who wait for it.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<InboxState>,
    /// Wakes the worker.
    work: Condvar,
    /// Wakes the consumer of the hints.
    hinted: Notify,
    /// Wakes barriers.
    progress: watch::Sender<()>,
}

#[derive(Debug)]
pub(super) struct InboxState {
    dirty: HintSet,
    doubts: BTreeMap<RelPath, Recheck>,
    relist: BTreeSet<RelPath>,
    /// Events were lost: only a rebuild helps.
    pub(super) out_of_sync: bool,
    /// A barrier wants a round even if there is nothing to do.
    poked: bool,
    pub(super) rounds_begun: u64,
    pub(super) rounds_done: u64,
    /// The last cookie placed.
    pub(super) placed: u64,
    /// The last cookie that each instance delivered.
    pub(super) delivered: Vec<u64>,
    /// Counts the rebuilds, which distinguishes an event thread that was stopped from one that died.
    generation: u64,
    /// Event threads that have not ended.
    alive: usize,
    pub(super) closed: bool,
    pub(super) coverage: Coverage,
    /// Everything is being watched anew.
    rebuilding: bool,
    /// The coverage that the consumer was woken for.
    published: Coverage,
}

/// What the worker has to do next.
#[derive(Debug)]
pub(super) struct WorkerRound {
    pub(super) doubts: BTreeMap<RelPath, Recheck>,
    pub(super) relist: BTreeSet<RelPath>,
    pub(super) rebuild: bool,
    pub(super) retry: bool,
}

impl InboxState {
    fn needs(&self) -> WorkerNeeds {
        WorkerNeeds {
            relist: !self.relist.is_empty(),
            now: self.poked,
            rebuild: self.out_of_sync,
            poor: self.coverage.unwatched + self.coverage.unreadable,
        }
    }

    /// How much is watched, as of now.
    pub(super) fn coverage_now(&self) -> Coverage {
        Coverage { lost: self.out_of_sync || self.rebuilding, ..self.coverage }
    }

    fn begin_round(&mut self, due: &WorkerTasks) -> WorkerRound {
        self.rounds_begun += 1;
        self.poked = false;
        if due.rebuild {
            self.out_of_sync = false;
            self.rebuilding = true;
        }
        WorkerRound {
            doubts: std::mem::take(&mut self.doubts),
            relist: if due.relist { std::mem::take(&mut self.relist) } else { BTreeSet::new() },
            rebuild: due.rebuild,
            retry: due.retry,
        }
    }
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(InboxState {
                dirty: HintSet::new(HintBounds::DEFAULT),
                doubts: BTreeMap::new(),
                relist: BTreeSet::new(),
                out_of_sync: false,
                poked: false,
                // The first is the arming of the tree.
                rounds_begun: 1,
                rounds_done: 0,
                placed: 0,
                delivered: Vec::new(),
                generation: 0,
                alive: 0,
                closed: false,
                coverage: Coverage::default(),
                rebuilding: false,
                published: Coverage::default(),
            }),
            work: Condvar::new(),
            hinted: Notify::new(),
            progress: watch::Sender::new(()),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, InboxState> {
        // What a panicking thread left behind is whole: every change is one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, hint: Hint) {
        let mut state = self.lock();
        let waiting = state.dirty.is_empty();
        state.dirty.add(hint);
        drop(state);
        if waiting {
            self.hinted.notify_one();
        }
    }

    pub(super) fn doubt(&self, path: RelPath, doubt: Recheck) {
        let mut state = self.lock();
        // Permissions matter only where they kept us out.
        if doubt == Recheck::Permissions && state.coverage.unreadable == 0 {
            return;
        }
        if state.doubts.len() >= DOUBTS_MAX {
            // Without this recheck the directory is tried again anyway, only later.
            if doubt == Recheck::Permissions {
                return;
            }
            state.doubts.clear();
            state.out_of_sync = true;
            self.hinted.notify_one();
        } else {
            let known = state.doubts.entry(path).or_insert(doubt);
            *known = doubt.max(*known);
        }
        drop(state);
        self.work.notify_all();
    }

    /// Has the directory listed again after a while.
    pub(super) fn relist(&self, directory: RelPath) {
        let mut state = self.lock();
        let first = state.relist.is_empty();
        state.relist.insert(directory);
        if state.relist.len() > RELIST_MAX {
            state.relist = BTreeSet::from([RelPath::root()]);
            state.dirty.add(Hint::Tree(RelPath::root(), Depth::Whole));
            self.hinted.notify_one();
        }
        drop(state);
        if first {
            self.work.notify_all();
        }
    }

    /// Events were lost, or may have been.
    pub(super) fn lost(&self, overflow: bool) {
        let mut state = self.lock();
        state.out_of_sync = true;
        state.coverage.overflows += u64::from(overflow);
        drop(state);
        self.work.notify_all();
        self.hinted.notify_one();
    }

    /// An instance delivered a cookie.
    pub(super) fn deliver(&self, generation: u64, instance: usize, cookie: u64) {
        let mut state = self.lock();
        if state.generation == generation
            && let Some(last) = state.delivered.get_mut(instance)
        {
            *last = cookie.max(*last);
        }
        drop(state);
        self.progress.send_replace(());
    }

    pub(super) fn progress(&self) -> watch::Receiver<()> {
        self.progress.subscribe()
    }

    /// Asks for a round that begins from now on; the number of the first that does.
    pub(super) fn poke(&self, state: &mut InboxState) -> u64 {
        state.poked = true;
        self.work.notify_all();
        state.rounds_begun + 1
    }

    /// The hints that are there.
    pub(super) fn hints_now(&self) -> Vec<Hint> {
        self.lock().dirty.take(HINTS_AT_ONCE)
    }

    /// The next hints. `None` at the end.
    pub(super) async fn hints(&self) -> Option<Vec<Hint>> {
        loop {
            {
                let mut state = self.lock();
                let hints = state.dirty.take(HINTS_AT_ONCE);
                let coverage = state.coverage_now();
                if !hints.is_empty() || coverage != state.published {
                    state.published = coverage;
                    return Some(hints);
                }
                if state.closed {
                    return None;
                }
            }
            self.hinted.notified().await;
        }
    }

    /// Ends everything that waits.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
        self.hinted.notify_one();
        self.progress.send_replace(());
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits for something to do. `None` at the end.
    #[expect(clippy::disallowed_methods, reason = "the adapter reads the clock for its own pauses")]
    pub(super) fn next_round(&self, clock: &mut WorkerSchedule) -> Option<WorkerRound> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let now = Instant::now();
            let due = clock.due(&state.needs(), now);
            if due.any() || !state.doubts.is_empty() {
                return Some(state.begin_round(&due));
            }
            state = match clock.next() {
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let pause = due.saturating_duration_since(now);
                    let waited = self.work.wait_timeout(state, pause);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The round is over.
    pub(super) fn end_round(&self) {
        let mut state = self.lock();
        state.rounds_done = state.rounds_begun;
        state.rebuilding = false;
        drop(state);
        self.progress.send_replace(());
        // How much is watched may have changed.
        self.hinted.notify_one();
    }

    /// An event thread begins; it belongs to the generation that is returned.
    pub(super) fn begin_thread(&self) -> u64 {
        let mut state = self.lock();
        state.alive += 1;
        state.generation
    }

    /// An event thread ended. Unless it was stopped, its directories are no longer watched.
    pub(super) fn end_thread(&self, generation: u64, instance: usize) {
        let mut state = self.lock();
        state.alive -= 1;
        if state.generation == generation && instance < state.delivered.len() && !state.closed {
            state.out_of_sync = true;
        }
        drop(state);
        self.work.notify_all();
        self.hinted.notify_one();
    }

    /// From here on an event thread that ends was stopped.
    pub(super) fn begin_generation(&self) {
        let mut state = self.lock();
        state.generation += 1;
        state.delivered.clear();
    }

    /// Waits until all event threads have ended; `false` if some have not.
    pub(super) fn wait_for_threads(&self, patience: Duration) -> bool {
        let waited = self.work.wait_timeout_while(self.lock(), patience, |state| state.alive > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.alive == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(number: usize) -> RelPath {
        RelPath::new(number.to_string().as_bytes()).expect("a proper path")
    }

    #[test]
    fn one_doubt_more_than_there_is_room_for_has_everything_watched_anew() {
        let inbox = Inbox::new();
        for number in 0..DOUBTS_MAX {
            inbox.doubt(path(number), Recheck::Came);
            // A second doubt about the first path takes no room.
            if number == 1 {
                inbox.doubt(path(0), Recheck::Mounted);
            }
        }
        assert!(!inbox.lock().out_of_sync);
        inbox.doubt(path(DOUBTS_MAX), Recheck::Left);
        let state = inbox.lock();
        assert!(state.out_of_sync && state.doubts.is_empty());
    }

    #[test]
    fn one_directory_more_than_can_wait_to_be_listed_has_everything_compared() {
        let inbox = Inbox::new();
        for number in 0..RELIST_MAX {
            inbox.relist(path(number));
        }
        assert_eq!(inbox.lock().relist.len(), RELIST_MAX);
        assert_eq!(inbox.hints_now(), []);
        inbox.relist(path(RELIST_MAX));
        assert_eq!(inbox.lock().relist.len(), 1);
        assert_eq!(inbox.hints_now(), [Hint::Tree(RelPath::root(), Depth::Whole)]);
    }
}
