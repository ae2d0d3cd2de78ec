//! Decides how many deletes are too many: pending and recent ones together, because a tree that is
//! deleted in slow steps never has many pending deletes at once.
//!
//! Approved deletes do not count, nor do the old names of renamed files.

use super::UnixMillis;
use std::collections::VecDeque;

/// The resolution of a window.
const SLOTS: u64 = 60;

/// The limits. If the number of deletes exceeds both, they wait for approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteLimit {
    /// Percentage of the mirrored files.
    pub percent: u8,
    /// Absolute number.
    pub count: u64,
    /// The time for which a delete counts, in milliseconds; 0 counts only pending ones.
    pub window_ms: UnixMillis,
}

/// The deletes of the last window, by time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecentDeletes {
    /// Oldest first.
    slots: VecDeque<(UnixMillis, u64)>,
}

impl DeleteLimit {
    /// Whether this many deletes are too many, of `mirrored` remaining files, after `recent`
    /// deletes.
    #[must_use]
    pub fn is_exceeded(&self, wanted: u64, recent: u64, mirrored: u64) -> bool {
        let all = wanted.saturating_add(recent);
        let of = mirrored.saturating_add(recent);
        let percent = u64::from(self.percent);
        wanted > 0 && all > self.count && all.saturating_mul(100) > of.saturating_mul(percent)
    }
}

impl RecentDeletes {
    /// Records one delete.
    pub fn note(&mut self, limit: DeleteLimit, now: UnixMillis) {
        if limit.window_ms == 0 {
            return;
        }
        self.forget(limit, now);
        let moment = now - now % (limit.window_ms / SLOTS).max(1);
        match self.slots.back_mut().filter(|(slot, _)| *slot >= moment) {
            Some((_, count)) => *count += 1,
            None => self.slots.push_back((moment, 1)),
        }
    }

    /// The number of deletes in the window that ends now.
    #[must_use]
    pub fn count(&self, limit: DeleteLimit, now: UnixMillis) -> u64 {
        let counted = self.slots.iter().filter(|(slot, _)| !is_over(*slot, limit, now));
        counted.map(|(_, count)| count).sum()
    }

    /// The time at which the oldest of them no longer counts.
    #[must_use]
    pub fn next_end(&self, limit: DeleteLimit, now: UnixMillis) -> Option<UnixMillis> {
        let oldest = self.slots.iter().find(|(slot, _)| !is_over(*slot, limit, now))?;
        Some(oldest.0.saturating_add(limit.window_ms))
    }

    fn forget(&mut self, limit: DeleteLimit, now: UnixMillis) {
        while self.slots.front().is_some_and(|(slot, _)| is_over(*slot, limit, now)) {
            self.slots.pop_front();
        }
        // A clock that was set back must not let it grow.
        while self.slots.len() as u64 > 2 * SLOTS {
            self.slots.pop_front();
        }
    }

    /// The form in the state.
    #[must_use]
    pub fn to_text(&self) -> String {
        let slots = self.slots.iter().map(|(slot, count)| format!("{slot}:{count}"));
        slots.collect::<Vec<_>>().join(" ")
    }

    /// Parses that form. Invalid parts are ignored.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let slot = |part: &str| {
            let (slot, count) = part.split_once(':')?;
            Some((slot.parse().ok()?, count.parse().ok()?))
        };
        Self { slots: text.split(' ').filter_map(slot).take(2 * SLOTS as usize).collect() }
    }
}

fn is_over(slot: UnixMillis, limit: DeleteLimit, now: UnixMillis) -> bool {
    slot.saturating_add(limit.window_ms) <= now
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: DeleteLimit = DeleteLimit { percent: 50, count: 1_000, window_ms: 600_000 };

    /// Deletes `step` files of `files` every `pause_ms`, and returns how many are deleted before
    /// the limit holds.
    fn deleted_in_steps(limit: DeleteLimit, files: u64, step: u64, pause_ms: u64) -> u64 {
        let mut recent = RecentDeletes::default();
        let mut gone = 0;
        let mut now = 1_000_000;
        while gone < files {
            let wanted = step.min(files - gone);
            if limit.is_exceeded(wanted, recent.count(limit, now), files - gone) {
                break;
            }
            (0..wanted).for_each(|_| recent.note(limit, now));
            gone += wanted;
            now += pause_ms;
        }
        gone
    }

    #[test]
    fn a_tree_that_is_deleted_in_slow_steps_is_held_at_the_limit() {
        for step in [1, 7, 100, 900] {
            let gone = deleted_in_steps(LIMIT, 5_000, step, 1_000 * step / 10);
            assert!(gone <= 2_500, "{step} at a time: {gone} of 5000 went");
        }
        let without = DeleteLimit { window_ms: 0, ..LIMIT };
        assert_eq!(deleted_in_steps(without, 5_000, 900, 90_000), 5_000, "without a window");
    }

    #[test]
    fn what_was_deleted_before_the_window_does_not_count() {
        let mut recent = RecentDeletes::default();
        (0..900).for_each(|_| recent.note(LIMIT, 1_000_000));
        assert_eq!(recent.count(LIMIT, 1_000_001), 900);
        let end = recent.next_end(LIMIT, 1_000_001).expect("there are some");
        assert_eq!(recent.count(LIMIT, end - 1), 900);
        assert_eq!((recent.count(LIMIT, end), recent.next_end(LIMIT, end)), (0, None));
    }

    #[test]
    fn nothing_wanted_is_never_too_much() {
        assert!(!LIMIT.is_exceeded(0, 1_000_000, 10));
    }

    #[test]
    fn it_stays_small_and_survives_as_text_whatever_the_clock_does() {
        let mut recent = RecentDeletes::default();
        for round in 0..10_000_u64 {
            recent.note(LIMIT, 1_000_000_000 + (round * 7_919) % 500_000 + round * 100);
        }
        assert!(recent.to_text().len() < 4_096, "{}", recent.to_text().len());
        assert_eq!(RecentDeletes::from_text(&recent.to_text()), recent);
        for nonsense in ["", "x", "1:x 2:3", ":::"] {
            assert!(RecentDeletes::from_text(nonsense).slots.len() <= 1, "{nonsense}");
        }
    }
}
