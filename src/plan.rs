//! What to do about a path: from what is there now, what the record says, and the policy.
//!
//! The kind of event that led here is not an argument, on purpose: start, overflow, rescan and a
//! single write all come to the same decision.

use crate::model::{Epoch, Fingerprint, Mirrored, Operation, Pending};

/// What a look at the path found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// A regular file.
    File(Fingerprint),
    /// Nothing that is mirrored has this name: its directory, reached from the confirmed root, was
    /// listed completely without it, or with a link, a directory or a special file in its place.
    Absent,
    /// Nobody can say; the text says why. Neither sends nor deletes anything.
    Unknown(String),
}

/// What the operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether a file's end is its object's end.
    pub propagate_deletes: bool,
    /// The watched directory of now.
    pub epoch: Epoch,
}

/// What to do, and why: the reason is a stable word for logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Queue this operation.
    Do(Operation, &'static str),
    /// The object is as it should be, or nobody may touch it; whatever was queued is void.
    Nothing(&'static str),
    /// Leave everything as it is until there is more to know.
    Wait,
}

/// Decides about one path. `head` is what its object has to look like, if that counts.
#[must_use]
pub fn plan(
    observed: &Observed,
    mirrored: Option<&Mirrored>,
    pending: Option<&Pending>,
    head: Option<u64>,
    policy: Policy,
) -> Decision {
    match observed {
        Observed::Unknown(_) => Decision::Wait,
        Observed::File(fingerprint) => plan_file(fingerprint, mirrored, pending, head, policy),
        Observed::Absent => plan_absent(mirrored, pending, policy),
    }
}

fn plan_file(
    now: &Fingerprint,
    mirrored: Option<&Mirrored>,
    pending: Option<&Pending>,
    head: Option<u64>,
    policy: Policy,
) -> Decision {
    let Some(mirrored) = mirrored else {
        return Decision::Do(Operation::Put, "new");
    };
    if !now.same_content(&mirrored.fingerprint) {
        return Decision::Do(Operation::Put, "changed");
    }
    if mirrored.racy {
        return Decision::Do(Operation::Put, "written while it was read");
    }
    if pending.is_some_and(|pending| pending.sent.is_some()) {
        // A put of another state may have replaced what is recorded, or a delete removed it.
        return Decision::Do(Operation::Put, "an answer was lost");
    }
    if mirrored.epoch != policy.epoch {
        return Decision::Do(Operation::Put, "first seen in this directory");
    }
    if head.is_some() && mirrored.head != head {
        return Decision::Do(Operation::Put, "looks as other rules said");
    }
    Decision::Nothing("unchanged")
}

fn plan_absent(mirrored: Option<&Mirrored>, pending: Option<&Pending>, policy: Policy) -> Decision {
    // A put whose answer never came may have made the object, or replaced one.
    let sent = pending.is_some_and(|pending| pending.sent.is_some());
    let ours = mirrored.map(|mirrored| mirrored.epoch);
    match ours {
        None if !sent => Decision::Nothing("never mirrored"),
        Some(epoch) if epoch != policy.epoch => Decision::Nothing("recorded of another directory"),
        _ if !policy.propagate_deletes => Decision::Nothing("delete policy is keep"),
        _ => Decision::Do(Operation::Delete, "gone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RelPath, Version};

    const POLICY: Policy = Policy { propagate_deletes: true, epoch: Epoch(2) };

    fn file() -> Fingerprint {
        Fingerprint::of_size(3)
    }

    fn mirrored() -> Mirrored {
        Mirrored::of_file(file(), Epoch(2))
    }

    fn put_pending(sent: Option<Version>) -> Pending {
        let path = RelPath::new(b"a").expect("a proper path");
        Pending { sent, ..Pending::new(path, Operation::Put, Version::of(&file()), 0) }
    }

    #[test]
    fn an_unchanged_file_costs_nothing() {
        let decision = plan(&Observed::File(file()), Some(&mirrored()), None, None, POLICY);
        assert_eq!(decision, Decision::Nothing("unchanged"));
    }

    #[test]
    fn a_new_a_changed_and_a_racy_file_are_put() {
        let observed = Observed::File(file());
        let changed = Mirrored { fingerprint: Fingerprint { ctime_ns: 9, ..file() }, ..mirrored() };
        let racy = Mirrored { racy: true, ..mirrored() };
        for mirrored in [None, Some(&changed), Some(&racy)] {
            let decision = plan(&observed, mirrored, None, None, POLICY);
            assert!(matches!(decision, Decision::Do(Operation::Put, _)), "{mirrored:?}");
        }
    }

    #[test]
    fn what_an_object_looks_like_counts_only_where_it_is_asked_for() {
        let observed = Observed::File(file());
        for (recorded, head, unchanged) in [
            (None, None, true),
            (Some(1), None, true),
            (Some(1), Some(1), true),
            (Some(1), Some(2), false),
            (None, Some(1), false),
        ] {
            let mirrored = Mirrored { head: recorded, ..mirrored() };
            let decision = plan(&observed, Some(&mirrored), None, head, POLICY);
            assert_eq!(
                decision == Decision::Nothing("unchanged"),
                unchanged,
                "{recorded:?} {head:?}"
            );
        }
    }

    #[test]
    fn a_lost_answer_puts_the_record_in_doubt() {
        let sent = put_pending(Some(Version { size: 9, mtime_ns: 9 }));
        let decision = plan(&Observed::File(file()), Some(&mirrored()), Some(&sent), None, POLICY);
        assert_eq!(decision, Decision::Do(Operation::Put, "an answer was lost"));
    }

    #[test]
    fn only_what_we_wrote_is_deleted() {
        let gone = Observed::Absent;
        assert_eq!(plan(&gone, None, None, None, POLICY), Decision::Nothing("never mirrored"));
        let never_sent = put_pending(None);
        assert_eq!(
            plan(&gone, None, Some(&never_sent), None, POLICY),
            Decision::Nothing("never mirrored")
        );
        let delete = Decision::Do(Operation::Delete, "gone");
        assert_eq!(plan(&gone, Some(&mirrored()), None, None, POLICY), delete);
        let sent = put_pending(Some(Version::of(&file())));
        assert_eq!(plan(&gone, None, Some(&sent), None, POLICY), delete);
    }

    #[test]
    fn what_was_recorded_of_another_directory_is_never_deleted() {
        let before = Mirrored { epoch: Epoch(1), ..mirrored() };
        let decision = plan(&Observed::Absent, Some(&before), None, None, POLICY);
        assert_eq!(decision, Decision::Nothing("recorded of another directory"));
    }

    #[test]
    fn nothing_is_deleted_where_the_policy_is_keep() {
        let keep = Policy { propagate_deletes: false, ..POLICY };
        let decision = plan(&Observed::Absent, Some(&mirrored()), None, None, keep);
        assert_eq!(decision, Decision::Nothing("delete policy is keep"));
    }

    #[test]
    fn an_unknown_state_changes_nothing() {
        let unknown = Observed::Unknown("permission denied".into());
        assert_eq!(plan(&unknown, Some(&mirrored()), None, None, POLICY), Decision::Wait);
    }
}
