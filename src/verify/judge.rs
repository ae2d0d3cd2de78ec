//! What is said of a path, from all that is known of it. Pure.

use crate::model::{Mirrored, RelPath};
use crate::plan::Observed;
use crate::store::Listed;
use crate::transfer::Inspected;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A file without an object.
    Missing,
    /// A file whose object is not the file.
    Differs,
    /// An object of ours without a file.
    Extra,
    /// An object that is not ours, where only ours should be.
    Foreign,
    /// File and object may agree, and the record does not know it.
    Record,
    /// Nobody can say.
    Unreadable,
    /// An object of ours without a file that is meant to stay; no difference.
    Kept,
}

impl Kind {
    /// The word for it.
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

    /// Whether it makes the bucket another than the directory and the record say.
    #[must_use]
    pub fn is_difference(self) -> bool {
        self != Self::Kept
    }
}

/// What was found out about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The path below `watch_path`; of an object that can be no file's, its key.
    pub name: String,
    /// What is wrong.
    pub kind: Kind,
    /// Why.
    pub reason: String,
    /// Whether the daemon knows: it is in its queue.
    pub waiting: bool,
}

impl Finding {
    /// An object whose key can be no file's.
    pub(super) fn foreign(key: String) -> Self {
        let reason = "no file has such a name".to_owned();
        Self { name: key, kind: Kind::Foreign, reason, waiting: false }
    }
}

/// What is known of a path, without the bucket.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) path: RelPath,
    /// Whether a file of this name is mirrored.
    pub(super) wanted: bool,
    pub(super) observed: Observed,
    pub(super) mirrored: Option<Mirrored>,
    /// Whether the record tells of the directory of now.
    pub(super) same_directory: bool,
    /// Whether objects stay when their files go.
    pub(super) keeps: bool,
    /// Whether it is queued.
    pub(super) waiting: bool,
}

/// What is to be said of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Equal,
    /// This, for this reason.
    Found(Kind, &'static str),
    /// The file has to be read: it was written since it was sent, or may have been.
    Read,
}

/// Whether an object is the one the record tells of, as far as a listing says.
pub(super) fn same_object(row: &Mirrored, object: &Listed) -> bool {
    let tag = |etag: &Option<String>| etag.as_deref().map(|tag| tag.trim_matches('"').to_owned());
    let (ours, theirs) = (tag(&row.etag), tag(&object.etag));
    row.fingerprint.size == object.size
        && ours.zip(theirs).is_none_or(|(ours, theirs)| ours == theirs)
}

impl Seen {
    /// Whether the directory has a file here that belongs into the bucket.
    pub(super) fn is_wanted_file(&self) -> bool {
        self.wanted && matches!(self.observed, Observed::File(_))
    }

    /// Whether there is a file of this size.
    pub(super) fn is_of(&self, size: u64) -> bool {
        matches!(&self.observed, Observed::File(now) if now.size == size)
    }

    /// Whether directory and record agree about it.
    pub(super) fn is_as_recorded(&self) -> bool {
        match (&self.observed, &self.mirrored) {
            (Observed::File(_), None) if self.wanted => false,
            (Observed::File(now), Some(row)) if self.wanted => {
                now.same_content(&row.fingerprint) && !row.racy && self.same_directory
            }
            (Observed::Absent, Some(_)) => !self.wanted,
            (Observed::Unknown(_), _) if self.wanted => false,
            _ => true,
        }
    }

    /// What is to be said, with the object as it was listed, or was `asked` about.
    pub(super) fn verdict(&self, object: Option<&Listed>, asked: Option<&Inspected>) -> Verdict {
        match &self.observed {
            Observed::Unknown(_) if self.wanted => {
                Verdict::Found(Kind::Unreadable, "nobody can say what is there")
            }
            Observed::File(_) if self.wanted => self.verdict_of_file(object),
            _ => self.verdict_without_file(object, asked),
        }
    }

    fn verdict_of_file(&self, object: Option<&Listed>) -> Verdict {
        let Observed::File(now) = &self.observed else { return Verdict::Equal };
        let (object, row) = match (object, &self.mirrored) {
            (None, None) => return Verdict::Found(Kind::Missing, "it was never sent"),
            (None, Some(_)) => {
                return Verdict::Found(
                    Kind::Missing,
                    "its object is gone, and the record says it is there",
                );
            }
            (Some(object), _) if object.size != now.size => {
                return Verdict::Found(Kind::Differs, "its object has another size");
            }
            (Some(_), None) => {
                return Verdict::Found(Kind::Record, "the record does not know its object");
            }
            (Some(object), Some(row)) => (object, row),
        };
        if !same_object(row, object) {
            // Of the same size: what somebody else has put there may even be the same.
            return Verdict::Found(Kind::Differs, "its object is another one than was sent");
        }
        if !now.same_content(&row.fingerprint) || row.racy {
            return Verdict::Read;
        }
        match self.same_directory {
            true => Verdict::Equal,
            false => Verdict::Found(Kind::Record, "it is recorded of another directory"),
        }
    }

    fn verdict_without_file(&self, object: Option<&Listed>, asked: Option<&Inspected>) -> Verdict {
        match (object, &self.mirrored) {
            (None, None) => Verdict::Equal,
            (None, Some(_)) => {
                Verdict::Found(Kind::Record, "neither file nor object is there any more")
            }
            (Some(_), Some(_)) if !self.wanted => {
                Verdict::Found(Kind::Kept, "a pattern ignores its name now")
            }
            (Some(_), Some(_)) if self.keeps => Verdict::Found(Kind::Kept, "delete_policy is keep"),
            (Some(_), Some(_)) if !self.same_directory => {
                Verdict::Found(Kind::Kept, "it was mirrored from another directory")
            }
            (Some(_), Some(_)) => Verdict::Found(Kind::Extra, "its file is gone"),
            (Some(_), None) => match asked {
                Some(object) if object.ours => Verdict::Found(
                    Kind::Extra,
                    "it carries our mark, and the record does not know it",
                ),
                Some(_) => Verdict::Found(Kind::Foreign, "it was not put there by this service"),
                None => Verdict::Found(Kind::Foreign, "the record does not know it"),
            },
        }
    }

    /// What is to be said after file and object were compared.
    pub(super) fn compared(&self, equal: bool, verdict: Verdict) -> Option<Finding> {
        let racy = self.mirrored.as_ref().is_some_and(|row| row.racy);
        match (equal, verdict) {
            (true, Verdict::Equal) => None,
            (true, Verdict::Read) if racy => None,
            (true, Verdict::Read) => Some(
                self.finding(Kind::Record, "it was written since it was sent, with the same bytes"),
            ),
            (true, Verdict::Found(_, why)) => Some(self.finding(Kind::Record, why)),
            (false, Verdict::Read) => {
                Some(self.finding(Kind::Differs, "it was written since it was sent"))
            }
            (false, Verdict::Equal | Verdict::Found(..)) => {
                Some(self.finding(Kind::Differs, "its object has other bytes"))
            }
        }
    }

    pub(super) fn finding(&self, kind: Kind, why: &str) -> Finding {
        let reason = match &self.observed {
            Observed::Unknown(reason) if kind == Kind::Unreadable => reason.clone(),
            _ => why.to_owned(),
        };
        Finding { name: self.path.to_string(), kind, reason, waiting: self.waiting }
    }
}
