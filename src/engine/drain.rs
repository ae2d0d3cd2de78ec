//! The end of a daemon: what has no events is compared, everything that waits is tried, and what is
//! written meanwhile is looked for once more.
//!
//! # Invariants
//!
//! - Where events do not cover everything, the drain is not done before a comparison of the whole
//!   tree that began after the request to stop has ended.
//! - A second comparison follows when everything is sent, if the first one found something or the
//!   drain took longer than [`CLOSING_AFTER`]. There is no third: writers that go on do not keep the
//!   process alive.
//! - Shortly before the deadline everything that waits is tried a last time.

use super::limits::{CLOSING_AFTER, LAST_TRY};
use super::{Engine, EngineTime};
use crate::model::RelPath;
use crate::queue::Patience;
use crate::reconcile::Summary;
use std::time::Duration;

/// What is known when the shutdown begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StopRequest {
    /// Until the deadline, if there is one.
    pub time_left: Option<Duration>,
    /// Whether events do not cover every change before the request.
    pub compare: bool,
    /// Whether an outage ends the drain early.
    pub leave_on_outage: bool,
}

/// The drain under way.
#[derive(Debug)]
pub(super) struct Drain {
    /// When everything is tried a last time.
    last_try: Option<Duration>,
    comparison: DrainScan,
}

/// The comparisons that the drain needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DrainScan {
    /// The first one has to begin.
    Due,
    /// The first one is under way, since then.
    Running { began: Duration },
    /// The first one has ended, and the second one depends on the rest of the drain.
    Open { began: Duration, found: bool },
    /// The second one has to begin.
    ClosingDue,
    /// The second one is under way.
    Closing,
    /// One has failed, the first or the second, and is begun again after a pause.
    Failed { closing: bool },
    /// No more are needed.
    Done,
}

impl Drain {
    fn new(request: StopRequest, now: Duration) -> Self {
        let last_try = request.time_left.and_then(|left| left.checked_sub(LAST_TRY));
        let comparison = if request.compare { DrainScan::Due } else { DrainScan::Done };
        Self { last_try: last_try.map(|last| now + last), comparison }
    }

    /// Whether a comparison of the whole tree has to begin.
    pub(super) fn is_comparison_due(&self) -> bool {
        matches!(self.comparison, DrainScan::Due | DrainScan::ClosingDue)
    }

    /// A comparison of the whole tree begins.
    pub(super) fn comparison_begins(&mut self, now: Duration) {
        self.comparison = match self.comparison {
            DrainScan::Due | DrainScan::Failed { closing: false } => {
                DrainScan::Running { began: now }
            }
            DrainScan::ClosingDue | DrainScan::Failed { closing: true } => DrainScan::Closing,
            other => other,
        };
    }

    /// A comparison of the whole tree has ended, if it did not fail.
    pub(super) fn compared(&mut self, summary: Option<&Summary>) {
        let found = summary.map(|summary| summary.new + summary.changed + summary.gone > 0);
        self.comparison = match (self.comparison, found) {
            (DrainScan::Running { began }, Some(found)) => DrainScan::Open { began, found },
            (DrainScan::Closing, Some(_)) => DrainScan::Done,
            (DrainScan::Running { .. }, None) => DrainScan::Failed { closing: false },
            (DrainScan::Closing, None) => DrainScan::Failed { closing: true },
            (other, _) => other,
        };
    }

    /// Nothing else is left to do.
    fn rests(&mut self, now: Duration) {
        if let DrainScan::Open { began, found } = self.comparison {
            let again = found || now > began + CLOSING_AFTER;
            self.comparison = if again { DrainScan::ClosingDue } else { DrainScan::Done };
        }
    }

    /// Whether a comparison that is needed has not ended.
    fn is_uncompared(&self) -> bool {
        self.comparison != DrainScan::Done
    }
}

impl Engine {
    /// Comes to an end: everything is tried with short pauses until it is done.
    pub(super) fn stop(&mut self, request: StopRequest, now: EngineTime) {
        // A single run is asked for what was there when it began.
        let compare = request.compare && !self.settings.once;
        let drain = Drain::new(StopRequest { compare, ..request }, now.elapsed);
        self.drain = Some(drain);
        self.holding = false;
        self.settle.hurry(now.elapsed);
        let patience = if request.leave_on_outage { Patience::LEAVE } else { Patience::DRAIN };
        self.queue.drain(self.wall(now), patience);
        self.unread.expedite_all(now.elapsed);
    }

    /// Whether the shutdown has begun.
    pub(super) fn is_stopping(&self) -> bool {
        self.drain.is_some()
    }

