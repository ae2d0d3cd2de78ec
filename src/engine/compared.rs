//! The end of a comparison, and of a look that failed as a whole.

use super::event::{Effect, EngineTime, LookFailure};
use super::unread::RecheckScope;
use super::{Engine, report};
use crate::model::{Depth, Hint, RelPath, millis};
use crate::queue;
use crate::reconcile::{ReconcileError, ScanScope, Summary, UnreadPath};
use crate::root::InspectError;
use crate::settle::{FlushGeneration, ReadyPath};
use std::collections::HashSet;
use std::time::Duration;

impl Engine {
    pub(super) fn look_failed(
        &mut self,
        paths: Vec<ReadyPath>,
        failure: LookFailure,
        now: EngineTime,
    ) -> Option<Effect> {
        let due = now.elapsed + self.settings.settle.writing;
        for rested in paths {
            self.settle.requeue(rested, due);
        }
        match failure {
            LookFailure::Source(gone) => Some(Effect::SourceLost(gone.to_string())),
            LookFailure::Store(reason) => {
                report::store_failed(&reason);
                None
            }
        }
    }

    pub(super) fn compared(
        &mut self,
        range: ScanScope,
        mark: FlushGeneration,
        result: Result<Summary, ReconcileError>,
        now: EngineTime,
    ) -> Option<Effect> {
        let whole = range.is_everything();
        let fresh = self.comparing_fresh;
        if whole {
            self.next_rescan = now.elapsed + self.settings.rescan_interval;
            if let Some(drain) = &mut self.drain {
                drain.compared(result.as_ref().ok());
            }
        }
        match result {
            Ok(summary) => {
                if whole && self.deletes_from.is_none() {
                    let grace = Duration::from_millis(queue::DELETE_GRACE_MS);
                    self.deletes_from = Some(now.elapsed + self.settings.settle.done + grace);
                }
                self.report.compared(&range, &summary, self.started + millis(now.elapsed));
                self.note_compared(&range, summary, mark, now);
                None
            }
            Err(ReconcileError::Source(gone)) => Some(Effect::SourceLost(gone.to_string())),
            // The loop has ended, and takes nothing any more.
            Err(ReconcileError::Ended) => None,
            Err(ReconcileError::Start(InspectError::Gone | InspectError::NotBelow(_)))
                if !range.start.is_root() =>
            {
                // Its parent knows more about it.
                let parent = range.start.parent().unwrap_or_else(RelPath::root);
                self.forget_unread(&range.start, Depth::Whole);
                self.settle.hint_of(Hint::Tree(parent, Depth::Entries), now.elapsed, mark, fresh);
                None
            }
            Err(ReconcileError::Start(error)) => {
                let why = error.to_string();
                let passing = error.is_passing();
                let unread = UnreadPath { path: range.start, why, passing };
                self.note_unread(unread, RecheckScope::Tree(range.depth), now, mark);
                None
            }
            Err(error) => {
                report::compare_failed(&range, &error);
                // A record that cannot be read is no better at once.
                let again = now.elapsed + self.settings.settle.writing;
                self.settle.hint_of(Hint::Tree(range.start, range.depth), again, mark, fresh);
                None
            }
        }
    }

    /// Notes what a comparison could not read, and what can be read again.
    fn note_compared(
        &mut self,
        range: &ScanScope,
        summary: Summary,
        mark: FlushGeneration,
        now: EngineTime,
    ) {
        for (path, state) in &summary.linked {
            self.linked.note(path, state);
        }
        for (link, leads) in &summary.followed {
            self.linked.note_leads(link, leads);
        }
        let beyond = summary.unreadable.saturating_sub(summary.unread.len() as u64);
        let unread: Vec<_> = summary.unread.into_iter().collect();
        let still: HashSet<_> = unread.iter().map(|unread| unread.path.clone()).collect();
        let since = self.comparing_since;
        for path in self.unread.compared(&range.start, range.depth, since, &still) {
            self.report.readable(&path);
        }
        for unread in unread {
            self.note_unread(unread, RecheckScope::Tree(Depth::Whole), now, mark);
        }
        self.unread.note_more(beyond, now.elapsed);
        if range.is_everything() && self.uncompared.is_some_and(|lost| lost <= since) {
            self.uncompared = None;
        }
    }

    fn forget_unread(&mut self, directory: &RelPath, depth: Depth) {
        for path in self.unread.compared(directory, depth, self.comparing_since, &HashSet::new()) {
            self.report.readable(&path);
        }
    }
}
