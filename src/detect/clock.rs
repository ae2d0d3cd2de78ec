//! When the worker has to do what no event wakes it for. Pure: the time is an argument.

use std::time::{Duration, Instant};

/// How long to gather before a directory is listed again, which a program that writes to a nameless
/// file would otherwise cause with every write.
const RELIST_DELAY: Duration = Duration::from_secs(1);
/// Between two rebuilds at first, and after many in a row.
const REBUILD_PAUSE: Duration = Duration::from_millis(100);
const REBUILD_PAUSE_MAX: Duration = Duration::from_secs(30);

/// What there is to do, soon or later.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WorkerNeeds {
    /// Directories must be listed again.
    pub(super) relist: bool,
    /// A flush waits for all of it but a rebuild, and skips the delay.
    pub(super) now: bool,
    /// Events were lost.
    pub(super) rebuild: bool,
    /// Directories without a watch.
    pub(super) poor: u64,
}

/// What the worker must do now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct WorkerTasks {
    pub(super) relist: bool,
    pub(super) rebuild: bool,
    pub(super) retry: bool,
}

impl WorkerTasks {
    pub(super) fn any(&self) -> bool {
        self.relist || self.rebuild || self.retry
    }
}

/// Before directories without a watch are tried again for the first time.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// When the worker has to do what nothing wakes it for.
#[derive(Debug)]
pub(super) struct WorkerSchedule {
    /// The longest pause before directories without a watch are tried again.
    retry_interval: Duration,
    /// The pause of now, which doubles, and for how many directories it is.
    retry_pause: Duration,
    poor: u64,
    relist_at: Option<Instant>,
    retry_at: Option<Instant>,
    rebuild_at: Option<Instant>,
    /// The last rebuild, and how long the pause after it is.
    rebuilt: Option<(Instant, Duration)>,
}

impl WorkerSchedule {
    pub(super) fn new(retry_interval: Duration) -> Self {
        Self {
            retry_interval,
            retry_pause: RETRY_PAUSE.min(retry_interval),
            poor: 0,
            relist_at: None,
            retry_at: None,
            rebuild_at: None,
            rebuilt: None,
        }
    }

    /// What is due at `now`, and taken for done.
    pub(super) fn due(&mut self, needs: &WorkerNeeds, now: Instant) -> WorkerTasks {
        if needs.poor > self.poor || needs.poor == 0 {
            // It got worse: what keeps watches away may be over in a moment.
            self.retry_pause = RETRY_PAUSE.min(self.retry_interval);
            self.retry_at = None;
        }
        self.poor = needs.poor;
        let after_pause = self.rebuilt.map_or(now, |(rebuilt, pause)| rebuilt + pause);
        let reach = |at: &mut Option<Instant>, needed: bool, from: Instant| {
            if !needed {
                *at = None;
            }
            let due = needed && *at.get_or_insert(from) <= now;
            if due {
                *at = None;
            }
            due
        };
        let due = WorkerTasks {
            // A round that a flush waits for is due even if there is nothing to list.
            relist: reach(&mut self.relist_at, needs.relist, now + RELIST_DELAY) || needs.now,
            rebuild: reach(&mut self.rebuild_at, needs.rebuild, after_pause),
            retry: reach(&mut self.retry_at, needs.poor > 0, now + self.retry_pause),
        };
        if due.retry {
            self.retry_pause = (self.retry_pause * 2).min(self.retry_interval);
        }
        if due.rebuild {
            self.rebuilt = Some((now, self.pause_after_rebuild(now)));
        }
        due
    }

    /// When something will be due that is not yet.
    pub(super) fn next(&self) -> Option<Instant> {
        [self.relist_at, self.retry_at, self.rebuild_at].into_iter().flatten().min()
    }

    /// Doubles while rebuilds follow each other closely.
    fn pause_after_rebuild(&self, now: Instant) -> Duration {
        match self.rebuilt {
            Some((rebuilt, pause)) if now < rebuilt + pause + REBUILD_PAUSE_MAX => {
                (pause * 2).min(REBUILD_PAUSE_MAX)
            }
            _ => REBUILD_PAUSE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rebuilds_that_follow_each_other_pause_longer_and_longer() {
        let mut clock = WorkerSchedule::new(Duration::from_secs(60));
        let needs = WorkerNeeds { rebuild: true, ..WorkerNeeds::default() };
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        let mut now = Instant::now();
        assert!(clock.due(&needs, now).rebuild, "the first one is not held up");
        let mut pauses = Vec::new();
        for _ in 0..12 {
            assert!(!clock.due(&needs, now).rebuild);
            let next = clock.next().expect("it is still needed");
            pauses.push(next - now);
            now = next;
            assert!(clock.due(&needs, now).rebuild);
        }
        assert_eq!(pauses[..3], [100, 200, 400].map(Duration::from_millis));
        assert_eq!(pauses.last(), Some(&REBUILD_PAUSE_MAX));
        now += Duration::from_secs(100);
        assert!(clock.due(&needs, now).rebuild);
        assert!(!clock.due(&needs, now).rebuild);
        assert_eq!(clock.next(), Some(now + REBUILD_PAUSE), "after a calm time it is short again");
    }

    #[test]
    fn listings_are_gathered_unless_a_flush_waits() {
        let mut clock = WorkerSchedule::new(Duration::from_secs(60));
        let needs = WorkerNeeds { relist: true, ..WorkerNeeds::default() };
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        let now = Instant::now();
        assert!(!clock.due(&needs, now).any());
        assert_eq!(clock.next(), Some(now + RELIST_DELAY));
        assert!(clock.due(&needs, now + RELIST_DELAY).relist);
        assert!(!clock.due(&needs, now).any());
        assert!(clock.due(&WorkerNeeds { now: true, ..needs }, now).relist);
    }

    #[test]
    fn directories_without_a_watch_are_tried_again_soon_and_then_rarely() {
        let mut clock = WorkerSchedule::new(Duration::from_secs(60));
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for poor in [7, 7, 7, 6, 6, 6, 6, 6, 9] {
            let needs = WorkerNeeds { poor, ..WorkerNeeds::default() };
            assert!(!clock.due(&needs, now).retry);
            let next = clock.next().expect("it is still needed");
            pauses.push((next - now).as_secs());
            now = next;
            assert!(clock.due(&needs, now).retry);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 1], "as before when it gets worse");
    }

    #[test]
    fn nothing_is_waited_for_if_nothing_is_needed() {
        let mut clock = WorkerSchedule::new(Duration::from_secs(60));
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        let now = Instant::now();
        assert!(!clock.due(&WorkerNeeds { poor: 1, ..WorkerNeeds::default() }, now).any());
        assert!(clock.next().is_some());
        assert!(!clock.due(&WorkerNeeds::default(), now).any());
        assert_eq!(clock.next(), None);
    }
}
