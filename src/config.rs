//! Loads the configuration from file, environment and flags, and validates it as a whole.
//!
//! A flag overrides a variable `FILE_SYNC__<KEY>`, and a variable overrides the file. [`load`]
//! converts the text into a complete [`Config`].
//!
//! # Invariants
//!
//! - All or nothing: there is no `Config` while any value is invalid. All errors are reported at
//!   once, each with its place and the expected value.
//! - The caller reads the process and passes [`ConfigSources`]. Nothing here reads the environment or
//!   the working directory; the disk is read, but never changed.
//! - No shown setting is a secret: credentials come from the AWS chain only, and the customer key from
//!   a file.
//! - No other module reads the environment. Standard variables that correspond to a setting
//!   (`STATE_DIRECTORY`, `RUST_LOG`) are read here.

mod aws_endpoint;
mod bandwidth;
mod changes;
mod checks;
mod environment;
mod file;
mod files;
mod heartbeat;
mod hints;
mod inline;
mod keys;
mod layer;
mod layers;
mod meant;
mod objects;
mod places;
mod polling;
mod problem;
mod profile;
mod reachable;
mod reader;
mod requests;
mod settling;
mod shown;
mod standard;
mod yaml;

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;

pub use changes::{Changes, changes};
pub use heartbeat::HeartbeatConfig;
pub use hints::HintSettings;
pub use polling::PollSettings;
pub use problem::{Problem, Problems};
pub use reachable::{Reachable, reachable};
pub use settling::SettlingTimes;
pub use shown::{EffectiveSetting, ValueOrigin};
pub use standard::AwsEnvironment;

use crate::model::{BandwidthSchedule, KeyPrefix, Shard, TransferLog};
use crate::rules::{self, Checksum, CustomerKey};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The domains of AWS's own endpoints.
const AWS_DOMAINS: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu"];

/// The file that is read by default.
pub const DEFAULT_FILE: &str = "config.yml";
/// The state directory in the image.
pub const PACKAGED_STATE_DIR: &str = "/var/lib/file-sync-service";

