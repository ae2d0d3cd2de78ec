//! Counts the operations of scans and sweeps on the file system, and limits their rate: on network file
//! systems each one is a request, and may be billed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The kind of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookKind {
    /// A look at the attributes of a directory, by a sweep.
    Directory,
    /// A listing of a directory, by a scan.
    List,
    /// A look at the attributes of a file, by a scan.
    File,
}

impl LookKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Directory, Self::List, Self::File];

    /// The name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::List => "list",
            Self::File => "file",
        }
    }
}

/// A shorter wait is added to that of a later operation.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// Maximum time until a wait ends after the limit is suspended.
const WAIT_SLICE: Duration = Duration::from_millis(50);

/// The counts since the start, and the limit.
#[derive(Debug, Default)]
pub struct LookMeter {
    counts: [AtomicU64; LookKind::ALL.len()],
    /// Operations a second; 0 without a limit.
    limit: AtomicU64,
    suspended: AtomicBool,
    /// The earliest start of the next operation.
    next: Mutex<Option<Instant>>,
}

impl LookMeter {
    /// Limits the operations of a second; 0 removes the limit.
    pub fn set_limit(&self, per_second: u64) {
        self.limit.store(per_second, Ordering::Relaxed);
    }

    /// Suspends the limit while a shutdown or a flush waits for a scan.
    pub fn set_suspended(&self, suspended: bool) {
        self.suspended.store(suspended, Ordering::Relaxed);
    }

    /// The operations of each kind since the start.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); LookKind::ALL.len()] {
        LookKind::ALL.map(|kind| (kind.as_str(), self.count(kind).load(Ordering::Relaxed)))
    }

    /// Counts an operation, and waits until the limit permits it. Blocks.
    pub(super) fn admit(&self, kind: LookKind) {
        self.count(kind).fetch_add(1, Ordering::Relaxed);
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == 0 || self.is_suspended() {
            return;
        }
        let start = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            reserve(&mut next, now(), limit)
        };
        loop {
            let left = start.saturating_duration_since(now());
            if left < WAIT_MIN || self.is_suspended() {
                return;
            }
            std::thread::sleep(left.min(WAIT_SLICE));
        }
    }

    fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Relaxed)
    }

    fn count(&self, kind: LookKind) -> &AtomicU64 {
        let [directories, listings, files] = &self.counts;
        match kind {
            LookKind::Directory => directories,
            LookKind::List => listings,
            LookKind::File => files,
        }
    }
}

/// Returns when the next operation may start, at `limit` a second. What was not used before counts for
/// nothing.
fn reserve(next: &mut Option<Instant>, now: Instant, limit: u64) -> Instant {
    let start = next.map_or(now, |next| next.max(now));
    let pause = Duration::from_nanos(1_000_000_000 / limit.max(1));
    *next = Some(start + pause);
    start
}

#[allow(clippy::disallowed_methods, reason = "an adapter: a rate is measured by the clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_operations_start_in_a_second_than_the_limit() {
        let began = now();
        let mut next = None;
        let starts: Vec<_> = (0..300).map(|_| reserve(&mut next, began, 100)).collect();
        for second in 0..3 {
            let from = began + Duration::from_secs(second);
            let to = from + Duration::from_secs(1);
            assert_eq!(starts.iter().filter(|start| (from..to).contains(*start)).count(), 100);
        }
        let later = began + Duration::from_secs(60);
        assert_eq!(reserve(&mut next, later, 100), later, "an idle minute is no credit");
        assert_eq!(reserve(&mut next, later, 100), later + Duration::from_millis(10));
    }

    #[test]
    fn a_suspended_limit_delays_nothing() {
        let meter = LookMeter::default();
        meter.set_limit(1);
        meter.set_suspended(true);
        let began = now();
        for _ in 0..1000 {
            meter.admit(LookKind::File);
        }
        assert!(began.elapsed() < Duration::from_secs(100));
        assert_eq!(meter.counts(), [("directory", 0), ("list", 0), ("file", 1000)]);
    }
}
