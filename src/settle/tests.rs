use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

fn settings() -> DebounceSettings {
    DebounceSettings {
        done: 250 * MS,
        writing: 5_000 * MS,
        longest: 60_000 * MS,
        paths_max: 4,
        trees_max: 3,
    }
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).expect("a proper path")
}

fn taken(settle: &mut Settle, now: Duration) -> Vec<String> {
    settle.take_paths(now, usize::MAX).into_iter().map(|rested| rested.path.to_string()).collect()
}

fn tree(settle: &mut Settle, now: Duration) -> Option<(RelPath, Depth)> {
    settle.take_tree(now).map(|tree| (tree.path, tree.depth))
}

#[test]
fn a_closed_file_waits_for_the_short_time_and_an_open_one_for_the_long() {
    let mut settle = Settle::new(settings());
    settle.hint(Hint::Path(path("closed"), WriteState::Done), Duration::ZERO);
    settle.hint(Hint::Path(path("open"), WriteState::Writing), Duration::ZERO);
    assert_eq!(taken(&mut settle, 249 * MS), [""; 0]);
    assert_eq!(settle.next_path_due(), Some(250 * MS));
    assert_eq!(taken(&mut settle, 250 * MS), ["closed"]);
    assert_eq!(taken(&mut settle, 5_000 * MS), ["open"]);
    assert!(settle.is_empty());
}

#[test]
fn every_hint_starts_the_quiet_time_again() {
    let mut settle = Settle::new(settings());
    settle.hint(Hint::Path(path("a"), WriteState::Done), Duration::ZERO);
    settle.hint(Hint::Path(path("a"), WriteState::Done), 200 * MS);
    assert_eq!(taken(&mut settle, 250 * MS), [""; 0]);
    assert_eq!(taken(&mut settle, 450 * MS), ["a"]);
}

#[test]
fn the_latest_activity_decides_and_a_listing_changes_nothing() {
    let mut settle = Settle::new(settings());
    settle.hint(Hint::Path(path("a"), WriteState::Done), Duration::ZERO);
    settle.hint(Hint::Path(path("a"), WriteState::Writing), 10 * MS);
    settle.hint(Hint::Path(path("a"), WriteState::Found), 20 * MS);
    let rested = settle.take_paths(10_000 * MS, 9);
    assert_eq!(rested[0].activity, WriteState::Writing);
}

#[test]
fn a_listing_does_not_shorten_the_quiet_time_of_an_open_file() {
    let mut settle = Settle::new(settings());
    settle.hint(Hint::Path(path("found"), WriteState::Writing), Duration::ZERO);
    settle.hint(Hint::Path(path("found"), WriteState::Found), 20 * MS);
    settle.hint(Hint::Path(path("reminded"), WriteState::Writing), Duration::ZERO);
    settle.ensure_scheduled(
        path("reminded"),
        WriteState::Done,
        20 * MS,
        FlushGeneration::MAX,
        true,
    );
    assert_eq!(taken(&mut settle, 4_999 * MS), [""; 0]);
    assert_eq!(taken(&mut settle, 5_000 * MS), ["found", "reminded"]);
    settle.ensure_scheduled(
        path("nothing waits"),
        WriteState::Done,
        6_000 * MS,
        FlushGeneration::MAX,
        true,
    );
    assert_eq!(taken(&mut settle, 6_250 * MS), ["nothing waits"]);
}

#[test]
fn a_file_that_never_rests_is_taken_after_the_longest_wait() {
    let mut settle = Settle::new(settings());
    for at in (0..60_000).step_by(100) {
        settle.hint(Hint::Path(path("busy"), WriteState::Writing), at * MS);
        assert_eq!(taken(&mut settle, at * MS), [""; 0]);
    }
    let rested = settle.take_paths(60_000 * MS, 9);
    assert_eq!(rested.len(), 1);
    assert!(rested[0].overdue);
}

#[test]
fn a_path_put_back_keeps_the_start_of_its_wait() {
    let mut settle = Settle::new(settings());
    settle.hint(Hint::Path(path("a"), WriteState::Found), Duration::ZERO);
    let rested = settle.take_paths(250 * MS, 1).remove(0);
    settle.requeue(rested, 5_000 * MS);
    assert_eq!(settle.take_paths(5_000 * MS, 1)[0].since, Duration::ZERO);
}

#[test]
fn events_during_an_inspection_outweigh_those_before_it() {
    let mut settle = Settle::new(settings());
    settle.hint(Hint::Path(path("a"), WriteState::Done), Duration::ZERO);
    let rested = settle.take_paths(250 * MS, 1).remove(0);
    settle.hint(Hint::Path(path("a"), WriteState::Writing), 260 * MS);
    settle.requeue(rested, 500 * MS);
    assert!(settle.is_being_written(&path("a")));
    assert_eq!(taken(&mut settle, 5_259 * MS), [""; 0]);
    let rested = settle.take_paths(5_260 * MS, 1).remove(0);
    assert_eq!((rested.activity, rested.since), (WriteState::Writing, Duration::ZERO));
}

