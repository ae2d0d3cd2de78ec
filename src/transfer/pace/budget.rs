//! A limit on bytes a second, which small bodies and large ones share.
//!
//! # Invariants
//!
//! - Over any longer time no more bytes are sent than the limit allows.
//! - A small body waits for other small ones alone. What it costs is paid by the large ones, which start one
//!   after the other, when everything before them is paid for.
//! - While large ones wait, they have a quarter of the bytes at least.
//! - Another limit of the schedule applies to waiting bodies too, within [`STEP`].

use crate::model::BandwidthSchedule;
use crate::root::now_ns;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Bodies up to this are small: a part of a large file is larger.
const SMALL_BYTES: u64 = 1 << 20;
/// The longest wait before the limit is looked up again.
const STEP: Duration = Duration::from_secs(5);
/// Parts of a byte in which the accounts are kept: one nanosecond of one byte per second.
const BYTE: u128 = 1_000_000_000;

/// What the bytes sent so far have cost.
#[derive(Debug)]
pub(super) struct Budget {
    schedule: BandwidthSchedule,
    accounts: Mutex<Accounts>,
    /// Whose turn it is among the large ones.
    turn: tokio::sync::Mutex<()>,
    /// Large ones that wait.
    waiting: AtomicUsize,
}

/// A number of bytes that the limit has allowed so far, in parts of a byte.
type BudgetPosition = u128;

/// Pure: time is an argument. Accounts are in bytes and not in time, so that another limit applies to
/// what waits already.
#[derive(Debug)]
struct Accounts {
    /// Bytes per second; `None` for no limit.
    rate: Option<u64>,
    /// What was allowed until `at`.
    allowed: BudgetPosition,
    at: Instant,
    /// Where all bytes are paid for.
    all_paid: BudgetPosition,
    /// Where those of small bodies are.
    small_paid: BudgetPosition,
}

