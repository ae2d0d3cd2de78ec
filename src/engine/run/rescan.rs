//! How often everything is compared, by how changes are seen.

use crate::detect::Detector;
use crate::engine::snapshot::{ActiveMode, Watch};
use std::time::Duration;

/// Time between two comparisons of the whole tree.
#[derive(Debug, Clone, Copy)]
pub struct RescanTimer {
    /// How changes are seen while every directory is watched.
    pub mode: ActiveMode,
    /// While there are directories that are not watched, or none is.
    pub blind: Duration,
    /// While every directory is watched.
    pub watching: Duration,
    /// Time until a shard lists the bucket again for its takeover from another one. It is independent of
    /// scans of the tree: objects to take over come while pods are replaced, and a listing costs money.
    pub review: Duration,
}

impl RescanTimer {
    /// How changes are seen now.
    pub(super) fn watch(&self, detector: Option<&Detector>) -> Watch {
        let coverage = detector.map(Detector::coverage).unwrap_or_default();
        // All instances of the watcher may have been refused.
        let blind = coverage.armed && coverage.instances == 0;
        let mode = if blind { ActiveMode::Poll } else { self.mode };
        Watch { mode, coverage, interval: self.interval(detector) }
    }

    /// What is not watched has to be scanned more often.
    fn interval(&self, detector: Option<&Detector>) -> Duration {
        let watched = detector.is_some_and(|detector| detector.coverage().has_complete_events());
        if watched { self.watching } else { self.blind }
    }
}
