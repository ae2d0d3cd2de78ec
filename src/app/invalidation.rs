//! The worker that tells CloudFront: started with the daemon, ended with it.

use super::Mode;
use crate::admin;
use crate::aws::Aws;
use crate::clock::unix_millis;
use crate::config::Config;
use crate::engine::Invalidate;
use crate::invalidate::{
    Addresses, BatchSettings, CloudFront, Observer, Phase, Settings, Standing, Totals, Worker,
};
use crate::rules::Rules;
use crate::shutdown::Shutdown;
use crate::store::{Backlog, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A single run waits for CloudFront to take its last paths for this long.
const ONCE_PATIENCE: Duration = Duration::from_secs(60);
/// How often a daemon that ends tries what fails, and a single run.
const TRIES: (u32, u32) = (2, 5);

/// What the engine has to note, if anything.
pub(super) fn wanted(config: &Config, rules: &Arc<Rules>) -> Option<Invalidate> {
    let cloudfront = config.cloudfront.as_ref()?;
    let tagging = config.objects.cache_tags.as_ref().map(|_| Arc::clone(rules));
    Some(Invalidate { new_objects: cloudfront.invalidate_new, tagging })
}

/// How it stands, for whoever asks.
pub(super) fn standing(backlog: Backlog, totals: &Totals) -> admin::Invalidating {
    let Standing { budget: (spent, limit), last_success, last_error } = totals.standing();
    let (waiting, running) = (backlog.untold(), backlog.running);
    admin::Invalidating { waiting, running, spent, limit, last_success, last_error }
}

/// The worker, running.
pub(super) struct Invalidating {
    mode: Mode,
    phase: watch::Sender<Phase>,
    expired: JoinHandle<()>,
    task: JoinHandle<()>,
    backlog: watch::Receiver<Backlog>,
}

impl Invalidating {
    /// Starts it, where it is wanted.
    pub(super) fn start(
        config: &Config,
        mode: Mode,
        shutdown: &Shutdown,
        store: &Store,
        aws: &Aws,
        (totals, observer): (Arc<Totals>, Arc<dyn Observer>),
    ) -> Option<Self> {
        let cloudfront = config.cloudfront.as_ref()?;
        let settings = Settings {
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
        let cdn = CloudFront::new(aws);
        let worker = Worker::new(settings, cdn, store.clone(), totals, observer);
        let (phase, phases) = watch::channel(Phase::Running);
        let task = tokio::spawn(worker.run(phases));
        let expired =
            tokio::spawn(expire(shutdown.clone(), phase.clone(), config.shutdown_timeout));
        Some(Self { mode, phase, expired, task, backlog: store.backlog() })
    }

    /// Nothing more will change: waits until CloudFront was told, or there is no more time. Answers how
    /// many paths it was not told.
    pub(super) async fn end(self) -> u64 {
        let Self { mode, phase, mut expired, mut task, backlog } = self;
        let tries = if mode.is_once() { TRIES.1 } else { TRIES.0 };
        phase.send_replace(Phase::Ending { tries });
        let too_long = async {
            match mode {
                Mode::Once { .. } => tokio::time::sleep(ONCE_PATIENCE).await,
                Mode::Daemon => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            // A panic in it has been reported by its hook; what it left is counted below.
            _ = &mut task => true,
            _ = &mut expired => false,
            () = too_long => false,
        };
        expired.abort();
        if !ended {
            task.abort();
            // The record is closed when its last handle is gone, the worker's among them.
            drop(task.await);
        }
        backlog.borrow().untold()
    }
}

/// Has the worker rush when the daemon is told to stop, and ends when there is no more time.
async fn expire(shutdown: Shutdown, phase: watch::Sender<Phase>, patience: Duration) {
    shutdown.requested().await;
    phase.send_if_modified(|phase| {
        let running = *phase == Phase::Running;
        if running {
            *phase = Phase::Rushing;
        }
        running
    });
    tokio::select! {
        () = tokio::time::sleep(patience) => {}
        () = shutdown.forced() => {}
    }
}
