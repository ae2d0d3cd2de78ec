//! Compares a directory with the record: two sorted streams, merged.
//!
//! A comparison of the whole tree brings up all that is parked as well, so that nothing stays parked
//! for longer than the time between two of them.
//!
//! What differs is only a reason to look: each path found here goes the way of every hint, so a
//! comparison can be wrong about a file that changes meanwhile without any harm. Memory does not
//! grow with the tree, but for a digest of each directory that agreed: while names and files of one
//! have it again, its rows are not read (see [`Agreed`](crate::store::Agreed)).

mod beside;

pub use beside::{Comparing, Comparison, ReportError};

use crate::filter::Filter;
use crate::model::{Depth, Epoch, Mirrored, RelPath};
use crate::root::{Kind, LookError, Memory, Root, SourceGone, Visit, walk};
use crate::rules::Rules;
use crate::store::{From, RANGE_ROWS_MAX, Store, StoreError};
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Differences that are handed on at once.
const BATCH_MAX: usize = 512;
/// Links, devices and the like that a comparison names; the rest is counted.
const SKIPPED_MAX: usize = 100;
/// Rows that are read where a directory follows that needs none: the next one may need none either.
const ROWS_AFTER_GAP: usize = 16;

/// What to compare.
#[derive(Debug, Clone)]
pub struct Range {
    /// The directory.
    pub start: RelPath,
    /// How far below it.
    pub depth: Depth,
}

impl Range {
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

/// What else than the file a row has to agree with.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The watched directory of now.
    pub epoch: Epoch,
    /// What objects look like, where that is asked for.
    pub rules: Option<Arc<Rules>>,
    /// Whether a comparison of everything brings up what is parked.
    pub parked: bool,
    /// Files compared so far, for whoever waits.
    pub visited: Arc<AtomicU64>,
}

impl Expected {
    /// A file of this directory, and of these rules.
    #[must_use]
    pub fn new(epoch: Epoch, rules: Option<Arc<Rules>>) -> Self {
        Self { epoch, rules, parked: true, visited: Arc::default() }
    }

    fn holds(&self, path: &RelPath, mirrored: &Mirrored) -> bool {
        let head = |rules: &Arc<Rules>| mirrored.head == Some(rules.head(path).digest());
        mirrored.epoch == self.epoch && self.rules.as_ref().is_none_or(head)
    }
}

/// What a comparison saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Regular files that are wanted.
    pub files: u64,
    /// Of those, not in the record.
    pub new: u64,
    /// Of those, not as the record says.
    pub changed: u64,
    /// Recorded and not found.
    pub gone: u64,
    /// Directories and files that could not be read.
    pub unreadable: u64,
    /// Links, devices, sockets, FIFOs.
    pub special: u64,
    /// Mount points, not crossed.
    pub mounts: u64,
    /// The first hundred of both, each with what it is.
    pub skipped: Vec<(RelPath, &'static str)>,
}

