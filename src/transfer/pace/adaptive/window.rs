//! Measures the throughput under one limit. Pure.

use std::time::Duration;

/// The part of the requests at whose end no other one could begin, for a measurement to count.
const LIMITED: f64 = 0.75;

/// Requests that began since the limit changed, or since the first of them ended.
#[derive(Debug)]
pub(super) struct ThroughputWindow {
    since: Duration,
    /// Whether requests count that began since then.
    settled: bool,
    /// The limit at its begin.
    limit: f64,
    requests: u32,
    limited: u32,
    /// What was completed while each request was under way, summed up.
    work: f64,
    /// The latencies, summed up, seconds.
    latency: f64,
}

impl ThroughputWindow {
    pub(super) fn new(since: Duration, limit: f64, settled: bool) -> Self {
        Self { since, settled, limit, requests: 0, limited: 0, work: 0.0, latency: 0.0 }
    }

    pub(super) fn limit(&self) -> f64 {
        self.limit
    }

    /// The requests of a round.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn round(&self) -> u32 {
        self.limit as u32
    }

    /// A request has ended, and so much was completed while it was under way.
    pub(super) fn add(&mut self, began: Duration, work: f64, limited: bool, now: Duration) {
        if began < self.since {
            return;
        }
        if self.settled {
            self.requests = self.requests.saturating_add(1);
            self.limited = self.limited.saturating_add(u32::from(limited));
            self.work += work;
            self.latency += now.saturating_sub(began).as_secs_f64();
        } else {
            self.settled = true;
            self.since = now;
        }
    }

    /// What is completed in a second, if the window is complete and the limit determined it.
    pub(super) fn throughput(&self, requests: u32, least: Duration, now: Duration) -> Option<f64> {
        let complete = self.requests >= requests && now >= self.since + least;
        (complete && self.is_limited() && self.latency > 0.0).then(|| self.work / self.latency)
    }

    /// Whether it will never show anything: it has everything, and the limit did not determine it, or it
    /// takes too long.
    pub(super) fn is_void(&self, requests: u32, longest: Duration, now: Duration) -> bool {
        let unlimited = self.requests >= requests && !self.is_limited();
        unlimited || now >= self.since + longest
    }

    fn is_limited(&self) -> bool {
        f64::from(self.limited) >= f64::from(self.requests) * LIMITED
    }
}
