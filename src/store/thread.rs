//! The thread that owns the connection: groups changes into commits, and answers reads in between.
//!
//! # Invariant
//!
//! Changes are written in the order in which they were sent. Changes of a failed commit (the disk
//! is full, or another process locks the file) are retained and precede later ones. Reads would be
//! outdated meanwhile, so that they are refused until the changes are on disk.
//!
//! # Bound
//!
//! Retained changes are bounded by their senders: the engine stops to inspect paths at 64 commits
//! of at most about 500 changes each, and no attempt starts before its row is on disk.

use super::schema::RecordFile;
use super::{
    Change, CleanDirs, CommitReceipt, DelayedPage, DelayedPosition, InvalidationBacklog,
    QueueStats, RecordedState, StartBound, StateBinding, StateCounts, StateLookup, StoreError,
    StoredInvalidations, binding, delayed, invalidations, repair, rows, schema,
};
use crate::model::{ObjectRecord, QueueRow, RelPath, UnixMillis};
use rusqlite::Connection;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Maximum number of changes per commit, so that the first of them does not wait for long.
const COMMIT_CHANGES_MAX: usize = 1000;
/// The pause before a failed commit is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

type StoreReply<T> = oneshot::Sender<Result<T, StoreError>>;

pub(super) enum StoreRequest {
    Write(WriteBatch),
    Read(ReadRequest),
}

/// Changes, and the lookups right after them.
pub(super) struct WriteBatch {
    pub(super) changes: Vec<Change>,
    pub(super) questions: Vec<StateLookup>,
    pub(super) answer: StoreReply<CommitReceipt>,
}

pub(super) enum ReadRequest {
    Bound(StoreReply<Option<StateBinding>>),
    Known(Vec<StateLookup>, StoreReply<Vec<RecordedState>>),
    Range {
        within: RelPath,
        from: StartBound,
        limit: usize,
        answer: StoreReply<Vec<(RelPath, ObjectRecord)>>,
    },
    Parked {
        after: Option<RelPath>,
        answer: StoreReply<Vec<RelPath>>,
    },
    Delayed {
        until: UnixMillis,
        after: Option<DelayedPosition>,
        answer: StoreReply<DelayedPage>,
    },
    DelayedPaths {
        after: Option<RelPath>,
        answer: StoreReply<Vec<RelPath>>,
    },
    Deletes(usize, StoreReply<Vec<QueueRow>>),
    QueuedAfter(Option<RelPath>, StoreReply<Vec<QueueRow>>),
    Due(usize, StoreReply<(Vec<QueueRow>, StateCounts)>),
    Queued(usize, StoreReply<(Vec<QueueRow>, StateCounts)>),
    Invalidations(StoreReply<StoredInvalidations>),
    Survey(StoreReply<QueueStats>),
}

impl ReadRequest {
    fn refuse(self, error: StoreError) {
        // The caller may have been dropped.
        match self {
            Self::Bound(answer) => drop(answer.send(Err(error))),
            Self::Known(_, answer) => drop(answer.send(Err(error))),
            Self::Range { answer, .. } => drop(answer.send(Err(error))),
            Self::Parked { answer, .. } | Self::DelayedPaths { answer, .. } => {
                drop(answer.send(Err(error)));
            }
            Self::Delayed { answer, .. } => drop(answer.send(Err(error))),
            Self::Deletes(_, answer) => drop(answer.send(Err(error))),
            Self::QueuedAfter(_, answer) => drop(answer.send(Err(error))),
            Self::Due(_, answer) | Self::Queued(_, answer) => drop(answer.send(Err(error))),
            Self::Invalidations(answer) => drop(answer.send(Err(error))),
            Self::Survey(answer) => drop(answer.send(Err(error))),
        }
    }
}

