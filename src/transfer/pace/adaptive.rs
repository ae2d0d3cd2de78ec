//! Adaptive concurrency: how many requests may be under way, found by measurement below an upper bound.
//!
//! By Little's law the requests under way are throughput times latency. More of them bring more throughput
//! as long as latency stays the same; from some number on, only latency rises. The limit looks for that
//! number by comparing the throughput before and after a change of the limit:
//!
//! - *Slow start*: each answer allows one more request, so that a round of requests doubles the limit, and
//!   connections are opened as fast as others have answered. It ends when two rounds in a row bring less
//!   than a quarter more, as in BBR.
//! - *Steady*: now and then a probe tries a higher or a lower limit. A higher one stays if it brings at
//!   least half of its increase as throughput; a lower one stays if it costs less than half of its decrease.
//!   A change of the throughput itself is probed at once: that is how rising latency is followed.
//! - *Cut*: a request for less, or a body that times out, halves the limit. The limit returns to a little
//!   below where that happened, and tries to exceed it later.
//! - A limit that is not used falls to twice what is used, for idle connections are closed. It returns by a
//!   request per answer.
//!
//! Throughput is measured as in BBR: by what was completed while a request was under way. Only requests
//! count that began after the latest change, and only while all permits were in use.
//!
//! # Invariants
//!
//! - The limit is between one and the upper bound, and except for cuts at least [`START`].
//! - Between two answers the limit grows by one, or by a probe: an eighth to the double.
//! - Pure: time is an argument, and state has a fixed size.

mod window;

use std::time::Duration;
use window::ThroughputWindow;

/// The limit at the start. Measured throughput alone never lowers the limit below it.
pub const START: usize = 16;

/// The cost of a request without its body, in bytes.
const REQUEST_COST: u64 = 64 << 10;
/// The shortest round: a shorter one measures the scheduler.
const ROUND_MIN: Duration = Duration::from_millis(20);
/// A round with less than this times the best throughput so far has not grown.
const ROUND_GROWTH: f64 = 1.25;
/// Rounds in a row without growth that end the slow start.
const FLAT_ROUNDS: u32 = 2;
/// The part of the best throughput that the limit after the slow start has to reach.
const GOOD_THROUGHPUT: f64 = 0.8;
/// Requests of a measurement, or one round if that is more: with random latencies they give the mean within a
/// tenth.
const SAMPLE_MIN: u32 = 200;
/// The shortest measurement.
const MEASURE_MIN: Duration = Duration::from_millis(100);
/// The longest measurement. Later the store may be another one.
const MEASURE_MAX: Duration = Duration::from_secs(30);
/// By how much successive successful probes change the limit.
const PROBE_STEPS: [f64; 3] = [1.25, 1.5, 2.0];
/// Pauses between probes: they double while probes fail.
const PROBE_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];
/// Throughput below and above this part of what it was is a change that is probed at once.
const CHANGED: [f64; 2] = [0.75, 1.33];
/// The weight of the latest measurement.
const SMOOTHING: f64 = 0.25;
/// Requests that are under way when one is refused are refused too; all of them are one cut.
const CUT_EVERY: Duration = Duration::from_millis(200);
/// The limit that stays allowed, as part of the one that was refused.
const CEILING: f64 = 0.9;
/// How long that is so. It doubles when exceeding the ceiling is refused again.
const CEILING_PAUSES: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(120)];
/// How long a part of the limit is not used before it is taken back: the idle time of connections.
const UNUSED_MAX: Duration = Duration::from_secs(5);

/// A request under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct MeasuredRequest {
    began: Duration,
    /// What was completed before it.
    completed: u64,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestFeedback {
    /// S3 did its part. The body had so many bytes.
    Done(u64),
    /// S3 asks for fewer requests.
    Throttled,
    /// It failed for another reason.
    Failed,
}

/// A change that an operator should know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitChange {
    /// Fewer requests are allowed, because the store throttles.
    Slowed,
    /// The limit is again near where the store throttled.
    Restored,
}

