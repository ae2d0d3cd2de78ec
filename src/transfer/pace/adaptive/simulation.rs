//! A simulated store and a client that always has something to send. No clock, no threads.

use super::{AdaptiveLimit, LimitChange, MeasuredRequest, RequestFeedback};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// The body of each request.
const BODY: u64 = 4 << 10;

/// What a store does with more requests than it serves at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    /// They wait for each other.
    Queues,
    /// It answers `SlowDown`.
    Refuses,
}

/// How a store behaves for a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoreBehaviour {
    /// The time of a request that waits for nothing.
    pub latency: Duration,
    /// Requests that are served at once.
    pub capacity: usize,
    /// What happens to further ones.
    pub excess: Excess,
    /// The random part of the latency: 0 for none, 1 for an exponential distribution.
    pub jitter: f64,
}

impl StoreBehaviour {
    pub(super) fn new(latency_ms: u64, capacity: usize, excess: Excess) -> Self {
        Self { latency: Duration::from_millis(latency_ms), capacity, excess, jitter: 0.2 }
    }

    /// What it serves in a second.
    pub(super) fn throughput(&self) -> f64 {
        self.capacity as f64 / self.latency.as_secs_f64()
    }
}

/// What happened in a part of the simulation.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Observed {
    pub done: u64,
    pub refused: u64,
    /// The lowest and the highest limit, and its mean over time.
    pub lowest: usize,
    pub highest: usize,
    pub mean: f64,
    pub slowed: u64,
    pub seconds: f64,
}

impl Observed {
    pub(super) fn throughput(&self) -> f64 {
        self.done as f64 / self.seconds
    }
}

/// A request that has ended at a time: its number orders those that end together.
type Ending = Reverse<(Duration, u64)>;

pub(super) struct Simulation {
    pub limit: AdaptiveLimit,
    now: Duration,
    random: fastrand::Rng,
    endings: BinaryHeap<Ending>,
    under_way: std::collections::HashMap<u64, (MeasuredRequest, RequestFeedback)>,
    /// When each place of the store is free again.
    places: BinaryHeap<Reverse<Duration>>,
    number: u64,
}

impl Simulation {
    pub(super) fn new(max: usize, seed: u64) -> Self {
        Self {
            limit: AdaptiveLimit::new(max),
            now: Duration::ZERO,
            random: fastrand::Rng::with_seed(seed),
            endings: BinaryHeap::new(),
            under_way: std::collections::HashMap::new(),
            places: BinaryHeap::new(),
            number: 0,
        }
    }

    /// Sends as much as the limit allows for so many seconds.
    pub(super) fn run(&mut self, store: StoreBehaviour, seconds: f64) -> Observed {
        self.run_with(|_| store, seconds, usize::MAX)
    }

    /// The same with a store that changes with the seconds that have passed, and at most `wanted` requests
    /// at once.
    pub(super) fn run_with(
        &mut self,
        store: impl Fn(f64) -> StoreBehaviour,
        seconds: f64,
        wanted: usize,
    ) -> Observed {
        let began = self.now;
        let end = began + Duration::from_secs_f64(seconds);
        let mut observed = Observed { lowest: usize::MAX, seconds, ..Observed::default() };
        let mut weighted = 0.0;
        loop {
            let behaviour = store((self.now - began).as_secs_f64());
            while self.under_way.len() < self.limit.limit().min(wanted) {
                self.send(behaviour);
            }
            let limit = self.limit.limit();
            observed.lowest = observed.lowest.min(limit);
            observed.highest = observed.highest.max(limit);
            let Some(&Reverse((at, number))) = self.endings.peek() else { break };
            weighted += limit as f64 * (at.min(end) - self.now).as_secs_f64();
            if at > end {
                break;
            }
            self.endings.pop();
            self.now = at;
            self.receive(number, &mut observed, wanted);
        }
        self.now = end;
        observed.mean = weighted / seconds;
        observed
    }

    /// Lets all requests end, and nothing happen for so many seconds.
    pub(super) fn rest(&mut self, seconds: u64) {
        let mut ignored = Observed::default();
        while let Some(Reverse((at, number))) = self.endings.pop() {
            self.now = at.max(self.now);
            self.receive(number, &mut ignored, 0);
        }
        self.now += Duration::from_secs(seconds);
    }

    fn send(&mut self, store: StoreBehaviour) {
        let begun = self.limit.begin(self.under_way.len(), self.now);
        let even = 1.0 - store.jitter;
        let random = store.jitter * -(1.0 - self.random.f64()).ln();
        let latency = store.latency.mul_f64(even + random);
        let refused = store.excess == Excess::Refuses && self.under_way.len() >= store.capacity;
        let (at, feedback) = if refused {
            (self.now + store.latency / 2, RequestFeedback::Throttled)
        } else {
            while self.places.len() > store.capacity {
                self.places.pop();
            }
            let free = match self.places.len() >= store.capacity {
                true => self.places.pop().map_or(self.now, |Reverse(free)| free.max(self.now)),
                false => self.now,
            };
            self.places.push(Reverse(free + latency));
            (free + latency, RequestFeedback::Done(BODY))
        };
        self.number += 1;
        self.endings.push(Reverse((at, self.number)));
        self.under_way.insert(self.number, (begun, feedback));
    }

    fn receive(&mut self, number: u64, observed: &mut Observed, wanted: usize) {
        let limited = self.under_way.len() >= self.limit.limit() && wanted >= self.limit.limit();
        let Some((begun, feedback)) = self.under_way.remove(&number) else { return };
        match feedback {
            RequestFeedback::Done(_) => observed.done += 1,
            RequestFeedback::Throttled | RequestFeedback::Failed => observed.refused += 1,
        }
        let change = self.limit.end(begun, feedback, limited, self.now);
        observed.slowed += u64::from(change == Some(LimitChange::Slowed));
    }
}
