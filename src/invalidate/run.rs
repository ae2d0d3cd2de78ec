//! The worker: waits for what the batcher says, asks the CDN, writes down what came of it.
//!
//! It may be dropped at any moment, which is as safe as a kill.

use super::batch::{self, Batcher, Now, Step, Verdict};
use super::observe::{Observer, Request, Totals};
use super::path::{Addresses, written};
use super::port::{Invalidator, Kind, Status, Trouble};
use crate::cover::{Covered, Limits, cover};
use crate::model::{Batch, Context, Hex, Month, Stale, UnixMillis};
use crate::store::{Change, Invalidation, Invalidations, Store};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Wait before the record is asked again that could not be read or written.
const STORE_RETRY: Duration = Duration::from_secs(2);
/// The same trouble is told again after this time.
const TELL_AGAIN: Duration = Duration::from_secs(900);

/// What the worker goes by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which distribution is told.
    pub distribution: String,
    /// How files map to what viewers ask for.
    pub addresses: Addresses,
    /// When what is sent.
    pub batch: batch::Settings,
    /// The wall clock, for budgets.
    pub clock: fn() -> UnixMillis,
}

/// What the process is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Going on.
    Running,
    /// Coming to an end: nothing rests any longer.
    Rushing,
    /// Nothing more will come. Each batch has so many tries.
    Ending {
        /// How often what fails is tried.
        tries: u32,
    },
}

/// Tells the CDN what the record says it has to be told.
#[derive(Debug)]
pub struct Worker<I> {
    settings: Settings,
    cdn: I,
    store: Store,
    totals: Arc<Totals>,
    observer: Arc<dyn Observer>,
    started: Instant,
    told: Told,
}

/// What was said already, so that an outage of days is not said every minute.
#[derive(Debug, Default)]
struct Told {
    trouble: Option<(String, Instant)>,
    low: Option<Month>,
    exhausted: Option<Month>,
}

impl<I: Invalidator> Worker<I> {
    /// A worker over the record.
    #[must_use]
    pub fn new(
        settings: Settings,
        cdn: I,
        store: Store,
        totals: Arc<Totals>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let (started, told) = (Instant::now(), Told::default());
        Self { settings, cdn, store, totals, observer, started, told }
    }

