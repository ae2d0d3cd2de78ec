//! A circuit breaker: while S3 is unavailable, one attempt at a time probes it.
//!
//! Without it an outage costs a request for every path and every back-off, and its end is noticed
//! by each path on its own, up to `retry_interval_seconds` late.

use super::backoff::Backoff;
use crate::model::{FailureClass, UnixMillis};

/// Failures in a row, of whatever path, after which S3 as a whole is held to be the cause.
const FAILURES_MAX: u32 = 3;
/// Requests for less in a row, after which fewer requests are no way out.
const THROTTLED_MAX: u32 = 50;

/// The longest wait between two probes, so that the end of an outage is seen soon.
const PROBE_MAX_MS: UnixMillis = 15_000;

/// The same while changes wait that were made just now.
const PROBE_FRESH_MAX_MS: UnixMillis = 2_000;

/// Whether tries may start.
#[derive(Debug)]
pub struct Breaker {
    backoff: Backoff,
    state: CircuitState,
}

#[derive(Debug)]
enum CircuitState {
    Closed {
        failures: u32,
        throttled: u32,
    },
    Open {
        class: FailureClass,
        probes: u32,
        /// The probe for a change that was made just now.
        fresh_probe: UnixMillis,
        next_probe: UnixMillis,
        since: UnixMillis,
    },
}

impl CircuitState {
    const CLOSED: Self = Self::Closed { failures: 0, throttled: 0 };
}

/// A change of the breaker that is worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerTransition {
    /// S3 is held to be unavailable.
    Opened,
    /// It answers again, after so many milliseconds.
    Closed(UnixMillis),
}

impl Breaker {
    /// A closed breaker; probes are at most as far apart as retries may be.
    #[must_use]
    pub fn new(retry: Backoff) -> Self {
        let backoff = Backoff { first_ms: retry.first_ms, max_ms: retry.max_ms.min(PROBE_MAX_MS) };
        Self { backoff, state: CircuitState::CLOSED }
    }

    /// What keeps S3 from taking anything, and how many probes have failed because of it.
    #[must_use]
    pub fn outage(&self) -> Option<(FailureClass, u32)> {
        match self.state {
            CircuitState::Closed { .. } => None,
            CircuitState::Open { class, probes, .. } => Some((class, probes)),
        }
    }

    /// Since when nothing is taken.
    #[must_use]
    pub fn outage_since(&self) -> Option<UnixMillis> {
        match self.state {
            CircuitState::Closed { .. } => None,
            CircuitState::Open { since, .. } => Some(since),
        }
    }

    /// How many tries may run at once, of `limit`.
    #[must_use]
    pub fn limit(&self, now: UnixMillis, limit: usize) -> usize {
        match self.state {
            CircuitState::Closed { .. } => limit,
            CircuitState::Open { next_probe, .. } if now >= next_probe => limit.min(1),
            CircuitState::Open { .. } => 0,
        }
    }

    /// When a probe may start; `None` while none is needed.
    #[must_use]
    pub fn next_probe(&self) -> Option<UnixMillis> {
        match self.state {
            CircuitState::Closed { .. } => None,
            CircuitState::Open { next_probe, .. } => Some(next_probe),
        }
    }

    /// S3 did its part of a try.
    pub fn succeeded(&mut self, now: UnixMillis) -> Option<BreakerTransition> {
        let before = std::mem::replace(&mut self.state, CircuitState::CLOSED);
        match before {
            CircuitState::Closed { .. } => None,
            CircuitState::Open { since, .. } => {
                Some(BreakerTransition::Closed(now.saturating_sub(since)))
            }
        }
    }

    /// S3 did not.
    pub fn failed(
        &mut self,
        class: FailureClass,
        now: UnixMillis,
        jitter: f64,
    ) -> Option<BreakerTransition> {
        match &mut self.state {
            CircuitState::Closed { failures, throttled } => {
                match class {
                    FailureClass::Throttled => *throttled += 1,
                    _ => *failures += 1,
                }
                if *failures < FAILURES_MAX && *throttled < THROTTLED_MAX {
                    return None;
                }
                let next_probe = now + self.backoff.wait_ms(1, jitter);
                self.state = CircuitState::Open {
                    class,
                    probes: 0,
                    fresh_probe: now + PROBE_FRESH_MAX_MS,
                    next_probe,
                    since: now,
                };
                Some(BreakerTransition::Opened)
            }
            // Tries that were under way when it opened fail late; they were no probes.
            CircuitState::Open { next_probe, .. } if now < *next_probe => None,
            CircuitState::Open { class: before, probes, fresh_probe, next_probe, .. } => {
                *before = class;
                *fresh_probe = now + PROBE_FRESH_MAX_MS;
                *probes = probes.saturating_add(1);
                *next_probe = now + self.backoff.wait_ms(*probes + 1, jitter);
                None
            }
        }
    }

