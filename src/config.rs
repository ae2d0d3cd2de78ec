//! Settings: written by people in three places, meant in one way.
//!
//! A value comes from the file, else from a variable `FILE_SYNC__<KEY>`, else from a flag; the later
//! wins. [`load`] turns what was written into a [`Config`] in which nothing is left to guess.
//!
//! # Invariants
//!
//! - All or nothing: there is no `Config` while anything is wrong, and everything that is wrong is
//!   reported at once, each with where it was written and what would be right.
//! - The process is read by its caller and handed in as [`Sources`]. Nothing here reads the
//!   environment or the working directory, and the disk is looked at, never changed.
//! - No setting is a secret: credentials come by the AWS chain alone.
//! - No other module reads the environment; standard variables that name a setting
//!   (`STATE_DIRECTORY`, `RUST_LOG`) are taken here.

mod changes;
mod checks;
mod environment;
mod file;
mod keys;
mod meant;
mod objects;
mod places;
mod problem;
mod reader;
mod shown;
mod written;
mod yaml;

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;

pub use changes::{Changes, changes};
pub use problem::{Problem, Problems};
pub use shown::{Effective, Origin};

use crate::model::{KeyPrefix, Share};
use crate::rules::{self, Checksum};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where AWS's own endpoints are.
const AWS_DOMAINS: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu"];

/// The file that is read where none is named.
pub const DEFAULT_FILE: &str = "config.yml";
/// The state directory that the image ships.
pub const PACKAGED_STATE_DIR: &str = "/var/lib/file-sync-service";

/// Everything that settings are made of.
#[derive(Clone)]
pub struct Sources {
    /// The YAML file; a relative path starts at `working_directory`.
    pub file: PathBuf,
    /// Whether it is an error if the file does not exist.
    pub file_required: bool,
    /// The process's environment.
    pub environment: BTreeMap<OsString, OsString>,
    /// Keys and values of the command line.
    pub flags: Vec<(String, String)>,
    /// Where relative paths start. Absolute.
    pub working_directory: PathBuf,
    /// The state directory if it exists and no other is named.
    pub packaged_state_dir: PathBuf,
}

/// What the settings mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The directory to mirror. Absolute; it may not exist yet.
    pub watch_path: PathBuf,
    /// Name, access point alias or access point ARN.
    pub bucket: String,
    /// `None`: the SDK finds it.
    pub region: Option<String>,
    /// What stands before every key.
    pub prefix: KeyPrefix,
    /// What of the directory is this process's.
    pub share: Share,
    /// The view of what waits. Absolute.
    pub retry_file: PathBuf,
    /// The longest pause between two tries of one file.
    pub retry_interval: Duration,
    /// `None`: nothing is invalidated.
    pub cloudfront: Option<CloudFront>,
    /// Where record and queue are. Absolute; neither inside `watch_path` nor around it.
    pub state_dir: PathBuf,
    /// Who chose `state_dir`.
    pub state_dir_origin: Origin,
    /// What objects look like.
    pub objects: rules::Settings,
    /// What goes with every body.
    pub checksum: Checksum,
    /// How changes are seen.
    pub watch_mode: WatchMode,
    /// Between two full looks while polling.
    pub poll_interval: Duration,
    /// Between two full looks behind events.
    pub rescan_interval: Duration,
    /// Patterns in gitignore syntax; each compiles.
    pub ignore: Vec<String>,
    /// Whether the built-in patterns hold as well.
    pub ignore_defaults: bool,
    /// How long a finished file rests.
    pub debounce: Duration,
    /// How long a file rests that is still open for writing.
    pub open_file_quiet: Duration,
    /// The longest wait for a file that never rests.
    pub debounce_max: Duration,
    /// Another store that speaks S3. Holds no credentials.
    pub endpoint_url: Option<String>,
    /// `AWS_CA_BUNDLE`: authorities to trust instead of the system's. Absolute.
    pub ca_bundle: Option<PathBuf>,
    /// Whether the bucket stands in the URL's path.
    pub force_path_style: bool,
    /// Whether a store that is not AWS's is asked what it can do.
    pub probe: bool,
    /// How long the holder of the lease may be silent; `None` where there is none.
    pub lease: Option<Duration>,
    /// The most requests with content at one time.
    pub max_concurrent_transfers: usize,
    /// Files of so many bytes and above go in parts.
    pub multipart_threshold: u64,
    /// Bytes.
    pub multipart_part_size: u64,
    /// The most bytes of content on their way; no less than a part or the threshold.
    pub transfer_memory: u64,
    /// Bytes a second, over all transfers; `None`: as many as there are.
    pub bandwidth_limit: Option<u64>,
    /// What a deletion does.
    pub delete_policy: DeletePolicy,
    /// See `delete_limit_count`.
    pub delete_limit_percent: u8,
    /// One comparison that wants to delete more than both limits deletes nothing.
    pub delete_limit_count: u64,
    /// Where everybody may ask.
    pub listen_address: Option<SocketAddr>,
    /// Where the commands ask. Loopback.
    pub admin_address: Option<SocketAddr>,
    /// Whether everybody may see file names.
    pub status_file_names: bool,
    /// Where the status is written as well.
    pub status_file: Option<PathBuf>,
    /// What takes the reason of a failing end, if it is there.
    pub termination_message: PathBuf,
    /// How long transfers may take to finish after SIGTERM.
    pub shutdown_timeout: Duration,
    /// `None`: text on a terminal, else JSON.
    pub log_format: Option<LogFormat>,
    /// Directives as `tracing_subscriber::EnvFilter` takes them.
    pub log_level: String,
}

