//! The queue: one row for each path that has something to be done, and what may start now.
//!
//! # Invariants
//!
//! - At most one operation runs for a path; whatever is heard of the path meanwhile makes one more
//!   look when it has ended.
//! - A try begins only when its row, with the try counted, is on disk ([`Queue::start`] gives out
//!   the row; the engine starts the try when the record has answered). So after a crash the record
//!   names every object that may have been made.
//! - No failure takes a row off the queue. It waits for its time, or, parked, for a change.
//! - The oldest change starts first, but large files have no more than half of the tries that run at
//!   once, so that small ones pass them.
//! - Deletes start after the puts that were wanted before them: a renamed file is there under its new
//!   name before the old one goes. A put that has failed [`HOLDING_ATTEMPTS_MAX`] times holds up
//!   nothing any more.
//! - Deletes start many at once, [`DELETE_BATCH_MAX`] at most, and count as one try: they are one
//!   request.
//! - If more deletes are wanted than the limits allow, none starts.
//! - Memory is bounded by [`Settings::window_max`] rows; the rest waits in the record.
//!
//! All of it is pure: time and randomness are arguments, and changes of the record are given back.

mod asked;
mod backoff;
mod breaker;
mod window;

pub use backoff::Backoff;
pub use breaker::{Breaker, Turn};

use crate::model::{
    Effort, Failure, FailureClass, Operation, Outcome, Pending, RelPath, UnixMillis, Version,
};
use crate::store::{Change, Counts};
use window::{Class, Entry, State, Window};

/// Failed tries after which a put no longer holds up the deletes behind it.
pub const HOLDING_ATTEMPTS_MAX: u32 = 3;

/// A delete waits this long, so that what else a change brings (the new name of a renamed file, the
/// other ten thousand files of the directory) is known before it starts.
pub const DELETE_GRACE_MS: UnixMillis = 1_000;

/// Deletes that start together: what S3 takes in one request.
pub const DELETE_BATCH_MAX: usize = 1_000;

/// How long a delete that may start waits for others in their grace to go with it.
const DELETE_GATHER_MS: UnixMillis = 2_000;

/// The limits of the queue.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Tries that may run at once.
    pub concurrency: usize,
    /// Small puts that may be under way; those beyond [`concurrency`](Self::concurrency) wait for a
    /// lane of the transfer, their files read and their rows on disk, many by one commit.
    pub prepared: usize,
    /// Files above this are large, bytes.
    pub large_bytes: u64,
    /// Rows in memory.
    pub window_max: usize,
    /// Waits between the tries of one path.
    pub backoff: Backoff,
    /// Deletes wait for an operator if they are more than this part of what is mirrored …
    pub delete_limit_percent: u8,
    /// … and more than this many.
    pub delete_limit_count: u64,
}

/// Permission to try once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The row as it is on disk while the try runs.
    pub pending: Pending,
    /// What an earlier try may have left in the bucket.
    pub sent_before: Option<Version>,
    /// When it was last wanted; 0 if that was before the start.
    pub queued: UnixMillis,
}

/// What followed from the end of a try.
#[derive(Debug, Default)]
pub struct Ended {
    /// To be written.
    pub changes: Vec<Change>,
    /// The path has to be looked at once more …
    pub look_again: bool,
    /// … because of a hint with this mark …
    pub mark: u64,
    /// … that told that the file was closed.
    pub closed: bool,
    /// The breaker turned.
    pub turn: Option<Turn>,
}

/// The queue's window onto the record, and what may start.
#[derive(Debug)]
pub struct Queue {
    settings: Settings,
    window: Window,
    counts: Counts,
    breaker: Breaker,
    /// When something was started, or could have been, the last time.
    now: UnixMillis,
    /// Deletes that were wanted until then may be done, however many they are.
    approved_until: Option<UnixMillis>,
}

impl Queue {
    /// A queue over a record that holds `counts`; its rows come by [`refill`](Self::refill).
    #[must_use]
    pub fn new(settings: Settings, counts: Counts) -> Self {
        let breaker = Breaker::new(settings.backoff);
        let window = Window::new(settings.large_bytes);
        Self { settings, window, counts, breaker, now: 0, approved_until: None }
    }

    /// How much the record held after the latest commit.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A commit has changed how much the record holds.
    pub fn set_counts(&mut self, counts: Counts) {
        self.counts = counts;
    }

    /// Tries under way.
    #[must_use]
    pub fn running(&self) -> usize {
        self.window.running()
    }

