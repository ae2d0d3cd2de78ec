//! The worker: waits as the batcher says, sends requests to the CDN, and records the results.
//!
//! It may be dropped at any moment, which is as safe as a kill.

use super::batch::{self, BatchStep, BatchTime, BatchVerdict, Batcher};
use super::invalidator::{InvalidateError, Invalidator, RequestStatus, RetryKind};
use super::observe::{InvalidationObserver, InvalidationRequest, InvalidationTotals};
use super::path::{Addresses, written};
use crate::model::{
    HexDigits, MonthCount, PathBatch, PendingInvalidation, SpanReference, UnixMillis,
};
use crate::path_cover::{CoverLimits, Covered, cover};
use crate::store::{Change, InvalidationChange, Store, StoredInvalidations};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The pause after the state could not be read or written.
const STORE_RETRY: Duration = Duration::from_secs(2);
/// The interval at which the same error is logged again.
const TELL_AGAIN: Duration = Duration::from_secs(900);

/// The settings of the worker.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// The id of the distribution.
    pub distribution: String,
    /// The mapping of files to addresses.
    pub addresses: Addresses,
    /// The settings of the batcher.
    pub batch: batch::BatchSettings,
    /// The wall clock, for budgets.
    pub clock: fn() -> UnixMillis,
}

/// The phase of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerPhase {
    /// Normal operation.
    Running,
    /// Shutdown was requested: the quiet time ends.
    Hurrying,
    /// No more changes arrive. Each batch has a limited number of attempts.
    Ending {
        /// Maximum number of attempts.
        tries: u32,
    },
}

/// Sends the pending invalidations of the state to the CDN.
#[derive(Debug)]
pub struct InvalidationWorker<I> {
    settings: WorkerSettings,
    cdn: I,
    store: Store,
    totals: Arc<InvalidationTotals>,
    observer: Arc<dyn InvalidationObserver>,
    started: Instant,
    report: InvalidationReport,
}

/// What was logged already, so that an outage of days is not logged every minute.
#[derive(Debug, Default)]
struct InvalidationReport {
    trouble: Option<(String, Instant)>,
    low: Option<MonthCount>,
    exhausted: Option<MonthCount>,
}

impl<I: Invalidator> InvalidationWorker<I> {
    /// Creates a worker for the state.
    #[must_use]
    pub fn new(
        settings: WorkerSettings,
        cdn: I,
        store: Store,
        totals: Arc<InvalidationTotals>,
        observer: Arc<dyn InvalidationObserver>,
    ) -> Self {
        let started = Instant::now();
        let report = InvalidationReport::default();
        Self { settings, cdn, store, totals, observer, started, report }
    }

    /// Works until `phase` says that no more changes arrive, and nothing is left.
    pub async fn run(mut self, mut phase: watch::Receiver<WorkerPhase>) {
        let mut backlog = self.store.backlog();
        let found = self.read().await;
        let mut batcher = self.start(found).await;
        loop {
            let now = self.now();
            let waiting = backlog.borrow_and_update().waiting;
            batcher.waiting(waiting, now);
            let current = *phase.borrow_and_update();
            if current != WorkerPhase::Running && !batcher.is_hurrying() {
                batcher.hurry(now);
            }
            if matches!(current, WorkerPhase::Ending { tries } if batcher.is_drained(tries, now)) {
                return;
            }
            self.totals.budget(batcher.spent(now), self.settings.batch.monthly_limit);
            self.log_budget(&batcher, waiting, now);
            match batcher.step(now) {
                BatchStep::Take(limits) => self.take(&mut batcher, limits).await,
                BatchStep::Recount(batch) => self.recount(&mut batcher, batch).await,
                BatchStep::Create(batch) => self.create(&mut batcher, batch).await,
                BatchStep::Ask(batch) => self.ask(&mut batcher, &batch).await,
                BatchStep::Wait(until) => {
                    let until = until.map(|until| self.started + until);
                    tokio::select! {
                        () = sleep_until(until) => {}
                        changed = backlog.changed() => if changed.is_err() { return },
                        changed = phase.changed() => if changed.is_err() { return },
                    }
                }
            }
        }
    }

