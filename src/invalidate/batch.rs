//! Decides when to send what to the CDN: quiet times, budgets, quotas, pauses after failures. Pure.
//!
//! # Invariants
//!
//! - Pending paths are sent after a quiet time, after a longest wait at the latest, and never
//!   while the budget of the month is used up.
//! - No new batch is created while one waits to be accepted: later paths join the next one.
//! - In any second there is at most one call, one wildcard, and [`PATHS_AT_ONCE`] and a half
//!   paths; in progress are never more than [`RUNNING_PATHS_MAX`], [`RUNNING_WILDCARDS_MAX`] and
//!   [`RUNNING_MAX`].

use super::invalidator::{InvalidateError, RequestStatus, RetryKind};
use super::token_bucket::TokenBucket;
use crate::model::{MonthCount, PathBatch, UnixMillis, millis};
use crate::path_cover::CoverLimits;
use crate::queue::Backoff;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Maximum number of paths in one request; the quota is 150 per second.
pub(super) const PATHS_AT_ONCE: u32 = 100;
/// Maximum number of paths in progress; CloudFront allows 3,000.
pub(super) const RUNNING_PATHS_MAX: u64 = 2_000;
/// Maximum number of wildcards in progress, and therefore of those created at once; CloudFront
/// allows 15.
pub(super) const RUNNING_WILDCARDS_MAX: u64 = 10;
/// Maximum number of requests in progress, of which each is polled.
pub(super) const RUNNING_MAX: usize = 100;

/// The longest wait, as a multiple of the quiet time.
pub(super) const LONGEST_WAIT: u32 = 6;
/// The last part of the budget, which is used for wildcards only.
const LOW_BUDGET_PART: u64 = 10;
/// The pauses between two polls of an invalidation; P95 of completion is 25 s.
const ASK: Backoff = Backoff { first_ms: 5_000, max_ms: 30_000 };
/// The longest pause after a failure during shutdown.
const HURRIED_WAIT_MAX: Duration = Duration::from_secs(2);
/// The time after which an invalidation that cannot be polled counts as completed.
const ASSUMED_AFTER: Duration = Duration::from_secs(900);
/// The pause after the first failure.
const RETRY_FIRST_MS: UnixMillis = 1_000;
/// The first and the longest pause while too many invalidations are in progress.
const CROWDED: Backoff = Backoff { first_ms: 5_000, max_ms: 60_000 };
/// The interval of calendar checks while the budget is used up.
const CALENDAR: Duration = Duration::from_secs(60);

/// The settings of the batcher.
#[derive(Debug, Clone)]
pub struct BatchSettings {
    /// The quiet time after the last change.
    pub quiet: Duration,
    /// The number of entries of one directory above which it becomes a wildcard.
    pub wildcard_threshold: usize,
    /// Maximum number of paths per batch, at most 100.
    pub paths_at_once: usize,
    /// Maximum number of paths per month; 0 for no limit.
    pub monthly_limit: u64,
    /// The longest pause after a failure.
    pub retry_max: Duration,
}

/// The time, as an argument.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchTime {
    /// Time since the start, which is monotonic.
    pub(super) elapsed: Duration,
    /// The wall clock, for the calendar.
    pub(super) wall: UnixMillis,
    /// Randomness for pauses, between 0 and 1.
    pub(super) jitter: f64,
}

/// The next action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BatchStep {
    /// Create batches of all pending paths, within these limits.
    Take(CoverLimits),
    /// Count this batch in the budget of the present month: the one of its creation is over.
    Recount(PathBatch),
    /// Send this batch.
    Create(PathBatch),
    /// Poll this batch.
    Ask(PathBatch),
    /// Wait until this time, or until something changes.
    Wait(Option<Duration>),
}

/// The meaning of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchVerdict {
    /// It is in progress.
    Accepted,
    /// It is completed.
    Completed,
    /// It is sent again later.
    Later,
    /// It has to be replaced.
    Unfit,
}

#[derive(Debug)]
struct RunningBatch {
    batch: PathBatch,
    since: Duration,
    next_ask: Duration,
    asks: u32,
}

/// Pending paths, open batches and batches in progress.
#[derive(Debug)]
pub(super) struct Batcher {
    settings: BatchSettings,
    waiting: u64,
    /// The time of the first and the last pending change.
    noticed: Option<(Duration, Duration)>,
    hurrying: bool,
    open: VecDeque<PathBatch>,
    next_try: Duration,
    failures: u32,
    refused: bool,
    running: Vec<RunningBatch>,
    spent: BTreeMap<MonthCount, u64>,
    calls: TokenBucket,
    paths: TokenBucket,
    wildcards: TokenBucket,
}

