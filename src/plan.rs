//! Decides what to do about a path, from the present file, the object record and the policy.
//!
//! The kind of event is deliberately not an argument: a start, an overflow, a scan and a single
//! write lead to the same decision.

use crate::model::{Fingerprint, ObjectRecord, Operation, QueueRow, RootGeneration};

/// The result of the inspection of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// A regular file.
    File(Fingerprint),
    /// No mirrored file has this name: its directory, reached from the confirmed root, was listed
    /// completely without it, or with a link, a directory or a special file instead.
    Absent,
    /// The result is unknown, for this reason. It neither uploads nor deletes anything.
    Unknown(String),
}

/// The policy of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether the deletion of a file deletes its object.
    pub propagate_deletes: bool,
    /// The present root generation.
    pub epoch: RootGeneration,
}

/// The decision and its reason, which is a stable word for logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Queue this operation.
    Do(Operation, &'static str),
    /// The object is up to date, or must not be changed; any queue entry is removed.
    Nothing(&'static str),
    /// Change nothing until more is known.
    Wait,
}

/// Decides about one path. `head` is the digest of the expected object attributes, if they count.
#[must_use]
pub fn plan(
    observed: &FileState,
    mirrored: Option<&ObjectRecord>,
    pending: Option<&QueueRow>,
    head: Option<u64>,
    policy: Policy,
) -> Decision {
    match observed {
        FileState::Unknown(_) => Decision::Wait,
        FileState::File(fingerprint) => plan_file(fingerprint, mirrored, pending, head, policy),
        FileState::Absent => plan_absent(mirrored, pending, policy),
    }
}

fn plan_file(
    now: &Fingerprint,
    mirrored: Option<&ObjectRecord>,
    pending: Option<&QueueRow>,
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
        // An upload of another version may have replaced the recorded object, or a delete removed
        // it.
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

fn plan_absent(
    mirrored: Option<&ObjectRecord>,
    pending: Option<&QueueRow>,
    policy: Policy,
) -> Decision {
    // An upload without a response may have created or replaced an object.
    let sent = pending.is_some_and(|pending| pending.sent.is_some());
    let ours = mirrored.map(|mirrored| mirrored.epoch);
    match ours {
        None if !sent => Decision::Nothing("never mirrored"),
        Some(epoch) if epoch != policy.epoch && !sent => {
            Decision::Nothing("recorded of another directory")
        }
        _ if !policy.propagate_deletes => Decision::Nothing("delete policy is keep"),
        _ => Decision::Do(Operation::Delete, "gone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RelPath, Version};

    const POLICY: Policy = Policy { propagate_deletes: true, epoch: RootGeneration(2) };

    fn file() -> Fingerprint {
        Fingerprint::with_size(3)
    }

    fn mirrored() -> ObjectRecord {
        ObjectRecord::from_file(file(), RootGeneration(2))
    }

    fn put_pending(sent: Option<Version>) -> QueueRow {
        let path = RelPath::new(b"a").expect("a proper path");
        QueueRow {
            sent,
            ..QueueRow::new(path, Operation::Put, Version::from_fingerprint(&file()), 0)
        }
    }

    #[test]
    fn an_unchanged_file_costs_nothing() {
        let decision = plan(&FileState::File(file()), Some(&mirrored()), None, None, POLICY);
        assert_eq!(decision, Decision::Nothing("unchanged"));
    }

    #[test]
    fn a_new_a_changed_and_a_racy_file_are_put() {
        let observed = FileState::File(file());
        let changed =
            ObjectRecord { fingerprint: Fingerprint { ctime_ns: 9, ..file() }, ..mirrored() };
        let racy = ObjectRecord { racy: true, ..mirrored() };
        for mirrored in [None, Some(&changed), Some(&racy)] {
            let decision = plan(&observed, mirrored, None, None, POLICY);
            assert!(matches!(decision, Decision::Do(Operation::Put, _)), "{mirrored:?}");
        }
    }

    #[test]
    fn what_an_object_looks_like_counts_only_where_it_is_asked_for() {
        let observed = FileState::File(file());
        for (recorded, head, unchanged) in [
            (None, None, true),
            (Some(1), None, true),
            (Some(1), Some(1), true),
            (Some(1), Some(2), false),
            (None, Some(1), false),
        ] {
            let mirrored = ObjectRecord { head: recorded, ..mirrored() };
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
        let decision = plan(&FileState::File(file()), Some(&mirrored()), Some(&sent), None, POLICY);
        assert_eq!(decision, Decision::Do(Operation::Put, "an answer was lost"));
    }

    #[test]
    fn only_what_we_wrote_is_deleted() {
        let gone = FileState::Absent;
        assert_eq!(plan(&gone, None, None, None, POLICY), Decision::Nothing("never mirrored"));
        let never_sent = put_pending(None);
        assert_eq!(
            plan(&gone, None, Some(&never_sent), None, POLICY),
            Decision::Nothing("never mirrored")
        );
        let delete = Decision::Do(Operation::Delete, "gone");
        assert_eq!(plan(&gone, Some(&mirrored()), None, None, POLICY), delete);
        let sent = put_pending(Some(Version::from_fingerprint(&file())));
        assert_eq!(plan(&gone, None, Some(&sent), None, POLICY), delete);
    }

    #[test]
    fn what_was_recorded_of_another_directory_is_never_deleted() {
        let before = ObjectRecord { epoch: RootGeneration(1), ..mirrored() };
        let decision = plan(&FileState::Absent, Some(&before), None, None, POLICY);
        assert_eq!(decision, Decision::Nothing("recorded of another directory"));
    }

    #[test]
    fn what_this_directory_may_have_put_in_the_place_of_another_ones_object_is_deleted() {
        let before = ObjectRecord { epoch: RootGeneration(1), ..mirrored() };
        let sent = put_pending(Some(Version::from_fingerprint(&file())));
        let decision = plan(&FileState::Absent, Some(&before), Some(&sent), None, POLICY);
        assert_eq!(decision, Decision::Do(Operation::Delete, "gone"));
    }

    #[test]
    fn nothing_is_deleted_where_the_policy_is_keep() {
        let keep = Policy { propagate_deletes: false, ..POLICY };
        let decision = plan(&FileState::Absent, Some(&mirrored()), None, None, keep);
        assert_eq!(decision, Decision::Nothing("delete policy is keep"));
    }

    #[test]
    fn an_unknown_state_changes_nothing() {
        let unknown = FileState::Unknown("permission denied".into());
        assert_eq!(plan(&unknown, Some(&mirrored()), None, None, POLICY), Decision::Wait);
    }
}
