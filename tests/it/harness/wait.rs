//! The one way to wait: for a condition, with a deadline. Also the seed of all that is random.
//!
//! `IT_PATIENCE` multiplies every deadline, for slow machines. `IT_SEED` takes another seed, and
//! `IT_KILLS` another number of kills.

use std::time::{Duration, Instant};

/// Time between two looks at a condition.
const POLL: Duration = Duration::from_millis(10);
/// What is waited for comes within this time, or not at all.
const DEADLINE: Duration = Duration::from_secs(30);

/// A deadline, longer on slow machines.
pub(crate) fn patience(deadline: Duration) -> Duration {
    deadline.mul_f64(variable("IT_PATIENCE").unwrap_or(1.0))
}

/// The seed, printed so that a failure can be repeated.
pub(crate) fn seed() -> u64 {
    let seed = variable("IT_SEED").unwrap_or(1);
    println!("IT_SEED={seed}");
    seed
}

/// How often something is killed: so often, unless `IT_KILLS` says otherwise.
pub(crate) fn kills(usual: usize) -> usize {
    variable("IT_KILLS").unwrap_or(usual)
}

/// How much of something there is, unless the variable says otherwise.
pub(crate) fn size(name: &str, default: usize) -> usize {
    variable(name).unwrap_or(default)
}

/// How often something is done that is done again and again; `IT_ROUNDS` says otherwise.
pub(crate) fn rounds(usual: usize) -> usize {
    variable("IT_ROUNDS").unwrap_or(usual)
}

/// The first answer of `probe`. Fails with the latest reason when there is none in time.
pub(crate) fn eventually<T>(what: &str, probe: impl FnMut() -> Result<T, String>) -> T {
    eventually_within(DEADLINE, what, probe)
}

/// The same with a deadline of its own.
pub(crate) fn eventually_within<T>(
    deadline: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<T, String>,
) -> T {
    let began = file_sync_dev_s3::now();
    let deadline = patience(deadline);
    loop {
        match probe() {
            Ok(answer) => return answer,
            Err(reason) if began.elapsed() > deadline => {
                panic!("after {deadline:?} still not: {what}: {reason}")
            }
            Err(_) => pause(began),
        }
    }
}

/// Waits until `holds`.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, || if holds() { Ok(()) } else { Err("no".to_owned()) });
}

/// Lets a moment pass that is part of the test itself, such as the length of an outage.
pub(crate) fn sleep_for(moment: Duration) {
    let began = file_sync_dev_s3::now();
    while began.elapsed() < moment {
        pause(began);
    }
}

/// Done when it is dropped, so also when a test fails on the way.
pub(crate) struct AtLast<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for AtLast<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Looks become rarer with time, so that one that costs something does not starve what it waits for.
fn pause(began: Instant) {
    std::thread::sleep(POLL.max(began.elapsed() / 20).min(POLL * 10));
}

#[expect(clippy::disallowed_methods, reason = "the tests have no configuration but this")]
fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let Ok(value) = text.parse() else { panic!("{name}={text} is no number") };
    Some(value)
}
