//! Flushes: when is all that was hinted before a moment in S3?
//!
//! Every hint has a [`FlushGeneration`], which goes with what comes of it: the wait for quiet, the look, the
//! comparison, the row in the queue, the look after a try. A flush is done when no such thing has a
//! mark as low as its own, and what came of them is on disk. Changes that come later have higher
//! marks, so a flush ends while others go on writing.
//!
//! Rows that wait in the record alone have lost theirs. As long as there may be any, no flush ends,
//! nor before the first comparison, which finds what happened before the start.

use super::event::EngineCommand;
use super::snapshot::HistoryTotals;
use super::{Engine, EngineTime};
use crate::model::{CoverageGaps, Depth, Hint, RelPath};
use crate::settle::FlushGeneration;
use crate::store::StateCounts;
use std::time::Duration;

/// The flushes under way.
#[derive(Debug)]
pub(super) struct Flushes {
    open: Vec<FlushState>,
    /// Commits handed in so far.
    commits: u64,
    /// Rows may wait in the record alone, since this commit.
    partial: Option<u64>,
}

#[derive(Debug)]
struct FlushState {
    id: u64,
    mark: FlushGeneration,
    /// The commit with the last of what came of its hints.
    commit: Option<u64>,
    /// What had been done at its start.
    before: HistoryTotals,
}

/// How a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushResult {
    /// What is not in S3 as it is, and why.
    pub gaps: CoverageGaps,
    /// What was done during the flush, for whatever reason.
    pub done: HistoryTotals,
}

impl FlushResult {
    /// Whether everything is in S3, but for files that are skipped.
    #[must_use]
    pub fn is_complete(self) -> bool {
        self.gaps.failures() == 0
    }
}

impl Flushes {
    pub(super) fn new(counts: StateCounts) -> Self {
        let partial = (counts.pending > counts.parked).then_some(0);
        Self { open: Vec::new(), commits: 0, partial }
    }

    /// The number of the commit that the present decisions are part of.
    pub(super) fn next_commit(&self) -> u64 {
        self.commits + 1
    }

    /// Another commit was handed in.
    pub(super) fn handed_in(&mut self) {
        self.commits += 1;
    }

    /// A decision was made; its row is in the next commit.
    pub(super) fn decided(&mut self, partial: bool) {
        if partial {
            self.partial = Some(self.commits + 1);
        }
    }

    /// A commit is on disk. Whether rows wait in the record alone is certain only when all are.
    pub(super) fn written(&mut self, commit: u64, partial: bool) {
        if !partial && commit >= self.commits {
            self.partial = None;
        }
    }
}

impl Engine {
    /// Whether anybody waits for a flush.
    #[must_use]
    pub fn is_flushing(&self) -> bool {
        !self.flushes.open.is_empty()
    }

    /// The flushes that have ended, by the numbers of those who asked. Looks at everything that is
    /// under way, so it is not for every event.
    pub fn flushed(&mut self) -> Vec<(u64, FlushResult)> {
        let unknown = !self.has_compared() || self.flushes.partial.is_some();
        // An error that passes by itself is given time to do so.
        let unknown = unknown || !self.unread.is_given_up();
        if self.flushes.open.is_empty() || unknown {
            return Vec::new();
        }
        let waiting = self.settle.lowest_mark().into_iter().chain(self.queue.lowest_mark());
        let lowest = waiting.chain(self.looks.iter().copied()).chain(self.comparing).min();
        let commits = self.flushes.commits;
        let written = self.newest_write;
        let gaps = self.gaps();
        let totals = self.report.history.totals;
        let mut ended = Vec::new();
        self.flushes.open.retain_mut(|flush| {
            if lowest.is_some_and(|lowest| lowest <= flush.mark) {
                flush.commit = None;
                return true;
            }
            let done = written >= *flush.commit.get_or_insert(commits);
            if done {
                let done = totals.since(flush.before);
                ended.push((flush.id, FlushResult { gaps, done }));
            }
            !done
        });
        ended
    }

    /// The clients of these flushes have disconnected.
    pub fn forget_flushes(&mut self, gone: &[u64]) {
        self.flushes.open.retain(|flush| !gone.contains(&flush.id));
    }

    pub(super) fn asked(&mut self, ask: EngineCommand, now: EngineTime) {
        match ask {
            EngineCommand::Flush { id, compare } => {
                for hint in self.unread.take_all(now.elapsed) {
                    self.settle.hint_of(hint, now.elapsed, self.unread_mark, true);
                }
                if compare || !self.has_complete_events() {
                    self.settle.hint(Hint::Tree(RelPath::root(), Depth::Whole), now.elapsed);
                }
                let mark = self.settle.flush(now.elapsed);
                self.queue.retry(self.wall(now));
                let before = self.report.history.totals;
                self.flushes.open.push(FlushState { id, mark, commit: None, before });
            }
            EngineCommand::Rescan => self.next_rescan = Duration::ZERO,
            EngineCommand::ApproveDeletes => {
                self.queue.approve_deletes(self.wall(now));
                self.expedite_delayed(self.wall(now));
                // Those that another daemon held back have failed, and wait.
                self.queue.retry(self.wall(now));
                super::report::deletes::approved(&self.queue);
            }
            EngineCommand::CancelDeletes => {
                super::report::deletes::cancelled(&self.queue);
                self.cancel_deletes();
            }
            EngineCommand::Retry => self.queue.retry(self.wall(now)),
            EngineCommand::EndSoon => {
                self.ending = true;
                self.settle.end_soon(now.elapsed);
                self.queue.retry(self.wall(now));
            }
        }
    }

    /// A look has ended, of paths with these marks.
    pub(super) fn look_ended(&mut self, marks: impl Iterator<Item = FlushGeneration>) {
        let lowest = marks.min();
        if let Some(index) = self.looks.iter().position(|mark| Some(*mark) == lowest) {
            self.looks.swap_remove(index);
        }
    }
}
