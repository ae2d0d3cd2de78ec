//! Spreads the looks of a sweep over the first half of its interval, so that they do not come as a burst.
//! The other half is left for answers that take long.

use std::time::Duration;

/// The pause after `done` of `total` looks of a sweep that has run for `elapsed`.
pub(super) fn pause(done: usize, total: usize, elapsed: Duration, interval: Duration) -> Duration {
    let total = u32::try_from(total.max(1)).unwrap_or(u32::MAX);
    let done = u32::try_from(done).unwrap_or(u32::MAX);
    if done >= total {
        return Duration::ZERO;
    }
    let share = f64::from(done) / f64::from(total);
    (interval / 2).mul_f64(share).saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn looks_are_spread_over_half_of_the_interval() {
        assert_eq!(pause(100, 400, AT(0), AT(80)), AT(10));
        assert_eq!(pause(200, 400, AT(15), AT(80)), AT(5));
        assert_eq!(pause(200, 400, AT(30), AT(80)), AT(0), "a slow sweep does not wait");
        assert_eq!(pause(400, 400, AT(0), AT(80)), AT(0), "nor does its end");
        assert_eq!(pause(0, 0, AT(0), AT(80)), AT(0));
    }
}
