//! The composition root: makes every part from the configuration, joins them, and takes them down in
//! order. The only module that knows every concrete type.
//!
//! # Order
//!
//! Up: record, watched directory, S3 client, watches, first comparison. Nothing is asked of S3 before
//! there is something to send.
//!
//! Down: collect the last events, drain until `shutdown_timeout_seconds`, close the record. What is
//! left is on disk.

mod source;

use crate::cli::Exit;
use crate::config::{Config, DeletePolicy, WatchMode};
use crate::detect::{self, Detector, Hints};
use crate::engine::{self, End, Engine, Parts, Stop};
use crate::filter::{self, Filter};
use crate::model::{Epoch, UnixMillis, millis};
use crate::plan::Policy;
use crate::queue::{self, Backoff};
use crate::retry_file;
use crate::root::Root;
use crate::settle;
use crate::shutdown::Shutdown;
use crate::store::{Bound, Change, Counts, OpenError, Opened, Store, StoreError};
use crate::transfer::{self, S3, S3Settings, Transfer, UploadJournal};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Paths that may wait for quiet at once; about 200 bytes each.
const SETTLE_PATHS_MAX: usize = 65_536;
/// Directories that may wait to be compared.
const SETTLE_TREES_MAX: usize = 4_096;
/// Rows of the queue in memory; about 500 bytes each.
const QUEUE_WINDOW_MAX: usize = 20_000;
/// The wait after the first failure of a path.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The last events are waited for this long when the daemon stops.
const BARRIER_PATIENCE: Duration = Duration::from_secs(5);

/// What the program is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Until it is told to stop.
    Daemon,
    /// Until all that is there now is in S3.
    Once,
}