/// All sources of settings.
#[derive(Clone)]
pub struct ConfigSources {
    /// The YAML file; a relative path starts at `working_directory`.
    pub file: PathBuf,
    /// Whether it is an error if the file does not exist.
    pub file_required: bool,
    /// The environment of the process.
    pub environment: BTreeMap<OsString, OsString>,
    /// Keys and values of the command line.
    pub flags: Vec<(String, String)>,
    /// The absolute directory at which relative paths start.
    pub working_directory: PathBuf,
    /// The state directory that is used by default if it exists.
    pub packaged_state_dir: PathBuf,
}

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The directory to mirror. Absolute; it may not exist yet.
    pub watch_path: PathBuf,
    /// How links in that path are treated.
    pub watch_path_link: WatchPathLink,
    /// Name, access point alias or access point ARN.
    pub bucket: String,
    /// The region, or `None` if the SDK determines it.
    pub region: Option<String>,
    /// The prefix of every key.
    pub prefix: KeyPrefix,
    /// The shard of this process.
    pub share: Shard,
    /// The report of pending changes. Absolute.
    pub retry_file: PathBuf,
    /// The longest pause between two attempts for one file.
    pub retry_interval: Duration,
    /// CloudFront, or `None` if nothing is invalidated.
    pub cloudfront: Option<CloudFrontConfig>,
    /// The directory of the state. Absolute; neither inside nor above `watch_path`.
    pub state_dir: PathBuf,
    /// The origin of `state_dir`.
    pub state_dir_origin: ValueOrigin,
    /// The attributes of objects.
    pub objects: rules::RuleSettings,
    /// Whether another time or mode of a file changes its object.
    pub refresh_metadata: bool,
    /// The checksum of every body.
    pub checksum: Checksum,
    /// The account that has to own the bucket, or `None` for any.
    pub expected_bucket_owner: Option<String>,
    /// Whether this account pays for requests.
    pub requester_pays: bool,
    /// The key of every object, if the store does not keep one. It is never shown.
    pub customer_key: Option<CustomerKey>,
    /// How changes are detected.
    pub watch_mode: WatchMode,
    /// How changes are found that no event reports.
    pub poll: PollSettings,
    /// Valid patterns in gitignore syntax.
    pub ignore: Vec<String>,
    /// Whether the built-in patterns apply too.
    pub ignore_defaults: bool,
    /// Whether links to files beneath the watched directory are followed.
    pub follow_links: bool,
    /// Which files are sent, and when.
    pub file_limits: FileLimits,
    /// When a file is ready.
    pub settling: SettlingTimes,
    /// The URL of another S3-compatible store, without credentials.
    pub endpoint_url: Option<String>,
    /// `AWS_CA_BUNDLE`: authorities to trust instead of those of the system. Absolute.
    pub ca_bundle: Option<PathBuf>,
    /// Other standard variables for connections to AWS.
    pub aws_environment: AwsEnvironment,
    /// Whether the path of the URL contains the bucket.
    pub force_path_style: bool,
    /// Which of AWS's endpoints is used.
    pub aws_endpoint: AwsEndpoint,
    /// Whether a store other than AWS is probed.
    pub probe: bool,
    /// Whether writes and deletes have conditions, if the store supports them.
    pub conditional_writes: bool,
    /// The lease time, or `None` without a lease.
    pub lease: Option<Duration>,
    /// Maximum number of concurrent requests with content.
    pub max_concurrent_transfers: usize,
    /// Files of this size or more are uploaded in parts.
    pub multipart_threshold: u64,
    /// The part size in bytes.
    pub multipart_part_size: u64,
    /// Maximum bytes of content in memory; at least a part and the threshold.
    pub transfer_memory: u64,
    /// Bytes per second over all transfers, by the time of day.
    pub bandwidth: BandwidthSchedule,
    /// The time limits of requests to S3.
    pub timeouts: Timeouts,
    /// The effect of a deletion.
    pub delete_policy: DeletePolicy,
    /// How long an object stays after its file.
    pub delete_delay: Duration,
    /// The percentage of `delete_limit_count`.
    pub delete_limit_percent: u8,
    /// If the number of deletes exceeds both limits, all are held.
    pub delete_limit_count: u64,
    /// The time for which a delete counts together with pending ones.
    pub delete_limit_window: Duration,
    /// The public addresses; empty for none.
    pub listen_address: Vec<SocketAddr>,
    /// The loopback addresses that show file names.
    pub admin_address: Vec<SocketAddr>,
    /// The control socket for commands. Absolute.
    pub admin_socket: Option<PathBuf>,
    /// The file with the token for control requests over TCP. Absolute.
    pub admin_token_file: Option<PathBuf>,
    /// The monitor that is informed.
    pub heartbeat: Option<HeartbeatConfig>,
    /// Where hints of other nodes are taken and sent.
    pub hints: HintSettings,
    /// Whether `state_dir` exists at the next start.
    pub state_survives: StateSurvives,
    /// Maximum time that an instance waits for the one that holds `state_dir`.
    pub lock_timeout: Duration,
    /// Whether the public addresses show file names.
    pub status_file_names: bool,
    /// The file that also receives the status.
    pub status_file: Option<PathBuf>,
    /// The file that receives the reason of a failure, if it exists.
    pub termination_message: PathBuf,
    /// Maximum time for transfers to finish after SIGTERM.
    pub shutdown_timeout: Duration,
    /// The behaviour of the drain during an S3 outage.
    pub shutdown_on_outage: ShutdownOnOutage,
    /// How the process confines itself to its files.
    pub sandbox: SandboxSettings,
    /// The log format, or `None` for text on a terminal and JSON elsewhere.
    pub log_format: Option<LogFormat>,
    /// Directives for `tracing_subscriber::EnvFilter`.
    pub log_level: String,
    /// Which transfers have a line each in the log.
    pub log_transfers: TransferLog,
}

impl Config {
    /// Whether the bucket is in a store other than AWS.
    #[must_use]
    pub fn is_other_store(&self) -> bool {
        self.endpoint_url.as_ref().is_some_and(|url| {
            let host = url.split_once("://").map_or(&**url, |(_, rest)| rest);
            let host = host.split(['/', ':']).next().unwrap_or_default();
            !AWS_DOMAINS.iter().any(|domain| host.ends_with(domain))
        })
    }
}

