//! The log of refused control requests, at a bounded rate.

use super::peer::Peer;
use crate::clock::unix_millis;
use crate::model::UnixMillis;
use std::sync::{Mutex, PoisonError};

/// Maximum number of logged refusals per time span.
const REFUSALS_LOGGED_MAX: u32 = 10;
const REFUSALS_SPAN_MS: UnixMillis = 60_000;

/// Counts the refusals of one time span, so that a client that sends many does not fill the log.
#[derive(Debug, Default)]
pub(super) struct RefusalLog(Mutex<(UnixMillis, u32)>);

impl RefusalLog {
    /// Logs a refusal, if the span has room.
    pub(super) fn log(&self, path: &str, peer: Peer, reason: &str) {
        if !self.has_room(unix_millis()) {
            return;
        }
        tracing::warn!(
            event = "control.refused",
            url.path = %crate::escape::Printable(path),
            client = %peer,
            reason,
            "control request refused"
        );
    }

    fn has_room(&self, now: UnixMillis) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(state.0) >= REFUSALS_SPAN_MS {
            *state = (now, 0);
        }
        state.1 = state.1.saturating_add(1);
        state.1 <= REFUSALS_LOGGED_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_logged_within_a_rate() {
        let log = RefusalLog::default();
        let logged = |from: UnixMillis| (0..100).filter(|_| log.has_room(from)).count();
        assert_eq!((logged(60_000), logged(60_001), logged(120_000)), (10, 0, 10));
    }
}
