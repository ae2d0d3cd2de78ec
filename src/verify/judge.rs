//! Judges a path from all known facts. Pure.

use crate::model::{ObjectRecord, RelPath};
use crate::plan::FileState;
use crate::store::ListingObject;
use crate::transfer::InspectedObject;

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingKind {
    /// A file without an object.
    Missing,
    /// A file that differs from its object.
    Differs,
    /// An object of ours without a file.
    Extra,
    /// A foreign object below the prefix.
    Foreign,
    /// File and object may agree, but the state is out of date.
    Record,
    /// The file cannot be read or compared.
    Unreadable,
    /// An object of ours without a file that stays on purpose; not a difference.
    Kept,
}

impl FindingKind {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Differs => "differs",
            Self::Extra => "extra",
            Self::Foreign => "foreign",
            Self::Record => "record",
            Self::Unreadable => "unreadable",
            Self::Kept => "kept",
        }
    }

    /// Whether the bucket differs from the directory and the state because of it.
    #[must_use]
    pub fn is_difference(self) -> bool {
        self != Self::Kept
    }
}

/// A finding about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The path below `watch_path`, or the key of an object that cannot belong to a file.
    pub name: String,
    /// The kind.
    pub kind: FindingKind,
    /// The reason.
    pub reason: String,
    /// Whether the daemon knows it: it is in the queue.
    pub waiting: bool,
}

impl Finding {
    /// A path of which nothing is known, nor of anything below it.
    pub(super) fn unreadable(name: String, reason: String) -> Self {
        Self { name, kind: FindingKind::Unreadable, reason, waiting: false }
    }

    /// An object whose key cannot belong to a file.
    pub(super) fn foreign(key: String) -> Self {
        let reason = "no file has such a name".to_owned();
        Self { name: key, kind: FindingKind::Foreign, reason, waiting: false }
    }
}

/// The facts about a path, without the bucket.
#[derive(Debug)]
pub(super) struct PathFacts {
    pub(super) path: RelPath,
    /// Whether a file of this name is mirrored.
    pub(super) wanted: bool,
    pub(super) observed: FileState,
    pub(super) mirrored: Option<ObjectRecord>,
    /// Whether the record belongs to the present directory.
    pub(super) same_directory: bool,
    /// Whether objects stay when their files are deleted.
    pub(super) keeps: bool,
    /// Whether it is queued.
    pub(super) waiting: bool,
    /// Whether its delete is delayed.
    pub(super) delayed: bool,
}

/// The verdict about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathVerdict {
    /// No difference.
    Equal,
    /// A finding, for this reason.
    Found(FindingKind, &'static str),
    /// The file has to be read: it was or may have been written since its upload.
    Read,
}

/// Whether an object is the recorded one, as far as a listing shows.
pub(super) fn same_object(row: &ObjectRecord, object: &ListingObject) -> bool {
    let tag = |etag: &Option<String>| etag.as_deref().map(|tag| tag.trim_matches('"').to_owned());
    let ours = tag(&row.etag);
    let theirs = tag(&object.etag);
    row.fingerprint.size == object.size
        && ours.zip(theirs).is_none_or(|(ours, theirs)| ours == theirs)
}

impl PathFacts {
    /// Whether the directory has a file that belongs in the bucket.
    pub(super) fn is_wanted_file(&self) -> bool {
        self.wanted && matches!(self.observed, FileState::File(_))
    }

    /// Whether there is a file of this size.
    pub(super) fn is_of(&self, size: u64) -> bool {
        matches!(&self.observed, FileState::File(now) if now.size == size)
    }

    /// Whether directory and state agree about it.
    pub(super) fn is_as_recorded(&self) -> bool {
        match (&self.observed, &self.mirrored) {
            (FileState::File(_), None) if self.wanted => false,
            (FileState::File(now), Some(row)) if self.wanted => {
                now.same_content(&row.fingerprint) && !row.racy && self.same_directory
            }
            (FileState::Absent, Some(_)) => !self.wanted,
            (FileState::Unknown(_), _) if self.wanted => false,
            _ => true,
        }
    }

    /// The verdict, with the object from the listing, or from a request (`asked`).
    pub(super) fn verdict(
        &self,
        object: Option<&ListingObject>,
        asked: Option<&InspectedObject>,
    ) -> PathVerdict {
        match &self.observed {
            FileState::Unknown(_) if self.wanted => {
                PathVerdict::Found(FindingKind::Unreadable, "it cannot be read")
            }
            FileState::File(_) if self.wanted => self.verdict_of_file(object),
            _ => self.verdict_without_file(object, asked),
        }
    }