    fn now(&self) -> BatchTime {
        let elapsed = self.started.elapsed();
        BatchTime { elapsed, wall: (self.settings.clock)(), jitter: fastrand::f64() }
    }

    /// Resumes what an earlier process left. Batches for another distribution were never accepted
    /// there, or do not concern this one.
    async fn start(&mut self, found: StoredInvalidations) -> Batcher {
        let mut batches = Vec::new();
        for batch in found.batches {
            if batch.distribution == self.settings.distribution {
                batches.push(batch);
                continue;
            }
            let made = match batch.accepted {
                Some(_) => Vec::new(),
                None => {
                    let made = self.batch(batch.paths, batch.month);
                    vec![PathBatch { links: batch.links, ..made }]
                }
            };
            let of = Vec::new();
            let instead_of = Some(batch.id);
            let spent = (batch.month, 0);
            let change = InvalidationChange::Made { batches: made.clone(), of, instead_of, spent };
            self.write(change).await;
            batches.extend(made);
        }
        Batcher::new(self.settings.batch.clone(), batches, found.spent)
    }

    /// Creates batches of all pending paths. One has all single paths; each wildcard has its own,
    /// because their rate is limited.
    async fn take(&mut self, batcher: &mut Batcher, limits: CoverLimits) {
        let stale = self.read().await.stale;
        let now = self.now();
        let (plain, wildcards) = paths(&self.settings.addresses, &stale, limits);
        let month = MonthCount::at(now.wall);
        let mut wildcards = wildcards.into_iter();
        let mut first: Vec<_> = plain.into_iter().chain(wildcards.next()).collect();
        first.sort_unstable();
        let lists = std::iter::once(first).chain(wildcards.map(|path| vec![path]));
        let mut batches: Vec<_> =
            lists.filter(|paths| !paths.is_empty()).map(|paths| self.batch(paths, month)).collect();
        link(&self.settings.addresses, &mut batches, &stale);
        let spent = (month, batches.iter().map(PathBatch::size).sum());
        let made = batches.clone();
        let of = stale;
        let instead_of = None;
        self.write(InvalidationChange::Made { batches: made, of, instead_of, spent }).await;
        let left = self.store.backlog().borrow().waiting;
        batcher.made(batches, left, self.now());
    }

    /// Counts a batch from a past month in the present one, in which it will be billed.
    async fn recount(&mut self, batcher: &mut Batcher, batch: PathBatch) {
        let of = Vec::new();
        let instead_of = None;
        let spent = (batch.month, batch.size());
        let batches = vec![batch.clone()];
        self.write(InvalidationChange::Made { batches, of, instead_of, spent }).await;
        let counted = batch.size();
        batcher.replaced(batch, counted);
    }

    async fn create(&mut self, batcher: &mut Batcher, batch: PathBatch) {
        let began = (self.settings.clock)();
        let (answer, response) = self.cdn.create(&batch).await;
        let ended = (self.settings.clock)();
        let failed_before = self.report.trouble.is_some();
        let request = InvalidationRequest {
            batch: &batch,
            began,
            ended,
            answer: &answer,
            response: &response,
            failed_before,
        };
        self.totals.asked(&request);
        self.observer.asked(&request);
        match batcher.created(&answer, self.now()) {
            BatchVerdict::Accepted | BatchVerdict::Completed => {
                self.report.trouble = None;
                self.accepted(&batch, &answer).await;
            }
            BatchVerdict::Later => self.log_trouble(&batch, &answer),
            BatchVerdict::Unfit => {
                self.log_trouble(&batch, &answer);
                // The one path that is always valid replaces it, and is paid from its count.
                let whole = self.batch(vec![self.settings.addresses.everything()], batch.month);
                let whole = PathBatch { links: batch.links, ..whole };
                let of = Vec::new();
                let spent = (batch.month, 0);
                let batches = vec![whole.clone()];
                let instead_of = Some(batch.id);
                self.write(InvalidationChange::Made { batches, of, instead_of, spent }).await;
                batcher.replaced(whole, 0);
            }
        }
    }

