use super::*;

const PATIENCE: Duration = Duration::from_secs(180);

fn holder(owner: &str, process: u64) -> Holder {
    Holder { owner: owner.into(), process: process.to_string(), name: format!("host-{process}") }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The object, in a store that keeps its conditions, and whose entity tags follow from the content.
#[derive(Default)]
struct Bucket {
    object: Option<LeaseObject>,
}

impl Bucket {
    fn write(&mut self, write: &LeaseWrite) -> Option<String> {
        let holds = match (&write.condition, &self.object) {
            (Condition::Absent, None) => true,
            (Condition::Unchanged(etag), Some(there)) => *etag == there.etag,
            _ => false,
        };
        if !holds {
            return None;
        }
        let bytes = write.claim.to_bytes();
        let etag = String::from_utf8_lossy(&bytes).into_owned();
        let claim = LeaseClaim::parse(&bytes);
        self.object = Some(LeaseObject { etag: etag.clone(), claim });
        Some(etag)
    }

    /// A look with all that follows from it, all at one time.
    fn look(&mut self, lease: &mut WriterLease, now: Duration) {
        if let Some(write) = lease.seen(self.object.clone(), now, now)
            && let Some(etag) = self.write(&write)
        {
            lease.written(&write, &etag, now, now);
        }
    }
}

fn holds(lease: &WriterLease, now: Duration) -> bool {
    matches!(lease.standing(), LeaseStatus::Mine { until } if now < *until)
}

#[test]
fn the_first_holds_it_and_the_second_says_who_does() {
    let mut bucket = Bucket::default();
    let mut first = WriterLease::new(holder("a", 1), PATIENCE);
    let mut second = WriterLease::new(holder("b", 2), PATIENCE);
    for round in 0..20 {
        let now = first.interval() * round;
        bucket.look(&mut first, now);
        bucket.look(&mut second, now + secs(1));
        assert!(holds(&first, now + secs(1)), "round {round}");
        assert_eq!(second.standing(), &LeaseStatus::Other("host-1".into()), "round {round}");
    }
}

#[test]
fn a_holder_that_is_gone_is_followed_after_its_time_and_not_before() {
    let mut bucket = Bucket::default();
    let mut first = WriterLease::new(holder("a", 1), PATIENCE);
    let mut second = WriterLease::new(holder("b", 2), PATIENCE);
    bucket.look(&mut first, secs(0));
    for now in [1, 61, 121, 180] {
        bucket.look(&mut second, secs(now));
        assert!(!holds(&second, secs(now)), "after {now} s");
    }
    bucket.look(&mut second, secs(181));
    assert!(holds(&second, secs(181)));
    bucket.look(&mut first, secs(200));
    assert_eq!(first.standing(), &LeaseStatus::Other("host-2".into()), "it was only asleep");
}

#[test]
fn two_that_want_the_lease_of_one_that_lives_do_not_get_it_by_challenging_again_and_again() {
    let mut bucket = Bucket::default();
    let leases = [("a", 1), ("b", 2), ("c", 3)];
    let [mut first, mut second, mut third] =
        leases.map(|(owner, process)| WriterLease::new(holder(owner, process), PATIENCE));
    for round in 0..40 {
        let now = first.interval() * round;
        bucket.look(&mut first, now);
        bucket.look(&mut second, now);
        bucket.look(&mut third, now);
        assert!(holds(&first, now), "round {round}");
        assert!(!holds(&second, now) && !holds(&third, now), "round {round}");
    }
}

#[test]
fn who_waits_for_less_time_waits_for_as_long_as_the_holder_may_be_silent() {
    let mut bucket = Bucket::default();
    let mut first = WriterLease::new(holder("a", 1), PATIENCE);
    let mut second = WriterLease::new(holder("b", 2), secs(3));
    bucket.look(&mut first, secs(0));
    for now in 1..60 {
        bucket.look(&mut second, secs(now));
        assert!(!holds(&second, secs(now)), "after {now} s");
    }
    bucket.look(&mut first, secs(60));
    assert!(holds(&first, secs(60)));
    for now in 61..=241 {
        bucket.look(&mut second, secs(now));
    }
    assert!(holds(&second, secs(241)), "the first has not answered since");
}

#[test]
fn the_same_record_at_work_again_holds_it_at_once_and_a_copy_of_it_does_not() {
    let mut bucket = Bucket::default();
    let mut before = WriterLease::new(holder("a", 1), PATIENCE);
    let mut after = WriterLease::new(holder("a", 2), PATIENCE);
    bucket.look(&mut before, secs(0));
    bucket.look(&mut after, secs(1));
    assert!(holds(&after, secs(1)));
    // The lock should have kept it from being there.
    bucket.look(&mut before, secs(2));
    assert_eq!(before.standing(), &LeaseStatus::Other("host-2".into()));
}

#[test]
fn an_object_that_is_no_lease_is_never_replaced() {
    let mut lease = WriterLease::new(holder("a", 1), PATIENCE);
    for text in ["", "{}", "hello", r#"{"version":2,"holder":{"owner":"","process":"","name":""}}"#]
    {
        let seen = LeaseObject { etag: "e".into(), claim: LeaseClaim::parse(text.as_bytes()) };
        assert_eq!(lease.seen(Some(seen), secs(0), secs(0)), None, "{text}");
        assert!(matches!(lease.standing(), LeaseStatus::Other(_)), "{text}");
    }
}

#[test]
fn a_claim_is_read_as_it_was_written() {
    let challenger = Some(holder("b\"\n", 2));
    let claim = LeaseClaim {
        version: VERSION,
        number: u64::MAX,
        seconds: 9,
        holder: holder("a", 1),
        challenger,
    };
    assert_eq!(LeaseClaim::parse(&claim.to_bytes()), Some(claim));
}

/// A process that looks when it likes to, whose requests take their time, and that may stop in between.
struct Process {
    lease: WriterLease,
    /// What is under way, since when, and when it arrives.
    write: Option<(LeaseWrite, Duration, Duration)>,
    /// Lives again then.
    asleep: Duration,
}

#[test]
fn at_no_time_do_two_hold_it() {
    let mut held = 0_u64;
    let mut changes = 0_u64;
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bucket = Bucket::default();
        let process = |number: u64| Process {
            lease: WriterLease::new(holder(&number.to_string(), number), PATIENCE),
            write: None,
            asleep: Duration::ZERO,
        };
        let mut processes: Vec<_> = (0..3).map(process).collect();
        let mut last = None;
        for second in 0..4_000 {
            let now = secs(second);
            for (number, process) in processes.iter_mut().enumerate() {
                if let Some((write, sent, arrives)) = process.write.take() {
                    if arrives > now {
                        process.write = Some((write, sent, arrives));
                        continue;
                    }
                    // Its answer may be lost on the way.
                    if let Some(etag) = bucket.write(&write)
                        && random.u8(..10) != 0
                    {
                        process.lease.written(&write, &etag, sent, now);
                    }
                }
                if process.asleep > now || random.u8(..40) != 0 {
                    continue;
                }
                match random.u8(..30) {
                    0 => process.asleep = now + secs(random.u64(1..900)),
                    1 => {
                        // Killed; another one with a record of its own takes its place.
                        let new = 1_000 * (second + 1) + number as u64;
                        process.lease = WriterLease::new(holder(&new.to_string(), new), PATIENCE);
                    }
                    2 if holds(&process.lease, now) => {
                        // Stopped as it should be: the lease is given back, if it is still its own.
                        let mine =
                            |claim: &LeaseClaim| claim.holder.process == process.lease.me.process;
                        let seen = bucket.object.as_ref().and_then(|seen| seen.claim.as_ref());
                        if seen.is_some_and(mine) {
                            bucket.object = None;
                        }
                        process.lease = WriterLease::new(process.lease.me.clone(), PATIENCE);
                    }
                    _ => {
                        let write = process.lease.seen(bucket.object.clone(), now, now);
                        let slow = now + secs(random.u64(0..30));
                        process.write = write.map(|write| (write, now, slow));
                    }
                }
            }
            let holders: Vec<_> =
                (0..3).filter(|number| holds(&processes[*number].lease, now)).collect();
            assert!(holders.len() < 2, "seed {seed}, second {second}: {holders:?}");
            held += holders.len() as u64;
            changes += u64::from(!holders.is_empty() && last != holders.first().copied());
            last = holders.first().copied().or(last);
        }
    }
    assert!(held > 100_000, "the lease was held for {held} s of 1,200,000");
    assert!(changes > 500, "it changed hands {changes} times");
}
