//! What a single run would do: the same looks, decisions and tries on a copy of the record, with a
//! store that is only asked.
//!
//! What a change of one path means for another one (a file that was renamed, too many deletes) stands
//! in the copy, as it would in the record. Memory does not grow with the tree.

use super::budget::{FileBudget, is_waiting_put};
use super::run::perform_look;
use super::run::tries::perform_tries;
use super::settings::BELOW_MIN_AGE;
use super::wanted::PlannedChange;
use super::{EngineSettings, Event, LookFailure};
use crate::blocking_pool::BlockingPool;
use crate::filter::Filter;
use crate::look::Inspection;
use crate::model::{
    ABOVE_MAX_FILES, DELETE_DELAYED, FailureClass, ObjectRecord, Operation, Outcome, QueueRow,
    RelPath, UnixMillis, UploadDisposition,
};
use crate::plan::FileState;
use crate::queue::{Attempt, Lane, Queue, QueueSettings};
use crate::reconcile::{Expected, ReportError, ScanScope, ScanTask, Summary, UnreadPath};
use crate::root::Root;
use crate::settle::ReadyPath;
use crate::store::{Change, RecordedState, StateCounts, Store};
use crate::transfer::{self, ObjectStore, Transfer, is_rehearsed};
use futures_util::{StreamExt, stream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Batches of differences the comparison may be ahead.
const DIFFERENCES_MAX: usize = 4;
/// Files that are read at once, to know whether they would be sent.
const READS_MAX: usize = 8;
/// Looks at a path that changes while it is looked at.
const LOOKS_MAX: usize = 3;
/// Time between two words on how far it is.
const PROGRESS: Duration = Duration::from_millis(200);

/// What a preview works with.
#[derive(Debug)]
pub struct PlanInputs<S> {
    /// The watched directory.
    pub root: Arc<Root>,
    /// Which names are mirrored.
    pub filter: Arc<Filter>,
    /// A copy of the record.
    pub store: Store,
    /// The way to a bucket that is only asked.
    pub transfer: Arc<Transfer<S>>,
    /// Who looks at paths: [`looking`](super::looking).
    pub looking: Arc<BlockingPool>,
    /// What a single run would go by.
    pub settings: EngineSettings,
}

/// What would be done about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedAction {
    /// The file is sent.
    Upload,
    /// The object is copied within S3, from that of this path.
    Copy(RelPath),
    /// The object is deleted.
    Delete,
    /// The object would be deleted later.
    Delay,
    /// The object would be deleted, but more would be than the limits allow.
    Hold,
    /// Nothing can be done until the file changes.
    Leave,
}

/// One thing that would be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanStep {
    /// About what.
    pub path: RelPath,
    /// What.
    pub doing: PlannedAction,
    /// Bytes of the file.
    pub size: u64,
    /// Why.
    pub reason: String,
}

/// An event of a running preview.
#[derive(Debug)]
pub enum PlanEvent {
    /// One more step.
    Step(PlanStep),
    /// So many files were compared.
    Compared(u64),
}

/// What there is in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanTotals {
    /// Files in the directory.
    pub files: u64,
    /// Files that would be read, found to be in the bucket as they are, and only recorded.
    pub recorded: u64,
    /// What could not be read.
    pub unreadable: u64,
}

type PlanReporter<'a> = &'a mut (dyn FnMut(PlanEvent) + Send);

