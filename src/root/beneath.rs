//! Opens files beneath a directory, without crossing a link, `..` or a mount point.
//!
//! There are two implementations with the same guarantee. `openat2` resolves the whole path in the
//! kernel. If it is filtered (old seccomp profiles, gVisor), and for paths that are too long for
//! it, every component is opened separately and checked before the next one.

use super::error::{InspectError, Obstacle};
use super::own_state::OwnState;
use super::stat::{FileKind, Stat, stat_fd};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How paths are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// In the kernel, with one call.
    Openat2,
    /// In this process, component by component.
    Stepwise,
}

/// The directory where paths start, and its mount.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beneath<'a> {
    pub(super) start: BorrowedFd<'a>,
    pub(super) mount: MountOf,
    pub(super) access: Access,
    /// The state directory, which is never opened, wherever it is found.
    pub(super) own_state: Option<&'a OwnState>,
}

/// Distinguishes mounts.
#[derive(Debug, Clone, Copy)]
pub(super) struct MountOf {
    pub(super) mount_id: u64,
    pub(super) device: u64,
}

/// A directory in which entries are inspected; it needs no read permission.
pub(super) const ENTRANCE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// A directory for listing.
pub(super) const LISTING: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// A file for reading. Without `NONBLOCK`, opening a FIFO would block until it has a writer.
pub(super) const READING: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// The kernel returns `EAGAIN` if a rename raced with the resolution.
const RACES_MAX: usize = 16;

impl MountOf {
    /// Whether `stat` was read on this mount. Old kernels provide only the device, which does not
    /// distinguish two mounts of one file system.
    pub(super) fn holds(self, stat: &Stat) -> bool {
        if self.mount_id != 0 && stat.mount_id != 0 {
            self.mount_id == stat.mount_id
        } else {
            self.device == stat.fingerprint.device
        }
    }
}

impl Access {
    /// A filter of `openat2` is permanent; the other implementation needs no new calls.
    pub(super) fn probe(dir: BorrowedFd<'_>) -> Self {
        match rustix::fs::openat2(dir, c".", ENTRANCE, Mode::empty(), RESOLVE) {
            Ok(_) => Self::Openat2,
            Err(_) => Self::Stepwise,
        }
    }
}

impl Beneath<'_> {
    /// Opens `path`, the bytes of a [`RelPath`](crate::model::RelPath). The result is beneath the
    /// start and on its mount, except that an old kernel does not distinguish two mounts of one
    /// file system.
    pub(super) fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, InspectError> {
        let opened = match self.access {
            Access::Openat2 => self.open_at_once(path, flags),
            Access::Stepwise => self.open_stepwise(path, flags),
        }?;
        match self.own_state.filter(|_| flags.contains(OFlags::DIRECTORY)) {
            Some(own) if own.is(&stat_fd(&opened)?.fingerprint) => {
                Err(InspectError::NotBelow(Obstacle::OwnState))
            }
            _ => Ok(opened),
        }
    }

    fn open_at_once(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, InspectError> {
        let bytes = if path.is_empty() { b"." } else { path };
        for _ in 0..RACES_MAX {
            match rustix::fs::openat2(self.start, bytes, flags, Mode::empty(), RESOLVE) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                // The path is too long for one call.
                Err(Errno::NAMETOOLONG) => break,
                opened => return Ok(opened?),
            }
        }
        self.open_stepwise(path, flags)
    }

    fn open_stepwise(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, InspectError> {
        let mut at: Option<OwnedFd> = None;
        let mut names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            let from = at.as_ref().map_or(self.start, rustix::fd::AsFd::as_fd);
            // A directory has to be entered before it may be opened for listing, because
            // O_DIRECTORY with O_NOFOLLOW does not distinguish a link from a file.
            if names.peek().is_none() && !flags.contains(OFlags::DIRECTORY) {
                return self.open_last(from, name, flags);
            }
            at = Some(self.step(from, name)?);
        }
        let from = at.as_ref().map_or(self.start, rustix::fd::AsFd::as_fd);
        Ok(rustix::fs::openat(from, c".", flags, Mode::empty())?)
    }

    fn step(&self, from: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, InspectError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = rustix::fs::openat(from, name, flags, Mode::empty())?;
        let stat = stat_fd(&next)?;
        match stat.kind {
            FileKind::Symlink => Err(InspectError::NotBelow(Obstacle::Link)),
            FileKind::Directory if self.own_state.is_some_and(|own| own.is(&stat.fingerprint)) => {
                Err(InspectError::NotBelow(Obstacle::OwnState))
            }
            FileKind::Directory if self.mount.holds(&stat) => Ok(next),
            FileKind::Directory => Err(InspectError::NotBelow(Obstacle::Mount)),
            _ => Err(InspectError::Gone),
        }
    }

    fn open_last(
        &self,
        from: BorrowedFd<'_>,
        name: &[u8],
        flags: OFlags,
    ) -> Result<OwnedFd, InspectError> {
        let file = rustix::fs::openat(from, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
        if self.mount.holds(&stat_fd(&file)?) {
            Ok(file)
        } else {
            Err(InspectError::NotBelow(Obstacle::Mount))
        }
    }
}
