use super::*;
use fastrand::Rng;
use std::collections::BTreeMap;

const SECOND: Duration = Duration::from_secs(1);
/// 2026-11-22.
const WALL: UnixMillis = 1_795_305_600_000;
const DAY_MS: u64 = 86_400_000;

fn settings() -> BatchSettings {
    BatchSettings {
        quiet: 10 * SECOND,
        wildcard_threshold: 50,
        paths_at_once: 100,
        monthly_limit: 0,
        retry_max: 300 * SECOND,
    }
}

fn at(elapsed: Duration) -> BatchTime {
    BatchTime { elapsed, wall: WALL + millis(elapsed), jitter: 0.5 }
}

fn seconds(seconds: u64) -> BatchTime {
    at(SECOND * u32::try_from(seconds).expect("few"))
}

fn batch(id: &str, paths: &[&str], now: BatchTime) -> PathBatch {
    PathBatch {
        id: id.into(),
        reference: id.into(),
        distribution: "E1".into(),
        paths: paths.iter().map(|&path| path.into()).collect(),
        month: MonthCount::at(now.wall),
        created: now.wall,
        accepted: None,
        links: Vec::new(),
    }
}

fn batcher(settings: BatchSettings) -> Batcher {
    Batcher::new(settings, Vec::new(), [])
}

fn trouble(kind: RetryKind) -> Result<RequestStatus, InvalidateError> {
    Err(InvalidateError { kind, code: "code".into(), message: "message".into() })
}

fn taken(id: &str) -> Result<RequestStatus, InvalidateError> {
    Ok(RequestStatus { id: id.into(), completed: false })
}

fn waits(step: &BatchStep) -> bool {
    matches!(step, BatchStep::Wait(_))
}

#[test]
fn changes_rest_and_are_sent_after_a_longest_wait_at_the_latest() {
    let mut batcher = batcher(settings());
    assert_eq!(batcher.step(seconds(0)), BatchStep::Wait(None));
    for second in 0..60 {
        batcher.waiting(second + 1, seconds(second));
        let next = (second + 10).min(60);
        assert_eq!(batcher.step(seconds(second)), BatchStep::Wait(Some(Duration::from_secs(next))));
    }
    assert!(matches!(batcher.step(seconds(60)), BatchStep::Take(_)));
}

#[test]
fn a_daemon_that_ends_waits_for_no_quiet_time() {
    let mut batcher = batcher(settings());
    batcher.waiting(3, seconds(5));
    assert!(waits(&batcher.step(seconds(6))));
    assert!(!batcher.is_drained(2, seconds(6)));
    batcher.hurry(seconds(6));
    assert!(matches!(batcher.step(seconds(6)), BatchStep::Take(_)));
    batcher.made(vec![batch("1", &["/a"], seconds(6))], 0, seconds(6));
    assert!(!batcher.is_drained(2, seconds(6)));
    assert!(matches!(batcher.step(seconds(6)), BatchStep::Create(_)));
    assert_eq!(batcher.created(&taken("I1"), seconds(7)), BatchVerdict::Accepted);
    assert!(batcher.is_drained(2, seconds(7)));
}

#[test]
fn what_fails_while_the_process_ends_is_tried_every_two_seconds() {
    for kind in [RetryKind::Unavailable, RetryKind::Crowded] {
        let mut batcher = batcher(settings());
        let mut now = seconds(0);
        batcher.made(vec![batch("1", &["/a"], now)], 0, now);
        batcher.hurry(now);
        for _ in 0..8 {
            assert!(matches!(batcher.step(now), BatchStep::Create(_)), "{kind:?}");
            batcher.created(&trouble(kind), now);
            assert!(!batcher.is_drained(u32::MAX, now));
            let BatchStep::Wait(Some(next)) = batcher.step(now) else {
                panic!("{kind:?} does not wait")
            };
            assert!(next - now.elapsed <= 2 * SECOND, "{kind:?}: {:?}", next - now.elapsed);
            now = at(next);
        }
    }
}

