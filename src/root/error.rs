//! Why something beneath the watched directory could not be reached.
//!
//! # Invariant
//!
//! `Gone` is said only where the kernel said that the name is not there. Every doubt is another
//! variant, because absence is what deletes objects.

use super::Kind;
use rustix::io::Errno;
use std::io;
use std::path::PathBuf;

/// Why the directory to mirror cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Nothing is there.
    #[error("the directory to mirror does not exist: {0:?}")]
    Missing(PathBuf),
    /// Something else is there.
    #[error("what is to be mirrored is not a directory: {0:?}")]
    NotDirectory(PathBuf),
    /// The permissions are in the way.
    #[error("the directory to mirror may not be read by this user: {0:?}")]
    NotReadable(PathBuf),
    /// Anything else.
    #[error("the directory to mirror cannot be opened: {path:?}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The configured path does not lead to the directory that was opened: no absence below it means
/// anything.
#[derive(Debug, thiserror::Error)]
pub enum SourceGone {
    /// It leads nowhere.
    #[error("the watched directory is gone")]
    Missing,
    /// It leads to another directory, or to the same one on another mount.
    #[error("the watched directory was replaced, unmounted, or mounted over")]
    Replaced,
    /// It cannot be looked at.
    #[error("the watched directory cannot be reached")]
    Unreachable(#[source] io::Error),
}

/// What stands between the watched directory and a path below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// A symbolic link.
    Link,
    /// A mount point: the path itself or a directory on the way to it.
    Mount,
}

/// Why a path was not looked at, or not listed completely.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// Nothing is there; for a listing: no directory is there.
    #[error("nothing is there")]
    Gone,
    /// The way leads out of the watched directory or its file system.
    #[error("{}", obstacle(*.0))]
    NotBelow(Obstacle),
    /// The permissions are in the way.
    #[error("permission denied")]
    Denied,
    /// Anything else.
    #[error("{0}")]
    Io(#[source] io::Error),
}

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing is there.
    #[error("nothing is there")]
    Gone,
    /// Something else than a regular file is there.
    #[error("not a regular file: {0:?}")]
    NotRegular(Kind),
    /// The permissions are in the way.
    #[error("permission denied")]
    Denied,
    /// The way leads out of the watched directory or its file system.
    #[error("{}", obstacle(*.0))]
    LeadsOutside(Obstacle),
    /// Anything else, too many open files for example.
    #[error("{0}")]
    Io(#[source] io::Error),
}

fn obstacle(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Link => "a symbolic link is in the way",
        Obstacle::Mount => "another file system is mounted there",
    }
}

impl From<Errno> for LookError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR => Self::Gone,
            Errno::LOOP => Self::NotBelow(Obstacle::Link),
            Errno::XDEV => Self::NotBelow(Obstacle::Mount),
            Errno::ACCESS | Errno::PERM => Self::Denied,
            errno => Self::Io(errno.into()),
        }
    }
}

impl From<LookError> for OpenError {
    fn from(error: LookError) -> Self {
        match error {
            LookError::Gone => Self::Gone,
            LookError::NotBelow(obstacle) => Self::LeadsOutside(obstacle),
            LookError::Denied => Self::Denied,
            LookError::Io(error) => Self::Io(error),
        }
    }
}

impl From<LookError> for io::Error {
    fn from(error: LookError) -> Self {
        match error {
            LookError::Gone => Errno::NOENT.into(),
            LookError::NotBelow(Obstacle::Link) => Errno::LOOP.into(),
            LookError::NotBelow(Obstacle::Mount) => Errno::XDEV.into(),
            LookError::Denied => Errno::ACCESS.into(),
            LookError::Io(error) => error,
        }
    }
}

impl From<Errno> for SourceGone {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR => Self::Missing,
            errno => Self::Unreachable(errno.into()),
        }
    }
}
