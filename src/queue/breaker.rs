//! A circuit breaker: while S3 answers nobody, one try at a time asks whether it does again.
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

/// Whether tries may start.
#[derive(Debug)]
pub struct Breaker {
    backoff: Backoff,
    state: State,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32, throttled: u32 },
    Open { class: FailureClass, probes: u32, next_probe: UnixMillis, since: UnixMillis },
}

impl State {
    const CLOSED: Self = Self::Closed { failures: 0, throttled: 0 };
}

/// A change of the breaker that is worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
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
        Self { backoff, state: State::CLOSED }
    }

    /// What keeps S3 from taking anything, and how many probes have failed because of it.
    #[must_use]
    pub fn outage(&self) -> Option<(FailureClass, u32)> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { class, probes, .. } => Some((class, probes)),
        }
    }

    /// Since when nothing is taken.
    #[must_use]
    pub fn outage_since(&self) -> Option<UnixMillis> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { since, .. } => Some(since),
        }
    }

    /// How many tries may run at once, of `limit`.
    #[must_use]
    pub fn limit(&self, now: UnixMillis, limit: usize) -> usize {
        match self.state {
            State::Closed { .. } => limit,
            State::Open { next_probe, .. } if now >= next_probe => limit.min(1),
            State::Open { .. } => 0,
        }
    }

    /// When a probe may start; `None` while none is needed.
    #[must_use]
    pub fn next_probe(&self) -> Option<UnixMillis> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { next_probe, .. } => Some(next_probe),
        }
    }

    /// S3 did its part of a try.
    pub fn succeeded(&mut self, now: UnixMillis) -> Option<Turn> {
        let before = std::mem::replace(&mut self.state, State::CLOSED);
        match before {
            State::Closed { .. } => None,
            State::Open { since, .. } => Some(Turn::Closed(now.saturating_sub(since))),
        }
    }

    /// S3 did not.
    pub fn failed(&mut self, class: FailureClass, now: UnixMillis, jitter: f64) -> Option<Turn> {
        match &mut self.state {
            State::Closed { failures, throttled } => {
                match class {
                    FailureClass::Throttled => *throttled += 1,
                    _ => *failures += 1,
                }
                if *failures < FAILURES_MAX && *throttled < THROTTLED_MAX {
                    return None;
                }
                let next_probe = now + self.backoff.wait_ms(1, jitter);
                self.state = State::Open { class, probes: 0, next_probe, since: now };
                Some(Turn::Opened)
            }
            // Tries that were under way when it opened fail late; they were no probes.
            State::Open { next_probe, .. } if now < *next_probe => None,
            State::Open { class: before, probes, next_probe, .. } => {
                *before = class;
                *probes = probes.saturating_add(1);
                *next_probe = now + self.backoff.wait_ms(*probes + 1, jitter);
                None
            }
        }
    }

    /// Probes at once: whoever stops or asks does not want to wait.
    pub fn rush(&mut self, now: UnixMillis) {
        if let State::Open { next_probe, .. } = &mut self.state {
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
        assert_eq!(turns, [None, None, Some(Turn::Opened)]);
        assert_eq!(breaker.limit(500, 16), 0);
        assert_eq!(breaker.succeeded(502), Some(Turn::Closed(500)));
        assert_eq!(breaker.limit(502, 16), 16);
    }

    #[test]
    fn being_asked_for_less_opens_it_only_when_nothing_else_is_heard_for_long() {
        let mut breaker = breaker();
        let turns: Vec<_> =
            (0..50).map(|_| breaker.failed(FailureClass::Throttled, 0, 1.0)).collect();
        assert_eq!(turns.iter().flatten().count(), 1);
        assert_eq!(turns[49], Some(Turn::Opened));
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