impl Batcher {
    /// Creates a batcher from the state: batches, and the paths used in which month.
    pub(super) fn new(
        settings: BatchSettings,
        batches: Vec<PathBatch>,
        spent: impl IntoIterator<Item = (MonthCount, u64)>,
    ) -> Self {
        let (running, open): (Vec<_>, Vec<_>) =
            batches.into_iter().partition(|batch| batch.accepted.is_some());
        let started = |batch| RunningBatch {
            batch,
            since: Duration::ZERO,
            next_ask: Duration::ZERO,
            asks: 0,
        };
        Self {
            settings,
            waiting: 0,
            noticed: None,
            hurrying: false,
            open: open.into(),
            next_try: Duration::ZERO,
            failures: 0,
            refused: false,
            running: running.into_iter().map(started).collect(),
            spent: spent.into_iter().collect(),
            calls: TokenBucket::new(1, 1.0),
            paths: TokenBucket::new(PATHS_AT_ONCE, f64::from(PATHS_AT_ONCE) / 2.0),
            wildcards: TokenBucket::new(1, 0.8),
        }
    }

    /// Sets the number of pending paths.
    pub(super) fn waiting(&mut self, paths: u64, now: BatchTime) {
        if paths > self.waiting {
            let first = self.noticed.map_or(now.elapsed, |(first, _)| first);
            self.noticed = Some((first, now.elapsed));
        } else if paths == 0 {
            self.noticed = None;
        }
        self.waiting = paths;
    }

    /// Ends the quiet time, and retries failed batches at once.
    pub(super) fn hurry(&mut self, now: BatchTime) {
        self.hurrying = true;
        (self.failures, self.refused) = (0, false);
        self.next_try = self.next_try.min(now.elapsed);
    }

    /// Whether shutdown was requested.
    pub(super) fn is_hurrying(&self) -> bool {
        self.hurrying
    }

    /// Adds batches of all pending paths; `left` of them arrived since.
    pub(super) fn made(&mut self, batches: Vec<PathBatch>, left: u64, now: BatchTime) {
        for batch in &batches {
            *self.spent.entry(batch.month).or_default() += batch.size();
        }
        self.open.extend(batches);
        (self.waiting, self.noticed) = (0, None);
        self.waiting(left, now);
    }

    /// Replaces the first open batch, which counted as `counted` in its month.
    pub(super) fn replaced(&mut self, batch: PathBatch, counted: u64) {
        *self.spent.entry(batch.month).or_default() += counted;
        self.open.pop_front();
        self.open.push_front(batch);
    }

