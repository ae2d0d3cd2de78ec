//! The thread that owns the connection: groups changes into commits, answers reads in between.
//!
//! # Invariant
//!
//! Changes reach the disk in the order they were handed in. Those of a commit that failed (the disk is
//! full, or somebody holds the file) are kept and come before any later ones, and what is read
//! meanwhile would be older than it has to be, so that reads are refused until they are on disk.
//!
//! # Bound
//!
//! What is kept is what its owners hand in without an answer: the engine stops looking at paths at 64
//! commits of at most some 500 changes each, and no try begins before its row is on disk.

use super::schema::RecordFile;
use super::{
    Backlog, Bound, Change, Counts, From, Invalidations, Known, Question, Receipt, StoreError,
    Survey, invalidations, rows,
};
use crate::model::{Mirrored, Pending, RelPath};
use rusqlite::Connection;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Changes that may share one commit, so that the first of them is not held up for long.
const COMMIT_CHANGES_MAX: usize = 1000;
/// Wait before a commit that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

pub(super) enum Request {
    Write(Write),
    Read(Read),
}

/// Changes, and what is asked right after them.
pub(super) struct Write {
    pub(super) changes: Vec<Change>,
    pub(super) questions: Vec<Question>,
    pub(super) answer: Answer<Receipt>,
}

pub(super) enum Read {
    Bound(Answer<Option<Bound>>),
    Known(Vec<Question>, Answer<Vec<Known>>),
    Range { within: RelPath, from: From, limit: usize, answer: Answer<Vec<(RelPath, Mirrored)>> },
    Parked { after: Option<RelPath>, answer: Answer<Vec<RelPath>> },
    QueuedAfter(Option<RelPath>, Answer<Vec<Pending>>),
    Due(usize, Answer<(Vec<Pending>, Counts)>),
    Queued(usize, Answer<(Vec<Pending>, Counts)>),
    Invalidations(Answer<Invalidations>),
    Survey(Answer<Survey>),
}

impl Read {
    fn refuse(self, error: StoreError) {
        // Whoever asked may have gone.
        match self {
            Self::Bound(answer) => drop(answer.send(Err(error))),
            Self::Known(_, answer) => drop(answer.send(Err(error))),
            Self::Range { answer, .. } => drop(answer.send(Err(error))),
            Self::Parked { answer, .. } => drop(answer.send(Err(error))),
            Self::QueuedAfter(_, answer) => drop(answer.send(Err(error))),
            Self::Due(_, answer) | Self::Queued(_, answer) => drop(answer.send(Err(error))),
            Self::Invalidations(answer) => drop(answer.send(Err(error))),
            Self::Survey(answer) => drop(answer.send(Err(error))),
        }
    }
}

/// Works until every handle is gone.
pub(super) fn run(
    file: RecordFile,
    rare: rows::Rare,
    counts: Counts,
    backlog: watch::Sender<Backlog>,
    mut inbox: mpsc::Receiver<Request>,
) {
    let kept = Kept::default();
    let mut writer = Writer { connection: file.connection, rare, counts, backlog, kept };
    while let Some(request) = inbox.blocking_recv() {
        match request {
            Request::Write(write) => {
                if let Some(read) = writer.commit(write, &mut inbox) {
                    writer.answer(read);
                }
            }
            Request::Read(read) => writer.answer(read),
        }
    }
    writer.kept.failed = None;
    if let Err(error) = writer.write_kept() {
        tracing::error!(
            event = "state.write_failed",
            error.message = %error,
            "the last changes of the record could not be written; the next start finds them by comparing"
        );
    }
    // The journal is folded into the file, so that a copy of the one file is a copy of all.
    if let Err((_, error)) = writer.connection.close() {
        tracing::warn!(event = "state.close_failed", error.message = %error, "record not closed cleanly");
    }
}

struct Writer {
    connection: Connection,
    rare: rows::Rare,
    /// In step with the tables, so that nobody has to count them.
    counts: Counts,
    /// Where it is told what waits for a CDN.
    backlog: watch::Sender<Backlog>,
    kept: Kept,
}

/// What could not be written. Bounded by those who hand in: they wait for their receipts.
#[derive(Default)]
struct Kept {
    changes: Vec<Change>,
    /// The latest failure, and what it was.
    failed: Option<(Instant, StoreError)>,
}

