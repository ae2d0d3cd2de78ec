//! What the engine logs: every upload, delete and failure, and each outage and recovery once.
//! `error` means that data is at risk; what is retried is a `warn`.

use super::EngineSettings;
use super::snapshot::History;
use crate::model::{
    Failure, FailureClass, KeyPrefix, Operation, Outcome, QueueRow, RelPath, Trace, TraceSettings,
    UnixMillis, UploadDisposition, UploadRecord,
};
use crate::queue::{Attempt, BreakerTransition, Queue};
use crate::reconcile::{ReconcileError, ScanScope, Summary};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// A file that could not be read in one state for so long is worth a word.
const RESTLESS_MS: UnixMillis = 60_000;

/// Links, devices and the like that are named in the log; the rest is counted by comparisons.
pub(super) const SKIPPED_MAX: usize = 1_000;

/// Files that are remembered because an attempt could not read them.
const UNREAD_MAX: usize = 1_000;

/// What keeps an attempt from reading a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadTrouble {
    /// It changes whenever it is read.
    Restless,
    /// An error, or permissions.
    Unreadable,
}
/// Lines about files that wait for a change, between two comparisons of everything.
const LEFT_MAX: u64 = 1_000;

/// What was logged already.
#[derive(Debug)]
pub(super) struct EventLog {
    bucket: String,
    prefix: KeyPrefix,
    tracing: TraceSettings,
    held: bool,
    /// What is not mirrored because of what it is.
    skipped: HashSet<RelPath>,
    /// Files whose last attempts could not read them, which was said.
    unread: HashMap<RelPath, ReadTrouble>,
    /// Lines about single files that wait for a change, since the last comparison of everything.
    left: u64,
    /// Deletes fail because of another writer or a restore, which was said.
    withheld: bool,
    pub(super) history: History,
}

impl EventLog {
    pub(super) fn new(settings: &EngineSettings) -> Self {
        let EngineSettings { bucket, prefix, tracing, .. } = settings;
        let bucket = bucket.clone();
        let prefix = prefix.clone();
        Self {
            bucket,
            prefix,
            tracing: *tracing,
            held: false,
            skipped: HashSet::new(),
            unread: HashMap::new(),
            left: 0,
            withheld: false,
            history: History::default(),
        }
    }

    /// A try has ended.
    pub(super) fn ended(&mut self, lease: &Attempt, outcome: &Outcome, now: UnixMillis) {
        self.history.ended(lease, outcome, now);
        let pending = &lease.pending;
        let failed = pending.attempts > 1 || matches!(outcome, Outcome::Failed(_));
        let _change = span(self.tracing.of_row(pending), failed).entered();
        let key = self.prefix.key(&pending.path).map(|key| key.to_string()).unwrap_or_default();
        let lag_ms = now.saturating_sub(pending.since);
        let news = self.note_trouble(&pending.path, outcome, lag_ms);
        self.note_withheld(pending, outcome);
        match outcome {
            Outcome::Mirrored(_, UploadDisposition::Sent) => tracing::info!(
                event = "upload.completed",
                aws.s3.bucket = self.bucket,
                aws.s3.key = key,
                file.path = %pending.path,
                file.size = pending.version.size,
                attempts = pending.attempts,
                lag_ms,
                "uploaded"
            ),
            Outcome::Mirrored(_, UploadDisposition::Copied) => tracing::info!(
                event = "copy.completed",
                aws.s3.bucket = self.bucket,
                aws.s3.key = key,
                file.path = %pending.path,
                file.size = pending.version.size,
                from = pending.copy_from.as_ref().map(ToString::to_string),
                attempts = pending.attempts,
                lag_ms,
                "copied within S3"
            ),
            Outcome::Mirrored(_, effort) => tracing::debug!(
                event = "upload.unneeded",
                aws.s3.key = key,
                file.path = %pending.path,
                found = *effort == UploadDisposition::Found,
                "the object has these bytes already"
            ),
            Outcome::Deleted => tracing::info!(
                event = "delete.completed",
                aws.s3.bucket = self.bucket,
                aws.s3.key = key,
                file.path = %pending.path,
                attempts = pending.attempts,
                lag_ms,
                "deleted"
            ),
            Outcome::Yielded => tracing::warn!(
                event = "upload.yielded",
                aws.s3.bucket = self.bucket,
                aws.s3.key = key,
                file.path = %pending.path,
                "not uploaded: another writer wrote the object, and this instance is ending"
            ),
            Outcome::LookAgain(reason) if news && lag_ms > RESTLESS_MS => tracing::warn!(
                event = "file.restless",
                file.path = %pending.path,
                reason,
                lag_ms,
                "changes whenever it is read, so that no state of it is in S3; tried again"
            ),
            Outcome::LookAgain(reason) => tracing::debug!(
                event = "upload.postponed",
                file.path = %pending.path,
                reason,
                "not sent, looked at again"
            ),
            Outcome::Failed(failure) => self.failed(lease, failure, &key, news),
        }
    }

