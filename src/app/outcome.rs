//! How the work ended, and what that means for the program's exit code.

use super::RunMode;
use super::termination::{NAMES_MAX, Remaining};
use crate::cli::Exit;
use crate::clock::unix_millis;
use crate::engine::Engine;
use crate::model::{CoverageGaps, FailureClass, GapReason, Operation, QueueRow, RelPath};
use crate::store::{StateCounts, Store};
use std::time::Duration;

/// The end waits so long at most for the names of what is left.
const NAMES_PATIENCE: Duration = Duration::from_secs(2);

/// How the work ended.
#[derive(Debug, Clone, Default)]
pub(super) struct RunSummary {
    pub(super) pending: u64,
    /// Changes among them that wait for something else than time, deletes on hold included: they are
    /// counted among the gaps as well.
    pub(super) held: u64,
    /// What is known not to be in S3 as it is, beside what waits.
    pub(super) gaps: CoverageGaps,
    /// Deletes that are not due.
    pub(super) delayed: u64,
    /// Bytes of the files among that.
    pub(super) bytes: u64,
    /// Paths without a requested invalidation.
    pub(super) unsent: u64,
    pub(super) expired: bool,
    pub(super) outage: Option<FailureClass>,
    /// The reason of the outage, as a sentence.
    pub(super) outage_cause: Option<String>,
    /// Paths of which something was heard, and that were not looked at.
    pub(super) uninspected: u64,
    /// There may be changes that nothing has looked for.
    pub(super) uncompared: bool,
    /// Some paths that are not in the queue.
    pub(super) unqueued: Vec<RelPath>,
}

impl RunSummary {
    /// The end while another instance held the state: nothing is known of what is left.
    pub(super) fn before_state() -> Self {
        Self { expired: true, uncompared: true, ..Self::default() }
    }

    /// The end before the watched directory was there.
    pub(super) fn before_work(counts: StateCounts) -> Self {
        Self {
            pending: counts.pending,
            // Nothing counts them among the gaps but those that are never sent.
            held: counts.skipped,
            delayed: counts.delayed,
            bytes: counts.bytes,
            expired: true,
            ..Self::default()
        }
    }

    /// The end of an engine, with the sizes of the state after its last commit if that is on disk.
    pub(super) fn from_engine(engine: &Engine, counts: Option<StateCounts>, expired: bool) -> Self {
        let is_committed = counts.is_some();
        let counts = counts.unwrap_or_else(|| engine.counts());
        Self {
            pending: counts.pending,
            held: counts.parked + engine.deletes_waiting(),
            gaps: engine.gaps(),
            delayed: counts.delayed,
            bytes: counts.bytes,
            unsent: 0,
            expired,
            outage: engine.outage(),
            outage_cause: engine.outage_sentence().map(str::to_owned),
            // A drain that ends by itself has looked at everything.
            uninspected: if expired { engine.uninspected() as u64 } else { 0 },
            uncompared: expired && (engine.is_uncompared() || !is_committed),
            unqueued: engine.unqueued_paths(NAMES_MAX),
        }
    }

    pub(super) fn exit(&self, mode: RunMode, left: &Remaining) -> Exit {
        let skipped = self.gaps.count(GapReason::Skipped);
        let strict = matches!(mode, RunMode::Once { strict: true, .. });
        let strictly = if strict { skipped } else { 0 };
        let forgotten = if left.state_survives { 0 } else { left.delayed };
        let left_over = left.missing + strictly + left.invalidations + forgotten;
        let is_done = left_over == 0 && !left.uncompared;
        log_delayed(left);
        if skipped > 0 && is_done {
            tracing::warn!(
                event = "shutdown.skipped",
                skipped,
                "everything is in S3, but for files that S3 cannot take"
            );
        }
        if is_done && !(self.expired && mode.is_once()) {
            return Exit::Success;
        }
        self.log(left, skipped);
        match mode {
            RunMode::Daemon if left.state_survives => Exit::Success,
            RunMode::Once { .. } if self.outage == Some(FailureClass::Unavailable) => {
                Exit::Unreachable
            }
            RunMode::Daemon | RunMode::Once { .. } => Exit::WorkLeft,
        }
    }

    fn log(&self, left: &Remaining, skipped: u64) {
        tracing::warn!(
            event = "shutdown.left_over",
            missing = left.missing,
            files = ?left.files,
            pending = self.pending,
            uncovered = self.gaps.failures(),
            uninspected = self.uninspected,
            uncompared = self.uncompared,
            skipped,
            delayed = left.delayed,
            cause = left.cause,
            invalidations = left.invalidations,
            expired = self.expired,
            state_survives = left.state_survives,
            "{}",
            left.reason()
        );
    }

