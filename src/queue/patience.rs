//! How long a process that is to come to its end keeps on trying: a single run, or the drain of a
//! daemon. What no retry can change is given up after a few attempts; everything else is tried with
//! short pauses until it is done or the time is over.

use super::Queue;
use super::asked::is_held;
use super::window::WindowRow;
use crate::model::{FailureClass, UnixMillis};

/// Attempts of a file that cannot be read for a reason that may pass: about a quarter of a minute.
const READ_ATTEMPTS: u32 = 8;

/// When entries of the queue are given up by a process that is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The longest pause between two attempts of one path, and between two probes of an outage.
    pub pause_max_ms: UnixMillis,
    /// Attempts of a path that fails while others succeed; none: until the deadline.
    pub unavailable: Option<u32>,
    /// Attempts of what is refused: credentials may be renewed meanwhile.
    pub refused: u32,
    /// Attempts of what the store will not have as it is.
    pub object: u32,
    /// Probes of an outage because of a refusal: no pause makes wrong credentials right.
    pub refused_probes: u32,
    /// How long an outage is waited for; none: until the deadline.
    pub outage: Option<OutageLimit>,
}

/// When an outage is no longer waited for: after so many probes, and so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutageLimit {
    /// Probes that failed.
    pub probes: u32,
    /// Milliseconds since its beginning, or since the end was asked for.
    pub after_ms: UnixMillis,
}

impl Patience {
    /// A daemon that is shutting down: the deadline ends it.
    pub const DRAIN: Self = Self {
        pause_max_ms: 2_000,
        unavailable: None,
        refused: 6,
        object: 3,
        refused_probes: 6,
        outage: None,
    };

    /// The same where the state survives and an outage is not to be waited for.
    pub const LEAVE: Self =
        Self { outage: Some(OutageLimit { probes: 1, after_ms: 0 }), ..Self::DRAIN };

    /// A single run, which has no deadline.
    pub const ONCE: Self = Self {
        pause_max_ms: 3_000,
        unavailable: Some(20),
        refused: 6,
        object: 5,
        refused_probes: 2,
        outage: Some(OutageLimit { probes: 10, after_ms: 30_000 }),
    };

    /// Attempts after which a path that fails like this is given up.
    fn attempts(&self, class: FailureClass) -> Option<u32> {
        match class {
            FailureClass::Unavailable | FailureClass::Throttled => self.unavailable,
            FailureClass::Refused => Some(self.refused),
            FailureClass::Read => Some(READ_ATTEMPTS),
            FailureClass::Object | FailureClass::File => Some(self.object),
        }
    }

    /// Whether an outage of this class is given up after `probes`, `lasted` milliseconds.
    fn gives_up(&self, class: FailureClass, probes: u32, lasted: UnixMillis) -> bool {
        let over = |limit: OutageLimit| probes >= limit.probes && lasted >= limit.after_ms;
        let refused = class == FailureClass::Refused && probes >= self.refused_probes;
        refused || self.outage.is_some_and(over)
    }
}

impl Queue {
    /// Everything that waits is tried at once, and from now on with short pauses and with this
    /// patience: the daemon stops.
    pub fn drain(&mut self, now: UnixMillis, patience: Patience) {
        self.patience = Some(patience);
        self.trying_since = now;
        self.window.count_anew();
        self.breaker.count_anew(patience.pause_max_ms);
        self.expedite_all(now);
    }

    /// Everything that waits is tried at once.
    pub fn expedite_all(&mut self, now: UnixMillis) {
        self.breaker.probe_now(now);
        self.window.expedite(now, |_| true);
    }

    /// Whether nothing is left that may still succeed within the patience there is. Looks at
    /// everything.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let patience = self.patience.unwrap_or(Patience::DRAIN);
        if self.window.running() > 0 {
            return false;
        }
        if let Some((class, probes)) = self.breaker.outage() {
            let since = self.breaker.outage_since().unwrap_or(self.now).max(self.trying_since);
            let lasted = self.now.saturating_sub(since);
            if patience.gives_up(class, probes, lasted) {
                return true;
            }
        }
        let hold = self.hold();
        let is_over = |entry: &WindowRow| {
            let attempts = entry.failed.and_then(|class| patience.attempts(class));
            attempts.is_some_and(|attempts| entry.tries >= attempts)
        };
        !self.wants_refill()
            && self.window.entries().all(|entry| is_over(entry) || is_held(entry, hold))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{done, failure, of, path, queue, started, want};
    use super::*;
    use crate::model::{Operation, Outcome};
    use FailureClass::{Object, Refused, Throttled, Unavailable};