    /// Says once that another writer or a restore keeps deletes from being done, and once that this is over.
    fn note_withheld(&mut self, pending: &QueueRow, outcome: &Outcome) {
        match outcome {
            Outcome::Failed(failure) if is_withheld(failure) && !self.withheld => {
                self.withheld = true;
                tracing::warn!(
                    event = "deletes.withheld",
                    error.type = failure.code,
                    error.message = failure.message,
                    "deletes are held back; uploads go on"
                );
            }
            Outcome::Deleted if self.withheld && pending.operation == Operation::Delete => {
                self.withheld = false;
                tracing::info!(event = "deletes.resumed", "deletes are no longer held back");
            }
            Outcome::Failed(_) | Outcome::Deleted => {}
            Outcome::Mirrored(..) | Outcome::Yielded | Outcome::LookAgain(_) => {}
        }
    }

    /// Notes whether an attempt could read its file. Answers whether that is new.
    fn note_trouble(&mut self, path: &RelPath, outcome: &Outcome, lag_ms: UnixMillis) -> bool {
        let trouble = match outcome {
            Outcome::LookAgain(_) if lag_ms > RESTLESS_MS => ReadTrouble::Restless,
            Outcome::Failed(Failure { class: FailureClass::File | FailureClass::Read, .. }) => {
                ReadTrouble::Unreadable
            }
            Outcome::LookAgain(_) | Outcome::Failed(_) => return true,
            Outcome::Mirrored(..) | Outcome::Yielded | Outcome::Deleted => {
                self.file_readable(path);
                return true;
            }
        };
        // Where there is no room, it is said each time.
        let room = self.unread.len() < UNREAD_MAX || self.unread.contains_key(path);
        !room || self.unread.insert(path.clone(), trouble) != Some(trouble)
    }

    /// There is nothing left to read of a file, or it was read.
    pub(super) fn file_readable(&mut self, path: &RelPath) {
        if self.unread.remove(path).is_some() {
            tracing::info!(event = "file.readable", file.path = %path, "readable again");
        }
    }

    /// Files that change whenever they are read.
    pub(super) fn restless(&self) -> u64 {
        let restless = self.unread.values().filter(|trouble| **trouble == ReadTrouble::Restless);
        restless.count() as u64
    }

    /// A path cannot be read. It is tried again with pauses, of which nothing is said.
    pub(super) fn unreadable(&self, path: &RelPath, why: &str) {
        tracing::warn!(
            event = "source.unreadable",
            file.path = %path,
            error.message = why,
            "cannot be read; nothing at or below it is sent or deleted until it can"
        );
    }

    /// A path can be read again, or is gone.
    pub(super) fn readable(&self, path: &RelPath) {
        tracing::info!(event = "source.readable", file.path = %path, "readable again, or gone");
    }

    /// Whether one more line about a file that waits for a change is logged; that there are more is, once.
    fn names_one_more(&mut self) -> bool {
        self.left += 1;
        if self.left == LEFT_MAX + 1 {
            tracing::warn!(
                event = "file.parked_more",
                "more files that wait for a change are only counted until the next comparison"
            );
        }
        self.left <= LEFT_MAX
    }

