//! The temporary directory: what is mirrored, the daemon's state, its configuration and its log.

use crate::PREFIX;
use file_sync_dev_s3::{BUCKET, REGION};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Removed when dropped.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    /// The program to show.
    pub(crate) program: PathBuf,
}

/// Files that are there before the daemon starts. The last one is large enough for a multipart upload.
const SAMPLE: [(&str, usize); 8] = [
    ("readme.txt", 812),
    ("invoices/2025/january.pdf", 48_230),
    ("invoices/2025/february.pdf", 51_007),
    ("reports/summary.csv", 9_120),
    ("reports/figures/north.svg", 23_400),
    ("reports/figures/south.svg", 22_150),
    ("pictures/caf\u{e9} #1 + terrace.jpg", 180_300),
    ("videos/welcome.mp4", 20 * 1024 * 1024),
];

impl Workspace {
    /// Makes the directory with the sample files and the configuration.
    pub(crate) fn create(program: PathBuf) -> io::Result<Self> {
        let name = format!("file-sync-demo-{}", std::process::id());
        let root = std::env::temp_dir().canonicalize()?.join(name);
        fs::create_dir(&root)?;
        let workspace = Self { root, program };
        fs::create_dir(workspace.watched())?;
        fs::create_dir(workspace.root.join("state"))?;
        for (seed, (path, size)) in (0..).zip(SAMPLE) {
            let path = workspace.file(path);
            fs::create_dir_all(path.parent().unwrap_or(&workspace.root))?;
            fs::write(path, content(seed, size))?;
        }
        fs::write(workspace.config(), workspace.configuration())?;
        Ok(workspace)
    }

    fn configuration(&self) -> String {
        let state = self.root.join("state");
        // Debug puts the paths in quotation marks and escapes what YAML escapes alike.
        format!(
            "watch_path: {:?}\ns3_bucket: {BUCKET}\ns3_region: {REGION}\ns3_prefix: {PREFIX}\nstate_dir: {:?}\n",
            self.watched(),
            state
        )
    }

    /// What is mirrored.
    pub(crate) fn watched(&self) -> PathBuf {
        self.root.join("watched")
    }

    /// A file in it.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.watched().join(path)
    }

    /// The daemon's configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.root.join("config.yml")
    }

    /// The daemon's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("daemon.log")
    }

    /// The daemon's working directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The last lines of the daemon's log, which is about to be removed.
    pub(crate) fn log_tail(&self, lines: usize) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<_> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("demo: {:?} is left behind: {error}", self.root);
        }
    }
}

/// Bytes that differ for every seed.
pub(crate) fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}
