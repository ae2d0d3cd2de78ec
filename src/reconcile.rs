//! Scans a directory and compares it with the state: two sorted streams, merged.
//!
//! A scan of the whole tree also returns all skipped paths, so that none is skipped for longer than
//! the scan interval.
//!
//! A difference is only a reason for an inspection: each path found here is processed like any
//! hint, so that an error about a file that changes meanwhile has no effect. Memory does not grow
//! with the tree, except for a digest of each directory that agreed: while its names and files have
//! the same digest, its rows are not read (see [`Agreed`](crate::store::CleanDirs)).

mod beside;
mod delayed;
mod learn;
mod too_deep;

pub use beside::{ReportError, RunningScan, ScanTask};

use crate::filter::Filter;
use crate::model::{Depth, Fingerprint, ObjectRecord, RelPath, RootGeneration};
use crate::root::{
    FileKind, InspectError, PreviousDigests, Root, SourceGone, Visit, in_words, is_passing,
};
use crate::rules::Rules;
use crate::store::{RANGE_ROWS_MAX, StartBound, Store, StoreError};
use crate::sweep::DirectoryMemory;
use delayed::DelayedPaths;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use too_deep::TooDeep;

/// Maximum number of differences that are passed on at once.
const BATCH_MAX: usize = 512;
/// Maximum number of special files that a scan names; the rest is counted.
const SKIPPED_MAX: usize = 100;
/// Maximum number of unreadable paths that are named; the rest is counted.
const UNREAD_MAX: usize = 1_024;
/// Maximum number of names of files with hard links that are passed on.
pub const LINKED_MAX: usize = 65_536;
/// The number of rows to read after a directory that needs none: the next one may need none either.
const ROWS_AFTER_GAP: usize = 16;

/// The scope of a scan.
#[derive(Debug, Clone)]
pub struct ScanScope {
    /// The directory.
    pub start: RelPath,
    /// The depth below it.
    pub depth: Depth,
}

impl ScanScope {
    /// The whole tree.
    #[must_use]
    pub fn everything() -> Self {
        Self { start: RelPath::root(), depth: Depth::Whole }
    }

    /// Whether it is the whole tree.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.start.is_root() && self.depth == Depth::Whole
    }
}

/// The expected content of a row, besides the file.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The present root generation.
    pub epoch: RootGeneration,
    /// The rules for object attributes, if those are compared.
    pub rules: Option<Arc<Rules>>,
    /// Whether a scan of the whole tree returns skipped paths.
    pub parked: bool,
    /// Remembers the directories, for the sweeps between scans.
    pub directories: Option<DirectoryMemory>,
    /// The number of files so far, for progress.
    pub visited: Arc<AtomicU64>,
}

impl Expected {
    /// A row for a file of this directory, and of these rules.
    #[must_use]
    pub fn new(epoch: RootGeneration, rules: Option<Arc<Rules>>) -> Self {
        Self { epoch, rules, parked: true, directories: None, visited: Arc::default() }
    }

    fn holds(&self, path: &RelPath, mirrored: &ObjectRecord) -> bool {
        let head = |rules: &Arc<Rules>| mirrored.head == Some(rules.head(path).digest());
        mirrored.epoch == self.epoch && self.rules.as_ref().is_none_or(head)
    }
}

/// The result of a scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Selected regular files.
    pub files: u64,
    /// Files without a record.
    pub new: u64,
    /// Files that differ from their record.
    pub changed: u64,
    /// Records without a file.
    pub gone: u64,
    /// Unreadable directories and files.
    pub unreadable: u64,
    /// The first of them, at most `UNREAD_MAX`.
    pub unread: Vec<UnreadPath>,
    /// Files with hard links, at most `LINKED_MAX` of the names.
    pub linked: Vec<(RelPath, Fingerprint)>,
    /// Links that are followed, with all that they depend on; at most `LINKED_MAX`.
    pub followed: Vec<(RelPath, Vec<RelPath>)>,
    /// Links that are not followed, devices, sockets, FIFOs.
    pub special: u64,
    /// Mount points, which are not crossed.
    pub mounts: u64,
    /// The first hundred of both, each with its kind.
    pub skipped: Vec<(RelPath, &'static str)>,
}

