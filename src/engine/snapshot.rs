//! The published status of the engine: plain data, taken a few times a second at most and only when
//! something has changed, for metrics, probes and the status page.
//!
//! Only [`FinishedOperation`] and `unread` contain file names; the output decides whether they may be seen.

use super::linked::LinkedFiles;
use super::{Engine, Lags, UploadThroughput};
use crate::detect::Coverage;
use crate::model::{
    CoverageGaps, FailureClass, Operation, Outcome, RecentDeletes, RelPath, UnixMillis,
    UploadDisposition,
};
use crate::queue::Attempt;
use crate::reconcile::{ScanScope, Summary};
use crate::store::{QueueStats, StateCounts};
use std::collections::VecDeque;
use std::time::Duration;

/// Operations that are remembered for the status page.
const RECENT_MAX: usize = 20;

/// Everything an operator may want to know, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// What the daemon is about.
    pub phase: Phase,
    /// Why the watched directory cannot be used, while it cannot.
    pub source_problem: Option<String>,
    /// How changes are seen.
    pub watch: Watch,
    /// How much the record holds.
    pub counts: StateCounts,
    /// How long the queue has waited, and why what is parked is.
    pub survey: QueueStats,
    /// Paths and directories that wait for quiet or are being looked at.
    pub settling: usize,
    /// Attempts under way, as many as may have requests at once.
    pub running: usize,
    /// Requests that may be under way at once.
    pub concurrency: usize,
    /// Attempts that are prepared and wait for one of those.
    pub prepared: usize,
    /// What is known not to be in S3 as it is, beside what waits for its turn.
    pub gaps: CoverageGaps,
    /// Some of the paths that could not be read, and why. Who shows them decides who may see them.
    pub unread: Vec<(RelPath, String)>,
    /// Whether the watched directory is empty although S3 has files of it.
    pub source_empty: bool,
    /// Whether deletes wait for a person.
    pub deletes_held: bool,
    /// Deletes that were done lately, and count with those that are wanted.
    pub deleted_lately: u64,
    /// What keeps S3 from taking anything, if something does.
    pub outage: Option<Outage>,
    /// Whether a comparison of tree and record is under way.
    pub comparing: bool,
    /// What was done so far.
    pub history: History,
}

/// What the daemon is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// The parts are made.
    #[default]
    Starting,
    /// Another instance holds the state directory.
    WaitingForInstance,
    /// The watched directory is not there, or cannot be used.
    WaitingForSource,
    /// The tree is compared with the record for the first time.
    Comparing,
    /// Changes are mirrored as they come.
    Mirroring,
    /// Its shutdown was announced.
    Ending,
    /// It is shutting down, and uploads what is left.
    Stopping,
}

impl Phase {
    /// The name in JSON and on the status page.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::WaitingForInstance => "waiting-for-instance",
            Self::WaitingForSource => "waiting-for-source",
            Self::Comparing => "comparing",
            Self::Mirroring => "mirroring",
            Self::Ending => "ending",
            Self::Stopping => "stopping",
        }
    }
}

/// How changes are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watch {
    /// In which of the ways.
    pub mode: ActiveMode,
    /// How much of the tree is watched.
    pub coverage: Coverage,
    /// Time between two comparisons of the whole tree.
    pub interval: Duration,
    /// Time between two sweeps, if there are any.
    pub sweep: Option<Duration>,
}

/// The ways of seeing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ActiveMode {
    /// Comparing again and again; events of the kernel are welcome where there are any.
    #[default]
    Poll,
    /// By events of the kernel, with a comparison now and then behind them.
    Events,
}

impl ActiveMode {
    /// The name in logs, metrics and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Events => "events",
        }
    }
}

/// S3 takes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Why.
    pub class: FailureClass,
    /// The code of the latest failure.
    pub code: String,
    /// Its cause, as a sentence without object names.
    pub cause: String,
    /// Since when.
    pub since: UnixMillis,
}

