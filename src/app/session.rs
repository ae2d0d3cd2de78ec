//! A session: the time in which one watched directory under one configuration is mirrored. It ends
//! with the program, or when the directory is lost or the configuration changes.

use super::mirror::{MirrorService, SessionStart};
use super::watched_dir::{self, FoundDirectory};
use super::{AppBucket, AppError, RunMode, RunSummary, build, invalidation};
use crate::clock::unix_millis;
use crate::config::WatchMode;
use crate::detect::{DetectSettings, Detector, Hints};
use crate::engine::control::{self, ControlRequests};
use crate::engine::snapshot::{ActiveMode, CarriedState, Phase};
use crate::engine::{
    self, Engine, EngineSettings, LoopInputs, RescanTimer, RunEnd, StopRequest, StopSignals,
};
use crate::model::UploadRecord;
use crate::root::Root;
use crate::rules::Rules;
use crate::store::{StateBinding, StateCounts, Store};
use crate::sweep::SweepSettings;
use crate::transfer::{BucketRecords, Transfer, TransferSettings};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Maximum time at the start to clean up after a crash.
const ABORT_PATIENCE: Duration = Duration::from_secs(10);
/// Maximum time to collect the last events at shutdown.
const BARRIER_PATIENCE: Duration = Duration::from_secs(5);

/// Pause before a watcher that has ended is restarted.
const WATCH_RETRY: Duration = Duration::from_secs(1);

/// How a session ended.
pub(super) enum SessionEnd {
    /// The work is done, or shutdown was requested.
    Finished(RunSummary),
    /// Another session has to follow, for this reason.
    Interrupted(RunEnd, Box<CarriedState>),
}

/// A session, with its watches and its engine.
pub(super) struct Session {
    engine: Engine,
    inputs: LoopInputs<AppBucket>,
    stop: StopSignals,
    store: Store,
}

impl Session {
    /// Binds the state to the directory `found`, and watches it.
    pub(super) async fn start(
        service: &MirrorService,
        found: FoundDirectory,
        start: &mut SessionStart,
    ) -> Result<Self, AppError> {
        found.log();
        let bound = found.bind(start.bound.take(), service.first_binding());
        start.counts = service.write_binding(&bound).await?;
        let root = Arc::new(found.root);
        let transfer = service.transfer(&root, &bound)?;
        service.abort_old_uploads(&transfer, std::mem::take(&mut start.uploads)).await;
        let watching = service.watch(&root);
        let rescan = service.rescan_timer(&root, watching.is_some());
        service.take_over(&transfer).await;
        let mut engine = service.engine(rescan, watching.is_some(), &bound, start.counts);
        engine.resume(std::mem::take(&mut start.carried));
        let watching = watching.map(|(detector, hints)| (Arc::new(detector), hints));
        let detector = watching.as_ref().map(|(detector, _)| Arc::clone(detector));
        let inputs = LoopInputs {
            root,
            filter: Arc::clone(&service.filter),
            store: service.store.clone(),
            transfer,
            looking: engine::looking().map_err(AppError::Threads)?,
            epoch: bound.epoch,
            reapply: service.reapplied_rules(),
            watching,
            rescan,
            snapshots: service.snapshots.clone(),
            observer: Arc::new(service.context.telemetry.recorder.clone()),
            tracing: service.tracing(),
        };
        let stop = service.stop_signals(detector, rescan);
        Ok(Self { engine, inputs, stop, store: service.store.clone() })
    }

    /// Mirrors until the session ends.
    pub(super) async fn run(self, requests: &mut ControlRequests) -> SessionEnd {
        let Self { mut engine, inputs, stop, store } = self;
        let end = engine::run(&mut engine, inputs, requests, stop).await;
        match end {
            RunEnd::Drained | RunEnd::Expired => {
                // After the commits under way, which the engine has not heard of.
                let counts = store.write(Vec::new()).await.ok();
                let expired = end == RunEnd::Expired;
                SessionEnd::Finished(RunSummary::from_engine(&engine, counts, expired))
            }
            RunEnd::SourceLost(_) | RunEnd::Replaced | RunEnd::DetectorLost => {
                SessionEnd::Interrupted(end, Box::new(engine.into_carried_state()))
            }
        }
    }
}

