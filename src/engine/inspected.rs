//! What follows from the inspection of one path.

use super::budget::COUNTING;
use super::settings::BELOW_MIN_AGE;
use super::unread::RecheckScope;
use super::wanted::PlannedChange;
use super::{Engine, EngineTime, changes};
use crate::look::Inspection;
use crate::model::{
    ABOVE_MAX_FILES, Depth, GapReason, Hint, QueueRow, RelPath, WATCHED_DIRECTORY_EMPTY,
    WriteState, millis,
};
use crate::plan::{Decision, FileState};
use crate::reconcile::UnreadPath;
use crate::root::FileKind;
use crate::settle::ReadyPath;
use crate::store::{Change, RecordedState};
use std::time::Duration;

impl Engine {
    pub(super) fn looked(&mut self, looked: Inspection, known: &RecordedState, now: EngineTime) {
        if looked.unsettled {
            let due = now.elapsed + self.settings.settle.done;
            self.settle.requeue(looked.rested, due);
            return;
        }
        if let Some(wait) = self.rests_on(&looked, known) {
            self.settle.requeue(looked.rested, now.elapsed + wait);
            return;
        }
        let directory = looked.instead == Some(FileKind::Directory);
        self.note_inspection(&looked, directory, now);
        if let Some(kind) = looked.instead.filter(|_| !directory) {
            self.report.skipped(&looked.rested.path, kind.as_str());
        }
        let certain = !matches!(looked.observed, FileState::Unknown(_));
        let found = looked.rested.activity == WriteState::Found;
        if known.below && certain && !found {
            // A directory is gone, or a file or another directory took its place: one that was moved
            // away and back may have lost files meanwhile, without an event under this path. A
            // comparison that finds that has found what lay below as well, and must not be the reason
            // for another one.
            let hint = Hint::Tree(looked.rested.path.clone(), Depth::Whole);
            let ReadyPath { mark, fresh, .. } = looked.rested;
            self.settle.hint_of(hint, now.elapsed, mark, fresh);
        }
        self.note_names(&looked, now);
        self.decide(&looked, known, now);
    }

    /// Has the other names of a file inspected that was found in a new state, and the links that depend
    /// on the path.
    fn note_names(&mut self, looked: &Inspection, now: EngineTime) {
        let ReadyPath { path, activity, mark, fresh, .. } = &looked.rested;
        self.linked.note_leads(path, &looked.leads);
        for link in self.linked.links_by(path) {
            let hint = Hint::Path(link, *activity);
            self.settle.hint_of(hint, now.elapsed, *mark, *fresh);
        }
        match &looked.observed {
            FileState::File(state) if looked.linked => {
                self.linked.note(path, state);
                for name in self.linked.others(path, state) {
                    if self.settle.is_being_written(&name) {
                        // Its close makes it be inspected.
                        continue;
                    }
                    let hint = Hint::Path(name, *activity);
                    self.settle.hint_of(hint, now.elapsed, *mark, *fresh);
                }
            }
            FileState::File(_) | FileState::Absent => self.linked.forget(path),
            FileState::Unknown(_) => {}
        }
    }

    /// Notes what could not be read, and what can be read again.
    fn note_inspection(&mut self, looked: &Inspection, directory: bool, now: EngineTime) {
        let path = &looked.rested.path;
        let FileState::Unknown(why) = &looked.observed else {
            self.note_filled(looked, now);
            if directory {
                self.unread.expedite_within(path, now.elapsed);
            }
            if self.unread.inspected(path, directory, now.elapsed) {
                self.report.readable(path);
            }
            return;
        };
        // The queue reports what is hidden or held back.
        if GapReason::from_skip_reason(why) == GapReason::Unreadable {
            let passing = looked.passing;
            let unread = UnreadPath { path: path.clone(), why: why.clone(), passing };
            self.note_unread(unread, RecheckScope::Path, now, looked.rested.mark);
        }
    }

    /// Notes that the watched directory was found empty although there is something to delete.
    fn note_emptied(&mut self, looked: &Inspection) {
        if self.emptied.is_none() {
            self.report.source_empty(self.queue.counts().mirrored);
        }
        self.emptied = self.emptied.max(Some(looked.at_ns));
    }

