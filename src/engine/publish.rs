//! When a [`Snapshot`] is published: only after something happened, and [`PAUSE`] after the one before
//! at the earliest. An idle daemon publishes nothing.

use super::snapshot::Snapshot;
use super::{Engine, Event};
use crate::store::StateCounts;
use std::time::Duration;
use tokio::sync::watch;

/// Time between two snapshots.
const PAUSE: Duration = Duration::from_millis(250);

/// Publishes snapshots.
#[derive(Debug)]
pub(super) struct Publisher {
    to: watch::Sender<Snapshot>,
    /// When the next may be published.
    free: Duration,
    /// Whether there may be something new.
    touched: bool,
    /// How much the record held when it was last surveyed.
    surveyed: Option<StateCounts>,
    surveying: bool,
}

impl Publisher {
    pub(super) fn new(to: watch::Sender<Snapshot>) -> Self {
        Self { to, free: Duration::ZERO, touched: true, surveyed: None, surveying: false }
    }

    /// Something has happened, unless it was but the clock.
    pub(super) fn note_event(&mut self, event: &Event) {
        self.surveying &= !matches!(event, Event::Surveyed(_));
        self.touched |= !matches!(event, Event::Tick);
    }

    /// When there will be something to publish.
    pub(super) fn due(&self) -> Option<Duration> {
        self.touched.then_some(self.free)
    }

    /// Publishes what is new, if it is time. Returns whether the statistics of the queue must be read.
    pub(super) fn publish(&mut self, engine: &Engine, now: Duration) -> bool {
        if !self.touched || now < self.free {
            return false;
        }
        self.touched = false;
        self.free = now + PAUSE;
        self.publish_now(engine);
        let counts = engine.counts();
        let survey = !self.surveying && self.surveyed != Some(counts);
        if survey {
            self.surveying = true;
            self.surveyed = Some(counts);
        }
        survey
    }

    /// Publishes at once, whatever the time.
    pub(super) fn publish_now(&self, engine: &Engine) {
        let snapshot = engine.snapshot();
        self.to.send_if_modified(|published| {
            let new = *published != snapshot;
            if new {
                *published = snapshot;
            }
            new
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::snapshot::Phase;
    use crate::engine::tests::world::engine;
    use crate::store::QueueStats;

    #[test]
    fn snapshots_are_published_on_change_only_and_with_pauses() {
        let engine =
            engine(Duration::ZERO, StateCounts { mirrored: 3, ..StateCounts::default() }, true);
        let (to, mut received) = watch::channel(Snapshot::default());
        let mut publisher = Publisher::new(to);
        assert!(publisher.publish(&engine, Duration::ZERO), "surveyed once");
        assert!(received.has_changed().expect("open"));
        let snapshot = received.borrow_and_update().clone();
        assert_eq!((snapshot.phase, snapshot.counts.mirrored), (Phase::Comparing, 3));
        assert_eq!(publisher.due(), None, "an idle daemon does nothing");
        publisher.note_event(&Event::Tick);
        assert_eq!(publisher.due(), None);
        publisher.note_event(&Event::Surveyed(QueueStats::default()));
        assert_eq!(publisher.due(), Some(PAUSE));
        assert!(!publisher.publish(&engine, PAUSE), "the record is as it was");
        assert!(!received.has_changed().expect("open"), "nothing is new");
    }
}