/// A path that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadPath {
    /// The path.
    pub path: RelPath,
    /// The reason.
    pub why: String,
    /// Whether the error may be temporary.
    pub passing: bool,
}

/// Why a scan ended early. The differences so far were passed on.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The watched directory has changed.
    #[error(transparent)]
    Source(#[from] SourceGone),
    /// The directory cannot be reached.
    #[error("the directory cannot be compared: {0}")]
    Start(#[from] InspectError),
    /// The state cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The receiver of the differences was dropped.
    #[error("the comparison was ended")]
    Ended,
}

/// Number of entries between two checks for a dropped receiver.
const VISITS_MAX: u32 = 256;

/// Receives paths that differ, possibly none, and breaks when their receiver was dropped. May
/// block.
pub type Emit<'a> = &'a mut dyn FnMut(Vec<RelPath>) -> ControlFlow<()>;

/// Compares the tree below `root` with the state. Blocks.
///
/// # Errors
///
/// If it could not be completed.
pub fn reconcile(
    root: &Root,
    store: &Store,
    filter: &Filter,
    expected: &Expected,
    range: &ScanScope,
    emit: Emit<'_>,
) -> Result<Summary, ReconcileError> {
    root.confirm()?;
    let mut merge = ScanMerge {
        store,
        filter,
        expected,
        range,
        emit,
        page: VecDeque::new(),
        next_page: Some(StartBound::Start),
        page_rows: ROWS_AFTER_GAP,
        levels: Vec::new(),
        frozen: None,
        batch: Vec::new(),
        visits: 0,
        summary: Summary::default(),
        error: None,
        delayed: DelayedPaths::default(),
    };
    let deep = RefCell::new(TooDeep::default());
    let wanted = |path: &RelPath, is_directory: bool| {
        let wanted = filter.wants_entry(path, is_directory);
        if !wanted && is_directory && filter.is_too_deep(path) {
            deep.borrow_mut().met(path);
        }
        wanted
    };
    // Only the rows contain the object attributes.
    let agreed = store.agreed();
    let remembers = range.depth == Depth::Whole && expected.rules.is_none();
    if remembers {
        agreed.begin(agreed.hasher().hash_one((expected.epoch.0, filter.digest())));
    }
    let of = |path: &RelPath| agreed.digest(path);
    let memory = remembers.then(|| PreviousDigests { of: &of, hasher: agreed.hasher() });
    let directories = expected.directories.as_ref();
    let walked = learn::learning_walk(root, range, &wanted, memory, directories, &mut |visit| {
        merge.visit(visit)
    });
    if remembers {
        agreed.end();
    }
    walked?;
    if merge.error.is_none() {
        // Rows after the last file have no file either.
        merge.emit_missing(None).map_or_else(|error| merge.error = Some(error), |()| ());
    }
    if merge.error.is_none() && range.is_everything() && expected.parked {
        merge.parked().map_or_else(|error| merge.error = Some(error), |()| ());
    }
    let flushed = merge.flush();
    if let Some(error) = merge.error.or(flushed.err()) {
        return Err(error);
    }
    let mut summary = merge.summary;
    deep.into_inner().join(&mut summary);
    root.confirm()?;
    Ok(summary)
}

struct ScanMerge<'a> {
    store: &'a Store,
    filter: &'a Filter,
    expected: &'a Expected,
    range: &'a ScanScope,
    emit: Emit<'a>,
    page: VecDeque<(RelPath, ObjectRecord)>,
    /// The start of the next page; `None` after the last.
    next_page: Option<StartBound>,
    /// The number of its rows.
    page_rows: usize,
    /// The directories on the way down.
    levels: Vec<ScanLevel>,
    /// A path at or below which nothing counts as absent. The rows below a path are contiguous, so
    /// that only the latest path matters.
    frozen: Option<RelPath>,
    batch: Vec<RelPath>,
    /// The number of entries since the last check for a dropped receiver.
    visits: u32,
    summary: Summary,
    error: Option<ReconcileError>,
    delayed: DelayedPaths,
}

/// A directory whose entries are being visited.
struct ScanLevel {
    path: RelPath,
    /// Its rows are not read; those of its subdirectories may be.
    known: bool,
    /// Everything in it is as recorded, and nothing else is recorded.
    agrees: bool,
}