    /// What keeps S3 from taking anything, if something does.
    #[must_use]
    pub fn outage(&self) -> Option<FailureClass> {
        self.breaker.outage().map(|(class, _)| class)
    }

    /// Since when that is so.
    #[must_use]
    pub fn outage_since(&self) -> Option<UnixMillis> {
        self.breaker.outage_since()
    }

    /// Whether deletes wait for an operator: more are wanted than both limits allow.
    #[must_use]
    pub fn deletes_held(&self) -> bool {
        let Counts { deletes, mirrored, .. } = self.counts;
        let percent = u64::from(self.settings.delete_limit_percent);
        deletes > self.settings.delete_limit_count
            && deletes.saturating_mul(100) > mirrored.saturating_mul(percent)
    }

    /// Whether rows wait in the record that the window has room for.
    #[must_use]
    pub fn wants_refill(&self) -> bool {
        self.outside() > 0 && self.window.len() <= self.settings.window_max / 2
    }

    /// Wants `wanted` done. `known` is the row the record has for the path.
    pub fn want(
        &mut self,
        wanted: Pending,
        known: Option<&Pending>,
        now: UnixMillis,
    ) -> Option<Change> {
        if self.window.note_if_running(&wanted.path) {
            return None;
        }
        let entry = self.window.remove(&wanted.path);
        let mark = entry.as_ref().map_or(u64::MAX, |entry| entry.mark);
        let before = entry.as_ref().map(|entry| &entry.pending).or(known);
        let row = merged(wanted, before, now);
        if self.window.len() < self.settings.window_max {
            self.window.insert_new(row.clone(), now, mark);
        }
        Some(Change::Queue(row))
    }

    /// `directory` is about to be compared with the record, which does not tell of an object until
    /// its try has ended: what runs there is looked at again.
    pub fn comparing(&mut self, directory: &RelPath, mark: u64) {
        self.window.note_running_within(directory, mark);
    }

    /// Nothing is to be done about `path` any more.
    pub fn settle(&mut self, path: &RelPath, known: Option<&Pending>) -> Option<Change> {
        if self.window.note_if_running(path) {
            return None;
        }
        let queued = self.window.remove(path).is_some() || known.is_some();
        queued.then(|| Change::Settled(path.clone()))
    }

    /// `path` can have nothing done until it changes: a name without a key, a file that cannot be
    /// read. `None` where that is known already.
    pub fn park(
        &mut self,
        wanted: Pending,
        reason: &str,
        known: Option<&Pending>,
    ) -> Option<Change> {
        if self.window.note_if_running(&wanted.path) {
            return None;
        }
        let before = self.window.remove(&wanted.path).map(|entry| entry.pending);
        let before = before.as_ref().or(known);
        if before.is_some_and(|before| before.parked.as_deref() == Some(reason)) {
            return None;
        }
        let since = before.map_or(wanted.since, |before| before.since);
        let sent = before.and_then(|before| before.sent);
        let row = Pending { parked: Some(reason.to_owned()), since, sent, ..wanted };
        Some(Change::Queue(row))
    }

    /// Takes rows of the record into the window, as far as there is room and they are not there.
    pub fn refill(&mut self, rows: Vec<Pending>) {
        for row in rows {
            if self.window.len() >= self.settings.window_max {
                break;
            }
            if !self.window.contains(&row.path) {
                // Nobody knows any more which hint it goes back to.
                self.window.insert_new(row, 0, 0);
            }
        }
    }

    /// Permissions for what may start now, the oldest change first. Each is running from here on;
    /// its row has to be on disk before the try begins.
    pub fn start(&mut self, now: UnixMillis, deletes_may_start: bool) -> Vec<Lease> {
        self.now = now;
        self.window.promote(now);
        // While S3 takes nothing, one probe is all there is.
        let limit = match self.breaker.outage() {
            Some(_) => self.breaker.limit(now, self.settings.concurrency),
            None => self.settings.prepared,
        };
        let mut leases = Vec::new();
        while self.occupied() < limit {
            let Some(class) = self.next(deletes_may_start) else { break };
            let together = match class {
                // A probe of S3 is one.
                Class::Delete if self.breaker.outage().is_none() => DELETE_BATCH_MAX,
                Class::Small | Class::Large | Class::Delete => 1,
            };
            for _ in 0..together {
                let Some((since, path)) = self.window.next_ready(class) else { break };
                let held = self.deletes_held() && self.is_unapproved(since);
                let held_up = held || self.window.is_held_up(since + DELETE_GRACE_MS);
                if class == Class::Delete && held_up {
                    break;
                }
                let path = path.clone();
                leases.extend(self.lease(&path));
            }
        }
        leases
    }