    /// Notes that something is there again, which an inspection has found. Everything is compared at once.
    fn note_filled(&mut self, looked: &Inspection, now: EngineTime) {
        if self.emptied.is_some_and(|emptied| looked.at_ns > emptied) {
            self.emptied = None;
            self.report.source_filled();
            let hint = Hint::Tree(RelPath::root(), Depth::Whole);
            self.settle.hint_of(hint, now.elapsed, looked.rested.mark, true);
        }
    }

    /// For how long a file is to rest before it is taken, if it has not rested for long enough.
    fn rests_on(
        &self,
        Inspection { rested, observed, age, closed, .. }: &Inspection,
        known: &RecordedState,
    ) -> Option<Duration> {
        let rest = self.settings.settle.writing;
        let age = age.filter(|age| *age < rest && !rested.overdue)?;
        if self.settle.is_being_written(&rested.path) {
            // A process has begun to write between the quiet time and the inspection.
            return Some(rest);
        }
        // What the kernel knows to be closed rests as what an event said to be closed.
        let rest = if *closed { self.settings.settle.done } else { rest };
        let age = Some(age).filter(|age| *age < rest)?;
        // No event reported the close of the file. One that only has a new name needs none.
        let closed = rested.activity == WriteState::Done;
        let renamed = known.mirrored.is_none() && known.other_path.is_some();
        let news = || matches!(self.settings.plan(&rested.path, observed, known), Decision::Do(..));
        (!closed && !renamed && news()).then(|| rest - age)
    }

    fn decide(&mut self, looked: &Inspection, known: &RecordedState, now: EngineTime) {
        let path = &looked.rested.path;
        let pending = known.pending.as_ref();
        let since = self.started + millis(looked.rested.since);
        let fresh = looked.rested.fresh;
        // The time of the engine lags behind after a suspension, and after a step of the wall clock.
        let wanted = self.settings.wanted(path, &looked.observed, known, since, looked.at_ns);
        if !matches!(wanted, PlannedChange::Later(..)) {
            self.young.forget(path);
        }
        let Some(wanted) = self.within_budget(wanted, looked, known) else {
            self.settle.requeue(looked.rested.clone(), now.elapsed + COUNTING);
            return;
        };
        let change = match wanted {
            PlannedChange::Do(wish, _) if self.is_void(&wish) => {
                self.settle.requeue(looked.rested.clone(), now.elapsed + COUNTING);
                return;
            }
            PlannedChange::Do(wish, reason) => {
                self.report.decided(&wish, pending, reason);
                match self.delayed_until(&wish, pending, now) {
                    Some(due) => self.delay(wish, due, pending, now),
                    None => self.queue.want(wish, pending, self.wall(now), fresh),
                }
            }
            PlannedChange::Nothing => {
                self.report.file_readable(path);
                if let Some(note) = known.upload.clone().filter(|_| !self.queue.is_running(path)) {
                    self.abandoned.push(note);
                }
                let invalidate = self.settings.invalidate.as_ref();
                let wall = self.wall(now);
                self.changes.extend(changes::stale_in_doubt(invalidate, pending, wall));
                self.queue.settle(path, pending)
            }
            PlannedChange::Later(wish, reason, left) => {
                self.young.note(path, now.elapsed + left, now.elapsed);
                self.report.decided(&wish, pending, reason);
                let change = self.queue.park(wish, BELOW_MIN_AGE, pending);
                if let Some(Change::Queue(row)) = &change {
                    self.report.too_young(row, left);
                }
                change
            }
            // What waits for the path stays as it is until that is known.
            PlannedChange::Leave(..) if looked.passing => None,
            PlannedChange::Leave(wish, reason, why) => {
                if why == WATCHED_DIRECTORY_EMPTY {
                    self.note_emptied(looked);
                }
                if let Some(reason) = reason {
                    self.report.decided(&wish, pending, reason);
                }
                self.park(wish, &why, pending)
            }
        };
        self.changes.extend(change);
        let closed = looked.rested.activity == WriteState::Done;
        self.queue.note_hint(path, looked.rested.mark, closed, fresh);
        self.flushes.decided(self.queue.is_partial());
    }

    fn park(&mut self, wish: QueueRow, reason: &str, known: Option<&QueueRow>) -> Option<Change> {
        let change = self.queue.park(wish, reason, known);
        // Those above the limit, and those of an empty directory, have one line together.
        if let Some(Change::Queue(row)) = &change
            && ![ABOVE_MAX_FILES, WATCHED_DIRECTORY_EMPTY].contains(&reason)
        {
            self.report.parked(row, reason);
        }
        change
    }
}
