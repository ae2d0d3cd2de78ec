//! What follows from a comparison, step by step.

use super::super::snapshot::Phase;
use super::super::*;
use super::world::{at, engine, path};
use crate::look::Inspection;
use crate::model::{Fingerprint, ObjectRecord, RootGeneration};
use crate::plan::FileState;
use crate::reconcile::Summary;
use crate::root::FileKind;
use crate::store::RecordedState;

/// Whether a comparison is wanted, which ends at once.
fn compares(engine: &mut Engine, effects: Vec<Effect>, now: EngineTime) -> bool {
    let range = effects.into_iter().find_map(|effect| match effect {
        Effect::Compare(range) => Some(range),
        _ => None,
    });
    range.is_some_and(|range| {
        drop(engine.apply(Event::Compared(range, Ok(Summary::default())), now));
        true
    })
}

/// Something is recorded below `d`, where there is now `instead`: whether that is a reason to compare.
fn is_a_reason(engine: &mut Engine, hint: Event, instead: Option<FileKind>, start: u64) -> bool {
    drop(engine.apply(hint, at(start)));
    let effects = engine.apply(Event::Tick, at(start + 250));
    let rested = effects.into_iter().find_map(|effect| match effect {
        Effect::Look(mut paths) => paths.pop(),
        _ => None,
    });
    let rested = rested.expect("a look");
    let observed = FileState::Absent;
    let looked = Inspection { instead, ..Inspection::from_state(rested, observed) };
    let mirrored = Some(ObjectRecord::from_file(Fingerprint::with_size(1), RootGeneration(1)));
    let known = RecordedState { mirrored, below: true, ..RecordedState::default() };
    drop(engine.apply(Event::Looked(vec![(looked, known)]), at(start + 251)));
    let effects = engine.apply(Event::Tick, at(start + 600));
    compares(engine, effects, at(start + 601))
}

/// Whether anything is deleted because of it or not: with `delete_policy: keep`, and for what was
/// recorded of another directory, nothing ever is.
#[test]
fn what_a_comparison_finds_gone_is_no_reason_to_compare_once_more() {
    let mut engine =
        engine(Duration::ZERO, StateCounts { mirrored: 2, ..StateCounts::default() }, true);
    let effects = engine.apply(Event::Tick, at(0));
    assert!(compares(&mut engine, effects, at(1)));
    let hinted = Event::Hinted(vec![Hint::Path(path("d"), WriteState::Done)]);
    assert!(is_a_reason(&mut engine, hinted, None, 10_000));
    let found = Event::Differing(vec![path("d")]);
    assert!(!is_a_reason(&mut engine, found, None, 20_000));
}

/// A directory that was moved away and back while it was not watched: what it has lost meanwhile gave no
/// event under this path.
#[test]
fn a_directory_that_came_where_files_are_recorded_is_compared() {
    let mut engine =
        engine(Duration::ZERO, StateCounts { mirrored: 2, ..StateCounts::default() }, true);
    let effects = engine.apply(Event::Tick, at(0));
    assert!(compares(&mut engine, effects, at(1)));
    let came = Event::Hinted(vec![Hint::Path(path("d"), WriteState::Done)]);
    assert!(is_a_reason(&mut engine, came, Some(FileKind::Directory), 10_000));
    let listed = Event::Differing(vec![path("d")]);
    assert!(!is_a_reason(&mut engine, listed, Some(FileKind::Directory), 20_000));
}

/// Exchanged for one under other settings, it compares everything again, and the daemon does not
/// look like one that has just started.
#[test]
fn the_engine_after_one_that_has_compared_counts_as_having_compared_unless_the_directory_was_away()
{
    let new = || engine(Duration::ZERO, StateCounts::default(), true);
    let phase = |engine: &Engine| engine.snapshot().phase;
    let mut first = new();
    assert_eq!(phase(&first), Phase::Comparing);
    let effects = first.apply(Event::Tick, at(0));
    assert!(compares(&mut first, effects, at(1)));
    assert_eq!(phase(&first), Phase::Mirroring);
    let legacy = first.into_carried_state();
    let mut other = new();
    let mut back = new();
    back.resume(legacy.clone().after_a_loss());
    assert_eq!(phase(&back), Phase::Comparing);
    other.resume(legacy);
    assert_eq!(phase(&other), Phase::Mirroring);
    let effects = other.apply(Event::Tick, at(0));
    assert!(compares(&mut other, effects, at(1)), "but it compares");
}
