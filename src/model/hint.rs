//! What the detector tells the engine: where to look, never what happened.

use super::RelPath;

/// A place that may have changed. What is to be done follows from a look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Look at this name.
    Path(RelPath, Activity),
    /// Compare this directory with the record.
    Tree(RelPath, Depth),
}

/// How long a file has to rest before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    /// Closed after writing, or renamed to this: whoever did it has finished.
    Done,
    /// Removed, or renamed to something else. If there is a file nevertheless, it is another one of
    /// which nobody told: its age decides.
    Gone,
    /// Found by a listing: nobody knows whether it is still being written. Its age decides.
    Found,
    /// Written to and not closed since.
    Writing,
}

/// How far below a directory to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Its own entries.
    Entries,
    /// Everything below it.
    Whole,
}