    /// What the drain does as time goes by, and as the rest of the work ends.
    pub(super) fn advance_drain(&mut self, now: EngineTime) {
        let idle = self.drain.is_some() && self.is_idle();
        let wall = self.wall(now);
        let Some(drain) = &mut self.drain else { return };
        if drain.last_try.is_some_and(|last| now.elapsed >= last) {
            drain.last_try = None;
            self.queue.expedite_all(wall);
        }
        if idle {
            drain.rests(now.elapsed);
        }
    }

    /// When everything is tried a last time.
    pub(super) fn next_last_try(&self) -> Option<Duration> {
        self.drain.as_ref().and_then(|drain| drain.last_try)
    }

    /// Whether nothing is under way, and nothing waits that may still succeed.
    fn is_idle(&self) -> bool {
        self.settle.is_empty()
            && self.unread.is_given_up()
            && self.comparing.is_none()
            && !self.refilling
            && self.looks.is_empty()
            && !self.delayed.is_busy()
            && self.writes == 0
            && self.queue.is_drained()
            && !self.budget.has_due(self.queue.counts())
    }

    /// Whether nothing is left to do, for an engine that is to come to an end.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let ends = match &self.drain {
            // A root that cannot be read is never compared.
            Some(drain) => !drain.is_uncompared() || self.unread.is_given_up_at(&RelPath::root()),
            None => self.settings.once && self.has_compared_or_cannot(),
        };
        ends && self.is_idle()
    }

    /// Whether an engine that ends now may leave changes that nothing has looked for: the whole tree was
    /// not compared since the start, or not when the drain needed it, or the drain has not begun, so that
    /// the last events may not be known.
    #[must_use]
    pub fn is_uncompared(&self) -> bool {
        !self.has_compared() || self.drain.as_ref().is_none_or(Drain::is_uncompared)
    }

    /// Paths and directories of which something was heard, and that were not looked at.
    #[must_use]
    pub fn uninspected(&self) -> usize {
        self.settle.len() + self.looks.len()
    }

    /// Some of the paths that are not in the queue: those that could not be read, and those that were
    /// not looked at.
    #[must_use]
    pub fn unqueued_paths(&self, limit: usize) -> Vec<RelPath> {
        let unread = self.unread.named().into_iter().map(|(path, _)| path);
        unread.chain(self.settle.waiting_paths().cloned()).take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Duration = Duration::from_millis;

    fn polled() -> Drain {
        let drain = Drain::new(StopRequest { compare: true, ..StopRequest::default() }, AT(0));
        assert!(drain.is_comparison_due() && drain.is_uncompared());
        drain
    }

    fn summary(new: u64) -> Summary {
        Summary { new, ..Summary::default() }
    }

    #[test]
    fn with_complete_events_no_scan_is_needed() {
        let drain = Drain::new(StopRequest::default(), AT(0));
        assert!(!drain.is_comparison_due() && !drain.is_uncompared());
    }

    #[test]
    fn a_comparison_that_began_before_the_request_does_not_count() {
        let mut drain = polled();
        drain.compared(Some(&summary(0)));
        assert!(drain.is_comparison_due());
    }

    #[test]
    fn a_quick_comparison_that_finds_nothing_is_the_only_one() {
        let mut drain = polled();
        drain.comparison_begins(AT(0));
        drain.rests(AT(100));
        assert!(drain.is_uncompared(), "it has not ended");
        drain.compared(Some(&summary(0)));
        drain.rests(AT(200));
        assert!(!drain.is_uncompared());
    }

    #[test]
    fn what_is_written_while_the_first_finds_are_sent_is_looked_for_once() {
        for (found, ended) in [(1, 200), (0, 60_000)] {
            let mut drain = polled();
            drain.comparison_begins(AT(0));
            drain.compared(Some(&summary(found)));
            drain.rests(AT(ended));
            assert!(drain.is_comparison_due() && drain.is_uncompared(), "{found}");
            drain.comparison_begins(AT(ended));
            drain.compared(Some(&summary(5)));
            assert!(!drain.is_uncompared(), "there is no third");
        }
    }

    #[test]
    fn one_that_failed_is_not_done_and_is_not_begun_at_once() {
        let mut drain = polled();
        drain.comparison_begins(AT(0));
        drain.compared(None);
        assert!(!drain.is_comparison_due() && drain.is_uncompared());
        drain.comparison_begins(AT(5_000));
        drain.compared(Some(&summary(0)));
        drain.rests(AT(5_100));
        assert!(!drain.is_uncompared());
    }
}
