//! When to send what to the CDN: quiet times, budgets, quotas, waits after failures. Pure.
//!
//! # Invariants
//!
//! - What waits is sent after a quiet time, after a longest wait at the latest, and never while the
//!   month's budget is spent.
//! - Nothing new is made while a batch waits to be accepted: what comes meanwhile joins the next one.
//! - In any second there is at most one call, one wildcard, and [`PATHS_AT_ONCE`] and a half paths;
//!   in progress are never more than [`RUNNING_PATHS_MAX`], [`RUNNING_WILDCARDS_MAX`] and
//!   [`RUNNING_MAX`].

use super::bucket::Bucket;
use super::port::{Kind, Status, Trouble};
use crate::cover::Limits;
use crate::model::{Batch, Month, UnixMillis, millis};
use crate::queue::Backoff;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Paths in one request; the quota is 150 a second.
pub(super) const PATHS_AT_ONCE: u32 = 100;
/// Paths in progress; CloudFront allows 3,000.
pub(super) const RUNNING_PATHS_MAX: u64 = 2_000;
/// Wildcards in progress, and so those made at once; CloudFront allows 15.
pub(super) const RUNNING_WILDCARDS_MAX: u64 = 10;
/// Requests in progress, each of which is asked about.
pub(super) const RUNNING_MAX: usize = 100;

/// Longest wait, in quiet times.
pub(super) const LONGEST_WAIT: u32 = 6;
/// The last part of the budget is spent on wildcards only.
const LOW_BUDGET_PART: u64 = 10;
/// How long until it is asked how far an invalidation is; P95 of completion is 25 s.
const ASK: Backoff = Backoff { first_ms: 5_000, max_ms: 30_000 };
/// An invalidation nobody can tell of is taken for completed after this time.
const ASSUMED_AFTER: Duration = Duration::from_secs(900);
/// Wait after the first failure.
const RETRY_FIRST_MS: UnixMillis = 1_000;
/// Wait for others to end, the first and the longest one.
const CROWDED: Backoff = Backoff { first_ms: 5_000, max_ms: 60_000 };
/// While the budget is spent the calendar is looked at this often.
const CALENDAR: Duration = Duration::from_secs(60);

/// What the batcher goes by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Rest after the last change.
    pub quiet: Duration,
    /// Entries of one directory; more become a wildcard.
    pub wildcard_threshold: usize,
    /// Paths made at once, 100 at the most.
    pub paths_at_once: usize,
    /// Paths a month; 0 for no limit.
    pub monthly_limit: u64,
    /// The longest wait after a failure.
    pub retry_max: Duration,
}

/// The time, as an argument.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Since the start; never goes back.
    pub(super) elapsed: Duration,
    /// Wall clock, for the calendar.
    pub(super) wall: UnixMillis,
    /// Randomness for waits, between 0 and 1.
    pub(super) jitter: f64,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Make batches of all that waits, within these limits.
    Take(Limits),
    /// Count this batch in this month's budget: the one it was made in is over.
    Recount(Batch),
    /// Send this batch.
    Create(Batch),
    /// Ask how far this batch is.
    Ask(Batch),
    /// Nothing before this time, or before something changes.
    Wait(Option<Duration>),
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is under way.
    Accepted,
    /// It is done.
    Completed,
    /// It is sent again later.
    Later,
    /// It has to be made anew.
    Unfit,
}

#[derive(Debug)]
struct Running {
    batch: Batch,
    since: Duration,
    next_ask: Duration,
    asks: u32,
}

/// All that is known of what waits, is sent, and is in progress.
#[derive(Debug)]
pub(super) struct Batcher {
    settings: Settings,
    waiting: u64,
    /// When the first and the last of what waits was noticed.
    noticed: Option<(Duration, Duration)>,
    rushing: bool,
    open: VecDeque<Batch>,
    next_try: Duration,
    failures: u32,
    refused: bool,
    running: Vec<Running>,
    spent: BTreeMap<Month, u64>,
    calls: Bucket,
    paths: Bucket,
    wildcards: Bucket,
}

impl Batcher {
    /// A batcher over what the record holds: batches, and what was spent in which month.
    pub(super) fn new(
        settings: Settings,
        batches: Vec<Batch>,
        spent: impl IntoIterator<Item = (Month, u64)>,
    ) -> Self {
        let (running, open): (Vec<_>, Vec<_>) =
            batches.into_iter().partition(|batch| batch.accepted.is_some());
        let started =
            |batch| Running { batch, since: Duration::ZERO, next_ask: Duration::ZERO, asks: 0 };
        Self {
            settings,
            waiting: 0,
            noticed: None,
            rushing: false,
            open: open.into(),
            next_try: Duration::ZERO,
            failures: 0,
            refused: false,
            running: running.into_iter().map(started).collect(),
            spent: spent.into_iter().collect(),
            calls: Bucket::new(1, 1.0),
            paths: Bucket::new(PATHS_AT_ONCE, f64::from(PATHS_AT_ONCE) / 2.0),
            wildcards: Bucket::new(1, 0.8),
        }
    }

