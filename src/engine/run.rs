//! The loop: waits for what happens next, has the engine say what to do, and has it done.
//!
//! Each effect is a task that ends in an event. The loop ends when the engine is drained or the
//! deadline has passed; tasks that are still under way are dropped then, which is as safe as a kill.

mod delayed;
mod overlap;
mod remote;
mod requests;
mod rescan;
mod sweeping;
mod takeover;
pub(super) mod tries;

pub use rescan::RescanTimer;

use super::control::{ControlError, ControlRequests, FlushWaiters};
use super::publish::Publisher;
use super::snapshot::Snapshot;
use super::{
    Effect, Engine, EngineCommand, EngineObserver, EngineTime, Event, LookFailure, StopRequest,
};
use crate::blocking_pool::BlockingPool;
use crate::detect::{Detector, Hints};
use crate::filter::Filter;
use crate::hints::RemoteHints;
use crate::look::{Inspection, look};
use crate::model::{Hint, Operation, RootGeneration, TraceSettings};
use crate::plan::FileState;
use crate::queue::Attempt;
use crate::reconcile::{Expected, ScanScope, ScanTask};
use crate::root::Root;
use crate::rules::Rules;
use crate::settle::ReadyPath;
use crate::store::{Change, CommitReceipt, StateLookup, Store, StoreError};
use crate::sweep::Sweeper;
use crate::transfer::{ObjectStore, Transfer};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tracing::Instrument as _;
use tries::{AttemptPermit, known_of, questions};

/// Batches of differences a comparison may be ahead of the engine.
const DIFFERENCES_MAX: usize = 4;
/// Wait before a commit that failed is tried again: the disk is full, or read-only.
const WRITE_RETRY: Duration = Duration::from_secs(2);

/// Tries that are under way may end within this time when the parts are exchanged. Larger uploads go on
/// where they were.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(30);

/// What the loop works with.
#[derive(Debug)]
pub struct LoopInputs<S> {
    /// The watched directory.
    pub root: Arc<Root>,
    /// Which names are mirrored.
    pub filter: Arc<Filter>,
    /// The record.
    pub store: Store,
    /// The way to the bucket.
    pub transfer: Arc<Transfer<S>>,
    /// The watched directory, counted.
    pub epoch: RootGeneration,
    /// Rules that objects which are there have to follow as well.
    pub reapply: Option<Arc<Rules>>,
    /// Who looks at paths: [`looking`](super::looking).
    pub looking: Arc<BlockingPool>,
    /// Watches the directory, and gives hints; none where it is polled or compared once.
    pub watching: Option<(Arc<Detector>, Hints)>,
    /// Time between two scans of the whole tree: while every change gives an event, and while not.
    pub rescan: RescanTimer,
    /// Publishes engine snapshots.
    pub snapshots: watch::Sender<Snapshot>,
    /// Receives attempts and scans for metrics and traces.
    pub observer: Arc<dyn EngineObserver>,
    /// How changes are named in the log and in traces.
    pub tracing: TraceSettings,
}

/// The signals that end the loop.
pub struct StopSignals {
    /// Resolves when everything that happened before the request is in the hints, as far as they
    /// cover it.
    pub requested: Pin<Box<dyn Future<Output = StopRequest> + Send>>,
    /// Resolves when there is no more time.
    pub expired: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Resolves when the loop is to go on with other parts.
    pub replaced: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl std::fmt::Debug for StopSignals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stop").finish_non_exhaustive()
    }
}

/// Why the loop has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// Nothing was left to do.
    Drained,
    /// There was no more time.
    Expired,
    /// The watched directory is not what it was; the text says how.
    SourceLost(String),
    /// Other parts are to take over, and nothing is under way.
    Replaced,
    /// The detector has ended, and nothing would be noticed any more.
    DetectorLost,
}

