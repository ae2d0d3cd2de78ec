//! Compares directory, record and bucket, and says where they differ.
//!
//! Two merges of two sorted streams: the directory with the record, as the daemon does it, and the
//! record with a listing of the bucket. What either brings up is looked at, asked about and judged
//! with all that is known of it. Memory does not grow with any of the three.
//!
//! A daemon may be at work meanwhile: the listing is the oldest of what is compared, so whatever
//! differs from it is asked about once more, as far as that is not a bucket's worth of questions.

mod judge;

pub use judge::{Finding, Kind};

use crate::filter::Filter;
use crate::look::{Looked, look};
use crate::model::{Epoch, KeyPrefix, Mirrored, ObjectKey, Outcome, RelPath, Version};
use crate::plan::Observed;
use crate::reconcile::{Comparison, Expected, Range, ReportError};
use crate::root::Root;
use crate::settle::Rested;
use crate::store::{From, Known, Listed, Listing, Question, RANGE_ROWS_MAX, Store, StoreError};
use crate::transfer::{Inspected, ObjectStore, S3, checksum_of};
use crate::writer;
use futures_util::{StreamExt, stream};
use judge::{Seen, Verdict};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Batches a merge may be ahead of the judge.
const BATCHES_MAX: usize = 4;
/// Paths that are judged together.
const BATCH_MAX: usize = 512;
/// Objects that are asked about because they differ from what was listed. So many are no race.
const CONFIRMED_MAX: u64 = 1_000;
/// Time between two words on how far it is.
const PROGRESS: Duration = Duration::from_millis(200);

/// What is compared.
#[derive(Debug)]
pub struct Verify {
    /// The watched directory.
    pub root: Arc<Root>,
    /// Which names are mirrored.
    pub filter: Arc<Filter>,
    /// The record, looked at.
    pub store: Store,
    /// The bucket.
    pub s3: S3,
    /// Where in it.
    pub prefix: KeyPrefix,
    /// The watched directory, counted.
    pub epoch: Epoch,
    /// Whether objects stay when their files go.
    pub keeps: bool,
    /// Whether content is read and compared.
    pub checksum: bool,
    /// Objects that are asked about or read at once.
    pub requests: usize,
}

/// What a comparison tells while it goes on.
#[derive(Debug)]
pub enum Told {
    /// One more difference.
    Finding(Finding),
    /// What it does, and how much of that is done.
    Progress(&'static str, u64),
}

/// What was compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files in the directory.
    pub files: u64,
    /// Objects below the prefix.
    pub objects: u64,
}

type Tell<'a> = &'a mut (dyn FnMut(Told) + Send);

/// Which of the two merges has brought a path up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Merge {
    /// That of the directory and the record.
    Directory,
    /// That of the record and the bucket.
    Bucket,
}

/// What both merges go by.
struct Run<'a> {
    verify: &'a Verify,
    listing: Arc<Mutex<Listing>>,
    confirmed: AtomicU64,
}

impl Verify {
    /// Tells every difference.
    ///
    /// # Errors
    ///
    /// If one of the three cannot be read. What was told until then is so.
    pub async fn run(&self, tell: Tell<'_>) -> Result<Totals, ReportError> {
        let (listing, objects) = self.list(tell).await?;
        let listing = Arc::new(Mutex::new(listing));
        let run = Run { verify: self, listing, confirmed: AtomicU64::new(0) };
        let files = run.directory(tell).await?;
        run.bucket(tell).await?;
        Ok(Totals { files, objects })
    }

    async fn list(&self, tell: Tell<'_>) -> Result<(Listing, u64), ReportError> {
        let (mut listing, mut objects, mut from) = (Listing::new()?, 0, None);
        let prefix = self.prefix.as_str();
        loop {
            let page = self.s3.list(prefix, from).await.map_err(ReportError::Asked)?;
            let mut listed = Vec::with_capacity(page.objects.len());
            for object in page.objects {
                let name = object.key.strip_prefix(prefix).unwrap_or_default();
                let path = RelPath::new(name.as_bytes()).ok();
                // No file has such a name, so it is none of ours.
                match path.filter(|path| !path.is_root() && path.as_bytes() == name.as_bytes()) {
                    Some(path) if !self.filter.is_own(&path) || writer::is_lease(&path) => {}
                    Some(path) => {
                        objects += 1;
                        listed.push((path, Listed { size: object.size, etag: object.etag }));
                    }
                    None => {
                        objects += 1;
                        tell(Told::Finding(Finding::foreign(object.key.clone())));
                    }
                }
            }
            listing.add(&listed)?;
            tell(Told::Progress("objects listed", objects));
            if page.next.is_none() {
                return Ok((listing, objects));
            }
            from = page.next;
        }
    }
}