    async fn accepted(&self, batch: &PathBatch, answer: &Result<RequestStatus, InvalidateError>) {
        let Ok(status) = answer else { return };
        self.totals.accepted.fetch_add(batch.size(), Ordering::Relaxed);
        in_trace(batch, || {
            tracing::info!(
                event = "invalidation.created",
                aws.cloudfront.distribution_id = batch.distribution,
                aws.cloudfront.invalidation_id = status.id,
                batch = batch.id,
                paths = batch.size(),
                wildcards = batch.wildcards(),
                sample =
                    batch.paths.iter().take(SAMPLE_PATHS).cloned().collect::<Vec<_>>().join(" "),
                "CloudFront invalidation created"
            );
        });
        if status.completed {
            self.completed(batch, &status.id).await;
        } else {
            let change = InvalidationChange::Accepted(batch.id.clone(), status.id.clone());
            self.write(change).await;
        }
    }

    async fn completed(&self, batch: &PathBatch, id: &str) {
        self.totals.completed.fetch_add(batch.size(), Ordering::Relaxed);
        in_trace(batch, || {
            tracing::info!(
                event = "invalidation.completed",
                aws.cloudfront.distribution_id = batch.distribution,
                aws.cloudfront.invalidation_id = id,
                batch = batch.id,
                paths = batch.size(),
                duration_ms = (self.settings.clock)().saturating_sub(batch.created),
                "invalidation completed"
            );
        });
        self.write(InvalidationChange::Ended(batch.id.clone())).await;
    }

    async fn ask(&mut self, batcher: &mut Batcher, batch: &PathBatch) {
        let id = batch.accepted.clone().unwrap_or_default();
        let answer = self.cdn.status(&batch.distribution, &id).await;
        if let Err(trouble) = &answer {
            tracing::debug!(
                event = "invalidation.unknown",
                aws.cloudfront.invalidation_id = id,
                error.type = trouble.code,
                error.message = trouble.message,
                "invalidation status unknown; will retry"
            );
        }
        if batcher.asked(batch, &answer, self.now()) == BatchVerdict::Completed {
            self.completed(batch, &id).await;
        }
    }

    /// Creates a batch with a unique id, and therefore a unique reference.
    fn batch(&self, paths: Vec<String>, month: MonthCount) -> PathBatch {
        let created = (self.settings.clock)();
        let id = format!("{created:x}-{:016x}", fastrand::u64(..));
        let distribution = self.settings.distribution.clone();
        let content = format!("{distribution}\n{}\n{id}", paths.join("\n"));
        let hash = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, content.as_bytes());
        let reference = format!("file-sync-{hash:016x}-{id}");
        let links = Vec::new();
        PathBatch { id, reference, distribution, paths, month, created, accepted: None, links }
    }

    fn log_trouble(&mut self, batch: &PathBatch, answer: &Result<RequestStatus, InvalidateError>) {
        let Err(trouble) = answer else { return };
        self.totals.failed.fetch_add(batch.size(), Ordering::Relaxed);
        let again =
            |(code, at): &(String, Instant)| *code == trouble.code && at.elapsed() < TELL_AGAIN;
        let was_logged = self.report.trouble.as_ref().is_some_and(again);
        if !was_logged {
            self.report.trouble = Some((trouble.code.clone(), Instant::now()));
        }
        // One macro per level, because the level of a log record is constant.
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(
                    event = "invalidation.failed",
                    aws.cloudfront.distribution_id = batch.distribution,
                    batch = batch.id,
                    paths = batch.size(),
                    error.type = trouble.code,
                    error.message = trouble.message,
                    "CloudFront invalidation failed; will retry, uploads continue"
                )
            };
        }
        in_trace(batch, || match trouble.kind {
            _ if was_logged => log!(debug),
            RetryKind::Unavailable | RetryKind::Crowded => log!(warn),
            RetryKind::Refused | RetryKind::Unfit | RetryKind::Unknown => log!(error),
        });
    }

    fn log_budget(&mut self, batcher: &Batcher, waiting: u64, now: BatchTime) {
        let month = Some(MonthCount::at(now.wall));
        let limit = self.settings.batch.monthly_limit;
        let spent = batcher.spent(now);
        if waiting > 0 && batcher.is_exhausted(now) && self.report.exhausted != month {
            self.report.exhausted = month;
            tracing::error!(
                event = "invalidation.budget_exhausted",
                limit,
                spent,
                waiting,
                "cloudfront_monthly_path_limit is reached: viewers see old copies until they \
                 expire; what waits is sent next month, or when the limit is raised"
            );
        } else if batcher.is_low(now) && !batcher.is_exhausted(now) && self.report.low != month {
            self.report.low = month;
            tracing::warn!(
                event = "invalidation.budget_low",
                limit,
                spent,
                "cloudfront_monthly_path_limit is near: from here on one wildcard covers all"
            );
        }
    }

    async fn read(&self) -> StoredInvalidations {
        loop {
            match self.store.invalidations().await {
                Ok(found) => return found,
                Err(error) => tracing::error!(
                    event = "state.read_failed",
                    error.message = %error,
                    "the record cannot be read"
                ),
            }
            tokio::time::sleep(STORE_RETRY).await;
        }
    }

    /// Writes a change, and returns when it is on disk.
    async fn write(&self, change: InvalidationChange) {
        let mut changes = vec![Change::Invalidation(change)];
        // Changes that could not be written are retained, and precede the next write, even an empty
        // one.
        while let Err(error) = self.store.write(std::mem::take(&mut changes)).await {
            tracing::error!(
                event = "state.write_failed",
                error.message = %error,
                "state cannot be written; no new invalidation is requested until it can"
            );
            tokio::time::sleep(STORE_RETRY).await;
        }
    }
}

