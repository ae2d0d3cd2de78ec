//! The queue: one row for each path that has something to be done, and what may start now.
//!
//! # Invariants
//!
//! - At most one operation runs for a path; whatever is heard of the path meanwhile makes one more
//!   look when it has ended.
//! - A try begins only when its row, with the try counted, is on disk ([`Queue::start`] gives out
//!   the row; the engine starts the try when the record has answered). So after a crash the record
//!   names every object that may have been made.
//! - A row says that the bucket may hold something until an attempt has shown what it holds: all
//!   requests of an attempt decide whether it changed anything, not the last one that failed.
//! - No failure takes a row off the queue. It waits for its time, or, parked, for a change.
//! - A change that was seen when it happened is fresh, and starts before the backlog, which keeps a quarter
//!   of the starts: see [`Lane`]. Within a lane the oldest change starts first, but large files have no more
//!   than half of the tries that run at once, so that small ones pass them.
//! - Deletes start after the puts that were wanted before them: a renamed file is there under its new
//!   name before the old one goes. A fresh delete waits only for the puts that may be that new name: fresh
//!   ones, and copies. A put that has failed [`HOLDING_ATTEMPTS_MAX`] times holds up nothing any more.
//! - Deletes start many at once, [`DELETE_BATCH_MAX`] at most, and count as one try: they are one
//!   request.
//! - If more deletes are wanted than the limits allow, none starts.
//! - A delete with a delay is not in the window before it is due: see [`Queue::delay`].
//! - Memory is bounded by [`QueueSettings::window_max`] rows; the rest waits in the state. A fresh
//!   change takes the place of the row of the backlog that would start last.
//!
//! All of it is pure: time and randomness are arguments, and changes of the record are given back.

mod asked;
mod backoff;
mod breaker;
mod concurrency;
mod delayed;
mod lane;
mod merge;
mod patience;
mod start;
mod window;

pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerTransition};
pub use concurrency::prepared;
pub use lane::Lane;
pub use patience::{OutageLimit, Patience};

use crate::model::{
    AttemptOutcome, DeleteLimit, Failure, FailureClass, Operation, Outcome, QueueRow,
    RecentDeletes, RelPath, UnixMillis, UploadDisposition, Version, WriteEffect,
};
use crate::store::{Change, StateCounts};
use lane::{Rank, RankTurns};
use merge::merged;
use std::collections::HashSet;
use window::{RowState, Window, WindowRow};

/// Failed tries after which a put no longer holds up the deletes behind it.
pub const HOLDING_ATTEMPTS_MAX: u32 = 3;

/// A delete waits this long, so that what else a change brings (the new name of a renamed file, the
/// other ten thousand files of the directory) is known before it starts.
pub const DELETE_GRACE_MS: UnixMillis = 1_000;

/// Deletes that start together: what S3 takes in one request.
pub const DELETE_BATCH_MAX: usize = 1_000;

/// How long a delete that may start waits for others in their grace to go with it.
const DELETE_GATHER_MS: UnixMillis = 2_000;

/// Pauses after a file could not be read because of an error that may pass by itself: whatever the
/// store needs, the disk is asked again within seconds.
const READ_BACKOFF: Backoff = Backoff { first_ms: 1_000, max_ms: 30_000 };

/// The longest pause that a store gets that asks for one (`Retry-After`).
const RETRY_AFTER_MAX_MS: UnixMillis = 60_000;

/// The limits of the queue.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// Requests that may be under way at once, at the start: see [`Queue::set_concurrency`].
    pub concurrency: usize,
    /// Small puts that may be under way, at the start: see [`prepared`].
    pub prepared: usize,
    /// Files above this are large, bytes.
    pub large_bytes: u64,
    /// Rows in memory.
    pub window_max: usize,
    /// Waits between the tries of one path.
    pub backoff: Backoff,
    /// More deletes than this wait for an operator.
    pub delete_limit: DeleteLimit,
    /// How long an object stays after its file.
    pub delete_delay_ms: UnixMillis,
    /// When a single run gives up; none for a daemon.
    pub patience: Option<Patience>,
}

/// Permission to try once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The row as it is on disk while the try runs.
    pub pending: QueueRow,
    /// What an earlier try may have left in the bucket.
    pub sent_before: Option<Version>,
    /// When it was last wanted; 0 if that was before the start.
    pub queued: UnixMillis,
    /// Why it waited.
    pub lane: Lane,
}