#[test]
fn what_comes_while_a_batch_waits_joins_the_next_one() {
    let mut batcher = batcher(settings());
    let open = batch("1", &["/a"], seconds(0));
    batcher.made(vec![open.clone()], 0, seconds(0));
    assert_eq!(batcher.step(seconds(0)), BatchStep::Create(open.clone()));
    assert_eq!(batcher.created(&trouble(RetryKind::Unavailable), seconds(0)), BatchVerdict::Later);
    batcher.waiting(5, seconds(0));
    // The same batch again, and no other before it.
    assert_eq!(batcher.step(seconds(100)), BatchStep::Create(open));
    assert_eq!(batcher.created(&taken("I1"), seconds(100)), BatchVerdict::Accepted);
    assert!(matches!(batcher.step(seconds(100)), BatchStep::Take(_)));
}

#[test]
fn waits_after_failures_fit_what_failed_and_stay_below_the_retry_interval() {
    for (kind, first, longest) in [
        (RetryKind::Unavailable, 1, 300),
        (RetryKind::Crowded, 5, 60),
        (RetryKind::Refused, 300, 300),
    ] {
        let mut batcher = batcher(settings());
        let mut now = seconds(0);
        batcher.made(vec![batch("1", &["/a"], now)], 0, now);
        for failure in 0..12 {
            assert!(matches!(batcher.step(now), BatchStep::Create(_)), "{kind:?}");
            batcher.created(&trouble(kind), now);
            let BatchStep::Wait(Some(next)) = batcher.step(now) else {
                panic!("{kind:?} does not wait")
            };
            let wait = next - now.elapsed;
            let whole = SECOND * (first << failure).min(longest);
            // The token bucket of calls makes it at least a second.
            assert!(wait >= whole / 2 && wait <= whole.max(2 * SECOND), "{kind:?}: {wait:?}");
            now = at(next);
        }
    }
}

#[test]
fn a_refused_batch_does_not_hold_up_the_end() {
    let mut batcher = batcher(settings());
    batcher.made(vec![batch("1", &["/a"], seconds(0))], 0, seconds(0));
    batcher.step(seconds(0));
    batcher.created(&trouble(RetryKind::Refused), seconds(0));
    assert!(batcher.is_drained(2, seconds(0)));
    // But it is attempted once more at the end.
    batcher.hurry(seconds(5));
    assert!(!batcher.is_drained(2, seconds(5)));
    assert!(matches!(batcher.step(seconds(5)), BatchStep::Create(_)));
}

#[test]
fn what_is_never_taken_is_made_anew_once() {
    let mut batcher = batcher(settings());
    batcher.made(vec![batch("1", &["/[", "/a"], seconds(0))], 0, seconds(0));
    batcher.step(seconds(0));
    assert_eq!(batcher.created(&trouble(RetryKind::Unfit), seconds(0)), BatchVerdict::Unfit);
    batcher.replaced(batch("2", &["/*"], seconds(0)), 0);
    assert_eq!(batcher.spent(seconds(0)), 2);
    let BatchStep::Create(second) = batcher.step(seconds(1000)) else { panic!("it is sent") };
    assert_eq!(second.id, "2");
    assert_eq!(batcher.created(&trouble(RetryKind::Unfit), seconds(1000)), BatchVerdict::Later);
}

