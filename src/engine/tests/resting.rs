//! When a file that was looked at is taken, and when it is left until it rests.

use super::super::*;
use super::world::{at, engine, path};
use crate::look::Inspection;
use crate::model::{Fingerprint, ObjectRecord, RootGeneration, UploadDisposition};
use crate::plan::FileState;
use crate::reconcile::Summary;
use crate::store::RecordedState;

const REST: u64 = 5_000;

fn mirrored(racy: bool) -> ObjectRecord {
    ObjectRecord { racy, ..ObjectRecord::from_file(Fingerprint::with_size(1), RootGeneration(1)) }
}

/// After the first comparison.
fn rested_engine() -> Engine {
    let mut engine = engine(Duration::ZERO, StateCounts::default(), true);
    let effects = engine.apply(Event::Tick, at(0));
    for effect in effects {
        if let Effect::Compare(range) = effect {
            drop(engine.apply(Event::Compared(range, Ok(Summary::default())), at(0)));
        }
    }
    engine
}

fn hint(engine: &mut Engine, activity: WriteState, ms: u64) {
    let hint = Hint::Path(path("f"), activity);
    drop(engine.apply(Event::Hinted(vec![hint]), at(ms)));
}

/// The look that is wanted by then.
fn look(engine: &mut Engine, ms: u64) -> Option<ReadyPath> {
    engine.apply(Event::Tick, at(ms)).into_iter().find_map(|effect| match effect {
        Effect::Look(mut paths) => paths.pop(),
        _ => None,
    })
}

/// Whether a file of this age is sent, of which the record knows `mirrored`.
fn sends(
    engine: &mut Engine,
    rested: ReadyPath,
    age_ms: u64,
    mirrored: Option<ObjectRecord>,
    ms: u64,
) -> Option<Attempt> {
    let looked = Inspection { closed: false, ..found(rested, age_ms) };
    decided(engine, looked, mirrored, ms)
}

/// The same of a new file that is known to be closed.
fn sends_closed(engine: &mut Engine, rested: ReadyPath, age_ms: u64, ms: u64) -> Option<Attempt> {
    let looked = Inspection { closed: true, ..found(rested, age_ms) };
    decided(engine, looked, None, ms)
}

fn found(rested: ReadyPath, age_ms: u64) -> Inspection {
    let age = Some(Duration::from_millis(age_ms));
    let observed = FileState::File(Fingerprint::with_size(1));
    Inspection { age, ..Inspection::from_state(rested, observed) }
}

fn decided(
    engine: &mut Engine,
    looked: Inspection,
    mirrored: Option<ObjectRecord>,
    ms: u64,
) -> Option<Attempt> {
    let known = RecordedState { mirrored, ..RecordedState::default() };
    let effects = engine.apply(Event::Looked(vec![(looked, known)]), at(ms));
    effects.into_iter().find_map(|effect| match effect {
        Effect::Write(_, mut leases) => leases.pop(),
        _ => None,
    })
}

#[test]
fn a_file_that_was_closed_is_taken_however_young_it_is() {
    let mut engine = rested_engine();
    hint(&mut engine, WriteState::Done, 1_000);
    let rested = look(&mut engine, 1_250).expect("a look");
    assert!(sends(&mut engine, rested, 250, None, 1_251).is_some());
}

/// The kernel says so; no event did.
#[test]
fn a_file_that_is_known_to_be_closed_rests_like_one_that_was_closed() {
    let mut engine = rested_engine();
    hint(&mut engine, WriteState::Found, 1_000);
    let rested = look(&mut engine, 1_250).expect("a look");
    assert!(sends_closed(&mut engine, rested, 100, 1_251).is_none(), "it has just changed");
    let rested = look(&mut engine, 1_251 + 150).expect("a look");
    assert!(sends_closed(&mut engine, rested, 251, 1_402).is_some());
}

/// It was closed, and opened again before the look.
#[test]
fn a_file_that_is_written_to_before_the_look_is_left_until_it_rests() {
    let mut engine = rested_engine();
    hint(&mut engine, WriteState::Done, 1_000);
    let rested = look(&mut engine, 1_250).expect("a look");
    hint(&mut engine, WriteState::Writing, 1_260);
    assert!(sends(&mut engine, rested, 5, None, 1_270).is_none());
    assert_eq!(look(&mut engine, 1_260 + REST - 1), None);
    let rested = look(&mut engine, 1_260 + REST).expect("a look");
    assert!(sends(&mut engine, rested, REST, None, 1_261 + REST).is_some());
}

/// The file that is there now was made in a directory that was not watched yet.
#[test]
fn a_file_in_the_place_of_a_removed_one_is_left_until_it_rests() {
    let mut engine = rested_engine();
    hint(&mut engine, WriteState::Gone, 1_000);
    let rested = look(&mut engine, 1_250).expect("a look");
    assert!(sends(&mut engine, rested, 100, None, 1_251).is_none());
    assert_eq!(look(&mut engine, 1_251 + REST - 101), None);
    let rested = look(&mut engine, 1_251 + REST - 100).expect("a look");
    assert!(sends(&mut engine, rested, REST, None, 1_252 + REST).is_some());
}

