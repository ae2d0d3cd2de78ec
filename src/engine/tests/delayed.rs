//! Delayed deletes of an earlier process.

use super::super::*;
use super::world::{at, engine_with_delay};
use crate::reconcile::Summary;

const DELAY: Duration = Duration::from_secs(60);

fn written(effects: &[Effect]) -> Vec<&Change> {
    let changes = effects.iter().filter_map(|effect| match effect {
        Effect::Write(changes, _) => Some(changes),
        _ => None,
    });
    changes.flatten().collect()
}

fn compared(engine: &mut Engine) -> Vec<Effect> {
    let effects = engine.apply(Event::Tick, at(0));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::ReadDelayed(..))));
    let range = effects.into_iter().find_map(|effect| match effect {
        Effect::Compare(range) => Some(range),
        _ => None,
    });
    let range = range.expect("a comparison");
    engine.apply(Event::Compared(range, Ok(Summary::default())), at(1_000))
}

/// The wall clock of the process before may have been ahead: what it left is due within one delay.
#[test]
fn a_delay_is_bounded_by_the_setting_whatever_clock_it_was_counted_by() {
    let counts = StateCounts { delayed: 3, mirrored: 9, ..StateCounts::default() };
    let started = Duration::from_secs(1_000_000);
    let mut engine = engine_with_delay(started, counts, true, DELAY);
    let effects = compared(&mut engine);
    let latest = 1_000_000_000 + 1_000 + 60_000;
    let bounds = |change: &&Change| matches!(change, Change::DeletesDueBy(due) if *due == latest);
    assert!(written(&effects).iter().any(bounds), "{effects:?}");
    let reads = |effect: &Effect| matches!(effect, Effect::ReadDelayed(..));
    assert!(effects.iter().any(reads), "what is due by now is read after the first comparison");
}

#[test]
fn without_delayed_deletes_nothing_is_read_or_written_because_of_them() {
    let mut engine = engine_with_delay(Duration::ZERO, StateCounts::default(), true, DELAY);
    let effects = compared(&mut engine);
    assert!(written(&effects).is_empty(), "{effects:?}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::ReadDelayed(..))));
}