/// What followed from the end of a try.
#[derive(Debug, Default)]
pub struct AttemptResult {
    /// To be written.
    pub changes: Vec<Change>,
    /// The path has to be looked at once more …
    pub look_again: bool,
    /// … because of a hint with this mark …
    pub mark: u64,
    /// … that reported the close of the file …
    pub closed: bool,
    /// … and of a change that was seen when it happened.
    pub fresh: bool,
    /// The breaker turned.
    pub turn: Option<BreakerTransition>,
}

/// The queue's window onto the record, and what may start.
#[derive(Debug)]
pub struct Queue {
    settings: QueueSettings,
    window: Window,
    counts: StateCounts,
    breaker: Breaker,
    turns: RankTurns,
    /// A put that may hold up fresh deletes may wait in the record where the window does not know of it:
    /// until the window is empty, every delete waits for every put before it.
    unseen_holding: bool,
    /// What has left the window since the record was asked for rows: its answer may be older.
    departed: Option<HashSet<RelPath>>,
    /// When something was started, or could have been, the last time.
    now: UnixMillis,
    /// Deletes that were wanted until then may be done, however many they are.
    approved_until: Option<UnixMillis>,
    /// Deletes that were done without approval, or wanted with a delay.
    recent_deletes: RecentDeletes,
    /// They have changed since they were written.
    recent_changed: bool,
    /// Rows of deletes that the record is giving out are void.
    deletes_cancelled: bool,
    /// How long it keeps on trying, if it is to come to its end.
    patience: Option<Patience>,
    /// Since when that is so.
    trying_since: UnixMillis,
}

impl Queue {
    /// A queue over a record that holds `counts`; its rows come by [`refill`](Self::refill).
    #[must_use]
    pub fn new(settings: QueueSettings, counts: StateCounts) -> Self {
        let mut breaker = Breaker::new(settings.backoff);
        let patience = settings.patience;
        if let Some(Patience { pause_max_ms, .. }) = patience {
            breaker.count_anew(pause_max_ms);
        }
        let window = Window::new(settings.large_bytes);
        Self {
            settings,
            window,
            counts,
            breaker,
            turns: RankTurns::default(),
            unseen_holding: false,
            departed: None,
            now: 0,
            approved_until: None,
            recent_deletes: RecentDeletes::default(),
            recent_changed: false,
            deletes_cancelled: false,
            patience,
            trying_since: 0,
        }
    }

    /// How much the record held after the latest commit.
    #[must_use]
    pub fn counts(&self) -> StateCounts {
        self.counts
    }