/// Maximum number of paths in a log line.
const SAMPLE_PATHS: usize = 5;

/// Maximum number of changes that a batch links to.
const LINKS_MAX: usize = 100;

/// The paths that cover `stale`, in the form of CloudFront, sorted: single paths and tags, and
/// wildcards.
fn paths(
    addresses: &Addresses,
    stale: &[PendingInvalidation],
    limits: CoverLimits,
) -> (Vec<String>, Vec<String>) {
    let all =
        |stale: &[PendingInvalidation], wanted: fn(&PendingInvalidation) -> bool| -> Vec<Covered> {
            let stale = stale.iter().filter(|stale| wanted(stale));
            stale.flat_map(|stale| addresses.covering(stale)).collect()
        };
    let mut untagged = all(stale, |stale| !stale.tagged);
    untagged.sort_unstable();
    // Only wildcards are limited, and only directories with untagged copies need them.
    let wholes = if untagged.is_empty() { limits.items } else { limits.wholes };
    let covered = cover(all(stale, |_| true), CoverLimits { wholes, ..limits });
    let mut paths: Vec<_> =
        covered.iter().map(|covered| addresses.written(covered, &untagged)).collect();
    paths.sort_unstable();
    paths.dedup();
    paths.into_iter().partition(|path| !path.ends_with('*'))
}

/// Records in each batch the changes that it covers, as far as their traces are exported.
fn link(addresses: &Addresses, batches: &mut [PathBatch], stale: &[PendingInvalidation]) {
    let Some((first, rest)) = batches.split_first_mut() else { return };
    for (stale, change) in stale.iter().filter_map(|stale| Some((stale, stale.change?))) {
        let address = addresses.covering(stale).first().map(written);
        let covers = |batch: &&mut PathBatch| {
            let wildcard = batch.paths.first().and_then(|path| path.strip_suffix('*'));
            wildcard.zip(address.as_ref()).is_some_and(|(above, path)| path.starts_with(above))
        };
        let batch = rest.iter_mut().find(covers).unwrap_or(&mut *first);
        if batch.links.len() < LINKS_MAX {
            batch.links.push(change);
        }
    }
}

/// Adds the ids of its trace to its log lines.
fn in_trace(batch: &PathBatch, log: impl FnOnce()) {
    let SpanReference { trace_id, span_id } = batch.context();
    let trace_id = HexDigits(trace_id);
    let span_id = HexDigits(span_id);
    let trace_flags = if batch.links.is_empty() { "00" } else { "01" };
    tracing::error_span!("invalidation", %trace_id, %span_id, trace_flags).in_scope(log);
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
