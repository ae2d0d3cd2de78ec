//! Additive increase, multiplicative decrease: how many lanes there are. After cuts in a row, as an outage
//! makes them, the lanes double up to half of what they were before, as TCP's slow start does. Pure.

use std::time::Duration;

/// Requests that are under way when one is refused hear the same; all of them count once.
const CUT_EVERY: Duration = Duration::from_secs(1);
/// S3 is at its limit when small requests take so many times as long as they can …
const LATENCY_RATIO: u32 = 8;
/// … and at least this.
const LATENCY_MIN: Duration = Duration::from_millis(500);

/// How a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestFeedback {
    /// S3 asks for fewer.
    Less,
    /// It was done, while every lane was taken.
    Well {
        /// How long it took, where the network had little to do with it.
        latency: Option<Duration>,
    },
}

/// The number of lanes.
#[derive(Debug)]
pub(super) struct Aimd {
    most: usize,
    lanes: f64,
    cut: Option<Duration>,
    /// Up to here each request that goes well adds a lane.
    threshold: f64,
    /// Whether a request went well since the latest cut.
    grown: bool,
    /// Of small requests: a slow average, and the least ever.
    latency: Option<(Duration, Duration)>,
}

impl Aimd {
    /// Starts with all lanes: most stores never ask for less.
    pub(super) fn new(most: usize) -> Self {
        Self { most, lanes: most as f64, cut: None, threshold: 0.0, grown: true, latency: None }
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// How many requests may be under way: one at least.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn lanes(&self) -> usize {
        (self.lanes as usize).clamp(1, self.most)
    }

    pub(super) fn hear(&mut self, heard: RequestFeedback, now: Duration) {
        match heard {
            RequestFeedback::Less => {
                if self.cut.is_none_or(|cut| now >= cut + CUT_EVERY) {
                    if std::mem::take(&mut self.grown) {
                        self.threshold = self.lanes / 2.0;
                    }
                    self.cut = Some(now);
                    self.lanes = (self.lanes / 2.0).max(1.0);
                }
            }
            RequestFeedback::Well { latency } => {
                if let Some(latency) = latency {
                    self.measure(latency);
                }
                if !self.is_slow() {
                    self.grown = true;
                    let more = if self.lanes < self.threshold { 1.0 } else { 1.0 / self.lanes };
                    self.lanes = (self.lanes + more).min(self.most as f64);
                }
            }
        }
    }

    fn measure(&mut self, latency: Duration) {
        let (average, least) = self.latency.unwrap_or((latency, latency));
        self.latency = Some(((average * 7 + latency) / 8, least.min(latency)));
    }

    /// Answers come so late that more requests would only wait longer.
    fn is_slow(&self) -> bool {
        self.latency.is_some_and(|(average, least)| {
            average >= LATENCY_MIN && average >= least * LATENCY_RATIO
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: RequestFeedback = RequestFeedback::Well { latency: None };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn being_asked_for_less_halves_the_lanes_once_a_second() {
        let mut aimd = Aimd::new(16);
        for refused in 0..16 {
            aimd.hear(RequestFeedback::Less, seconds(5) + Duration::from_millis(refused));
        }
        assert_eq!(aimd.lanes(), 8);
        for second in 6..20 {
            aimd.hear(RequestFeedback::Less, seconds(second));
        }
        assert_eq!(aimd.lanes(), 1, "and never none");
    }

    #[test]
    fn a_round_that_goes_well_adds_one_until_all_are_back() {
        let mut aimd = Aimd::new(16);
        aimd.hear(RequestFeedback::Less, seconds(1));
        for _ in 0..9 {
            aimd.hear(WELL, seconds(2));
        }
        assert_eq!(aimd.lanes(), 9);
        for _ in 0..200 {
            aimd.hear(WELL, seconds(2));
        }
        assert_eq!(aimd.lanes(), 16, "and no more");
    }

    #[test]
    fn after_an_outage_the_lanes_double_up_to_half_of_what_they_were() {
        let mut aimd = Aimd::new(256);
        for second in 0..20 {
            aimd.hear(RequestFeedback::Less, seconds(second));
        }
        assert_eq!(aimd.lanes(), 1);
        let mut rounds = 0;
        while aimd.lanes() < 128 {
            for _ in 0..aimd.lanes() {
                aimd.hear(WELL, seconds(30));
            }
            rounds += 1;
        }
        assert_eq!(rounds, 7, "1, 2, 4 and so on");
        for _ in 0..aimd.lanes() {
            aimd.hear(WELL, seconds(31));
        }
        assert!((128..=129).contains(&aimd.lanes()), "and slowly from there: {}", aimd.lanes());
    }

    #[test]
    fn answers_that_come_late_add_none() {
        let mut aimd = Aimd::new(16);
        aimd.hear(RequestFeedback::Less, seconds(1));
        let heard = |millis| RequestFeedback::Well { latency: Some(Duration::from_millis(millis)) };
        aimd.hear(heard(20), seconds(2));
        for _ in 0..100 {
            aimd.hear(heard(2_000), seconds(2));
        }
        assert!(aimd.lanes() < 16, "{}", aimd.lanes());
        for _ in 0..200 {
            aimd.hear(heard(20), seconds(3));
        }
        assert_eq!(aimd.lanes(), 16);
    }
}