#[test]
fn the_last_of_the_budget_is_for_wildcards_and_then_the_month_has_to_end() {
    let mut batcher = batcher(BatchSettings { monthly_limit: 100, ..settings() });
    let items = |batcher: &mut Batcher, now: BatchTime| match batcher.step(now) {
        BatchStep::Take(limits) => limits.items,
        step => panic!("{step:?}"),
    };
    batcher.waiting(1, seconds(0));
    assert_eq!(items(&mut batcher, seconds(10)), 100);
    let spend = |batcher: &mut Batcher, paths: usize, now: BatchTime| {
        let paths = vec!["/a"; paths];
        batcher.made(vec![batch("1", &paths, now)], 1, now);
        let BatchStep::Create(_) = batcher.step(at(now.elapsed + 5 * SECOND)) else {
            panic!("sent")
        };
        batcher.created(&Ok(RequestStatus { id: "I".into(), completed: true }), now);
    };
    spend(&mut batcher, 60, seconds(10));
    assert_eq!(items(&mut batcher, seconds(30)), 40);
    spend(&mut batcher, 30, seconds(30));
    assert!(batcher.is_low(seconds(30)) && !batcher.is_exhausted(seconds(30)));
    assert_eq!(items(&mut batcher, seconds(50)), 1);
    for round in 0..10 {
        assert!(!batcher.is_exhausted(seconds(50)));
        spend(&mut batcher, 1, seconds(50 + 20 * round));
    }
    assert!(batcher.is_exhausted(seconds(300)));
    assert!(batcher.is_drained(2, seconds(300)));
    assert_eq!(batcher.step(seconds(300)), BatchStep::Wait(Some(360 * SECOND)));
    let next_month = BatchTime { wall: WALL + 9 * DAY_MS, ..seconds(400) };
    assert_eq!(items(&mut batcher, next_month), 100);
}

#[test]
fn a_batch_that_is_late_is_counted_in_the_month_in_which_it_is_paid() {
    let limit = BatchSettings { monthly_limit: 3, ..settings() };
    let made = batch("1", &["/a", "/b"], seconds(0));
    let mut batcher = Batcher::new(limit, vec![made.clone()], [(made.month, 2)]);
    let now = BatchTime { wall: WALL + 9 * DAY_MS, ..seconds(0) };
    let BatchStep::Recount(late) = batcher.step(now) else { panic!("it is counted again") };
    assert_eq!((late.month, &late.paths), (MonthCount(made.month.0 + 1), &made.paths));
    batcher.replaced(late.clone(), late.size());
    assert_eq!((batcher.spent(now), batcher.step(now)), (2, BatchStep::Create(late)));
}

#[test]
fn an_accepted_batch_is_polled_until_it_is_completed_or_unknown() {
    let accepted = PathBatch { accepted: Some("I1".into()), ..batch("1", &["/a"], seconds(0)) };
    for (kind, gives_up_after) in [(RetryKind::Unknown, 0), (RetryKind::Refused, 900)] {
        let mut batcher = Batcher::new(settings(), vec![accepted.clone()], []);
        let mut now = seconds(0);
        let mut asks = 0;
        loop {
            assert_eq!(batcher.step(now), BatchStep::Ask(accepted.clone()));
            asks += 1;
            if batcher.asked(&accepted, &trouble(kind), now) == BatchVerdict::Completed {
                break;
            }
            let BatchStep::Wait(Some(next)) = batcher.step(now) else {
                panic!("it is asked again")
            };
            now = at(next);
        }
        assert!(now.elapsed >= gives_up_after * SECOND, "{kind:?}");
        assert!(asks < 60, "{asks} questions in {:?}", now.elapsed);
        assert_eq!(batcher.step(now), BatchStep::Wait(None));
    }
}

/// A CDN that fails at random, and its requests.
struct Run {
    rng: Rng,
    batcher: Batcher,
    clock: Duration,
    waiting: u64,
    names: u64,
    calls: Vec<Duration>,
    /// Successful calls: time, paths, wildcards.
    made: Vec<(Duration, u64, u64)>,
    running: BTreeMap<String, PathBatch>,
    paid: BTreeMap<MonthCount, u64>,
}

impl Run {
    fn new(seed: u64, limit: u64) -> Self {
        let settings = BatchSettings { monthly_limit: limit, ..settings() };
        Self {
            rng: Rng::with_seed(seed),
            batcher: batcher(settings),
            clock: Duration::ZERO,
            waiting: 0,
            names: 0,
            calls: Vec::new(),
            made: Vec::new(),
            running: BTreeMap::new(),
            paid: BTreeMap::new(),
        }
    }