/// Runs `engine` until it is stopped, or cannot continue.
pub async fn run<S: ObjectStore>(
    engine: &mut Engine,
    parts: LoopInputs<S>,
    requests: &mut ControlRequests,
    mut stop: StopSignals,
) -> RunEnd {
    let (comparison, mut compared) = mpsc::channel(DIFFERENCES_MAX);
    let mut work = EffectRunner::new(parts, comparison);
    let (detector, mut hints) = work.parts.watching.take().unzip();
    let mut publisher = Publisher::new(work.parts.snapshots.clone());
    work.start_takeover();
    work.review_overlaps();
    let mut stopping = false;
    let mut handover = None;
    let mut events = Vec::new();
    let end = loop {
        if let Some(end) = work.publish(engine, &mut publisher, detector.as_deref()).await {
            break end;
        }
        let asked = work.answer_flushes(engine).into_iter().chain(work.inspect_awaited()).min();
        let due = [engine.next_tick(), publisher.due(), asked, handover];
        let tick = due.into_iter().flatten().min().map(|due| work.started + due);
        let event = tokio::select! {
            biased;
            () = &mut stop.expired => break RunEnd::Expired,
            request = &mut stop.requested, if !stopping => {
                (stopping, handover) = (true, None);
                Event::Stop(request)
            }
            () = &mut stop.replaced, if !stopping && handover.is_none() => {
                engine.hold();
                handover = Some(work.started.elapsed() + HANDOVER_PATIENCE);
                Event::Tick
            }
            Some(request) = requests.recv() => match work.request(request, engine, &detector) {
                Some(event) => event,
                None => continue,
            },
            Some(ended) = work.tasks.join_next() => match of_task(ended) {
                Some(event) => event,
                None => continue,
            },
            next = next_hints(&mut hints) => match next {
                Some(hints) => work.hinted(hints),
                None => break RunEnd::DetectorLost,
            },
            Some(event) = compared.recv(), if engine.has_room() => event,
            event = sweeping::next_hints(&mut work.sweeper), if !stopping && engine.has_room() => event,
            () = sleep_until(tick) => Event::Tick,
        };
        publisher.note_event(&event);
        match &event {
            // What the detector received before the request comes before it here, too.
            Event::Stop(_) | Event::Asked(EngineCommand::Flush { .. }) => {
                events.extend(hints.iter_mut().flat_map(hints_now))
            }
            _ => events.extend(work.on_event(&event)),
        }
        events.push(event);
        if let Some(end) = work.apply_all(engine, events.drain(..)).await {
            break end;
        }
        if handover.is_some_and(|until| engine.is_at_rest() || work.started.elapsed() >= until) {
            work.waiting.refuse(ControlError::Reconfigured);
            break RunEnd::Replaced;
        }
    };
    publisher.publish_now(engine);
    end
}

