//! What a single run would do: the same looks, decisions and tries on a copy of the record, with a
//! store that is only asked.
//!
//! What a change of one path means for another one (a file that was renamed, too many deletes) stands
//! in the copy, as it would in the record. Memory does not grow with the tree.

use super::run::perform_look;
use super::run::tries::perform_tries;
use super::wanted::Wanted;
use super::{Event, LookFailure, Settings};
use crate::filter::Filter;
use crate::look::Looked;
use crate::model::{Effort, FailureClass, Mirrored, Operation, Outcome, Pending, RelPath};
use crate::plan::Observed;
use crate::queue::{Lease, Queue};
use crate::reconcile::{Comparison, Expected, Range, ReportError, Summary};
use crate::root::Root;
use crate::settle::Rested;
use crate::store::{Change, Counts, Known, Store};
use crate::threads::Threads;
use crate::transfer::{self, Journal, ObjectStore, Transfer, is_rehearsed};
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
pub struct Preview<S, J> {
    /// The watched directory.
    pub root: Arc<Root>,
    /// Which names are mirrored.
    pub filter: Arc<Filter>,
    /// A copy of the record.
    pub store: Store,
    /// The way to a bucket that is only asked.
    pub transfer: Arc<Transfer<S, J>>,
    /// Who looks at paths: [`looking`](super::looking).
    pub looking: Arc<Threads>,
    /// What a single run would go by.
    pub settings: Settings,
}

/// What would be done about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    /// The file is sent.
    Upload,
    /// The object is copied within S3, from that of this path.
    Copy(RelPath),
    /// The object is deleted.
    Delete,
    /// The object would be deleted, but more would be than the limits allow.
    Hold,
    /// Nothing can be done until the file changes.
    Leave,
}

/// One thing that would be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// About what.
    pub path: RelPath,
    /// What.
    pub doing: Doing,
    /// Bytes of the file.
    pub size: u64,
    /// Why.
    pub reason: String,
}

/// What a preview tells while it goes on.
#[derive(Debug)]
pub enum Told {
    /// One more step.
    Step(Step),
    /// So many files were compared.
    Compared(u64),
}

/// What there is in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files in the directory.
    pub files: u64,
    /// Files that would be read, found to be in the bucket as they are, and only recorded.
    pub recorded: u64,
    /// What could not be read.
    pub unreadable: u64,
}

type Tell<'a> = &'a mut (dyn FnMut(Told) + Send);

