//! The engine: one owner of all that is known, one loop.
//!
//! ```text
//! hints ─► settle ─► look ─► plan ─► queue ─► transfer ─► record
//!            ▲                          │
//!            └── reconcile ◄── timer ───┘
//! ```
//!
//! [`Engine::apply`] takes one [`Event`], changes the state and answers the [`Effect`]s that are to
//! be performed; it does no I/O and reads no clock. The loop in [`run`] performs them, and what comes
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

mod changes;
mod compared;
pub mod control;
mod event;
mod flush;
mod limits;
mod observe;
pub mod preview;
mod publish;
mod report;
mod run;
mod sent;
mod settings;
pub mod snapshot;
mod wanted;

pub use changes::Invalidate;
pub use event::{Ask, Effect, Event, LookFailure, Now};
pub use flush::Flushed;
pub use limits::looking;
pub use observe::Observer;
pub use report::not_abandoned;
pub use run::{End, Parts, Rescan, Stop, run};
pub use sent::{SLOT_MS, Sent};
pub use settings::Settings;

use crate::look::Looked;
use crate::model::{
    Activity, Depth, FailureClass, Hint, Outcome, Pending, RelPath, UnixMillis, UploadNote, millis,
};
use crate::plan::{Decision, Observed};
use crate::queue::{Lease, Queue};
use crate::reconcile::Range;
use crate::root::Kind;
use crate::settle::{Mark, Rested, RestedTree, Settle};
use crate::store::{Change, Counts, Known, Survey};
use limits::{LOOK_PATHS_MAX, LOOKS_MAX, ONCE_TRIES, RACY_WAIT, WRITES_MAX};
use std::time::Duration;
use wanted::Wanted;

/// Everything that is known.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    /// Wall-clock time at which the engine started: what the record keeps is dated with it.
    started: UnixMillis,
    settle: Settle,
    queue: Queue,
    /// The lowest mark of each look under way.
    looks: Vec<Mark>,
    writes: usize,
    refilling: bool,
    /// The mark of the comparison under way.
    comparing: Option<Mark>,
    next_rescan: Duration,
    stopping: bool,
    /// Nothing new begins: another engine is to take over.
    holding: bool,
    /// The daemon will be told to stop soon.
    ending: bool,
    /// The latest commit of which the receipt has come.
    newest_write: u64,
    /// When deletes may start, known from the first comparison on: until then a file may be there
    /// under another name, unseen.
    deletes_from: Option<Duration>,
    deletes_open: bool,
    /// The engine before this one had compared the whole tree: another one under other settings is no
    /// new start to those who look on.
    compared_before: bool,
    /// Changes of the event under way.
    changes: Vec<Change>,
    /// Multipart uploads nobody will go on with.
    abandoned: Vec<UploadNote>,
    survey: Survey,
    flushes: flush::Flushes,
    report: report::Report,
}

impl Engine {
    /// An engine over a record that holds `counts`.
    #[must_use]
    pub fn new(settings: Settings, counts: Counts, started: UnixMillis) -> Self {
        Self {
            started,
            settle: Settle::new(settings.settle.clone()),
            queue: Queue::new(settings.queue.clone(), counts),
            looks: Vec::new(),
            writes: 0,
            refilling: false,
            comparing: None,
            next_rescan: settings.rescan_interval,
            stopping: false,
            holding: false,
            ending: false,
            newest_write: 0,
            deletes_from: None,
            deletes_open: false,
            compared_before: false,
            changes: Vec::new(),
            abandoned: Vec::new(),
            survey: Survey::default(),
            flushes: flush::Flushes::new(counts),
            report: report::Report::new(&settings),
            settings,
        }
    }

    /// Sets the longest time between two comparisons of the whole tree, from the next one on.
    pub fn set_rescan_interval(&mut self, interval: Duration) {
        self.settings.rescan_interval = interval;
    }

    /// Makes the first comparison of the whole tree due, where no detector does.
    pub fn compare_all(&mut self) {
        self.next_rescan = Duration::ZERO;
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

    /// Takes one event in, and says what is to be done about it.
    pub fn apply(&mut self, event: Event, now: Now) -> Vec<Effect> {
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
                let mark = self.comparing.unwrap_or(Mark::MAX);
                for path in paths {
                    self.settle.hint_of(Hint::Path(path, Activity::Found), now.elapsed, mark);
                }
            }
            Event::Compared(range, result) => {
                let mark = self.comparing.take().unwrap_or(Mark::MAX);
                effects.extend(self.compared(range, mark, result, now));
            }
            Event::Written(number, counts) => {
                self.writes -= 1;
                if number >= self.newest_write {
                    self.newest_write = number;
                    self.queue.set_counts(counts);
                    self.flushes.written(number, self.queue.is_partial());
                }
            }
            Event::Ended(tries) => {
                for (lease, outcome) in tries {
                    self.ended(&lease, &outcome, now);
                }
            }
            Event::Refilled(rows) => {
                self.refilling = false;
                self.queue.refill(rows);
            }
            Event::Surveyed(survey) => self.survey = survey,
            Event::Asked(ask) => self.asked(ask, now),
            Event::Tick => {}
            Event::Stop => {
                self.stopping = true;
                self.holding = false;
                self.settle.rush(now.elapsed);
                self.queue.rush(self.wall(now));
            }
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
        queue.into_iter().chain(deletes).chain(path).chain(tree).chain(rescan).min()
    }

