//! The working directory: what is mirrored, what must never be, the daemon's state and its log.
//!
//! With mounts of our own the watched directory is one, and the tree itself always stays where it
//! is; without them the tree is renamed.

use crate::PREFIX;
use crate::canary::directories;
use crate::states::{Content, States};
use crate::target::Target;
use file_sync_dev_drivers::{Daemon, Workspace};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_move, unmount};
use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What stands in every file outside of the tree.
pub(crate) const CANARY: &[u8] = b"canary: nothing outside of the watched directory is ever read\n";

/// Where links lead out of the tree to.
const OUTSIDE: [&str; 4] = ["a/f0", "a/f1", "b/f0", "f0"];

/// What is in a directory that is not the tree: a name the tree does not have, and one it has.
const FOREIGN: [&str; 2] = ["stranger", "anchor"];
const FOREIGN_BYTES: &[u8] = b"a file of another volume";

/// Everything else is as it is for everybody.
const SETTINGS: [(&str, &str); 11] = [
    ("DEBOUNCE_MILLISECONDS", "20"),
    ("OPEN_FILE_QUIET_SECONDS", "1"),
    ("DEBOUNCE_MAX_SECONDS", "30"),
    ("RETRY_INTERVAL_SECONDS", "2"),
    ("POLL_INTERVAL_SECONDS", "4"),
    ("RESCAN_INTERVAL_SECONDS", "10"),
    ("DELETE_LIMIT_PERCENT", "100"),
    ("MAX_CONCURRENT_TRANSFERS", "8"),
    ("MULTIPART_THRESHOLD_MIB", "5"),
    ("MULTIPART_PART_SIZE_MIB", "5"),
    ("SHUTDOWN_TIMEOUT_SECONDS", "3"),
];

/// How the tree goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing is in its place.
    Missing,
    /// An empty directory is in its place, as after an unmount.
    Empty,
    /// A directory with other files is in its place.
    Foreign,
    /// It is unmounted, and comes back as another mount.
    Remounted,
    /// Another volume is mounted over it, with other files.
    Covered,
}

impl Way {
    /// Whether other files are in its place meanwhile.
    pub(crate) fn is_foreign(self) -> bool {
        matches!(self, Self::Foreign | Self::Covered)
    }
}

/// The directories of one run.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) workspace: Workspace,
    /// Whether there are mounts and limits of our own.
    pub(crate) is_private: bool,
}

impl Stage {
    /// Makes them in `place`.
    pub(crate) fn create(place: &Path, program: &Path, is_private: bool) -> io::Result<Self> {
        let workspace = Workspace::create_in(place, "torture", program, PREFIX)?;
        let stage = Self { workspace, is_private };
        fs::create_dir(stage.outside())?;
        if is_private {
            // No other program of this machine that walks directories comes in here.
            mount_memory(&stage.outside())?;
        }
        for path in OUTSIDE {
            let path = stage.outside().join(path);
            fs::create_dir_all(path.parent().unwrap_or(stage.root()))?;
            fs::write(path, CANARY)?;
        }
        if is_private {
            fs::create_dir(stage.volume())?;
            fs::create_dir(stage.aside())?;
            mount_bind(stage.volume(), stage.watched())?;
        }
        Ok(stage)
    }

    /// Writes the configuration of the daemon.
    pub(crate) fn set(daemon: &mut Daemon<'_>, target: &Target) {
        for (name, value) in SETTINGS {
            daemon.set(&format!("FILE_SYNC__{name}"), value);
        }
        for (name, value) in target.settings() {
            daemon.set(&name, &value);
        }
    }

    /// Everything of this run.
    pub(crate) fn root(&self) -> &Path {
        self.workspace.root()
    }

    fn watched(&self) -> PathBuf {
        self.workspace.watched()
    }

    /// Where the tree is while it is not where it is watched.
    fn aside(&self) -> PathBuf {
        self.root().join("aside")
    }

    /// What is mounted where it is watched.
    fn volume(&self) -> PathBuf {
        self.root().join("volume")
    }

    /// The tree, wherever it is now.
    pub(crate) fn tree(&self) -> io::Result<PathBuf> {
        let aside = if self.is_private { self.volume() } else { self.aside() };
        Ok(if aside.try_exists()? { aside } else { self.watched() })
    }

    /// What links lead to.
    pub(crate) fn outside(&self) -> PathBuf {
        self.root().join("outside")
    }

    /// All directories that no process may open.
    pub(crate) fn outsides(&self) -> io::Result<Vec<PathBuf>> {
        directories(&self.outside())
    }

    /// A copy of the daemon's state.
    pub(crate) fn copy_of_state(&self) -> PathBuf {
        self.root().join("copy-of-state")
    }

    /// The ways there are.
    pub(crate) fn ways(&self) -> &'static [Way] {
        let all = &[Way::Missing, Way::Empty, Way::Foreign, Way::Remounted, Way::Covered];
        if self.is_private { all } else { &all[..3] }
    }

    /// Takes the tree away.
    pub(crate) fn take_away(&self, way: Way, states: &States) -> io::Result<()> {
        let watched = self.watched();
        let aside = self.aside();
        match way {
            Way::Covered => mount_memory(&watched)?,
            Way::Remounted => unmount(&watched, UnmountFlags::DETACH)?,
            _ if self.is_private => mount_move(&watched, &aside)?,
            _ => fs::rename(&watched, &aside)?,
        }
        match way {
            Way::Missing if self.is_private => fs::remove_dir(&watched)?,
            Way::Empty | Way::Foreign if !self.is_private => fs::create_dir(&watched)?,
            _ => {}
        }
        if way.is_foreign() {
            for name in FOREIGN {
                states.complete(name, Content::of(FOREIGN_BYTES));
                // Complete as soon as it has a name that is mirrored.
                let unseen = watched.join(".foreign");
                fs::write(&unseen, FOREIGN_BYTES)?;
                fs::rename(unseen, watched.join(name))?;
            }
        }
        Ok(())
    }

    /// Brings it back.
    pub(crate) fn bring_back(&self, way: Way) -> io::Result<()> {
        let watched = self.watched();
        let aside = self.aside();
        if way == Way::Foreign {
            FOREIGN.iter().try_for_each(|name| fs::remove_file(watched.join(name)))?;
        }
        match way {
            Way::Missing if self.is_private => fs::create_dir(&watched)?,
            Way::Empty | Way::Foreign if !self.is_private => fs::remove_dir(&watched)?,
            _ => {}
        }
        match way {
            Way::Covered => unmount(&watched, UnmountFlags::DETACH)?,
            Way::Remounted => mount_bind(self.volume(), &watched)?,
            _ if self.is_private => mount_move(&aside, &watched)?,
            _ => fs::rename(&aside, &watched)?,
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // One of them, and maybe one more on top of it; errors mean that there is none.
        for mounted in [self.watched(), self.watched(), self.aside(), self.outside()] {
            if self.is_private {
                let _none: Result<(), _> = unmount(mounted, UnmountFlags::DETACH);
            }
        }
    }
}

/// Mounts an empty file system.
fn mount_memory(at: &Path) -> io::Result<()> {
    Ok(mount("none", at, "tmpfs", MountFlags::empty(), None::<&CStr>)?)
}
