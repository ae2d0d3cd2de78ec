//! What the engine is told, and what it answers.

use crate::look::Looked;
use crate::model::{Hint, Outcome, Pending, RelPath, UploadNote};
use crate::queue::Lease;
use crate::reconcile::{Range, ReconcileError, Summary};
use crate::root::SourceGone;
use crate::settle::Rested;
use crate::store::{Change, Counts, Known, Survey};
use std::time::Duration;

/// The time, as an argument.
#[derive(Debug, Clone, Copy)]
pub struct Now {
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
    Looked(Vec<(Looked, Known)>),
    /// A look failed as a whole; these paths are as they were.
    LookFailed(Vec<Rested>, LookFailure),
    /// A comparison found paths that differ.
    Differing(Vec<RelPath>),
    /// A comparison has ended.
    Compared(Range, Result<Summary, ReconcileError>),
    /// Rows are on disk: the number of their commit, for receipts may overtake each other, and how
    /// much the record held then.
    Written(u64, Counts),
    /// Tries have ended; those of deletes end together.
    Ended(Vec<(Lease, Outcome)>),
    /// Rows of the record for the queue.
    Refilled(Vec<Pending>),
    /// The record was surveyed.
    Surveyed(Survey),
    /// The bucket was looked through for what another shard has left, and whether that is to be done
    /// again: there was something, or it was the first time.
    Reviewed {
        /// Whether it is.
        again: bool,
    },
    /// A person or a program asks for something.
    Asked(Ask),
    /// Time went by.
    Tick,
    /// Come to an end: drain what there is.
    Stop,
}

/// What may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Tell when all that was hinted so far is in S3. The number is the asker's.
    Flush {
        /// Of this flush.
        id: u64,
        /// Whether hints do not tell of everything, so that the tree has to be compared as well.
        compare: bool,
    },
    /// Compare the whole tree now.
    Rescan,
    /// Do the deletes that are held now.
    ApproveDeletes,
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

/// Something is to be done.
#[derive(Debug)]
pub enum Effect {
    /// Look at these.
    Look(Vec<Rested>),
    /// Compare this with the record.
    Compare(Range),
    /// Write these, and begin the tries when they are on disk.
    Write(Vec<Change>, Vec<Lease>),
    /// Abort this multipart upload: its file has no need of it any more.
    Abandon(UploadNote),
    /// Read so many rows for the queue.
    Refill(usize),
    /// The watched directory is gone: end this run, and wait for it.
    SourceLost(String),
}
