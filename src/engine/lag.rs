//! The synchronization lag of the latest changes, by lane: the time from the event to the object in S3.

use crate::model::UnixMillis;
use crate::queue::Lane;
use std::collections::VecDeque;

/// Maximum number of lags that are kept for a lane.
const CHANGES_MAX: usize = 512;

/// The latest lags of each lane, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lags([VecDeque<UnixMillis>; Lane::ALL.len()]);

/// The distribution of the latest lags of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LagSummary {
    /// Number of lags in this summary.
    pub changes: usize,
    /// The 50th percentile, in milliseconds.
    pub median_ms: UnixMillis,
    /// The 95th percentile, in milliseconds.
    pub p95_ms: UnixMillis,
    /// The longest lag, in milliseconds.
    pub worst_ms: UnixMillis,
}

impl Lags {
    /// Adds the lag of a change that is in S3 now.
    pub(super) fn add(&mut self, lane: Lane, lag: UnixMillis) {
        let lags = &mut self.0[lane.index()];
        if lags.len() >= CHANGES_MAX {
            lags.pop_front();
        }
        lags.push_back(lag);
    }

    /// Summarizes the latest lags of a lane. Returns `None` before the first.
    #[must_use]
    pub fn summary(&self, lane: Lane) -> Option<LagSummary> {
        let mut lags: Vec<_> = self.0[lane.index()].iter().copied().collect();
        lags.sort_unstable();
        let changes = lags.len();
        let at = |percent: usize| lags.get((changes * percent).div_ceil(100).saturating_sub(1));
        Some(LagSummary { changes, median_ms: *at(50)?, p95_ms: *at(95)?, worst_ms: *at(100)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_changes_of_a_lane_are_summed_up() {
        let mut lags = Lags::default();
        assert_eq!(lags.summary(Lane::Fresh), None);
        for lag in 1..=2_000 {
            lags.add(Lane::Fresh, lag);
        }
        lags.add(Lane::Backlog, 7);
        let fresh = lags.summary(Lane::Fresh).expect("some");
        assert_eq!((fresh.changes, fresh.median_ms, fresh.worst_ms), (512, 1_744, 2_000));
        assert_eq!(fresh.p95_ms, 1_975);
        assert_eq!(lags.summary(Lane::Backlog).map(|backlog| backlog.p95_ms), Some(7));
        assert_eq!(lags.summary(Lane::Retry), None);
    }
}
