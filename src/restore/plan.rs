//! Decides what a restore does about one object, from what is there already and the state: pure.

use crate::model::{Fingerprint, ObjectRecord, RootGeneration};

/// What is at the path of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Present {
    /// Nothing.
    Nothing,
    /// A regular file.
    File(Fingerprint),
    /// Anything else, or a path that leads through something that is no directory.
    InTheWay(String),
}

/// What the restore does about the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RestoreStep {
    /// Bring it.
    Fetch,
    /// Nothing: it was brought before, and the state knows.
    Done,
    /// Nothing: files that are there stay as they are.
    Keep,
    /// Find out whether the file is the object: it may have been brought right before the end of an
    /// earlier run.
    Compare(Fingerprint),
    /// It cannot be brought, for this reason: there is a file.
    Skip(String),
    /// It cannot be brought, for this reason, and there is no file.
    Leave(String),
}

/// The present run.
#[derive(Debug, Clone, Copy)]
pub struct RestoreRun {
    /// Whether files may be there that stay as they are.
    pub missing: bool,
    /// Whether an earlier run has not ended.
    pub resumed: bool,
    /// The root generation.
    pub epoch: RootGeneration,
}

impl RestoreRun {
    /// Whether there may be files, or what the state says of them.
    pub(super) fn may_find_files(self) -> bool {
        self.missing || self.resumed
    }
}

/// Decides about an object of `size` with this entity tag.
#[must_use]
pub(super) fn decide(
    present: Present,
    recorded: Option<&ObjectRecord>,
    (size, etag): (u64, Option<&str>),
    run: RestoreRun,
) -> RestoreStep {
    let file = match present {
        Present::Nothing => return RestoreStep::Fetch,
        Present::InTheWay(reason) => return RestoreStep::Leave(reason),
        Present::File(file) => file,
    };
    let is_recorded = recorded.is_some_and(|row| {
        row.epoch == run.epoch && file.same_content(&row.fingerprint) && row.etag.as_deref() == etag
    });
    match is_recorded {
        true => RestoreStep::Done,
        false if run.missing => RestoreStep::Keep,
        false if run.resumed && file.size == size => RestoreStep::Compare(file),
        false => RestoreStep::Skip("another file is there already, and stays as it is".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: RestoreRun =
        RestoreRun { missing: false, resumed: false, epoch: RootGeneration(1) };
    const RESUMED: RestoreRun = RestoreRun { resumed: true, ..FRESH };
    const MISSING: RestoreRun = RestoreRun { missing: true, ..FRESH };
    const ETAG: Option<&str> = Some("\"1\"");

    fn recorded(etag: Option<&str>) -> ObjectRecord {
        let etag = etag.map(str::to_owned);
        ObjectRecord {
            etag,
            ..ObjectRecord::from_file(Fingerprint::with_size(3), RootGeneration(1))
        }
    }

    fn step(file: Fingerprint, recorded: Option<&ObjectRecord>, run: RestoreRun) -> RestoreStep {
        decide(Present::File(file), recorded, (3, ETAG), run)
    }

    #[test]
    fn what_is_not_there_is_brought_whatever_the_state_says() {
        let row = recorded(ETAG);
        for run in [FRESH, RESUMED, MISSING] {
            for recorded in [None, Some(&row)] {
                assert_eq!(decide(Present::Nothing, recorded, (3, ETAG), run), RestoreStep::Fetch);
            }
        }
    }

    #[test]
    fn what_was_brought_before_is_not_brought_again() {
        let file = Fingerprint::with_size(3);
        for run in [RESUMED, MISSING] {
            assert_eq!(step(file, Some(&recorded(ETAG)), run), RestoreStep::Done);
        }
        assert_eq!(
            step(file, None, RESUMED),
            RestoreStep::Compare(file),
            "it may not be recorded yet"
        );
        assert_eq!(step(file, Some(&recorded(Some("\"2\""))), RESUMED), RestoreStep::Compare(file));
    }

    #[test]
    fn a_file_that_is_there_is_never_replaced() {
        let other = Fingerprint::with_size(4);
        assert!(matches!(step(other, None, RESUMED), RestoreStep::Skip(_)));
        assert!(matches!(step(Fingerprint::with_size(3), None, FRESH), RestoreStep::Skip(_)));
        assert_eq!(step(other, None, MISSING), RestoreStep::Keep);
        assert_eq!(step(other, Some(&recorded(ETAG)), MISSING), RestoreStep::Keep);
        let in_the_way = || Present::InTheWay("a link".to_owned());
        for run in [FRESH, RESUMED, MISSING] {
            assert!(matches!(decide(in_the_way(), None, (3, ETAG), run), RestoreStep::Leave(_)));
        }
    }
}