/// Why a comparison ended early. What it had found was handed on.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The watched directory is not what it was.
    #[error(transparent)]
    Source(#[from] SourceGone),
    /// The directory to compare cannot be reached.
    #[error("the directory cannot be compared: {0}")]
    Start(#[from] LookError),
    /// The record cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody takes the differences any more.
    #[error("the comparison was ended")]
    Ended,
}

/// Takes the paths that differ; breaks when nobody wants them any more. May block.
pub type Emit<'a> = &'a mut dyn FnMut(Vec<RelPath>) -> ControlFlow<()>;

/// Compares what lies below `root` with the record. Blocks.
///
/// # Errors
///
/// If it could not be done to its end.
pub fn reconcile(
    root: &Root,
    store: &Store,
    filter: &Filter,
    expected: &Expected,
    range: &Range,
    emit: Emit<'_>,
) -> Result<Summary, ReconcileError> {
    root.confirm()?;
    let mut merge = Merge {
        store,
        filter,
        expected,
        range,
        emit,
        page: VecDeque::new(),
        next_page: Some(From::Start),
        page_rows: ROWS_AFTER_GAP,
        levels: Vec::new(),
        frozen: None,
        batch: Vec::new(),
        summary: Summary::default(),
        error: None,
    };
    let wanted = |path: &RelPath, is_directory: bool| filter.wants_entry(path, is_directory);
    // What objects look like is in the rows alone.
    let agreed = store.agreed();
    let remembers = range.depth == Depth::Whole && expected.rules.is_none();
    if remembers {
        agreed.begin(agreed.hasher().hash_one((expected.epoch.0, filter.digest())));
    }
    let of = |path: &RelPath| agreed.of(path);
    let memory = remembers.then(|| Memory { of: &of, hasher: agreed.hasher() });
    let walked =
        walk(root, &range.start, range.depth, &wanted, memory, &mut |visit| merge.visit(&visit));
    if remembers {
        agreed.end();
    }
    walked?;
    if merge.error.is_none() {
        // Rows behind the last file are gone, too.
        merge.pass(None).map_or_else(|error| merge.error = Some(error), |()| ());
    }
    if merge.error.is_none() && range.is_everything() && expected.parked {
        merge.parked().map_or_else(|error| merge.error = Some(error), |()| ());
    }
    let flushed = merge.flush();
    if let Some(error) = merge.error.or(flushed.err()) {
        return Err(error);
    }
    let summary = merge.summary;
    root.confirm()?;
    Ok(summary)
}

struct Merge<'a> {
    store: &'a Store,
    filter: &'a Filter,
    expected: &'a Expected,
    range: &'a Range,
    emit: Emit<'a>,
    page: VecDeque<(RelPath, Mirrored)>,
    /// Where the page after this one begins; `None` behind the last.
    next_page: Option<From>,
    /// How many rows it will have.
    page_rows: usize,
    /// The directories on the way down.
    levels: Vec<Level>,
    /// Nothing at or below it may be called absent. The rows below a path come in one run, so the
    /// latest is the only one that matters.
    frozen: Option<RelPath>,
    batch: Vec<RelPath>,
    summary: Summary,
    error: Option<ReconcileError>,
}

/// A directory whose entries are being visited.
struct Level {
    path: RelPath,
    /// Nothing recorded in it is asked for; what is below its sub-directories may be.
    known: bool,
    /// All that was seen in it is as recorded, and nothing else was recorded.
    agrees: bool,
}

