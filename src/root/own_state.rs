//! The state directory, identified by device and inode: nothing in it is opened, whatever path
//! leads to it, a second mount of its file system included.

use super::stat::{Stat, stat_at, stat_fd};
use crate::model::Fingerprint;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

/// The open state directory.
#[derive(Debug)]
pub struct OwnState {
    dir: OwnedFd,
    device: u64,
    inode: u64,
}

impl OwnState {
    /// Opens the state directory.
    ///
    /// # Errors
    ///
    /// If it is not a readable directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let dir = rustix::fs::openat(CWD, path, super::LISTING, Mode::empty())?;
        let Fingerprint { device, inode, .. } = stat_fd(&dir)?.fingerprint;
        Ok(Self { dir, device, inode })
    }

    /// Whether this is the fingerprint of the directory itself.
    pub(super) fn is(&self, seen: &Fingerprint) -> bool {
        (self.device, self.inode) == (seen.device, seen.inode)
    }

    /// Whether an open file has a name in the directory, through a hard link from elsewhere. If
    /// that cannot be determined, it counts as yes.
    pub(super) fn has(&self, file: &Stat) -> bool {
        if file.links < 2 || file.fingerprint.device != self.device {
            return false;
        }
        let own = rustix::fs::openat(&self.dir, c".", super::LISTING, Mode::empty());
        let mut found = false;
        let listed = own.and_then(|own| {
            super::list_fd(&own, &mut |name, _| {
                let same = |stat: Stat| stat.fingerprint.inode == file.fingerprint.inode;
                found |= stat_at(&own, name).is_ok_and(same);
                if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        });
        found || listed.is_err()
    }
}
