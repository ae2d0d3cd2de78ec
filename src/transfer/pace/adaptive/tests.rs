use super::simulation::{Excess, Observed, Simulation, StoreBehaviour};
use super::*;

const MAX: usize = 256;
/// A store that never has too many requests.
const ENOUGH: usize = 100_000;
/// The random part of latencies.
const JITTERS: [f64; 2] = [0.0, 0.5];

/// A store that is far away, and takes everything.
fn far() -> StoreBehaviour {
    StoreBehaviour::new(100, ENOUGH, Excess::Queues)
}

fn assert_near(observed: Observed, store: StoreBehaviour, case: &str) {
    let share = observed.throughput() / store.throughput();
    assert!(share >= 0.8, "{case}: {share:.2} of what is possible: {observed:?}");
}

#[test]
fn where_more_requests_bring_more_the_limit_rises_to_its_bound_within_a_dozen_round_trips() {
    for latency in [10, 30, 300] {
        for jitter in JITTERS {
            let store = StoreBehaviour::new(latency, ENOUGH, Excess::Queues);
            let store = StoreBehaviour { jitter, ..store };
            let mut simulation = Simulation::new(MAX, latency);
            let first = simulation.run(store, 0.012 * latency as f64 + 0.1);
            let case = format!("{latency} ms, jitter {jitter}");
            assert!(first.highest >= MAX * 3 / 4, "{case}: {first:?}");
            simulation.run(store, 0.1 * latency as f64);
            let later = simulation.run(store, 0.2 * latency as f64);
            assert!(later.mean >= MAX as f64 * 0.75, "{case}: {later:?}");
        }
    }
}

#[test]
fn a_store_with_less_capacity_than_the_bound_gets_about_that_many_requests() {
    for latency in [1, 10, 100, 300] {
        for jitter in JITTERS {
            let store = StoreBehaviour::new(latency, 50, Excess::Queues);
            let store = StoreBehaviour { jitter, ..store };
            let mut simulation = Simulation::new(MAX, latency);
            let seconds = (0.5 * latency as f64).max(2.0);
            simulation.run(store, seconds);
            let later = simulation.run(store, seconds);
            let case = format!("{latency} ms, jitter {jitter}");
            assert_near(later, store, &case);
            assert!(later.mean <= 90.0, "{case}: {later:?}");
        }
    }
}

#[test]
fn the_limit_follows_a_store_that_allows_50_then_500_then_20_requests_at_once() {
    for excess in [Excess::Queues, Excess::Refuses] {
        let mut simulation = Simulation::new(1_000, 1);
        for capacity in [50, 500, 20] {
            let store = StoreBehaviour::new(200, capacity, excess);
            for seconds in 1..=100 {
                let observed = simulation.run(store, 1.0);
                if seconds <= 10 || seconds % 10 == 0 {
                    // The trace: cargo test … -- --nocapture
                    println!("{excess:?} {capacity}: {seconds} s: {:.0}", observed.mean);
                }
            }
            let later = simulation.run(store, 40.0);
            let case = format!("{excess:?} above {capacity}");
            assert_near(later, store, &case);
            assert!(later.mean <= capacity as f64 * 1.6 + 4.0, "{case}: {later:?}");
            let refused = later.refused as f64 / later.done as f64;
            assert!(refused < 0.01, "{case}: {refused} are refused");
        }
    }
}

#[test]
fn a_noisy_neighbour_costs_its_share_and_no_more() {
    // Latency is three times as high in every other five seconds, whatever we do.
    let noisy = |seconds: f64| {
        let is_noisy = (seconds / 5.0) as u64 % 2 == 1;
        let latency = far().latency * if is_noisy { 3 } else { 1 };
        StoreBehaviour { latency, ..far() }
    };
    let mut simulation = Simulation::new(MAX, 1);
    simulation.run_with(noisy, 40.0, usize::MAX);
    let later = simulation.run_with(noisy, 80.0, usize::MAX);
    assert!(later.mean >= MAX as f64 * 0.6, "{later:?}");
}

#[test]
fn a_store_that_starts_slowly_is_used_as_it_grows() {
    // It serves 20 requests at once, and 10 more each second.
    let store = |seconds: f64| StoreBehaviour {
        capacity: 20 + (seconds.min(60.0) * 10.0) as usize,
        ..far()
    };
    let mut simulation = Simulation::new(MAX, 1);
    simulation.run_with(store, 90.0, usize::MAX);
    let later = simulation.run(store(60.0), 60.0);
    assert!(later.mean >= MAX as f64 * 0.75, "{later:?}");
}

#[test]
fn the_limit_grows_by_no_more_than_the_answers_that_came() {
    let mut simulation = Simulation::new(1_000, 1);
    let mut done = START as u64;
    for _ in 0..200 {
        let observed = simulation.run(far(), 0.01);
        done += observed.done;
        let double = done.max(START as u64 * 2);
        assert!(observed.highest as u64 <= double, "{observed:?} after {done}");
    }
}

#[test]
fn a_pause_lowers_the_limit_and_it_returns_without_measurements() {
    let mut simulation = Simulation::new(MAX, 1);
    simulation.run(far(), 20.0);
    assert!(simulation.limit.limit() >= MAX * 3 / 4);
    simulation.rest(60);
    let first = simulation.run(far(), 0.01);
    assert_eq!(first.highest, START, "idle connections are closed: {first:?}");
    let later = simulation.run(far(), 1.0);
    assert!(later.highest >= MAX * 3 / 4, "{later:?}");
}

#[test]
fn what_is_not_used_is_taken_back() {
    let mut simulation = Simulation::new(MAX, 1);
    simulation.run(far(), 20.0);
    simulation.run_with(|_| far(), 20.0, 20);
    assert_eq!(simulation.limit.limit(), 40);
    simulation.run_with(|_| far(), 20.0, 3);
    assert_eq!(simulation.limit.limit(), START);
}

#[test]
fn few_requests_say_nothing_about_more() {
    let mut simulation = Simulation::new(MAX, 1);
    let observed = simulation.run_with(|_| far(), 60.0, 8);
    assert_eq!((observed.lowest, observed.highest), (START, START));
}

#[test]
fn an_outage_lowers_the_limit_to_one_and_costs_no_more_than_seconds_after_its_end() {
    let store = StoreBehaviour::new(30, 200, Excess::Refuses);
    let mut simulation = Simulation::new(MAX, 1);
    simulation.run(store, 15.0);
    let outage = simulation.run(StoreBehaviour { capacity: 0, ..store }, 30.0);
    assert_eq!((simulation.limit.limit(), outage.slowed), (1, 1), "{outage:?}");
    let later = simulation.run(store, 3.0);
    assert!(later.highest >= 100, "{later:?}");
}

#[test]
fn the_bound_and_one_request_hold_for_any_feedback() {
    for max in [1, 2, 16, 17, 1_000] {
        let mut random = fastrand::Rng::with_seed(max as u64);
        let mut limit = AdaptiveLimit::new(max);
        let mut now = Duration::ZERO;
        for _ in 0..20_000 {
            now += Duration::from_micros(random.u64(0..200_000));
            let begun = limit.begin(random.usize(0..=max), now);
            now += Duration::from_micros(random.u64(0..20_000));
            let feedback = match random.u8(0..20) {
                0 => RequestFeedback::Throttled,
                1 => RequestFeedback::Failed,
                _ => RequestFeedback::Done(random.u64(0..8 << 20)),
            };
            limit.end(begun, feedback, random.bool(), now);
            assert!((1..=max).contains(&limit.limit()), "{limit:?}");
        }
    }
}
