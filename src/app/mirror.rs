//! The parts that all sessions use: built once the state is open.

use super::endpoints::EngineHandles;
use super::invalidation::{self, InvalidationTask};
use super::lease::LeaseTask;
use super::reload::ConfigUpdate;
use super::shutdown_steps::RunningTasks;
use super::survival::StateSurvival;
use super::watched_dir::WatchedSource;
use super::{AppBucket, AppError, RunContext, build, first_binding, gauges, owner_of};
use crate::aws::Aws;
use crate::clock::unix_millis;
use crate::config::Config;
use crate::engine::control::ControlRequests;
use crate::engine::snapshot::{CarriedState, Snapshot};
use crate::exclusivity::DeleteGuard;
use crate::filter::Filter;
use crate::hints::HintLedger;
use crate::invalidate::{InvalidationObserver, InvalidationTotals};
use crate::model::{TraceSettings, UploadRecord};
use crate::retry_file;
use crate::root::LookMeter;
use crate::rules::Rules;
use crate::store::{Change, OpenedState, StateBinding, StateCounts, Store, StoreOpenError};
use crate::telemetry::{BucketPlace, GaugeValues};
use crate::transfer::{Instrumented, S3};
use std::sync::Arc;
use tokio::sync::watch;

/// The parts that every session uses.
pub(super) struct MirrorService {
    pub(super) context: RunContext,
    /// The configuration and its changes.
    pub(super) reload: ConfigUpdate,
    pub(super) filter: Arc<Filter>,
    pub(super) rules: Arc<Rules>,
    pub(super) aws: Aws,
    pub(super) s3: AppBucket,
    /// Decides whether this process may delete.
    pub(super) writer: Arc<DeleteGuard>,
    pub(super) store: Store,
    pub(super) survival: StateSurvival,
    pub(super) source: WatchedSource,
    /// The mark of the objects of this state.
    pub(super) owner: String,
    /// Publishes snapshots of the engine.
    pub(super) snapshots: watch::Sender<Snapshot>,
}

/// What a session continues with: the content of the state, or what the session before left.
pub(super) struct SessionStart {
    pub(super) bound: Option<StateBinding>,
    pub(super) counts: StateCounts,
    /// Multipart uploads that a crash left.
    pub(super) uploads: Vec<UploadRecord>,
    pub(super) carried: CarriedState,
    /// Why the directory was lost. It was logged then.
    pub(super) lost: Option<String>,
}

impl MirrorService {
    /// Builds the parts, and starts the tasks that use the state. They are in `tasks` then.
    pub(super) async fn build(
        context: RunContext,
        opened: OpenedState,
        handles: EngineHandles,
        tasks: &mut RunningTasks,
    ) -> Result<(Self, SessionStart, ControlRequests), AppError> {
        let RunContext { config, mode, shutdown, telemetry } = &context;
        let filter = build::filter(config).map_err(AppError::Patterns)?;
        let rules = build::rules(config).map_err(AppError::Patterns)?;
        let source = watched_source(config)?;
        let hints = Arc::clone(&handles.hints);
        let EngineHandles { snapshots, requests, invalidations, control, writer, reload, .. } =
            handles;
        let store = opened.store;
        snapshots.send_modify(|snapshot| snapshot.counts = opened.counts);
        telemetry.recorder.locate(bucket_place(config));
        let totals = Arc::new(InvalidationTotals::default());
        let invalidation =
            config.cloudfront.as_ref().map(|_| (store.backlog(), Arc::clone(&totals)));
        if let Some((backlog, totals)) = invalidation.clone() {
            let status = Box::new(move || invalidation::status(*backlog.borrow(), &totals));
            // This is the only place that sets it.
            drop(invalidations.set(status));
        }
        let aws = Aws::load(build::aws(config)).await?;
        let gauges =
            gauges::reader(snapshots.subscribe(), invalidation, aws.clone(), config, &writer);
        let gauges = with_polling(gauges, source.meter(), hints);
        let tally = reload.tally.clone();
        telemetry
            .recorder
            .observe(move || GaugeValues { reloads: Some(tally.reloads()), ..gauges() });
        let report = retry_file::keep_report(
            build::retry_file(config),
            store.clone(),
            snapshots.subscribe(),
        );
        tasks.start_report(report);
        let observer = Arc::new(telemetry.recorder.clone()) as Arc<dyn InvalidationObserver>;
        let watched = (totals, observer);
        let invalidation = InvalidationTask::start(config, *mode, shutdown, &store, &aws, watched);
        tasks.keep_invalidation(invalidation);
        let owner = owner_of(opened.bound.as_ref());
        let s3 = S3::new(&aws, build::s3(config, &owner));
        let s3 = Instrumented::new(s3, telemetry.recorder.clone());
        tasks.lease = LeaseTask::start(config, &owner, &s3, (&writer, control), shutdown).await;
        let start = SessionStart {
            bound: opened.bound,
            counts: opened.counts,
            uploads: opened.uploads,
            carried: CarriedState::from_state(opened.recent_deletes),
            lost: None,
        };
        let survival = tasks.survival.clone();
        let service = Self {
            context,
            reload,
            filter,
            rules,
            aws,
            s3,
            writer,
            store,
            survival,
            source,
            owner,
            snapshots,
        };
        Ok((service, start, requests))
    }

    /// How logs and traces identify changes: by the state that contains them.
    pub(super) fn tracing(&self) -> TraceSettings {
        let seed = u64::from_str_radix(&self.owner, 16).unwrap_or_default();
        TraceSettings { seed, sampling: self.context.telemetry.sampling }
    }

    /// The binding of a new state, without the directory.
    pub(super) fn first_binding(&self) -> StateBinding {
        first_binding(&self.context.config, &self.owner)
    }

    /// Writes the binding of a session, and returns the sizes of the state.
    pub(super) async fn write_binding(
        &self,
        bound: &StateBinding,
    ) -> Result<StateCounts, AppError> {
        Ok(self.store.write(vec![Change::Bound(bound.clone())]).await?)
    }
}

/// Adds what sweeps, scans and hints count.
fn with_polling(
    gauges: impl Fn() -> GaugeValues + Send + Sync + 'static,
    meter: Arc<LookMeter>,
    hints: Arc<HintLedger>,
) -> impl Fn() -> GaugeValues + Send + Sync + 'static {
    move || GaugeValues {
        poll_operations: Some(meter.counts()),
        hints: Some(hints.by_result()),
        relays: Some(hints.relays(unix_millis())),
        ..gauges()
    }
}

/// The bucket, as spans name it.
fn bucket_place(config: &Config) -> BucketPlace {
    BucketPlace {
        bucket: config.bucket.clone(),
        region: config.region.clone(),
        prefix: config.prefix.clone(),
    }
}

fn watched_source(config: &Config) -> Result<WatchedSource, AppError> {
    WatchedSource::new(config).map_err(|source| {
        AppError::State(StoreOpenError::Create { path: config.state_dir.clone(), source })
    })
}