    /// A commit has changed how much the record holds.
    pub fn set_counts(&mut self, counts: StateCounts) {
        self.counts = counts;
        self.unseen_holding &= self.outside() > 0 || self.window.len() > 0;
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

    /// Whether rows wait in the record that the window has room for.
    #[must_use]
    pub fn wants_refill(&self) -> bool {
        self.outside() > 0 && self.window.len() <= self.settings.window_max / 2
    }

    /// Wants `wanted` done. `known` is the row the record has for the path; `fresh` says that the change was
    /// seen when it happened.
    pub fn want(
        &mut self,
        wanted: QueueRow,
        known: Option<&QueueRow>,
        now: UnixMillis,
        fresh: bool,
    ) -> Option<Change> {
        if self.window.note_if_running(&wanted.path) {
            return None;
        }
        let entry = self.take_out(&wanted.path);
        // The hint of a row that may have waited in the state is no longer known.
        let unseen = if self.is_partial() { 0 } else { u64::MAX };
        let mark = entry.as_ref().map_or(unseen, |entry| entry.mark);
        let before = entry.as_ref().map(|entry| &entry.pending).or(known);
        self.note_undelayed(before);
        let row = merged(wanted, before, now);
        let row = self.due_now(row, before, now);
        let fresh = if fresh { Some(now) } else { entry.as_ref().and_then(|entry| entry.fresh) };
        if self.has_room_for(fresh) {
            self.window.insert_new(row.clone(), now, mark, fresh);
            if let Some(entry) = &entry {
                self.window.carry_over(entry);
            }
        } else {
            self.unseen_holding |= fresh.is_some() || row.copy_from.is_some();
        }
        Some(Change::Queue(row))
    }

    /// Makes room in the window for a change that is fresh.
    fn has_room_for(&mut self, fresh: Option<UnixMillis>) -> bool {
        if fresh.is_some() && self.window.len() >= self.settings.window_max {
            let evicted = self.window.evict();
            self.unseen_holding |= evicted.is_some_and(|entry| entry.holds_fresh());
        }
        self.window.len() < self.settings.window_max
    }

    /// `directory` is about to be compared with the state, which names an object only after its attempt
    /// has ended: paths with a running attempt there are inspected again.
    pub fn comparing(&mut self, directory: &RelPath, mark: u64) {
        self.window.note_running_within(directory, mark);
    }

    /// Nothing has to be done about `path` any more.
    pub fn settle(&mut self, path: &RelPath, known: Option<&QueueRow>) -> Option<Change> {
        if self.window.note_if_running(path) {
            return None;
        }
        let queued = self.take_out(path).is_some() || known.is_some();
        self.note_undelayed(known);
        queued.then(|| Change::Settled(path.clone()))
    }

    /// `path` can have nothing done until it changes: a name without a key, a file that cannot be
    /// read. `None` where that is known already.
    pub fn park(
        &mut self,
        wanted: QueueRow,
        reason: &str,
        known: Option<&QueueRow>,
    ) -> Option<Change> {
        if self.window.note_if_running(&wanted.path) {
            return None;
        }
        let before = self.take_out(&wanted.path).map(|entry| entry.pending);
        let before = before.as_ref().or(known);
        if before.is_some_and(|before| before.parked.as_deref() == Some(reason)) {
            return None;
        }
        self.note_undelayed(before);
        let since = before.map_or(wanted.since, |before| before.since);
        let sent = before.and_then(|before| before.sent);
        let row = QueueRow { parked: Some(reason.to_owned()), since, sent, ..wanted };
        Some(Change::Queue(row))
    }

    /// The record is being asked for rows.
    pub fn begin_refill(&mut self) {
        self.departed = Some(HashSet::new());
    }

    /// Takes the row of `path` out of the window; what the record has of it will be another one.
    fn take_out(&mut self, path: &RelPath) -> Option<WindowRow> {
        if let Some(departed) = &mut self.departed {
            departed.insert(path.clone());
        }
        self.window.remove(path)
    }

    /// Takes rows of the record into the window, as far as there is room and they are not there.
    pub fn refill(&mut self, rows: Vec<QueueRow>) {
        let departed = self.departed.take().unwrap_or_default();
        let cancelled = std::mem::take(&mut self.deletes_cancelled);
        for row in rows {
            if cancelled && row.operation == Operation::Delete {
                continue;
            }
            if self.window.len() >= self.settings.window_max {
                break;
            }
            if !self.window.contains(&row.path) && !departed.contains(&row.path) {
                // Its hint is no longer known.
                self.window.insert_new(row, 0, 0, None);
            }
        }
        if self.patience.is_some() {
            let soon = self.now;
            let untried = |entry: &WindowRow| entry.tries == 0;
            self.window.expedite(soon, untried);
        }
    }

    /// A try has ended.
    pub fn end(
        &mut self,
        path: &RelPath,
        attempted: &AttemptOutcome,
        now: UnixMillis,
        jitter: f64,
    ) -> AttemptResult {
        let Some(mut entry) = self.take_out(path) else { return AttemptResult::default() };
        let outcome = &attempted.outcome;
        if attempted.written == WriteEffect::No {
            // The bucket is as it was before: the row describes earlier attempts only.
            entry.pending.sent = entry.sent_before;
        }
        let again = entry.state == RowState::Running { again: true };
        let turn = self.record_in_breaker(outcome, now, jitter);
        let mark = std::mem::replace(&mut entry.again_mark, u64::MAX);
        let closed = std::mem::take(&mut entry.again_closed);
        let fresh = std::mem::take(&mut entry.again_fresh);
        let mut ended = AttemptResult {
            look_again: again,
            mark,
            closed,
            fresh,
            turn,
            ..AttemptResult::default()
        };
        match outcome {
            Outcome::Mirrored(mirrored, _) => {
                ended.changes.push(Change::Mirrored(path.clone(), mirrored.clone()));
            }
            Outcome::Deleted => {
                ended.changes.push(Change::Forgotten(path.clone()));
                self.count_delete(&entry, now);
            }
            // The object is the other writer's now.
            Outcome::Yielded => ended.changes.push(Change::Forgotten(path.clone())),
            Outcome::LookAgain(_) => {
                // The look will want it again, or settle it; until then it waits, and is not lost.
                entry.pending.attempts = entry.pending.attempts.saturating_sub(1);
                entry.pending.next_try = now + self.settings.backoff.max_ms;
                entry.state = RowState::Waiting;
                ended.look_again = true;
                entry.mark = entry.mark.min(mark);
                ended.mark = entry.mark;
                ended.fresh |= entry.fresh.is_some();
                self.window.insert(entry);
            }
            Outcome::Failed(failure) => {
                let change = self.failed(entry, failure, now, jitter);
                ended.changes.push(change);
            }
        }
        if let Some(BreakerTransition::Closed(_)) = turn {
            self.release(now);
        }
        ended
    }

    /// The next moment at which something may start by itself.
    #[must_use]
    pub fn next_due(&self, deletes_may_start: bool) -> Option<UnixMillis> {
        let gathered = Rank::ALL.into_iter().filter_map(|rank| self.gathered_at(rank));
        let gathered = gathered.filter(|gathered| *gathered > self.now);
        let released = self.delete_release();
        let waiting = self.window.next_try().into_iter().chain(gathered).chain(released).min();
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

    /// Whether the row of `path` is in memory.
    #[must_use]
    pub fn has_in_window(&self, path: &RelPath) -> bool {
        self.window.contains(path)
    }

    /// Rows in the record, not parked, that are not in the window.
    fn outside(&self) -> u64 {
        let inside = u64::try_from(self.window.len()).unwrap_or(u64::MAX);
        self.counts.pending.saturating_sub(self.counts.parked).saturating_sub(inside)
    }

    fn failed(
        &mut self,
        mut entry: WindowRow,
        failure: &Failure,
        now: UnixMillis,
        jitter: f64,
    ) -> Change {
        let pause = self.pause_granted(failure);
        let reading = failure.class == FailureClass::Read;
        let mut backoff = if reading { READ_BACKOFF } else { self.settings.backoff };
        if let Some(patience) = self.patience {
            backoff.max_ms = backoff.max_ms.min(patience.pause_max_ms);
        }
        let row = &mut entry.pending;
        row.error = Some(failure.summary());
        row.next_try = now + backoff.wait_ms(row.attempts, jitter).max(pause);
        if failure.class == FailureClass::File {
            row.parked = Some(failure.code.clone());
            return Change::Queue(entry.pending);
        }
        let change = Change::Queue(row.clone());
        entry.failed = Some(failure.class);
        entry.rank = Rank::from_entry(&entry.pending, entry.fresh, now);
        entry.state = RowState::Waiting;
        self.window.insert(entry);
        change
    }

    fn record_in_breaker(
        &mut self,
        outcome: &Outcome,
        now: UnixMillis,
        jitter: f64,
    ) -> Option<BreakerTransition> {
        match outcome {
            Outcome::Mirrored(_, UploadDisposition::Unchanged) | Outcome::LookAgain(_) => None,
            Outcome::Mirrored(..) | Outcome::Deleted | Outcome::Yielded => {
                self.breaker.succeeded(now)
            }
            Outcome::Failed(failure) => match failure.class {
                FailureClass::Unavailable | FailureClass::Throttled | FailureClass::Refused => {
                    let turn = self.breaker.failed(failure.class, now, jitter);
                    self.breaker.not_before(now + self.pause_granted(failure));
                    turn
                }
                // S3 answered, and about this object only.
                FailureClass::Object => self.breaker.succeeded(now),
                FailureClass::File | FailureClass::Read => None,
            },
        }
    }

    /// The pause that the store asks for, as far as it gets it.
    fn pause_granted(&self, failure: &Failure) -> UnixMillis {
        let most = self.patience.map_or(RETRY_AFTER_MAX_MS, |patience| patience.pause_max_ms);
        failure.retry_after_ms.unwrap_or(0).min(most)
    }

    /// The outage is over: what failed because of it need not wait any longer.
    fn release(&mut self, now: UnixMillis) {
        self.window.expedite(now, |entry| {
            let together =
                [FailureClass::Unavailable, FailureClass::Throttled, FailureClass::Refused];
            entry.failed.is_some_and(|class| together.contains(&class))
        });
    }
}

#[cfg(test)]
mod tests;
