//! What the engine goes by, in all that it does.

use super::Invalidate;
use crate::model::{KeyPrefix, Tracing};
use crate::plan::Policy;
use crate::rules::Rules;
use crate::{queue, settle};
use std::sync::Arc;
use std::time::Duration;

/// What the engine goes by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How paths become keys.
    pub prefix: KeyPrefix,
    /// Where they are, for the log.
    pub bucket: String,
    /// What may be deleted.
    pub policy: Policy,
    /// Quiet times.
    pub settle: settle::Settings,
    /// Limits of the queue.
    pub queue: queue::Settings,
    /// Longest time between two comparisons of the whole tree.
    pub rescan_interval: Duration,
    /// Whether to compare once, drain and end.
    pub once: bool,
    /// Rules that objects which are there have to follow as well.
    pub reapply: Option<Arc<Rules>>,
    /// How changes are named in the log.
    pub tracing: Tracing,
    /// What a CDN in front of the bucket is told, if there is one.
    pub invalidate: Option<Invalidate>,
}