    fn step(&mut self) {
        let now = BatchTime { jitter: self.rng.f64(), ..at(self.clock) };
        if self.rng.u8(..10) == 0 {
            self.waiting += self.rng.u64(1..500);
        }
        self.batcher.waiting(self.waiting, now);
        match self.batcher.step(now) {
            BatchStep::Take(limits) => self.take(limits, now),
            BatchStep::Recount(batch) => {
                let size = batch.size();
                self.batcher.replaced(batch, size);
            }
            BatchStep::Create(batch) => self.create(&batch, now),
            BatchStep::Ask(batch) => self.ask(&batch, now),
            BatchStep::Wait(until) => {
                let chance = self.clock + Duration::from_millis(self.rng.u64(1..20_000));
                let until = until.map_or(chance, |until| until.min(chance));
                assert!(until > self.clock, "it waits for what is not to come");
                self.clock = until;
            }
        }
    }

    fn take(&mut self, limits: CoverLimits, now: BatchTime) {
        let items = u64::try_from(limits.items).expect("few").min(self.waiting);
        let wildcards = self.rng.u64(0..=items.min(u64::try_from(limits.wholes).expect("few")));
        let mut lists =
            vec![vec!["/a".to_owned(); usize::try_from(items - wildcards).expect("few")]];
        lists.extend((0..wildcards).map(|_| vec!["/*".to_owned()]));
        let batches = lists.into_iter().filter(|paths| !paths.is_empty()).map(|paths| {
            self.names += 1;
            PathBatch { paths, ..batch(&self.names.to_string(), &[], now) }
        });
        let batches = batches.collect();
        self.waiting = 0;
        self.batcher.made(batches, 0, now);
    }

    fn create(&mut self, batch: &PathBatch, now: BatchTime) {
        self.calls.push(self.clock);
        let kinds = [RetryKind::Unavailable, RetryKind::Crowded, RetryKind::Refused];
        let answer = match self.rng.usize(..12) {
            kind if kind < kinds.len() => trouble(kinds[kind]),
            _ => taken(&batch.id),
        };
        if answer.is_ok() {
            self.made.push((self.clock, batch.size(), batch.wildcards()));
            *self.paid.entry(MonthCount::at(now.wall)).or_default() += batch.size();
            self.running.insert(batch.id.clone(), batch.clone());
            let sum = |size: fn(&PathBatch) -> u64| self.running.values().map(size).sum::<u64>();
            assert!(sum(PathBatch::size) <= RUNNING_PATHS_MAX);
            assert!(sum(PathBatch::wildcards) <= RUNNING_WILDCARDS_MAX);
            assert!(self.running.len() <= RUNNING_MAX);
        }
        self.batcher.created(&answer, now);
    }

    fn ask(&mut self, batch: &PathBatch, now: BatchTime) {
        self.calls.push(self.clock);
        let completed = self.rng.u8(..4) == 0;
        if completed {
            self.running.remove(&batch.id);
        }
        let id = batch.accepted.clone().expect("it was accepted");
        self.batcher.asked(batch, &Ok(RequestStatus { id, completed }), now);
    }
}

#[test]
fn no_quota_and_no_budget_is_ever_exceeded() {
    let mut made = 0;
    for seed in 0..60 {
        let limit = if seed % 2 == 0 { 0 } else { 700 };
        let mut run = Run::new(seed, limit);
        for _ in 0..3_000 {
            run.step();
        }
        // Any second, wherever it starts.
        for (index, &from) in run.calls.iter().enumerate() {
            let next = run.calls.get(index + 1);
            assert!(next.is_none_or(|&next| next - from >= SECOND), "seed {seed}");
        }
        for &(from, ..) in &run.made {
            let within = run.made.iter().filter(|(at, ..)| *at >= from && *at - from < SECOND);
            let (paths, wildcards) = within
                .fold((0, 0), |sum, (_, paths, wildcards)| (sum.0 + paths, sum.1 + wildcards));
            assert!(paths <= 150 && wildcards <= 1, "seed {seed}: {paths} and {wildcards}");
        }
        if limit > 0 {
            assert!(run.paid.values().all(|paid| *paid <= limit), "seed {seed}: {:?}", run.paid);
        }
        made += run.made.len();
    }
    assert!(made > 5_000, "{made} batches");
}
