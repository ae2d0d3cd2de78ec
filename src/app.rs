//! The composition root: builds every part from the configuration, connects them, and shuts them
//! down in order. `app` is the only module that knows every concrete type.
//!
//! # Order
//!
//! Start: state, watched directory, S3 client, watches, first scan. The daemon sends no request to
//! S3 before there is something to upload.
//!
//! Shutdown: collect the last events, drain until `shutdown_timeout_seconds`, close the state.
//! Unfinished changes are on disk.

mod announce;
mod confinement;
mod doctoring;
mod endpoints;
mod finish;
mod instance;
mod invalidation;
mod lease;
mod levels;
mod looking;
mod memory_limit;
mod parts;
mod progress;
mod reload;
mod request_limit;
mod restoring;
mod source;
mod survival;
mod takeover;
pub mod termination;

pub use confinement::{ConfinementError, confine_process};
pub use doctoring::doctor;
pub use looking::{plan, verify};
pub use reload::config_mount_warning;
pub use restoring::{RestoreRequest, restore};

use crate::admin;
use crate::aws::{Aws, HttpError};
use crate::cli::{Exit, ProgressHandle};
use crate::config::{Config, ConfigSources, LoadedConfig};
use crate::detect::Detector;
use crate::engine::control::{self, ControlRequests};
use crate::engine::snapshot::{self, CarriedState, Phase, Snapshot};
use crate::engine::{self, LoopInputs, RescanTimer, RunEnd, StopRequest, StopSignals};
use crate::filter::Filter;
use crate::invalidate::{InvalidationObserver, InvalidationTotals};
use crate::model::{OverlapSign, RootGeneration, UploadRecord};
use crate::retry_file;
use crate::rules::Rules;
use crate::sandbox::Confinement;
use crate::shutdown::Shutdown;
use crate::store::{
    Change, OpenedState, StateBinding, StateCounts, Store, StoreError, StoreOpenError,
};
use crate::telemetry::{BucketPlace, GaugeValues, LogLevel, Recorder, Telemetry};
use crate::transfer::{Instrumented, S3};
use crate::writer::DeleteGuard;
use endpoints::{EndpointTasks, EngineHandles};
use finish::RunSummary;
use invalidation::InvalidationTask;
use lease::LeaseTask;
use source::{FoundDirectory, WatchedSource};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use survival::StateSurvival;
use termination::Remaining;
use tokio::sync::watch;
use tokio::time::Instant;

/// Maximum time to collect the last events at shutdown.
const BARRIER_PATIENCE: Duration = Duration::from_secs(5);
/// Pause before a watcher that has ended is restarted.
const WATCH_RETRY: Duration = Duration::from_secs(1);

/// How long the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunMode {
    /// Until a signal requests shutdown.
    Daemon,
    /// Until everything that exists now is in S3.
    Once {
        /// Whether existing objects are updated to the current rules.
        reapply_rules: bool,
        /// Whether a file that S3 cannot take counts as unfinished.
        strict: bool,
    },
}

impl RunMode {
    fn is_once(self) -> bool {
        matches!(self, Self::Once { .. })
    }
}

/// The parts that operators observe and control while the program runs.
#[derive(Debug)]
pub struct Observability {
    /// The sources of the settings.
    pub sources: ConfigSources,
    /// The log level.
    pub log_level: LogLevel,
    /// Metrics and traces.
    pub telemetry: Telemetry,
    /// Whether the process is confined to its files.
    pub confinement: Confinement,
    /// Receives the progress of a single run, if a terminal shows it.
    pub progress: Option<ProgressHandle>,
}

/// Runs until the work is done or a signal requests shutdown.
pub async fn run(
    loaded: LoadedConfig,
    mode: RunMode,
    shutdown: Shutdown,
    console: Observability,
) -> Exit {
    let message = loaded.config.termination_message.clone();
    match run_with_endpoints(loaded, mode, shutdown, console).await {
        Ok((Exit::Success, left)) if left.is_nothing() => Exit::Success,
        Ok((exit, left)) => {
            termination::tell(&message, exit, left.reason(), Some(&left));
            exit
        }
        Err(error) => {
            tracing::error!(event = "service.failed", error.message = %error, "cannot go on");
            termination::tell(&message, error.exit(), &error.to_string(), None);
            error.exit()
        }
    }
}

