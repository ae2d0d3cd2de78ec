//! The composition root: makes every part from the configuration, joins them, and takes them down in
//! order. With `app/`, the only place that knows every concrete type.
//!
//! # Order
//!
//! Up: record, watched directory, S3 client, watches, first comparison. Nothing is asked of S3 before
//! there is something to send.
//!
//! Down: collect the last events, drain until `shutdown_timeout_seconds`, close the record. What is
//! left is on disk.

mod endpoints;
mod finish;
mod invalidation;
mod lease;
mod levels;
mod looking;
mod parts;
mod progress;
mod reload;
mod shards;
mod source;
pub mod termination;

pub use looking::{plan, verify};
pub use reload::unseen;

use crate::admin;
use crate::aws::{Aws, HttpError};
use crate::cli::{Exit, SharedProgress};
use crate::clock::unix_millis;
use crate::config::{Config, Loaded, Sources};
use crate::detect::Detector;
use crate::engine::control::{self, Requests};
use crate::engine::snapshot::{Legacy, Phase, Snapshot};
use crate::engine::{self, End, Parts, Stop};
use crate::filter::Filter;
use crate::invalidate::{Observer, Totals};
use crate::model::{Epoch, UploadNote};
use crate::retry_file;
use crate::root::Root;
use crate::rules::Rules;
use crate::shutdown::Shutdown;
use crate::store::{Bound, Change, Counts, OpenError, Opened, Store, StoreError};
use crate::telemetry::{Levels, LogLevel, Place, Recorder, Telemetry};
use crate::transfer::{Metered, S3};
use crate::writer::OneWriter;
use endpoints::{Endpoints, Link};
use finish::Finish;
use invalidation::Invalidating;
use lease::Keeping;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use termination::Left;
use tokio::sync::watch;

/// The last events are waited for this long when the daemon stops.
const BARRIER_PATIENCE: Duration = Duration::from_secs(5);
/// Pause before a watcher that has ended is started again.
const WATCH_RETRY: Duration = Duration::from_secs(1);

/// What the program is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Until it is told to stop.
    Daemon,
    /// Until all that is there now is in S3.
    Once {
        /// Whether objects that are there are to follow the rules of now as well.
        reapply_rules: bool,
    },
}

impl Mode {
    fn is_once(self) -> bool {
        matches!(self, Self::Once { .. })
    }
}

/// What people look at and turn while the program runs.
#[derive(Debug)]
pub struct Console {
    /// What the settings were read from.
    pub sources: Sources,
    /// The log's level.
    pub log_level: LogLevel,
    /// Metrics and traces.
    pub telemetry: Telemetry,
    /// Where it is shown how far a single run is, if somebody sees it.
    pub progress: Option<SharedProgress>,
}

/// Runs until the work is done or the daemon is told to stop.
pub async fn run(loaded: Loaded, mode: Mode, shutdown: Shutdown, console: Console) -> Exit {
    let message = loaded.config.termination_message.clone();
    match run_with_endpoints(loaded, mode, shutdown, console).await {
        Ok((Exit::Success, Left { pending: 0, .. })) => Exit::Success,
        Ok((exit, left)) => {
            termination::tell(&message, exit, "not everything is in S3", Some(left));
            exit
        }
        Err(error) => {
            tracing::error!(event = "service.failed", error.message = %error, "cannot go on");
            termination::tell(&message, error.exit(), &error.to_string(), None);
            error.exit()
        }
    }
}

/// What ends the program before its time.
#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error(transparent)]
    State(#[from] OpenError),
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
            Self::State(OpenError::Create { .. } | OpenError::Locked { .. }) => {
                Exit::StateUnavailable
            }
            Self::State(OpenError::TooNew { .. } | OpenError::Unreadable { .. })
            | Self::Store(_) => Exit::StateUnreadable,
            Self::Patterns(_) | Self::Http(_) => Exit::ConfigInvalid,
            Self::Address(_) | Self::Threads(_) => Exit::Unexpected,
        }
    }
}