    /// No probe before `moment`: the store has asked for a pause.
    pub fn not_before(&mut self, moment: UnixMillis) {
        if let CircuitState::Open { fresh_probe, next_probe, .. } = &mut self.state {
            *next_probe = moment.max(*next_probe);
            *fresh_probe = moment.max(*fresh_probe);
        }
    }

    /// Counts probes from here on, at most so far apart: the process is to come to its end.
    pub fn count_anew(&mut self, pause_max_ms: UnixMillis) {
        self.backoff.max_ms = self.backoff.max_ms.min(pause_max_ms);
        if let CircuitState::Open { probes, .. } = &mut self.state {
            *probes = 0;
        }
    }

    /// Probes soon: a change was made just now.
    pub fn hurry(&mut self) {
        if let CircuitState::Open { fresh_probe, next_probe, .. } = &mut self.state {
            *next_probe = (*next_probe).min(*fresh_probe);
        }
    }

    /// Probes at once: a shutdown or an operator does not wait.
    pub fn probe_now(&mut self, now: UnixMillis) {
        if let CircuitState::Open { next_probe, .. } = &mut self.state {
            *next_probe = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(Backoff { first_ms: 1_000, max_ms: 300_000 })
    }

    #[test]
    fn single_failures_between_successes_never_open_it() {
        let mut breaker = breaker();
        for now in 0..100 {
            assert_eq!(breaker.failed(FailureClass::Unavailable, now, 1.0), None);
            assert_eq!(breaker.failed(FailureClass::Unavailable, now, 1.0), None);
            assert_eq!(breaker.succeeded(now), None);
        }
        assert_eq!(breaker.limit(100, 16), 16);
    }

    #[test]
    fn an_outage_costs_one_probe_at_a_time() {
        let mut breaker = breaker();
        let mut probes = 0;
        for _ in 0..3 {
            breaker.failed(FailureClass::Unavailable, 0, 1.0);
        }
        for now in 0..3_600_000 {
            if breaker.limit(now, 16) > 0 {
                assert_eq!(breaker.limit(now, 16), 1);
                breaker.failed(FailureClass::Unavailable, now, 1.0);
                probes += 1;
            }
        }
        assert_eq!(probes, 242, "doubling to 15 s, for an hour");
    }

    #[test]
    fn the_first_success_closes_it() {
        let mut breaker = breaker();
        let turns: Vec<_> =
            (0..3).map(|now| breaker.failed(FailureClass::Unavailable, now, 1.0)).collect();
        assert_eq!(turns, [None, None, Some(BreakerTransition::Opened)]);
        assert_eq!(breaker.limit(500, 16), 0);
        assert_eq!(breaker.succeeded(502), Some(BreakerTransition::Closed(500)));
        assert_eq!(breaker.limit(502, 16), 16);
    }

    #[test]
    fn throttling_opens_the_circuit_only_after_a_long_time_without_another_response() {
        let mut breaker = breaker();
        let turns: Vec<_> =
            (0..50).map(|_| breaker.failed(FailureClass::Throttled, 0, 1.0)).collect();
        assert_eq!(turns.iter().flatten().count(), 1);
        assert_eq!(turns[49], Some(BreakerTransition::Opened));
    }

    #[test]
    fn a_pause_that_the_store_asks_for_postpones_the_probe_and_never_hastens_it() {
        let mut breaker = breaker();
        breaker.not_before(9_000);
        assert_eq!(breaker.limit(0, 16), 16, "there is no outage");
        for _ in 0..3 {
            breaker.failed(FailureClass::Unavailable, 0, 1.0);
        }
        breaker.not_before(500);
        assert_eq!(breaker.next_probe(), Some(1_000));
        breaker.not_before(30_000);
        breaker.hurry();
        assert_eq!(breaker.limit(29_999, 16), 0);
        assert_eq!(breaker.limit(30_000, 16), 1);
    }

    #[test]
    fn while_fresh_changes_wait_the_end_of_an_outage_is_seen_within_two_seconds() {
        let mut breaker = breaker();
        let mut latest = 0;
        for now in 0..600_000 {
            breaker.hurry();
            if breaker.limit(now, 16) > 0 {
                assert!(now - latest <= 2_000, "{now} after {latest}");
                latest = now;
                breaker.failed(FailureClass::Unavailable, now, 1.0);
            }
        }
        assert!(latest > 590_000);
    }

    #[test]
    fn late_failures_of_an_outage_do_not_postpone_its_probe() {
        let mut breaker = breaker();
        for now in 0..20 {
            breaker.failed(FailureClass::Unavailable, now, 1.0);
        }
        assert_eq!(breaker.next_probe(), Some(1_002));
    }
}
