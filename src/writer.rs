//! One writer: whether this process may delete below the prefix, or another daemon works there too.
//!
//! Two daemons on one prefix undo each other's work, and only a delete cannot be made good: what one
//! takes away, the other believes to be there. So whoever is not the only one sends what it has, and
//! leaves every object where it is.
//!
//! - With a [`Lease`], an object in the bucket names the one that may delete, and nobody else does.
//! - Without, a daemon still notices when an object of its record was replaced by one that another daemon
//!   made from another directory. From then on it deletes nothing, until a person says so.

mod lease;

pub use lease::{Claim, Condition, Holder, Lease, Seen, Standing, Write};

use crate::model::{RelPath, Share};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What the lease's object is called, below the prefix; a shard's has its number behind it.
const LEASE: &str = ".file-sync-service.lease";

/// The name of the lease's object, below the prefix.
#[must_use]
pub fn lease_name(share: Share) -> String {
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
#[derive(Debug, Default)]
pub struct OneWriter(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// `None` where there is no lease.
    lease: Option<(Standing, Instant)>,
    /// The key of an object that another daemon replaced.
    replaced: Option<String>,
}

/// Why nothing may be deleted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One word.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl OneWriter {
    /// How the lease stands; what is said of the time counts from `start`.
    pub fn stands(&self, standing: Standing, start: Instant) {
        self.known().lease = Some((standing, start));
    }

    /// Another daemon has replaced an object of ours by one of another directory. Answers whether that
    /// is news.
    pub fn replaced(&self, key: &str) -> bool {
        let mut known = self.known();
        let news = known.replaced.is_none();
        known.replaced.get_or_insert_with(|| key.to_owned());
        news
    }

    /// A person wants the deletes done all the same. What a lease says, only its holder can change.
    pub fn approve(&self) {
        self.known().replaced = None;
    }

    /// Why nothing may be deleted, if so.
    #[must_use]
    pub fn refusal(&self, now: Instant) -> Option<Refusal> {
        let known = self.known();
        let refused = |code, message| Some(Refusal { code, message });
        match &known.lease {
            Some((Standing::Other(name), _)) => {
                let message = format!(
                    "{name} holds the lease of this prefix; nothing is deleted while it does"
                );
                return refused("other-writer", message);
            }
            Some((Standing::Mine { until }, start)) if now < *start + *until => {}
            Some(_) => {
                let message = "it is not known who holds the lease of this prefix".to_owned();
                return refused("lease-unknown", message);
            }
            None => {}
        }
        let key = known.replaced.as_ref()?;
        let message = format!(
            "another daemon writes to this prefix, from another directory: it has replaced {key}; stop one \
             of the two, then approve the deletes"
        );
        refused("other-writer", message)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a moment to count from")]
mod tests {
    use super::*;
    use std::time::Duration;

    fn code(writer: &OneWriter, now: Instant) -> Option<&'static str> {
        writer.refusal(now).map(|refusal| refusal.code)
    }

    #[test]
    fn without_a_lease_and_without_another_daemon_all_is_permitted() {
        let writer = OneWriter::default();
        assert_eq!(code(&writer, Instant::now()), None);
    }

    #[test]
    fn an_object_another_daemon_replaced_holds_deletes_until_a_person_approves() {
        let (writer, now) = (OneWriter::default(), Instant::now());
        assert!(writer.replaced("a"));
        assert!(!writer.replaced("b"), "told once");
        assert_eq!(code(&writer, now), Some("other-writer"));
        writer.approve();
        assert_eq!(code(&writer, now), None);
        assert!(writer.replaced("b"), "and again if it happens again");
    }

    #[test]
    fn a_lease_permits_while_it_is_sure_and_approval_does_not_replace_it() {
        let (writer, start) = (OneWriter::default(), Instant::now());
        writer.stands(Standing::Unknown, start);
        assert_eq!(code(&writer, start), Some("lease-unknown"));
        let until = Duration::from_secs(9);
        writer.stands(Standing::Mine { until }, start);
        assert_eq!(code(&writer, start), None);
        assert_eq!(code(&writer, start + until), Some("lease-unknown"));
        writer.stands(Standing::Other("pod-1".into()), start);
        writer.approve();
        assert_eq!(code(&writer, start), Some("other-writer"));
    }
}
