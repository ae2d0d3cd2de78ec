//! Why a state cannot be opened, used or written.

use std::path::PathBuf;
use std::sync::Arc;

/// Why the state could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    /// The directory or the file cannot be created.
    #[error(
        "the state directory {path:?} cannot be used: {source}; it must be writable by the user the service runs as"
    )]
    Create {
        /// Its path.
        path: PathBuf,
        /// The error.
        source: std::io::Error,
    },
    /// One of the files of the state, or the lock, is not a regular file.
    #[error("{path:?} cannot be used: {source}; remove it, and the service makes its own")]
    Special {
        /// The file.
        path: PathBuf,
        /// The error.
        source: std::io::Error,
    },
    /// Another daemon holds it.
    #[error("{path:?} is in use by another process; give each instance a state_dir of its own")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A newer version of the program created it.
    #[error(
        "the record {path:?} has schema version {found}, and this version of the program knows up to {known}; run the newer version, or move the file aside (the bucket is then compared anew)"
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Our version.
        known: i64,
    },
    /// Any other error.
    #[error("the record {path:?} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of SQLite.
        source: rusqlite::Error,
    },
}

/// The thread of the state has ended, or cannot write any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the record cannot be written: {0}")]
pub struct StoreError(pub Arc<str>);

/// Why a state must not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnusableState {
    /// It is damaged, or not a state.
    Damaged,
    /// It belongs to another bucket or prefix.
    OtherTarget,
}

impl UnusableState {
    /// The name in logs and in the name of the renamed file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::OtherTarget => "other-target",
        }
    }
}
