//! How a try ended: told by what happens next, not by what went wrong.

use super::Mirrored;

/// The end of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The object is in the bucket.
    Mirrored(Mirrored, Effort),
    /// The object is gone, or was never ours to delete.
    Deleted,
    /// The file is not what it was when the operation was queued: nothing was published, look again.
    LookAgain(&'static str),
    /// It did not work.
    Failed(Failure),
}

/// What it took to have the object there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// It was sent.
    Sent,
    /// It was copied within S3, from the object the file had under its name before.
    Copied,
    /// The bytes are those that were sent before: nothing was sent.
    Unchanged,
    /// An earlier try had done it already, as a look at the object showed.
    Found,
}

/// Why a try did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What to do about it.
    pub class: FailureClass,
    /// A short stable name: an S3 error code, or one of ours.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether the request may have been carried out all the same.
    pub answer_lost: bool,
}

impl Failure {
    /// Whether S3 wants fewer requests.
    #[must_use]
    pub fn asks_for_less(&self) -> bool {
        self.class == FailureClass::Throttled
    }
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// S3 cannot be reached, or is not working: wait, all together.
    Unavailable,
    /// S3 asks for less: wait, alone, while fewer requests are made.
    Throttled,
    /// No valid credentials, or no permission: wait for an operator or a rotation, all together.
    Refused,
    /// This object is refused, others need not be: wait, alone.
    Object,
    /// The file cannot be read: wait until it changes, or for the next rescan.
    File,
}

impl FailureClass {
    /// The name in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Throttled => "throttled",
            Self::Refused => "refused",
            Self::Object => "object",
            Self::File => "file",
        }
    }
}
