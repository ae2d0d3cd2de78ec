//! Tests of pending invalidations and batches.

use super::*;
use crate::model::{SpanReference, Staleness, TraceLink};

fn changed(name: &str, staleness: Staleness, tagged: Option<u64>) -> Change {
    Change::Stale(ChangedObject { path: path(name), staleness, at: 7, tagged, context: None })
}

fn stale_path(name: &str) -> Change {
    changed(name, Staleness::Certain, None)
}

fn batch(id: &str, paths: &[&str]) -> PathBatch {
    PathBatch {
        id: id.into(),
        reference: format!("r-{id}"),
        distribution: "E1".into(),
        paths: paths.iter().map(|&path| path.into()).collect(),
        month: MonthCount(5),
        created: 3,
        accepted: None,
        links: Vec::new(),
    }
}

fn made(
    batches: Vec<PathBatch>,
    of: Vec<PendingInvalidation>,
    instead_of: Option<&str>,
    paths: u64,
) -> Change {
    let instead_of = instead_of.map(Into::into);
    let spent = (MonthCount(5), paths);
    Change::Invalidation(InvalidationChange::Made { batches, of, instead_of, spent })
}

fn file(name: &str) -> PendingInvalidation {
    PendingInvalidation { path: path(name), below: false, tagged: false, change: None }
}

#[tokio::test]
async fn a_new_object_has_no_old_copies_and_a_replaced_one_has() {
    let directory = tempfile::tempdir().expect("a directory");
    let OpenedState { store, .. } = open(directory.path());
    let if_replaced = |name| changed(name, Staleness::IfReplaced, None);
    let put = |name| vec![if_replaced(name), Change::Mirrored(path(name), mirrored(1))];
    store.write(vec![Change::Listed(path("listed"), 3)]).await.expect("written");
    store.write([put("new"), put("listed")].concat()).await.expect("written");
    let found = store.invalidations().await.expect("read");
    assert_eq!(found.stale, [file("listed")]);
    store.write(put("new")).await.expect("written");
    assert_eq!(store.invalidations().await.expect("read").stale, [file("listed"), file("new")]);
}

#[tokio::test]
async fn pending_and_accepted_invalidations_survive_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let OpenedState { store, .. } = open(directory.path());
    store.write(["a", "b", "a", "c"].map(stale_path).to_vec()).await.expect("written");
    assert_eq!(store.backlog().borrow().waiting, 3);
    // Paths that arrived while the batch was created stay.
    let first = batch("1", &["/a", "/b"]);
    let change = made(vec![first.clone()], vec![file("a"), file("b")], None, 2);
    store.write(vec![change]).await.expect("written");
    let link = TraceLink { context: SpanReference::from_name("a"), since: 7 };
    let whole = PathBatch { links: vec![link, link], ..batch("2", &["/*"]) };
    let change = made(vec![whole.clone()], Vec::new(), Some("1"), 0);
    store.write(vec![change]).await.expect("written");
    store.closed().await;

    let OpenedState { store, .. } = open(directory.path());
    let found = store.invalidations().await.expect("read");
    let expected = StoredInvalidations {
        stale: vec![file("c")],
        batches: vec![whole.clone()],
        spent: vec![(MonthCount(5), 2)],
    };
    assert_eq!(found, expected);
    assert_eq!(*store.backlog().borrow(), InvalidationBacklog { waiting: 1, made: 1, running: 0 });
    let accepted = InvalidationChange::Accepted("2".into(), "I2".into());
    store.write(vec![Change::Invalidation(accepted)]).await.expect("written");
    let found = store.invalidations().await.expect("read").batches;
    assert_eq!(found, [PathBatch { accepted: Some("I2".into()), ..whole }]);
    assert_eq!(*store.backlog().borrow(), InvalidationBacklog { waiting: 1, made: 0, running: 1 });
    let ended = InvalidationChange::Ended("2".into());
    store.write(vec![Change::Invalidation(ended)]).await.expect("written");
    assert_eq!(store.invalidations().await.expect("read").batches, []);
}