    /// Tries under way; deletes are one.
    #[must_use]
    pub fn occupied(&self) -> usize {
        let deletes = self.window.running_of(Class::Delete).min(1);
        self.window.running_of(Class::Small) + self.window.running_of(Class::Large) + deletes
    }

    /// Of which class the next is that may start: that of the oldest change.
    fn next(&self, deletes_may_start: bool) -> Option<Class> {
        let large_max = self.settings.concurrency.div_ceil(2);
        let may_start = |class: &Class| match class {
            Class::Small => true,
            Class::Large => self.window.running_of(Class::Large) < large_max,
            Class::Delete => deletes_may_start && self.delete_may_start(),
        };
        [Class::Small, Class::Large, Class::Delete]
            .into_iter()
            .filter(may_start)
            .filter_map(|class| Some((self.window.next_ready(class)?.0, class)))
            .min_by_key(|(since, _)| *since)
            .map(|(_, class)| class)
    }

    fn delete_may_start(&self) -> bool {
        let Some((since, _)) = self.window.next_ready(Class::Delete) else { return false };
        let complete = self.window.ready(Class::Delete) >= DELETE_BATCH_MAX
            || !self.window.is_gathering()
            || self.gathered_at().is_some_and(|gathered| self.now >= gathered);
        let running = self.window.running_of(Class::Delete) > 0;
        let held = self.deletes_held() && self.is_unapproved(since);
        complete && !running && !held && !self.window.is_held_up(since + DELETE_GRACE_MS)
    }

    /// When the delete that is next no longer waits for others.
    fn gathered_at(&self) -> Option<UnixMillis> {
        self.window.delete_ready_at().map(|ready| ready + DELETE_GATHER_MS)
    }

    /// A try has ended.
    pub fn end(
        &mut self,
        path: &RelPath,
        outcome: &Outcome,
        now: UnixMillis,
        jitter: f64,
    ) -> Ended {
        let Some(mut entry) = self.window.remove(path) else { return Ended::default() };
        let again = entry.state == State::Running { again: true };
        let turn = self.tell_breaker(outcome, now, jitter);
        let mark = std::mem::replace(&mut entry.again_mark, u64::MAX);
        let closed = std::mem::take(&mut entry.again_closed);
        let mut ended = Ended { look_again: again, mark, closed, turn, ..Ended::default() };
        match outcome {
            Outcome::Mirrored(mirrored, _) => {
                ended.changes.push(Change::Mirrored(path.clone(), mirrored.clone()));
            }
            Outcome::Deleted => ended.changes.push(Change::Forgotten(path.clone())),
            Outcome::LookAgain(_) => {
                // The look will want it again, or settle it; until then it waits, and is not lost.
                entry.pending.attempts = entry.pending.attempts.saturating_sub(1);
                entry.pending.next_try = now + self.settings.backoff.max_ms;
                entry.pending.sent = entry.sent_before;
                entry.state = State::Waiting;
                ended.look_again = true;
                entry.mark = entry.mark.min(mark);
                ended.mark = entry.mark;
                self.window.insert(entry);
            }
            Outcome::Failed(failure) => {
                let change = self.failed(entry, failure, now, jitter);
                ended.changes.push(change);
            }
        }
        if let Some(Turn::Closed(_)) = turn {
            self.release(now);
        }
        ended
    }

    /// The next moment at which something may start by itself.
    #[must_use]
    pub fn next_due(&self, deletes_may_start: bool) -> Option<UnixMillis> {
        let gathered = self.gathered_at().filter(|gathered| *gathered > self.now);
        let waiting = self.window.next_try().into_iter().chain(gathered).min();
        match self.breaker.next_probe() {
            None => waiting,
            // While S3 is away nothing starts before the probe, and the probe needs something.
            Some(probe) if self.next(deletes_may_start).is_some() => Some(probe),
            Some(probe) => waiting.map(|waiting| waiting.max(probe)),
        }
    }

    /// Whether a try of `path` is under way.
    #[must_use]
    pub fn is_running(&self, path: &RelPath) -> bool {
        self.window.is_running(path)
    }

