//! The engine: one owner of all that is known, one loop.
//!
//! ```text
//! hints ─► settle ─► look ─► plan ─► queue ─► transfer ─► record
//!            ▲                          │
//!            └── reconcile ◄── timer ───┘
//! ```
//!
//! [`Engine::apply`] takes one [`Event`], changes the state and returns the [`Effect`]s to perform;
//! it does no I/O and reads no clock. The loop in [`run`] performs them, and what comes
//! of them are events again. So there is no lock around the state, two things never happen at once,
//! and a test can put the engine through anything in microseconds. The price is that work of several
//! steps is written out as states; there is one such machine, the [`queue`](crate::queue).
//!
//! # Invariants
//!
//! - A change is decided from a look at the path and the record, never from what an event said.
//! - A try begins after its row is on disk; an object counts as mirrored after S3 has confirmed it.
//! - No delete starts while a comparison of the tree is under way: how many there will be is not
//!   known before its end.
//! - Work in flight is bounded: looks by `LOOKS_MAX`, comparisons by one, tries by the queue.

mod budget;
mod changes;
mod compared;
pub mod control;
mod coverage;
mod delayed;
mod drain;
mod event;
mod flush;
mod inspected;
mod lag;
mod limits;
mod linked;
mod observe;
pub mod preview;
mod publish;
mod report;
mod run;
mod sent;
mod settings;
pub mod snapshot;
mod unread;
mod wanted;
mod young;

pub use crate::queue::Lane;
pub use changes::CdnChange;
pub use delayed::DueDeletes;
pub use drain::StopRequest;
pub use event::{Effect, EngineCommand, EngineTime, Event, LookFailure};
pub use flush::FlushResult;
pub use lag::{LagSummary, Lags};
pub use limits::looking;
pub use observe::EngineObserver;
pub use report::not_abandoned;
pub use run::{LoopInputs, RescanTimer, RunEnd, StopSignals, run};
pub use sent::{SLOT_MS, UploadThroughput};
pub use settings::{EngineSettings, Largest};

use crate::model::{
    AttemptOutcome, Depth, FailureClass, Hint, Outcome, RelPath, UnixMillis, UploadRecord,
    WriteState, millis,
};
use crate::queue::{Attempt, Queue};
use crate::reconcile::ScanScope;
use crate::settle::{FlushGeneration, ReadyDir, ReadyPath, Settle};
use crate::store::{Change, QueueStats, StateCounts};
use limits::{LOOK_PATHS_MAX, LOOKS_MAX, RACY_WAIT, WRITES_MAX};
use linked::LinkedFiles;
use snapshot::Watch;
use std::time::Duration;
use unread::UnreadPaths;
use young::YoungFiles;

/// Everything that is known.
#[derive(Debug)]
pub struct Engine {
    settings: EngineSettings,
    /// Wall-clock time at which the engine started: what the record keeps is dated with it.
    started: UnixMillis,
    settle: Settle,
    queue: Queue,
    /// The lowest mark of each look under way.
    looks: Vec<FlushGeneration>,
    delayed: delayed::DelayedDeletes,
    writes: usize,
    refilling: bool,
    /// The mark of the comparison under way.
    comparing: Option<FlushGeneration>,
    /// What it finds was seen when it happened, if not which files it was.
    comparing_fresh: bool,
    next_rescan: Duration,
    /// The drain, once the shutdown has begun.
    drain: Option<drain::Drain>,
    /// Nothing new begins: another engine is to take over.
    holding: bool,
    /// A shutdown is announced.
    ending: bool,
    /// The latest commit of which the receipt has come.
    newest_write: u64,
    /// When deletes may start, known from the first comparison on: until then a file may be there
    /// under another name, unseen.
    deletes_from: Option<Duration>,
    deletes_open: bool,
    /// The engine before this one had compared the whole tree: for observers, an engine with other
    /// settings is no new start.
    compared_before: bool,
    /// Changes of the event under way.
    changes: Vec<Change>,
    /// Multipart uploads that no attempt will resume.
    abandoned: Vec<UploadRecord>,
    survey: QueueStats,
    /// How changes are seen.
    watch: Watch,
    /// What could not be read, and is tried again.
    unread: UnreadPaths,
    /// The lowest mark of the hints because of which it was to be read.
    unread_mark: FlushGeneration,
    /// Files with several names.
    linked: LinkedFiles,
    /// Files that are inspected again when they are old enough.
    young: YoungFiles,
    /// How many new files there may be.
    budget: budget::FileBudget,
    /// When changes without an event became possible that no comparison has looked for since.
    uncompared: Option<u64>,
    /// When the comparison under way began, as what is unread is counted.
    comparing_since: u64,
    flushes: flush::Flushes,
    report: report::EventLog,
    /// When an inspection found the watched directory empty although there are object records,
    /// nanoseconds since 1970.
    emptied: Option<i64>,
    /// Why S3 takes nothing, by the latest failure: its code, and the cause as a sentence.
    outage_cause: Option<(String, String)>,
}