#[tokio::test]
async fn however_much_changes_what_waits_for_a_cdn_is_bounded_and_covers_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let OpenedState { store, .. } = open(directory.path());
    let name = |number: usize| format!("d{}/e{}/f{number}", number % 7, number % 1_999);
    for commit in 0..25 {
        let changes = (0..1_000).map(|number| stale_path(&name(commit * 1_000 + number)));
        store.write(changes.collect()).await.expect("written");
        assert!(store.backlog().borrow().waiting <= WAITING_MAX as u64);
    }
    let stale = store.invalidations().await.expect("read").stale;
    assert!(stale.len() <= WAITING_MAX && stale.iter().any(|stale| stale.below));
    let wholes: Vec<_> = stale.iter().filter(|stale| stale.below).collect();
    let files: std::collections::HashSet<_> =
        stale.iter().filter(|stale| !stale.below).map(|stale| &stale.path).collect();
    for number in 0..25_000 {
        let path = path(&name(number));
        let within = wholes.iter().any(|whole| path.is_within(&whole.path));
        assert!(within || files.contains(&path), "{path:?}");
    }
}

#[tokio::test]
async fn copies_carry_tags_where_every_object_before_is_known_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let OpenedState { store, .. } = open(directory.path());
    let head = mirrored(1).head;
    let change = |name, tagged| changed(name, Staleness::Certain, tagged);
    let put = |name| Change::Mirrored(path(name), mirrored(1));
    store.write(["a", "b", "c", "d"].map(put).to_vec()).await.expect("written");
    let changes = vec![
        change("a", head),
        // Other attributes, not requested, and not recorded.
        change("b", Some(1)),
        change("c", None),
        change("new", head),
        // Copies of two objects, of which one carried no tags.
        change("d", head),
        change("d", None),
        change("d", head),
    ];
    store.write(changes).await.expect("written");
    let found = store.invalidations().await.expect("read").stale;
    let tagged: Vec<_> = found.iter().filter(|stale| stale.tagged).cloned().collect();
    assert_eq!(
        (found.len(), &tagged[..]),
        (5, &[PendingInvalidation { tagged: true, ..file("a") }][..])
    );

    // It was considered tagged, and changed again before the batch.
    store.write(vec![change("a", None)]).await.expect("written");
    let of = vec![tagged[0].clone(), file("b")];
    store.write(vec![made(vec![batch("1", &["#/"])], of, None, 1)]).await.expect("written");
    let found = store.invalidations().await.expect("read").stale;
    assert_eq!(found, [file("a"), file("c"), file("d"), file("new")]);
}

#[tokio::test]
async fn the_trace_of_the_latest_change_stays_with_what_waits() {
    let directory = tempfile::tempdir().expect("a directory");
    let OpenedState { store, .. } = open(directory.path());
    for (at, context) in [(1, Some("one")), (2, Some("two")), (3, None)] {
        let path = path("a");
        let staleness = Staleness::Certain;
        let tagged = None;
        let context = context.map(SpanReference::from_name);
        let change = Change::Stale(ChangedObject { path, staleness, at, tagged, context });
        store.write(vec![change]).await.expect("written");
    }
    let found = store.invalidations().await.expect("read").stale;
    assert_eq!(
        found[0].change,
        Some(TraceLink { context: SpanReference::from_name("two"), since: 2 })
    );
}

#[tokio::test]
async fn a_record_that_knows_no_tags_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let OpenedState { store, .. } = open(directory.path());
    store.write(vec![stale_path("a")]).await.expect("written");
    store.closed().await;
    let older = rusqlite::Connection::open(directory.path().join("state.db")).expect("opened");
    let sql = "ALTER TABLE invalidations DROP COLUMN tagged; \
         ALTER TABLE invalidations DROP COLUMN change; \
         ALTER TABLE invalidation_batches DROP COLUMN links";
    older.execute_batch(sql).expect("dropped");
    drop(older);
    let OpenedState { store, moved_aside, .. } = open(directory.path());
    assert_eq!(moved_aside, None);
    assert_eq!(store.invalidations().await.expect("read").stale, [file("a")]);
}
