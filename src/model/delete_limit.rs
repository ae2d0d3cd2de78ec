//! Decides how many deletes are too many: pending and recent ones together, because a tree that is
//! deleted in slow steps never has many pending deletes at once.
//!
//! Approved deletes do not count, nor do the old names of renamed files.
//!
//! With a delay, a delete counts from the moment at which it is wanted, not from that at which it is due.

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

/// Numbers by time, oldest first.
type TimeSlots = VecDeque<(UnixMillis, u64)>;

/// The deletes of the last window, by time, and whether deletes are on hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecentDeletes {
    /// Those that were done.
    slots: TimeSlots,
    /// Those that were wanted, with a delay.
    delayed: TimeSlots,
    /// Deletes that were wanted then or later are on hold.
    held_from: Option<UnixMillis>,
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
    /// Records one delete that was done.
    pub fn note(&mut self, limit: DeleteLimit, now: UnixMillis) {
        add(&mut self.slots, limit, now);
    }

    /// Records one delete that is wanted since then, and delayed.
    pub fn note_delayed(&mut self, limit: DeleteLimit, since: UnixMillis) {
        add(&mut self.delayed, limit, since);
    }

    /// One of those is not wanted any more.
    pub fn take_back(&mut self, limit: DeleteLimit, since: UnixMillis) {
        let moment = moment(limit, since);
        let mut slots = self.delayed.iter_mut();
        if let Some((_, count)) = slots.find(|(slot, count)| *slot >= moment && *count > 0) {
            *count -= 1;
        }
    }

    /// None of those is wanted any more, or all of them are approved; nothing is on hold.
    pub fn clear_delayed(&mut self) {
        self.delayed.clear();
        self.held_from = None;
    }

    /// The time from which on deletes are on hold.
    #[must_use]
    pub fn held_from(&self) -> Option<UnixMillis> {
        self.held_from
    }

    /// Puts all deletes on hold that were wanted then or later, or none.
    pub fn set_held_from(&mut self, from: Option<UnixMillis>) {
        self.held_from = from;
    }

    /// The number of deletes that were done in the window that ends now.
    #[must_use]
    pub fn count(&self, limit: DeleteLimit, now: UnixMillis) -> u64 {
        count(&self.slots, limit, now)
    }

    /// The number of delayed deletes that were wanted in that window, whether they are done or not.
    #[must_use]
    pub fn count_delayed(&self, limit: DeleteLimit, now: UnixMillis) -> u64 {
        count(&self.delayed, limit, now)
    }

    /// The time at which the oldest of them no longer counts.
    #[must_use]
    pub fn next_end(&self, limit: DeleteLimit, now: UnixMillis) -> Option<UnixMillis> {
        let slots = self.slots.iter().chain(&self.delayed);
        let oldest = slots.filter(|(slot, _)| !is_over(*slot, limit, now)).min()?;
        Some(oldest.0.saturating_add(limit.window_ms))
    }

    /// The form in the state.
    #[must_use]
    pub fn to_text(&self) -> String {
        let done = self.slots.iter().map(|(slot, count)| format!("{slot}:{count}"));
        let delayed = self.delayed.iter().map(|(slot, count)| format!("d{slot}:{count}"));
        let held = self.held_from.map(|from| format!("h{from}"));
        done.chain(delayed).chain(held).collect::<Vec<_>>().join(" ")
    }

    /// Parses that form. Invalid parts are ignored.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let mut recent = Self::default();
        for part in text.split(' ') {
            if let Some(from) = part.strip_prefix('h') {
                recent.held_from = from.parse().ok();
                continue;
            }
            let (slots, part) = match part.strip_prefix('d') {
                Some(part) => (&mut recent.delayed, part),
                None => (&mut recent.slots, part),
            };
            let slot = part.split_once(':');
            let slot = slot.and_then(|(slot, count)| slot.parse().ok().zip(count.parse().ok()));
            if slots.len() as u64 <= 2 * SLOTS {
                slots.extend(slot);
            }
        }
        recent
    }
}

fn moment(limit: DeleteLimit, time: UnixMillis) -> UnixMillis {
    time - time % (limit.window_ms / SLOTS).max(1)
}

/// Adds one to the slot of this time.
fn add(slots: &mut TimeSlots, limit: DeleteLimit, time: UnixMillis) {
    if limit.window_ms == 0 {
        return;
    }
    while slots.front().is_some_and(|(slot, _)| is_over(*slot, limit, time)) {
        slots.pop_front();
    }
    // A clock that was set back must not let it grow.
    while slots.len() as u64 > 2 * SLOTS {
        slots.pop_front();
    }
    let moment = moment(limit, time);
    match slots.back_mut().filter(|(slot, _)| *slot >= moment) {
        Some((_, count)) => *count += 1,
        None => slots.push_back((moment, 1)),
    }
}

fn count(slots: &TimeSlots, limit: DeleteLimit, now: UnixMillis) -> u64 {
    let counted = slots.iter().filter(|(slot, _)| !is_over(*slot, limit, now));
    counted.map(|(_, count)| count).sum()
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
    fn a_delayed_delete_counts_for_a_window_from_when_it_is_wanted_unless_it_is_taken_back() {
        let mut recent = RecentDeletes::default();
        for since in [1_000_000, 1_000_000, 1_300_000] {
            recent.note_delayed(LIMIT, since);
        }
        assert_eq!(recent.count_delayed(LIMIT, 1_300_000), 3);
        assert_eq!(recent.count(LIMIT, 1_300_000), 0, "none is done");
        recent.take_back(LIMIT, 1_000_000);
        assert_eq!(recent.count_delayed(LIMIT, 1_300_000), 2);
        assert_eq!(recent.count_delayed(LIMIT, 1_600_001), 1);
        recent.clear_delayed();
        assert_eq!(recent.count_delayed(LIMIT, 1_300_000), 0);
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
        (0..100).for_each(|round| recent.note_delayed(LIMIT, 2_000_000_000 + round * 10_000));
        recent.set_held_from(Some(7));
        assert_eq!(RecentDeletes::from_text(&recent.to_text()), recent);
        for nonsense in ["", "x", "1:x 2:3", ":::"] {
            assert!(RecentDeletes::from_text(nonsense).slots.len() <= 1, "{nonsense}");
        }
    }
}