impl MirrorService {
    /// Mirrors the watched directory while it exists, and waits for it while it does not.
    pub(super) async fn run(
        mut self,
        mut next: SessionStart,
        requests: &mut ControlRequests,
    ) -> Result<RunSummary, AppError> {
        loop {
            let Some(found) = self.wait_for_source(&mut next, requests).await else {
                return Ok(RunSummary::before_work(next.counts));
            };
            self.apply_new_config();
            let session = Session::start(&self, found, &mut next).await?;
            match session.run(requests).await {
                SessionEnd::Finished(summary) => return Ok(summary),
                SessionEnd::Interrupted(end, carried) => {
                    self.prepare_next(&mut next, end, *carried).await?;
                }
            }
        }
    }

    /// Logs why a session was interrupted, and keeps what the next one continues with.
    async fn prepare_next(
        &self,
        next: &mut SessionStart,
        end: RunEnd,
        carried: CarriedState,
    ) -> Result<(), AppError> {
        let may_swap = self.source.may_swap();
        watched_dir::log_interrupted(&end, may_swap);
        next.bound = self.store.bound().await?;
        next.carried = if end == RunEnd::Replaced {
            carried
        } else {
            tokio::time::sleep(WATCH_RETRY).await;
            carried.after_a_loss()
        };
        next.lost = match end {
            RunEnd::SourceLost(reason) if !may_swap => Some(reason),
            _ => None,
        };
        Ok(())
    }

    /// Waits for the watched directory that the state is bound to. Returns `None` if shutdown is
    /// requested before.
    async fn wait_for_source(
        &self,
        next: &mut SessionStart,
        requests: &mut ControlRequests,
    ) -> Option<FoundDirectory> {
        let lost = next.lost.take();
        // The message does not contain the path, because it is also shown without file names.
        let path = format!("{:?}", self.context.config.watch_path);
        let show = |problem: &str| {
            self.snapshots.send_modify(|snapshot| {
                snapshot.phase = Phase::WaitingForSource;
                snapshot.source_problem = Some(problem.replace(&path, "watch_path"));
            });
        };
        if let Some(reason) = &lost {
            show(reason);
        }
        tokio::select! {
            found = self.source.wait(next.bound.as_ref(), lost.is_some(), show) => Some(found),
            () = self.context.shutdown.requested() => None,
            never = refuse_all(requests, &self.store) => match never {},
        }
    }

    /// The rules, if existing objects are updated to them.
    fn reapplied_rules(&self) -> Option<Arc<Rules>> {
        let reapplied = matches!(self.context.mode, RunMode::Once { reapply_rules: true, .. });
        reapplied.then(|| Arc::clone(&self.rules))
    }

    fn transfer(
        &self,
        root: &Arc<Root>,
        bound: &StateBinding,
    ) -> Result<Arc<Transfer<AppBucket>>, AppError> {
        let reapply = self.reapplied_rules().is_some();
        let config = &self.context.config;
        let settings = build::transfer_settings(config, bound, Arc::clone(&self.rules), reapply);
        let settings = TransferSettings { writer: Arc::clone(&self.writer), ..settings };
        let records = BucketRecords::new(self.store.clone(), bound.clone());
        let transfer = Transfer::new(Arc::clone(root), self.s3.clone(), records, settings);
        transfer.map(Arc::new).map_err(AppError::Threads)
    }

    /// Aborts the multipart uploads that a crash left, before new ones start. An abort that does
    /// not succeed in time stays recorded, and is repeated before the next attempt of its path.
    async fn abort_old_uploads(&self, transfer: &Transfer<AppBucket>, uploads: Vec<UploadRecord>) {
        let aborting = async {
            for upload in uploads {
                if let Err(failure) = transfer.abandon(&upload).await {
                    engine::not_abandoned(&upload, &failure);
                }
            }
        };
        tokio::select! {
            () = aborting => {}
            () = tokio::time::sleep(ABORT_PATIENCE) => {}
            () = self.context.shutdown.requested() => {}
        }
    }

