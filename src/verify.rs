//! Compares directory, state and bucket, and reports the differences.
//!
//! Two merges of two sorted streams: the directory with the state, as in a scan, and the state with
//! a listing of the bucket. Each difference is inspected, requested from S3 and judged with all
//! facts. Memory does not grow with any of the three.
//!
//! A daemon may run meanwhile. The listing is the oldest input; therefore objects that differ from
//! it are requested once more, up to a limit.

mod judge;

pub use judge::{Finding, FindingKind};

use crate::exclusivity;
use crate::filter::Filter;
use crate::look::{Inspection, look};
use crate::model::{
    KeyPrefix, ObjectKey, ObjectRecord, Outcome, QueueRow, RelPath, RootGeneration, Version,
};
use crate::plan::FileState;
use crate::reconcile::{Expected, ReportError, ScanScope, ScanTask};
use crate::root::Root;
use crate::settle::ReadyPath;
use crate::store::{
    Listing, ListingObject, RANGE_ROWS_MAX, RecordedState, StartBound, StateLookup, Store,
    StoreError,
};
use crate::transfer::{InspectedObject, ListingProgress, ObjectStore, S3, checksum_of};
use futures_util::{StreamExt, stream};
use judge::{PathFacts, PathVerdict};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Maximum number of batches that a merge may be ahead of the judge.
const BATCHES_MAX: usize = 4;
/// Maximum number of paths that are judged together.
const BATCH_MAX: usize = 512;
/// Maximum number of objects that are requested again because they differ from the listing. More
/// than this is not a race.
const CONFIRMED_MAX: u64 = 1_000;
/// The interval of progress reports.
const PROGRESS: Duration = Duration::from_millis(200);

/// The inputs of the comparison.
#[derive(Debug)]
pub struct Verify {
    /// The watched directory.
    pub root: Arc<Root>,
    /// Selects the names to mirror.
    pub filter: Arc<Filter>,
    /// The state, read-only.
    pub store: Store,
    /// The bucket.
    pub s3: S3,
    /// The prefix in the bucket.
    pub prefix: KeyPrefix,
    /// The present root generation.
    pub epoch: RootGeneration,
    /// Whether objects stay when their files are deleted.
    pub keeps: bool,
    /// Whether content is read and compared.
    pub checksum: bool,
    /// Whether the file's time and mode are compared with the metadata of the object.
    pub metadata: bool,
    /// Maximum number of concurrent requests and reads.
    pub requests: usize,
}

/// An event of a running comparison.
#[derive(Debug)]
pub enum VerifyEvent {
    /// A difference.
    Finding(Finding),
    /// The present step, and its progress.
    Progress(&'static str, u64),
}

/// The compared numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifyTotals {
    /// Files in the directory.
    pub files: u64,
    /// Objects below the prefix.
    pub objects: u64,
}

type VerifyReporter<'a> = &'a mut (dyn FnMut(VerifyEvent) + Send);

/// The merge that returned a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum VerifyMerge {
    /// The merge of directory and state.
    Directory,
    /// The merge of state and bucket.
    Bucket,
}

/// The common state of both merges.
struct VerifyRun<'a> {
    verify: &'a Verify,
    listing: Arc<Mutex<Listing>>,
    confirmed: AtomicU64,
}

impl Verify {
    /// Reports every difference.
    ///
    /// # Errors
    ///
    /// If one of the three cannot be read. Differences reported before are valid.
    pub async fn run(&self, report: VerifyReporter<'_>) -> Result<VerifyTotals, ReportError> {
        let (listing, objects) = self.list(report).await?;
        let listing = Arc::new(Mutex::new(listing));
        let run = VerifyRun { verify: self, listing, confirmed: AtomicU64::new(0) };
        let files = run.directory(report).await?;
        run.bucket(report).await?;
        Ok(VerifyTotals { files, objects })
    }