    /// What is left, without the details that only the state has.
    pub(super) fn remaining(&self, state_survives: bool) -> Remaining {
        Remaining {
            pending: self.pending,
            bytes: self.bytes,
            oldest_age_seconds: None,
            delayed: self.delayed,
            missing: self.pending.saturating_sub(self.held)
                + self.gaps.failures()
                + self.uninspected,
            uncompared: self.uncompared,
            invalidations: self.unsent,
            files: Vec::new(),
            cause: self.cause(),
            state_survives,
        }
    }

    /// Adds the age of the oldest change and some names, as far as `store` can be read.
    pub(super) async fn read_details(&self, store: &Store, remaining: &mut Remaining) {
        let oldest = store.survey().await.ok().and_then(|survey| survey.oldest);
        let oldest = oldest.filter(|_| self.pending > 0);
        remaining.oldest_age_seconds =
            oldest.map(|oldest| unix_millis().saturating_sub(oldest) / 1000);
        remaining.files = self.names(store).await;
    }

    /// Why not everything is in S3, without file names.
    fn cause(&self) -> Option<String> {
        let causes: Vec<_> =
            self.outage_cause.clone().into_iter().chain(self.gaps.cause()).collect();
        (!causes.is_empty()).then(|| causes.join("; "))
    }

    /// Some of the files that are not in S3 as they are.
    async fn names(&self, store: &Store) -> Vec<RelPath> {
        let mut names = self.unqueued.clone();
        let queued = queued_names(store, NAMES_MAX);
        // A database that does not answer keeps its names.
        if let Ok(queued) = tokio::time::timeout(NAMES_PATIENCE, queued).await {
            names.extend(queued);
        }
        names.sort();
        names.dedup();
        names.truncate(NAMES_MAX);
        names
    }
}

/// Logs that objects stay for a while.
fn log_delayed(left: &Remaining) {
    if left.delayed > 0 && left.state_survives {
        tracing::info!(
            event = "shutdown.delayed",
            deletes = left.delayed,
            "deletes are not due yet: the next start does them when they are"
        );
    }
}

/// The first files in the queue that will not be in S3.
async fn queued_names(store: &Store, limit: usize) -> Vec<RelPath> {
    let is_missing = |row: &QueueRow| {
        let reason = row.parked.as_deref().map(GapReason::from_skip_reason);
        row.operation == Operation::Put && reason != Some(GapReason::Skipped)
    };
    let mut names = Vec::new();
    let mut after = None;
    while names.len() < limit {
        let rows = store.queued_after(after).await.unwrap_or_default();
        after = rows.last().map(|row| row.path.clone());
        if after.is_none() {
            break;
        }
        names.extend(rows.into_iter().filter(is_missing).map(|row| row.path));
    }
    names.truncate(limit);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(missing: u64, uncompared: bool, state_survives: bool) -> Remaining {
        Remaining { missing, uncompared, state_survives, ..Remaining::default() }
    }

    #[test]
    fn a_daemon_ends_with_0_only_if_nothing_is_lost_with_the_state() {
        for (left, exit) in [
            (left(0, false, false), Exit::Success),
            (left(0, false, true), Exit::Success),
            (left(1, false, true), Exit::Success),
            (left(1, false, false), Exit::WorkLeft),
            (left(0, true, true), Exit::Success),
            (left(0, true, false), Exit::WorkLeft),
            (Remaining { delayed: 1, ..left(0, false, true) }, Exit::Success),
            (Remaining { delayed: 1, ..left(0, false, false) }, Exit::WorkLeft),
        ] {
            let finish = RunSummary { expired: true, ..RunSummary::default() };
            assert_eq!(finish.exit(RunMode::Daemon, &left), exit, "{left:?}");
        }
    }

    #[test]
    fn who_never_got_the_state_ends_with_0_only_where_the_next_start_has_it() {
        let once = RunMode::Once { reapply_rules: false, strict: false };
        for (mode, survives, exit) in [
            (RunMode::Daemon, true, Exit::Success),
            (RunMode::Daemon, false, Exit::WorkLeft),
            (once, true, Exit::WorkLeft),
            (once, false, Exit::WorkLeft),
        ] {
            let summary = RunSummary::before_state();
            let ended = summary.exit(mode, &summary.remaining(survives));
            assert_eq!(ended, exit, "{mode:?} {survives}");
        }
    }

    #[test]
    fn a_single_run_ends_with_0_only_if_everything_is_in_s3() {
        let once = RunMode::Once { reapply_rules: false, strict: false };
        for (missing, exit) in [(0, Exit::Success), (1, Exit::WorkLeft)] {
            assert_eq!(RunSummary::default().exit(once, &left(missing, false, true)), exit);
        }
    }
}
