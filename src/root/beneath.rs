//! Opening beneath a directory: no link, no `..`, no mount point is ever crossed.
//!
//! Two ways with the same promise. `openat2` resolves the whole path in the kernel. Where it is
//! filtered (old seccomp profiles, gVisor), and for paths longer than the kernel takes at once,
//! every component is opened by itself and looked at before the next one.

use super::error::{LookError, Obstacle};
use super::stat::{Kind, Stat, stat_fd};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How paths are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// By the kernel, in one call.
    Openat2,
    /// By us, component by component.
    Stepwise,
}

/// Where paths start, and the mount they may not leave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beneath<'a> {
    pub(super) start: BorrowedFd<'a>,
    pub(super) mount: MountOf,
    pub(super) access: Access,
}

/// What tells one mount from another.
#[derive(Debug, Clone, Copy)]
pub(super) struct MountOf {
    pub(super) mount_id: u64,
    pub(super) device: u64,
}

/// A directory for looking at its entries; no read permission needed.
pub(super) const ENTRANCE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// A directory for listing.
pub(super) const LISTING: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// A file for reading. Without `NONBLOCK` a FIFO would hang us until somebody writes to it.
pub(super) const READING: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// The kernel answers `EAGAIN` if a rename anywhere raced with the resolution.
const RACES_MAX: usize = 16;

impl MountOf {
    /// Whether `stat` was taken on this mount. The device is the weaker answer of old kernels: it
    /// does not tell two mounts of one file system apart.
    pub(super) fn holds(self, stat: &Stat) -> bool {
        if self.mount_id != 0 && stat.mount_id != 0 {
            self.mount_id == stat.mount_id
        } else {
            self.device == stat.fingerprint.device
        }
    }
}

impl Access {
    /// Whatever refuses `openat2` refuses it for good; the stepwise way needs nothing new.
    pub(super) fn probe(dir: BorrowedFd<'_>) -> Self {
        match rustix::fs::openat2(dir, c".", ENTRANCE, Mode::empty(), RESOLVE) {
            Ok(_) => Self::Openat2,
            Err(_) => Self::Stepwise,
        }
    }
}

impl Beneath<'_> {
    /// Opens `path`, the bytes of a [`RelPath`](crate::model::RelPath). What it opened is beneath the
    /// start and on its mount, except that an old kernel does not tell two mounts of one file system
    /// apart.
    pub(super) fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, LookError> {
        match self.access {
            Access::Openat2 => self.open_at_once(path, flags),
            Access::Stepwise => self.open_stepwise(path, flags),
        }
    }

    fn open_at_once(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, LookError> {
        let bytes = if path.is_empty() { b"." } else { path };
        for _ in 0..RACES_MAX {
            match rustix::fs::openat2(self.start, bytes, flags, Mode::empty(), RESOLVE) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Longer than the kernel takes at once.
                Err(Errno::NAMETOOLONG) => break,
                opened => return Ok(opened?),
            }
        }
        self.open_stepwise(path, flags)
    }

    fn open_stepwise(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, LookError> {
        let mut at: Option<OwnedFd> = None;
        let mut names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            let from = at.as_ref().map_or(self.start, rustix::fd::AsFd::as_fd);
            // A directory has to be entered before it may be opened for listing, because
            // O_DIRECTORY with O_NOFOLLOW does not tell a link from a file.
            if names.peek().is_none() && !flags.contains(OFlags::DIRECTORY) {
                return self.open_last(from, name, flags);
            }
            at = Some(self.step(from, name)?);
        }
        let from = at.as_ref().map_or(self.start, rustix::fd::AsFd::as_fd);
        Ok(rustix::fs::openat(from, c".", flags, Mode::empty())?)
    }

    fn step(&self, from: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, LookError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = rustix::fs::openat(from, name, flags, Mode::empty())?;
        let stat = stat_fd(&next)?;
        match stat.kind {
            Kind::Symlink => Err(LookError::NotBelow(Obstacle::Link)),
            Kind::Directory if self.mount.holds(&stat) => Ok(next),
            Kind::Directory => Err(LookError::NotBelow(Obstacle::Mount)),
            _ => Err(LookError::Gone),
        }
    }

    fn open_last(
        &self,
        from: BorrowedFd<'_>,
        name: &[u8],
        flags: OFlags,
    ) -> Result<OwnedFd, LookError> {
        let file = rustix::fs::openat(from, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
        if self.mount.holds(&stat_fd(&file)?) {
            Ok(file)
        } else {
            Err(LookError::NotBelow(Obstacle::Mount))
        }
    }
}