impl Config {
    /// Whether the bucket is in another store than AWS's.
    #[must_use]
    pub fn is_other_store(&self) -> bool {
        self.endpoint_url.as_ref().is_some_and(|url| {
            let host = url.split_once("://").map_or(&**url, |(_, rest)| rest);
            let host = host.split(['/', ':']).next().unwrap_or_default();
            !AWS_DOMAINS.iter().any(|domain| host.ends_with(domain))
        })
    }
}

/// The distribution in front of the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudFront {
    /// Its id.
    pub distribution_id: String,
    /// Before every path viewers ask for, as it was written.
    pub path_prefix: String,
    /// How long changes are collected.
    pub batch: Duration,
    /// Entries of one directory; more become a wildcard.
    pub wildcard_threshold: usize,
    /// The most paths of one round.
    pub batch_path_limit: usize,
    /// The most paths of one month; 0 for no limit.
    pub monthly_path_limit: u64,
    /// Whether new objects are told of.
    pub invalidate_new: bool,
    /// Whether a directory's address shows its `index.html`.
    pub index_paths: bool,
}

/// How changes are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchMode {
    /// By the type of the file system.
    Auto,
    /// By events of the kernel.
    Events,
    /// By looking again and again.
    Poll,
}

/// What the deletion of a file does to its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletePolicy {
    /// Deletes it.
    Propagate,
    /// Nothing.
    Keep,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// A valid configuration, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What the settings mean.
    pub config: Config,
    /// Every key with its value and where that comes from, in the order of the documentation.
    pub effective: Vec<Effective>,
}

impl Sources {
    /// The default file, this environment, and no flags.
    #[must_use]
    pub fn new(environment: BTreeMap<OsString, OsString>, working_directory: PathBuf) -> Self {
        Self {
            file: PathBuf::from(DEFAULT_FILE),
            file_required: false,
            environment,
            flags: Vec::new(),
            working_directory,
            packaged_state_dir: PathBuf::from(PACKAGED_STATE_DIR),
        }
    }

    /// A variable's value; an empty one is none.
    fn variable(&self, name: &str) -> Option<&OsString> {
        self.environment.get(OsStr::new(name)).filter(|value| !value.is_empty())
    }
}

/// The environment holds the AWS credentials, so it is not shown.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("flags", &self.flags)
            .field("working_directory", &self.working_directory)
            .finish_non_exhaustive()
    }
}

/// Reads all sources and checks them.
///
/// # Errors
///
/// With everything that is wrong, if anything is.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let Some(written) = written::Written::read(sources, &mut problems) else {
        return Err(problems);
    };
    let mut reader = reader::Reader::new(sources, &written, problems);
    let config = meant::config(&mut reader);
    let told_to = config.termination_message.clone();
    let effective =
        reader.finish().map_err(|problems| problems.with_termination_message(told_to))?;
    Ok(Loaded { config, effective })
}
