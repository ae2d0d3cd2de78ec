//! One writer: whether this process may delete below the prefix, or another daemon works there too.
//!
//! Two daemons on one prefix undo each other's work, and only a delete cannot be repaired: the other
//! daemon still believes the object to be there. So a daemon that is not the only one uploads what
//! it has, and deletes nothing.
//!
//! - With a [`WriterLease`], an object in the bucket names the one daemon that may delete.
//! - Without, a delete has the entity tag of the recorded object as its condition: an object that another
//!   daemon has put in its place is left alone.

mod lease;

pub use lease::{Condition, Holder, LeaseClaim, LeaseObject, LeaseStatus, LeaseWrite, WriterLease};

use crate::model::{RelPath, Shard};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the lease's object is called, below the prefix; a shard's has its number behind it.
const LEASE: &str = ".file-sync-service.lease";

/// The code of a refusal because a restore has not ended.
pub const RESTORE_INCOMPLETE: &str = "restore-incomplete";
const RESTORE_ADVICE: &str = "a restore into watch_path has not ended, so files that are not there may only be \
    missing; nothing is deleted until it has: stop the service, run `file-sync-service restore` again, and \
    start the service";

/// The name of the lease's object, below the prefix.
#[must_use]
pub fn lease_name(share: Shard) -> String {
    if share.is_part() { format!("{LEASE}-{}", share.index()) } else { LEASE.to_owned() }
}

/// Whether an object is a lease by its name: of this process or of another shard.
#[must_use]
pub fn is_lease(path: &RelPath) -> bool {
    let Some(number) = path.as_bytes().strip_prefix(LEASE.as_bytes()) else { return false };
    number.is_empty()
        || number.split_first().is_some_and(|(dash, digits)| {
            *dash == b'-' && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
        })
}

/// What is known of other writers. One for the whole daemon.
#[derive(Debug)]
pub struct DeleteGuard {
    known: Mutex<OtherWriters>,
    started: Instant,
    ending: AtomicBool,
    /// A restore into the watched directory has not ended.
    restoring: AtomicBool,
    /// A conflict was logged: while this instance stays, and while it is ending.
    reported: [AtomicBool; 2],
}

impl Default for DeleteGuard {
    #[expect(clippy::disallowed_methods, reason = "the age of the instance counts from here")]
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            started: Instant::now(),
            ending: AtomicBool::new(false),
            restoring: AtomicBool::new(false),
            reported: Default::default(),
        }
    }
}

#[derive(Debug, Default)]
struct OtherWriters {
    /// `None` where there is no lease.
    lease: Option<(LeaseStatus, Instant)>,
}

/// Why nothing may be deleted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRefusal {
    /// One word.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl DeleteGuard {
    /// How the lease stands; what is said of the time counts from `start`.
    pub fn set_status(&self, standing: LeaseStatus, start: Instant) {
        self.known().lease = Some((standing, start));
    }

    /// This instance is ending from now on, so that another writer is one that stays.
    pub fn begin_ending(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether this instance is ending.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// A restore into the watched directory has not ended: nothing is deleted by this instance.
    pub fn note_incomplete_restore(&self) {
        self.restoring.store(true, Ordering::Relaxed);
    }

    /// How long this instance has been running.
    #[must_use]
    pub fn uptime(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// Another writer has replaced an object. Answers whether that was not known.
    pub fn note_conflict(&self) -> bool {
        let [staying, ending] = &self.reported;
        let reported = if self.is_ending() { ending } else { staying };
        !reported.swap(true, Ordering::Relaxed)
    }

    /// Why nothing may be deleted, if so.
    #[must_use]
    pub fn refusal(&self, now: Instant) -> Option<DeleteRefusal> {
        let known = self.known();
        let refused = |code, message| Some(DeleteRefusal { code, message });
        if self.restoring.load(Ordering::Relaxed) {
            return refused(RESTORE_INCOMPLETE, RESTORE_ADVICE.to_owned());
        }
        match &known.lease {
            Some((LeaseStatus::Other(name), _)) => {
                let message = format!(
                    "{name} holds the lease of this prefix; nothing is deleted while it does"
                );
                return refused("other-writer", message);
            }
            Some((LeaseStatus::Mine { until }, start)) if now < *start + *until => {}
            Some(_) => {
                let message = "it is not known who holds the lease of this prefix".to_owned();
                return refused("lease-unknown", message);
            }
            None => {}
        }
        None
    }

    fn known(&self) -> MutexGuard<'_, OtherWriters> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a moment to count from")]
mod tests {
    use super::*;
    use std::time::Duration;

    fn code(writer: &DeleteGuard, now: Instant) -> Option<&'static str> {
        writer.refusal(now).map(|refusal| refusal.code)
    }

    #[test]
    fn without_a_lease_and_without_another_daemon_all_is_permitted() {
        let writer = DeleteGuard::default();
        assert_eq!(code(&writer, Instant::now()), None);
    }

    #[test]
    fn an_incomplete_restore_holds_deletes() {
        let writer = DeleteGuard::default();
        let now = Instant::now();
        writer.note_incomplete_restore();
        let until = Duration::from_secs(9);
        writer.set_status(LeaseStatus::Mine { until }, now);
        assert_eq!(code(&writer, now), Some(RESTORE_INCOMPLETE));
    }

    #[test]
    fn a_lease_permits_while_it_is_sure() {
        let writer = DeleteGuard::default();
        let start = Instant::now();
        writer.set_status(LeaseStatus::Unknown, start);
        assert_eq!(code(&writer, start), Some("lease-unknown"));
        let until = Duration::from_secs(9);
        writer.set_status(LeaseStatus::Mine { until }, start);
        assert_eq!(code(&writer, start), None);
        assert_eq!(code(&writer, start + until), Some("lease-unknown"));
        writer.set_status(LeaseStatus::Other("pod-1".into()), start);
        assert_eq!(code(&writer, start), Some("other-writer"));
    }
}