/// Runs until the work is done or the daemon is told to stop.
pub async fn run(config: Config, mode: Mode, shutdown: Shutdown) -> Exit {
    match run_with_state(config, mode, shutdown).await {
        Ok(exit) => exit,
        Err(error) => {
            tracing::error!(event = "service.failed", error.message = %error, "cannot go on");
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
    #[error("the ignore patterns are not valid: {0}")]
    Patterns(String),
}

impl AppError {
    fn exit(&self) -> Exit {
        match self {
            Self::State(OpenError::Create { .. } | OpenError::Locked { .. }) => {
                Exit::StateUnavailable
            }
            Self::State(OpenError::TooNew { .. } | OpenError::Unreadable { .. })
            | Self::Store(_) => Exit::StateUnreadable,
            Self::Patterns(_) => Exit::ConfigInvalid,
        }
    }
}

async fn run_with_state(config: Config, mode: Mode, shutdown: Shutdown) -> Result<Exit, AppError> {
    tracing::info!(
        event = "service.started",
        version = env!("CARGO_PKG_VERSION"),
        watch_path = %config.watch_path.to_string_lossy().escape_debug(),
        aws.s3.bucket = config.bucket,
        s3_prefix = config.prefix.as_str(),
        state_dir = %config.state_dir.to_string_lossy().escape_debug(),
        "started"
    );
    if config.cloudfront.is_some() {
        tracing::warn!(
            event = "cloudfront.unsupported",
            "cloudfront_enabled is set, and this version does not invalidate anything yet"
        );
    }
    let (directory, target) = (config.state_dir.clone(), target(&config));
    let opening = move || Store::open(&directory, &target, unix_millis());
    let opened = match tokio::task::spawn_blocking(opening).await {
        Ok(opened) => opened?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    tell_opened(&opened);
    let store = opened.store.clone();
    let exit = App { config, mode, shutdown }.work(opened).await;
    store.closed().await;
    tracing::info!(event = "service.stopped", "stopped");
    exit
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
    tracing::info!(
        event = "state.opened",
        mirrored = opened.counts.mirrored,
        pending = opened.counts.pending,
        parked = opened.counts.parked,
        "record opened"
    );
}

struct App {
    config: Config,
    mode: Mode,
    shutdown: Shutdown,
}

impl App {
    async fn work(&self, opened: Opened) -> Result<Exit, AppError> {
        let patterns = filter::Settings {
            defaults: self.config.ignore_defaults,
            patterns: self.config.ignore.clone(),
        };
        let filter = Arc::new(Filter::new(&patterns).map_err(|errors| {
            AppError::Patterns(errors.first().map(ToString::to_string).unwrap_or_default())
        })?);
        let owner = opened.bound.as_ref().map(|bound| bound.owner.clone());
        let owner = owner.unwrap_or_else(|| format!("{:016x}", fastrand::u64(..)));
        let s3 = S3::new(S3Settings {
            bucket: self.config.bucket.clone(),
            region: self.config.region.clone(),
            endpoint_url: self.config.endpoint_url.clone(),
            force_path_style: self.config.force_path_style,
            owner: owner.clone(),
        })
        .await;
        let (store, mut counts) = (opened.store, opened.counts);
        self.tell_inherited();
        let (told, tell) = watch::channel(counts);
        let view = tokio::spawn(retry_file::keep(self.retry_file(), store.clone(), tell));
        let mut bound = opened.bound;
        let mut uploads = opened.uploads;
        let exit = loop {
            let Some(root) = self.wait_for_source(bound.as_ref()).await else {
                break self.exit(&End::Drained, counts.pending, false);
            };
            let now_bound = self.bind(bound.take(), &root, &owner);
            store.write(vec![Change::Bound(now_bound.clone())]).await?;
            let epoch = now_bound.epoch;
            bound = Some(now_bound);
            let root = Arc::new(root);
            let transfer = self.transfer(&root, &s3, &store);
            sweep(&transfer, std::mem::take(&mut uploads));
            let watching = self.watch(&root, &filter);
            let mut engine = self.engine(&root, watching.is_some(), epoch, counts);
            let (detector, hints) = watching.unzip();
            // Kept until the loop has ended: what changes during the drain still counts.
            let detector = detector.map(Arc::new);
            let parts = Parts {
                root,
                filter: Arc::clone(&filter),
                store: store.clone(),
                transfer,
                epoch,
                hints,
                counts: told.clone(),
            };
            let end = engine::run(&mut engine, parts, self.stop(detector.clone())).await;
            drop(detector);
            match &end {
                End::SourceLost(reason) => tracing::error!(
                    event = "source.unavailable",
                    reason,
                    "the watched directory is not what it was; nothing is sent or deleted until it is back"
                ),
                End::DetectorLost => tracing::error!(
                    event = "watch.lost",
                    "the watcher has ended; starting it again and comparing everything"
                ),
                End::Drained | End::Expired => {
                    break self.exit(&end, engine.counts().pending, engine.is_outage());
                }
            }
            counts = store.queued(0).await?.1;
        };
        drop(told);
        if let Err(panic) = view.await {
            std::panic::resume_unwind(panic.into_panic());
        }
        Ok(exit)
    }

    fn retry_file(&self) -> retry_file::Settings {
        retry_file::Settings {
            path: self.config.retry_file.clone(),
            watch_path: self.config.watch_path.clone(),
            prefix: self.config.prefix.clone(),
        }
    }

    /// The original service may have left a queue. Its uploads are found by the first comparison;
    /// its deletes cannot be told from objects that somebody else made.
    fn tell_inherited(&self) {
        match retry_file::inherited(&self.config.retry_file) {
            Ok(entries) if entries.is_empty() => {}
            Ok(entries) => {
                let deletes = entries.iter().filter(|entry| entry.r#type == "delete").count();
                tracing::info!(
                    event = "retry_file.inherited",
                    entries = entries.len(),
                    deletes,
                    "found a queue of the original service: its uploads are done by the first \
                     comparison; what it wanted deleted was never recorded here and stays"
                );
            }
            Err(error) => tracing::warn!(
                event = "retry_file.unreadable",
                error.message = %error,
                "retry_file holds something that is no queue; it is replaced by the view of ours"
            ),
        }
    }

    /// The watched directory, as soon as it is there and the one the record tells of. `None` if the
    /// daemon is told to stop before.
    async fn wait_for_source(&self, bound: Option<&Bound>) -> Option<Root> {
        tokio::select! {
            root = source::wait(&self.config.watch_path, bound) => Some(root),
            () = self.shutdown.requested() => None,
        }
    }

    /// Binds the record to the directory, or counts another one.
    fn bind(&self, bound: Option<Bound>, root: &Root, owner: &str) -> Bound {
        let (target, source, owner) = (target(&self.config), source::name(root), owner.to_owned());
        match bound {
            Some(bound) if bound.source == source => bound,
            Some(Bound { epoch: Epoch(epoch), .. }) => {
                tracing::warn!(
                    event = "source.changed",
                    "this is another directory than the record tells of: what was mirrored from the \
                     other one is not deleted"
                );
                Bound { target, source, epoch: Epoch(epoch + 1), owner }
            }
            None => Bound { target, source, epoch: Epoch(1), owner },
        }
    }

    fn transfer(
        &self,
        root: &Arc<Root>,
        s3: &S3,
        store: &Store,
    ) -> Arc<Transfer<S3, RecordedUploads>> {
        let settings = transfer::Settings {
            prefix: self.config.prefix.clone(),
            multipart_threshold: self.config.multipart_threshold,
            multipart_part_size: self.config.multipart_part_size,
            memory: self.config.transfer_memory,
        };
        let journal = RecordedUploads(store.clone());
        Arc::new(Transfer::new(Arc::clone(root), s3.clone(), journal, settings))
    }

    /// Watches the directory, unless it is polled or compared once.
    fn watch(&self, root: &Arc<Root>, filter: &Arc<Filter>) -> Option<(Detector, Hints)> {
        if self.mode == Mode::Once || self.config.watch_mode == WatchMode::Poll {
            return None;
        }
        let wanted = Arc::clone(filter);
        let wanted = Arc::new(move |path: &_, is_directory| {
            if is_directory { wanted.wants_directory(path) } else { wanted.wants_file(path) }
        });
        let settings = detect::Settings::new(self.config.state_dir.join("cookies"));
        match Detector::start(Arc::clone(root), wanted, settings) {
            Ok(watching) => Some(watching),
            Err(error) => {
                tracing::error!(
                    event = "watch.failed",
                    error.message = %error,
                    poll_interval_seconds = self.config.poll_interval.as_secs(),
                    "the directory cannot be watched; it is compared again and again instead"
                );
                None
            }
        }
    }

    fn engine(&self, root: &Root, watching: bool, epoch: Epoch, counts: Counts) -> Engine {
        let config = &self.config;
        // Events of a network file system are hints, and welcome; but somebody else may write, too.
        let complete =
            watching && (config.watch_mode == WatchMode::Events || source::tells_everything(root));
        let interval = if complete { config.rescan_interval } else { config.poll_interval };
        let settings = engine::Settings {
            prefix: config.prefix.clone(),
            bucket: config.bucket.clone(),
            policy: Policy {
                propagate_deletes: config.delete_policy == DeletePolicy::Propagate,
                epoch,
            },
            settle: settle::Settings {
                done: config.debounce,
                writing: config.open_file_quiet,
                longest: config.debounce_max,
                paths_max: SETTLE_PATHS_MAX,
                trees_max: SETTLE_TREES_MAX,
            },
            queue: queue::Settings {
                concurrency: config.max_concurrent_transfers,
                window_max: QUEUE_WINDOW_MAX,
                backoff: Backoff {
                    first_ms: millis(RETRY_FIRST),
                    max_ms: millis(config.retry_interval),
                },
                delete_limit_percent: config.delete_limit_percent,
                delete_limit_count: config.delete_limit_count,
            },
            rescan_interval: interval,
            once: self.mode == Mode::Once,
        };
        let mode = if complete { "events" } else { "poll" };
        tracing::info!(
            event = "watch.mode",
            mode,
            interval_seconds = interval.as_secs(),
            "watching"
        );
        let mut engine = Engine::new(settings, counts, unix_millis());
        if !watching {
            engine.compare_all();
        }
        engine
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
        Stop { requested: Box::pin(requested), expired: Box::pin(expired) }
    }

    fn exit(&self, end: &End, pending: u64, outage: bool) -> Exit {
        if pending > 0 {
            tracing::warn!(
                event = "shutdown.left_over",
                pending,
                expired = *end == End::Expired,
                "not everything is in S3; the rest is on disk and goes on at the next start"
            );
        }
        match self.mode {
            Mode::Daemon => Exit::Success,
            Mode::Once if pending == 0 && *end == End::Drained => Exit::Success,
            Mode::Once if outage => Exit::Unreachable,
            Mode::Once => Exit::WorkLeft,
        }
    }
}

/// Aborts the multipart uploads that a crash left behind. In the background: nothing waits for it,
/// and what fails stays noted.
fn sweep(transfer: &Arc<Transfer<S3, RecordedUploads>>, uploads: Vec<(String, String)>) {
    if uploads.is_empty() {
        return;
    }
    let transfer = Arc::clone(transfer);
    tokio::spawn(async move {
        for (upload_id, key) in uploads {
            if let Err(failure) = transfer.abort(&upload_id, &key).await {
                tracing::warn!(
                    event = "upload.abort_failed",
                    aws.s3.key = key,
                    error.type = failure.code,
                    error.message = failure.message,
                    "multipart upload of an earlier run not aborted; tried again at the next start"
                );
            }
        }
    });
}

/// Notes multipart uploads in the record.
#[derive(Debug)]
pub struct RecordedUploads(Store);

impl RecordedUploads {
    async fn note(&self, change: Change) {
        if let Err(error) = self.0.write(vec![change]).await {
            tracing::error!(
                event = "state.write_failed",
                error.message = %error,
                "a multipart upload could not be noted; a crash now would leave it behind"
            );
        }
    }
}

impl UploadJournal for RecordedUploads {
    async fn begun(&self, upload_id: &str, key: &str) {
        self.note(Change::UploadBegun { upload_id: upload_id.into(), key: key.into() }).await;
    }

    async fn ended(&self, upload_id: &str) {
        self.note(Change::UploadEnded { upload_id: upload_id.into() }).await;
    }
}

/// What the keys of the record belong to.
fn target(config: &Config) -> String {
    let endpoint = config.endpoint_url.as_deref().unwrap_or("aws");
    format!("{endpoint} {} {}", config.bucket, config.prefix.as_str())
}

#[allow(clippy::disallowed_methods, reason = "the record is dated with the wall clock")]
fn unix_millis() -> UnixMillis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(now)
}
