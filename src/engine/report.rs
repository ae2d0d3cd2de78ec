//! What the engine logs: every upload, delete and failure, and each outage and recovery once.
//! `error` means that data is at risk; what is retried is a `warn`.

pub(super) mod deletes;
mod limits;
mod outage;
mod scans;
mod transfers;

use super::EngineSettings;
use super::snapshot::{ActiveMode, History, Watch};
use crate::model::{
    Failure, FailureClass, KeyPrefix, Operation, Outcome, QueueRow, RelPath, Trace, TraceSettings,
    UnixMillis, UploadDisposition,
};
use crate::queue::Attempt;
use crate::reconcile::{ScanScope, Summary};
use crate::transfer::FILE_GONE;
use limits::{LineKind, LineLimits};
use outage::OutageLog;
pub use scans::not_abandoned;
pub(super) use scans::{compare_failed, not_listed, not_reviewed, store_failed};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use transfers::TransferLines;

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
    limits: LineLimits,
    transfers: TransferLines,
    /// How changes are seen, as it was logged.
    watching: Option<(ActiveMode, Duration)>,
    /// Deletes fail because of another writer or a restore, which was said.
    withheld: bool,
    outage: OutageLog,
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
            limits: LineLimits::default(),
            transfers: TransferLines::new(settings.log_transfers),
            watching: None,
            withheld: false,
            outage: OutageLog::default(),
            history: History::default(),
        }
    }

    /// A try has ended, during an `outage` or not.
    pub(super) fn ended(
        &mut self,
        lease: &Attempt,
        outcome: &Outcome,
        now: UnixMillis,
        outage: bool,
    ) {
        self.history.ended(lease, outcome, now);
        let pending = &lease.pending;
        let failed = pending.attempts > 1 || matches!(outcome, Outcome::Failed(_));
        let _change = span(self.tracing.trace_for_entry(pending), failed).entered();
        let key = self.prefix.key(&pending.path).map(|key| key.to_string()).unwrap_or_default();
        let lag_ms = now.saturating_sub(pending.since);
        let restless = is_restless(pending, outcome, lag_ms);
        let news = self.note_trouble(&pending.path, outcome, restless);
        self.note_withheld(pending, outcome);
        self.transfers.note(pending, outcome, now);
        match outcome {
            Outcome::Mirrored(_, UploadDisposition::Sent | UploadDisposition::Copied)
            | Outcome::Deleted => self.completed(pending, outcome, &key, lag_ms),
            Outcome::Mirrored(_, effort) => tracing::debug!(
                event = "upload.unneeded",
                aws.s3.key = key,
                file.path = %pending.path,
                found = *effort == UploadDisposition::Found,
                "the object has these bytes already"
            ),
            Outcome::Yielded => tracing::warn!(
                event = "upload.yielded",
                aws.s3.bucket = self.bucket,
                aws.s3.key = key,
                file.path = %pending.path,
                "not uploaded: another writer wrote the object, and this instance is ending"
            ),
            Outcome::LookAgain(reason)
                if restless && news && self.limits.allow(LineKind::Restless) =>
            {
                tracing::warn!(
                    event = "file.restless",
                    file.path = %pending.path,
                    reason,
                    lag_ms,
                    "changes whenever it is read, so that no state of it is in S3; tried again"
                );
            }
            Outcome::LookAgain(reason) => tracing::debug!(
                event = "upload.postponed",
                file.path = %pending.path,
                reason,
                "not sent, looked at again"
            ),
            Outcome::Failed(failure) => self.failed(lease, failure, &key, (news, outage)),
        }
    }

    /// Logs an upload, a copy or a delete, as `log_transfers` says.
    fn completed(&self, pending: &QueueRow, outcome: &Outcome, key: &str, lag_ms: UnixMillis) {
        match outcome {
            _ if !self.transfers.names_each() => tracing::debug!(
                event = "transfer.completed",
                aws.s3.key = key,
                file.path = %pending.path,
                "done, and not logged one by one (log_transfers)"
            ),
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
            Outcome::Mirrored(..) => tracing::info!(
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
            _ => tracing::info!(
                event = "delete.completed",
                aws.s3.bucket = self.bucket,
                aws.s3.key = key,
                file.path = %pending.path,
                attempts = pending.attempts,
                lag_ms,
                "deleted"
            ),
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
    fn note_trouble(&mut self, path: &RelPath, outcome: &Outcome, restless: bool) -> bool {
        let trouble = match outcome {
            Outcome::LookAgain(_) if restless => ReadTrouble::Restless,
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

    /// Logs a failed attempt, unless `news` is false or an outage is the reason, which has a line of its own.
    fn failed(
        &mut self,
        lease: &Attempt,
        failure: &Failure,
        key: &str,
        (news, outage): (bool, bool),
    ) {
        let pending = &lease.pending;
        let reading = matches!(failure.class, FailureClass::File | FailureClass::Read);
        let known = match (reading, outage) {
            (true, _) => !(news && self.limits.allow(LineKind::Unreadable)),
            (false, true) => !self.outage.names(&pending.path),
            (false, false) => !(is_withheld(failure) || self.limits.allow(LineKind::Failed)),
        };
        if known || is_withheld(failure) {
            tracing::debug!(
                event = match (reading, pending.operation) {
                    (true, _) => "file.unreadable",
                    (false, Operation::Put) => "upload.failed",
                    (false, Operation::Delete) => "delete.failed",
                },
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
        let _change = span(self.tracing.trace_for(&wish.path, since), false).entered();
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
        if !self.limits.allow(LineKind::Parked) {
            return;
        }
        let _change = span(self.tracing.trace_for_entry(row), false).entered();
        tracing::warn!(
            event = "file.parked",
            file.path = %row.path,
            reason,
            "skipped until it changes or the next scan"
        );
    }

    /// The watched directory is empty although S3 has files of it.
    pub(super) fn source_empty(&self, mirrored: u64) {
        tracing::error!(
            event = "source.empty",
            mirrored,
            "the watched directory is empty: nothing is deleted until a file is there again"
        );
    }

    /// It is no longer empty.
    pub(super) fn source_filled(&self) {
        tracing::info!(
            event = "source.filled",
            "the watched directory is no longer empty; comparing everything"
        );
    }

    /// Changes are seen in this way from now on.
    pub(super) fn watching(&mut self, watch: Watch) {
        // What is watched is known after the first visit of all directories.
        let known = watch.mode == ActiveMode::Poll || watch.coverage.armed;
        if known
            && self.watching.replace((watch.mode, watch.interval))
                != Some((watch.mode, watch.interval))
        {
            tracing::info!(
                event = "watch.mode",
                mode = watch.mode.as_str(),
                interval_seconds = watch.interval.as_secs(),
                sweep_seconds = watch.sweep.map(|interval| interval.as_secs()),
                watched = watch.coverage.watched,
                unwatched = watch.coverage.unwatched,
                "watching"
            );
        }
    }

    /// When the next summary of transfers is due, if there is one.
    pub(super) fn summary_due(&self) -> Option<UnixMillis> {
        self.transfers.due()
    }

    /// Logs the summary of transfers, if it is due.
    pub(super) fn log_summary(&mut self, now: UnixMillis) {
        self.transfers.log_if_due(now);
    }

    /// A file is not old enough to be sent.
    pub(super) fn too_young(&self, row: &QueueRow, left: Duration) {
        let _change = span(self.tracing.trace_for_entry(row), false).entered();
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
            self.limits.begin_again();
        }
        for (path, kind) in &summary.skipped {
            self.skipped(path, kind);
        }
        scans::compared(range, summary);
    }
}

/// Whether a file has changed during every read for a while. One that is gone does not change.
fn is_restless(row: &QueueRow, outcome: &Outcome, lag_ms: UnixMillis) -> bool {
    let changes = matches!(outcome, Outcome::LookAgain(reason) if *reason != FILE_GONE);
    changes && row.operation == Operation::Put && lag_ms > RESTLESS_MS
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Version;

    #[test]
    fn a_file_that_is_gone_when_it_is_read_is_not_restless() {
        let path = RelPath::new(b"a").expect("a proper path");
        let row = |operation| QueueRow::new(path.clone(), operation, Version::default(), 0);
        let changes = Outcome::LookAgain("the file has changed");
        let late = RESTLESS_MS + 1;
        assert!(is_restless(&row(Operation::Put), &changes, late));
        assert!(!is_restless(&row(Operation::Put), &changes, RESTLESS_MS));
        assert!(!is_restless(&row(Operation::Put), &Outcome::LookAgain(FILE_GONE), late));
        assert!(!is_restless(&row(Operation::Delete), &changes, late));
    }
}