async fn run_with_endpoints(
    loaded: Loaded,
    mode: Mode,
    shutdown: Shutdown,
    console: Console,
) -> Result<(Exit, Left), AppError> {
    let config = loaded.config.clone();
    tell_started(&config);
    let (telemetry, progress) = (console.telemetry.clone(), console.progress.clone());
    let (endpoints, link) = Endpoints::start(loaded, mode, console).await?;
    let shown = progress.map(|progress| progress::show(link.told.subscribe(), progress));
    // Boxed, because its type is too deep for the compiler to lay out at once.
    let result = Box::pin(run_with_state(config, mode, shutdown, telemetry, link)).await;
    endpoints.stop().await;
    if let Some(shown) = shown {
        // A panic has been told.
        drop(shown.await);
    }
    tracing::info!(event = "service.stopped", "stopped");
    result
}

async fn run_with_state(
    config: Config,
    mode: Mode,
    shutdown: Shutdown,
    telemetry: Telemetry,
    link: Link,
) -> Result<(Exit, Left), AppError> {
    let (directory, target, share) = (config.state_dir.clone(), target(&config), config.share);
    let opening = move || Store::open(&directory, &target, share, unix_millis());
    let opened = match tokio::task::spawn_blocking(opening).await {
        Ok(opened) => opened?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    tell_opened(&opened);
    let survives = source::survives(&config.state_dir);
    if !survives {
        tracing::warn!(
            event = "state.ephemeral",
            state_dir = %config.state_dir.to_string_lossy().escape_debug(),
            "the state directory will not survive the container: what waits is lost with it, and \
             deletions made while the daemon is not running are never found; mount a volume there"
        );
    }
    retry_file::tell_inherited(&config.retry_file);
    let store = opened.store.clone();
    let finish = with_view(config, mode, shutdown, telemetry, opened, link).await;
    // What cannot be read any more is not told.
    let oldest = store.survey().await.ok().and_then(|survey| survey.oldest);
    store.closed().await;
    let finish = finish?;
    Ok((finish.exit(mode, survives), finish.left(oldest, unix_millis())))
}

fn tell_started(config: &Config) {
    tracing::info!(
        event = "service.started",
        version = env!("CARGO_PKG_VERSION"),
        watch_path = %config.watch_path.to_string_lossy().escape_debug(),
        aws.s3.bucket = config.bucket,
        s3_prefix = config.prefix.as_str(),
        shard = %config.share,
        endpoint = config.endpoint_url.as_deref().unwrap_or("aws"),
        state_dir = %config.state_dir.to_string_lossy().escape_debug(),
        "started"
    );
}

fn tell_opened(opened: &Opened) {
    if let Some((path, why)) = &opened.moved_aside {
        tracing::error!(
            event = "state.moved_aside",
            path = %path.to_string_lossy().escape_debug(),
            why = why.as_str(),
            "the record cannot be used and was moved aside; nothing it names is deleted"
        );
    }
    if let Some(remapped) = opened.remapped {
        shards::tell_remapped(remapped);
    }
    tracing::info!(
        event = "state.opened",
        mirrored = opened.counts.mirrored,
        pending = opened.counts.pending,
        parked = opened.counts.parked,
        "record opened"
    );
}

/// Runs with the view of the queue beside it, which is written a last time at the end.
async fn with_view(
    config: Config,
    mode: Mode,
    shutdown: Shutdown,
    telemetry: Telemetry,
    opened: Opened,
    link: Link,
) -> Result<Finish, AppError> {
    let view = retry_file::Settings {
        path: config.retry_file.clone(),
        watch_path: config.watch_path.clone(),
        prefix: config.prefix.clone(),
    };
    let filter = parts::filter(&config).map_err(AppError::Patterns)?;
    let Link { told, mut requests, invalidations, control, writer, reload } = link;
    told.send_modify(|snapshot| snapshot.counts = opened.counts);
    let (bucket, region, prefix) =
        (config.bucket.clone(), config.region.clone(), config.prefix.clone());
    telemetry.recorder.locate(Place { bucket, region, prefix });
    let totals = Arc::new(Totals::default());
    let told_cdn =
        config.cloudfront.as_ref().map(|_| (opened.store.backlog(), Arc::clone(&totals)));
    if let Some((backlog, totals)) = told_cdn.clone() {
        let standing = Box::new(move || invalidation::standing(*backlog.borrow(), &totals));
        // Nobody else sets it.
        drop(invalidations.set(standing));
    }
    let aws = Aws::load(parts::aws(&config)).await?;
    let levels = levels::of(told.subscribe(), told_cdn, aws.clone(), &config, Arc::clone(&writer));
    let tally = reload.tally.clone();
    telemetry.recorder.observe(move || Levels { reloads: Some(tally.reloads()), ..levels() });
    let view = tokio::spawn(retry_file::keep(view, opened.store.clone(), told.subscribe()));
    let looking_on = (totals, Arc::new(telemetry.recorder.clone()) as Arc<dyn Observer>);
    let invalidating =
        Invalidating::start(&config, mode, &shutdown, &opened.store, &aws, looking_on);
    let owner = opened.bound.as_ref().map(|bound| bound.owner.clone());
    let owner = owner.unwrap_or_else(|| format!("{:016x}", fastrand::u64(..)));
    let s3 = Metered::new(S3::new(&aws, parts::s3(&config, &owner)), telemetry.recorder.clone());
    let keeping = Keeping::start(&config, &owner, &s3, (&writer, control), &shutdown).await;
    let mut app = App {
        wanted: reload.wanted.clone(),
        filter,
        rules: parts::rules(&config).map_err(AppError::Patterns)?,
        s3,
        writer,
        aws,
        store: opened.store,
        owner,
        told,
        telemetry,
        config,
        mode,
        shutdown,
    };
    let finish =
        Box::pin(app.work(opened.bound, opened.counts, opened.uploads, &mut requests)).await;
    drop(app);
    if let Some(keeping) = keeping {
        keeping.end().await;
    }
    let untold = match invalidating {
        Some(invalidating) => invalidating.end().await,
        None => 0,
    };
    let finish = finish.map(|finish| Finish { untold, ..finish });
    match view.await {
        Ok(()) => finish,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

struct App {
    config: Config,
    /// The configuration that is to be worked by.
    wanted: watch::Receiver<Arc<Config>>,
    mode: Mode,
    shutdown: Shutdown,
    filter: Arc<Filter>,
    rules: Arc<Rules>,
    aws: Aws,
    s3: Bucket,
    /// Whether it may delete.
    writer: Arc<OneWriter>,
    store: Store,
    /// What marks the objects of this record.
    owner: String,
    /// Where it is told what there is to tell.
    told: watch::Sender<Snapshot>,
    telemetry: Telemetry,
}

/// The bucket, with somebody who looks on.
type Bucket = Metered<S3, Recorder>;

impl App {
    /// Mirrors the watched directory for as long as it is there; waits for it when it is not.
    async fn work(
        &mut self,
        mut bound: Option<Bound>,
        mut counts: Counts,
        mut uploads: Vec<UploadNote>,
        requests: &mut Requests,
    ) -> Result<Finish, AppError> {
        let mut lost = None;
        let mut legacy = Legacy::default();
        loop {
            let Some(root) = self.wait_for_source(bound.as_ref(), lost.take(), requests).await
            else {
                return Ok(Finish {
                    pending: counts.pending,
                    bytes: counts.bytes,
                    untold: 0,
                    expired: true,
                    outage: None,
                });
            };
            self.adopt();
            let now_bound = self.bind(bound.take(), &root);
            counts = self.store.write(vec![Change::Bound(now_bound.clone())]).await?;
            let root = Arc::new(root);
            let transfer = self.transfer(&root, &now_bound)?;
            self.sweep(&transfer, std::mem::take(&mut uploads)).await;
            let watching = self.watch(&root);
            let rescan = self.rescan(&root, watching.is_some());
            self.take_over(&transfer).await;
            let mut engine = self.engine(rescan, watching.is_some(), now_bound.epoch, counts);
            let watching = watching.map(|(detector, hints)| (Arc::new(detector), hints));
            let detector = watching.as_ref().map(|(detector, _)| Arc::clone(detector));
            let parts = Parts {
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
            let end = engine::run(&mut engine, parts, requests, self.stop(detector)).await;
            if matches!(end, End::Drained | End::Expired) {
                return Ok(Finish {
                    pending: engine.counts().pending,
                    bytes: engine.counts().bytes,
                    untold: 0,
                    expired: end == End::Expired,
                    outage: engine.outage(),
                });
            }
            source::tell_interrupted(&end);
            legacy = engine.into_legacy();
            bound = self.store.bound().await?;
            if end != End::Replaced {
                legacy = legacy.after_a_loss();
                tokio::time::sleep(WATCH_RETRY).await;
            }
            lost = if let End::SourceLost(reason) = end { Some(reason) } else { None };
        }
    }

    /// The watched directory, as soon as it is there and the one the record tells of. `None` if the
    /// daemon is told to stop before.
    async fn wait_for_source(
        &self,
        bound: Option<&Bound>,
        lost: Option<String>,
        requests: &mut Requests,
    ) -> Option<Root> {
        let told = lost.is_some();
        // Where it is may be nobody's business.
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
            root = source::wait(&self.config.watch_path, bound, told, tell) => Some(root),
            () = self.shutdown.requested() => None,
            never = refuse_all(requests, &self.store) => match never {},
        }
    }

    /// Binds the record to the directory, or counts another one.
    fn bind(&self, bound: Option<Bound>, root: &Root) -> Bound {
        let (target, source) = (target(&self.config), source::name(root));
        let owner = self.owner.clone();
        match bound {
            Some(bound) if bound.source == source => bound,
            Some(Bound { epoch: Epoch(epoch), listed, probed, .. }) => {
                tracing::warn!(
                    event = "source.changed",
                    "this is another directory than the record tells of: what was mirrored from \
                     the other one is not deleted"
                );
                let (epoch, heir) = (Epoch(epoch + 1), false);
                Bound { target, source, epoch, owner, listed, heir, probed }
            }
            None => {
                let (epoch, listed, probed) = (Epoch(1), false, None);
                let heir = self.config.share.is_part();
                Bound { target, source, epoch, owner, listed, heir, probed }
            }
        }
    }

    fn stop(&self, detector: Option<Arc<Detector>>) -> Stop {
        let shutdown = self.shutdown.clone();
        let requested = async move {
            shutdown.requested().await;
            if let Some(detector) = detector
                && let Err(error) = detector.barrier(BARRIER_PATIENCE).await
            {
                tracing::warn!(
                    event = "watch.barrier_failed",
                    error.message = %error,
                    "the last events may be missing; the next start finds what they told of"
                );
            }
        };
        let (shutdown, patience) = (self.shutdown.clone(), self.config.shutdown_timeout);
        let expired = async move {
            shutdown.requested().await;
            tokio::select! {
                () = tokio::time::sleep(patience) => {}
                () = shutdown.forced() => {}
            }
        };
        Stop {
            requested: Box::pin(requested),
            expired: Box::pin(expired),
            replaced: Box::pin(self.reconfigured()),
        }
    }
}

/// Answers for the engine that is not there.
async fn refuse_all(requests: &mut Requests, store: &Store) -> Infallible {
    while let Some(request) = requests.recv().await {
        control::without_source(request, store).await;
    }
    std::future::pending().await
}

/// What the keys of the record belong to.
fn target(config: &Config) -> String {
    let endpoint = config.endpoint_url.as_deref().unwrap_or("aws");
    format!("{endpoint} {} {}", config.bucket, config.prefix.as_str())
}