    /// So many paths wait now.
    pub(super) fn waiting(&mut self, paths: u64, now: Now) {
        if paths > self.waiting {
            let first = self.noticed.map_or(now.elapsed, |(first, _)| first);
            self.noticed = Some((first, now.elapsed));
        } else if paths == 0 {
            self.noticed = None;
        }
        self.waiting = paths;
    }

    /// Nothing rests any longer, and what failed is tried at once.
    pub(super) fn rush(&mut self, now: Now) {
        self.rushing = true;
        (self.failures, self.refused) = (0, false);
        self.next_try = self.next_try.min(now.elapsed);
    }

    /// Whether it was told to rush.
    pub(super) fn is_rushing(&self) -> bool {
        self.rushing
    }

    /// These were made of all that waited, `left` of which came since.
    pub(super) fn made(&mut self, batches: Vec<Batch>, left: u64, now: Now) {
        for batch in &batches {
            *self.spent.entry(batch.month).or_default() += batch.size();
        }
        self.open.extend(batches);
        (self.waiting, self.noticed) = (0, None);
        self.waiting(left, now);
    }

    /// This batch takes the place of the first open one, which counted for `counted` in its month.
    pub(super) fn replaced(&mut self, batch: Batch, counted: u64) {
        *self.spent.entry(batch.month).or_default() += counted;
        self.open.pop_front();
        self.open.push_front(batch);
    }

    /// What to do now.
    pub(super) fn step(&mut self, now: Now) -> Step {
        let month = Month::at(now.wall);
        let mut next = [None, None, None];
        if let Some(batch) = self.open.front() {
            if batch.month == month {
                next[0] = self.open_at(batch);
            } else if self.room(month) >= batch.size() {
                return Step::Recount(Batch { month, ..batch.clone() });
            } else {
                next[0] = Some(now.elapsed + CALENDAR);
            }
        } else if self.is_exhausted(now) {
            next[1] = (self.waiting > 0).then_some(now.elapsed + CALENDAR);
        } else {
            next[1] = self.take_at();
        }
        let asked = self.running.iter().enumerate().min_by_key(|(_, running)| running.next_ask);
        next[2] = asked.map(|(_, running)| running.next_ask.max(self.calls.ready_at(1)));
        let is_due = |at: Option<Duration>| at.is_some_and(|at| at <= now.elapsed);
        if is_due(next[0])
            && let Some(batch) = self.open.front().cloned()
        {
            self.calls.spend(1, now.elapsed);
            self.paths.spend(batch.size(), now.elapsed);
            self.wildcards.spend(batch.wildcards(), now.elapsed);
            return Step::Create(batch);
        }
        if is_due(next[1]) {
            return Step::Take(self.limits(month));
        }
        if let (true, Some((index, _))) = (is_due(next[2]), asked) {
            self.calls.spend(1, now.elapsed);
            return Step::Ask(self.running[index].batch.clone());
        }
        Step::Wait(next.into_iter().flatten().min())
    }

    /// The first open batch was sent, and this was the answer.
    pub(super) fn created(&mut self, answer: &Result<Status, Trouble>, now: Now) -> Verdict {
        match answer {
            Ok(status) => {
                (self.failures, self.refused, self.next_try) = (0, false, now.elapsed);
                let Some(batch) = self.open.pop_front() else { return Verdict::Completed };
                if status.completed {
                    return Verdict::Completed;
                }
                let batch = Batch { accepted: Some(status.id.clone()), ..batch };
                let wait = ASK.wait_ms(1, now.jitter);
                let next_ask = now.elapsed + Duration::from_millis(wait);
                self.running.push(Running { batch, since: now.elapsed, next_ask, asks: 0 });
                Verdict::Accepted
            }
            Err(trouble) => {
                self.failures = self.failures.saturating_add(1);
                self.refused = trouble.kind == Kind::Refused;
                self.next_try = now.elapsed + self.wait_after(trouble.kind, now);
                let everything = |batch: &Batch| batch.size() == 1 && batch.wildcards() == 1;
                if trouble.kind == Kind::Unfit && !self.open.front().is_some_and(everything) {
                    return Verdict::Unfit;
                }
                Verdict::Later
            }
        }
    }

