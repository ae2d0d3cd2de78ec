//! What may start, and in which order.

use super::lane::{Lane, Rank};
use super::window::{Class, RowState};
use super::{Attempt, DELETE_BATCH_MAX, DELETE_GATHER_MS, DELETE_GRACE_MS, Queue};
use crate::model::{RelPath, UnixMillis};

impl Queue {
    /// Permissions for what may start now, what is fresh first. Each is running from here on; its row has
    /// to be on disk before the try begins.
    pub fn start(&mut self, now: UnixMillis, deletes_may_start: bool) -> Vec<Attempt> {
        self.now = now;
        self.update_hold();
        self.window.promote(now);
        if self.window.has_fresh() {
            self.breaker.hurry();
        }
        // While S3 takes nothing, one probe is all there is.
        let limit = match self.breaker.outage() {
            Some(_) => self.breaker.limit(now, self.settings.concurrency),
            None => self.settings.prepared,
        };
        let mut leases = Vec::new();
        while self.occupied() < limit {
            let Some((rank, class)) = self.next(deletes_may_start) else { break };
            self.turns.advance();
            let together = match class {
                // A probe of S3 is one.
                Class::Delete if self.breaker.outage().is_none() => DELETE_BATCH_MAX,
                Class::Small | Class::Large | Class::Delete => 1,
            };
            for _ in 0..together {
                let Some((since, path)) = self.window.next_ready(rank, class) else { break };
                if class == Class::Delete && self.is_kept_back(rank, since) {
                    break;
                }
                let path = path.clone();
                leases.extend(self.lease(&path));
            }
        }
        leases
    }

    /// Tries under way; deletes are one.
    #[must_use]
    pub fn occupied(&self) -> usize {
        let deletes = self.window.running_of(Class::Delete).min(1);
        self.window.running_of(Class::Small) + self.window.running_of(Class::Large) + deletes
    }

    /// Of which rank and class the next is that may start: of a rank, that of the oldest change.
    pub(super) fn next(&self, deletes_may_start: bool) -> Option<(Rank, Class)> {
        let large_max = self.settings.concurrency.div_ceil(2);
        let may_start = |rank: Rank, class: Class| match class {
            Class::Small => true,
            Class::Large => self.window.running_of(Class::Large) < large_max,
            Class::Delete => deletes_may_start && self.delete_may_start(rank),
        };
        self.turns.next(|rank| {
            [Class::Small, Class::Large, Class::Delete]
                .into_iter()
                .filter(|class| may_start(rank, *class))
                .filter_map(|class| Some((self.window.next_ready(rank, class)?.0, class)))
                .min_by_key(|(since, _)| *since)
                .map(|(_, class)| class)
        })
    }

    fn delete_may_start(&self, rank: Rank) -> bool {
        let Some((since, _)) = self.window.next_ready(rank, Class::Delete) else { return false };
        let complete = self.window.ready(rank, Class::Delete) >= DELETE_BATCH_MAX
            || !self.window.is_gathering()
            || self.gathered_at(rank).is_some_and(|gathered| self.now >= gathered);
        let running = self.window.running_of(Class::Delete) > 0;
        complete && !running && !self.is_kept_back(rank, since)
    }

    /// Whether a delete that was wanted then waits for puts, or for an operator.
    fn is_kept_back(&self, rank: Rank, since: UnixMillis) -> bool {
        let fresh = rank == Rank::Fresh && !self.unseen_holding;
        let held = self.hold().covers(since);
        held || self.window.is_held_up(since + DELETE_GRACE_MS, fresh)
    }

    /// When the delete of this rank that is next no longer waits for others.
    pub(super) fn gathered_at(&self, rank: Rank) -> Option<UnixMillis> {
        self.window.delete_ready_at(rank).map(|ready| ready + DELETE_GATHER_MS)
    }

    fn lease(&mut self, path: &RelPath) -> Option<Attempt> {
        let mut entry = self.window.remove(path)?;
        let row = &mut entry.pending;
        row.attempts = row.attempts.saturating_add(1);
        entry.sent_before = row.sent;
        // Until there is an answer the bucket may hold this, or, for a delete, nothing.
        row.sent = Some(row.version);
        let pending = row.clone();
        let queued = entry.queued;
        let lane = Lane::for_attempt(entry.fresh.is_some(), pending.attempts);
        let lease = Attempt { pending, sent_before: entry.sent_before, queued, lane };
        entry.tries = entry.tries.saturating_add(1);
        entry.state = RowState::Running { again: false };
        self.window.insert(entry);
        Some(lease)
    }
}