    /// Returns the present action.
    pub(super) fn step(&mut self, now: BatchTime) -> BatchStep {
        let month = MonthCount::at(now.wall);
        let mut next = [None, None, None];
        if let Some(batch) = self.open.front() {
            if batch.month == month {
                next[0] = self.open_at(batch);
            } else if self.room(month) >= batch.size() {
                return BatchStep::Recount(PathBatch { month, ..batch.clone() });
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
            return BatchStep::Create(batch);
        }
        if is_due(next[1]) {
            return BatchStep::Take(self.limits(month));
        }
        if let (true, Some((index, _))) = (is_due(next[2]), asked) {
            self.calls.spend(1, now.elapsed);
            return BatchStep::Ask(self.running[index].batch.clone());
        }
        BatchStep::Wait(next.into_iter().flatten().min())
    }

    /// Processes the response to the first open batch.
    pub(super) fn created(
        &mut self,
        answer: &Result<RequestStatus, InvalidateError>,
        now: BatchTime,
    ) -> BatchVerdict {
        match answer {
            Ok(status) => {
                (self.failures, self.refused, self.next_try) = (0, false, now.elapsed);
                let Some(batch) = self.open.pop_front() else { return BatchVerdict::Completed };
                if status.completed {
                    return BatchVerdict::Completed;
                }
                let batch = PathBatch { accepted: Some(status.id.clone()), ..batch };
                let wait = ASK.wait_ms(1, now.jitter);
                let next_ask = now.elapsed + Duration::from_millis(wait);
                self.running.push(RunningBatch { batch, since: now.elapsed, next_ask, asks: 0 });
                BatchVerdict::Accepted
            }
            Err(trouble) => {
                self.failures = self.failures.saturating_add(1);
                self.refused = trouble.kind == RetryKind::Refused;
                self.next_try = now.elapsed + self.wait_after(trouble.kind, now);
                let everything = |batch: &PathBatch| batch.size() == 1 && batch.wildcards() == 1;
                if trouble.kind == RetryKind::Unfit && !self.open.front().is_some_and(everything) {
                    return BatchVerdict::Unfit;
                }
                BatchVerdict::Later
            }
        }
    }

    /// Processes the response to a poll of `batch`.
    pub(super) fn asked(
        &mut self,
        batch: &PathBatch,
        answer: &Result<RequestStatus, InvalidateError>,
        now: BatchTime,
    ) -> BatchVerdict {
        let Some(index) = self.running.iter().position(|running| running.batch.id == batch.id)
        else {
            return BatchVerdict::Completed;
        };
        let running = &mut self.running[index];
        running.asks = running.asks.saturating_add(1);
        let wait = Duration::from_millis(ASK.wait_ms(running.asks, now.jitter));
        running.next_ask = now.elapsed + wait;
        let assumed = now.elapsed >= running.since + ASSUMED_AFTER;
        let completed = match answer {
            Ok(status) => status.completed,
            Err(trouble) => assumed || trouble.kind == RetryKind::Unknown,
        };
        if !completed {
            return BatchVerdict::Later;
        }
        self.running.swap_remove(index);
        BatchVerdict::Completed
    }

    /// Whether a process that ends has nothing to wait for: everything is accepted, or cannot be
    /// within `tries`.
    pub(super) fn is_drained(&self, tries: u32, now: BatchTime) -> bool {
        let month = MonthCount::at(now.wall);
        match self.open.front() {
            Some(batch) => {
                let held = batch.month != month && self.room(month) < batch.size();
                held || self.refused || self.failures >= tries
            }
            None => self.waiting == 0 || self.is_exhausted(now),
        }
    }

    /// Whether the budget of the month is used up.
    pub(super) fn is_exhausted(&self, now: BatchTime) -> bool {
        self.room(MonthCount::at(now.wall)) == 0
    }

    /// Whether the rest of the month's budget is for wildcards only.
    pub(super) fn is_low(&self, now: BatchTime) -> bool {
        self.settings.monthly_limit > 0
            && self.room(MonthCount::at(now.wall)) <= self.settings.monthly_limit / LOW_BUDGET_PART
    }

    /// Paths used in the month of `now`.
    pub(super) fn spent(&self, now: BatchTime) -> u64 {
        self.spent.get(&MonthCount::at(now.wall)).copied().unwrap_or_default()
    }

    fn room(&self, month: MonthCount) -> u64 {
        match self.settings.monthly_limit {
            0 => u64::MAX,
            limit => limit.saturating_sub(self.spent.get(&month).copied().unwrap_or_default()),
        }
    }

    fn limits(&self, month: MonthCount) -> CoverLimits {
        let room = self.room(month);
        let limit = self.settings.monthly_limit;
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let low = limit > 0 && self.room(month) <= limit / LOW_BUDGET_PART;
        let items = if low { 1 } else { self.settings.paths_at_once.min(room) };
        CoverLimits {
            entries: self.settings.wildcard_threshold,
            items,
            wholes: usize::try_from(RUNNING_WILDCARDS_MAX).unwrap_or(usize::MAX).min(items),
        }
    }

    /// When the first open batch may be sent, unless it waits for others to end.
    fn open_at(&self, batch: &PathBatch) -> Option<Duration> {
        let sum = |size: fn(&PathBatch) -> u64| {
            size(batch) + self.running.iter().map(|running| size(&running.batch)).sum::<u64>()
        };
        let fits = self.running.len() < RUNNING_MAX
            && sum(PathBatch::size) <= RUNNING_PATHS_MAX
            && sum(PathBatch::wildcards) <= RUNNING_WILDCARDS_MAX;
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
        if self.hurrying {
            return Some(first);
        }
        let BatchSettings { quiet, .. } = self.settings;
        Some((last + quiet).min(first + quiet * LONGEST_WAIT))
    }

    fn wait_after(&self, kind: RetryKind, now: BatchTime) -> Duration {
        let bound = if self.hurrying { HURRIED_WAIT_MAX } else { Duration::MAX };
        let longest = millis(self.settings.retry_max.min(bound));
        let wait = match kind {
            RetryKind::Unavailable => Backoff { first_ms: RETRY_FIRST_MS, max_ms: longest },
            RetryKind::Crowded => Backoff { max_ms: CROWDED.max_ms.min(longest), ..CROWDED },
            RetryKind::Refused | RetryKind::Unfit | RetryKind::Unknown => {
                Backoff { first_ms: longest, max_ms: longest }
            }
        };
        Duration::from_millis(wait.wait_ms(self.failures, now.jitter))
    }
}

#[cfg(test)]
mod tests;