    /// It was asked how far `batch` is, and this was the answer.
    pub(super) fn asked(
        &mut self,
        batch: &Batch,
        answer: &Result<Status, Trouble>,
        now: Now,
    ) -> Verdict {
        let Some(index) = self.running.iter().position(|running| running.batch.id == batch.id)
        else {
            return Verdict::Completed;
        };
        let running = &mut self.running[index];
        running.asks = running.asks.saturating_add(1);
        let wait = Duration::from_millis(ASK.wait_ms(running.asks, now.jitter));
        running.next_ask = now.elapsed + wait;
        let assumed = now.elapsed >= running.since + ASSUMED_AFTER;
        let completed = match answer {
            Ok(status) => status.completed,
            Err(trouble) => assumed || trouble.kind == Kind::Unknown,
        };
        if !completed {
            return Verdict::Later;
        }
        self.running.swap_remove(index);
        Verdict::Completed
    }

    /// Whether nothing is left that a process that ends should still wait for: all is accepted, or
    /// cannot be, within `tries`.
    pub(super) fn is_drained(&self, tries: u32, now: Now) -> bool {
        let month = Month::at(now.wall);
        match self.open.front() {
            Some(batch) => {
                let held = batch.month != month && self.room(month) < batch.size();
                held || self.refused || self.failures >= tries
            }
            None => self.waiting == 0 || self.is_exhausted(now),
        }
    }

    /// Whether the month's budget is spent.
    pub(super) fn is_exhausted(&self, now: Now) -> bool {
        self.room(Month::at(now.wall)) == 0
    }

    /// Whether what is left of the month's budget is for wildcards only.
    pub(super) fn is_low(&self, now: Now) -> bool {
        self.settings.monthly_limit > 0
            && self.room(Month::at(now.wall)) <= self.settings.monthly_limit / LOW_BUDGET_PART
    }

    /// Paths spent in the month of `now`.
    pub(super) fn spent(&self, now: Now) -> u64 {
        self.spent.get(&Month::at(now.wall)).copied().unwrap_or_default()
    }

    fn room(&self, month: Month) -> u64 {
        match self.settings.monthly_limit {
            0 => u64::MAX,
            limit => limit.saturating_sub(self.spent.get(&month).copied().unwrap_or_default()),
        }
    }

    fn limits(&self, month: Month) -> Limits {
        let (room, limit) = (self.room(month), self.settings.monthly_limit);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let low = limit > 0 && self.room(month) <= limit / LOW_BUDGET_PART;
        let items = if low { 1 } else { self.settings.paths_at_once.min(room) };
        Limits {
            entries: self.settings.wildcard_threshold,
            items,
            wholes: usize::try_from(RUNNING_WILDCARDS_MAX).unwrap_or(usize::MAX).min(items),
        }
    }

    /// When the first open batch may be sent, if not only after others have ended.
    fn open_at(&self, batch: &Batch) -> Option<Duration> {
        let sum = |size: fn(&Batch) -> u64| {
            size(batch) + self.running.iter().map(|running| size(&running.batch)).sum::<u64>()
        };
        let fits = self.running.len() < RUNNING_MAX
            && sum(Batch::size) <= RUNNING_PATHS_MAX
            && sum(Batch::wildcards) <= RUNNING_WILDCARDS_MAX;
        let ready = [
            self.next_try,
            self.calls.ready_at(1),
            self.paths.ready_at(batch.size()),
            self.wildcards.ready_at(batch.wildcards()),
        ];
        ready.into_iter().max().filter(|_| fits || self.running.is_empty())
    }

    fn take_at(&self) -> Option<Duration> {
        let (first, last) = self.noticed.filter(|_| self.waiting > 0)?;
        if self.rushing {
            return Some(first);
        }
        let Settings { quiet, .. } = self.settings;
        Some((last + quiet).min(first + quiet * LONGEST_WAIT))
    }

    fn wait_after(&self, kind: Kind, now: Now) -> Duration {
        let longest = millis(self.settings.retry_max);
        let wait = match kind {
            Kind::Unavailable => Backoff { first_ms: RETRY_FIRST_MS, max_ms: longest },
            Kind::Crowded => Backoff { max_ms: CROWDED.max_ms.min(longest), ..CROWDED },
            Kind::Refused | Kind::Unfit | Kind::Unknown => {
                Backoff { first_ms: longest, max_ms: longest }
            }
        };
        Duration::from_millis(wait.wait_ms(self.failures, now.jitter))
    }
}

#[cfg(test)]
mod tests;
