//! The parts, each made from what the configuration says of it.

use super::{App, AppError, Bucket, Mode, invalidation, source};
use crate::aws::AwsSettings;
use crate::clock::unix_millis;
use crate::config::{Config, DeletePolicy, WatchMode};
use crate::detect::{self, Detector, Hints};
use crate::engine::snapshot;
use crate::engine::{self, Engine, Rescan};
use crate::filter::{self, Filter};
use crate::model::{Epoch, Mirrored, RelPath, StoredPart, Tracing, UploadNote, UploadPlan, millis};
use crate::plan::Policy;
use crate::queue::{self, Backoff};
use crate::root::Root;
use crate::rules::{Checksum, Rules};
use crate::settle;
use crate::store::{Bound, Change, Counts, Question, Store};
use crate::transfer::{self, Journal, PaceSettings, Probe, S3Settings, Transfer};
use crate::writer;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Paths that may wait for quiet at once; about 200 bytes each.
const SETTLE_PATHS_MAX: usize = 65_536;
/// Directories that may wait to be compared.
const SETTLE_TREES_MAX: usize = 4_096;
/// Rows of the queue in memory; about 500 bytes each.
const QUEUE_WINDOW_MAX: usize = 20_000;
/// Small files under way for each request there may be at once: what is beyond has been read, and its row
/// is on disk.
const PREPARED: usize = 4;
/// Leftovers of a crash are cleared away for this long at the start.
const SWEEP_PATIENCE: Duration = Duration::from_secs(10);
/// The wait after the first failure of a path.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// Connections beside those for content: looks, deletes, listings.
const CONTROL_CONNECTIONS: usize = 4;
/// What the record says of a store that does not know conditions on deletes.
const UNCONDITIONAL: &str = ", no conditions on deletes";
/// What S3 copies in one request.
const COPY_BYTES_MAX: u64 = 5 << 30;
/// The part of a larger one; S3 copies several of them at once.
const COPY_PART_BYTES: u64 = 1 << 30;

