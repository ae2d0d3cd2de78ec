//! What follows from a comparison, step by step.

use super::super::snapshot::{Phase, Watch};
use super::super::*;
use super::world::{at, engine, path};
use crate::model::{Epoch, Fingerprint, Mirrored};
use crate::reconcile::Summary;

/// Whether a comparison is wanted, which ends at once.
fn compares(engine: &mut Engine, effects: Vec<Effect>, now: Now) -> bool {
    let range = effects.into_iter().find_map(|effect| match effect {
        Effect::Compare(range) => Some(range),
        _ => None,
    });
    range.is_some_and(|range| {
        drop(engine.apply(Event::Compared(range, Ok(Summary::default())), now));
        true
    })
}

/// `d` is gone, and the record tells of something below it: whether that is a reason to compare.
fn gone_is_a_reason(engine: &mut Engine, hint: Event, start: u64) -> bool {
    drop(engine.apply(hint, at(start)));
    let effects = engine.apply(Event::Tick, at(start + 250));
    let rested = effects.into_iter().find_map(|effect| match effect {
        Effect::Look(mut paths) => paths.pop(),
        _ => None,
    });
    let rested = rested.expect("a look");
    let observed = Observed::Absent;
    let looked = Looked { rested, observed, age: None, instead: None, unsettled: false };
    let mirrored = Some(Mirrored::of_file(Fingerprint::of_size(1), Epoch(1)));
    let known =
        Known { mirrored, pending: None, below: true, twin: None, listed: None, upload: None };
    drop(engine.apply(Event::Looked(vec![(looked, known)]), at(start + 251)));
    let effects = engine.apply(Event::Tick, at(start + 600));
    compares(engine, effects, at(start + 601))
}

/// Whether anything is deleted because of it or not: with `delete_policy: keep`, and for what was
/// recorded of another directory, nothing ever is.
#[test]
fn what_a_comparison_finds_gone_is_no_reason_to_compare_once_more() {
    let mut engine = engine(Duration::ZERO, Counts { mirrored: 2, ..Counts::default() }, true);
    let effects = engine.apply(Event::Tick, at(0));
    assert!(compares(&mut engine, effects, at(1)));
    let told = Event::Hinted(vec![Hint::Path(path("d"), Activity::Done)]);
    assert!(gone_is_a_reason(&mut engine, told, 10_000));
    let found = Event::Differing(vec![path("d")]);
    assert!(!gone_is_a_reason(&mut engine, found, 20_000));
}

/// Exchanged for one under other settings, it compares everything again, and nobody has to take the
/// daemon for one that has just started.
#[test]
fn the_engine_after_one_that_has_compared_counts_as_having_compared_unless_the_directory_was_away()
{
    let new = || engine(Duration::ZERO, Counts::default(), true);
    let phase = |engine: &Engine| engine.snapshot(Watch::default()).phase;
    let mut first = new();
    assert_eq!(phase(&first), Phase::Comparing);
    let effects = first.apply(Event::Tick, at(0));
    assert!(compares(&mut first, effects, at(1)));
    assert_eq!(phase(&first), Phase::Mirroring);
    let legacy = first.into_legacy();
    let (mut other, mut back) = (new(), new());
    back.resume(legacy.clone().after_a_loss());
    assert_eq!(phase(&back), Phase::Comparing);
    other.resume(legacy);
    assert_eq!(phase(&other), Phase::Mirroring);
    let effects = other.apply(Event::Tick, at(0));
    assert!(compares(&mut other, effects, at(1)), "but it compares");
}