#[test]
fn where_there_is_no_room_hints_widen_upwards() {
    let mut settle = Settle::new(settings());
    for name in ["a/1", "a/2", "a/3", "a/4", "b/1", "b/2"] {
        settle.hint(Hint::Path(path(name), WriteState::Done), Duration::ZERO);
    }
    assert_eq!(settle.len(), 5);
    assert_eq!(tree(&mut settle, 250 * MS), Some((path("b"), Depth::Entries)));
    for name in ["c/1", "d/1", "e/1", "f/1"] {
        settle.hint(Hint::Path(path(name), WriteState::Done), 300 * MS);
    }
    assert_eq!(tree(&mut settle, 550 * MS), Some((RelPath::root(), Depth::Whole)));
    assert_eq!(tree(&mut settle, 550 * MS), None);
}

#[test]
fn stopping_ends_every_wait() {
    let mut settle = Settle::new(settings());
    settle.hint(Hint::Path(path("open"), WriteState::Writing), 70_000 * MS);
    settle.hint(Hint::Tree(path("b"), Depth::Whole), 70_000 * MS);
    settle.hurry(70_001 * MS);
    assert!(settle.take_paths(70_001 * MS, 1)[0].overdue);
    assert!(settle.take_tree(70_001 * MS).is_some());
}

#[test]
fn a_flush_ends_the_wait_of_what_came_before_it_and_of_nothing_else() {
    let mut settle = Settle::new(settings());
    settle.hint(Hint::Path(path("before"), WriteState::Writing), Duration::ZERO);
    settle.hint(Hint::Tree(path("tree"), Depth::Whole), Duration::ZERO);
    let mark = settle.flush(MS);
    settle.hint(Hint::Path(path("after"), WriteState::Done), MS);
    // A writer that continues does not delay it.
    settle.hint(Hint::Path(path("before"), WriteState::Writing), 2 * MS);
    assert_eq!(settle.lowest_mark(), Some(mark));
    let rested = settle.take_paths(2 * MS, 9);
    assert_eq!((rested.len(), rested[0].mark, rested[0].overdue), (1, mark, true));
    assert_eq!(settle.take_tree(2 * MS).map(|tree| tree.mark), Some(mark));
    assert!(settle.lowest_mark() > Some(mark));
    let rested = settle.take_paths(251 * MS, 9).remove(0);
    assert!(!rested.overdue && rested.mark > mark);
}

#[test]
fn an_end_that_is_near_shortens_the_wait_of_open_files() {
    let mut settle = Settle::new(settings());
    settle.hint(Hint::Path(path("now"), WriteState::Writing), Duration::ZERO);
    settle.end_soon(MS);
    assert_eq!(taken(&mut settle, MS), ["now"]);
    settle.hint(Hint::Path(path("later"), WriteState::Writing), 2 * MS);
    assert_eq!(settle.next_path_due(), Some(252 * MS));
}

proptest! {
    /// Whatever was hinted before a flush keeps its mark, whatever it was folded into.
    #[test]
    fn no_mark_is_lost(names in prop::collection::vec("[a-d]{1,2}/[a-z]", 1..40)) {
        let mut settle = Settle::new(settings());
        for name in &names {
            settle.hint(Hint::Path(path(name), WriteState::Writing), Duration::ZERO);
        }
        let mark = settle.flush(Duration::ZERO);
        for name in names.iter().rev() {
            settle.hint(Hint::Path(path(name), WriteState::Writing), MS);
        }
        let mut marked = settle.take_paths(MS, 99);
        marked.retain(|rested| rested.mark == mark);
        let trees = std::iter::from_fn(|| settle.take_tree(MS));
        let trees: Vec<_> = trees.filter(|tree| tree.mark == mark).collect();
        for name in &names {
            let in_tree = trees.iter().any(|tree| path(name).is_within(&tree.path));
            prop_assert!(in_tree || marked.iter().any(|rested| rested.path == path(name)), "{name}");
        }
    }

    /// Whatever is hinted comes up, itself or in a directory, and the bounds hold.
    #[test]
    fn nothing_hinted_is_lost(
        names in prop::collection::vec(("[a-d]{1,2}/[a-z]", 0u64..3, 0u64..500), 1..60),
    ) {
        let mut settle = Settle::new(settings());
        let mut now = Duration::ZERO;
        for (name, activity, pause) in &names {
            now += Duration::from_millis(*pause);
            let activity = [WriteState::Done, WriteState::Found, WriteState::Writing][*activity as usize];
            settle.hint(Hint::Path(path(name), activity), now);
            prop_assert!(settle.paths.len() <= 4 && settle.trees.len() <= 3);
        }
        let end = now + settings().longest;
        let paths = taken(&mut settle, end);
        let trees: Vec<_> = std::iter::from_fn(|| tree(&mut settle, end)).collect();
        prop_assert!(settle.is_empty());
        for (name, ..) in &names {
            let in_tree = trees.iter().any(|(tree, _)| path(name).is_within(tree));
            prop_assert!(in_tree || paths.contains(name), "{name} was lost");
        }
    }
}
