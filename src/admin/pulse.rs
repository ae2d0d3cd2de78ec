//! The condition of the daemon, for a monitor: from the same words as `/status` and `/readyz`.

use super::{ResponseSources, health, status};
use crate::clock::unix_millis;
use crate::heartbeat::Pulse;

/// The present condition. Work in progress is in order as long as `/readyz` says so.
#[must_use]
pub fn pulse(sources: &ResponseSources) -> Pulse {
    let snapshot = sources.snapshot.borrow();
    let refusal = status::refusal(sources);
    let now = unix_millis();
    match health::state(&snapshot, refusal) {
        "starting" | "waiting-for-instance" | "stopping" => Pulse::Unknown,
        "in-sync" => Pulse::InSync,
        "syncing" if health::unready(&snapshot, now).is_empty() => Pulse::InSync,
        state => {
            let cause = health::cause(&snapshot, refusal, now);
            Pulse::Failing(
                cause.map_or_else(|| state.to_owned(), |cause| format!("{state}: {cause}")),
            )
        }
    }
}
