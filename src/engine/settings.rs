//! What the engine goes by, in all that it does.

use super::CdnChange;
use crate::model::{KeyPrefix, TraceSettings, TransferLog};
use crate::plan::Policy;
use crate::rules::Rules;
use crate::transfer::TOO_LARGE;
use crate::{queue, settle};
use std::sync::Arc;
use std::time::Duration;

/// Why a file is left that is younger than [`EngineSettings::min_age`].
pub(super) const BELOW_MIN_AGE: &str = "below-min-age";

/// How large a file may be, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Largest {
    /// To be sent at all.
    pub possible: u64,
    /// To be wanted.
    pub wanted: u64,
}

impl Default for Largest {
    fn default() -> Self {
        Self { possible: u64::MAX, wanted: u64::MAX }
    }
}

impl Largest {
    /// Why a file of this size is left, if it is.
    #[must_use]
    pub fn refuses(self, size: u64) -> Option<&'static str> {
        if size > self.wanted {
            Some("above-max-file-size")
        } else if size > self.possible {
            Some(TOO_LARGE)
        } else {
            None
        }
    }
}

/// What the engine goes by.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// How paths become keys.
    pub prefix: KeyPrefix,
    /// Where they are, for the log.
    pub bucket: String,
    /// The address of the store, for the cause of an outage.
    pub endpoint: String,
    /// What may be deleted.
    pub policy: Policy,
    /// Quiet times.
    pub settle: settle::DebounceSettings,
    /// Limits of the queue.
    pub queue: queue::QueueSettings,
    /// Files above this are skipped, bytes: no parts are large enough, or the limit is configured.
    pub largest: Largest,
    /// New files are not sent while so many are recorded or waiting.
    pub max_files: Option<u64>,
    /// Files are sent when their content is so old.
    pub min_age: Duration,
    /// Longest time between two comparisons of the whole tree.
    pub rescan_interval: Duration,
    /// Whether to compare once, drain and end.
    pub once: bool,
    /// Rules that objects which are there have to follow as well.
    pub reapply: Option<Arc<Rules>>,
    /// Which transfers have a line each in the log.
    pub log_transfers: TransferLog,
    /// How changes are named in the log.
    pub tracing: TraceSettings,
    /// What is invalidated in a CDN in front of the bucket, if there is one.
    pub invalidate: Option<CdnChange>,
}