/// An error that ends the program.
#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error(transparent)]
    State(#[from] StoreOpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the patterns are not valid: {0}")]
    Patterns(String),
    #[error(transparent)]
    Address(#[from] admin::BindError),
    #[error("no threads to read with: {0}")]
    Threads(#[source] io::Error),
}

impl AppError {
    fn exit(&self) -> Exit {
        match self {
            Self::State(
                StoreOpenError::Create { .. }
                | StoreOpenError::Special { .. }
                | StoreOpenError::Locked { .. },
            ) => Exit::StateUnavailable,
            Self::State(StoreOpenError::TooNew { .. } | StoreOpenError::Unreadable { .. })
            | Self::Store(_) => Exit::StateUnreadable,
            Self::Patterns(_) | Self::Http(_) | Self::Address(_) => Exit::ConfigInvalid,
            Self::Threads(_) => Exit::Unexpected,
        }
    }
}

async fn run_with_endpoints(
    mut loaded: LoadedConfig,
    mode: RunMode,
    shutdown: Shutdown,
    console: Observability,
) -> Result<(Exit, Remaining), AppError> {
    announce::started(&loaded.config);
    confinement::log(&console.confinement);
    if let Some(fitted) = memory_limit::fit(&mut loaded.config) {
        fitted.log();
    }
    if let Some(fitted) = request_limit::fit(&mut loaded.config) {
        fitted.log();
    }
    let config = loaded.config.clone();
    let telemetry = console.telemetry.clone();
    let progress = console.progress.clone();
    let (endpoints, link) = EndpointTasks::start(loaded, mode, console, &shutdown)?;
    let shown = progress.map(|progress| progress::show(link.told.subscribe(), progress));
    // Boxed, because its type is too deep for the compiler to lay out at once.
    let result = Box::pin(run_with_state(config, mode, shutdown, telemetry, link)).await;
    endpoints.stop().await;
    if let Some(shown) = shown {
        // The panic hook has reported a panic.
        drop(shown.await);
    }
    tracing::info!(event = "service.stopped", "stopped");
    result
}

async fn run_with_state(
    config: Config,
    mode: RunMode,
    shutdown: Shutdown,
    telemetry: Telemetry,
    mut link: EngineHandles,
) -> Result<(Exit, Remaining), AppError> {
    let Some(opened) = instance::open_state(&config, mode, &shutdown, &mut link).await? else {
        return Ok(RunSummary::before_state(
            mode,
            StateSurvival::new(&config, link.control).holds(),
        ));
    };
    announce::opened(&opened);
    if opened.restoring.is_some() {
        link.writer.note_incomplete_restore();
    }
    let survival = StateSurvival::new(&config, link.control.clone());
    survival.log(&config.state_dir);
    retry_file::log_previous_report(&config.retry_file).await;
    let store = opened.store.clone();
    let finish = with_view(config, mode, shutdown, telemetry, opened, (link, &survival)).await;
    let left = match finish {
        Ok(finish) => Ok((finish.left(&store, survival.holds()).await, finish)),
        Err(error) => Err(error),
    };
    store.closed().await;
    let (left, finish) = left?;
    Ok((finish.exit(mode, &left), left))
}

/// The bucket, as spans name it.
fn place(config: &Config) -> BucketPlace {
    BucketPlace {
        bucket: config.bucket.clone(),
        region: config.region.clone(),
        prefix: config.prefix.clone(),
    }
}

/// Runs with the report of the queue beside it, which is written a last time at the end.
async fn with_view(
    config: Config,
    mode: RunMode,
    shutdown: Shutdown,
    telemetry: Telemetry,
    opened: OpenedState,
    (link, survival): (EngineHandles, &StateSurvival),
) -> Result<RunSummary, AppError> {
    let view = parts::retry_file(&config);
    let filter = parts::filter(&config).map_err(AppError::Patterns)?;
    let EngineHandles { told, mut requests, invalidations, control, writer, reload, .. } = link;
    told.send_modify(|snapshot| snapshot.counts = opened.counts);
    telemetry.recorder.locate(place(&config));
    let totals = Arc::new(InvalidationTotals::default());
    let told_cdn =
        config.cloudfront.as_ref().map(|_| (opened.store.backlog(), Arc::clone(&totals)));
    if let Some((backlog, totals)) = told_cdn.clone() {
        let standing = Box::new(move || invalidation::standing(*backlog.borrow(), &totals));
        // This is the only place that sets it.
        drop(invalidations.set(standing));
    }
    let aws = Aws::load(parts::aws(&config)).await?;
    let levels = levels::of(told.subscribe(), told_cdn, aws.clone(), &config, Arc::clone(&writer));
    let tally = reload.tally.clone();
    telemetry.recorder.observe(move || GaugeValues { reloads: Some(tally.reloads()), ..levels() });
    let view = tokio::spawn(retry_file::keep(view, opened.store.clone(), told.subscribe()));
    let looking_on =
        (totals, Arc::new(telemetry.recorder.clone()) as Arc<dyn InvalidationObserver>);
    let invalidating =
        InvalidationTask::start(&config, mode, &shutdown, &opened.store, &aws, looking_on);
    let owner = owner_of(opened.bound.as_ref());
    let s3 =
        Instrumented::new(S3::new(&aws, parts::s3(&config, &owner)), telemetry.recorder.clone());
    let keeping = LeaseTask::start(&config, &owner, &s3, (&writer, control), &shutdown).await;
    let mut app = App {
        wanted: reload.wanted.clone(),
        filter,
        rules: parts::rules(&config).map_err(AppError::Patterns)?,
        s3,
        writer,
        aws,
        survival: survival.clone(),
        source: watched_source(&config)?,
        store: opened.store,
        owner,
        told,
        telemetry,
        config,
        mode,
        shutdown,
    };
    let legacy = CarriedState::of_state(opened.recent_deletes);
    let finish =
        Box::pin(app.work(opened.bound, opened.counts, opened.uploads, legacy, &mut requests))
            .await;
    drop(app);
    if let Some(keeping) = keeping {
        keeping.end().await;
    }
    let untold = match invalidating {
        Some(invalidating) => invalidating.end().await,
        None => 0,
    };
    let finish = finish.map(|finish| RunSummary { untold, ..finish });
    match view.await {
        Ok(()) => finish,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn watched_source(config: &Config) -> Result<WatchedSource, AppError> {
    WatchedSource::new(config).map_err(|source| {
        AppError::State(StoreOpenError::Create { path: config.state_dir.clone(), source })
    })
}

struct App {
    config: Config,
    /// The current configuration.
    wanted: watch::Receiver<Arc<Config>>,
    mode: RunMode,
    shutdown: Shutdown,
    filter: Arc<Filter>,
    rules: Arc<Rules>,
    aws: Aws,
    s3: AppBucket,
    /// Decides whether this process may delete.
    writer: Arc<DeleteGuard>,
    store: Store,
    survival: StateSurvival,
    source: WatchedSource,
    /// The mark of the objects of this state.
    owner: String,
    /// Publishes snapshots of the engine.
    told: watch::Sender<Snapshot>,
    telemetry: Telemetry,
}

/// The bucket, with metrics and traces.
type AppBucket = Instrumented<S3, Recorder>;

impl App {
    /// Mirrors the watched directory while it exists, and waits for it while it does not.
    async fn work(
        &mut self,
        mut bound: Option<StateBinding>,
        mut counts: StateCounts,
        mut uploads: Vec<UploadRecord>,
        mut legacy: CarriedState,
        requests: &mut ControlRequests,
    ) -> Result<RunSummary, AppError> {
        let mut lost = None;
        loop {
            let Some(found) = self.wait_for_source(bound.as_ref(), lost.take(), requests).await
            else {
                return Ok(RunSummary::before_work(counts));
            };
            self.apply_new_config();
            found.log();
            let now_bound = found.bind(bound.take(), first_binding(&self.config, &self.owner));
            counts = self.store.write(vec![Change::Bound(now_bound.clone())]).await?;
            let root = Arc::new(found.root);
            let transfer = self.transfer(&root, &now_bound)?;
            self.sweep(&transfer, std::mem::take(&mut uploads)).await;
            let watching = self.watch(&root);
            let rescan = self.rescan(&root, watching.is_some());
            self.take_over(&transfer).await;
            let mut engine = self.engine(rescan, watching.is_some(), now_bound.epoch, counts);
            let watching = watching.map(|(detector, hints)| (Arc::new(detector), hints));
            let detector = watching.as_ref().map(|(detector, _)| Arc::clone(detector));
            let parts = LoopInputs {
                root,
                filter: Arc::clone(&self.filter),
                store: self.store.clone(),
                transfer,
                looking: engine::looking().map_err(AppError::Threads)?,
                epoch: now_bound.epoch,
                reapply: self.reapplied_rules(),
                watching,
                rescan,
                snapshots: self.told.clone(),
                observer: Arc::new(self.telemetry.recorder.clone()),
                tracing: self.tracing(),
            };
            engine.resume(legacy);
            let end = engine::run(&mut engine, parts, requests, self.stop(detector, rescan)).await;
            if matches!(end, RunEnd::Drained | RunEnd::Expired) {
                // After the commits under way, which the engine has not heard of.
                let counts = self.store.write(Vec::new()).await.ok();
                return Ok(RunSummary::of_engine(&engine, counts, end == RunEnd::Expired));
            }
            let may_swap = self.source.may_swap();
            source::log_interrupted(&end, may_swap);
            legacy = engine.into_legacy();
            bound = self.store.bound().await?;
            if end != RunEnd::Replaced {
                legacy = legacy.after_a_loss();
                tokio::time::sleep(WATCH_RETRY).await;
            }
            lost = match end {
                RunEnd::SourceLost(reason) if !may_swap => Some(reason),
                _ => None,
            };
        }
    }

    /// Waits for the watched directory that the state is bound to. Returns `None` if shutdown is
    /// requested before.
    async fn wait_for_source(
        &self,
        bound: Option<&StateBinding>,
        lost: Option<String>,
        requests: &mut ControlRequests,
    ) -> Option<FoundDirectory> {
        let told = lost.is_some();
        // The message does not contain the path, because it is also shown without file names.
        let path = format!("{:?}", self.config.watch_path);
        let tell = |problem: &str| {
            self.told.send_modify(|snapshot| {
                snapshot.phase = Phase::WaitingForSource;
                snapshot.source_problem = Some(problem.replace(&path, "watch_path"));
            });
        };
        if let Some(reason) = &lost {
            tell(reason);
        }
        tokio::select! {
            found = self.source.wait(bound, told, tell) => Some(found),
            () = self.shutdown.requested() => None,
            never = refuse_all(requests, &self.store) => match never {},
        }
    }

    fn stop(&self, detector: Option<Arc<Detector>>, rescan: RescanTimer) -> StopSignals {
        let shutdown = self.shutdown.clone();
        let patience = self.config.shutdown_timeout;
        let everything = rescan.mode == snapshot::ActiveMode::Events;
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
        let shutdown = self.shutdown.clone();
        let patience = self.config.shutdown_timeout;
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

/// Refuses requests while no engine runs.
async fn refuse_all(requests: &mut ControlRequests, store: &Store) -> Infallible {
    while let Some(request) = requests.recv().await {
        control::without_source(request, store).await;
    }
    std::future::pending().await
}

/// The mark of the objects of a state; a new one for a new state.
fn owner_of(bound: Option<&StateBinding>) -> String {
    bound.map_or_else(|| format!("{:016x}", fastrand::u64(..)), |bound| bound.owner.clone())
}

/// The binding of a new state, without the directory.
fn first_binding(config: &Config, owner: &str) -> StateBinding {
    StateBinding {
        target: target(config),
        source: String::new(),
        origin: None,
        epoch: RootGeneration(1),
        owner: owner.to_owned(),
        listed: false,
        takeover_pending: config.share.is_part(),
        probed: None,
        overlap: OverlapSign::Nothing,
    }
}

/// The bucket and prefix that the keys of the state belong to.
fn target(config: &Config) -> String {
    let endpoint = config.endpoint_url.as_deref().unwrap_or("aws");
    format!("{endpoint} {} {}", config.bucket, config.prefix.as_str())
}