    fn verdict_of_file(&self, object: Option<&ListingObject>) -> PathVerdict {
        let FileState::File(now) = &self.observed else { return PathVerdict::Equal };
        let (object, row) = match (object, &self.mirrored) {
            (None, None) => return PathVerdict::Found(FindingKind::Missing, "it was never sent"),
            (None, Some(_)) => {
                return PathVerdict::Found(
                    FindingKind::Missing,
                    "its object is gone, and the record says it is there",
                );
            }
            (Some(object), _) if object.size != now.size => {
                return PathVerdict::Found(FindingKind::Differs, "its object has another size");
            }
            (Some(_), None) => {
                return PathVerdict::Found(
                    FindingKind::Record,
                    "the record does not know its object",
                );
            }
            (Some(object), Some(row)) => (object, row),
        };
        if !same_object(row, object) {
            // The size is equal, and even the content of a foreign object may be.
            return PathVerdict::Found(
                FindingKind::Differs,
                "its object is another one than was sent",
            );
        }
        if !now.same_content(&row.fingerprint) || row.racy {
            return PathVerdict::Read;
        }
        match self.same_directory {
            true => PathVerdict::Equal,
            false => PathVerdict::Found(FindingKind::Record, "it is recorded of another directory"),
        }
    }

    fn verdict_without_file(
        &self,
        object: Option<&ListingObject>,
        asked: Option<&InspectedObject>,
    ) -> PathVerdict {
        match (object, &self.mirrored) {
            (None, None) => PathVerdict::Equal,
            (None, Some(_)) => {
                PathVerdict::Found(FindingKind::Record, "neither file nor object is there any more")
            }
            (Some(_), Some(_)) if !self.wanted => {
                PathVerdict::Found(FindingKind::Kept, "a pattern ignores its name now")
            }
            (Some(_), Some(_)) if self.keeps => {
                PathVerdict::Found(FindingKind::Kept, "delete_policy is keep")
            }
            (Some(_), Some(_)) if !self.same_directory => {
                PathVerdict::Found(FindingKind::Kept, "it was mirrored from another directory")
            }
            (Some(_), Some(_)) if self.delayed => {
                PathVerdict::Found(FindingKind::Kept, "its delete is delayed")
            }
            (Some(_), Some(_)) => PathVerdict::Found(FindingKind::Extra, "its file is gone"),
            (Some(_), None) => match asked {
                Some(object) if object.ours => PathVerdict::Found(
                    FindingKind::Extra,
                    "it carries our mark, and the record does not know it",
                ),
                Some(_) => {
                    PathVerdict::Found(FindingKind::Foreign, "it was not put there by this service")
                }
                None => PathVerdict::Found(FindingKind::Foreign, "the record does not know it"),
            },
        }
    }

    /// The finding if the metadata of the object has another time or mode than the file.
    pub(super) fn stale_metadata(&self, object: &InspectedObject) -> Option<Finding> {
        let FileState::File(now) = &self.observed else { return None };
        // Objects without a mode were made with another `posix_metadata`.
        let same_mode = object.mode.is_none_or(|mode| mode == now.mode);
        let same = object.mtime_ns == Some(now.mtime_ns) && same_mode;
        (!same).then(|| self.finding(FindingKind::Differs, "its object has another time or mode"))
    }

    /// The finding after the comparison of file and object.
    pub(super) fn compared(&self, equal: bool, verdict: PathVerdict) -> Option<Finding> {
        let racy = self.mirrored.as_ref().is_some_and(|row| row.racy);
        match (equal, verdict) {
            (true, PathVerdict::Equal) => None,
            (true, PathVerdict::Read) if racy => None,
            (true, PathVerdict::Read) => Some(self.finding(
                FindingKind::Record,
                "it was written since it was sent, with the same bytes",
            )),
            (true, PathVerdict::Found(_, why)) => Some(self.finding(FindingKind::Record, why)),
            (false, PathVerdict::Read) => {
                Some(self.finding(FindingKind::Differs, "it was written since it was sent"))
            }
            (false, PathVerdict::Equal | PathVerdict::Found(..)) => {
                Some(self.finding(FindingKind::Differs, "its object has other bytes"))
            }
        }
    }

    pub(super) fn finding(&self, kind: FindingKind, why: &str) -> Finding {
        let reason = match &self.observed {
            FileState::Unknown(reason) if kind == FindingKind::Unreadable => reason.clone(),
            _ => why.to_owned(),
        };
        Finding { name: self.path.to_string(), kind, reason, waiting: self.waiting }
    }
}