/// Which of AWS's endpoints for S3 is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AwsEndpoint {
    /// Transfer acceleration.
    pub accelerate: bool,
    /// With addresses of IPv6 too.
    pub dual_stack: bool,
    /// With cryptography validated by FIPS 140.
    pub fips: bool,
}

/// The limits on single files and their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileLimits {
    /// Larger files are skipped, in bytes; `None` for no limit.
    pub max_size: Option<u64>,
    /// New files are not uploaded while as many are recorded or waiting; `None` for no limit.
    pub max_files: Option<u64>,
    /// Files are sent when their content is so old.
    pub min_age: Duration,
}

/// The time limits of requests to S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To establish a connection.
    pub connect: Duration,
    /// From a request to its response.
    pub response: Duration,
    /// Without progress of a body.
    pub idle: Duration,
}

/// The distribution in front of the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudFrontConfig {
    /// Its id.
    pub distribution_id: String,
    /// The prefix of every path that viewers request, not encoded.
    pub path_prefix: String,
    /// The time for which changes are collected.
    pub batch: Duration,
    /// The number of entries of one directory above which it becomes a wildcard.
    pub wildcard_threshold: usize,
    /// Maximum number of paths per batch.
    pub batch_path_limit: usize,
    /// Maximum number of paths per month; 0 for no limit.
    pub monthly_path_limit: u64,
    /// Whether new objects are invalidated.
    pub invalidate_new: bool,
    /// Whether the address of a directory shows its `index.html`.
    pub index_paths: bool,
}

/// How changes are detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchMode {
    /// By the type of the file system.
    Auto,
    /// By kernel events.
    Events,
    /// By repeated scans.
    Poll,
}

/// How links in the path to the watched directory are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchPathLink {
    /// They have to lead to the first target.
    Bound,
    /// The last one may lead to any directory beneath its parent.
    Follow,
}

/// Whether the state directory exists at the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateSurvives {
    /// By the type of the file system; not after the end of the pod was announced.
    Auto,
    /// It does, as on a claim.
    Yes,
    /// It does not, as on an `emptyDir`.
    No,
}

/// The behaviour of the drain during an S3 outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownOnOutage {
    /// Retries until the deadline.
    Wait,
    /// Ends early if the state survives.
    Leave,
}

/// How the process confines itself to its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SandboxSettings {
    /// Whether it does.
    pub mode: SandboxMode,
    /// Files whose content is a setting. Absolute.
    pub content_files: Vec<PathBuf>,
}

/// Whether the process confines itself to its files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SandboxMode {
    /// As far as the system can.
    Auto,
    /// It does not.
    #[default]
    Off,
    /// It does, or does not start.
    Require,
}

/// What the deletion of a file does to its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletePolicy {
    /// Deletes it.
    Propagate,
    /// Keeps it.
    Keep,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for terminals.
    Text,
}

/// A valid configuration, and the origin of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedConfig {
    /// The settings.
    pub config: Config,
    /// Every key with its value and origin, in the order of the documentation.
    pub effective: Vec<EffectiveSetting>,
}

impl ConfigSources {
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

    /// The value of a variable; an empty one counts as not set.
    fn variable(&self, name: &str) -> Option<&OsString> {
        self.environment.get(OsStr::new(name)).filter(|value| !value.is_empty())
    }
}

/// The environment contains the AWS credentials, so it is not shown.
impl fmt::Debug for ConfigSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("flags", &self.flags)
            .field("working_directory", &self.working_directory)
            .finish_non_exhaustive()
    }
}

/// Reads and validates all sources.
///
/// # Errors
///
/// With all errors, if there are any.
pub fn load(sources: &ConfigSources) -> Result<LoadedConfig, Problems> {
    let mut problems = Problems::default();
    let Some(written) = layers::LayeredValues::read(sources, &mut problems) else {
        return Err(problems);
    };
    let mut reader = reader::SettingReader::new(sources, &written, problems);
    let config = meant::config(&mut reader);
    let told_to = config.termination_message.clone();
    let effective =
        reader.finish().map_err(|problems| problems.with_termination_message(told_to))?;
    Ok(LoadedConfig { config, effective })
}
