//! The HTTP endpoints: health, metrics, status and control.
//!
//! There are two addresses and a socket, and an address for the hints of other nodes. `listen_address` is
//! for the kubelet, Prometheus and operators: it changes nothing, and shows no file name unless
//! `status_file_names` is set. `admin_address` is loopback: it shows file names, and accepts control
//! requests only with a token. The control socket accepts them from processes of the service's own user and
//! of root.
//!
//! # Invariants
//!
//! - A slow client affects no other client: heads, bodies, responses and connections have named
//!   bounds of size, number and time, and a new connection replaces the oldest when there are too
//!   many.
//! - Requests that another site made a browser send are refused: the host must be loopback, and
//!   the origin, if present, the same.
//! - A listener that is not available is retried: mirroring does not wait for it.
//! - Nothing here waits for S3, and the engine never waits for anything here.

mod answers;
mod authority;
mod control;
mod guard;
mod handler_state;
mod health;
mod hints;
mod listener;
mod page;
mod peer;
mod pulse;
mod refusal_log;
mod routes;
mod server;
mod service_manager;
mod socket;
mod status;
mod status_file;
mod tls;

use crate::engine::control::Control;
use crate::engine::snapshot::Snapshot;
use crate::exclusivity::DeleteGuard;
use crate::hints::HintLedger;
use crate::model::{BandwidthSchedule, Shard, UnixMillis};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

pub use listener::{AdminServer, BindError, BoundListeners, ListenAddresses, bind};
pub use pulse::pulse;
pub use service_manager::notify_service_manager;
pub use status::SCHEMA;
pub use status_file::keep_status_file;
pub use tls::load_tls;

/// Sets the log level, or returns what is wrong with it.
pub type SetLogLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;
/// Returns all metrics in the text format of Prometheus.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// Returns the status of the CloudFront worker, once it runs.
pub type InvalidationSource = Arc<OnceLock<Box<dyn Fn() -> InvalidationStatus + Send + Sync>>>;

/// The status of the CloudFront worker, without file names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InvalidationStatus {
    /// Paths that were not sent yet.
    pub waiting: u64,
    /// Requests in progress.
    pub running: u64,
    /// Paths used this month.
    pub spent: u64,
    /// Maximum number of paths per month; 0 for no limit.
    pub limit: u64,
    /// The time of the last accepted request.
    pub last_success: Option<UnixMillis>,
    /// The time of the last failed request, and the short stable name of its cause.
    pub last_error: Option<(UnixMillis, String)>,
}

/// A setting: its key, value and origin.
pub type ShownSetting = (String, String, String);

/// The settings, and the problem with a changed file, if there is one.
#[derive(Debug, Clone, Default)]
pub struct ConfigurationStatus {
    /// Every setting.
    pub settings: Vec<ShownSetting>,
    /// One public word, and a message that may contain written values.
    pub problem: Option<(&'static str, String)>,
    /// The limits on bandwidth.
    pub bandwidth: BandwidthSchedule,
}

impl ConfigurationStatus {
    /// Settings that equal those of the file.
    #[must_use]
    pub fn from_settings(settings: Vec<ShownSetting>, bandwidth: BandwidthSchedule) -> Self {
        Self { settings, problem: None, bandwidth }
    }
}

/// The sources of all responses.
#[derive(Clone)]
pub struct ResponseSources {
    /// Sends requests to the engine.
    pub control: Control,
    /// The latest snapshot of the engine.
    pub snapshot: watch::Receiver<Snapshot>,
    /// The settings.
    pub configured: watch::Receiver<ConfigurationStatus>,
    /// The shard of this process.
    pub shard: Shard,
    /// The prefix that is removed from shown names.
    pub watch_path: PathBuf,
    /// Whether the public address may show file names.
    pub file_names: bool,
    /// The file with the token for control requests over TCP.
    pub token_file: Option<PathBuf>,
    /// When the process started.
    pub started: UnixMillis,
    /// Changes the log level.
    pub log_level: SetLogLevel,
    /// The metrics, if there are any.
    pub metrics: Option<MetricsText>,
    /// The status of the CloudFront worker.
    pub invalidations: InvalidationSource,
    /// Decides whether this process may delete.
    pub writer: Arc<DeleteGuard>,
    /// Takes hints of other nodes.
    pub hints: HintIntake,
}

/// What `hint_listen_address` needs.
#[derive(Debug, Clone, Default)]
pub struct HintIntake {
    /// The file with the token.
    pub token_file: Option<PathBuf>,
    /// Counts hints and relays.
    pub ledger: Arc<HintLedger>,
}

impl fmt::Debug for ResponseSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("file_names", &self.file_names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
