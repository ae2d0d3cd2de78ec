//! The sizes that are updated with every change are those of the tables.

use super::*;

/// Change number `what` of a path.
fn change(what: u8, name: &str) -> Change {
    let parked = |reason: &str| QueueRow { parked: Some(reason.into()), ..pending(name, 1) };
    let delete = |moved| QueueRow { operation: Operation::Delete, moved, ..pending(name, 1) };
    match what % 12 {
        0 | 1 => Change::Queue(pending(name, 1)),
        2 => Change::Queue(parked("above-max-files")),
        3 => Change::Queue(parked("name")),
        4 => Change::Queue(delete(what > 100)),
        5 | 6 => Change::Mirrored(path(name), mirrored(1)),
        7 => Change::Forgotten(path(name)),
        8 => Change::Settled(path(name)),
        9 => Change::Found(path(name), 1, Some("other".into())),
        10 => Change::Replaced(path(name), "\"e\"".into()),
        _ if what > 100 => Change::Reviewed,
        _ => Change::Inherited(path(name), mirrored(2)),
    }
}

#[tokio::test]
async fn the_sizes_are_those_of_the_tables_after_any_changes() {
    let mut rng = fastrand::Rng::with_seed(7);
    let directory = tempfile::tempdir().expect("a directory");
    for _ in 0..40 {
        let store = open(directory.path()).store;
        let names = ["a", "b", "c/d", "c/e"];
        let changes = (0..12).map(|_| change(rng.u8(..), names[rng.usize(..names.len())]));
        let counts = store.write(changes.collect()).await.expect("written");
        store.closed().await;
        let opened = open(directory.path());
        assert_eq!(opened.counts, counts);
        // The next one finds the state unlocked.
        opened.store.closed().await;
    }
}

#[tokio::test]
async fn new_files_that_wait_are_counted_apart_from_those_that_are_recorded() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).store;
    let sizes = |counts: StateCounts| (counts.mirrored, counts.unrecorded, counts.over_limit);
    let changes = vec![change(0, "a"), change(0, "b"), change(2, "c"), change(5, "b")];
    let counts = store.write(changes).await.expect("written");
    assert_eq!(sizes(counts), (1, 1, 1));
    let counts = store.write(vec![change(0, "b"), change(0, "c")]).await.expect("written");
    assert_eq!(sizes(counts), (1, 2, 0), "a changed file is not new");
    let counts = store.write(vec![change(10, "b"), change(5, "a")]).await.expect("written");
    assert_eq!(sizes(counts), (1, 2, 0), "without its record it is new again");
}
