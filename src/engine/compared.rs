//! The end of a comparison, and of a look that failed as a whole.

use super::event::{Effect, LookFailure, Now};
use super::{Engine, report};
use crate::model::{Depth, Hint, RelPath, millis};
use crate::queue;
use crate::reconcile::{Range, ReconcileError, Summary};
use crate::settle::{Mark, Rested};
use std::time::Duration;

impl Engine {
    pub(super) fn look_failed(
        &mut self,
        paths: Vec<Rested>,
        failure: LookFailure,
        now: Now,
    ) -> Option<Effect> {
        let due = now.elapsed + self.settings.settle.writing;
        for rested in paths {
            self.settle.put_back(rested, due);
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
        range: Range,
        mark: Mark,
        result: Result<Summary, ReconcileError>,
        now: Now,
    ) -> Option<Effect> {
        let whole = range.is_everything();
        if whole {
            self.next_rescan = now.elapsed + self.settings.rescan_interval;
        }
        match result {
            Ok(summary) => {
                if whole && self.deletes_from.is_none() {
                    let grace = Duration::from_millis(queue::DELETE_GRACE_MS);
                    self.deletes_from = Some(now.elapsed + self.settings.settle.done + grace);
                }
                self.report.compared(&range, &summary, self.started + millis(now.elapsed));
                None
            }
            Err(ReconcileError::Source(gone)) => Some(Effect::SourceLost(gone.to_string())),
            // The loop has ended, and takes nothing any more.
            Err(ReconcileError::Ended) => None,
            Err(ReconcileError::Start(_)) if !range.start.is_root() => {
                // Its parent knows more about it.
                let parent = range.start.parent().unwrap_or_else(RelPath::root);
                self.settle.hint_of(Hint::Tree(parent, Depth::Entries), now.elapsed, mark);
                None
            }
            Err(error) => {
                report::compare_failed(&range, &error);
                // A record that cannot be read is no better at once.
                let again = now.elapsed + self.settings.settle.writing;
                self.settle.hint_of(Hint::Tree(range.start, range.depth), again, mark);
                None
            }
        }
    }
}