impl Engine {
    /// An engine over a record that holds `counts`.
    #[must_use]
    pub fn new(settings: EngineSettings, counts: StateCounts, started: UnixMillis) -> Self {
        Self {
            started,
            settle: Settle::new(settings.settle.clone()),
            queue: Queue::new(settings.queue.clone(), counts),
            looks: Vec::new(),
            delayed: delayed::DelayedDeletes::default(),
            writes: 0,
            refilling: false,
            comparing: None,
            comparing_fresh: false,
            next_rescan: settings.rescan_interval,
            drain: None,
            holding: false,
            ending: false,
            newest_write: 0,
            deletes_from: None,
            deletes_open: false,
            compared_before: false,
            changes: Vec::new(),
            abandoned: Vec::new(),
            survey: QueueStats::default(),
            watch: Watch::default(),
            unread: UnreadPaths::default(),
            unread_mark: FlushGeneration::MAX,
            linked: LinkedFiles::default(),
            young: YoungFiles::default(),
            budget: budget::FileBudget::new(settings.max_files),
            uncompared: None,
            comparing_since: 0,
            flushes: flush::Flushes::new(counts),
            report: report::EventLog::new(&settings),
            emptied: None,
            outage_cause: None,
            settings,
        }
    }

    /// Makes the first comparison of the whole tree due, where no detector does.
    pub fn compare_all(&mut self) {
        self.next_rescan = Duration::ZERO;
    }

    /// The end of the pod was announced before this engine was made.
    pub fn expect_end(&mut self) {
        self.ending = true;
        self.settle.end_soon(Duration::ZERO);
    }

    /// Begins no try any more: another engine is to take over.
    pub fn hold(&mut self) {
        self.holding = true;
    }