    /// Works until `phase` says that nothing more comes and nothing is left.
    pub async fn run(mut self, mut phase: watch::Receiver<Phase>) {
        let mut backlog = self.store.backlog();
        let found = self.read().await;
        let mut batcher = self.start(found).await;
        loop {
            let now = self.now();
            let waiting = backlog.borrow_and_update().waiting;
            batcher.waiting(waiting, now);
            let current = *phase.borrow_and_update();
            if current != Phase::Running && !batcher.is_rushing() {
                batcher.rush(now);
            }
            if matches!(current, Phase::Ending { tries } if batcher.is_drained(tries, now)) {
                return;
            }
            self.totals.budget(batcher.spent(now), self.settings.batch.monthly_limit);
            self.tell_budget(&batcher, waiting, now);
            match batcher.step(now) {
                Step::Take(limits) => self.take(&mut batcher, limits).await,
                Step::Recount(batch) => self.recount(&mut batcher, batch).await,
                Step::Create(batch) => self.create(&mut batcher, batch).await,
                Step::Ask(batch) => self.ask(&mut batcher, &batch).await,
                Step::Wait(until) => {
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

    fn now(&self) -> Now {
        let elapsed = self.started.elapsed();
        Now { elapsed, wall: (self.settings.clock)(), jitter: fastrand::f64() }
    }

    /// Takes up what an earlier process left. What it made for another distribution was never accepted
    /// there, or is no concern of this one.
    async fn start(&mut self, found: Invalidations) -> Batcher {
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
                    vec![Batch { links: batch.links, ..made }]
                }
            };
            let (of, instead_of, spent) = (Vec::new(), Some(batch.id), (batch.month, 0));
            let change = Invalidation::Made { batches: made.clone(), of, instead_of, spent };
            self.write(change).await;
            batches.extend(made);
        }
        Batcher::new(self.settings.batch.clone(), batches, found.spent)
    }

    /// Makes batches of all that waits. One has all the paths; of wildcards each has one, for so many a
    /// second are allowed.
    async fn take(&mut self, batcher: &mut Batcher, limits: Limits) {
        let stale = self.read().await.stale;
        let now = self.now();
        let (plain, wildcards) = paths(&self.settings.addresses, &stale, limits);
        let month = Month::at(now.wall);
        let mut wildcards = wildcards.into_iter();
        let mut first: Vec<_> = plain.into_iter().chain(wildcards.next()).collect();
        first.sort_unstable();
        let lists = std::iter::once(first).chain(wildcards.map(|path| vec![path]));
        let mut batches: Vec<_> =
            lists.filter(|paths| !paths.is_empty()).map(|paths| self.batch(paths, month)).collect();
        link(&self.settings.addresses, &mut batches, &stale);
        let spent = (month, batches.iter().map(Batch::size).sum());
        let (made, of, instead_of) = (batches.clone(), stale, None);
        self.write(Invalidation::Made { batches: made, of, instead_of, spent }).await;
        let left = self.store.backlog().borrow().waiting;
        batcher.made(batches, left, self.now());
    }

    /// The batch was made in a month that is over, and will be paid in this one.
    async fn recount(&mut self, batcher: &mut Batcher, batch: Batch) {
        let (of, instead_of, spent) = (Vec::new(), None, (batch.month, batch.size()));
        let batches = vec![batch.clone()];
        self.write(Invalidation::Made { batches, of, instead_of, spent }).await;
        let counted = batch.size();
        batcher.replaced(batch, counted);
    }

    async fn create(&mut self, batcher: &mut Batcher, batch: Batch) {
        let began = (self.settings.clock)();
        let (answer, heard) = self.cdn.create(&batch).await;
        let (ended, failed_before) = ((self.settings.clock)(), self.told.trouble.is_some());
        let request =
            Request { batch: &batch, began, ended, answer: &answer, heard: &heard, failed_before };
        self.totals.asked(&request);
        self.observer.asked(&request);
        match batcher.created(&answer, self.now()) {
            Verdict::Accepted | Verdict::Completed => {
                self.told.trouble = None;
                self.accepted(&batch, &answer).await;
            }
            Verdict::Later => self.tell_trouble(&batch, &answer),
            Verdict::Unfit => {
                self.tell_trouble(&batch, &answer);
                // The one path that is always right takes its place, and is paid from its count.
                let whole = self.batch(vec![self.settings.addresses.everything()], batch.month);
                let whole = Batch { links: batch.links, ..whole };
                let (of, spent) = (Vec::new(), (batch.month, 0));
                let (batches, instead_of) = (vec![whole.clone()], Some(batch.id));
                self.write(Invalidation::Made { batches, of, instead_of, spent }).await;
                batcher.replaced(whole, 0);
            }
        }
    }

    async fn accepted(&self, batch: &Batch, answer: &Result<Status, Trouble>) {
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
                "CloudFront was told of changed objects"
            );
        });
        if status.completed {
            self.completed(batch, &status.id).await;
        } else {
            let change = Invalidation::Accepted(batch.id.clone(), status.id.clone());
            self.write(change).await;
        }
    }

    async fn completed(&self, batch: &Batch, id: &str) {
        self.totals.completed.fetch_add(batch.size(), Ordering::Relaxed);
        in_trace(batch, || {
            tracing::info!(
                event = "invalidation.completed",
                aws.cloudfront.distribution_id = batch.distribution,
                aws.cloudfront.invalidation_id = id,
                batch = batch.id,
                paths = batch.size(),
                duration_ms = (self.settings.clock)().saturating_sub(batch.created),
                "every edge has done it"
            );
        });
        self.write(Invalidation::Ended(batch.id.clone())).await;
    }

    async fn ask(&mut self, batcher: &mut Batcher, batch: &Batch) {
        let id = batch.accepted.clone().unwrap_or_default();
        let answer = self.cdn.status(&batch.distribution, &id).await;
        if let Err(trouble) = &answer {
            tracing::debug!(
                event = "invalidation.unknown",
                aws.cloudfront.invalidation_id = id,
                error.type = trouble.code,
                error.message = trouble.message,
                "cannot tell how far it is; asked again"
            );
        }
        if batcher.asked(batch, &answer, self.now()) == Verdict::Completed {
            self.completed(batch, &id).await;
        }
    }

    /// A new batch. Its id is of no other, and with it its reference.
    fn batch(&self, paths: Vec<String>, month: Month) -> Batch {
        let created = (self.settings.clock)();
        let id = format!("{created:x}-{:016x}", fastrand::u64(..));
        let distribution = self.settings.distribution.clone();
        let content = format!("{distribution}\n{}\n{id}", paths.join("\n"));
        let hash = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, content.as_bytes());
        let reference = format!("file-sync-{hash:016x}-{id}");
        let links = Vec::new();
        Batch { id, reference, distribution, paths, month, created, accepted: None, links }
    }

    fn tell_trouble(&mut self, batch: &Batch, answer: &Result<Status, Trouble>) {
        let Err(trouble) = answer else { return };
        self.totals.failed.fetch_add(batch.size(), Ordering::Relaxed);
        let again =
            |(code, at): &(String, Instant)| *code == trouble.code && at.elapsed() < TELL_AGAIN;
        let told = self.told.trouble.as_ref().is_some_and(again);
        if !told {
            self.told.trouble = Some((trouble.code.clone(), Instant::now()));
        }
        // One macro each: the level of a record is constant.
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    event = "invalidation.failed",
                    aws.cloudfront.distribution_id = batch.distribution,
                    batch = batch.id,
                    paths = batch.size(),
                    error.type = trouble.code,
                    error.message = trouble.message,
                    "CloudFront was not told of changed objects; it is tried again, and uploads go on"
                )
            };
        }
        in_trace(batch, || match trouble.kind {
            _ if told => tell!(debug),
            Kind::Unavailable | Kind::Crowded => tell!(warn),
            Kind::Refused | Kind::Unfit | Kind::Unknown => tell!(error),
        });
    }

    fn tell_budget(&mut self, batcher: &Batcher, waiting: u64, now: Now) {
        let month = Some(Month::at(now.wall));
        let (limit, spent) = (self.settings.batch.monthly_limit, batcher.spent(now));
        if waiting > 0 && batcher.is_exhausted(now) && self.told.exhausted != month {
            self.told.exhausted = month;
            tracing::error!(
                event = "invalidation.budget_exhausted",
                limit,
                spent,
                waiting,
                "cloudfront_monthly_path_limit is reached: viewers see old copies until they \
                 expire; what waits is sent next month, or when the limit is raised"
            );
        } else if batcher.is_low(now) && !batcher.is_exhausted(now) && self.told.low != month {
            self.told.low = month;
            tracing::warn!(
                event = "invalidation.budget_low",
                limit,
                spent,
                "cloudfront_monthly_path_limit is near: from here on one wildcard covers all"
            );
        }
    }

    async fn read(&self) -> Invalidations {
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

    /// Answers when it is on disk.
    async fn write(&self, change: Invalidation) {
        let mut changes = vec![Change::Invalidation(change)];
        // What could not be written is kept, and comes before the nothing that is written next.
        while let Err(error) = self.store.write(std::mem::take(&mut changes)).await {
            tracing::error!(
                event = "state.write_failed",
                error.message = %error,
                "the record cannot be written; CloudFront is told nothing new until it can"
            );
            tokio::time::sleep(STORE_RETRY).await;
        }
    }
}

