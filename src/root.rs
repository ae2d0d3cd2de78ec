//! The watched directory: everything in the tree is read beneath one descriptor.
//!
//! # Invariants
//!
//! - The kernel follows no link and crosses no mount point below the configured path, whatever is
//!   renamed meanwhile: every resolution starts at the descriptor, never at a path. Links that lead to
//!   a file beneath it are resolved by [`Root::follow`], if that is configured.
//! - Only regular files are opened for reading, and no open blocks.
//! - Absence counts only together with [`Root::confirm`]: an unmounted volume looks exactly like
//!   one whose files were all removed.
//! - A listing is complete or an error.

mod beneath;
mod error;
mod identity;
mod links;
mod meter;
mod own_state;
mod staging;
mod stat;
mod walk;
mod writers;

#[cfg(test)]
mod tests;

pub use error::{
    FileOpenError, InspectError, Obstacle, RootError, SourceGone, in_words, is_passing,
};
pub use identity::Identity;
pub use links::FollowedPath;
pub use meter::{LookKind, LookMeter};
pub use own_state::OwnState;
pub use staging::{PlaceDirectory, PlaceError, STAGING, Staging};
pub use stat::{FileKind, Stat, is_mounted_alone, now_ns};
pub use walk::{ListedDirectory, PreviousDigests, Visit, walk};

use crate::model::{Fingerprint, RelPath};
use beneath::{Access, Beneath, ENTRANCE, LISTING, MountOf, READING};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The open watched directory.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    dir: OwnedFd,
    identity: Identity,
    access: Access,
    own_state: Option<Arc<OwnState>>,
    follows_links: bool,
    meter: Arc<LookMeter>,
}

/// Receives one name of a listing, and its kind if the file system stores that with the name.
pub type VisitName<'a> = &'a mut dyn FnMut(&[u8], Option<FileKind>) -> ControlFlow<()>;

/// The buffer of one `getdents64`: about a thousand names.
const LIST_BUFFER_BYTES: usize = 32 * 1024;
/// Maximum number of interruptions of a listing; then it is an error.
const INTERRUPTIONS_MAX: usize = 64;

impl Root {
    /// Opens the directory that `path` leads to, following links, because an operator configured
    /// it.
    ///
    /// # Errors
    ///
    /// If it does not lead to a readable directory.
    pub fn open(path: &Path) -> Result<Self, RootError> {
        Self::open_as(path, LISTING)
    }

    /// Opens a directory as a place only: its files cannot be listed, and no read permission is needed.
    ///
    /// # Errors
    ///
    /// If `path` does not lead to a directory.
    pub fn open_place(path: &Path) -> Result<Self, RootError> {
        Self::open_as(path, ENTRANCE)
    }

    fn open_as(path: &Path, flags: OFlags) -> Result<Self, RootError> {
        let failed = |source| RootError::Io { path: path.to_owned(), source };
        let absolute = std::path::absolute(path).map_err(failed)?;
        let opened = rustix::fs::openat(rustix::fs::CWD, &absolute, flags, Mode::empty());
        let dir = opened.map_err(|errno| match errno {
            Errno::NOENT => RootError::Missing(path.to_owned()),
            Errno::NOTDIR => RootError::NotDirectory(path.to_owned()),
            Errno::ACCESS | Errno::PERM => RootError::NotReadable(path.to_owned()),
            errno => failed(errno.into()),
        })?;
        let access = Access::probe(dir.as_fd());
        let identity = Identity::from_fd(&dir).map_err(failed)?;
        let meter = Arc::default();
        let own_state = None;
        Ok(Self { path: absolute, dir, identity, access, own_state, follows_links: false, meter })
    }

    /// Counts the operations of scans and sweeps in `meter`, and keeps to its limit.
    #[must_use]
    pub fn with_meter(self, meter: Arc<LookMeter>) -> Self {
        Self { meter, ..self }
    }

    /// Counts the operations of scans and sweeps.
    #[must_use]
    pub fn meter(&self) -> &LookMeter {
        &self.meter
    }

    /// Never opens a file of the state from now on, wherever it is found.
    ///
    /// # Errors
    ///
    /// If this directory is that of the state.
    pub fn without(self, own_state: Arc<OwnState>) -> Result<Self, RootError> {
        let failed = |source| RootError::Io { path: self.path.clone(), source };
        if own_state
            .is(&stat::stat_fd(&self.dir).map_err(|errno| failed(errno.into()))?.fingerprint)
        {
            return Err(RootError::OwnState(self.path));
        }
        Ok(Self { own_state: Some(own_state), ..self })
    }