    /// Whether no try is under way, and the record has everything.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.queue.running() == 0 && self.writes == 0
    }

    /// Applies one event, and returns the effects to perform.
    pub fn apply(&mut self, event: Event, now: EngineTime) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Hinted(hints) => self.hinted(hints, now),
            Event::Reviewed { again: true } => {
                self.hinted(vec![Hint::Tree(RelPath::root(), Depth::Whole)], now);
            }
            Event::Reviewed { again: false } => {}
            Event::Looked(looked) => {
                self.look_ended(looked.iter().map(|(looked, _)| looked.rested.mark));
                for (looked, known) in looked {
                    self.looked(looked, &known, now);
                }
            }
            Event::LookFailed(paths, failure) => {
                self.look_ended(paths.iter().map(|rested| rested.mark));
                effects.extend(self.look_failed(paths, failure, now));
            }
            Event::Differing(paths) => {
                let mark = self.comparing.unwrap_or(FlushGeneration::MAX);
                for path in paths {
                    let hint = Hint::Path(path, WriteState::Found);
                    self.settle.hint_of(hint, now.elapsed, mark, self.comparing_fresh);
                }
            }
            Event::Compared(range, result) => {
                let mark = self.comparing.take().unwrap_or(FlushGeneration::MAX);
                effects.extend(self.compared(range, mark, result, now));
            }
            Event::Written(number, counts) => {
                self.writes -= 1;
                if number >= self.newest_write {
                    self.newest_write = number;
                    self.budget.written(number);
                    self.queue.set_counts(counts);
                    self.flushes.written(number, self.queue.is_partial());
                }
            }
            Event::Ended(tries) => {
                for (lease, attempted) in tries {
                    self.ended(&lease, &attempted, now);
                }
            }
            Event::Refilled(rows) => {
                self.refilling = false;
                self.queue.refill(rows);
            }
            Event::DeletesDue(due) => self.deletes_due(due, now),
            Event::Surveyed(survey) => self.survey = survey,
            Event::Watched(watch) => self.watched(watch, now),
            Event::Concurrency(requests) => self.queue.set_concurrency(requests),
            Event::Asked(ask) => self.asked(ask, now),
            Event::Tick => {}
            Event::Stop(request) => self.stop(request, now),
        }
        self.advance(now, &mut effects);
        effects
    }

    /// When something will have to be done without any event. What has no room now is not waited
    /// for: whatever makes room is an event.
    #[must_use]
    pub fn next_tick(&self) -> Option<Duration> {
        let deletes_may_start = self.deletes_open && self.comparing.is_none();
        let queue = self.queue.next_due(deletes_may_start).filter(|_| !self.holding);
        let queue = queue.map(|due| self.elapsed(due));
        let deletes = self.deletes_from.filter(|_| !self.deletes_open);
        let path = self.settle.next_path_due().filter(|_| self.may_look());
        let tree = self.settle.next_tree_due().filter(|_| self.may_compare());
        let rescan = (self.may_compare() && self.may_rescan()).then_some(self.next_rescan);
        let summary = self.report.summary_due().map(|due| self.elapsed(due));
        let last_try = self.next_last_try();
        let waits = queue.into_iter().chain(deletes).chain(path).chain(tree).chain(rescan);
        let again = self.unread.next_due().into_iter().chain(self.young.next_due());
        let again = again.chain(self.budget.next_due(self.queue.counts()));
        let delayed = self.next_delayed();
        waits.chain(again).chain(last_try).chain(summary).chain(delayed).min()
    }

    /// Whether more differences can be taken in.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.settle.paths() < self.settings.settle.paths_max / 2 && self.writes < WRITES_MAX
    }

    /// How many requests may be under way at once.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.queue.concurrency()
    }

    /// How much is mirrored and how much is left.
    #[must_use]
    pub fn counts(&self) -> StateCounts {
        self.queue.counts()
    }

    /// What keeps S3 from taking anything, if something does.
    #[must_use]
    pub fn outage(&self) -> Option<FailureClass> {
        self.queue.outage()
    }

    fn hinted(&mut self, hints: Vec<Hint>, now: EngineTime) {
        for hint in hints {
            self.settle.hint(hint, now.elapsed);
        }
    }

    fn ended(&mut self, lease: &Attempt, attempted: &AttemptOutcome, now: EngineTime) {
        let path = &lease.pending.path;
        let wall = self.wall(now);
        let ended = self.queue.end(path, attempted, wall, now.jitter);
        let outcome = &attempted.outcome;
        self.note_outage(outcome);
        let during = self.queue.outage().is_some() && ended.turn.is_none();
        self.report.ended(lease, outcome, wall, during);
        let cause = self.outage_cause.as_ref().map(|(_, cause)| cause.as_str());
        self.report.turned(ended.turn, outcome, cause);
        if let Outcome::Mirrored(mirrored, _) = outcome
            && mirrored.racy
            && !self.is_stopping()
            && !self.settings.once
        {
            // By then it may be open again.
            self.look_later(path, WriteState::Found, now, RACY_WAIT);
        }
        if let (Outcome::Mirrored(..), Some(from)) = (outcome, &lease.pending.copy_from) {
            // Its delete counts as one of a moved file from now on. Or another file is being written
            // there already.
            let from = from.clone();
            let at = now.elapsed;
            let fresh = lease.lane != Lane::Backlog;
            self.settle.ensure_scheduled(from, WriteState::Gone, at, FlushGeneration::MAX, fresh);
        }
        if ended.look_again {
            // What changed under the read is being written; what was hinted meanwhile is settled by
            // the hint's own wait.
            match outcome {
                Outcome::LookAgain(_) => {
                    let hint = Hint::Path(path.clone(), WriteState::Found);
                    self.settle.hint_of(hint, now.elapsed, ended.mark, ended.fresh);
                }
                _ => {
                    let activity = if ended.closed { WriteState::Done } else { WriteState::Found };
                    let mark = ended.mark;
                    let fresh = ended.fresh;
                    self.settle.ensure_scheduled(path.clone(), activity, now.elapsed, mark, fresh);
                }
            }
        }
        let invalidate = self.settings.invalidate.as_ref();
        let trace = self.settings.tracing.trace_for_entry(&lease.pending);
        let context = trace.exported(lease.pending.attempts > 1);
        self.changes.extend(changes::stale(invalidate, lease, outcome, context, wall));
        self.changes.extend(ended.changes);
    }

    fn look_later(
        &mut self,
        path: &RelPath,
        activity: WriteState,
        now: EngineTime,
        wait: Duration,
    ) {
        let path = path.clone();
        let since = now.elapsed;
        let mark = self.settle.mark();
        let rest = self.settings.settle.writing;
        let fresh = false;
        let rested = ReadyPath { path, activity, since, fresh, overdue: false, rest, mark };
        self.settle.requeue(rested, now.elapsed + wait);
    }

    /// Starts whatever can be started.
    fn advance(&mut self, now: EngineTime, effects: &mut Vec<Effect>) {
        if self.unread.is_empty() {
            self.unread_mark = FlushGeneration::MAX;
        }
        // A flush waits for what could not be read because of a hint before it.
        let mark = if self.is_flushing() { self.unread_mark } else { FlushGeneration::MAX };
        for hint in self.unread.take_due(now.elapsed) {
            self.settle.hint_of(hint, now.elapsed, mark, true);
        }
        for hint in self.young.take_due(now.elapsed) {
            self.settle.hint_of(hint, now.elapsed, FlushGeneration::MAX, true);
        }
        for hint in self.budget.take_due(self.queue.counts(), now.elapsed) {
            self.settle.hint_of(hint, now.elapsed, FlushGeneration::MAX, false);
        }
        self.advance_delayed(now, effects);
        self.deletes_open |= self.deletes_from.is_some_and(|from| now.elapsed >= from);
        let deletes_may_start = self.deletes_open && self.comparing.is_none();
        let leases = if self.holding {
            Vec::new()
        } else {
            self.queue.start(self.wall(now), deletes_may_start)
        };
        self.report.held(&self.queue);
        self.report.log_summary(self.wall(now));
        if self.comparing.is_none() {
            self.budget.report(self.queue.counts());
        }
        self.changes.extend(self.queue.recent_change());
        let rows = leases.iter().map(|lease| Change::Queue(lease.pending.clone()));
        let changes = changes::last_of_each_path(self.changes.drain(..).chain(rows));
        if !changes.is_empty() {
            self.writes += 1;
            self.flushes.handed_in();
            effects.push(Effect::Write(changes, leases));
        }
        effects.extend(self.abandoned.drain(..).map(Effect::Abandon));
        while self.may_look() {
            let rested = self.settle.take_paths(now.elapsed, LOOK_PATHS_MAX);
            if rested.is_empty() {
                break;
            }
            self.looks.extend(rested.iter().map(|rested| rested.mark).min());
            effects.push(Effect::Look(rested));
        }
        self.advance_drain(now);
        if self.may_compare()
            && let Some(ReadyDir { path: start, depth, mark, fresh }) = self.next_range(now)
        {
            let range = ScanScope { start, depth };
            self.comparing = Some(mark);
            // The first finds what was there; what a later one finds has changed since.
            self.comparing_fresh = fresh || self.has_compared();
            self.comparing_since = self.unread.clock();
            self.queue.comparing(&range.start, mark);
            self.report.history.comparing(&range, self.started + millis(now.elapsed));
            effects.push(Effect::Compare(range));
        }
        if self.queue.wants_refill() && !self.refilling && self.writes == 0 {
            // With commits under way the record would give out rows that are done already.
            self.refilling = true;
            self.queue.begin_refill();
            effects.push(Effect::Refill(self.settings.queue.window_max));
        }
    }

    fn next_range(&mut self, now: EngineTime) -> Option<ReadyDir> {
        let due = self.range_due(now)?;
        let everything = due.path.is_root() && due.depth == Depth::Whole;
        if let Some(drain) = self.drain.as_mut().filter(|_| everything) {
            drain.comparison_begins(now.elapsed);
        }
        Some(due)
    }

    fn range_due(&mut self, now: EngineTime) -> Option<ReadyDir> {
        if let Some(mut tree) = self.settle.take_tree(now.elapsed) {
            if !self.has_compared() && tree.path.is_root() {
                // Whatever hint it goes back to, it finds what happened before the start.
                tree.mark = 0;
            }
            return Some(tree);
        }
        let due = self.drain.as_ref().is_some_and(drain::Drain::is_comparison_due)
            || (now.elapsed >= self.next_rescan && self.may_rescan());
        // The first finds what happened before the start. Behind the others is nothing that happened,
        // so no flush waits for them.
        let mark = if self.has_compared() { FlushGeneration::MAX } else { 0 };
        let path = RelPath::root();
        let depth = Depth::Whole;
        due.then_some(ReadyDir { path, depth, mark, fresh: false })
    }

    /// Whether the whole tree was compared since the start.
    fn has_compared(&self) -> bool {
        self.deletes_from.is_some()
    }

    fn may_compare(&self) -> bool {
        self.comparing.is_none() && self.has_room()
    }

    fn may_rescan(&self) -> bool {
        let done = self.settings.once && self.has_compared();
        !(self.is_stopping() || done)
    }

    fn may_look(&self) -> bool {
        self.looks.len() < LOOKS_MAX && self.writes < WRITES_MAX && !self.delayed.voids_looks()
    }

    fn wall(&self, now: EngineTime) -> UnixMillis {
        self.started + millis(now.elapsed)
    }

    fn elapsed(&self, wall: UnixMillis) -> Duration {
        Duration::from_millis(wall.saturating_sub(self.started))
    }
}

#[cfg(test)]
mod tests;