impl Run<'_> {
    /// Compares the directory with the record. Answers how many files there are.
    async fn directory(&self, tell: Tell<'_>) -> Result<u64, ReportError> {
        let Verify { root, filter, store, epoch, .. } = self.verify;
        let expected = Expected { parked: false, ..Expected::new(*epoch, None) };
        let visited = Arc::clone(&expected.visited);
        let comparison = Comparison {
            root: Arc::clone(root),
            store: store.clone(),
            filter: Arc::clone(filter),
            expected,
            range: Range::everything(),
        };
        let (differences, comparing) = comparison.start(BATCHES_MAX);
        self.judge_all(differences, Merge::Directory, &visited, tell).await?;
        Ok(comparing.end().await?.files)
    }

    /// Compares the record with the bucket.
    async fn bucket(&self, tell: Tell<'_>) -> Result<(), ReportError> {
        let (store, listing) = (self.verify.store.clone(), Arc::clone(&self.listing));
        let (every, visited) = (self.verify.checksum, Arc::new(AtomicU64::new(0)));
        let (differing, differences) = mpsc::channel(BATCHES_MAX);
        let progress = Arc::clone(&visited);
        let filter = Arc::clone(&self.verify.filter);
        let comparing = tokio::task::spawn_blocking(move || {
            // What is kept because of a pattern is told as well.
            let agree = |path: &RelPath, row: &Mirrored, object: &Listed| {
                !every && judge::same_object(row, object) && filter.wants_file(path)
            };
            merge(&store, &listing, &agree, &progress, &|paths| {
                // Nobody takes them any more, and says why.
                differing.blocking_send(paths).is_ok()
            })
        });
        self.judge_all(differences, Merge::Bucket, &visited, tell).await?;
        match comparing.await {
            Ok(merged) => Ok(merged?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    async fn judge_all(
        &self,
        mut differences: mpsc::Receiver<Vec<RelPath>>,
        merge: Merge,
        visited: &AtomicU64,
        tell: Tell<'_>,
    ) -> Result<(), ReportError> {
        let compared = match merge {
            Merge::Directory => "files compared",
            Merge::Bucket => "objects compared",
        };
        let mut progress = tokio::time::interval(PROGRESS);
        loop {
            tokio::select! {
                paths = differences.recv() => match paths {
                    Some(paths) => self.judge_some(paths, merge, tell).await?,
                    None => return Ok(()),
                },
                _ = progress.tick() => {
                    tell(Told::Progress(compared, visited.load(Ordering::Relaxed)));
                }
            }
        }
    }

    async fn judge_some(
        &self,
        paths: Vec<RelPath>,
        merge: Merge,
        tell: Tell<'_>,
    ) -> Result<(), ReportError> {
        let looked = self.look(paths).await?;
        let questions = looked.iter().map(|looked| Question::of(looked.rested.path.clone()));
        let known = self.verify.store.known(questions.collect()).await?;
        let mut judged = Vec::with_capacity(known.len());
        for (looked, known) in looked.into_iter().zip(known) {
            if !self.verify.filter.is_own(&looked.rested.path) {
                // Recorded while the map was another one; a start of the daemon forgets it.
                continue;
            }
            let seen = self.seen(looked, known);
            // The other merge has brought it up already.
            if merge == Merge::Directory || seen.is_as_recorded() {
                let listed = self.listing().of(&seen.path)?;
                judged.push(self.judge(seen, listed));
            }
        }
        let mut findings = stream::iter(judged).buffered(self.verify.requests.max(1));
        while let Some(finding) = findings.next().await {
            if let Some(finding) = finding? {
                tell(Told::Finding(finding));
            }
        }
        Ok(())
    }

    async fn look(&self, paths: Vec<RelPath>) -> Result<Vec<Looked>, ReportError> {
        let root = Arc::clone(&self.verify.root);
        let paths = paths.into_iter().map(Rested::as_it_is).collect();
        match tokio::task::spawn_blocking(move || look(&root, paths)).await {
            Ok(looked) => Ok(looked?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    fn listing(&self) -> MutexGuard<'_, Listing> {
        self.listing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self, looked: Looked, known: Known) -> Seen {
        let Verify { filter, epoch, keeps, .. } = self.verify;
        let path = looked.rested.path;
        Seen {
            wanted: filter.wants_file(&path),
            observed: looked.observed,
            same_directory: known.mirrored.as_ref().is_none_or(|row| row.epoch == *epoch),
            keeps: *keeps,
            mirrored: known.mirrored,
            waiting: known.pending.is_some(),
            path,
        }
    }

    /// What there is to say of a path, if anything.
    async fn judge(
        &self,
        seen: Seen,
        listed: Option<Listed>,
    ) -> Result<Option<Finding>, ReportError> {
        let key = match self.verify.prefix.key(&seen.path) {
            Ok(key) => key,
            Err(error) if seen.is_wanted_file() => {
                return Ok(Some(seen.finding(Kind::Missing, &error.to_string())));
            }
            Err(_) => return Ok(None),
        };
        let mut verdict = seen.verdict(listed.as_ref(), None);
        let mut object = None;
        let reads = self.verify.checksum && seen.is_wanted_file() && listed.is_some();
        if reads || (verdict != Verdict::Equal && self.may_confirm()) {
            object = self.verify.s3.inspect(&key).await.map_err(ReportError::Asked)?;
            let now = object.as_ref();
            let now = now.map(|now| Listed { size: now.size, etag: now.etag.clone() });
            verdict = seen.verdict(now.as_ref(), object.as_ref());
        }
        let comparable = reads && object.as_ref().is_some_and(|object| seen.is_of(object.size));
        match verdict {
            Verdict::Equal if !comparable => Ok(None),
            Verdict::Found(kind, why) if !comparable => Ok(Some(seen.finding(kind, why))),
            verdict => self.read(&seen, &key, object, verdict).await,
        }
    }

    /// So many questions more, and no bucket's worth.
    fn may_confirm(&self) -> bool {
        self.confirmed.fetch_add(1, Ordering::Relaxed) < CONFIRMED_MAX
    }

    /// Reads the file, and compares it with what the object has, or with what was sent.
    async fn read(
        &self,
        seen: &Seen,
        key: &ObjectKey,
        object: Option<Inspected>,
        verdict: Verdict,
    ) -> Result<Option<Finding>, ReportError> {
        let Observed::File(fingerprint) = &seen.observed else { return Ok(None) };
        let (root, path) = (Arc::clone(&self.verify.root), seen.path.clone());
        let version = Version::of(fingerprint);
        let reading = tokio::task::spawn_blocking(move || checksum_of(&root, &path, version));
        let file = match reading.await {
            Ok(Ok(file)) => file,
            Ok(Err(Outcome::Failed(failure))) => {
                return Ok(Some(seen.finding(Kind::Unreadable, &failure.message)));
            }
            Ok(Err(_)) => {
                return Ok(Some(seen.finding(Kind::Unreadable, "it changes while it is read")));
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let recorded = seen.mirrored.as_ref().map(|row: &Mirrored| row.crc64nvme);
        let there = match (self.verify.checksum, object) {
            (true, Some(Inspected { crc64nvme: Some(crc64nvme), .. })) => Some(crc64nvme),
            (true, Some(object)) => {
                let read = self.verify.s3.read_checksum(key, object.size).await;
                read.map_err(ReportError::Asked)?
            }
            _ => recorded,
        };
        Ok(seen.compared(there == Some(file), verdict))
    }
}

/// Whether record and bucket agree about a path, and nothing is to be said of it.
type Agree<'a> = &'a dyn Fn(&RelPath, &Mirrored, &Listed) -> bool;

/// Merges the record with the listing, and hands on where they do not agree.
fn merge(
    store: &Store,
    listing: &Mutex<Listing>,
    agree: Agree<'_>,
    visited: &AtomicU64,
    emit: &dyn Fn(Vec<RelPath>) -> bool,
) -> Result<(), StoreError> {
    let mut rows: VecDeque<(RelPath, Mirrored)> = VecDeque::new();
    let mut objects: VecDeque<(RelPath, Listed)> = VecDeque::new();
    let (mut next_row, mut next_object) = (Some(From::Start), Some(None));
    let mut batch = Vec::new();
    loop {
        if rows.is_empty()
            && let Some(from) = next_row.take()
        {
            rows = store.range_blocking(RelPath::root(), from, RANGE_ROWS_MAX)?.into();
            next_row = rows.back().map(|(last, _)| From::After(last.clone()));
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