    async fn list(&self, report: VerifyReporter<'_>) -> Result<(Listing, u64), ReportError> {
        let mut listing = self.store.new_listing()?;
        let mut objects = 0;
        let mut from = None;
        let mut progress = ListingProgress::default();
        let prefix = self.prefix.as_str();
        loop {
            let page = self.s3.list(prefix, from).await.map_err(ReportError::Asked)?;
            from = progress.advance(&page).map_err(ReportError::Asked)?;
            let mut listed = Vec::with_capacity(page.objects.len());
            for object in page.objects {
                let name = object.key.strip_prefix(prefix).unwrap_or_default();
                let path = RelPath::new(name.as_bytes()).ok();
                // No file can have such a name, so it is foreign.
                match path.filter(|path| !path.is_root() && path.as_bytes() == name.as_bytes()) {
                    Some(path) if !self.filter.is_own(&path) || exclusivity::is_lease(&path) => {}
                    Some(path) => {
                        objects += 1;
                        listed.push((path, ListingObject { size: object.size, etag: object.etag }));
                    }
                    None => {
                        objects += 1;
                        report(VerifyEvent::Finding(Finding::foreign(object.key.clone())));
                    }
                }
            }
            listing.add(&listed)?;
            report(VerifyEvent::Progress("objects listed", objects));
            if from.is_none() {
                return Ok((listing, objects));
            }
        }
    }
}