impl<S: ObjectStore> PlanInputs<S> {
    /// Reports every step of a single run: first uploads and copies, then the rest.
    ///
    /// # Errors
    ///
    /// If it cannot be known. What was reported until then is valid.
    pub async fn run(&self, report: PlanReporter<'_>) -> Result<PlanTotals, ReportError> {
        self.transfer.prepare().await.map_err(ReportError::Asked)?;
        let mut totals = PlanTotals::default();
        let mut after = None;
        loop {
            // What waits is tried, whether a comparison finds it or not.
            let rows = self.store.queued_after(after).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.path.clone());
            let paths = rows.into_iter().map(|row| row.path).collect();
            self.consider(paths, &mut totals, report).await?;
        }
        let found = self.compare(&mut totals, report).await?;
        totals.files = found.files;
        totals.unreadable = found.unreadable;
        report_unread(found, report);
        self.report_rest(report).await?;
        Ok(totals)
    }

    async fn compare(
        &self,
        totals: &mut PlanTotals,
        report: PlanReporter<'_>,
    ) -> Result<Summary, ReportError> {
        let expected = Expected::new(self.settings.policy.epoch, self.settings.reapply.clone());
        let visited = Arc::clone(&expected.visited);
        let comparison = ScanTask {
            root: Arc::clone(&self.root),
            store: self.store.clone(),
            filter: Arc::clone(&self.filter),
            expected,
            range: ScanScope::everything(),
        };
        let (mut differences, comparing) = comparison.start(DIFFERENCES_MAX);
        let mut progress = tokio::time::interval(PROGRESS);
        loop {
            tokio::select! {
                paths = differences.recv() => match paths {
                    Some(paths) => self.consider(paths, totals, report).await?,
                    None => break,
                },
                _ = progress.tick() => report(PlanEvent::Compared(visited.load(Ordering::Relaxed))),
            }
        }
        Ok(comparing.end().await?)
    }

    /// Looks at paths, and does in the copy what would be done about them.
    async fn consider(
        &self,
        paths: Vec<RelPath>,
        totals: &mut PlanTotals,
        report: PlanReporter<'_>,
    ) -> Result<(), ReportError> {
        let mut left = paths;
        for _ in 0..LOOKS_MAX {
            let looked = self.look(std::mem::take(&mut left)).await?;
            let mut changes = Vec::new();
            let mut budget = self.budget().await?;
            let mut puts = Vec::new();
            for (looked, known) in looked {
                if looked.unsettled {
                    left.push(looked.rested.path);
                    continue;
                }
                match self.decide(looked, &known, &mut budget) {
                    PreviewDecision::Change(change) => changes.extend(change),
                    PreviewDecision::Put(put) => puts.push((*put, known)),
                }
            }
            self.store.write(changes).await?;
            let tries = puts.into_iter().map(|(put, known)| self.rehearse(put, known));
            let mut tries = stream::iter(tries).buffered(READS_MAX);
            while let Some(tried) = tries.next().await {
                let PutPreview { change, step, again } = tried?;
                totals.recorded +=
                    u64::from(step.is_none() && matches!(change, Change::Mirrored(..)));
                self.store.write(vec![change]).await?;
                left.extend(again);
                if let Some(step) = step {
                    report(PlanEvent::Step(step));
                }
            }
            if left.is_empty() {
                break;
            }
        }
        Ok(())
    }

    async fn look(
        &self,
        paths: Vec<RelPath>,
    ) -> Result<Vec<(Inspection, RecordedState)>, ReportError> {
        let paths = paths.into_iter().map(ReadyPath::as_it_is).collect();
        let root = Arc::clone(&self.root);
        let looking = Arc::clone(&self.looking);
        match perform_look(looking, root, self.store.clone(), paths).await {
            Event::Looked(looked) => Ok(looked),
            Event::LookFailed(_, LookFailure::Source(gone)) => Err(gone.into()),
            Event::LookFailed(_, LookFailure::Store(why)) => Err(ReportError::Look(why)),
            _ => Err(ReportError::Look("nothing came of it".to_owned())),
        }
    }

    /// The new files that there may still be, with the sizes of the copy.
    async fn budget(&self) -> Result<(FileBudget, StateCounts), ReportError> {
        let max = self.settings.max_files;
        let mut counts = StateCounts::default();
        if max.is_some() {
            counts = self.store.write(Vec::new()).await?;
            // The run goes on when they are deleted.
            counts.mirrored = counts.mirrored.saturating_sub(counts.deletes);
        }
        Ok((FileBudget::new(max), counts))
    }

    fn decide(
        &self,
        looked: Inspection,
        known: &RecordedState,
        (budget, counts): &mut (FileBudget, StateCounts),
    ) -> PreviewDecision {
        let adds_a_file = self.settings.adds_a_file(&looked, known);
        let path = looked.rested.path;
        match self.settings.wanted(&path, &looked.observed, known, 0, looked.at_ns) {
            PlannedChange::Do(mut wish, reason) => {
                // What waits in the copy is reported at the end, with the reason.
                wish.error = Some(reason.to_owned());
                let FileState::File(fingerprint) = looked.observed else {
                    let row = self.delayed(wish, known, looked.at_ns);
                    return PreviewDecision::Change(Some(Change::Queue(row)));
                };
                let waiting = is_waiting_put(known);
                let admitted = !adds_a_file || budget.admits(*counts, 1, waiting) == Some(true);
                if !admitted {
                    let row = QueueRow { parked: Some(ABOVE_MAX_FILES.to_owned()), ..wish };
                    return PreviewDecision::Change(Some(Change::Queue(row)));
                }
                let epoch = self.settings.policy.epoch;
                let head = self.settings.head(&path);
                let crc64nvme = 0;
                let etag = None;
                let racy = false;
                let sent = ObjectRecord { fingerprint, crc64nvme, etag, racy, epoch, head };
                PreviewDecision::Put(Box::new(PreviewPut { wish, reason, sent }))
            }
            PlannedChange::Nothing => {
                PreviewDecision::Change(known.pending.as_ref().map(|_| Change::Settled(path)))
            }
            PlannedChange::Later(wish, ..) => {
                let row = QueueRow { parked: Some(BELOW_MIN_AGE.to_owned()), ..wish };
                PreviewDecision::Change(Some(Change::Queue(row)))
            }
            PlannedChange::Leave(wish, _, why) => {
                let row = QueueRow { parked: Some(why), ..wish };
                PreviewDecision::Change(Some(Change::Queue(row)))
            }
        }
    }

    /// The row of a delete, which may have a delay; `now_ns` is the wall clock.
    fn delayed(&self, wish: QueueRow, known: &RecordedState, now_ns: i64) -> QueueRow {
        let delay_ms = self.settings.queue.delete_delay_ms;
        let now = UnixMillis::try_from(now_ns / 1_000_000).unwrap_or(0);
        let due = match known.pending.as_ref().filter(|row| row.operation == Operation::Delete) {
            Some(row) if row.parked.is_none() => 0,
            Some(row) if row.is_delayed() => row.next_try.min(now + delay_ms),
            _ if delay_ms > 0 => now + delay_ms,
            _ => 0,
        };
        if wish.operation != Operation::Delete || due <= now {
            return wish;
        }
        let left = (due - now).div_ceil(1000);
        let error = Some(format!("delayed: due in {left} s"));
        QueueRow { parked: Some(DELETE_DELAYED.to_owned()), next_try: due, error, ..wish }
    }

    /// Tries to put a file, without anything being made.
    async fn rehearse(
        &self,
        put: PreviewPut,
        known: RecordedState,
    ) -> Result<PutPreview, ReportError> {
        let PreviewPut { wish, reason, sent } = put;
        let path = wish.path.clone();
        let from = wish.copy_from.clone();
        let size = wish.version.size;
        let sent_before = known.pending.as_ref().and_then(|pending| pending.sent);
        // Wanted by this run, as far as it matters.
        let lease = Attempt { pending: wish, sent_before, queued: 1, lane: Lane::Backlog };
        let row = transfer::AttemptRecord {
            mirrored: known.mirrored,
            listed: known.listed,
            ..transfer::AttemptRecord::default()
        };
        let step = |doing| {
            let path = path.clone();
            let reason = reason.to_owned();
            Some(PlanStep { path, doing, size, reason })
        };
        let mirrored = |mirrored, step, again| {
            Ok(PutPreview { change: Change::Mirrored(path.clone(), mirrored), step, again })
        };
        if Transfer::<S>::must_upload(&lease, &row) {
            return mirrored(sent, step(PlannedAction::Upload), None);
        }
        let epoch = sent.epoch;
        let wish = lease.pending.clone();
        let tries =
            perform_tries(&self.transfer, &self.store, epoch, vec![lease], None, None).await;
        let left = |why: String| {
            let row = QueueRow { parked: Some(why), ..wish };
            Ok(PutPreview { change: Change::Queue(row), step: None, again: None })
        };
        match tries.into_iter().next().map(|(_, attempted)| attempted.outcome) {
            Some(Outcome::Mirrored(found, effort)) => {
                // Once is enough here.
                let found = ObjectRecord { racy: false, ..found };
                let step = match effort {
                    UploadDisposition::Sent => step(PlannedAction::Upload),
                    UploadDisposition::Copied => {
                        step(PlannedAction::Copy(from.clone().unwrap_or(path.clone())))
                    }
                    UploadDisposition::Unchanged | UploadDisposition::Found => None,
                };
                // Its delete counts as one of a moved file from now on.
                mirrored(found, step, from)
            }
            Some(Outcome::Failed(failure)) if is_rehearsed(&failure) => {
                mirrored(sent, step(PlannedAction::Upload), from)
            }
            Some(Outcome::Failed(failure))
                if !matches!(failure.class, FailureClass::File | FailureClass::Read) =>
            {
                Err(ReportError::Asked(failure))
            }
            Some(Outcome::Failed(failure)) => left(failure.message),
            Some(Outcome::LookAgain(why)) => left(why.to_owned()),
            Some(Outcome::Deleted | Outcome::Yielded) | None => {
                left("it cannot be read".to_owned())
            }
        }
    }

    /// What is left in the queue of the copy: deletes, and what cannot be done.
    async fn report_rest(&self, report: PlanReporter<'_>) -> Result<(), ReportError> {
        let counts: StateCounts = self.store.write(Vec::new()).await?;
        // All of them would be wanted by this run, whenever they are due.
        let undelayed = QueueSettings { delete_delay_ms: 0, ..self.settings.queue.clone() };
        let delayed = counts.delayed.saturating_sub(counts.delayed_moved);
        let counts = StateCounts { deletes: counts.deletes + delayed, ..counts };
        let held = Queue::new(undelayed, counts).deletes_held();
        let mut after = None;
        loop {
            let rows = self.store.queued_after(after).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.path.clone());
            for row in rows {
                let is_delayed = row.is_delayed();
                let doing = match (&row.parked, row.operation) {
                    _ if is_delayed && held => PlannedAction::Hold,
                    _ if is_delayed => PlannedAction::Delay,
                    (None, Operation::Delete) if held => PlannedAction::Hold,
                    (None, Operation::Delete) => PlannedAction::Delete,
                    (_, Operation::Put | Operation::Delete) => PlannedAction::Leave,
                };
                let reason = if row.moved { Some("moved".to_owned()) } else { None };
                let parked = row.parked.filter(|_| !is_delayed);
                let reason = parked.or(reason).or(row.error).unwrap_or_default();
                let path = row.path;
                let size = row.version.size;
                report(PlanEvent::Step(PlanStep { path, doing, size, reason }));
            }
        }
    }
}

/// What could not be read is left: nothing is known of what lies there.
fn report_unread(found: Summary, report: PlanReporter<'_>) {
    for UnreadPath { path, why, .. } in found.unread {
        report(PlanEvent::Step(PlanStep {
            path,
            doing: PlannedAction::Leave,
            size: 0,
            reason: why,
        }));
    }
}

/// What a look at a path leads to.
enum PreviewDecision {
    /// A change of the copy.
    Change(Option<Change>),
    /// A file that may have to be sent.
    Put(Box<PreviewPut>),
}

/// A file that may have to be sent.
struct PreviewPut {
    wish: QueueRow,
    reason: &'static str,
    /// What the record would say of it then.
    sent: ObjectRecord,
}

/// What became of it.
struct PutPreview {
    change: Change,
    /// Nothing where the object is there already.
    step: Option<PlanStep>,
    /// To be looked at once more.
    again: Option<RelPath>,
}