/// What came of a task.
fn of_task(ended: Result<Option<Event>, JoinError>) -> Option<Event> {
    // A task that panicked is a bug; its work is found again after a restart.
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// All hints that are there.
fn hints_now(hints: &mut Hints) -> impl Iterator<Item = Event> {
    std::iter::from_fn(|| Some(hints.now()).filter(|hints| !hints.is_empty())).map(Event::Hinted)
}

async fn next_hints(hints: &mut Option<Hints>) -> Option<Vec<Hint>> {
    match hints {
        Some(hints) => hints.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(tick: Option<Instant>) {
    match tick {
        Some(tick) => tokio::time::sleep_until(tick).await,
        None => std::future::pending().await,
    }
}

struct EffectRunner<S> {
    parts: LoopInputs<S>,
    /// Differences, and the end of a comparison after the last of them.
    comparison: mpsc::Sender<Event>,
    tasks: JoinSet<Option<Event>>,
    started: Instant,
    /// Commits handed in.
    writes: u64,
    waiting: FlushWaiters,
    /// When flushes are looked after next.
    next_check: Duration,
    /// Sweeps between scans, if events may not report every change.
    sweeper: Option<Sweeper>,
    /// Hints of other nodes that are not done with.
    remote: RemoteHints,
}

impl<S: ObjectStore> EffectRunner<S> {
    fn new(parts: LoopInputs<S>, comparison: mpsc::Sender<Event>) -> Self {
        let started = Instant::now();
        let sweeper = sweeping::start(&parts, started);
        Self {
            parts,
            sweeper,
            remote: RemoteHints::default(),
            comparison,
            tasks: JoinSet::new(),
            started,
            writes: 0,
            waiting: FlushWaiters::default(),
            next_check: Duration::ZERO,
        }
    }

    /// Publishes a snapshot if it is time, after the engine knows how changes are seen now.
    async fn publish(
        &mut self,
        engine: &mut Engine,
        publisher: &mut Publisher,
        detector: Option<&Detector>,
    ) -> Option<RunEnd> {
        self.adapt_sweeps(engine, detector);
        let watch = self.parts.rescan.watch(detector, self.sweeper.as_ref());
        let watched = (engine.watch() != watch).then_some(Event::Watched(watch));
        let requests = self.parts.transfer.concurrency();
        let allowed = (engine.concurrency() != requests).then_some(Event::Concurrency(requests));
        for event in watched.into_iter().chain(allowed) {
            publisher.note_event(&event);
            let end = self.apply_all(engine, std::iter::once(event)).await;
            if end.is_some() {
                return end;
            }
        }
        if publisher.publish(engine, self.started.elapsed()) {
            self.survey();
        }
        None
    }

    /// Does what an event entails whatever the engine makes of it.
    fn on_event(&mut self, event: &Event) -> Option<Event> {
        if let Event::Reviewed { again: true } = event {
            self.relist_later();
        }
        self.note_inspections(event);
        self.note_for_sweeps(event)
    }

    /// Has the engine say what to do about `events`, and does it.
    async fn apply_all(
        &mut self,
        engine: &mut Engine,
        events: impl Iterator<Item = Event>,
    ) -> Option<RunEnd> {
        for event in events {
            let now = EngineTime { elapsed: self.started.elapsed(), jitter: fastrand::f64() };
            for effect in engine.apply(event, now) {
                if let Effect::SourceLost(reason) = effect {
                    return Some(RunEnd::SourceLost(reason));
                }
                self.perform(effect).await;
            }
        }
        engine.is_drained().then_some(RunEnd::Drained)
    }

    async fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Look(paths) => {
                let root = Arc::clone(&self.parts.root);
                let store = self.parts.store.clone();
                let threads = Arc::clone(&self.parts.looking);
                let looking = perform_look(threads, root, store, paths);
                self.tasks.spawn(async move { Some(looking.await) });
            }
            Effect::Compare(range) => self.compare(range),
            Effect::Write(changes, leases) => self.write(changes, leases).await,
            Effect::Refill(limit) => {
                let store = self.parts.store.clone();
                self.tasks.spawn(async move {
                    match store.due(limit).await {
                        Ok((rows, _)) => Some(Event::Refilled(rows)),
                        Err(error) => {
                            super::report::store_failed(&error.to_string());
                            tokio::time::sleep(WRITE_RETRY).await;
                            Some(Event::Refilled(Vec::new()))
                        }
                    }
                });
            }
            Effect::ReadDelayed(until, after) => self.read_delayed(until, after),
            Effect::Abandon(note) => {
                let transfer = Arc::clone(&self.parts.transfer);
                self.tasks.spawn(async move {
                    if let Err(failure) = transfer.abandon(&note).await {
                        super::report::not_abandoned(&note, &failure);
                    }
                    None
                });
            }
            Effect::SourceLost(_) => {}
        }
    }

    fn survey(&mut self) {
        let store = self.parts.store.clone();
        self.tasks.spawn(async move {
            // The operation that needs it reports what cannot be read.
            Some(Event::Surveyed(store.survey().await.unwrap_or_default()))
        });
    }

    fn compare(&mut self, range: ScanScope) {
        let LoopInputs { root, filter, store, epoch, reapply, .. } = &self.parts;
        let directories = self.sweeper.as_ref().map(|sweeper| sweeper.memory().clone());
        let comparison = ScanTask {
            root: Arc::clone(root),
            store: store.clone(),
            filter: Arc::clone(filter),
            expected: Expected { directories, ..Expected::new(*epoch, reapply.clone()) },
            range,
        };
        let to = self.comparison.clone();
        let observer = Arc::clone(&self.parts.observer);
        self.tasks.spawn_blocking(move || {
            let began = Instant::now();
            let result = comparison.send(&to, Event::Differing);
            let range = comparison.range;
            observer.compared(&range, began.elapsed(), result.as_ref().ok());
            // An error means that the loop has ended.
            drop(to.blocking_send(Event::Compared(range, result)));
            None
        });
    }

    /// Hands the changes in here, so that the record gets them in the order they came about.
    async fn write(&mut self, changes: Vec<Change>, leases: Vec<Attempt>) {
        self.writes += 1;
        let number = self.writes;
        let (deletes, puts): (Vec<_>, Vec<_>) =
            leases.into_iter().partition(|lease| lease.pending.operation == Operation::Delete);
        let together = (!deletes.is_empty()).then_some(deletes);
        let tries: Vec<_> = puts.into_iter().map(|put| vec![put]).chain(together).collect();
        // Before the bucket was listed the record does not know yet what the tries have to know.
        let prepared = self.parts.transfer.is_prepared();
        let asked = if prepared { questions(tries.iter().flatten()) } else { Vec::new() };
        let receipt = self.parts.store.hand_in(changes, asked.clone()).await;
        let (permits, permissions): (Vec<_>, Vec<_>) =
            tries.iter().map(|_| oneshot::channel()).unzip();
        let permits: Vec<_> = permits.into_iter().zip(tries.clone()).collect();
        let store = self.parts.store.clone();
        let epoch = self.parts.epoch;
        self.tasks.spawn(async move {
            let CommitReceipt { counts, known } = written(&store, receipt, asked).await;
            let mut answers = known.map(Vec::into_iter);
            for (permit, leases) in permits {
                let answers = answers.as_mut().map_err(|error| error.clone());
                let known = answers.map(|answers| known_of(&leases, epoch, answers));
                // The client may have gone with the loop.
                drop(permit.send(prepared.then_some(known)));
            }
            Some(Event::Written(number, counts))
        });
        for (leases, permission) in tries.into_iter().zip(permissions) {
            self.attempt(leases, permission);
        }
    }

    /// Tries when the record has the rows.
    fn attempt(&mut self, leases: Vec<Attempt>, permission: oneshot::Receiver<AttemptPermit>) {
        let transfer = Arc::clone(&self.parts.transfer);
        let store = self.parts.store.clone();
        let epoch = self.parts.epoch;
        let observer = Arc::clone(&self.parts.observer);
        let tracing = self.parts.tracing;
        let traces: Vec<_> =
            leases.iter().map(|lease| tracing.trace_for_entry(&lease.pending)).collect();
        // Requests for many deletes are in the trace of the first.
        let Some((trace, first)) = traces.first().zip(leases.first()) else { return };
        let span = super::report::span(*trace, first.pending.attempts > 1);
        self.tasks.spawn(async move {
            let read = transfer.read_ahead(&leases);
            // An error means that the loop is gone, and this task with it.
            let (read, Ok(permit)) = tokio::join!(read, permission) else {
                return std::future::pending().await;
            };
            leases.iter().for_each(|lease| observer.begun(lease));
            let trying = tries::perform_tries(&transfer, &store, epoch, leases, permit, read);
            let tries = trying.instrument(span).await;
            for ((lease, attempted), trace) in tries.iter().zip(traces) {
                observer.ended(lease, &attempted.outcome, trace);
            }
            Some(Event::Ended(tries))
        });
    }
}

/// Waits until the changes of `receipt` are on disk.
async fn written(
    store: &Store,
    receipt: impl Future<Output = Result<CommitReceipt, StoreError>>,
    asked: Vec<StateLookup>,
) -> CommitReceipt {
    let mut result = receipt.await;
    loop {
        let error = match result {
            Ok(receipt) => return receipt,
            Err(error) => error,
        };
        tracing::error!(
            event = "state.write_failed",
            error.message = %error,
            "the record cannot be written; nothing new is sent until it can"
        );
        tokio::time::sleep(WRITE_RETRY).await;
        // They are kept, and come before this.
        result = store.hand_in(Vec::new(), asked.clone()).await.await;
    }
}

pub(super) async fn perform_look(
    threads: Arc<BlockingPool>,
    root: Arc<Root>,
    store: Store,
    paths: Vec<ReadyPath>,
) -> Event {
    let looked = threads.run(move || look_and_ask(&root, &store, paths)).await;
    looked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Looks at paths, and asks the record about them. Blocks.
fn look_and_ask(root: &Root, store: &Store, paths: Vec<ReadyPath>) -> Event {
    let looked = match look(root, paths.clone()) {
        Ok(looked) => looked,
        Err(gone) => return Event::LookFailed(paths, LookFailure::Source(gone)),
    };
    let question = |looked: &Inspection| StateLookup {
        file: match &looked.observed {
            FileState::File(fingerprint) => Some(*fingerprint),
            FileState::Absent | FileState::Unknown(_) => None,
        },
        ..StateLookup::for_path(looked.rested.path.clone())
    };
    match store.known_blocking(looked.iter().map(question).collect()) {
        Ok(known) => Event::Looked(looked.into_iter().zip(known).collect()),
        Err(error) => Event::LookFailed(paths, LookFailure::Store(error.to_string())),
    }
}