/// The limit.
#[derive(Debug)]
pub(super) struct AdaptiveLimit {
    max: f64,
    limit: f64,
    phase: LimitPhase,
    window: ThroughputWindow,
    /// What was completed so far: bytes, and the cost of each request.
    completed: u64,
    prober: Prober,
    ceiling: Option<Ceiling>,
    latest_cut: Option<Duration>,
    /// Whether a request succeeded that began after the latest cut.
    succeeded: bool,
    slowed: bool,
    used: Usage,
}

#[derive(Debug)]
enum LimitPhase {
    SlowStart {
        /// The best throughput, and the first limit with a good part of it.
        best: f64,
        good: Option<(f64, f64)>,
        flat: u32,
    },
    /// To a limit that was good before.
    Return {
        goal: f64,
    },
    Steady {
        throughput: Option<f64>,
    },
    Probe {
        limit_before: f64,
        throughput_before: f64,
    },
}

impl LimitPhase {
    const SLOW_START: Self = Self::SlowStart { best: 0.0, good: None, flat: 0 };
}

/// When the next probe is, and in which direction.
#[derive(Debug)]
struct Prober {
    up: bool,
    /// Successful ones in a row.
    successes: usize,
    pause: Duration,
    due: Duration,
}

/// The store throttled above this.
#[derive(Debug)]
struct Ceiling {
    limit: f64,
    until: Duration,
    pause: Duration,
}

/// The most requests under way in a period.
#[derive(Debug, Default)]
struct Usage {
    peak: usize,
    since: Duration,
    latest: Duration,
}

impl AdaptiveLimit {
    pub(super) fn new(max: usize) -> Self {
        let max = max.max(1);
        let limit = START.min(max) as f64;
        Self {
            max: max as f64,
            limit,
            phase: LimitPhase::SLOW_START,
            window: ThroughputWindow::new(Duration::ZERO, limit, true),
            completed: 0,
            prober: Prober { up: true, successes: 0, pause: PROBE_PAUSES[0], due: Duration::ZERO },
            ceiling: None,
            latest_cut: None,
            succeeded: true,
            slowed: false,
            used: Usage::default(),
        }
    }

