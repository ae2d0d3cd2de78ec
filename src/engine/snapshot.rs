//! What the engine tells of itself: plain data, taken a few times a second at most and only when
//! something has changed, for metrics, probes and the status page.
//!
//! File names stand in [`Done`] alone; whoever shows them decides whether they may be seen.

use super::{Engine, Sent};
use crate::detect::Coverage;
use crate::model::{Effort, FailureClass, Operation, Outcome, RelPath, UnixMillis};
use crate::queue::Lease;
use crate::reconcile::{Range, Summary};
use crate::store::{Counts, Survey};
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
    pub counts: Counts,
    /// How long the queue has waited, and why what is parked is.
    pub survey: Survey,
    /// Paths and directories that wait for quiet or are being looked at.
    pub settling: usize,
    /// Tries under way.
    pub running: usize,
    /// Whether deletes wait for a person.
    pub deletes_held: bool,
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
    /// The watched directory is not there, or cannot be used.
    WaitingForSource,
    /// The tree is compared with the record for the first time.
    Comparing,
    /// Changes are mirrored as they come.
    Mirroring,
    /// It was told that it will have to stop soon.
    Ending,
    /// It was told to stop, and sends what there is.
    Stopping,
}

impl Phase {
    /// The name in JSON and on the status page.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
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
    pub mode: Mode,
    /// How much of the tree is watched.
    pub coverage: Coverage,
    /// Time between two comparisons of the whole tree.
    pub interval: Duration,
}

/// The ways of seeing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Comparing again and again; events of the kernel are welcome where there are any.
    #[default]
    Poll,
    /// By events of the kernel, with a comparison now and then behind them.
    Events,
}

impl Mode {
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Why.
    pub class: FailureClass,
    /// Since when.
    pub since: UnixMillis,
}

/// What was done since the process started, over all directories it has watched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// Sums.
    pub totals: Totals,
    /// How much was sent lately.
    pub sent: Sent,
    /// When an operation last succeeded.
    pub last_success: Option<UnixMillis>,
    /// The last comparison of the whole tree.
    pub last_comparison: Option<Comparison>,
    /// The latest operations, the newest first.
    pub recent: VecDeque<Done>,
    /// When the comparison of the whole tree that is under way began.
    began: Option<UnixMillis>,
}

/// Sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
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

/// A comparison of the whole tree with the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// When it ended.
    pub ended: UnixMillis,
    /// How long it took.
    pub took: Duration,
    /// What it saw.
    pub summary: Summary,
}

/// An operation that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
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
    pub(super) fn ended(&mut self, lease: &Lease, outcome: &Outcome, now: UnixMillis) {
        let totals = &mut self.totals;
        let bytes = lease.pending.version.size;
        let what = match (outcome, lease.pending.operation) {
            (Outcome::LookAgain(_), _) => return,
            (Outcome::Mirrored(_, Effort::Sent), _) => {
                totals.uploads += 1;
                totals.upload_bytes += bytes;
                self.sent.add(bytes, now);
                "upload"
            }
            (Outcome::Mirrored(_, Effort::Copied), _) => {
                totals.copies += 1;
                "copy"
            }
            (Outcome::Mirrored(_, effort), _) => {
                totals.unneeded += 1;
                if *effort == Effort::Found {
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
        }
        self.recent.truncate(RECENT_MAX - 1);
        let path = lease.pending.path.clone();
        self.recent.push_front(Done { at: now, what, path, bytes, failure });
    }

    /// A comparison begins.
    pub(super) fn comparing(&mut self, range: &Range, now: UnixMillis) {
        if range.is_everything() {
            self.began = Some(now);
        }
    }

    /// A comparison has ended.
    pub(super) fn compared(&mut self, range: &Range, summary: &Summary, now: UnixMillis) {
        if !range.is_everything() {
            return;
        }
        let took = now.saturating_sub(self.began.take().unwrap_or(now));
        let took = Duration::from_millis(took);
        // Their names are in the log.
        let summary = Summary { skipped: Vec::new(), ..summary.clone() };
        self.last_comparison = Some(Comparison { ended: now, took, summary });
    }
}

/// What an engine leaves to the one that comes after it.
#[derive(Debug, Clone, Default)]
pub struct Legacy {
    history: History,
    /// Whether the whole tree was compared.
    compared: bool,
    approved_until: Option<UnixMillis>,
}

impl Legacy {
    /// The same where the directory was away meanwhile: what it was found to be, and the deletes that
    /// were approved because of that, count no more.
    #[must_use]
    pub fn after_a_loss(self) -> Self {
        Self { history: self.history, ..Self::default() }
    }
}

impl Engine {
    /// Goes on where another engine ended.
    pub fn resume(&mut self, legacy: Legacy) {
        let Legacy { history, compared, approved_until } = legacy;
        self.report.history = history;
        self.compared_before = compared;
        self.queue.set_approved_until(approved_until);
    }

    /// What was done so far.
    #[must_use]
    pub fn into_legacy(self) -> Legacy {
        let compared = self.is_known();
        let approved_until = self.queue.approved_until();
        Legacy { history: self.report.history, compared, approved_until }
    }

    /// Whether the whole tree was compared, by this engine or the one whose place it took.
    fn is_known(&self) -> bool {
        self.has_compared() || self.compared_before
    }

    /// What there is to tell at this moment.
    #[must_use]
    pub fn snapshot(&self, watch: Watch) -> Snapshot {
        let phase = match self.is_known() {
            _ if self.stopping => Phase::Stopping,
            _ if self.ending => Phase::Ending,
            true => Phase::Mirroring,
            false => Phase::Comparing,
        };
        let outage = self.queue.outage().zip(self.queue.outage_since());
        Snapshot {
            phase,
            source_problem: None,
            watch,
            counts: self.queue.counts(),
            survey: self.survey.clone(),
            settling: self.settle.len() + self.looks.len(),
            running: self.queue.running(),
            deletes_held: self.queue.deletes_wait(),
            outage: outage.map(|(class, since)| Outage { class, since }),
            comparing: self.comparing.is_some(),
            history: self.report.history.clone(),
        }
    }
}
