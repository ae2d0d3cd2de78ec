//! The watched directory: everything that is read of the tree is read beneath one descriptor.
//!
//! # Invariants
//!
//! - No link is followed and no mount point crossed below the configured path, whatever anybody
//!   renames meanwhile: every resolution starts at the descriptor, never at a path.
//! - Nothing but regular files is opened for reading, and no open ever blocks.
//! - Absence is believed only together with [`Root::confirm`]: an unmounted volume looks exactly
//!   like one whose files were all removed.
//! - A listing is complete or an error.

mod beneath;
mod error;
mod stat;
mod walk;

#[cfg(test)]
mod tests;

pub use error::{LookError, Obstacle, OpenError, RootError, SourceGone};
pub use stat::{Identity, Kind, Stat, is_mounted_alone, now_ns};
pub use walk::{Memory, Visit, walk};

use crate::model::RelPath;
use beneath::{Access, Beneath, ENTRANCE, LISTING, MountOf, READING};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, RawDir};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// The watched directory, held open.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    dir: OwnedFd,
    identity: Identity,
    access: Access,
}

/// Takes one name of a listing, and its kind where the file system keeps that beside the name.
pub type VisitName<'a> = &'a mut dyn FnMut(&[u8], Option<Kind>) -> ControlFlow<()>;

/// What `getdents64` fills at once: about a thousand names.
const LIST_BUFFER_BYTES: usize = 32 * 1024;

impl Root {
    /// Opens the directory `path` leads to, links followed: it is the operator's path.
    ///
    /// # Errors
    ///
    /// If it leads to no directory that may be listed.
    pub fn open(path: &Path) -> Result<Self, RootError> {
        let failed = |source| RootError::Io { path: path.to_owned(), source };
        let absolute = std::path::absolute(path).map_err(failed)?;
        let opened = rustix::fs::openat(rustix::fs::CWD, &absolute, LISTING, Mode::empty());
        let dir = opened.map_err(|errno| match errno {
            Errno::NOENT => RootError::Missing(path.to_owned()),
            Errno::NOTDIR => RootError::NotDirectory(path.to_owned()),
            Errno::ACCESS | Errno::PERM => RootError::NotReadable(path.to_owned()),
            errno => failed(errno.into()),
        })?;
        let access = Access::probe(dir.as_fd());
        let identity = stat::identity(&dir).map_err(failed)?;
        Ok(Self { path: absolute, dir, identity, access })
    }

    /// The configured path, made absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that was opened.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether the configured path still leads to this very directory on this very mount. Cheap;
    /// what was not found before a failed answer was not necessarily absent.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn confirm(&self) -> Result<(), SourceGone> {
        let stat = stat::stat_path(&self.path)?;
        let now = Identity {
            device: stat.fingerprint.device,
            inode: stat.fingerprint.inode,
            btime_ns: stat.fingerprint.btime_ns,
            mount_id: stat.mount_id,
            ..self.identity
        };
        if now == self.identity { Ok(()) } else { Err(SourceGone::Replaced) }
    }

    /// Looks at `path`: at a link itself, never through one.
    ///
    /// # Errors
    ///
    /// If nothing is there, or the way there leads through a link or a mount point, or may not be
    /// gone. A link at `path` itself is no error, a mount point is.
    pub fn look(&self, path: &RelPath) -> Result<Stat, LookError> {
        let stat = match path.parent() {
            None => stat::stat_fd(&self.dir)?,
            Some(parent) if parent.is_root() => stat::stat_at(&self.dir, path.as_bytes())?,
            Some(parent) => {
                let dir = self.beneath().open(parent.as_bytes(), ENTRANCE)?;
                stat::stat_at(dir, path.file_name())?
            }
        };
        if self.mount().holds(&stat) { Ok(stat) } else { Err(LookError::NotBelow(Obstacle::Mount)) }
    }

    /// Opens the regular file `path` for reading, and tells what it opened. Never blocks.
    ///
    /// # Errors
    ///
    /// If it is anything else, or the way there leads through a link or a mount point, or may not
    /// be gone.
    pub fn open_file(&self, path: &RelPath) -> Result<(File, Stat), OpenError> {
        // The look before keeps us from opening a device, which for some of them does something.
        let before = self.look(path)?;
        regular(&before)?;
        let file = match self.beneath().open(path.as_bytes(), READING) {
            Err(LookError::NotBelow(Obstacle::Link)) => {
                // The file itself was replaced by a link, or a directory above it.
                regular(&self.look(path)?)?;
                return Err(OpenError::LeadsOutside(Obstacle::Link));
            }
            opened => File::from(opened?),
        };
        let stat = Self::stat_open(&file).map_err(OpenError::Io)?;
        regular(&stat)?;
        if self.mount().holds(&stat) {
            Ok((file, stat))
        } else {
            Err(OpenError::LeadsOutside(Obstacle::Mount))
        }
    }

    /// Looks at a file that is open already, to see whether it changed while it was read.
    ///
    /// # Errors
    ///
    /// As the kernel says.
    pub fn stat_open(file: &File) -> io::Result<Stat> {
        Ok(stat::stat_fd(file)?)
    }

    /// Shows every name in the directory `dir` to `visit`, in no order, until it breaks. `Ok`
    /// means that it saw every name that was there all the while. A name renamed meanwhile may be
    /// missing, so before one is taken for absent it has to be [looked](Self::look) for.
    ///
    /// # Errors
    ///
    /// If `dir` is no directory or was not read to its end.
    pub fn list(&self, dir: &RelPath, visit: VisitName<'_>) -> Result<(), LookError> {
        let dir = self.open_dir(dir)?;
        Ok(list_fd(&dir, visit)?)
    }

    /// Opens a directory for listing.
    fn open_dir(&self, dir: &RelPath) -> Result<OwnedFd, LookError> {
        self.beneath().open(dir.as_bytes(), LISTING)
    }

    /// Opens the entry `name` of the open directory `dir` for listing.
    fn open_entry(&self, dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, LookError> {
        Beneath { start: dir.as_fd(), ..self.beneath() }.open(name, LISTING)
    }

    fn beneath(&self) -> Beneath<'_> {
        Beneath { start: self.dir.as_fd(), mount: self.mount(), access: self.access }
    }

    fn mount(&self) -> MountOf {
        MountOf { mount_id: self.identity.mount_id, device: self.identity.device }
    }
}

fn regular(stat: &Stat) -> Result<(), OpenError> {
    match stat.kind {
        Kind::File => Ok(()),
        kind => Err(OpenError::NotRegular(kind)),
    }
}

/// Shows every name in an open directory, from the position the descriptor stands at.
fn list_fd(dir: &OwnedFd, visit: VisitName<'_>) -> Result<(), Errno> {
    let mut buffer = [const { MaybeUninit::uninit() }; LIST_BUFFER_BYTES];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Err(Errno::INTR) => continue,
            entry => entry?,
        };
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if visit(name, Kind::listed(entry.file_type())).is_break() {
            break;
        }
    }
    Ok(())
}