impl VerifyRun<'_> {
    /// Compares the directory with the state. Returns the number of files.
    async fn directory(&self, report: VerifyReporter<'_>) -> Result<u64, ReportError> {
        let Verify { root, filter, store, epoch, .. } = self.verify;
        let expected = Expected { parked: false, ..Expected::new(*epoch, None) };
        let visited = Arc::clone(&expected.visited);
        let comparison = ScanTask {
            root: Arc::clone(root),
            store: store.clone(),
            filter: Arc::clone(filter),
            expected,
            range: ScanScope::everything(),
        };
        let (differences, comparing) = comparison.start(BATCHES_MAX);
        self.judge_all(differences, VerifyMerge::Directory, &visited, report).await?;
        let found = comparing.end().await?;
        let beyond = found.unreadable.saturating_sub(found.unread.len() as u64);
        for unread in found.unread {
            report(VerifyEvent::Finding(Finding::unreadable(unread.path.to_string(), unread.why)));
        }
        if beyond > 0 {
            let why = format!("{beyond} more paths cannot be read");
            report(VerifyEvent::Finding(Finding::unreadable(String::new(), why)));
        }
        Ok(found.files)
    }

    /// Compares the state with the bucket.
    async fn bucket(&self, report: VerifyReporter<'_>) -> Result<(), ReportError> {
        let store = self.verify.store.clone();
        let listing = Arc::clone(&self.listing);
        let every = self.verify.checksum || self.verify.metadata;
        let visited = Arc::new(AtomicU64::new(0));
        let (differing, differences) = mpsc::channel(BATCHES_MAX);
        let progress = Arc::clone(&visited);
        let filter = Arc::clone(&self.verify.filter);
        let comparing = tokio::task::spawn_blocking(move || {
            // Objects that stay because of a pattern are reported too.
            let agree = |path: &RelPath, row: &ObjectRecord, object: &ListingObject| {
                !every && judge::same_object(row, object) && filter.wants_file(path)
            };
            merge(&store, &listing, &agree, &progress, &|paths| {
                // The receiver was dropped, and has the reason.
                differing.blocking_send(paths).is_ok()
            })
        });
        self.judge_all(differences, VerifyMerge::Bucket, &visited, report).await?;
        match comparing.await {
            Ok(merged) => Ok(merged?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    async fn judge_all(
        &self,
        mut differences: mpsc::Receiver<Vec<RelPath>>,
        merge: VerifyMerge,
        visited: &AtomicU64,
        report: VerifyReporter<'_>,
    ) -> Result<(), ReportError> {
        let compared = match merge {
            VerifyMerge::Directory => "files compared",
            VerifyMerge::Bucket => "objects compared",
        };
        let mut progress = tokio::time::interval(PROGRESS);
        loop {
            tokio::select! {
                paths = differences.recv() => match paths {
                    Some(paths) => self.judge_some(paths, merge, report).await?,
                    None => return Ok(()),
                },
                _ = progress.tick() => {
                    report(VerifyEvent::Progress(compared, visited.load(Ordering::Relaxed)));
                }
            }
        }
    }

    async fn judge_some(
        &self,
        paths: Vec<RelPath>,
        merge: VerifyMerge,
        report: VerifyReporter<'_>,
    ) -> Result<(), ReportError> {
        let looked = self.look(paths).await?;
        let questions =
            looked.iter().map(|looked| StateLookup::for_path(looked.rested.path.clone()));
        let known = self.verify.store.known(questions.collect()).await?;
        let mut judged = Vec::with_capacity(known.len());
        for (looked, known) in looked.into_iter().zip(known) {
            if !self.verify.filter.is_own(&looked.rested.path) {
                // Recorded with another shard assignment; a start of the daemon removes it.
                continue;
            }
            let seen = self.seen(looked, known);
            // The other merge has already returned it.
            if merge == VerifyMerge::Directory || seen.is_as_recorded() {
                let listed = self.listing().object(&seen.path)?;
                judged.push(self.judge(seen, listed));
            }
        }
        let mut findings = stream::iter(judged).buffered(self.verify.requests.max(1));
        while let Some(finding) = findings.next().await {
            if let Some(finding) = finding? {
                report(VerifyEvent::Finding(finding));
            }
        }
        Ok(())
    }

    async fn look(&self, paths: Vec<RelPath>) -> Result<Vec<Inspection>, ReportError> {
        let root = Arc::clone(&self.verify.root);
        let paths = paths.into_iter().map(ReadyPath::as_it_is).collect();
        match tokio::task::spawn_blocking(move || look(&root, paths)).await {
            Ok(looked) => Ok(looked?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    fn listing(&self) -> MutexGuard<'_, Listing> {
        self.listing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self, looked: Inspection, known: RecordedState) -> PathFacts {
        let Verify { filter, epoch, keeps, .. } = self.verify;
        let path = looked.rested.path;
        PathFacts {
            wanted: filter.wants_file(&path),
            observed: looked.observed,
            same_directory: known.mirrored.as_ref().is_none_or(|row| row.epoch == *epoch),
            keeps: *keeps,
            mirrored: known.mirrored,
            delayed: known.pending.as_ref().is_some_and(QueueRow::is_delayed),
            waiting: known.pending.is_some(),
            path,
        }
    }

    /// Judges a path, and returns a finding, if there is one.
    async fn judge(
        &self,
        seen: PathFacts,
        listed: Option<ListingObject>,
    ) -> Result<Option<Finding>, ReportError> {
        let key = match self.verify.prefix.key(&seen.path) {
            Ok(key) => key,
            Err(error) if seen.is_wanted_file() => {
                return Ok(Some(seen.finding(FindingKind::Missing, &error.to_string())));
            }
            Err(_) => return Ok(None),
        };
        let mut verdict = seen.verdict(listed.as_ref(), None);
        let mut object = None;
        let is_there = seen.is_wanted_file() && listed.is_some();
        let reads = self.verify.checksum && is_there;
        let looks = self.verify.metadata && is_there;
        if reads || looks || (verdict != PathVerdict::Equal && self.may_confirm()) {
            object = self.verify.s3.inspect(&key).await.map_err(ReportError::Asked)?;
            let now = object.as_ref();
            let now = now.map(|now| ListingObject { size: now.size, etag: now.etag.clone() });
            verdict = seen.verdict(now.as_ref(), object.as_ref());
        }
        let stale =
            object.as_ref().filter(|_| looks).and_then(|object| seen.stale_metadata(object));
        let comparable = reads && object.as_ref().is_some_and(|object| seen.is_of(object.size));
        let finding = match verdict {
            PathVerdict::Equal if !comparable => None,
            PathVerdict::Found(kind, why) if !comparable => Some(seen.finding(kind, why)),
            verdict => self.read(&seen, &key, object, verdict).await?,
        };
        Ok(finding.or(stale))
    }

    /// Whether another object may be requested within the limit.
    fn may_confirm(&self) -> bool {
        self.confirmed.fetch_add(1, Ordering::Relaxed) < CONFIRMED_MAX
    }

    /// Reads the file, and compares it with the object, or with the record.
    async fn read(
        &self,
        seen: &PathFacts,
        key: &ObjectKey,
        object: Option<InspectedObject>,
        verdict: PathVerdict,
    ) -> Result<Option<Finding>, ReportError> {
        let FileState::File(fingerprint) = &seen.observed else { return Ok(None) };
        let root = Arc::clone(&self.verify.root);
        let path = seen.path.clone();
        let version = Version::from_fingerprint(fingerprint);
        let reading = tokio::task::spawn_blocking(move || checksum_of(&root, &path, version));
        let file = match reading.await {
            Ok(Ok(file)) => file,
            Ok(Err(Outcome::Failed(failure))) => {
                return Ok(Some(seen.finding(FindingKind::Unreadable, &failure.message)));
            }
            Ok(Err(_)) => {
                return Ok(Some(
                    seen.finding(FindingKind::Unreadable, "it changes while it is read"),
                ));
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let recorded = seen.mirrored.as_ref().map(|row: &ObjectRecord| row.crc64nvme);
        let there = match (self.verify.checksum, object) {
            (true, Some(InspectedObject { crc64nvme: Some(crc64nvme), .. })) => Some(crc64nvme),
            (true, Some(object)) => {
                let read = self.verify.s3.read_checksum(key, object.size).await;
                read.map_err(ReportError::Asked)?
            }
            _ => recorded,
        };
        Ok(seen.compared(there == Some(file), verdict))
    }
}

/// Whether state and bucket agree about a path, so that it needs no report.
type AgreementCheck<'a> = &'a dyn Fn(&RelPath, &ObjectRecord, &ListingObject) -> bool;

/// Merges the state with the listing, and passes on the differences.
fn merge(
    store: &Store,
    listing: &Mutex<Listing>,
    agree: AgreementCheck<'_>,
    visited: &AtomicU64,
    emit: &dyn Fn(Vec<RelPath>) -> bool,
) -> Result<(), StoreError> {
    let mut rows: VecDeque<(RelPath, ObjectRecord)> = VecDeque::new();
    let mut objects: VecDeque<(RelPath, ListingObject)> = VecDeque::new();
    let mut next_row = Some(StartBound::Start);
    let mut next_object = Some(None);
    let mut batch = Vec::new();
    loop {
        if rows.is_empty()
            && let Some(from) = next_row.take()
        {
            rows = store.range_blocking(RelPath::root(), from, RANGE_ROWS_MAX)?.into();
            next_row = rows.back().map(|(last, _)| StartBound::After(last.clone()));
        }
        if objects.is_empty()
            && let Some(after) = next_object.take()
        {
            let listing = listing.lock().unwrap_or_else(PoisonError::into_inner);
            objects = listing.page(after.as_ref())?.into();
            next_object = objects.back().map(|(last, _)| Some(last.clone()));
        }
        let first = rows.front().map(|(path, _)| path).into_iter();
        let first = first.chain(objects.front().map(|(path, _)| path)).min().cloned();
        let Some(path) = first else { break };
        let row = rows.pop_front_if(|(row, _)| *row == path);
        let object = objects.pop_front_if(|(object, _)| *object == path);
        visited.fetch_add(u64::from(object.is_some()), Ordering::Relaxed);
        let agreed =
            row.zip(object).is_some_and(|((_, row), (_, object))| agree(&path, &row, &object));
        if !agreed {
            batch.push(path);
        }
        if batch.len() >= BATCH_MAX && !emit(std::mem::take(&mut batch)) {
            return Ok(());
        }
    }
    if !batch.is_empty() {
        emit(batch);
    }
    Ok(())
}