    fn failed(&mut self, lease: &Attempt, failure: &Failure, key: &str, news: bool) {
        let pending = &lease.pending;
        let reading = matches!(failure.class, FailureClass::File | FailureClass::Read);
        let known = reading && !(news && self.names_one_more());
        if known || is_withheld(failure) {
            tracing::debug!(
                event = if reading { "file.unreadable" } else { "delete.failed" },
                file.path = %pending.path,
                error.type = failure.code,
                error.message = failure.message,
                attempts = pending.attempts,
                "failed again for a reason that was logged before"
            );
            return;
        }
        let (event, message) = match (failure.class, pending.operation) {
            (FailureClass::Read, _) => {
                ("file.unreadable", "could not be read; tried again within seconds")
            }
            (FailureClass::File, _) => {
                ("file.unreadable", "not readable; skipped until it changes or the next scan")
            }
            (_, Operation::Put) => ("upload.failed", "upload failed; will retry"),
            (_, Operation::Delete) => ("delete.failed", "delete failed; will retry"),
        };
        tracing::warn!(
            event,
            aws.s3.bucket = self.bucket,
            aws.s3.key = key,
            file.path = %pending.path,
            error.type = failure.code,
            error.message = failure.message,
            class = failure.class.as_str(),
            attempts = pending.attempts,
            "{message}"
        );
    }

    /// A change was decided on; `known` is what was queued for its path before.
    pub(super) fn decided(&self, wish: &QueueRow, known: Option<&QueueRow>, reason: &str) {
        let since = known.map_or(wish.since, |known| known.since.min(wish.since));
        let _change = span(self.tracing.of(&wish.path, since), false).entered();
        tracing::debug!(
            event = "change.queued",
            file.path = %wish.path,
            operation = wish.operation.as_str(),
            reason,
            "queued"
        );
    }

    /// A path has nothing done to it until it changes.
    pub(super) fn parked(&mut self, row: &QueueRow, reason: &str) {
        if !self.names_one_more() {
            return;
        }
        let _change = span(self.tracing.of_row(row), false).entered();
        tracing::warn!(
            event = "file.parked",
            file.path = %row.path,
            reason,
            "skipped until it changes or the next scan"
        );
    }

    /// A file is not old enough to be sent.
    pub(super) fn too_young(&self, row: &QueueRow, left: Duration) {
        let _change = span(self.tracing.of_row(row), false).entered();
        tracing::debug!(
            event = "file.too_young",
            file.path = %row.path,
            inspected_in_seconds = left.as_secs() + 1,
            "not sent before it is min_age_seconds old"
        );
    }

    /// Something is no regular file. Each is named once, and so is that there are more.
    pub(super) fn skipped(&mut self, path: &RelPath, kind: &'static str) {
        if self.skipped.len() > SKIPPED_MAX || !self.skipped.insert(path.clone()) {
            return;
        }
        if self.skipped.len() > SKIPPED_MAX {
            tracing::info!(
                event = "file.skipped_more",
                "more that is not mirrored is only counted"
            );
            return;
        }
        tracing::info!(
            event = "file.skipped",
            file.path = %path,
            kind,
            "skipped: not a regular file"
        );
    }

    /// How many names are remembered.
    #[cfg(test)]
    pub(super) fn skipped_names(&self) -> usize {
        self.skipped.len()
    }

    /// A comparison of the tree with the record has ended.
    pub(super) fn compared(&mut self, range: &ScanScope, summary: &Summary, now: UnixMillis) {
        self.history.compared(range, summary, now);
        if range.is_everything() {
            self.left = 0;
        }
        for (path, kind) in &summary.skipped {
            self.skipped(path, kind);
        }
        compared(range, summary);
    }

