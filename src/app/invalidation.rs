//! Starts and stops the CloudFront worker.

use super::RunMode;
use crate::admin;
use crate::aws::Aws;
use crate::clock::unix_millis;
use crate::config::Config;
use crate::engine::CdnChange;
use crate::invalidate::{
    Addresses, BatchSettings, CloudFrontInvalidator, InvalidationObserver, InvalidationTotals,
    InvalidationWorker, WorkerPhase, WorkerSettings, WorkerStatus,
};
use crate::rules::Rules;
use crate::shutdown::Shutdown;
use crate::store::{InvalidationBacklog, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Maximum time of a single run for CloudFront to accept its last paths.
const ONCE_PATIENCE: Duration = Duration::from_secs(60);
/// Maximum time for an aborted worker to end.
const ABORT_PATIENCE: Duration = Duration::from_secs(5);
/// Attempts of a single run for a failing request. A daemon that ends has a deadline instead.
const ONCE_TRIES: u32 = 10;

/// What the engine records for invalidation, if it is enabled.
pub(super) fn wanted(config: &Config, rules: &Arc<Rules>) -> Option<CdnChange> {
    let cloudfront = config.cloudfront.as_ref()?;
    let tagging = config.objects.cache_tags.as_ref().map(|_| Arc::clone(rules));
    Some(CdnChange { new_objects: cloudfront.invalidate_new, tagging })
}

/// The status of the worker, for the endpoints.
pub(super) fn status(
    backlog: InvalidationBacklog,
    totals: &InvalidationTotals,
) -> admin::InvalidationStatus {
    let WorkerStatus { budget: (spent, limit), last_success, last_error } = totals.standing();
    let waiting = backlog.unsent();
    let running = backlog.running;
    admin::InvalidationStatus { waiting, running, spent, limit, last_success, last_error }
}

/// The running worker.
pub(super) struct InvalidationTask {
    mode: RunMode,
    phase: watch::Sender<WorkerPhase>,
    expired: AbortOnDropHandle<()>,
    task: AbortOnDropHandle<()>,
    backlog: watch::Receiver<InvalidationBacklog>,
}

impl InvalidationTask {
    /// Starts the worker, if invalidation is enabled.
    pub(super) fn start(
        config: &Config,
        mode: RunMode,
        shutdown: &Shutdown,
        store: &Store,
        aws: &Aws,
        (totals, observer): (Arc<InvalidationTotals>, Arc<dyn InvalidationObserver>),
    ) -> Option<Self> {
        let cloudfront = config.cloudfront.as_ref()?;
        let settings = WorkerSettings {
            distribution: cloudfront.distribution_id.clone(),
            addresses: Addresses::new(&cloudfront.path_prefix, cloudfront.index_paths)
                .with_tags(config.objects.cache_tags.clone()),
            batch: BatchSettings {
                quiet: cloudfront.batch,
                wildcard_threshold: cloudfront.wildcard_threshold,
                paths_at_once: cloudfront.batch_path_limit,
                monthly_limit: cloudfront.monthly_path_limit,
                retry_max: config.retry_interval,
            },
            clock: unix_millis,
        };
        let cdn = CloudFrontInvalidator::new(aws);
        let worker = InvalidationWorker::new(settings, cdn, store.clone(), totals, observer);
        let (phase, phases) = watch::channel(WorkerPhase::Running);
        let task = AbortOnDropHandle::new(tokio::spawn(worker.run(phases)));
        let expired = expire(shutdown.clone(), phase.clone(), config.shutdown_timeout);
        let expired = AbortOnDropHandle::new(tokio::spawn(expired));
        Some(Self { mode, phase, expired, task, backlog: store.backlog() })
    }

    /// The number of paths that CloudFront has not accepted.
    pub(super) fn backlog(&self) -> watch::Receiver<InvalidationBacklog> {
        self.backlog.clone()
    }

    /// Waits until CloudFront has accepted all invalidations, or time is over. No more changes
    /// arrive.
    pub(super) async fn finish(self) {
        let Self { mode, phase, mut expired, mut task, .. } = self;
        let tries = if mode.is_once() { ONCE_TRIES } else { u32::MAX };
        phase.send_replace(WorkerPhase::Ending { tries });
        let too_long = async {
            match mode {
                RunMode::Once { .. } => tokio::time::sleep(ONCE_PATIENCE).await,
                RunMode::Daemon => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            // A panic in it has been reported by its hook; the backlog has what it left.
            _ = &mut task => true,
            _ = &mut expired => false,
            () = too_long => false,
        };
        if !ended {
            task.abort();
            // The state is closed when its last handle is dropped; the worker has one.
            drop(task.await);
        }
    }
}

/// The limit for [`InvalidationTask::finish`], which ends by itself before it.
pub(super) fn finish_limit(mode: RunMode, time_left: Duration) -> Duration {
    let patience = match mode {
        RunMode::Once { .. } => ONCE_PATIENCE,
        RunMode::Daemon => time_left,
    };
    patience + ABORT_PATIENCE
}

/// Makes the worker send at once when shutdown is requested, and ends when time is over.
async fn expire(shutdown: Shutdown, phase: watch::Sender<WorkerPhase>, patience: Duration) {
    shutdown.requested().await;
    phase.send_if_modified(|phase| {
        let running = *phase == WorkerPhase::Running;
        if running {
            *phase = WorkerPhase::Hurrying;
        }
        running
    });
    tokio::select! {
        () = tokio::time::sleep_until(shutdown.deadline(patience)) => {}
        () = shutdown.forced() => {}
    }
}