impl<S: ObjectStore, J: Journal> Preview<S, J> {
    /// Tells every step a single run would make: first what is sent and copied, then the rest.
    ///
    /// # Errors
    ///
    /// If it cannot be known. What was told until then is so.
    pub async fn run(&self, tell: Tell<'_>) -> Result<Totals, ReportError> {
        self.transfer.prepare().await.map_err(ReportError::Asked)?;
        let mut totals = Totals::default();
        let mut after = None;
        loop {
            // What waits is tried, whether a comparison finds it or not.
            let rows = self.store.queued_after(after).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.path.clone());
            let paths = rows.into_iter().map(|row| row.path).collect();
            self.consider(paths, &mut totals, tell).await?;
        }
        let found = self.compare(&mut totals, tell).await?;
        (totals.files, totals.unreadable) = (found.files, found.unreadable);
        self.tell_rest(tell).await?;
        Ok(totals)
    }

    async fn compare(&self, totals: &mut Totals, tell: Tell<'_>) -> Result<Summary, ReportError> {
        let expected = Expected::new(self.settings.policy.epoch, self.settings.reapply.clone());
        let visited = Arc::clone(&expected.visited);
        let comparison = Comparison {
            root: Arc::clone(&self.root),
            store: self.store.clone(),
            filter: Arc::clone(&self.filter),
            expected,
            range: Range::everything(),
        };
        let (mut differences, comparing) = comparison.start(DIFFERENCES_MAX);
        let mut progress = tokio::time::interval(PROGRESS);
        loop {
            tokio::select! {
                paths = differences.recv() => match paths {
                    Some(paths) => self.consider(paths, totals, tell).await?,
                    None => break,
                },
                _ = progress.tick() => tell(Told::Compared(visited.load(Ordering::Relaxed))),
            }
        }
        Ok(comparing.end().await?)
    }

    /// Looks at paths, and does in the copy what would be done about them.
    async fn consider(
        &self,
        paths: Vec<RelPath>,
        totals: &mut Totals,
        tell: Tell<'_>,
    ) -> Result<(), ReportError> {
        let mut left = paths;
        for _ in 0..LOOKS_MAX {
            let looked = self.look(std::mem::take(&mut left)).await?;
            let mut changes = Vec::new();
            let mut puts = Vec::new();
            for (looked, known) in looked {
                if looked.unsettled {
                    left.push(looked.rested.path);
                    continue;
                }
                match self.decide(looked, &known) {
                    Decided::Change(change) => changes.extend(change),
                    Decided::Put(put) => puts.push((*put, known)),
                }
            }
            self.store.write(changes).await?;
            let tries = puts.into_iter().map(|(put, known)| self.rehearse(put, known));
            let mut tries = stream::iter(tries).buffered(READS_MAX);
            while let Some(tried) = tries.next().await {
                let Rehearsal { change, step, again } = tried?;
                totals.recorded +=
                    u64::from(step.is_none() && matches!(change, Change::Mirrored(..)));
                self.store.write(vec![change]).await?;
                left.extend(again);
                if let Some(step) = step {
                    tell(Told::Step(step));
                }
            }
            if left.is_empty() {
                break;
            }
        }
        Ok(())
    }

    async fn look(&self, paths: Vec<RelPath>) -> Result<Vec<(Looked, Known)>, ReportError> {
        let paths = paths.into_iter().map(Rested::as_it_is).collect();
        let (root, looking) = (Arc::clone(&self.root), Arc::clone(&self.looking));
        match perform_look(looking, root, self.store.clone(), paths).await {
            Event::Looked(looked) => Ok(looked),
            Event::LookFailed(_, LookFailure::Source(gone)) => Err(gone.into()),
            Event::LookFailed(_, LookFailure::Store(why)) => Err(ReportError::Look(why)),
            _ => Err(ReportError::Look("nothing came of it".to_owned())),
        }
    }

    fn decide(&self, looked: Looked, known: &Known) -> Decided {
        let path = looked.rested.path;
        match self.settings.wanted(&path, &looked.observed, known, 0) {
            Wanted::Do(mut wish, reason) => {
                // What waits in the copy is told at the end, and why.
                wish.error = Some(reason.to_owned());
                let Observed::File(fingerprint) = looked.observed else {
                    return Decided::Change(Some(Change::Queue(wish)));
                };
                let (epoch, head) = (self.settings.policy.epoch, self.settings.head(&path));
                let (crc64nvme, etag, racy) = (0, None, false);
                let sent = Mirrored { fingerprint, crc64nvme, etag, racy, epoch, head };
                Decided::Put(Box::new(Put { wish, reason, sent }))
            }
            Wanted::Nothing => {
                Decided::Change(known.pending.as_ref().map(|_| Change::Settled(path)))
            }
            Wanted::Leave(wish, _, why) => {
                let row = Pending { parked: Some(why), ..wish };
                Decided::Change(Some(Change::Queue(row)))
            }
        }
    }

    /// Tries to put a file, without anything being made.
    async fn rehearse(&self, put: Put, known: Known) -> Result<Rehearsal, ReportError> {
        let Put { wish, reason, sent } = put;
        let (path, from, size) = (wish.path.clone(), wish.copy_from.clone(), wish.version.size);
        let sent_before = known.pending.as_ref().and_then(|pending| pending.sent);
        // Wanted by this run, as far as it matters.
        let lease = Lease { pending: wish, sent_before, queued: 1 };
        let row = transfer::Known {
            mirrored: known.mirrored,
            listed: known.listed,
            ..transfer::Known::default()
        };
        let step = |doing| {
            let (path, reason) = (path.clone(), reason.to_owned());
            Some(Step { path, doing, size, reason })
        };
        let mirrored = |mirrored, step, again| {
            Ok(Rehearsal { change: Change::Mirrored(path.clone(), mirrored), step, again })
        };
        if Transfer::<S, J>::sends_for_sure(&lease, &row) {
            return mirrored(sent, step(Doing::Upload), None);
        }
        let (epoch, wish) = (sent.epoch, lease.pending.clone());
        let tries =
            perform_tries(&self.transfer, &self.store, epoch, vec![lease], None, None).await;
        let left = |why: String| {
            let row = Pending { parked: Some(why), ..wish };
            Ok(Rehearsal { change: Change::Queue(row), step: None, again: None })
        };
        match tries.into_iter().next().map(|(_, outcome)| outcome) {
            Some(Outcome::Mirrored(found, effort)) => {
                // Once is enough here.
                let found = Mirrored { racy: false, ..found };
                let step = match effort {
                    Effort::Sent => step(Doing::Upload),
                    Effort::Copied => step(Doing::Copy(from.clone().unwrap_or(path.clone()))),
                    Effort::Unchanged | Effort::Found => None,
                };
                // Its delete counts as one of a moved file from now on.
                mirrored(found, step, from)
            }
            Some(Outcome::Failed(failure)) if is_rehearsed(&failure) => {
                mirrored(sent, step(Doing::Upload), from)
            }
            Some(Outcome::Failed(failure)) if failure.class != FailureClass::File => {
                Err(ReportError::Asked(failure))
            }
            Some(Outcome::Failed(failure)) => left(failure.message),
            Some(Outcome::LookAgain(why)) => left(why.to_owned()),
            Some(Outcome::Deleted) | None => left("it cannot be read".to_owned()),
        }
    }

    /// What is left in the queue of the copy: deletes, and what cannot be done.
    async fn tell_rest(&self, tell: Tell<'_>) -> Result<(), ReportError> {
        let counts: Counts = self.store.write(Vec::new()).await?;
        let held = Queue::new(self.settings.queue.clone(), counts).deletes_held();
        let mut after = None;
        loop {
            let rows = self.store.queued_after(after).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.path.clone());
            for row in rows {
                let doing = match (&row.parked, row.operation) {
                    (None, Operation::Delete) if held => Doing::Hold,
                    (None, Operation::Delete) => Doing::Delete,
                    (_, Operation::Put | Operation::Delete) => Doing::Leave,
                };
                let reason = if row.moved { Some("moved".to_owned()) } else { None };
                let reason = row.parked.or(reason).or(row.error).unwrap_or_default();
                let (path, size) = (row.path, row.version.size);
                tell(Told::Step(Step { path, doing, size, reason }));
            }
        }
    }
}

/// What a look at a path leads to.
enum Decided {
    /// A change of the copy.
    Change(Option<Change>),
    /// A file that may have to be sent.
    Put(Box<Put>),
}

/// A file that may have to be sent.
struct Put {
    wish: Pending,
    reason: &'static str,
    /// What the record would say of it then.
    sent: Mirrored,
}

/// What became of it.
struct Rehearsal {
    change: Change,
    /// Nothing where the object is there already.
    step: Option<Step>,
    /// To be looked at once more.
    again: Option<RelPath>,
}