    /// Deletes are held, or are no longer.
    pub(super) fn held(&mut self, queue: &Queue) {
        let held = queue.deletes_held();
        if held == self.held {
            return;
        }
        self.held = held;
        let counts = queue.counts();
        if held {
            tracing::error!(
                event = "deletes.held",
                deletes = counts.deletes,
                mirrored = counts.mirrored,
                "deletes on hold: the limit is exceeded; restore the files, approve them, or raise the limit"
            );
        } else {
            tracing::info!(
                event = "deletes.released",
                deletes = counts.deletes,
                mirrored = counts.mirrored,
                "deletes are within the limits again"
            );
        }
    }
}

/// Whether a delete waits because of another writer or a restore: one cause, however many deletes there are.
fn is_withheld(failure: &Failure) -> bool {
    matches!(&*failure.code, "other-writer" | "lease-unknown" | "restore-incomplete")
}

/// What marks the lines of a change, in which something has `failed` or not. At the highest level,
/// so that no filter for lines takes it away.
pub(super) fn span(trace: Trace, failed: bool) -> tracing::Span {
    let (trace_id, span_id, trace_flags) = trace.fields(failed);
    tracing::error_span!("change", %trace_id, %span_id, trace_flags)
}

/// A person wants the deletes that are held.
pub(super) fn approved(queue: &Queue) {
    let counts = queue.counts();
    tracing::info!(
        event = "deletes.approved",
        deletes = counts.deletes,
        mirrored = counts.mirrored,
        "held deletes approved"
    );
}

/// S3 went away, with this outcome, or came back.
pub(super) fn turned(turn: Option<BreakerTransition>, outcome: &Outcome) {
    let failure = match outcome {
        Outcome::Failed(failure) => Some(failure),
        _ => None,
    };
    match turn {
        None => {}
        Some(BreakerTransition::Opened) => tracing::error!(
            event = "s3.unavailable",
            class = failure.map(|failure| failure.class.as_str()),
            error.type = failure.map(|failure| &*failure.code),
            error.message = failure.map(|failure| &*failure.message),
            "S3 unavailable; changes are queued on disk, probing until it recovers"
        ),
        Some(BreakerTransition::Closed(after_ms)) => {
            tracing::info!(event = "s3.available", after_ms, "S3 takes changes again");
        }
    }
}

/// A comparison of the tree with the record has ended.
fn compared(range: &ScanScope, summary: &Summary) {
    let Summary { files, new, changed, gone, unreadable, special, mounts, .. } = summary;
    if range.start.is_root() {
        tracing::info!(
            event = "reconcile.completed",
            files,
            new,
            changed,
            gone,
            unreadable,
            special,
            mounts,
            "compared the directory with the record"
        );
    } else {
        tracing::debug!(
            event = "reconcile.completed",
            file.path = %range.start,
            files,
            new,
            changed,
            gone,
            unreadable,
            "compared a part of the directory with the record"
        );
    }
}

/// A comparison could not be done, and will be tried again.
pub(super) fn compare_failed(range: &ScanScope, error: &ReconcileError) {
    tracing::warn!(
        event = "reconcile.failed",
        file.path = %range.start,
        error.message = %error,
        "could not compare the directory with the record; tried again"
    );
}

/// The record could not be read.
pub(super) fn store_failed(reason: &str) {
    tracing::error!(
        event = "state.read_failed",
        error.message = reason,
        "the record cannot be read"
    );
}

/// The bucket could not be listed on behalf of nothing in particular.
pub(super) fn not_listed(failure: &Failure) {
    tracing::warn!(
        event = "bucket.listing_failed",
        error.type = failure.code,
        error.message = failure.message,
        "what another shard has left cannot be looked for yet; asked again"
    );
}

/// The bucket could not be compared with the records.
pub(super) fn not_reviewed(failure: &Failure) {
    tracing::warn!(
        event = "bucket.listing_failed",
        error.type = failure.code,
        error.message = failure.message,
        "the bucket cannot be compared with the state; will retry"
    );
}

/// A multipart upload could not be aborted; it stays noted, and the next start tries again.
pub fn not_abandoned(note: &UploadRecord, failure: &Failure) {
    tracing::warn!(
        event = "upload.abort_failed",
        file.path = %note.path,
        error.type = failure.code,
        error.message = failure.message,
        "multipart upload of an earlier try not aborted; it stays noted"
    );
}