/// What was done since the process started, over all directories it has watched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// Sums.
    pub totals: HistoryTotals,
    /// How much was sent lately.
    pub sent: UploadThroughput,
    /// How long the latest changes took.
    pub lags: Lags,
    /// When an operation last succeeded.
    pub last_success: Option<UnixMillis>,
    /// The last comparison of the whole tree.
    pub last_comparison: Option<ScanResult>,
    /// The latest operations, the newest first.
    pub recent: VecDeque<FinishedOperation>,
    /// When the comparison of the whole tree that is under way began.
    began: Option<UnixMillis>,
}

/// Sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistoryTotals {
    /// Files sent.
    pub uploads: u64,
    /// Their bytes.
    pub upload_bytes: u64,
    /// Objects copied within S3.
    pub copies: u64,
    /// Objects that turned out to be there already.
    pub unneeded: u64,
    /// Objects deleted.
    pub deletes: u64,
    /// Tries that failed.
    pub failures: u64,
}

impl HistoryTotals {
    /// What came after `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            uploads: self.uploads.saturating_sub(before.uploads),
            upload_bytes: self.upload_bytes.saturating_sub(before.upload_bytes),
            copies: self.copies.saturating_sub(before.copies),
            unneeded: self.unneeded.saturating_sub(before.unneeded),
            deletes: self.deletes.saturating_sub(before.deletes),
            failures: self.failures.saturating_sub(before.failures),
        }
    }
}

/// A comparison of the whole tree with the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanResult {
    /// When it ended.
    pub ended: UnixMillis,
    /// How long it took.
    pub took: Duration,
    /// What it saw.
    pub summary: Summary,
}

/// An operation that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedOperation {
    /// When.
    pub at: UnixMillis,
    /// What: `upload`, `copy`, `delete`.
    pub what: &'static str,
    /// The file.
    pub path: RelPath,
    /// Its size.
    pub bytes: u64,
    /// Why it did not work, if it did not: a short stable name.
    pub failure: Option<String>,
}

impl History {
    /// A try has ended.
    pub(super) fn ended(&mut self, lease: &Attempt, outcome: &Outcome, now: UnixMillis) {
        let totals = &mut self.totals;
        let bytes = lease.pending.version.size;
        let what = match (outcome, lease.pending.operation) {
            (Outcome::LookAgain(_) | Outcome::Yielded, _) => return,
            (Outcome::Mirrored(_, UploadDisposition::Sent), _) => {
                totals.uploads += 1;
                totals.upload_bytes += bytes;
                self.sent.add(bytes, now);
                "upload"
            }
            (Outcome::Mirrored(_, UploadDisposition::Copied), _) => {
                totals.copies += 1;
                "copy"
            }
            (Outcome::Mirrored(_, effort), _) => {
                totals.unneeded += 1;
                if *effort == UploadDisposition::Found {
                    self.last_success = Some(now);
                }
                return;
            }
            (Outcome::Deleted, _) => {
                totals.deletes += 1;
                "delete"
            }
            (Outcome::Failed(_), operation) => {
                totals.failures += 1;
                if operation == Operation::Put { "upload" } else { "delete" }
            }
        };
        let failure = match outcome {
            Outcome::Failed(failure) => Some(failure.code.clone()),
            _ => None,
        };
        if failure.is_none() {
            self.last_success = Some(now);
            self.lags.add(lease.lane, now.saturating_sub(lease.pending.since));
        }
        self.recent.truncate(RECENT_MAX - 1);
        let path = lease.pending.path.clone();
        self.recent.push_front(FinishedOperation { at: now, what, path, bytes, failure });
    }

    /// A comparison begins.
    pub(super) fn comparing(&mut self, range: &ScanScope, now: UnixMillis) {
        if range.is_everything() {
            self.began = Some(now);
        }
    }

    /// A comparison has ended.
    pub(super) fn compared(&mut self, range: &ScanScope, summary: &Summary, now: UnixMillis) {
        if !range.is_everything() {
            return;
        }
        let took = now.saturating_sub(self.began.take().unwrap_or(now));
        let took = Duration::from_millis(took);
        // Their names are in the log.
        let summary = Summary {
            skipped: Vec::new(),
            unread: Vec::new(),
            linked: Vec::new(),
            ..summary.clone()
        };
        self.last_comparison = Some(ScanResult { ended: now, took, summary });
    }
}