impl ScanMerge<'_> {
    fn visit(&mut self, visit: &Visit<'_>) -> ControlFlow<()> {
        self.visits += 1;
        if self.visits >= VISITS_MAX {
            self.visits = 0;
            if (self.emit)(Vec::new()).is_break() {
                self.error = Some(ReconcileError::Ended);
                return ControlFlow::Break(());
            }
        }
        let result = match visit {
            Visit::File { path, stat, leads } => {
                if !leads.is_empty() && self.summary.followed.len() < LINKED_MAX {
                    self.summary.followed.push(((*path).clone(), leads.to_vec()));
                }
                self.file(path, stat)
            }
            Visit::Directory { path, .. } => self.directory(path),
            Visit::Known { path, files, .. } => self.known(path, *files),
            Visit::Left { path, digest } => self.left(path, *digest),
            Visit::Skipped { path, kind } => self.special(path, *kind),
            Visit::Unreadable { path, error } => {
                self.unread(path, error);
                self.exclude_subtree(path)
            }
            Visit::Mount { path } => {
                self.summary.mounts += 1;
                self.skip(path, "mount");
                self.exclude_subtree(path)
            }
            Visit::OwnState { path } => {
                self.summary.special += 1;
                self.skip(path, "state directory");
                self.exclude_subtree(path)
            }
        };
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.error = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn unread(&mut self, path: &RelPath, error: &io::Error) {
        self.summary.unreadable += 1;
        if self.summary.unread.len() < UNREAD_MAX {
            let denied = error.kind() == io::ErrorKind::PermissionDenied;
            let why = if denied { "permission denied".to_owned() } else { in_words(error) };
            let passing = is_passing(error);
            self.summary.unread.push(UnreadPath { path: path.clone(), why, passing });
        }
    }

    fn file(&mut self, path: &RelPath, stat: &crate::root::Stat) -> Result<(), ReconcileError> {
        self.summary.files += 1;
        self.expected.visited.store(self.summary.files, Ordering::Relaxed);
        if stat.links > 1 && self.summary.linked.len() < LINKED_MAX {
            self.summary.linked.push((path.clone(), stat.fingerprint));
        }
        self.advance_to(path)?;
        let row = match self.peek()? {
            Some((recorded, _)) if recorded == path => self.page.pop_front(),
            _ => None,
        };
        let Some((_, mirrored)) = row else {
            self.summary.new += 1;
            return self.differs(path);
        };
        let unchanged = stat.fingerprint.same_content(&mirrored.fingerprint)
            && !mirrored.racy
            && self.expected.holds(path, &mirrored);
        if unchanged {
            return Ok(());
        }
        self.summary.changed += 1;
        self.differs(path)
    }

    fn directory(&mut self, path: &RelPath) -> Result<(), ReconcileError> {
        self.advance_to(path)?;
        if self.range.depth == Depth::Whole {
            self.levels.push(ScanLevel { path: path.clone(), known: false, agrees: true });
        }
        if self.range.depth == Depth::Entries && *path != self.range.start {
            // It is not entered, so nothing is known of its content.
            self.page.retain(|(recorded, _)| recorded == path || !recorded.is_within(path));
            if self.page.is_empty() && self.next_page.is_some() {
                self.next_page = Some(StartBound::Past(path.clone()));
            }
        }
        Ok(())
    }

    /// Processes a directory that equals the one that agreed: none of its rows is read.
    fn known(&mut self, path: &RelPath, files: u64) -> Result<(), ReconcileError> {
        if self.levels.last().is_none_or(|level| !level.known) {
            self.advance_to(path)?;
        }
        self.summary.files += files;
        self.expected.visited.store(self.summary.files, Ordering::Relaxed);
        self.levels.push(ScanLevel { path: path.clone(), known: true, agrees: true });
        Ok(())
    }

    fn left(&mut self, path: &RelPath, digest: Option<u64>) -> Result<(), ReconcileError> {
        if self.levels.last().is_some_and(|level| level.known) {
            self.skip_rows(path, StartBound::Past(path.clone()));
            self.levels.pop();
            return Ok(());
        }
        // The rows of missing entries come before anything that follows.
        while self.peek()?.is_some_and(|(recorded, _)| recorded.is_within(path)) {
            self.emit_next_missing()?;
        }
        let level = self.levels.pop();
        if let Some(digest) = digest.filter(|_| level.is_some_and(|level| level.agrees)) {
            self.store.agreed().remember(path, digest);
        }
        Ok(())
    }

    /// Advances to `path`: rows before it have no file, except those of a known directory.
    fn advance_to(&mut self, path: &RelPath) -> Result<(), ReconcileError> {
        if self.levels.last().is_some_and(|level| level.known) {
            self.skip_rows(path, StartBound::At(path.clone()));
        }
        self.emit_missing(Some(path))
    }

    /// Drops the rows before `from`, which is at `path` or after everything in it.
    fn skip_rows(&mut self, path: &RelPath, from: StartBound) {
        let behind = matches!(from, StartBound::Past(_));
        let is_before = |(recorded, _): &(RelPath, ObjectRecord)| {
            recorded < path || (behind && recorded.is_within(path))
        };
        while self.page.front().is_some_and(is_before) {
            self.page.pop_front();
        }
        if self.page.is_empty() && self.next_page.is_some() {
            self.next_page = Some(from);
            self.page_rows = ROWS_AFTER_GAP;
        }
    }

    fn special(&mut self, path: &RelPath, kind: FileKind) -> Result<(), ReconcileError> {
        self.summary.special += 1;
        self.skip(path, kind.as_str());
        self.advance_to(path)
    }

    fn skip(&mut self, path: &RelPath, kind: &'static str) {
        if self.summary.skipped.len() < SKIPPED_MAX {
            self.summary.skipped.push((path.clone(), kind));
        }
    }

    fn exclude_subtree(&mut self, path: &RelPath) -> Result<(), ReconcileError> {
        self.advance_to(path)?;
        // It can end a directory whose entries were being visited.
        self.levels.pop_if(|level| level.path == *path);
        self.frozen = Some(path.clone());
        Ok(())
    }

    /// Processes the rows before `path`, or all: the walk has passed them without finding them.
    fn emit_missing(&mut self, path: Option<&RelPath>) -> Result<(), ReconcileError> {
        while let Some((recorded, _)) = self.peek()? {
            if path.is_some_and(|path| recorded >= path) {
                break;
            }
            self.emit_next_missing()?;
        }
        Ok(())
    }

    /// Processes the next row that the walk has passed.
    fn emit_next_missing(&mut self) -> Result<(), ReconcileError> {
        let Some((recorded, _)) = self.page.pop_front() else { return Ok(()) };
        // In any case, the directory has to be read again next time.
        if let Some(level) = self.levels.last_mut() {
            level.agrees = false;
        }
        let frozen = self.frozen.as_ref().is_some_and(|frozen| recorded.is_within(frozen));
        // Paths that a pattern now ignores are not changed: changed patterns delete nothing.
        // So is their absence when their deletes are delayed: it is inspected when they are due.
        let delayed = self.expected.parked && self.delayed.has(self.store, &recorded)?;
        if !frozen && !delayed && self.filter.wants_file(&recorded) {
            self.summary.gone += 1;
            self.differs(&recorded)?;
        }
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<&(RelPath, ObjectRecord)>, ReconcileError> {
        if self.page.is_empty()
            && let Some(from) = self.next_page.take()
        {
            let within = self.range.start.clone();
            self.page = self.store.range_blocking(within, from, self.page_rows)?.into();
            self.next_page = self.page.back().map(|(last, _)| StartBound::After(last.clone()));
            self.page_rows = (self.page_rows * 4).min(RANGE_ROWS_MAX);
        }
        Ok(self.page.front())
    }

    fn differs(&mut self, path: &RelPath) -> Result<(), ReconcileError> {
        if let Some(level) = self.levels.last_mut() {
            level.agrees = false;
        }
        self.batch.push(path.clone());
        if self.batch.len() >= BATCH_MAX { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ReconcileError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        match (self.emit)(std::mem::take(&mut self.batch)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ReconcileError::Ended),
        }
    }
}

#[cfg(test)]
mod tests;
