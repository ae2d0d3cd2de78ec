//! Counts hints, limits their rate, and knows which relays send them.

use crate::model::UnixMillis;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Hints that are taken in a second, in the long run.
const HINTS_PER_SECOND: u64 = 10_000;
/// Hints that are taken at once after a quiet time.
const HINTS_AT_ONCE: u64 = 50_000;
/// Maximum number of known relays; the one that was silent for the longest time is forgotten.
const RELAYS_MAX: usize = 1_024;
/// Maximum length of the name of a relay.
const RELAY_NAME_BYTES_MAX: usize = 253;
/// A relay without a request for this time is silent. It sends one every ten seconds.
const SILENT_AFTER_MS: UnixMillis = 60_000;
/// A silent relay is forgotten after this time: its node is gone.
const FORGOTTEN_AFTER_MS: UnixMillis = 3_600_000;

/// The hints so far, and their relays.
#[derive(Debug, Default)]
pub struct HintLedger(Mutex<LedgerState>);

#[derive(Debug, Default)]
struct LedgerState {
    taken: u64,
    refused: u64,
    dropped: u64,
    /// Hints that were taken lately, less those that time has made up for.
    level: u64,
    level_at: UnixMillis,
    relays: HashMap<String, KnownRelay>,
}

#[derive(Debug, Clone, Copy)]
struct KnownRelay {
    heard_at: UnixMillis,
    logged_silent: bool,
}

/// How many relays there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RelayCounts {
    /// Relays that have sent a request lately.
    pub fresh: u64,
    /// Relays that have not.
    pub silent: u64,
}

impl HintLedger {
    /// Whether the rate permits so many hints more. They count then.
    pub fn admit(&self, hints: u64, now: UnixMillis) -> bool {
        let mut state = self.lock();
        let passed = now.saturating_sub(state.level_at);
        let made_up = passed.saturating_mul(HINTS_PER_SECOND) / 1_000;
        state.level = state.level.saturating_sub(made_up);
        state.level_at = now;
        let fits = state.level + hints <= HINTS_AT_ONCE;
        if fits {
            state.level += hints;
        } else {
            state.dropped += hints;
        }
        fits
    }

    /// Counts hints that were passed on, and lines that are no hints.
    pub fn count_taken(&self, taken: u64, refused: u64) {
        let mut state = self.lock();
        state.taken += taken;
        state.refused += refused;
    }

    /// Counts hints that could not be passed on.
    pub fn count_dropped(&self, hints: u64) {
        self.lock().dropped += hints;
    }

    /// Notes a request of a relay with a valid token.
    pub fn note_relay(&self, name: &str, ends: bool, now: UnixMillis) {
        if name.is_empty() || name.len() > RELAY_NAME_BYTES_MAX {
            return;
        }
        let mut state = self.lock();
        if ends {
            state.relays.remove(name);
            return;
        }
        if state.relays.len() >= RELAYS_MAX && !state.relays.contains_key(name) {
            let oldest = state.relays.iter().min_by_key(|(_, relay)| relay.heard_at);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                state.relays.remove(&oldest);
            }
        }
        let relay = KnownRelay { heard_at: now, logged_silent: false };
        state.relays.insert(name.to_owned(), relay);
    }

    /// The relays that have become silent since the last call.
    #[must_use]
    pub fn take_silent(&self, now: UnixMillis) -> Vec<String> {
        let mut state = self.lock();
        state.relays.retain(|_, relay| now.saturating_sub(relay.heard_at) < FORGOTTEN_AFTER_MS);
        let mut silent = Vec::new();
        for (name, relay) in &mut state.relays {
            let is_silent = now.saturating_sub(relay.heard_at) >= SILENT_AFTER_MS;
            if is_silent && !std::mem::replace(&mut relay.logged_silent, true) {
                silent.push(name.clone());
            }
        }
        silent
    }

    /// The number of relays.
    #[must_use]
    pub fn relays(&self, now: UnixMillis) -> RelayCounts {
        let state = self.lock();
        let is_silent = |relay: &&KnownRelay| now.saturating_sub(relay.heard_at) >= SILENT_AFTER_MS;
        let silent = state.relays.values().filter(is_silent).count() as u64;
        RelayCounts { fresh: state.relays.len() as u64 - silent, silent }
    }

    /// The hints by what became of them.
    #[must_use]
    pub fn by_result(&self) -> [(&'static str, u64); 3] {
        let state = self.lock();
        [("taken", state.taken), ("refused", state.refused), ("dropped", state.dropped)]
    }

    fn lock(&self) -> MutexGuard<'_, LedgerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_taken_up_to_the_rate() {
        let ledger = HintLedger::default();
        let mut taken = 0;
        for ms in 0..10_000 {
            taken += if ledger.admit(100, 1_000_000 + ms) { 100 } else { 0 };
        }
        assert!(taken <= HINTS_AT_ONCE + 10 * HINTS_PER_SECOND, "{taken}");
        assert!(taken >= 10 * HINTS_PER_SECOND, "{taken}");
        assert_eq!(ledger.by_result()[2], ("dropped", 1_000_000 - taken));
    }

    #[test]
    fn a_relay_that_falls_silent_is_reported_once() {
        let ledger = HintLedger::default();
        ledger.note_relay("a", false, 0);
        ledger.note_relay("b", false, 50_000);
        assert_eq!(ledger.relays(50_000), RelayCounts { fresh: 2, silent: 0 });
        assert_eq!(ledger.take_silent(70_000), ["a"]);
        assert_eq!(ledger.take_silent(80_000), [""; 0]);
        assert_eq!(ledger.relays(80_000), RelayCounts { fresh: 1, silent: 1 });
        ledger.note_relay("a", false, 90_000);
        ledger.note_relay("b", true, 90_000);
        assert_eq!(ledger.relays(90_000), RelayCounts { fresh: 1, silent: 0 });
        assert_eq!(ledger.take_silent(90_000 + FORGOTTEN_AFTER_MS), [""; 0], "it is gone");
        for index in 0..5_000 {
            ledger.note_relay(&format!("relay{index}"), false, index);
        }
        let RelayCounts { fresh, silent } = ledger.relays(5_000);
        assert_eq!(fresh + silent, RELAYS_MAX as u64);
    }
}
