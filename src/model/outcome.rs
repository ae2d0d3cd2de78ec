//! The result of an attempt, classified by the next action.

use super::{ObjectRecord, UnixMillis};

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The object is in the bucket.
    Mirrored(ObjectRecord, UploadDisposition),
    /// The object does not exist, or was not ours to delete.
    Deleted,
    /// Nothing was written: another writer wrote the object, and this instance is ending.
    Yielded,
    /// The file differs from the queued version: nothing was published, inspect again.
    LookAgain(&'static str),
    /// The attempt failed.
    Failed(Failure),
}

/// The result of an attempt, and what it may have left in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptOutcome {
    /// The result of its last request.
    pub outcome: Outcome,
    /// Whether any of its requests may have changed the object.
    pub written: WriteEffect,
}

impl AttemptOutcome {
    /// An attempt without a request that could change an object.
    #[must_use]
    pub fn without_a_write(outcome: Outcome) -> Self {
        Self { outcome, written: WriteEffect::No }
    }
}

/// Whether an object may differ from the one before an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteEffect {
    /// No request that could change it was sent, or the store has refused each of them.
    No,
    /// One request was carried out, or may have been.
    Maybe,
}

/// How the object came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadDisposition {
    /// It was uploaded.
    Sent,
    /// It was copied within S3 from the object of the previous name.
    Copied,
    /// The bytes equal those that were uploaded before: nothing was uploaded.
    Unchanged,
    /// An earlier attempt had uploaded it, as its attributes showed.
    Found,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The class of the failure.
    pub class: FailureClass,
    /// A short stable name: an S3 error code, or one of ours.
    pub code: String,
    /// The message.
    pub message: String,
    /// Whether the request may have been carried out nevertheless. [`AttemptOutcome::written`] covers
    /// the whole attempt.
    pub answer_lost: bool,
    /// The pause that the store asked for, if it did.
    pub retry_after_ms: Option<UnixMillis>,
}

impl Failure {
    /// Whether S3 is throttling.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.class == FailureClass::Throttled
    }
}

/// The next action after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// S3 is unreachable or fails: all changes wait.
    Unavailable,
    /// S3 throttles: this change waits, and fewer requests are sent.
    Throttled,
    /// No valid credentials, or no permission: all changes wait for an operator or a rotation.
    Refused,
    /// S3 refuses this object, but may accept others: this change waits.
    Object,
    /// The file cannot be read: wait until it changes, or for the next scan.
    File,
    /// A temporary error while the file was read: this change waits for seconds.
    Read,
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
            Self::Read => "read",
        }
    }
}
