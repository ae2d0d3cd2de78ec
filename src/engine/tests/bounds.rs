//! What happens at the limits: nothing grows beyond them, and nothing is lost by them.

use super::super::control::{Control, ControlError, ControlRequest, FlushWaiters, channel};
use super::super::*;
use super::world::{at, engine, path};
use crate::look::Inspection;
use crate::model::Fingerprint;
use crate::plan::FileState;
use crate::store::RecordedState;

const PATHS_MAX: usize = 100_000;

/// An engine with room for many paths, in which so many wait.
fn waiting(paths: usize) -> Engine {
    let mut engine = engine(Duration::ZERO, StateCounts::default(), true);
    let settings = crate::settle::DebounceSettings {
        paths_max: PATHS_MAX,
        trees_max: 10,
        ..engine.settings.settle.clone()
    };
    engine.settle = Settle::new(settings.clone());
    engine.settings.settle = settings;
    let hint = |number| Hint::Path(path(&format!("f{number}")), WriteState::Done);
    drop(engine.apply(Event::Hinted((0..paths).map(hint).collect()), at(0)));
    engine
}

fn looks(effects: Vec<Effect>) -> Vec<Vec<ReadyPath>> {
    let look = |effect| match effect {
        Effect::Look(paths) => Some(paths),
        _ => None,
    };
    effects.into_iter().filter_map(look).collect()
}

/// Every one of them is there, and new.
fn found(paths: Vec<ReadyPath>) -> Event {
    let looked = paths.into_iter().map(|rested| {
        let age = Some(Duration::from_secs(60));
        let observed = FileState::File(Fingerprint::with_size(1));
        (Inspection { age, ..Inspection::from_state(rested, observed) }, RecordedState::default())
    });
    Event::Looked(looked.collect())
}

#[test]
fn no_more_is_looked_at_at_once_than_the_limits_say() {
    let mut engine = waiting(LOOK_PATHS_MAX * (LOOKS_MAX + 2));
    let mut first = looks(engine.apply(Event::Tick, at(300)));
    assert_eq!(first.iter().map(Vec::len).collect::<Vec<_>>(), [LOOK_PATHS_MAX; LOOKS_MAX]);
    assert_eq!(looks(engine.apply(Event::Tick, at(400))), Vec::<Vec<ReadyPath>>::new());
    let ended = first.pop().expect("a look");
    assert_eq!(looks(engine.apply(found(ended), at(500))).len(), 1, "one ends, one begins");
}

/// The disk is full: what has to be written waits in memory, in the engine and in the record.
#[test]
fn while_nothing_can_be_written_what_waits_to_be_is_bounded() {
    let mut engine = waiting(PATHS_MAX - 1);
    let mut commits = 0;
    let mut changes = 0;
    let mut now = 300;
    let mut effects = engine.apply(Event::Tick, at(now));
    loop {
        let (writes, others): (Vec<_>, Vec<_>) =
            effects.into_iter().partition(|effect| matches!(effect, Effect::Write(..)));
        for write in writes {
            let Effect::Write(rows, _) = write else { continue };
            (commits, changes) = (commits + 1, changes + rows.len());
        }
        let under_way = looks(others);
        if under_way.is_empty() {
            break;
        }
        now += 1;
        effects = Vec::new();
        for paths in under_way {
            effects.extend(engine.apply(found(paths), at(now)));
        }
    }
    assert!(engine.settle.paths() > 0, "there would be more to look at");
    let at_most = WRITES_MAX + LOOKS_MAX;
    assert!((WRITES_MAX..=at_most).contains(&commits), "{commits} commits wait");
    assert!(changes <= at_most * (LOOK_PATHS_MAX + 1), "{changes} changes wait");
    assert!(!engine.has_room(), "a comparison waits as well");
    let waits = engine.settle.paths();
    for number in 1..=3 {
        drop(engine.apply(Event::Written(number, StateCounts::default()), at(now)));
    }
    assert!(engine.settle.paths() < waits, "it goes on when something was written");
}

#[test]
fn a_comparison_waits_while_half_of_the_room_for_paths_is_taken() {
    assert!(waiting(PATHS_MAX / 2 - 1).has_room());
    let mut engine = waiting(PATHS_MAX / 2);
    assert!(!engine.has_room());
    engine.compare_all();
    assert!(
        engine.next_tick() > Some(Duration::ZERO),
        "it is not waited for by turning in circles"
    );
    let effects = engine.apply(Event::Tick, at(0));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Compare(_))));
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_refused_at_once() {
    let (control, mut requests) = channel();
    let mut asked = tokio::task::JoinSet::new();
    let ask = |control: Control| async move { control.ask(ControlRequest::Ping).await };
    let mut taken = 0;
    let refused = loop {
        asked.spawn(ask(control.clone()));
        tokio::task::yield_now().await;
        match asked.try_join_next() {
            Some(answer) => break answer.expect("no panic"),
            None => taken += 1,
        }
        assert!(taken <= 1_000, "without end");
    };
    assert_eq!(refused, Err(ControlError::Busy));
    assert_eq!(requests.len(), taken);
    while let Ok(ControlRequest::Ping(answer)) = requests.try_recv() {
        answer.send(Ok(())).expect("the client waits");
    }
    assert_eq!(asked.join_all().await, vec![Ok(()); taken]);
}

#[test]
fn flushes_beyond_the_limit_are_refused_and_make_room_when_they_end() {
    let mut waiting = FlushWaiters::default();
    let mut answers = Vec::new();
    let refused = loop {
        let (answer, answered) = tokio::sync::oneshot::channel();
        match waiting.add(answer) {
            Some(id) => answers.push((id, answered)),
            None => break answered,
        }
        assert!(answers.len() <= 1_000, "without end");
    };
    assert!(matches!(refused.blocking_recv(), Ok(Err(ControlError::Busy))));
    drop(answers.pop());
    assert_eq!(waiting.gone().len(), 1);
    let (answer, _answered) = tokio::sync::oneshot::channel();
    assert!(waiting.add(answer).is_some());
}

#[test]
fn what_is_named_once_is_remembered_up_to_a_limit() {
    let mut engine = waiting(0);
    for number in 0..10_000 {
        engine.report.skipped(&path(&format!("link{number}")), "symlink");
    }
    assert_eq!(engine.report.skipped_names(), report::SKIPPED_MAX + 1);
}
