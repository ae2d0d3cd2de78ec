//! Limits on bytes per second by the time of day.

use super::UnixMillis;
use std::sync::Arc;

const MINUTE_MS: UnixMillis = 60_000;
/// The minutes of a day.
pub const DAY_MINUTES: u16 = 1_440;

/// A part of the day with a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BandwidthWindow {
    /// The first minute of the day.
    pub from: u16,
    /// The minute after the last one, up to [`DAY_MINUTES`]. A window that ends before it begins
    /// contains midnight.
    pub until: u16,
    /// Bytes per second, or `None` for no limit.
    pub rate: Option<u64>,
}

/// The limits of a day.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BandwidthSchedule {
    /// Windows that do not overlap.
    pub windows: Arc<[BandwidthWindow]>,
    /// Bytes per second at other times, or `None` for no limit.
    pub otherwise: Option<u64>,
    /// The local time minus UTC, in minutes.
    pub utc_offset: i16,
}

/// The limit at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentBandwidth {
    /// Bytes per second, or `None` for no limit.
    pub rate: Option<u64>,
    /// When a window begins or ends next, if there are any.
    pub until: Option<UnixMillis>,
}

impl BandwidthWindow {
    /// Whether it contains this minute of the day.
    #[must_use]
    pub fn contains(&self, minute: u16) -> bool {
        if self.from < self.until {
            (self.from..self.until).contains(&minute)
        } else {
            minute >= self.from || minute < self.until
        }
    }

    /// Whether both contain a minute.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.from) || other.contains(self.from)
    }
}

impl BandwidthSchedule {
    /// The same limit at all times.
    #[must_use]
    pub fn always(rate: Option<u64>) -> Self {
        Self { otherwise: rate, ..Self::default() }
    }

    /// Whether there is a limit at any time.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.otherwise.is_some() || self.windows.iter().any(|window| window.rate.is_some())
    }

    /// The limit at this time.
    #[must_use]
    pub fn at(&self, now: UnixMillis) -> CurrentBandwidth {
        let day = i128::from(DAY_MINUTES);
        let minutes = i128::from(now / MINUTE_MS) + i128::from(self.utc_offset);
        let minute = u16::try_from(minutes.rem_euclid(day)).unwrap_or_default();
        let window = self.windows.iter().find(|window| window.contains(minute));
        let bounds = self.windows.iter().flat_map(|window| [window.from, window.until]);
        // The next time at which the day has that minute: one day later for the present minute.
        let wait = |bound: u16| match (bound % DAY_MINUTES + DAY_MINUTES - minute) % DAY_MINUTES {
            0 => DAY_MINUTES,
            wait => wait,
        };
        let until = bounds.map(wait).min();
        CurrentBandwidth {
            rate: window.map_or(self.otherwise, |window| window.rate),
            until: until.map(|wait| (now / MINUTE_MS + UnixMillis::from(wait)) * MINUTE_MS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u16 = 60;

    /// Monday, 5 January 2026, at this time in UTC.
    fn at(hour: u64, minute: u64) -> UnixMillis {
        1_767_571_200_000 + (hour * 60 + minute) * MINUTE_MS
    }

    fn schedule(utc_offset: i16) -> BandwidthSchedule {
        let day = BandwidthWindow { from: 8 * HOUR, until: 18 * HOUR, rate: Some(1) };
        let night = BandwidthWindow { from: 22 * HOUR, until: 6 * HOUR, rate: None };
        BandwidthSchedule { windows: [day, night].into(), otherwise: Some(2), utc_offset }
    }

    #[test]
    fn a_window_begins_with_its_first_minute_and_ends_before_its_last() {
        for ((hour, minute), rate, until) in [
            ((7, 59), Some(2), at(8, 0)),
            ((8, 0), Some(1), at(18, 0)),
            ((17, 59), Some(1), at(18, 0)),
            ((18, 0), Some(2), at(22, 0)),
            ((23, 0), None, at(30, 0)),
            ((5, 59), None, at(6, 0)),
            ((6, 0), Some(2), at(8, 0)),
        ] {
            let current = schedule(0).at(at(hour, minute) + 59_999);
            assert_eq!(current, CurrentBandwidth { rate, until: Some(until) }, "{hour}:{minute}");
        }
    }

    #[test]
    fn times_are_those_of_the_offset() {
        assert_eq!(schedule(120).at(at(6, 0)).rate, Some(1), "08:00 there");
        assert_eq!(schedule(120).at(at(6, 0)).until, Some(at(16, 0)));
        assert_eq!(schedule(-330).at(at(13, 30)).rate, Some(1));
        assert_eq!(schedule(-720).at(0).rate, Some(1), "noon of the day before the first");
    }

    #[test]
    fn without_windows_one_limit_applies_and_never_ends() {
        let always = BandwidthSchedule::always(Some(7));
        assert_eq!(always.at(at(1, 2)), CurrentBandwidth { rate: Some(7), until: None });
        assert!(always.is_limited() && !BandwidthSchedule::default().is_limited());
    }

    #[test]
    fn a_window_until_midnight_ends_there() {
        let window = BandwidthWindow { from: 12 * HOUR, until: DAY_MINUTES, rate: Some(1) };
        let schedule = BandwidthSchedule { windows: [window].into(), ..Default::default() };
        assert_eq!(schedule.at(at(23, 59)).until, Some(at(24, 0)));
        assert_eq!(schedule.at(at(24, 0)).rate, None);
        let next = BandwidthWindow { from: 0, until: 12 * HOUR, rate: None };
        assert!(!window.overlaps(&next) && !next.overlaps(&window));
        let night = BandwidthWindow { from: 22 * HOUR, until: 1, rate: None };
        assert!(night.overlaps(&next) && next.overlaps(&night) && window.overlaps(&night));
    }
}
