//! Why a path beneath the watched directory could not be reached.
//!
//! # Invariant
//!
//! `Gone` means that the kernel reported the absence of the name. Every doubt is another variant,
//! because absence deletes objects.

use super::FileKind;
use rustix::io::Errno;
use std::io;
use std::path::PathBuf;

/// Why the directory to mirror cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// It does not exist.
    #[error("watch_path does not exist: {0:?}")]
    Missing(PathBuf),
    /// It is not a directory.
    #[error("the path to mirror is not a directory: {0:?}")]
    NotDirectory(PathBuf),
    /// Permissions prevent reading it.
    #[error("the directory to mirror may not be read by this user: {0:?}")]
    NotReadable(PathBuf),
    /// It is the state directory.
    #[error("the directory to mirror is state_dir itself: {0:?}")]
    OwnState(PathBuf),
    /// Any other error.
    #[error("the directory to mirror cannot be opened: {path:?}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// The error of the kernel.
        source: io::Error,
    },
}

/// The configured path does not lead to the opened directory: an absence below it means nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceGone {
    /// It does not exist.
    #[error("the watched directory is gone")]
    Missing,
    /// It leads to another directory, or to the same one on another mount.
    #[error("the watched directory was replaced, unmounted, or mounted over")]
    Replaced,
    /// It cannot be inspected.
    #[error("the watched directory cannot be reached")]
    Unreachable(#[source] io::Error),
}

/// An obstacle between the watched directory and a path below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// A symbolic link.
    Link,
    /// A mount point: the path itself or a directory in it.
    Mount,
    /// The state directory, or a file in it under another name.
    OwnState,
}

/// Why a path was not inspected, or not listed completely.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Nothing is there; for a listing: no directory is there.
    #[error("nothing is there")]
    Gone,
    /// The path leads out of the watched directory or its file system.
    #[error("{}", obstacle(*.0))]
    NotBelow(Obstacle),
    /// Permissions prevent it.
    #[error("permission denied")]
    Denied,
    /// Any other error.
    #[error("{}", in_words(.0))]
    Io(#[source] io::Error),
}

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum FileOpenError {
    /// Nothing is there.
    #[error("nothing is there")]
    Gone,
    /// It is not a regular file.
    #[error("not a regular file: {0:?}")]
    NotRegular(FileKind),
    /// Permissions prevent it.
    #[error("permission denied")]
    Denied,
    /// The path leads out of the watched directory or its file system.
    #[error("{}", obstacle(*.0))]
    LeadsOutside(Obstacle),
    /// Any other error, for example too many open files.
    #[error("{}", in_words(.0))]
    Io(#[source] io::Error),
}

impl InspectError {
    /// Whether a retry may succeed soon: an error of the disk or the network, too many open files,
    /// no memory.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Io(error) if is_passing(error))
    }
}

/// Whether a retry after this error may succeed soon. Permissions and names do not change on their
/// own.
#[must_use]
pub fn is_passing(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    !matches!(errno, Some(Errno::ACCESS | Errno::PERM | Errno::NAMETOOLONG | Errno::INVAL))
}

/// Describes an error. For too many open files, it names the limit and who can change it.
#[must_use]
pub fn in_words(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => {
            "too many open files in this process: raise its limit (RLIMIT_NOFILE)".to_owned()
        }
        Some(Errno::NFILE) => "too many open files on this machine: raise fs.file-max".to_owned(),
        _ => error.to_string(),
    }
}

fn obstacle(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Link => "a symbolic link is in the way",
        Obstacle::Mount => "another file system is mounted there",
        Obstacle::OwnState => "it belongs to state_dir",
    }
}

impl From<Errno> for InspectError {
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

impl From<InspectError> for FileOpenError {
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::Gone => Self::Gone,
            InspectError::NotBelow(obstacle) => Self::LeadsOutside(obstacle),
            InspectError::Denied => Self::Denied,
            InspectError::Io(error) => Self::Io(error),
        }
    }
}

impl From<InspectError> for io::Error {
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::Gone => Errno::NOENT.into(),
            InspectError::NotBelow(Obstacle::Link) => Errno::LOOP.into(),
            InspectError::NotBelow(Obstacle::Mount | Obstacle::OwnState) => Errno::XDEV.into(),
            InspectError::Denied => Errno::ACCESS.into(),
            InspectError::Io(error) => error,
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