/// The daemon was started while a process was writing.
#[test]
fn a_young_file_that_the_first_comparison_finds_is_left_until_it_rests() {
    let mut engine = engine(Duration::ZERO, StateCounts::default(), true);
    let effects = engine.apply(Event::Tick, at(0));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Compare(_))));
    drop(engine.apply(Event::Differing(vec![path("f")]), at(1)));
    let rested = look(&mut engine, 300).expect("a look");
    assert!(sends(&mut engine, rested, 100, None, 301).is_none());
    let rested = look(&mut engine, 301 + REST - 100).expect("a look");
    assert!(sends(&mut engine, rested, REST, None, 302 + REST).is_some());
}

/// The directory was replaced by one that is not watched: the event was of another file.
#[test]
fn a_file_that_was_heard_to_rest_and_is_younger_is_left_until_it_rests() {
    let mut engine = rested_engine();
    hint(&mut engine, WriteState::Writing, 1_000);
    let rested = look(&mut engine, 1_000 + REST).expect("a look");
    assert!(sends(&mut engine, rested, 100, None, 1_001 + REST).is_none());
    let rested = look(&mut engine, 1_001 + 2 * REST - 100).expect("a look");
    assert!(sends(&mut engine, rested, REST, None, 1_002 + 2 * REST).is_some());
}

/// Starts the upload of `f`, as of a file that was closed.
fn started(engine: &mut Engine) -> Attempt {
    hint(engine, WriteState::Done, 1_000);
    let rested = look(engine, 1_250).expect("a look");
    let lease = sends(engine, rested, 250, None, 1_251).expect("a try");
    drop(engine.apply(Event::Written(1, StateCounts::default()), at(1_260)));
    lease
}

fn end(engine: &mut Engine, lease: Attempt, ms: u64) {
    let outcome = Outcome::Mirrored(mirrored(false), UploadDisposition::Sent);
    drop(
        engine.apply(Event::Ended(vec![(lease, AttemptOutcome::without_a_write(outcome))]), at(ms)),
    );
}

#[test]
fn a_file_in_the_place_of_a_renamed_one_is_left_until_it_rests() {
    let mut engine = rested_engine();
    let mut lease = started(&mut engine);
    lease.pending.copy_from = Some(path("before"));
    end(&mut engine, lease, 1_300);
    let rested = look(&mut engine, 1_600).expect("a look at the old name");
    assert_eq!(rested.path, path("before"));
    assert!(sends(&mut engine, rested, 100, None, 1_601).is_none());
}

#[test]
fn what_was_compared_during_its_upload_is_left_until_it_rests_and_what_was_closed_is_not() {
    for (heard, taken) in [(WriteState::Found, false), (WriteState::Done, true)] {
        let mut engine = rested_engine();
        let lease = started(&mut engine);
        hint(&mut engine, heard, 2_000);
        let rested = look(&mut engine, 2_250).expect("a look");
        // Old enough for that inspection; then it is opened again, without an event.
        assert!(sends(&mut engine, rested, REST, None, 2_251).is_none(), "one try at a time");
        end(&mut engine, lease, 2_300);
        let rested = look(&mut engine, 2_600).expect("a look");
        let lease = sends(&mut engine, rested, 100, None, 2_601);
        assert_eq!(lease.is_some(), taken, "{heard:?}");
    }
}

/// It was sent within the tick it was written in, so it is compared once more; by then it may be open
/// again.
#[test]
fn a_file_that_is_compared_once_more_is_left_until_it_rests() {
    let mut engine = rested_engine();
    hint(&mut engine, WriteState::Done, 1_000);
    let rested = look(&mut engine, 1_250).expect("a look");
    let lease = sends(&mut engine, rested, 250, None, 1_251).expect("a try");
    let racy = mirrored(true);
    let sent = Outcome::Mirrored(racy.clone(), UploadDisposition::Sent);
    drop(engine.apply(Event::Written(1, StateCounts::default()), at(1_260)));
    drop(
        engine.apply(Event::Ended(vec![(lease, AttemptOutcome::without_a_write(sent))]), at(1_300)),
    );
    let rested = look(&mut engine, 3_400).expect("a look");
    assert!(sends(&mut engine, rested, 100, Some(racy), 3_401).is_none());
}

/// The monotonic clock stands still while the machine is suspended.
#[test]
fn a_file_is_as_old_as_the_wall_clock_says_at_its_inspection() {
    for (at_ns, taken) in [(1_200_000_000, false), (3_600_000_000_000, true)] {
        let mut engine = rested_engine();
        engine.settings.min_age = Duration::from_secs(60);
        hint(&mut engine, WriteState::Done, 1_000);
        let rested = look(&mut engine, 1_250).expect("a look");
        let file = Fingerprint { mtime_ns: 1_100_000_000, ..Fingerprint::with_size(1) };
        let looked = found(rested, 100);
        let looked = Inspection { observed: FileState::File(file), at_ns, ..looked };
        assert_eq!(decided(&mut engine, looked, None, 1_251).is_some(), taken, "{at_ns}");
    }
}