    /// Everything that waits may be tried at once: the daemon stops, or an operator asked.
    pub fn rush(&mut self, now: UnixMillis) {
        self.breaker.rush(now);
        self.window.hasten(now, |_| true);
    }

    /// Whether nothing is left that will be tried by itself within `tries` tries of this process.
    #[must_use]
    pub fn is_drained(&self, tries: u32) -> bool {
        let given_up = self.breaker.outage().is_some_and(|(_, probes)| probes >= tries);
        if given_up {
            return self.window.running() == 0;
        }
        self.window.running() == 0
            && !self.wants_refill()
            && self
                .window
                .entries()
                .all(|entry| entry.tries >= tries || (self.deletes_held() && self.is_held(entry)))
    }

    /// Rows in the record, not parked, that are not in the window.
    fn outside(&self) -> u64 {
        let inside = u64::try_from(self.window.len()).unwrap_or(u64::MAX);
        self.counts.pending.saturating_sub(self.counts.parked).saturating_sub(inside)
    }

    fn lease(&mut self, path: &RelPath) -> Option<Lease> {
        let mut entry = self.window.remove(path)?;
        let row = &mut entry.pending;
        row.attempts = row.attempts.saturating_add(1);
        entry.sent_before = row.sent;
        // Until there is an answer the bucket may hold this, or, for a delete, nothing.
        row.sent = Some(row.version);
        let (pending, queued) = (row.clone(), entry.queued);
        let lease = Lease { pending, sent_before: entry.sent_before, queued };
        entry.tries = entry.tries.saturating_add(1);
        entry.state = State::Running { again: false };
        self.window.insert(entry);
        Some(lease)
    }

    fn failed(
        &mut self,
        mut entry: Entry,
        failure: &Failure,
        now: UnixMillis,
        jitter: f64,
    ) -> Change {
        let row = &mut entry.pending;
        row.error = Some(format!("{}: {}", failure.code, failure.message));
        row.next_try = now + self.settings.backoff.wait_ms(row.attempts, jitter);
        if !failure.answer_lost {
            row.sent = entry.sent_before;
        }
        if failure.class == FailureClass::File {
            row.parked = Some(failure.code.clone());
            return Change::Queue(entry.pending);
        }
        let change = Change::Queue(row.clone());
        entry.failed = Some(failure.class);
        entry.state = State::Waiting;
        self.window.insert(entry);
        change
    }

    fn tell_breaker(&mut self, outcome: &Outcome, now: UnixMillis, jitter: f64) -> Option<Turn> {
        match outcome {
            Outcome::Mirrored(_, Effort::Unchanged) | Outcome::LookAgain(_) => None,
            Outcome::Mirrored(..) | Outcome::Deleted => self.breaker.succeeded(now),
            Outcome::Failed(failure) => match failure.class {
                FailureClass::Unavailable | FailureClass::Throttled | FailureClass::Refused => {
                    self.breaker.failed(failure.class, now, jitter)
                }
                // S3 answered, and about this object only.
                FailureClass::Object => self.breaker.succeeded(now),
                FailureClass::File => None,
            },
        }
    }

    /// The outage is over: what failed because of it need not wait any longer.
    fn release(&mut self, now: UnixMillis) {
        self.window.hasten(now, |entry| {
            let together =
                [FailureClass::Unavailable, FailureClass::Throttled, FailureClass::Refused];
            entry.failed.is_some_and(|class| together.contains(&class))
        });
    }
}

/// A new wish joins the row of its path: it keeps the row's age, and its back-off if it is the same
/// wish once more.
fn merged(wanted: Pending, before: Option<&Pending>, now: UnixMillis) -> Pending {
    let mut row = wanted;
    row.next_try = now;
    if let Some(before) = before {
        row.since = row.since.min(before.since);
        row.sent = before.sent;
        let same = row.operation == before.operation && row.version == before.version;
        if same && before.parked.is_none() {
            row.attempts = before.attempts;
            row.error.clone_from(&before.error);
        }
    }
    if row.operation == Operation::Delete {
        row.next_try = now + DELETE_GRACE_MS;
        match before.filter(|before| before.operation == Operation::Delete) {
            // However often it is wanted, the grace ends.
            Some(before) if before.parked.is_none() => {
                row.next_try = row.next_try.min(before.next_try);
            }
            Some(_) => {}
            // The age of a put says nothing about the delete that takes its place.
            None => row.since = now,
        }
    }
    row
}

#[cfg(test)]
mod tests;
