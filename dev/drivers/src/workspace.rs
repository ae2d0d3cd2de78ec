//! The temporary directory: what is mirrored, the daemon's state, its configuration and its log.

use file_sync_dev_s3::{BUCKET, REGION};
use std::cell::Cell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Removed when dropped, unless it is kept on purpose.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    program: PathBuf,
    keep: Cell<bool>,
}

impl Workspace {
    /// Makes an empty directory to be mirrored below `prefix` by `program`, and the configuration.
    ///
    /// # Errors
    ///
    /// If there is no such program, or the directory cannot be made.
    pub fn create(purpose: &str, program: &Path, prefix: &str) -> io::Result<Self> {
        Self::create_in(&std::env::temp_dir(), purpose, program, prefix)
    }

    /// The same in a directory of its own in `place`.
    ///
    /// # Errors
    ///
    /// If there is no such program, or the directory cannot be made.
    pub fn create_in(
        place: &Path,
        purpose: &str,
        program: &Path,
        prefix: &str,
    ) -> io::Result<Self> {
        let program = program.canonicalize().map_err(|error| {
            io::Error::new(error.kind(), format!("the daemon {program:?}: {error}"))
        })?;
        let name = format!("file-sync-{purpose}-{}", std::process::id());
        let root = place.canonicalize()?.join(name);
        fs::create_dir(&root)?;
        let workspace = Self { root, program, keep: Cell::new(false) };
        fs::create_dir(workspace.watched())?;
        fs::create_dir(workspace.state())?;
        fs::write(workspace.config(), workspace.configuration(prefix))?;
        Ok(workspace)
    }

    fn configuration(&self, prefix: &str) -> String {
        // Debug puts the paths in quotation marks and escapes what YAML escapes alike.
        format!(
            "watch_path: {:?}\ns3_bucket: {BUCKET}\ns3_region: {REGION}\ns3_prefix: {prefix}\nstate_dir: {:?}\n",
            self.watched(),
            self.state()
        )
    }

    /// The program that mirrors.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What is mirrored.
    #[must_use]
    pub fn watched(&self) -> PathBuf {
        self.root.join("watched")
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.watched().join(path)
    }

    /// The daemon's record.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// The daemon's configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("config.yml")
    }

    /// The daemon's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("daemon.log")
    }

    /// The daemon's working directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// From now on it stays, for inspection.
    pub fn keep(&self) {
        self.keep.set(true);
    }

    /// The last lines of the daemon's log, which is about to be removed.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<_> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if self.keep.get() {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("{:?} is left behind: {error}", self.root);
        }
    }
}

/// Bytes that differ for every seed.
#[must_use]
pub fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}
