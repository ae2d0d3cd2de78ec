//! What is not covered: derived from all that is known of it, in one place, for every answer.

use super::snapshot::{ActiveMode, Watch};
use super::unread::RecheckScope;
use super::{Engine, EngineTime};
use crate::model::{CoverageGaps, GapReason, RelPath};
use crate::reconcile::UnreadPath;
use crate::settle::FlushGeneration;

impl Engine {
    /// What is known not to be in S3 as it is on disk, beside what waits for its turn.
    #[must_use]
    pub fn gaps(&self) -> CoverageGaps {
        let mut gaps = CoverageGaps::default();
        let counts = self.queue.counts();
        let held = self.survey.parked.iter();
        let held = held.filter(|(why, _)| GapReason::from_skip_reason(why) == GapReason::Held);
        let held: u64 = held.map(|(_, files)| files).sum();
        let parked = counts.parked.saturating_sub(counts.skipped + counts.over_limit);
        gaps.add(GapReason::OverLimit, counts.over_limit);
        gaps.add(GapReason::Skipped, counts.skipped);
        gaps.add(GapReason::Held, held.min(parked) + self.deletes_waiting());
        // What was inspected a moment ago is not counted on disk yet.
        let unreadable = parked.saturating_sub(held).max(self.unread.denied_paths());
        gaps.add(GapReason::Unreadable, unreadable);
        gaps.add(GapReason::Restless, self.report.restless());
        self.unread.add_to(&mut gaps);
        // The detector may know of a directory that was not compared yet.
        let directories = gaps.count(GapReason::Unreadable) + gaps.count(GapReason::Unlisted);
        let unreadable = self.watch.coverage.unreadable;
        gaps.add(GapReason::Unreadable, unreadable.saturating_sub(directories));
        if self.uncompared.is_some() {
            gaps.add(GapReason::Unwatched, self.watch.coverage.unwatched.max(1));
        }
        gaps
    }

    /// Whether every change gives an event: everything else has to be scanned.
    #[must_use]
    pub fn has_complete_events(&self) -> bool {
        let coverage = &self.watch.coverage;
        let complete = self.watch.mode == ActiveMode::Events && coverage.armed;
        complete && coverage.has_complete_events() && self.uncompared.is_none()
    }

    /// How changes are seen, as far as the engine knows.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.watch
    }

    /// Changes are seen in this way from now on. Where that is worse than before, everything is
    /// compared within the time between two comparisons of what nothing watches.
    pub(super) fn watched(&mut self, watch: Watch, now: EngineTime) {
        let before = self.watch.coverage;
        let coverage = watch.coverage;
        let worse = coverage.unwatched > before.unwatched
            || (coverage.lost && !before.lost)
            || coverage.rebuilds > before.rebuilds;
        self.watch = watch;
        if !self.settings.once {
            self.report.watching(watch);
        }
        self.settings.rescan_interval = watch.interval;
        let mut due = now.elapsed + watch.interval;
        if worse {
            // Sweeps find what happens from now on, and not what has happened.
            due = due.min(now.elapsed + watch.sweep.unwrap_or(watch.interval));
        }
        self.next_rescan = self.next_rescan.min(due);
        if worse {
            // No comparison that is under way counts.
            self.uncompared = Some(self.unread.tick());
        }
    }

    /// Notes what could not be read because of a hint with this mark.
    pub(super) fn note_unread(
        &mut self,
        unread: UnreadPath,
        scope: RecheckScope,
        now: EngineTime,
        mark: FlushGeneration,
    ) {
        self.unread_mark = mark.min(self.unread_mark);
        let UnreadPath { path, why, passing } = unread.clone();
        let logged_elsewhere = !passing && scope == RecheckScope::Path;
        if self.unread.note(unread, scope, now.elapsed) && !logged_elsewhere {
            self.report.unreadable(&path, &why);
        }
    }

    /// The whole tree was compared, or that cannot be done.
    pub(super) fn has_compared_or_cannot(&self) -> bool {
        self.has_compared() || self.unread.is_given_up_at(&RelPath::root())
    }
}