    /// Watches the directory, unless it is polled or scanned once.
    fn watch(&self, root: &Arc<Root>) -> Option<(Detector, Hints)> {
        let config = &self.context.config;
        if self.context.mode.is_once() || config.watch_mode == WatchMode::Poll {
            return None;
        }
        let filter = Arc::clone(&self.filter);
        let wanted = Arc::new(move |path: &_, is_directory| {
            if is_directory { filter.wants_directory(path) } else { filter.wants_file(path) }
        });
        let settings = DetectSettings::new(config.state_dir.join("cookies"));
        match Detector::start(Arc::clone(root), wanted, settings) {
            Ok(watching) => Some(watching),
            Err(error) => {
                tracing::error!(
                    event = "watch.failed",
                    error.message = %error,
                    poll_interval_seconds = config.poll.interval.as_secs(),
                    "the directory cannot be watched; it is compared again and again instead"
                );
                None
            }
        }
    }

    /// The scan interval.
    fn rescan_timer(&self, root: &Root, is_watching: bool) -> RescanTimer {
        let config = &self.context.config;
        // Events of a network file system are used as hints, but other machines may write to it
        // too.
        let complete = is_watching
            && (config.watch_mode == WatchMode::Events || watched_dir::has_complete_events(root));
        let mode = if complete { ActiveMode::Events } else { ActiveMode::Poll };
        let blind = config.poll.interval;
        let watching = if complete { config.poll.rescan_interval } else { blind };
        let once = self.context.mode.is_once();
        let interval = blind;
        let full_interval = config.poll.full_interval;
        let sweeps = full_interval > interval && !once;
        let sweep = sweeps.then_some(SweepSettings { interval, full_interval });
        let limit = config.poll.operations_per_second;
        root.meter().set_limit(if once { 0 } else { limit });
        RescanTimer { mode, blind, sweep, watching, review: config.poll.rescan_interval }
    }

    fn engine(
        &self,
        rescan: RescanTimer,
        is_watching: bool,
        bound: &StateBinding,
        counts: StateCounts,
    ) -> Engine {
        let config = &self.context.config;
        let settings = build::engine_settings(
            config,
            self.context.mode,
            bound.epoch,
            rescan.watching,
            self.reapplied_rules(),
        );
        let invalidate = invalidation::wanted(config, &self.rules);
        let settings = EngineSettings { tracing: self.tracing(), invalidate, ..settings };
        let mut engine = Engine::new(settings, counts, unix_millis());
        if !is_watching {
            engine.compare_all();
        }
        if self.survival.is_end_announced() {
            self.writer.begin_ending();
            engine.expect_end();
        }
        engine
    }

    fn stop_signals(&self, detector: Option<Arc<Detector>>, rescan: RescanTimer) -> StopSignals {
        let shutdown = self.context.shutdown.clone();
        let patience = self.context.config.shutdown_timeout;
        let everything = rescan.mode == ActiveMode::Events;
        let survival = self.survival.clone();
        let writer = Arc::clone(&self.writer);
        let requested = async move {
            shutdown.requested().await;
            writer.begin_ending();
            let deadline = shutdown.deadline(patience);
            let compare = control::gather(detector, everything, BARRIER_PATIENCE).await;
            let time_left = Some(deadline.saturating_duration_since(Instant::now()));
            let leave_on_outage = survival.may_leave_on_outage();
            StopRequest { time_left, compare, leave_on_outage }
        };
        let shutdown = self.context.shutdown.clone();
        let expired = async move {
            shutdown.requested().await;
            tokio::select! {
                () = tokio::time::sleep_until(shutdown.deadline(patience)) => {}
                () = shutdown.forced() => {}
            }
        };
        StopSignals {
            requested: Box::pin(requested),
            expired: Box::pin(expired),
            replaced: Box::pin(self.reconfigured()),
        }
    }
}

/// Refuses requests while no session runs.
async fn refuse_all(requests: &mut ControlRequests, store: &Store) -> Infallible {
    while let Some(request) = requests.recv().await {
        control::reject_no_source(request, store).await;
    }
    std::future::pending().await
}
