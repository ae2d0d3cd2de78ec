//! What the engine tells the log: every upload, delete and failure, and each turn for the worse or
//! the better once. `error` means that data is at risk; what is tried again is a `warn`.

use super::Settings;
use super::snapshot::History;
use crate::model::{
    Effort, Failure, FailureClass, KeyPrefix, Operation, Outcome, Pending, RelPath, Trace, Tracing,
    UnixMillis, UploadNote,
};
use crate::queue::{Lease, Queue, Turn};
use crate::reconcile::{Range, ReconcileError, Summary};
use std::collections::HashSet;

/// A file that could not be read in one state for so long is worth a word.
const RESTLESS_MS: UnixMillis = 60_000;

/// Links, devices and the like that are named in the log; the rest is counted by comparisons.
pub(super) const SKIPPED_MAX: usize = 1_000;

/// What has been told already.
#[derive(Debug)]
pub(super) struct Report {
    bucket: String,
    prefix: KeyPrefix,
    tracing: Tracing,
    held: bool,
    /// What is not mirrored because of what it is.
    skipped: HashSet<RelPath>,
    pub(super) history: History,
}

impl Report {
    pub(super) fn new(settings: &Settings) -> Self {
        let Settings { bucket, prefix, tracing, .. } = settings;
        let (bucket, prefix) = (bucket.clone(), prefix.clone());
        Self {
            bucket,
            prefix,
            tracing: *tracing,
            held: false,
            skipped: HashSet::new(),
            history: History::default(),
        }
    }

    /// A try has ended.
    pub(super) fn ended(&mut self, lease: &Lease, outcome: &Outcome, now: UnixMillis) {
        self.history.ended(lease, outcome, now);
        let pending = &lease.pending;
        let failed = pending.attempts > 1 || matches!(outcome, Outcome::Failed(_));
        let _change = span(self.tracing.of_row(pending), failed).entered();
        let key = self.prefix.key(&pending.path).map(|key| key.to_string()).unwrap_or_default();
        let lag_ms = now.saturating_sub(pending.since);
        match outcome {
            Outcome::Mirrored(_, Effort::Sent) => tracing::info!(
                event = "upload.completed",
                aws.s3.bucket = self.bucket,
                aws.s3.key = key,
                file.path = %pending.path,
                file.size = pending.version.size,
                attempts = pending.attempts,
                lag_ms,
                "uploaded"
            ),
            Outcome::Mirrored(_, Effort::Copied) => tracing::info!(
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
                found = *effort == Effort::Found,
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
            Outcome::LookAgain(reason) if lag_ms > RESTLESS_MS => tracing::warn!(
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
            Outcome::Failed(failure) => self.failed(lease, failure, &key),
        }
    }

    fn failed(&self, lease: &Lease, failure: &Failure, key: &str) {
        let pending = &lease.pending;
        let (event, message) = match (failure.class, pending.operation) {
            (FailureClass::File, _) => (
                "file.unreadable",
                "not readable; looked at again when it changes, or at the next rescan",
            ),
            (_, Operation::Put) => ("upload.failed", "upload failed; tried again later"),
            (_, Operation::Delete) => ("delete.failed", "delete failed; tried again later"),
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
    pub(super) fn decided(&self, wish: &Pending, known: Option<&Pending>, reason: &str) {
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
    pub(super) fn parked(&self, row: &Pending, reason: &str) {
        let _change = span(self.tracing.of_row(row), false).entered();
        tracing::warn!(
            event = "file.parked",
            file.path = %row.path,
            reason,
            "not mirrored; looked at again when it changes, or at the next rescan"
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
            "not a regular file of this file system: not mirrored"
        );
    }

    /// How many names are remembered.
    #[cfg(test)]
    pub(super) fn skipped_names(&self) -> usize {
        self.skipped.len()
    }

    /// A comparison of the tree with the record has ended.
    pub(super) fn compared(&mut self, range: &Range, summary: &Summary, now: UnixMillis) {
        self.history.compared(range, summary, now);
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
                "more deletes are wanted than delete_limit_percent and delete_limit_count allow: \
                 none is done until the files return, the deletes are approved or the limits are raised"
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
        "the deletes that are wanted now are done, however many they are"
    );
}

/// S3 went away or came back.
pub(super) fn turned(turn: Option<Turn>) {
    match turn {
        None => {}
        Some(Turn::Opened) => tracing::error!(
            event = "s3.unavailable",
            "S3 does not take anything; changes wait on disk, and one try at a time asks again"
        ),
        Some(Turn::Closed(after_ms)) => {
            tracing::info!(event = "s3.available", after_ms, "S3 takes changes again");
        }
    }
}

/// A comparison of the tree with the record has ended.
fn compared(range: &Range, summary: &Summary) {
    let Summary { files, new, changed, gone, unreadable, special, mounts, skipped: _ } = summary;
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
pub(super) fn compare_failed(range: &Range, error: &ReconcileError) {
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

/// A multipart upload could not be aborted; it stays noted, and the next start tries again.
pub fn not_abandoned(note: &UploadNote, failure: &Failure) {
    tracing::warn!(
        event = "upload.abort_failed",
        file.path = %note.path,
        error.type = failure.code,
        error.message = failure.message,
        "multipart upload of an earlier try not aborted; it stays noted"
    );
}