    /// Attempts of one file that always fails like this, until it is given up or `seconds` are over.
    fn attempts(class: FailureClass, patience: Patience, seconds: u64) -> (u64, UnixMillis) {
        let mut queue = queue();
        queue.drain(0, patience);
        want(&mut queue, "a", Operation::Put, 0);
        let mut attempts = 0;
        for now in (0..seconds * 1_000).step_by(50) {
            if !started(&mut queue, now).is_empty() {
                attempts += 1;
                queue.end(&path("a"), &of(failure(class)), now, 1.0);
            }
            if queue.is_drained() {
                return (attempts, now);
            }
        }
        (attempts, seconds * 1_000)
    }

    #[test]
    fn a_drain_tries_what_is_unavailable_until_its_deadline() {
        for class in [Unavailable, Throttled] {
            let (attempts, given_up) = attempts(class, Patience::DRAIN, 600);
            assert_eq!(given_up, 600_000, "{class:?}");
            // A probe every two seconds.
            assert!((290..=310).contains(&attempts), "{class:?}: {attempts}");
        }
    }

    #[test]
    fn a_pause_that_the_store_asks_for_is_granted_up_to_a_minute_and_two_seconds_in_a_drain() {
        for (asked_ms, drains, granted_ms) in
            [(20_000, false, 20_000), (3_600_000, false, 60_000), (3_600_000, true, 2_000)]
        {
            let mut queue = queue();
            if drains {
                queue.drain(0, Patience::DRAIN);
            }
            want(&mut queue, "a", Operation::Put, 0);
            assert_eq!(started(&mut queue, 0), ["a"]);
            let mut outcome = failure(Throttled);
            if let Outcome::Failed(failed) = &mut outcome {
                failed.retry_after_ms = Some(asked_ms);
            }
            queue.end(&path("a"), &of(outcome), 0, 1.0);
            assert_eq!(started(&mut queue, granted_ms - 1), [""; 0], "{asked_ms}");
            assert_eq!(started(&mut queue, granted_ms), ["a"], "{asked_ms}");
        }
    }

    #[test]
    fn a_drain_gives_up_what_is_refused_after_some_seconds() {
        let (_, refused) = attempts(Refused, Patience::DRAIN, 600);
        assert!((5_000..20_000).contains(&refused), "{refused}");
        let (tries, given_up) = attempts(Object, Patience::DRAIN, 600);
        assert!(tries == 3 && given_up < 5_000, "{tries} in {given_up} ms");
    }

    #[test]
    fn a_drain_that_leaves_on_an_outage_ends_with_its_first_probe() {
        let (_, given_up) = attempts(Unavailable, Patience::LEAVE, 600);
        assert!(given_up < 10_000, "{given_up}");
    }

    #[test]
    fn a_single_run_waits_half_a_minute_for_the_end_of_an_outage() {
        for class in [Unavailable, Throttled] {
            let (_, given_up) = attempts(class, Patience::ONCE, 600);
            assert!((30_000..150_000).contains(&given_up), "{class:?}: {given_up}");
        }
    }

    #[test]
    fn a_single_run_ends_within_seconds_where_everything_is_refused() {
        let (attempts, given_up) = attempts(Refused, Patience::ONCE, 600);
        assert!(attempts <= 5 && given_up <= 10_000, "{attempts} attempts in {given_up} ms");
    }

    #[test]
    fn an_outage_before_the_request_to_stop_counts_for_nothing() {
        let mut queue = queue();
        want(&mut queue, "a", Operation::Put, 0);
        let mut now = 0;
        while now < 3_600_000 {
            if !started(&mut queue, now).is_empty() {
                queue.end(&path("a"), &of(failure(Refused)), now, 1.0);
            }
            now += 500;
        }
        queue.drain(now, Patience::DRAIN);
        assert!(!queue.is_drained(), "it is tried once more at least");
        assert_eq!(started(&mut queue, now), ["a"], "and at once");
        queue.end(&path("a"), &of(done()), now, 1.0);
        assert!(queue.is_drained());
    }

    #[test]
    fn one_file_that_is_refused_does_not_end_the_attempts_of_others() {
        let mut queue = queue();
        queue.drain(0, Patience::DRAIN);
        want(&mut queue, "denied", Operation::Put, 0);
        want(&mut queue, "slow", Operation::Put, 0);
        for now in (0..120_000).step_by(50) {
            for name in started(&mut queue, now) {
                let outcome = if name == "slow" { failure(Throttled) } else { failure(Object) };
                queue.end(&path(&name), &of(outcome), now, 1.0);
            }
            assert!(!queue.is_drained(), "after {now} ms");
        }
    }
}