    /// The location of the opened directory, with links resolved. The kernel provides it for the
    /// open descriptor, so that a rename cannot falsify it.
    ///
    /// # Errors
    ///
    /// If the kernel does not provide it, as without `/proc`.
    pub fn resolved(&self) -> io::Result<PathBuf> {
        place_of(&self.dir)
    }

    /// The configured path, made absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity of the opened directory.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Checks that the configured path still leads to this directory on this mount. Cheap. If it
    /// fails, a file that was not found before is not necessarily absent.
    ///
    /// The directory is compared with the present attributes of its open descriptor: a write that
    /// copies a directory of an overlay up changes even its birth time, although it is the same
    /// directory. While the descriptor is open, no other directory gets its number.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn confirm(&self) -> Result<(), SourceGone> {
        let there = stat::stat_path(&self.path)?;
        let held = stat::stat_fd(&self.dir)?;
        let number = |stat: &Stat| (stat.fingerprint.device, stat.fingerprint.inode, stat.mount_id);
        if number(&there) == number(&held) { Ok(()) } else { Err(SourceGone::Replaced) }
    }

    /// Inspects `path`; a link is not followed.
    ///
    /// # Errors
    ///
    /// If nothing is there, or the path leads through a link or a mount point, or permissions
    /// prevent it. A link at `path` itself is no error, a mount point is.
    pub fn look(&self, path: &RelPath) -> Result<Stat, InspectError> {
        let stat = match path.parent() {
            None => stat::stat_fd(&self.dir)?,
            Some(parent) if parent.is_root() => stat::stat_at(&self.dir, path.as_bytes())?,
            Some(parent) => {
                let dir = self.beneath().open(parent.as_bytes(), ENTRANCE)?;
                stat::stat_at(dir, path.file_name())?
            }
        };
        if self.mount().holds(&stat) {
            Ok(stat)
        } else {
            Err(InspectError::NotBelow(Obstacle::Mount))
        }
    }

    /// Inspects the directory `path` as the server has it now, whatever the attribute cache contains.
    /// Waits for the limit on operations.
    ///
    /// # Errors
    ///
    /// If no directory is there, or the path leads through a link or a mount point, or permissions
    /// prevent it.
    pub fn look_at_directory(&self, path: &RelPath) -> Result<Stat, InspectError> {
        self.meter.admit(LookKind::Directory);
        let stat = match path.parent() {
            None => stat::stat_fd_now(&self.dir)?,
            Some(parent) if parent.is_root() => stat::stat_at_now(&self.dir, path.as_bytes())?,
            Some(parent) => {
                let dir = self.beneath().open(parent.as_bytes(), ENTRANCE)?;
                stat::stat_at_now(dir, path.file_name())?
            }
        };
        match stat.kind {
            _ if !self.mount().holds(&stat) => Err(InspectError::NotBelow(Obstacle::Mount)),
            FileKind::Directory => Ok(stat),
            FileKind::Symlink => Err(InspectError::NotBelow(Obstacle::Link)),
            _ => Err(InspectError::Gone),
        }
    }

    /// Has the kernel ask the server for the attributes of the file `path`, so that later inspections see
    /// them. An error is left to these.
    pub fn renew_attributes(&self, path: &RelPath) {
        self.meter.admit(LookKind::File);
        let Some(parent) = path.parent() else { return };
        if let Ok(dir) = self.beneath().open(parent.as_bytes(), ENTRANCE) {
            stat::stat_at_now(dir, path.file_name()).ok();
        }
    }

    /// Opens the regular file `path` for reading, or the one that it [leads to](Self::follow), and
    /// returns its attributes. Never blocks.
    ///
    /// # Errors
    ///
    /// If it is not a regular file, or the path leads through a link or a mount point, or
    /// permissions prevent it.
    pub fn open_file(&self, path: &RelPath) -> Result<(File, Stat), FileOpenError> {
        match self.open_regular(path) {
            Err(FileOpenError::NotRegular(FileKind::Symlink)) if self.follows_links => {
                let FollowedPath { found, leads } = self.follow(path);
                regular(&found?)?;
                // Without a lead it has become a file.
                self.open_regular(leads.last().unwrap_or(path))
            }
            opened => opened,
        }
    }

    fn open_regular(&self, path: &RelPath) -> Result<(File, Stat), FileOpenError> {
        // Inspected and opened in the same directory, whatever replaces its name meanwhile.
        let parent = match path.parent() {
            Some(parent) if !parent.is_root() => {
                Some(self.beneath().open(parent.as_bytes(), ENTRANCE)?)
            }
            _ => None,
        };
        let dir = parent.as_ref().unwrap_or(&self.dir);
        // The check avoids opening a device, which can have side effects.
        regular(&stat::stat_at(dir, path.file_name()).map_err(InspectError::from)?)?;
        let file = match (Beneath { start: dir.as_fd(), ..self.beneath() })
            .open(path.file_name(), READING)
        {
            Err(InspectError::NotBelow(Obstacle::Link)) => {
                // It was replaced by a link.
                regular(&stat::stat_at(dir, path.file_name()).map_err(InspectError::from)?)?;
                return Err(FileOpenError::LeadsOutside(Obstacle::Link));
            }
            opened => File::from(opened?),
        };
        let stat = Self::stat_open(&file).map_err(FileOpenError::Io)?;
        regular(&stat)?;
        if !self.mount().holds(&stat) {
            return Err(FileOpenError::LeadsOutside(Obstacle::Mount));
        }
        if self.own_state.as_ref().is_some_and(|own| own.has(&stat)) {
            return Err(FileOpenError::LeadsOutside(Obstacle::OwnState));
        }
        Ok((file, stat))
    }

    /// Whether the regular file `path` is as it was `seen`, and no process of this machine has it
    /// open for writing: then its last writer has closed it. False if that is unknown: for files of
    /// another user without `CAP_LEASE`, and on file systems that other machines may write to.
    #[must_use]
    pub fn is_closed(&self, path: &RelPath, seen: &Fingerprint) -> bool {
        if !self.identity.is_local() {
            return false;
        }
        let Ok((file, _)) = self.open_file(path) else { return false };
        writers::stat_without_writers(&file).is_some_and(|stat| stat.fingerprint == *seen)
    }

    /// Whether the file system reports holes of files reliably, also of one that was just written.
    #[must_use]
    pub fn reports_holes(&self) -> bool {
        self.identity.reports_holes()
    }

    /// Reads the attributes of an open file, to detect a change while it was read.
    ///
    /// # Errors
    ///
    /// As the kernel reports.
    pub fn stat_open(file: &File) -> io::Result<Stat> {
        Ok(stat::stat_fd(file)?)
    }

    /// Passes every name in the directory `dir` to `visit`, in no order, until it breaks. `Ok`
    /// means that it got every name that existed during the whole call. A name that was renamed
    /// meanwhile may be missing; before it counts as absent, [inspect](Self::look) it.
    ///
    /// # Errors
    ///
    /// If `dir` is not a directory, or was not read completely.
    pub fn list(&self, dir: &RelPath, visit: VisitName<'_>) -> Result<(), InspectError> {
        let dir = self.open_dir(dir)?;
        Ok(list_fd(&dir, visit)?)
    }

    /// Opens a directory for listing.
    fn open_dir(&self, dir: &RelPath) -> Result<OwnedFd, InspectError> {
        self.beneath().open(dir.as_bytes(), LISTING)
    }

    /// Opens the entry `name` of the open directory `dir` for listing.
    fn open_entry(&self, dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, InspectError> {
        Beneath { start: dir.as_fd(), ..self.beneath() }.open(name, LISTING)
    }

    fn beneath(&self) -> Beneath<'_> {
        let start = self.dir.as_fd();
        let own_state = self.own_state.as_deref();
        Beneath { start, mount: self.mount(), access: self.access, own_state }
    }

    fn mount(&self) -> MountOf {
        MountOf { mount_id: self.identity.mount_id, device: self.identity.device }
    }
}

/// The present path of an open directory, from the kernel.
fn place_of(dir: impl AsFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()))
}

fn regular(stat: &Stat) -> Result<(), FileOpenError> {
    match stat.kind {
        FileKind::File => Ok(()),
        kind => Err(FileOpenError::NotRegular(kind)),
    }
}

/// Passes every name in an open directory on, from the present position of the descriptor.
fn list_fd(dir: &OwnedFd, visit: VisitName<'_>) -> Result<(), Errno> {
    let mut buffer = [const { MaybeUninit::uninit() }; LIST_BUFFER_BYTES];
    let mut entries = RawDir::new(dir, &mut buffer);
    let mut interrupted = 0;
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Err(Errno::INTR) if interrupted < INTERRUPTIONS_MAX => {
                interrupted += 1;
                continue;
            }
            entry => entry?,
        };
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if visit(name, FileKind::listed(entry.file_type())).is_break() {
            break;
        }
    }
    Ok(())
}