    /// Whether more differences can be taken in.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.settle.paths() < self.settings.settle.paths_max / 2 && self.writes < WRITES_MAX
    }

    /// Whether nothing is left to do, for an engine that is to come to an end.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        // A daemon that stops tries everything once more, a single run a few times.
        let tries = if self.settings.once { ONCE_TRIES } else { 1 };
        (self.stopping || (self.settings.once && self.has_compared()))
            && self.settle.is_empty()
            && self.comparing.is_none()
            && !self.refilling
            && self.looks.is_empty()
            && self.writes == 0
            && self.queue.is_drained(tries)
    }

    /// The deletes that wait for a person.
    #[must_use]
    pub fn deletes_waiting(&self) -> u64 {
        if self.queue.deletes_wait() { self.queue.counts().deletes } else { 0 }
    }

    /// How much is mirrored and how much is left.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.queue.counts()
    }

    /// What keeps S3 from taking anything, if something does.
    #[must_use]
    pub fn outage(&self) -> Option<FailureClass> {
        self.queue.outage()
    }

    fn hinted(&mut self, hints: Vec<Hint>, now: Now) {
        for hint in hints {
            self.settle.hint(hint, now.elapsed);
        }
    }

    fn looked(&mut self, looked: Looked, known: &Known, now: Now) {
        if looked.unsettled {
            let due = now.elapsed + self.settings.settle.done;
            self.settle.put_back(looked.rested, due);
            return;
        }
        if let Some(wait) = self.rests_on(&looked, known) {
            self.settle.put_back(looked.rested, now.elapsed + wait);
            return;
        }
        let directory = looked.instead == Some(Kind::Directory);
        if let Some(kind) = looked.instead.filter(|_| !directory) {
            self.report.skipped(&looked.rested.path, kind.as_str());
        }
        let certain = !matches!(looked.observed, Observed::Unknown(_));
        let found = looked.rested.activity == Activity::Found;
        if known.below && certain && !directory && !found {
            // A directory is gone, or a file took its place. A comparison that finds that has found
            // what lay below as well, and must not be the reason for another one.
            let hint = Hint::Tree(looked.rested.path.clone(), Depth::Whole);
            self.settle.hint_of(hint, now.elapsed, looked.rested.mark);
        }
        self.decide(&looked, known, now);
    }

    /// For how long a file is to rest before it is taken, if it has not rested for long enough.
    fn rests_on(
        &self,
        Looked { rested, observed, age, .. }: &Looked,
        known: &Known,
    ) -> Option<Duration> {
        let rest = self.settings.settle.writing;
        let age = age.filter(|age| *age < rest && !rested.overdue)?;
        if self.settle.is_being_written(&rested.path) {
            // Somebody has begun to write between the rest and the look.
            return Some(rest);
        }
        // Nobody said that the file was closed. One that only has a new name needs no such word.
        let closed = rested.activity == Activity::Done;
        let renamed = known.mirrored.is_none() && known.twin.is_some();
        let news = || matches!(self.settings.plan(&rested.path, observed, known), Decision::Do(..));
        (!closed && !renamed && news()).then(|| rest - age)
    }

    fn decide(&mut self, looked: &Looked, known: &Known, now: Now) {
        let path = &looked.rested.path;
        let (pending, since) = (known.pending.as_ref(), self.started + millis(looked.rested.since));
        let change = match self.settings.wanted(path, &looked.observed, known, since) {
            Wanted::Do(wish, reason) => {
                self.report.decided(&wish, pending, reason);
                self.queue.want(wish, pending, self.wall(now))
            }
            Wanted::Nothing => {
                if let Some(note) = known.upload.clone().filter(|_| !self.queue.is_running(path)) {
                    self.abandoned.push(note);
                }
                let (invalidate, wall) = (self.settings.invalidate.as_ref(), self.wall(now));
                self.changes.extend(changes::stale_in_doubt(invalidate, pending, wall));
                self.queue.settle(path, pending)
            }
            Wanted::Leave(wish, reason, why) => {
                if let Some(reason) = reason {
                    self.report.decided(&wish, pending, reason);
                }
                self.park(wish, &why, pending)
            }
        };
        self.changes.extend(change);
        let closed = looked.rested.activity == Activity::Done;
        self.queue.note_hint(path, looked.rested.mark, closed);
        self.flushes.decided(self.queue.is_partial());
    }

    fn park(&mut self, wish: Pending, reason: &str, known: Option<&Pending>) -> Option<Change> {
        let change = self.queue.park(wish, reason, known);
        if let Some(Change::Queue(row)) = &change {
            self.report.parked(row, reason);
        }
        change
    }

    fn ended(&mut self, lease: &Lease, outcome: &Outcome, now: Now) {
        let path = &lease.pending.path;
        let wall = self.wall(now);
        let ended = self.queue.end(path, outcome, wall, now.jitter);
        self.report.ended(lease, outcome, wall);
        report::turned(ended.turn);
        if let Outcome::Mirrored(mirrored, _) = outcome
            && mirrored.racy
            && !self.stopping
            && !self.settings.once
        {
            // By then it may be open again.
            self.look_later(path, Activity::Found, now, RACY_WAIT);
        }
        if let (Outcome::Mirrored(..), Some(from)) = (outcome, &lease.pending.copy_from) {
            // Its delete counts as one of a moved file from now on. Or another file is being written
            // there already.
            self.settle.remind(from.clone(), Activity::Gone, now.elapsed, Mark::MAX);
        }
        if ended.look_again {
            // What changed under the read is being written; what was hinted meanwhile is settled by
            // the hint's own wait.
            match outcome {
                Outcome::LookAgain(_) => {
                    let hint = Hint::Path(path.clone(), Activity::Found);
                    self.settle.hint_of(hint, now.elapsed, ended.mark);
                }
                _ => {
                    let activity = if ended.closed { Activity::Done } else { Activity::Found };
                    self.settle.remind(path.clone(), activity, now.elapsed, ended.mark);
                }
            }
        }
        let invalidate = self.settings.invalidate.as_ref();
        let trace = self.settings.tracing.of_row(&lease.pending);
        let context = trace.exported(lease.pending.attempts > 1);
        self.changes.extend(changes::stale(invalidate, lease, outcome, context, wall));
        self.changes.extend(ended.changes);
    }

    fn look_later(&mut self, path: &RelPath, activity: Activity, now: Now, wait: Duration) {
        let (path, since) = (path.clone(), now.elapsed);
        let mark = self.settle.mark();
        let rested = Rested { path, activity, since, overdue: false, mark };
        self.settle.put_back(rested, now.elapsed + wait);
    }

    /// Starts whatever can be started.
    fn advance(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.deletes_open |= self.deletes_from.is_some_and(|from| now.elapsed >= from);
        let deletes_may_start = self.deletes_open && self.comparing.is_none();
        let leases = if self.holding {
            Vec::new()
        } else {
            self.queue.start(self.wall(now), deletes_may_start)
        };
        self.report.held(&self.queue);
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
        if self.may_compare()
            && let Some((range, mark)) = self.next_range(now)
        {
            self.comparing = Some(mark);
            self.queue.comparing(&range.start, mark);
            self.report.history.comparing(&range, self.started + millis(now.elapsed));
            effects.push(Effect::Compare(range));
        }
        if self.queue.wants_refill() && !self.refilling && self.writes == 0 {
            // With commits under way the record would give out rows that are done already.
            self.refilling = true;
            effects.push(Effect::Refill(self.settings.queue.window_max));
        }
    }

    fn next_range(&mut self, now: Now) -> Option<(Range, Mark)> {
        if let Some(RestedTree { path: start, depth, mark }) = self.settle.take_tree(now.elapsed) {
            return Some((Range { start, depth }, mark));
        }
        let due = now.elapsed >= self.next_rescan && self.may_rescan();
        // The first finds what happened before the start. Behind the others is nothing that happened,
        // so no flush waits for them.
        let mark = if self.has_compared() { Mark::MAX } else { 0 };
        due.then(|| (Range { start: RelPath::root(), depth: Depth::Whole }, mark))
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
        !(self.stopping || self.ending || done)
    }

    fn may_look(&self) -> bool {
        self.looks.len() < LOOKS_MAX && self.writes < WRITES_MAX
    }

    fn wall(&self, now: Now) -> UnixMillis {
        self.started + millis(now.elapsed)
    }

    fn elapsed(&self, wall: UnixMillis) -> Duration {
        Duration::from_millis(wall.saturating_sub(self.started))
    }
}

#[cfg(test)]
mod tests;