impl Writer {
    /// Commits `first` with the changes that wait behind it. Gives back the first read: it came
    /// after them, and must see them.
    fn commit(&mut self, first: Write, inbox: &mut mpsc::Receiver<Request>) -> Option<Read> {
        let mut count = first.changes.len();
        let mut batch = vec![first];
        let mut read = None;
        while count < COMMIT_CHANGES_MAX {
            match inbox.try_recv() {
                Ok(Request::Write(write)) => {
                    count += write.changes.len();
                    batch.push(write);
                }
                Ok(Request::Read(first)) => {
                    read = Some(first);
                    break;
                }
                Err(_) => break,
            }
        }
        let changes: Vec<_> =
            batch.iter_mut().map(|write| std::mem::take(&mut write.changes)).collect();
        // What was only listed saves an upload at best, and can be a whole bucket.
        let listed = |change: &Change| matches!(change, Change::Listed(..));
        let keeps = !self.kept.changes.is_empty();
        let changes = changes.into_iter().flatten().filter(|change| !(keeps && listed(change)));
        self.kept.changes.extend(changes);
        let result = self.write_kept();
        if result.is_err() {
            self.kept.changes.retain(|change| !listed(change));
        }
        for Write { questions, answer, .. } in batch {
            let receipt = result.clone().map(|counts| {
                let known = known(&self.connection, &questions, self.rare);
                Receipt { counts, known: known.map_err(|error| to_store_error(&error)) }
            });
            // Whoever asked may have gone: the change is written all the same.
            drop(answer.send(receipt));
        }
        read
    }

    /// Writes what there is, all or none. Shortly after a failure nothing is tried.
    #[expect(clippy::disallowed_methods, reason = "the adapter reads the clock for its own pauses")]
    fn write_kept(&mut self) -> Result<Counts, StoreError> {
        if let Some((at, error)) = &self.kept.failed
            && at.elapsed() < RETRY_PAUSE
        {
            return Err(error.clone());
        }
        match self.write() {
            Ok(counts) => {
                self.counts = counts;
                self.kept = Kept::default();
                Ok(counts)
            }
            Err(error) => {
                let error = to_store_error(&error);
                self.kept.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn write(&mut self) -> rusqlite::Result<Counts> {
        let mut counts = self.counts;
        let transaction = self.connection.transaction()?;
        let mut told = false;
        for change in &self.kept.changes {
            self.rare.heed(change);
            rows::apply(&transaction, change, self.rare, &mut counts)?;
            told |= matches!(change, Change::Stale(..) | Change::Invalidation(_));
        }
        if told {
            invalidations::keep_bounded(&transaction)?;
        }
        let backlog = told.then(|| invalidations::backlog(&transaction)).transpose()?;
        transaction.commit()?;
        if let Some(backlog) = backlog {
            self.backlog.send_replace(backlog);
        }
        Ok(counts)
    }

    fn answer(&mut self, read: Read) {
        if !self.kept.changes.is_empty()
            && let Err(error) = self.write_kept()
        {
            return read.refuse(error);
        }
        let connection = &self.connection;
        match read {
            Read::Bound(answer) => reply(answer, rows::bound(connection)),
            Read::Known(questions, answer) => {
                reply(answer, known(connection, &questions, self.rare));
            }
            Read::Range { within, from, limit, answer } => {
                reply(answer, rows::range(connection, &within, &from, limit));
            }
            Read::Parked { after, answer } => {
                reply(answer, rows::parked(connection, after.as_ref()));
            }
            Read::QueuedAfter(after, answer) => {
                reply(answer, rows::queued_after(connection, after.as_ref()));
            }
            Read::Due(limit, answer) => reply(answer, self.pending(rows::Order::NextDue, limit)),
            Read::Invalidations(answer) => reply(answer, invalidations::all(connection)),
            Read::Queued(limit, answer) => reply(answer, self.pending(rows::Order::Oldest, limit)),
            Read::Survey(answer) => reply(answer, rows::survey(connection)),
        }
    }

    fn pending(
        &self,
        order: rows::Order,
        limit: usize,
    ) -> rusqlite::Result<(Vec<Pending>, Counts)> {
        Ok((rows::pending(&self.connection, order, limit)?, self.counts))
    }
}

/// In one transaction: outside of one, each of the many statements would lock the file for itself.
fn known(
    connection: &Connection,
    questions: &[Question],
    rare: rows::Rare,
) -> rusqlite::Result<Vec<Known>> {
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let transaction = connection.unchecked_transaction()?;
    let known =
        questions.iter().map(|question| rows::known(&transaction, question, rare)).collect();
    transaction.finish()?;
    known
}

fn reply<T>(answer: Answer<T>, result: rusqlite::Result<T>) {
    // Whoever asked may have gone.
    drop(answer.send(result.map_err(|error| to_store_error(&error))));
}

pub(super) fn to_store_error(error: &rusqlite::Error) -> StoreError {
    StoreError(error.to_string().into())
}
