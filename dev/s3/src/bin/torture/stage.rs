//! The working directory: what is mirrored, what must never be, the daemon's state and its log.

use crate::PREFIX;
use file_sync_dev_s3::{BUCKET, REGION};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What stands in every file outside of the tree.
pub(crate) const CANARY: &[u8] = b"canary: nothing outside of the watched directory is ever read\n";

/// Where links lead out of the tree to.
const OUTSIDE: [&str; 4] = ["a/f0", "a/f1", "b/f0", "f0"];

/// The directories of one run.
#[derive(Debug)]
pub(crate) struct Stage {
    root: PathBuf,
    /// The program to torture.
    pub(crate) program: PathBuf,
}

impl Stage {
    /// Makes them.
    pub(crate) fn create(program: PathBuf) -> io::Result<Self> {
        let name = format!("file-sync-torture-{}", std::process::id());
        let root = std::env::temp_dir().canonicalize()?.join(name);
        fs::create_dir(&root)?;
        let stage = Self { root, program };
        fs::create_dir(stage.watched())?;
        fs::create_dir(stage.state())?;
        for path in OUTSIDE {
            let path = stage.outside().join(path);
            fs::create_dir_all(path.parent().unwrap_or(&stage.root))?;
            fs::write(path, CANARY)?;
        }
        fs::write(stage.config(), stage.configuration())?;
        Ok(stage)
    }

    fn configuration(&self) -> String {
        // Debug puts the paths in quotation marks and escapes what YAML escapes alike.
        format!(
            "watch_path: {:?}\ns3_bucket: {BUCKET}\ns3_region: {REGION}\ns3_prefix: {PREFIX}\n\
             state_dir: {:?}\ndebounce_milliseconds: 20\nopen_file_quiet_seconds: 1\n\
             debounce_max_seconds: 5\nretry_interval_seconds: 2\nrescan_interval_seconds: 10\n\
             delete_limit_percent: 100\nmax_concurrent_transfers: 8\nmultipart_threshold_mib: 5\n\
             multipart_part_size_mib: 5\nshutdown_timeout_seconds: 3\n",
            self.watched(),
            self.state()
        )
    }

    /// Everything of this run.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What is mirrored.
    pub(crate) fn watched(&self) -> PathBuf {
        self.root.join("watched")
    }

    /// Where what is mirrored is while it is not there.
    pub(crate) fn aside(&self) -> PathBuf {
        self.root.join("aside")
    }

    /// What links lead to.
    pub(crate) fn outside(&self) -> PathBuf {
        self.root.join("outside")
    }

    /// The daemon's state.
    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// A copy of the daemon's state.
    pub(crate) fn copy_of_state(&self) -> PathBuf {
        self.root.join("copy-of-state")
    }

    /// The daemon's configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.root.join("config.yml")
    }

    /// The daemon's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("daemon.log")
    }

    /// Removes all of it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.root)
    }
}
