//! Hints from the detector to the engine: where to look, never what happened.

use super::RelPath;

/// A path that may have changed. Its inspection determines what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Inspect this name.
    Path(RelPath, WriteState),
    /// Scan this directory.
    Tree(RelPath, Depth),
}

/// Determines how long a file has to be quiet before its inspection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WriteState {
    /// Closed after writing, or renamed to this name: the writer has finished.
    Done,
    /// Removed, or renamed to another name. If a file exists nevertheless, it is another one
    /// without an event: its age decides.
    Gone,
    /// Found by a listing: it may still be being written. Its age decides.
    Found,
    /// Written to, and not closed since.
    Writing,
}

/// The depth of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Its own entries.
    Entries,
    /// Everything below it.
    Whole,
}
