//! The clock, the counter that numbers all that happens, and the wake-up for those who wait for it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The clock the server's records are written with.
#[expect(clippy::disallowed_methods, reason = "the only clock of this crate")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Wall-clock time, for `Last-Modified`.
#[expect(clippy::disallowed_methods, reason = "the only clock of this crate")]
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Locks also after a panic elsewhere: a failed assertion in one test thread must not hide what the
/// records say.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers what happens and wakes those who wait.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    last: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    numbers: u64,
    wakes: u64,
}

impl Activity {
    /// The next number.
    pub(crate) fn number(&self) -> u64 {
        let mut counts = lock(&self.last);
        counts.numbers += 1;
        counts.numbers
    }

    /// Something can be seen that could not be seen before.
    pub(crate) fn wake(&self) {
        lock(&self.last).wakes += 1;
        self.changed.notify_all();
    }

    /// Waits until `holds`, asked again after every [`wake`](Self::wake). False after `timeout`.
    pub(crate) fn wait_until(&self, timeout: Duration, holds: impl Fn() -> bool) -> bool {
        let deadline = now() + timeout;
        loop {
            let seen = lock(&self.last).wakes;
            if holds() {
                return true;
            }
            let counts = lock(&self.last);
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return false;
            }
            let waited =
                self.changed.wait_timeout_while(counts, left, |counts| counts.wakes == seen);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_the_change_it_is_for() {
        let activity = Activity::default();
        let seen = Mutex::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                *lock(&seen) = true;
                activity.wake();
            });
            assert!(activity.wait_until(Duration::from_secs(60), || *lock(&seen)));
        });
    }

    #[test]
    fn a_wait_for_nothing_ends_at_its_timeout() {
        assert!(!Activity::default().wait_until(Duration::from_millis(1), || false));
    }
}