/// Works until every handle is dropped.
pub(super) fn run(
    file: RecordFile,
    rare: rows::NonEmptyHints,
    counts: StateCounts,
    (backlog, agreed): (watch::Sender<InvalidationBacklog>, CleanDirs),
    mut inbox: mpsc::Receiver<StoreRequest>,
) {
    let kept = RetryBuffer::default();
    let connection = file.connection;
    let mut writer = StateWriter { connection, rare, counts, backlog, agreed, kept };
    while let Some(request) = inbox.blocking_recv() {
        match request {
            StoreRequest::Write(write) => {
                if let Some(read) = writer.commit(write, &mut inbox) {
                    writer.answer(read);
                }
            }
            StoreRequest::Read(read) => writer.answer(read),
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
    // The journal is merged into the file, so that a copy of this one file is complete.
    if let Err((_, error)) = writer.connection.close() {
        tracing::warn!(event = "state.close_failed", error.message = %error, "record not closed cleanly");
    }
}

struct StateWriter {
    connection: Connection,
    rare: rows::NonEmptyHints,
    /// The sizes of the tables, updated with every change, so that they are never counted.
    counts: StateCounts,
    /// Publishes the number of pending invalidations.
    backlog: watch::Sender<InvalidationBacklog>,
    /// Cleared when rows are removed.
    agreed: CleanDirs,
    kept: RetryBuffer,
}

/// Changes that could not be written. Bounded by their senders, which wait for receipts.
#[derive(Default)]
struct RetryBuffer {
    changes: Vec<Change>,
    /// The time and the error of the last failure.
    failed: Option<(Instant, StoreError)>,
}

impl StateWriter {
    /// Commits `first` with the changes that wait after it. Returns the first read, which arrived
    /// after them and must see them.
    fn commit(
        &mut self,
        first: WriteBatch,
        inbox: &mut mpsc::Receiver<StoreRequest>,
    ) -> Option<ReadRequest> {
        let mut count = first.changes.len();
        let mut batch = vec![first];
        let mut read = None;
        while count < COMMIT_CHANGES_MAX {
            match inbox.try_recv() {
                Ok(StoreRequest::Write(write)) => {
                    count += write.changes.len();
                    batch.push(write);
                }
                Ok(StoreRequest::Read(first)) => {
                    read = Some(first);
                    break;
                }
                Err(_) => break,
            }
        }
        let changes: Vec<_> =
            batch.iter_mut().map(|write| std::mem::take(&mut write.changes)).collect();
        // Listed objects only save uploads, and there can be a whole bucket of them.
        let listed = |change: &Change| matches!(change, Change::Listed(..));
        let keeps = !self.kept.changes.is_empty();
        let changes = changes.into_iter().flatten().filter(|change| !(keeps && listed(change)));
        self.kept.changes.extend(changes);
        let result = self.write_kept();
        if result.is_err() {
            self.kept.changes.retain(|change| !listed(change));
        }
        for WriteBatch { questions, answer, .. } in batch {
            let receipt = result.clone().map(|counts| {
                let rare = self.rare;
                let known = self.ask(|connection| known(connection, &questions, rare));
                CommitReceipt { counts, known: known.map_err(|error| to_store_error(&error)) }
            });
            // The caller may have been dropped: the change is written nevertheless.
            drop(answer.send(receipt));
        }
        read
    }

    /// Writes all pending changes, or none. Shortly after a failure, it does not retry.
    #[expect(clippy::disallowed_methods, reason = "the adapter reads the clock for its own pauses")]
    fn write_kept(&mut self) -> Result<StateCounts, StoreError> {
        if let Some((at, error)) = &self.kept.failed
            && at.elapsed() < RETRY_PAUSE
        {
            return Err(error.clone());
        }
        let written = match self.write() {
            Err(error) if repair::is_repairable(&error) => {
                self.repair().and_then(|()| self.write())
            }
            written => written,
        };
        match written {
            Ok(counts) => {
                self.counts = counts;
                self.kept = RetryBuffer::default();
                Ok(counts)
            }
            Err(error) => {
                let error = to_store_error(&error);
                self.kept.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn write(&mut self) -> rusqlite::Result<StateCounts> {
        let mut counts = self.counts;
        let transaction = self.connection.transaction()?;
        let mut has_invalidations = false;
        for change in &self.kept.changes {
            self.rare.note_change(change);
            rows::apply(&transaction, change, self.rare, &mut counts)?;
            has_invalidations |= matches!(change, Change::Stale(..) | Change::Invalidation(_));
        }
        if has_invalidations {
            invalidations::keep_bounded(&transaction)?;
        }
        if !counts.are_possible() {
            counts = rows::counts(&transaction)?;
        }
        let backlog =
            has_invalidations.then(|| invalidations::backlog(&transaction)).transpose()?;
        transaction.commit()?;
        if let Some(backlog) = backlog {
            self.backlog.send_replace(backlog);
        }
        Ok(counts)
    }

    fn answer(&mut self, read: ReadRequest) {
        if !self.kept.changes.is_empty()
            && let Err(error) = self.write_kept()
        {
            return read.refuse(error);
        }
        let rare = self.rare;
        match read {
            ReadRequest::Bound(answer) => reply(answer, self.ask(binding::bound)),
            ReadRequest::Known(questions, answer) => {
                reply(answer, self.ask(|connection| known(connection, &questions, rare)));
            }
            ReadRequest::Range { within, from, limit, answer } => {
                let range =
                    |connection: &Connection| rows::range(connection, &within, &from, limit);
                reply(answer, self.ask(range));
            }
            ReadRequest::Parked { after, answer } => {
                reply(answer, self.ask(|connection| rows::parked(connection, after.as_ref())));
            }
            ReadRequest::Delayed { until, after, answer } => {
                let due =
                    |connection: &Connection| delayed::until(connection, until, after.as_ref());
                reply(answer, self.ask(due));
            }
            ReadRequest::DelayedPaths { after, answer } => {
                reply(answer, self.ask(|connection| delayed::paths(connection, after.as_ref())));
            }
            ReadRequest::Deletes(limit, answer) => {
                reply(answer, self.ask(|connection| delayed::all(connection, limit)));
            }
            ReadRequest::QueuedAfter(after, answer) => {
                let queued =
                    |connection: &Connection| rows::queued_after(connection, after.as_ref());
                reply(answer, self.ask(queued));
            }
            ReadRequest::Due(limit, answer) => {
                reply(answer, self.pending(rows::QueueOrder::NextDue, limit))
            }
            ReadRequest::Invalidations(answer) => reply(answer, self.ask(invalidations::all)),
            ReadRequest::Queued(limit, answer) => {
                reply(answer, self.pending(rows::QueueOrder::Oldest, limit))
            }
            ReadRequest::Survey(answer) => reply(answer, self.ask(rows::survey)),
        }
    }

    fn pending(
        &mut self,
        order: rows::QueueOrder,
        limit: usize,
    ) -> rusqlite::Result<(Vec<QueueRow>, StateCounts)> {
        let mut rows = self.ask(|connection| rows::pending(connection, order, limit))?;
        if matches!(order, rows::QueueOrder::Oldest) && rows.len() < limit {
            let room = limit - rows.len();
            rows.extend(self.ask(|connection| delayed::first(connection, room))?);
        }
        Ok((rows, self.counts))
    }

    /// Reads, and once more without the rows that could not be read, if there are any.
    fn ask<T>(
        &mut self,
        question: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        match question(&self.connection) {
            Err(error) if repair::is_repairable(&error) => {
                self.repair()?;
                question(&self.connection)
            }
            answered => answered,
        }
    }

    fn repair(&mut self) -> rusqlite::Result<()> {
        let repaired = repair::repair(&mut self.connection)?;
        self.counts = rows::counts(&self.connection)?;
        self.agreed.forget();
        schema::log_repaired(repaired);
        Ok(())
    }
}

/// In one transaction: otherwise each of the many statements would lock the file.
fn known(
    connection: &Connection,
    questions: &[StateLookup],
    rare: rows::NonEmptyHints,
) -> rusqlite::Result<Vec<RecordedState>> {
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let transaction = connection.unchecked_transaction()?;
    let known =
        questions.iter().map(|question| rows::known(&transaction, question, rare)).collect();
    transaction.finish()?;
    known
}

fn reply<T>(answer: StoreReply<T>, result: rusqlite::Result<T>) {
    // The caller may have been dropped.
    drop(answer.send(result.map_err(|error| to_store_error(&error))));
}

pub(super) fn to_store_error(error: &rusqlite::Error) -> StoreError {
    StoreError(error.to_string().into())
}