impl Budget {
    pub(super) fn new(schedule: BandwidthSchedule, now: Instant) -> Self {
        let rate = current_rate(&schedule);
        Self {
            schedule,
            accounts: Mutex::new(Accounts::new(rate, now)),
            turn: tokio::sync::Mutex::new(()),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits until a body of so many bytes may be sent.
    pub(super) async fn pay(&self, bytes: u64) {
        if bytes <= SMALL_BYTES {
            let shared = self.waiting.load(Ordering::Relaxed) > 0;
            let due = self.with(|accounts| accounts.small(bytes, shared));
            while let Some(wait) = self.with(|accounts| accounts.wait_for(due)) {
                tokio::time::sleep(wait.min(STEP)).await;
            }
            return;
        }
        let _waiting = WaitingCount::new(&self.waiting);
        let _turn = self.turn.lock().await;
        while let Err(wait) = self.with(|accounts| accounts.large(bytes)) {
            tokio::time::sleep(wait.min(STEP)).await;
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Accounts) -> T) -> T {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.advance(current_rate(&self.schedule), Instant::now());
        change(&mut accounts)
    }
}

fn current_rate(schedule: &BandwidthSchedule) -> Option<u64> {
    let now = u64::try_from(now_ns() / 1_000_000).unwrap_or_default();
    schedule.at(now).rate
}

impl Accounts {
    fn new(rate: Option<u64>, now: Instant) -> Self {
        Self { rate, allowed: 0, at: now, all_paid: 0, small_paid: 0 }
    }

    /// Time has passed under the limit so far, and from now on this one applies.
    fn advance(&mut self, rate: Option<u64>, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_nanos();
        self.allowed += passed * u128::from(self.rate.unwrap_or_default());
        self.at = self.at.max(now);
        let before = std::mem::replace(&mut self.rate, rate);
        if rate.is_none() || before.is_none() {
            self.allowed = self.allowed.max(self.all_paid).max(self.small_paid);
        }
    }

    /// Where a small body may be sent; it is paid for from here on. `shared` says that large ones wait.
    fn small(&mut self, bytes: u64, shared: bool) -> BudgetPosition {
        let cost = u128::from(bytes) * BYTE;
        let due = self.small_paid.max(self.allowed);
        self.small_paid = due + if shared { cost + cost / 3 } else { cost };
        self.all_paid = self.all_paid.max(self.allowed) + cost;
        due
    }

    /// Lets a large body be sent and has it paid for, or says after what time to ask again.
    fn large(&mut self, bytes: u64) -> Result<(), Duration> {
        if let Some(wait) = self.wait_for(self.all_paid) {
            return Err(wait);
        }
        self.all_paid = self.allowed + u128::from(bytes) * BYTE;
        Ok(())
    }

    /// The time until so much is allowed, unless it is.
    fn wait_for(&self, position: BudgetPosition) -> Option<Duration> {
        let rate = u128::from(self.rate?.max(1));
        let missing = position.checked_sub(self.allowed).filter(|missing| *missing > 0)?;
        let nanos = missing.div_ceil(rate);
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

/// Counts one that waits until it is dropped.
struct WaitingCount<'a>(&'a AtomicUsize);

impl<'a> WaitingCount<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WaitingCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Accounts with a limit of 1 MiB a second, and their clock.
    struct Clock {
        accounts: Accounts,
        start: Instant,
    }

    impl Clock {
        fn new() -> Self {
            let start = Instant::now();
            Self { accounts: Accounts::new(Some(MIB), start), start }
        }

        fn at(&mut self, milliseconds: u64) -> &mut Accounts {
            self.with(Some(MIB), milliseconds)
        }

        fn with(&mut self, rate: Option<u64>, milliseconds: u64) -> &mut Accounts {
            self.accounts.advance(rate, self.start + Duration::from_millis(milliseconds));
            &mut self.accounts
        }
    }

    fn wait(accounts: &Accounts, position: BudgetPosition) -> u128 {
        accounts.wait_for(position).unwrap_or_default().as_millis()
    }

    #[test]
    fn no_more_bytes_go_in_a_second_than_allowed() {
        let mut clock = Clock::new();
        let small: Vec<_> = (0..4)
            .map(|_| {
                let due = clock.at(0).small(MIB / 2, false);
                wait(clock.at(0), due)
            })
            .collect();
        assert_eq!(small, [0, 500, 1000, 1500]);
        assert_eq!(clock.at(0).large(8 * MIB), Err(Duration::from_secs(2)));
        assert_eq!(clock.at(9_000).large(8 * MIB), Ok(()), "unused time does not count");
        assert_eq!(clock.at(9_000).large(8 * MIB), Err(Duration::from_secs(8)));
    }

    #[test]
    fn a_small_body_does_not_wait_for_large_ones() {
        let mut clock = Clock::new();
        clock.at(0).large(8 * MIB).expect("the first");
        let due = clock.at(1_000).small(MIB / 2, true);
        assert_eq!(wait(clock.at(1_000), due), 0);
        let all = clock.at(1_000).all_paid;
        assert_eq!(wait(clock.at(1_000), all), 7_500, "the large ones pay for it");
    }

    #[test]
    fn another_limit_applies_to_what_waits_already() {
        let mut clock = Clock::new();
        clock.at(0).large(8 * MIB).expect("the first");
        assert_eq!(clock.at(2_000).large(MIB), Err(Duration::from_secs(6)));
        // The window ends: twice as many bytes, then half as many.
        assert_eq!(clock.with(Some(2 * MIB), 2_000).large(MIB), Err(Duration::from_secs(3)));
        assert_eq!(clock.with(Some(MIB / 2), 4_000).large(MIB), Err(Duration::from_secs(4)));
        let due = clock.with(Some(MIB / 2), 4_000).small(MIB, false);
        assert_eq!(wait(clock.with(Some(MIB / 2), 4_000), due), 0);
        let due = clock.with(Some(MIB / 2), 4_000).small(MIB, false);
        assert_eq!(wait(clock.with(Some(MIB / 2), 5_000), due), 1_000);
        // No limit: nothing waits, and nothing is owed when there is one again.
        assert_eq!(wait(clock.with(None, 5_000), due), 0);
        assert_eq!(clock.with(None, 5_000).large(99 * MIB), Ok(()));
        assert_eq!(clock.with(None, 5_001).large(99 * MIB), Ok(()));
        assert_eq!(clock.with(None, 5_002).large(MIB), Ok(()));
        assert_eq!(clock.with(Some(MIB), 5_002).large(MIB), Ok(()), "what was sent is paid for");
        assert_eq!(clock.with(Some(MIB), 5_002).large(MIB), Err(Duration::from_secs(1)));
    }

    /// Both kinds wait all the time, for 400 s.
    #[test]
    fn both_kinds_have_their_share_and_together_the_limit() {
        let mut clock = Clock::new();
        let mut small = 0;
        let mut large = 0;
        let mut next = 0;
        for millisecond in 0..400_000 {
            while clock.at(millisecond).wait_for(next).is_none() {
                next = clock.at(millisecond).small(MIB / 16, true);
                small += MIB / 16;
            }
            if clock.at(millisecond).large(8 * MIB).is_ok() {
                large += 8 * MIB;
            }
        }
        let limit = 400 * MIB;
        assert!(large * 100 >= limit * 22, "{large}");
        assert!(small * 100 >= limit * 70, "{small}");
        assert!((small + large) * 100 <= limit * 105, "{small} and {large}");
    }
}