    /// How many requests may be under way: one at least.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn limit(&self) -> usize {
        (self.limit as usize).clamp(1, self.max as usize)
    }

    /// A request begins, beside `others` that are under way.
    pub(super) fn begin(&mut self, others: usize, now: Duration) -> MeasuredRequest {
        self.take_back_unused(others, now);
        self.used.peak = self.used.peak.max(others + 1);
        MeasuredRequest { began: now, completed: self.completed }
    }

    /// A request has ended; `limited` says that no other one could begin meanwhile.
    pub(super) fn end(
        &mut self,
        request: MeasuredRequest,
        feedback: RequestFeedback,
        limited: bool,
        now: Duration,
    ) -> Option<LimitChange> {
        self.used.latest = now;
        match feedback {
            RequestFeedback::Done(bytes) => {
                self.completed = self.completed.saturating_add(bytes.saturating_add(REQUEST_COST));
                let after_cut = self.latest_cut.is_none_or(|cut| request.began >= cut);
                self.succeeded |= after_cut;
                let work = (self.completed - request.completed) as f64;
                self.window.add(request.began, work, limited, now);
                self.advance(limited && after_cut, now)
            }
            RequestFeedback::Throttled => self.cut(request.began, now),
            RequestFeedback::Failed => None,
        }
    }

    /// The highest limit at present.
    fn cap(&self, now: Duration) -> f64 {
        match &self.ceiling {
            Some(ceiling) if now < ceiling.until => ceiling.limit.min(self.max),
            _ => self.max,
        }
    }

    fn floor(&self) -> f64 {
        self.max.min(START as f64)
    }

    fn set(&mut self, limit: f64, phase: LimitPhase, now: Duration) {
        self.limit = limit.clamp(1.0, self.max);
        self.phase = phase;
        self.measure_anew(now);
    }

    /// What is completed while a request is under way was under way when it began: the first round after a
    /// change shows the limit before it. In the slow start, each round may show the one before.
    fn measure_anew(&mut self, now: Duration) {
        let settled = matches!(self.phase, LimitPhase::SlowStart { .. });
        self.window = ThroughputWindow::new(now, self.limit, settled);
    }

    /// A request succeeded; `may_grow` says that it shows room for another one.
    fn advance(&mut self, may_grow: bool, now: Duration) -> Option<LimitChange> {
        let cap = self.cap(now);
        let round = self.window.round();
        let sample = round.max(SAMPLE_MIN);
        match self.phase {
            LimitPhase::Return { goal } => {
                let goal = goal.min(cap);
                if may_grow {
                    self.limit = (self.limit + 1.0).min(goal.max(self.limit));
                }
                if self.limit >= goal {
                    self.prober.plan(true, now + self.prober.pause);
                    self.set(self.limit, LimitPhase::Steady { throughput: None }, now);
                    return std::mem::take(&mut self.slowed).then_some(LimitChange::Restored);
                }
            }
            LimitPhase::SlowStart { best, good, flat } => {
                if may_grow {
                    let most = self.window.limit() * 2.0;
                    self.limit = (self.limit + 1.0).min(most.min(cap).max(self.limit));
                }
                if let Some(throughput) = self.measured(round, ROUND_MIN, now) {
                    self.end_round(throughput, best, good, flat, now);
                }
            }
            LimitPhase::Steady { throughput } => {
                if let Some(latest) = self.measured(sample, MEASURE_MIN, now) {
                    self.note_throughput(throughput, latest, now);
                }
            }
            LimitPhase::Probe { limit_before, throughput_before } => {
                if let Some(latest) = self.measured(sample, MEASURE_MIN, now) {
                    self.end_probe(limit_before, throughput_before, latest, now);
                }
            }
        }
        None
    }

    /// The throughput of the window, if it is complete and shows what the limit allows.
    fn measured(&mut self, requests: u32, least: Duration, now: Duration) -> Option<f64> {
        let throughput = self.window.throughput(requests, least, now);
        if throughput.is_none() && self.window.is_void(requests, MEASURE_MAX, now) {
            self.measure_anew(now);
        }
        throughput
    }

    fn end_round(
        &mut self,
        throughput: f64,
        best: f64,
        good: Option<(f64, f64)>,
        flat: u32,
        now: Duration,
    ) {
        let flat = if throughput >= best * ROUND_GROWTH { 0 } else { flat + 1 };
        let best = best.max(throughput);
        let good = good
            .filter(|(_, throughput)| *throughput >= best * GOOD_THROUGHPUT)
            .unwrap_or((self.limit, throughput));
        if flat < FLAT_ROUNDS && self.limit < self.cap(now) {
            return self.set(
                self.limit,
                LimitPhase::SlowStart { best, good: Some(good), flat },
                now,
            );
        }
        // At once lower if that costs nothing, for the rounds have passed the right limit.
        self.prober.plan(false, now);
        self.set(good.0.max(self.floor()), LimitPhase::Steady { throughput: None }, now);
    }

    fn note_throughput(&mut self, before: Option<f64>, latest: f64, now: Duration) {
        let mut throughput = latest;
        if let Some(before) = before {
            let [less, more] = CHANGED;
            if latest < before * less || latest > before * more {
                self.prober.plan(latest > before, now);
            } else {
                throughput = before + (latest - before) * SMOOTHING;
            }
        }
        self.set(self.limit, LimitPhase::Steady { throughput: Some(throughput) }, now);
        if now >= self.prober.due {
            self.probe(throughput, now);
        }
    }

    /// Tries another limit in the planned direction, or the other one if there is no room.
    fn probe(&mut self, throughput: f64, now: Duration) {
        let step = PROBE_STEPS[self.prober.successes.min(PROBE_STEPS.len() - 1)];
        let higher = (self.limit * step).max(self.limit + 1.0).floor().min(self.cap(now));
        let lower = (self.limit / step).floor().max(self.floor());
        let can_rise = higher > self.limit;
        let can_fall = lower < self.limit;
        let limit = match (self.prober.up && can_rise) || !can_fall {
            true if can_rise => higher,
            true => return self.prober.plan(true, now + self.prober.pause),
            false => lower,
        };
        let before = LimitPhase::Probe { limit_before: self.limit, throughput_before: throughput };
        self.set(limit, before, now);
    }

    fn end_probe(&mut self, limit: f64, throughput: f64, latest: f64, now: Duration) {
        let needed = 1.0 + (self.limit / limit - 1.0) / 2.0;
        let up = self.limit > limit;
        if latest >= throughput * needed {
            if up {
                // It was exceeded, or is out of date.
                self.ceiling.take_if(|ceiling| ceiling.until <= now);
            }
            self.prober.continue_at(now, up);
            self.set(self.limit, LimitPhase::Steady { throughput: Some(latest) }, now);
            return self.probe(latest, now);
        }
        self.prober.turn(up, now);
        self.set(limit, LimitPhase::Steady { throughput: Some(throughput) }, now);
    }

    fn cut(&mut self, began: Duration, now: Duration) -> Option<LimitChange> {
        if self.latest_cut.is_some_and(|cut| began < cut || now < cut + CUT_EVERY) {
            return None;
        }
        self.latest_cut = Some(now);
        // While everything is refused, only the first refusal says something about the limit.
        let informs = std::mem::take(&mut self.succeeded) || self.ceiling.is_none();
        let mut lower = self.limit / 2.0;
        if let LimitPhase::Probe { limit_before, .. } = self.phase
            && limit_before < self.limit
        {
            lower = limit_before.min(self.limit * CEILING);
            self.raise_ceiling(lower, now);
        } else if informs {
            self.raise_ceiling(self.limit * CEILING, now);
        }
        let goal = self.ceiling.as_ref().map_or(lower, |ceiling| ceiling.limit).max(1.0);
        self.set(lower, LimitPhase::Return { goal }, now);
        (!std::mem::replace(&mut self.slowed, true)).then_some(LimitChange::Slowed)
    }

    /// Allows no more than `limit` for a while.
    fn raise_ceiling(&mut self, limit: f64, now: Duration) {
        let [first, longest] = CEILING_PAUSES;
        let pause = match &self.ceiling {
            Some(before) if now < before.until => before.pause,
            Some(before) if now < before.until + before.pause => (before.pause * 2).min(longest),
            _ => first,
        };
        self.ceiling = Some(Ceiling { limit: limit.max(1.0), until: now + pause, pause });
    }

    /// Lowers a limit of which a part was not used for a while.
    fn take_back_unused(&mut self, others: usize, now: Duration) {
        if now.saturating_sub(self.used.latest) >= UNUSED_MAX {
            self.used.peak = others;
        } else if now < self.used.since + UNUSED_MAX {
            return;
        }
        let wanted = (self.used.peak as f64 * 2.0).max(self.floor());
        self.used = Usage { peak: others, since: now, latest: now };
        if self.limit <= wanted {
            return;
        }
        let phase = match self.phase {
            LimitPhase::SlowStart { .. } => LimitPhase::SLOW_START,
            LimitPhase::Return { goal } => LimitPhase::Return { goal },
            LimitPhase::Steady { .. } => LimitPhase::Return { goal: self.limit },
            LimitPhase::Probe { limit_before, .. } => LimitPhase::Return { goal: limit_before },
        };
        self.set(wanted, phase, now);
    }
}

impl Prober {
    fn plan(&mut self, up: bool, due: Duration) {
        self.up = up;
        self.due = due;
        self.successes = 0;
    }

    /// The latest probe was right: another one follows.
    fn continue_at(&mut self, now: Duration, up: bool) {
        let successes = self.successes + 1;
        self.plan(up, now);
        self.successes = successes;
        self.pause = PROBE_PAUSES[0];
    }

    /// The latest probe was wrong: the next one is in the other direction.
    fn turn(&mut self, up: bool, now: Duration) {
        self.plan(!up, now + self.pause);
        self.pause = (self.pause * 2).min(PROBE_PAUSES[1]);
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
