//! Lanes: which of the changes that may start goes next.
//!
//! # Invariants
//!
//! - What changed just now goes before what has waited, whatever waits.
//! - Nothing starves: of four starts, the backlog has one and fresh changes that have waited have one, if
//!   there are any.

use super::window::Class;
use crate::model::{Operation, QueueRow, UnixMillis};

/// A fresh change that has waited for longer than this no longer goes before later ones. So in a burst that
/// is more than the store takes, the latest change does not wait for the whole burst.
pub(super) const FRESH_MS: UnixMillis = 5_000;

/// Why a change waits, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// It was seen when it happened.
    Fresh,
    /// An attempt failed before.
    Retry,
    /// It was found by the first comparison, or queued before the start.
    Backlog,
}

impl Lane {
    /// All of them, in the order of [`index`](Self::index).
    pub const ALL: [Self; 3] = [Self::Fresh, Self::Retry, Self::Backlog];

    /// Of an attempt: whether its change was seen when it happened, and how many attempts there were, this
    /// one included.
    pub(super) fn for_attempt(fresh: bool, attempts: u32) -> Self {
        match (fresh, attempts) {
            (_, 2..) => Self::Retry,
            (true, _) => Self::Fresh,
            (false, _) => Self::Backlog,
        }
    }

    /// The name in metrics and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Retry => "retry",
            Self::Backlog => "backlog",
        }
    }

    /// Its place among all.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Who goes first among those that may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// It changed just now.
    Fresh,
    /// It was fresh, and has waited or failed since.
    Late,
    /// Everything else: the backlog, and its retries.
    Rest,
}

impl Rank {
    pub(super) const COUNT: usize = 3;
    pub(super) const ALL: [Self; Self::COUNT] = [Self::Fresh, Self::Late, Self::Rest];

    /// Of a row that was seen to change at `fresh`, or was not seen.
    pub(super) fn from_entry(
        pending: &QueueRow,
        fresh: Option<UnixMillis>,
        now: UnixMillis,
    ) -> Self {
        match fresh {
            None => Self::Rest,
            // Many are one request: they hold up nothing, and go together.
            Some(_) if pending.operation == Operation::Delete => Self::Fresh,
            Some(at) if pending.attempts == 0 && now < at + FRESH_MS => Self::Fresh,
            Some(_) => Self::Late,
        }
    }
}

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct RankTurns(usize);

impl RankTurns {
    /// Of each four starts: the order in which ranks are asked for one.
    const ORDERS: [[Rank; Rank::COUNT]; 4] = [
        Rank::ALL,
        Rank::ALL,
        [Rank::Late, Rank::Fresh, Rank::Rest],
        [Rank::Rest, Rank::Fresh, Rank::Late],
    ];

    /// The next to start: the first rank that has something, and its class.
    pub(super) fn next(&self, first: impl Fn(Rank) -> Option<Class>) -> Option<(Rank, Class)> {
        Self::ORDERS[self.0].into_iter().find_map(|rank| Some((rank, first(rank)?)))
    }

    /// Something has started.
    pub(super) fn advance(&mut self) {
        self.0 = (self.0 + 1) % Self::ORDERS.len();
    }
}