impl Merge<'_> {
    fn visit(&mut self, visit: &Visit<'_>) -> ControlFlow<()> {
        let result = match visit {
            Visit::File { path, stat } => self.file(path, stat),
            Visit::Directory { path } => self.directory(path),
            Visit::Known { path, files } => self.known(path, *files),
            Visit::Left { path, digest } => self.left(path, *digest),
            Visit::Skipped { path, kind } => self.special(path, *kind),
            Visit::Unreadable { path, error } => {
                self.summary.unreadable += 1;
                tracing::warn!(
                    event = "source.unreadable",
                    file.path = %path,
                    error.message = %error,
                    "cannot be read; nothing below is sent or deleted"
                );
                self.freeze(path)
            }
            Visit::Mount { path } => {
                self.summary.mounts += 1;
                self.skip(path, "mount");
                self.freeze(path)
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

    fn file(&mut self, path: &RelPath, stat: &crate::root::Stat) -> Result<(), ReconcileError> {
        self.summary.files += 1;
        self.expected.visited.store(self.summary.files, Ordering::Relaxed);
        self.arrive(path)?;
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
        self.arrive(path)?;
        if self.range.depth == Depth::Whole {
            self.levels.push(Level { path: path.clone(), known: false, agrees: true });
        }
        if self.range.depth == Depth::Entries && *path != self.range.start {
            // Not entered, so nothing is known of what lies below.
            self.page.retain(|(recorded, _)| recorded == path || !recorded.is_within(path));
            if self.page.is_empty() && self.next_page.is_some() {
                self.next_page = Some(From::Past(path.clone()));
            }
        }
        Ok(())
    }

    /// A directory that is as it was when it agreed: none of its rows is read.
    fn known(&mut self, path: &RelPath, files: u64) -> Result<(), ReconcileError> {
        if self.levels.last().is_none_or(|level| !level.known) {
            self.arrive(path)?;
        }
        self.summary.files += files;
        self.expected.visited.store(self.summary.files, Ordering::Relaxed);
        self.levels.push(Level { path: path.clone(), known: true, agrees: true });
        Ok(())
    }

    fn left(&mut self, path: &RelPath, digest: Option<u64>) -> Result<(), ReconcileError> {
        if self.levels.last().is_some_and(|level| level.known) {
            self.skip_rows(path, From::Past(path.clone()));
            self.levels.pop();
            return Ok(());
        }
        // The rows of what is gone from it come before anything that follows.
        while self.peek()?.is_some_and(|(recorded, _)| recorded.is_within(path)) {
            self.pass_one()?;
        }
        let level = self.levels.pop();
        if let Some(digest) = digest.filter(|_| level.is_some_and(|level| level.agrees)) {
            self.store.agreed().remember(path, digest);
        }
        Ok(())
    }

    /// The walk is at `path`: rows before it are gone, but for those that a known directory has.
    fn arrive(&mut self, path: &RelPath) -> Result<(), ReconcileError> {
        if self.levels.last().is_some_and(|level| level.known) {
            self.skip_rows(path, From::At(path.clone()));
        }
        self.pass(Some(path))
    }

    /// Drops the rows before `from`, which is at `path` or right behind all that is in it.
    fn skip_rows(&mut self, path: &RelPath, from: From) {
        let behind = matches!(from, From::Past(_));
        let is_before = |(recorded, _): &(RelPath, Mirrored)| {
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

    fn special(&mut self, path: &RelPath, kind: Kind) -> Result<(), ReconcileError> {
        self.summary.special += 1;
        self.skip(path, kind.as_str());
        self.arrive(path)
    }

    fn skip(&mut self, path: &RelPath, kind: &'static str) {
        if self.summary.skipped.len() < SKIPPED_MAX {
            self.summary.skipped.push((path.clone(), kind));
        }
    }

    fn freeze(&mut self, path: &RelPath) -> Result<(), ReconcileError> {
        self.arrive(path)?;
        // One whose entries were already being visited ends with this.
        self.levels.pop_if(|level| level.path == *path);
        self.frozen = Some(path.clone());
        Ok(())
    }

    /// Takes the rows that come before `path`, or all: the walk has passed them and not met them.
    fn pass(&mut self, path: Option<&RelPath>) -> Result<(), ReconcileError> {
        while let Some((recorded, _)) = self.peek()? {
            if path.is_some_and(|path| recorded >= path) {
                break;
            }
            self.pass_one()?;
        }
        Ok(())
    }

    /// Takes the next row, which the walk has passed.
    fn pass_one(&mut self) -> Result<(), ReconcileError> {
        let Some((recorded, _)) = self.page.pop_front() else { return Ok(()) };
        // Whatever becomes of it, the directory is to be asked again.
        if let Some(level) = self.levels.last_mut() {
            level.agrees = false;
        }
        let frozen = self.frozen.as_ref().is_some_and(|frozen| recorded.is_within(frozen));
        // What a pattern ignores now is left as it is: changing patterns deletes nothing.
        if !frozen && self.filter.wants_file(&recorded) {
            self.summary.gone += 1;
            self.differs(&recorded)?;
        }
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<&(RelPath, Mirrored)>, ReconcileError> {
        if self.page.is_empty()
            && let Some(from) = self.next_page.take()
        {
            let within = self.range.start.clone();
            self.page = self.store.range_blocking(within, from, self.page_rows)?.into();
            self.next_page = self.page.back().map(|(last, _)| From::After(last.clone()));
            self.page_rows = (self.page_rows * 4).min(RANGE_ROWS_MAX);
        }
        Ok(self.page.front())
    }

    fn parked(&mut self) -> Result<(), ReconcileError> {
        let mut after = None;
        loop {
            let page = self.store.parked_blocking(after)?;
            let Some(last) = page.last().cloned() else { return Ok(()) };
            for path in &page {
                self.differs(path)?;
            }
            after = Some(last);
        }
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
