//! The input of the engine, and its effects.

use super::StopRequest;
use super::delayed::DueDeletes;
use super::snapshot::Watch;
use crate::look::Inspection;
use crate::model::{AttemptOutcome, Hint, QueueRow, RelPath, UnixMillis, UploadRecord};
use crate::queue::Attempt;
use crate::reconcile::{ReconcileError, ScanScope, Summary};
use crate::root::SourceGone;
use crate::settle::ReadyPath;
use crate::store::{Change, DelayedPosition, QueueStats, RecordedState, StateCounts};
use std::time::Duration;

/// The time, as an argument.
#[derive(Debug, Clone, Copy)]
pub struct EngineTime {
    /// Since the engine started; never goes back.
    pub elapsed: Duration,
    /// Randomness for the back-off, between 0 and 1.
    pub jitter: f64,
}

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// The detector says where to look.
    Hinted(Vec<Hint>),
    /// Paths were looked at, and what the record says of them.
    Looked(Vec<(Inspection, RecordedState)>),
    /// A look failed as a whole; these paths are as they were.
    LookFailed(Vec<ReadyPath>, LookFailure),
    /// A comparison found paths that differ.
    Differing(Vec<RelPath>),
    /// A comparison has ended.
    Compared(ScanScope, Result<Summary, ReconcileError>),
    /// Rows are on disk: the number of their commit, for receipts may overtake each other, and how
    /// much the record held then.
    Written(u64, StateCounts),
    /// Tries have ended; those of deletes end together.
    Ended(Vec<(Attempt, AttemptOutcome)>),
    /// Rows of the record for the queue.
    Refilled(Vec<QueueRow>),
    /// Delayed deletes are due.
    DeletesDue(DueDeletes),
    /// The record was surveyed.
    Surveyed(QueueStats),
    /// The bucket was listed for a takeover from another shard, and whether that must be repeated:
    /// there was something, or it was the first time.
    Reviewed {
        /// Whether it is.
        again: bool,
    },
    /// Changes are seen otherwise than before.
    Watched(Watch),
    /// So many requests may be under way at once.
    Concurrency(usize),
    /// A person or a program asks for something.
    Asked(EngineCommand),
    /// Time went by.
    Tick,
    /// Come to an end: drain what there is.
    Stop(StopRequest),
}

/// What may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineCommand {
    /// Report when all that was hinted so far is in S3. The number identifies the request.
    Flush {
        /// Of this flush.
        id: u64,
        /// Whether hints do not cover everything, so that the tree must be scanned as well.
        compare: bool,
    },
    /// Compare the whole tree now.
    Rescan,
    /// Do the deletes that are held now.
    ApproveDeletes,
    /// Drop the deletes that are held or delayed, so that their objects stay.
    CancelDeletes,
    /// Try at once what has failed.
    Retry,
    /// Be quick from now on: the end is near.
    EndSoon,
}

/// Why a look failed as a whole.
#[derive(Debug)]
pub enum LookFailure {
    /// The watched directory is not what it was.
    Source(SourceGone),
    /// The record cannot be read.
    Store(String),
}

/// Work for the loop to perform.
#[derive(Debug)]
pub enum Effect {
    /// Look at these.
    Look(Vec<ReadyPath>),
    /// Compare this with the record.
    Compare(ScanScope),
    /// Write these, and begin the tries when they are on disk.
    Write(Vec<Change>, Vec<Attempt>),
    /// Abort this multipart upload: its file has no need of it any more.
    Abandon(UploadRecord),
    /// Read the delayed deletes that are due until then, after this position.
    ReadDelayed(UnixMillis, Option<DelayedPosition>),
    /// Read so many rows for the queue.
    Refill(usize),
    /// The watched directory is gone: end this run, and wait for it.
    SourceLost(String),
}