/// Paths of a batch that its log line shows.
const SAMPLE_PATHS: usize = 5;

/// Changes that a batch is linked to.
const LINKS_MAX: usize = 100;

/// What covers `stale`, as CloudFront wants it, sorted: single paths and tags, and wildcards.
fn paths(addresses: &Addresses, stale: &[Stale], limits: Limits) -> (Vec<String>, Vec<String>) {
    let all = |stale: &[Stale], wanted: fn(&Stale) -> bool| -> Vec<Covered> {
        let stale = stale.iter().filter(|stale| wanted(stale));
        stale.flat_map(|stale| addresses.of(stale)).collect()
    };
    let mut untagged = all(stale, |stale| !stale.tagged);
    untagged.sort_unstable();
    // Only wildcards are few, and only what has copies without tags needs them.
    let wholes = if untagged.is_empty() { limits.items } else { limits.wholes };
    let covered = cover(all(stale, |_| true), Limits { wholes, ..limits });
    let mut paths: Vec<_> =
        covered.iter().map(|covered| addresses.written(covered, &untagged)).collect();
    paths.sort_unstable();
    paths.dedup();
    paths.into_iter().partition(|path| !path.ends_with('*'))
}

/// Notes in each batch the changes that it tells of, as far as their traces are exported.
fn link(addresses: &Addresses, batches: &mut [Batch], stale: &[Stale]) {
    let Some((first, rest)) = batches.split_first_mut() else { return };
    for (stale, change) in stale.iter().filter_map(|stale| Some((stale, stale.change?))) {
        let address = addresses.of(stale).first().map(written);
        let covers = |batch: &&mut Batch| {
            let wildcard = batch.paths.first().and_then(|path| path.strip_suffix('*'));
            wildcard.zip(address.as_ref()).is_some_and(|(above, path)| path.starts_with(above))
        };
        let batch = rest.iter_mut().find(covers).unwrap_or(&mut *first);
        if batch.links.len() < LINKS_MAX {
            batch.links.push(change);
        }
    }
}

/// Has its lines lead to its trace.
fn in_trace(batch: &Batch, tell: impl FnOnce()) {
    let Context { trace_id, span_id } = batch.context();
    let (trace_id, span_id) = (Hex(trace_id), Hex(span_id));
    let trace_flags = if batch.links.is_empty() { "00" } else { "01" };
    tracing::error_span!("invalidation", %trace_id, %span_id, trace_flags).in_scope(tell);
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