/// What an engine leaves to the one that comes after it.
#[derive(Debug, Clone, Default)]
pub struct CarriedState {
    history: History,
    /// Whether the whole tree was compared.
    compared: bool,
    approved_until: Option<UnixMillis>,
    recent_deletes: RecentDeletes,
    linked: LinkedFiles,
}

impl CarriedState {
    /// What the process before left: deletes that count for a while longer.
    #[must_use]
    pub fn from_state(recent_deletes: RecentDeletes) -> Self {
        Self { recent_deletes, ..Self::default() }
    }

    /// The same where the directory was away meanwhile: what it was found to be, and the deletes that
    /// were approved because of that, count no more.
    #[must_use]
    pub fn after_a_loss(self) -> Self {
        let Self { history, recent_deletes, .. } = self;
        Self { history, recent_deletes, ..Self::default() }
    }
}

impl Engine {
    /// Goes on where another engine ended.
    pub fn resume(&mut self, carried: CarriedState) {
        let CarriedState { history, compared, approved_until, recent_deletes, linked } = carried;
        self.linked = linked;
        self.queue.set_recent_deletes(recent_deletes);
        self.report.history = history;
        self.compared_before = compared;
        self.queue.set_approved_until(approved_until);
    }

    /// What was done so far.
    #[must_use]
    pub fn into_carried_state(self) -> CarriedState {
        let compared = self.is_known();
        let approved_until = self.queue.approved_until();
        let recent_deletes = self.queue.recent_deletes().clone();
        let linked = self.linked;
        CarriedState {
            history: self.report.history,
            compared,
            approved_until,
            recent_deletes,
            linked,
        }
    }

    /// Whether the whole tree was compared, by this engine or the one whose place it took.
    fn is_known(&self) -> bool {
        self.has_compared() || self.compared_before
    }

    /// Remembers why S3 takes nothing.
    pub(super) fn note_outage(&mut self, outcome: &Outcome) {
        if self.queue.outage().is_none() {
            self.outage_cause = None;
        } else if let Outcome::Failed(failure) = outcome
            && matches!(
                failure.class,
                FailureClass::Unavailable | FailureClass::Throttled | FailureClass::Refused
            )
        {
            let sentence = failure.outage_sentence(&self.settings.endpoint);
            self.outage_cause = Some((failure.code.clone(), sentence));
        }
    }

    /// Why S3 takes nothing, as a sentence, if that is so.
    #[must_use]
    pub fn outage_sentence(&self) -> Option<&str> {
        self.queue.outage()?;
        self.outage_cause.as_ref().map(|(_, sentence)| sentence.as_str())
    }

    /// The status at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let phase = match self.is_known() {
            _ if self.is_stopping() => Phase::Stopping,
            _ if self.ending => Phase::Ending,
            true => Phase::Mirroring,
            false => Phase::Comparing,
        };
        let outage = self.queue.outage().zip(self.queue.outage_since());
        Snapshot {
            phase,
            source_problem: None,
            watch: self.watch,
            counts: self.queue.counts(),
            survey: self.survey.clone(),
            settling: self.settle.len() + self.looks.len(),
            running: self.queue.running().min(self.concurrency()),
            prepared: self.queue.running().saturating_sub(self.concurrency()),
            concurrency: self.concurrency(),
            gaps: self.gaps(),
            unread: self.unread.named(),
            source_empty: self.emptied.is_some(),
            deletes_held: self.queue.deletes_wait(),
            deleted_lately: self.queue.deleted_lately(),
            outage: outage.map(|(class, since)| {
                let (code, cause) = self.outage_cause.clone().unwrap_or_default();
                Outage { class, code, cause, since }
            }),
            comparing: self.comparing.is_some(),
            history: self.report.history.clone(),
        }
    }
}
