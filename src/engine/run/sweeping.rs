//! Sweeps within the loop: what they have to know, and when they are performed.

use super::EffectRunner;
use crate::detect::Detector;
use crate::engine::{Engine, Event, Lane, LoopInputs, RescanTimer};
use crate::model::{Hint, Outcome, UploadDisposition, WriteState};
use crate::sweep::Sweeper;
use crate::transfer::ObjectStore;
use std::sync::Arc;
use tokio::time::Instant;

/// Starts the sweeper, if sweeps are configured.
pub(super) fn start<S>(parts: &LoopInputs<S>, started: Instant) -> Option<Sweeper> {
    let RescanTimer { sweep, .. } = parts.rescan;
    let sweeper = Sweeper::start(Arc::clone(&parts.root), sweep?, started);
    let sweeper = sweeper.inspect_err(|error| {
        tracing::error!(
            event = "sweep.failed",
            error.message = %error,
            "no thread for sweeps; scanning everything every poll_interval_seconds instead"
        );
    });
    sweeper.ok()
}

/// The next hints of a sweep.
pub(super) async fn next_hints(sweeper: &mut Option<Sweeper>) -> Event {
    match sweeper {
        Some(sweeper) => Event::Hinted(sweeper.next().await),
        None => std::future::pending().await,
    }
}

impl<S: ObjectStore> EffectRunner<S> {
    /// Sweeps while events do not report every change, and suspends the limit on operations while a
    /// shutdown or a flush waits for a scan.
    pub(super) fn adapt_sweeps(&self, engine: &Engine, detector: Option<&Detector>) {
        if let Some(sweeper) = &self.sweeper {
            let wanted = self.parts.rescan.polls(detector) && !engine.is_stopping();
            sweeper.set_active(wanted);
        }
        let urgent = engine.is_stopping() || engine.is_flushing();
        self.parts.root.meter().set_suspended(urgent);
    }

    /// The hints of the detector as an event. Notes where something changes.
    pub(super) fn hinted(&self, hints: Vec<Hint>) -> Event {
        let Some(sweeper) = &self.sweeper else { return Event::Hinted(hints) };
        let changes = hints.iter().filter_map(|hint| match hint {
            Hint::Path(path, state) => Some((path, *state)),
            Hint::Tree(..) => None,
        });
        sweeper.memory().note_changes(changes, self.started.elapsed());
        Event::Hinted(hints)
    }

    /// Notes where something has changed, and returns what follows from a scan for other directories.
    pub(super) fn note_for_sweeps(&self, event: &Event) -> Option<Event> {
        let memory = self.sweeper.as_ref()?.memory();
        let now = self.started.elapsed();
        match event {
            Event::Ended(tries) => {
                // The backlog was there before.
                let fresh = tries.iter().filter(|(lease, _)| lease.lane != Lane::Backlog);
                let changes = fresh.filter_map(|(lease, attempted)| {
                    let state = match attempted.outcome {
                        Outcome::Mirrored(
                            _,
                            UploadDisposition::Sent | UploadDisposition::Copied,
                        ) => WriteState::Found,
                        Outcome::Deleted => WriteState::Gone,
                        _ => return None,
                    };
                    Some((&lease.pending.path, state))
                });
                memory.note_changes(changes, now);
            }
            Event::Compared(..) => {
                let hints = memory.take_unlisted();
                return (!hints.is_empty()).then_some(Event::Hinted(hints));
            }
            _ => {}
        }
        None
    }
}
