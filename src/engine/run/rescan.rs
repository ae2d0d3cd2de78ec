//! How often everything is scanned, by how changes are seen.

use crate::detect::Detector;
use crate::engine::snapshot::{ActiveMode, Watch};
use crate::sweep::{SweepSettings, Sweeper};
use std::time::Duration;

/// Time between two scans of the whole tree.
#[derive(Debug, Clone, Copy)]
pub struct RescanTimer {
    /// How changes are seen while every directory is watched.
    pub mode: ActiveMode,
    /// While events do not report every change, and there are no sweeps.
    pub blind: Duration,
    /// While events do not report every change: sweeps, and fewer scans. None for a single run.
    pub sweep: Option<SweepSettings>,
    /// While events report every change.
    pub watching: Duration,
    /// Time until a shard lists the bucket again for its takeover from another one. It is independent of
    /// scans of the tree: objects to take over come while pods are replaced, and a listing costs money.
    pub review: Duration,
}

impl RescanTimer {
    /// How changes are seen now.
    pub(super) fn watch(&self, detector: Option<&Detector>, sweeper: Option<&Sweeper>) -> Watch {
        let coverage = detector.map(Detector::coverage).unwrap_or_default();
        // All instances of the watcher may have been refused.
        let blind = coverage.armed && coverage.instances == 0;
        let mode = if blind { ActiveMode::Poll } else { self.mode };
        let polls = self.polls(detector);
        let full_interval = sweeper.and_then(Sweeper::full_interval).filter(|_| polls);
        let unswept = if polls { self.blind } else { self.watching };
        let interval = full_interval.unwrap_or(unswept);
        Watch { mode, coverage, interval, sweep: full_interval.map(|_| self.blind) }
    }

    /// Whether events do not report every change.
    pub(super) fn polls(&self, detector: Option<&Detector>) -> bool {
        let watched = detector.is_some_and(|detector| detector.coverage().has_complete_events());
        self.mode == ActiveMode::Poll || !watched
    }
}