/// The filter, or the first pattern that is wrong.
pub(super) fn filter(config: &Config) -> Result<Arc<Filter>, String> {
    let (defaults, mut patterns) = (config.ignore_defaults, config.ignore.clone());
    let share = config.share;
    if config.lease.is_some() {
        // A file of this name would take the place of the lease.
        patterns.push(format!("/{}", writer::lease_name(share)));
    }
    let filter = Filter::new(&filter::Settings { defaults, patterns, share });
    filter
        .map(Arc::new)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// The rules for objects, or the first pattern that is wrong.
pub(super) fn rules(config: &Config) -> Result<Arc<Rules>, String> {
    Rules::new(&config.objects).map(Arc::new).map_err(|error| error.to_string())
}

pub(super) fn aws(config: &Config) -> AwsSettings {
    AwsSettings {
        region: config.region.clone(),
        ca_bundle: config.ca_bundle.clone(),
        connections: config.max_concurrent_transfers + CONTROL_CONNECTIONS,
    }
}

pub(super) fn s3(config: &Config, owner: &str) -> S3Settings {
    S3Settings {
        bucket: config.bucket.clone(),
        endpoint_url: config.endpoint_url.clone(),
        force_path_style: config.force_path_style,
        checksum: config.checksum,
        owner: owner.to_owned(),
    }
}

impl App {
    /// The rules, where objects that are there have to follow them.
    pub(super) fn reapplied_rules(&self) -> Option<Arc<Rules>> {
        let asked = matches!(self.mode, Mode::Once { reapply_rules: true });
        asked.then(|| Arc::clone(&self.rules))
    }

    pub(super) fn transfer(
        &self,
        root: &Arc<Root>,
        bound: &Bound,
    ) -> Result<Arc<Transfer<Bucket, Recorded>>, AppError> {
        let reapply = self.reapplied_rules().is_some();
        let settings = transfer_settings(&self.config, bound, Arc::clone(&self.rules), reapply);
        let settings = transfer::Settings { writer: Arc::clone(&self.writer), ..settings };
        let journal = Recorded::new(self.store.clone(), bound.clone());
        let transfer = Transfer::new(Arc::clone(root), self.s3.clone(), journal, settings);
        transfer.map(Arc::new).map_err(AppError::Threads)
    }

    /// Watches the directory, unless it is polled or compared once.
    pub(super) fn watch(&self, root: &Arc<Root>) -> Option<(Detector, Hints)> {
        if self.mode.is_once() || self.config.watch_mode == WatchMode::Poll {
            return None;
        }
        let filter = Arc::clone(&self.filter);
        let wanted = Arc::new(move |path: &_, is_directory| {
            if is_directory { filter.wants_directory(path) } else { filter.wants_file(path) }
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

    /// How often to compare everything.
    pub(super) fn rescan(&self, root: &Root, watching: bool) -> Rescan {
        let config = &self.config;
        // Events of a network file system are hints, and welcome; but others may write to it, too.
        let complete =
            watching && (config.watch_mode == WatchMode::Events || source::tells_everything(root));
        let mode = if complete { snapshot::Mode::Events } else { snapshot::Mode::Poll };
        let blind = config.poll_interval;
        let watching = if complete { config.rescan_interval } else { blind };
        let rescan = Rescan { mode, blind, watching, review: config.rescan_interval };
        tracing::info!(
            event = "watch.mode",
            mode = mode.as_str(),
            interval_seconds = rescan.watching.as_secs(),
            "watching"
        );
        rescan
    }

    pub(super) fn engine(
        &self,
        rescan: Rescan,
        watching: bool,
        epoch: Epoch,
        counts: Counts,
    ) -> Engine {
        let settings = engine_settings(
            &self.config,
            self.mode,
            epoch,
            rescan.watching,
            self.reapplied_rules(),
        );
        let invalidate = invalidation::wanted(&self.config, &self.rules);
        let settings = engine::Settings { tracing: self.tracing(), invalidate, ..settings };
        let mut engine = Engine::new(settings, counts, unix_millis());
        if !watching {
            engine.compare_all();
        }
        engine
    }

    /// How changes are named in logs and traces: by the record they stand in.
    pub(super) fn tracing(&self) -> Tracing {
        let seed = u64::from_str_radix(&self.owner, 16).unwrap_or_default();
        Tracing { seed, sampling: self.telemetry.sampling }
    }

    /// Aborts the multipart uploads that a crash left behind, before any new one begins. What does
    /// not work in the time there is stays noted, and comes before the next try of its path.
    pub(super) async fn sweep(
        &self,
        transfer: &Transfer<Bucket, Recorded>,
        uploads: Vec<UploadNote>,
    ) {
        let sweeping = async {
            for note in uploads {
                if let Err(failure) = transfer.abandon(&note).await {
                    engine::not_abandoned(&note, &failure);
                }
            }
        };
        tokio::select! {
            () = sweeping => {}
            () = tokio::time::sleep(SWEEP_PATIENCE) => {}
            () = self.shutdown.requested() => {}
        }
    }
}

/// How objects are made.
pub(super) fn transfer_settings(
    config: &Config,
    bound: &Bound,
    rules: Arc<Rules>,
    reapply_rules: bool,
) -> transfer::Settings {
    transfer::Settings {
        prefix: config.prefix.clone(),
        multipart_threshold: config.multipart_threshold,
        multipart_part_size: config.multipart_part_size,
        memory: config.transfer_memory,
        copy_threshold: COPY_BYTES_MAX,
        copy_part_size: COPY_PART_BYTES,
        pace: PaceSettings {
            requests: config.max_concurrent_transfers,
            bytes_per_second: config.bandwidth_limit,
        },
        listed: bound.listed,
        share: config.share,
        source: source::mark(bound).into(),
        heir: bound.heir.then_some(bound.epoch),
        probe: probe(config, bound),
        looks_before_delete: bound
            .probed
            .as_ref()
            .is_some_and(|note| note.ends_with(UNCONDITIONAL)),
        rules,
        writer: Arc::default(),
        reapply_rules,
        rest: config.open_file_quiet,
    }
}

/// How to ask the store what it can do, where nobody knows what AWS's own does, and this version has not
/// asked yet.
fn probe(config: &Config, bound: &Bound) -> Option<Probe> {
    let checksum = config.checksum;
    let note = format!("{} {checksum:?}", env!("CARGO_PKG_VERSION"));
    let asked = bound.probed.as_ref();
    let asked = asked.is_some_and(|asked| asked.trim_end_matches(UNCONDITIONAL) == note);
    (config.probe && config.is_other_store() && !asked).then(|| Probe {
        name: format!(".file-sync-service.probe-{}", bound.owner),
        note,
        own_checksum: checksum == Checksum::Crc64Nvme,
    })
}

pub(super) fn engine_settings(
    config: &Config,
    mode: Mode,
    epoch: Epoch,
    rescan_interval: Duration,
    reapply: Option<Arc<Rules>>,
) -> engine::Settings {
    let propagate_deletes = config.delete_policy == DeletePolicy::Propagate;
    engine::Settings {
        prefix: config.prefix.clone(),
        bucket: config.bucket.clone(),
        policy: Policy { propagate_deletes, epoch },
        settle: settle::Settings {
            done: config.debounce,
            writing: config.open_file_quiet,
            longest: config.debounce_max,
            paths_max: SETTLE_PATHS_MAX,
            trees_max: SETTLE_TREES_MAX,
        },
        queue: queue::Settings {
            concurrency: config.max_concurrent_transfers,
            prepared: config.max_concurrent_transfers * PREPARED,
            large_bytes: config.multipart_threshold,
            window_max: QUEUE_WINDOW_MAX,
            backoff: Backoff {
                first_ms: millis(RETRY_FIRST),
                max_ms: millis(config.retry_interval),
            },
            delete_limit_percent: config.delete_limit_percent,
            delete_limit_count: config.delete_limit_count,
        },
        rescan_interval,
        once: mode.is_once(),
        reapply,
        tracing: Tracing::default(),
        invalidate: None,
    }
}

/// Notes in the record what the bucket may hold.
#[derive(Debug)]
pub(super) struct Recorded {
    store: Store,
    /// As it is on disk, or about to be.
    bound: Mutex<Bound>,
}

impl Recorded {
    pub(super) fn new(store: Store, bound: Bound) -> Self {
        Self { store, bound: Mutex::new(bound) }
    }

    async fn note_bound(&self, change: impl FnOnce(&mut Bound)) {
        let bound = {
            let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut bound);
            bound.clone()
        };
        self.note(vec![Change::Bound(bound)]).await;
    }

    fn is_heir(&self) -> bool {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner).heir
    }

    async fn note(&self, changes: Vec<Change>) {
        if let Err(error) = self.store.write(changes).await {
            tracing::error!(
                event = "state.write_failed",
                error.message = %error,
                "what the bucket may hold could not be noted; a crash now would forget it"
            );
        }
    }
}

impl Journal for Recorded {
    async fn begun(&self, path: &RelPath, plan: &UploadPlan, upload_id: Option<&str>) {
        let (path, upload_id) = (path.clone(), upload_id.map(str::to_owned));
        let (begun, plan, parts) = (unix_millis(), *plan, Vec::new());
        let note = UploadNote { path, upload_id, begun, plan, parts };
        self.note(vec![Change::UploadNoted(note)]).await;
    }

    async fn stored(&self, path: &RelPath, part: &StoredPart) {
        self.note(vec![Change::PartStored(path.clone(), part.clone())]).await;
    }

    async fn ended(&self, path: &RelPath, upload_id: Option<&str>) {
        let upload_id = upload_id.map(str::to_owned);
        self.note(vec![Change::UploadEnded(path.clone(), upload_id)]).await;
    }

    async fn listed(&self, objects: Vec<(RelPath, u64, Option<String>)>) -> Vec<RelPath> {
        if !self.is_heir() {
            let change = |(path, size, _)| Change::Listed(path, size);
            self.note(objects.into_iter().map(change).collect()).await;
            return Vec::new();
        }
        let paths: Vec<_> = objects.iter().map(|(path, ..)| path.clone()).collect();
        let change = |(path, size, etag)| Change::Found(path, size, etag);
        self.note(objects.into_iter().map(change).collect()).await;
        let questions = paths.iter().cloned().map(Question::of).collect();
        // What cannot be read now is looked at when the record can be.
        let known = self.store.known(questions).await.unwrap_or_default();
        let unknown = paths.into_iter().zip(known).filter(|(_, known)| known.mirrored.is_none());
        unknown.map(|(path, _)| path).collect()
    }

    async fn inherited(&self, objects: Vec<(RelPath, Mirrored)>) {
        self.note(objects.into_iter().map(|(path, row)| Change::Inherited(path, row)).collect())
            .await;
    }

    async fn listing_ended(&self, complete: bool) {
        if complete && self.is_heir() {
            self.note(vec![Change::Reviewed]).await;
        }
        // Where nothing can be listed, nothing can be found later.
        self.note_bound(|bound| (bound.listed, bound.heir) = (true, bound.heir && complete)).await;
    }

    async fn unrecorded(&self, objects: Vec<(RelPath, u64, Option<String>)>) -> Vec<RelPath> {
        let questions = objects.iter().map(|(path, ..)| Question::of(path.clone())).collect();
        // Of what cannot be read now nothing is taken over.
        let known = self.store.known(questions).await.unwrap_or_default();
        let unknown = objects.into_iter().zip(known).filter(|((_, size, _), known)| {
            known.mirrored.is_none() && known.listed != Some(*size)
        });
        unknown.map(|((path, ..), _)| path).collect()
    }

    async fn heir_no_more(&self) {
        self.note_bound(|bound| bound.heir = false).await;
    }

    async fn probed(&self, note: &str, conditions: bool) {
        let note = format!("{note}{}", if conditions { "" } else { UNCONDITIONAL });
        self.note_bound(|bound| bound.probed = Some(note)).await;
    }
}
