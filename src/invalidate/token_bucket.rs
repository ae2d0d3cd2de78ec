//! A token bucket: a capacity, and a rate per second.

use std::time::Duration;

/// The tokens that may be spent.
#[derive(Debug, Clone)]
pub(super) struct TokenBucket {
    capacity: f64,
    per_second: f64,
    level: f64,
    at: Duration,
}

impl TokenBucket {
    /// Creates a full bucket.
    pub(super) fn new(capacity: u32, per_second: f64) -> Self {
        let capacity = f64::from(capacity);
        Self { capacity, per_second, level: capacity, at: Duration::ZERO }
    }

    /// When `amount` can be spent. More than the capacity waits for a full bucket.
    pub(super) fn ready_at(&self, amount: u64) -> Duration {
        let missing = self.wanted(amount) - self.level;
        if missing <= 0.0 { self.at } else { self.at + wait(missing / self.per_second) }
    }

    /// Spends `amount`, which is available at `now`.
    pub(super) fn spend(&mut self, amount: u64, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.level = self.capacity.min(self.level + passed * self.per_second);
        self.level = (self.level - self.wanted(amount)).max(0.0);
        self.at = self.at.max(now);
    }

    fn wanted(&self, amount: u64) -> f64 {
        let amount = u32::try_from(amount).unwrap_or(u32::MAX);
        f64::from(amount).min(self.capacity)
    }
}

/// A little longer than computed, so that rounding never makes it too short.
fn wait(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds + 0.001).unwrap_or(Duration::MAX)
}
