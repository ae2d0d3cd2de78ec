//! Tests of a state whose shard changes.

use super::*;
use crate::model::{OverlapSign, Shard};

const NAMES: [&str; 12] = ["a", "b", "c", "d/x", "d/y", "e", "f/x", "g", "h", "i", "j/x/y", "k"];

fn share(index: u16, count: u16) -> Shard {
    Shard::new(index, count, 1).expect("a part")
}

fn opened(directory: &Path, share: Shard) -> OpenedState {
    Store::open(directory, "b/p", share, 42).expect("a usable record")
}

async fn recorded(store: &Store) -> Vec<String> {
    let known = NAMES.map(|name| StateLookup::for_path(path(name)));
    let known = store.known(known.into()).await.expect("read");
    let known = NAMES.iter().zip(known).filter(|(_, known)| {
        assert!(known.pending.is_none() && known.listed.is_none());
        known.mirrored.is_some()
    });
    known.map(|(name, _)| (*name).to_owned()).collect()
}

/// Creates a state of `share` in which each of its names has a record, a listed object, a pending
/// delete and an upload.
async fn fill(directory: &Path, of: Shard) {
    let store = opened(directory, of).store;
    let bound = StateBinding {
        target: "b/p".into(),
        source: "s".into(),
        origin: None,
        epoch: RootGeneration(1),
        owner: "o".into(),
        listed: true,
        takeover_pending: false,
        probed: None,
        overlap: OverlapSign::Nothing,
    };
    let mut changes = vec![Change::Bound(bound)];
    for name in NAMES.into_iter().filter(|name| of.has_file(&path(name))) {
        let operation = Operation::Delete;
        changes.push(Change::Mirrored(path(name), mirrored(1)));
        changes.push(Change::Listed(path(name), 1));
        changes.push(Change::Queue(QueueRow { operation, ..pending(name, 0) }));
        changes.push(Change::UploadNoted(UploadRecord { path: path(name), ..note(Some("u"), 1) }));
    }
    store.write(changes).await.expect("written");
    store.closed().await;
}

fn of(share: Shard) -> Vec<String> {
    let names = NAMES.into_iter().filter(|name| share.has_file(&path(name)));
    names.map(str::to_owned).collect()
}

#[tokio::test]
async fn what_is_another_one_s_now_is_forgotten_with_all_that_waits() {
    let directory = tempfile::tempdir().expect("a directory");
    fill(directory.path(), Shard::default()).await;
    let OpenedState { store, bound, counts, remapped, .. } = opened(directory.path(), share(0, 2));
    let left = of(share(0, 2));
    assert!(!left.is_empty() && left.len() < NAMES.len());
    assert_eq!(recorded(&store).await, left);
    // Deletes are found again.
    assert_eq!((counts.mirrored, counts.pending), (left.len() as u64, 0));
    let forgotten = (NAMES.len() - left.len()) as u64;
    let expected = RemappedShard { from: Shard::default(), generation: 2, forgotten };
    assert_eq!(remapped, Some(expected));
    let bound = bound.expect("bound");
    assert!(!bound.listed && bound.takeover_pending);
    store.closed().await;
    let again = opened(directory.path(), share(0, 2));
    assert_eq!((again.remapped, again.counts), (None, counts), "nothing changes twice");
}

#[tokio::test]
async fn uploads_of_what_is_another_one_s_now_are_still_to_be_ended() {
    let directory = tempfile::tempdir().expect("a directory");
    fill(directory.path(), Shard::default()).await;
    let opened = opened(directory.path(), share(1, 2));
    assert_eq!(opened.uploads.len(), NAMES.len());
}

#[tokio::test]
async fn what_may_have_come_is_looked_for_in_the_bucket() {
    for (from, to) in
        [(share(0, 3), share(0, 2)), (share(0, 2), share(1, 2)), (share(1, 3), Shard::default())]
    {
        let directory = tempfile::tempdir().expect("a directory");
        fill(directory.path(), from).await;
        let OpenedState { store, bound, .. } = opened(directory.path(), to);
        let bound = bound.expect("bound");
        assert!(!bound.listed && bound.takeover_pending, "{from} to {to}");
        let both: Vec<_> = of(from).into_iter().filter(|name| of(to).contains(name)).collect();
        assert_eq!(recorded(&store).await, both, "{from} to {to}");
    }
}

#[tokio::test]
async fn what_is_taken_over_replaces_nothing_that_is_recorded() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = opened(directory.path(), Shard::default()).store;
    let own = vec![Change::Mirrored(path("own"), mirrored(1)), Change::Queue(pending("waits", 0))];
    store.write(own).await.expect("written");
    let left = |name| Change::Inherited(path(name), mirrored(2));
    let counts = store.write(["own", "waits", "left"].map(left).into()).await.expect("written");
    assert_eq!((counts.mirrored, counts.pending), (3, 1));
    let known =
        store.known(["own", "waits", "left"].map(|name| StateLookup::for_path(path(name))).into());
    let rows = known.await.expect("read").into_iter().map(|known| known.mirrored);
    assert_eq!(rows.collect::<Vec<_>>(), [Some(mirrored(1)), Some(mirrored(2)), Some(mirrored(2))]);
}

#[tokio::test]
async fn what_is_recorded_and_not_in_the_bucket_is_forgotten_by_a_shard() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = opened(directory.path(), share(0, 2)).store;
    let row = |etag: &str| ObjectRecord { etag: Some(etag.into()), ..mirrored(1) };
    let names = ["same", "another", "absent", "bell\u{7}"];
    let rows = names.map(|name| Change::Mirrored(path(name), row("\"e\"")));
    store.write(rows.into()).await.expect("written");
    let found = |name, etag: &str| Change::Found(path(name), 1, Some(etag.into()));
    let changes = vec![found("same", "e"), found("another", "\"f\""), Change::Reviewed];
    let counts = store.write(changes).await.expect("written");
    assert_eq!(counts.mirrored, 2);
    let questions = names.map(|name| StateLookup::for_path(path(name)));
    let known = store.known(questions.into()).await.expect("read").into_iter();
    let known: Vec<_> = known.map(|known| (known.mirrored.is_some(), known.listed)).collect();
    assert_eq!(known, [(true, None), (false, Some(1)), (false, None), (true, None)]);
}
