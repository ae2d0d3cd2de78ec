//! Tests of the queue when the state is bound to another directory.

use super::*;

#[tokio::test]
async fn what_waits_of_another_directory_deletes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).store;
    let bound = |epoch| {
        Change::Bound(StateBinding {
            target: "t".into(),
            source: "s".into(),
            origin: None,
            epoch: RootGeneration(epoch),
            owner: "o".into(),
            listed: true,
            takeover_pending: false,
            probed: None,
            overlap: OverlapSign::Nothing,
        })
    };
    let sent = Some(Version { size: 1, mtime_ns: 1 });
    let row = |name, operation| Change::Queue(QueueRow { operation, sent, ..pending(name, 0) });
    let changes = vec![
        bound(1),
        Change::Mirrored(path("recorded"), mirrored(1)),
        row("recorded", Operation::Delete),
        row("delete", Operation::Delete),
        row("put", Operation::Put),
    ];
    store.write(changes).await.expect("written");
    let counts = store.write(vec![bound(1)]).await.expect("written");
    assert_eq!((counts.pending, counts.deletes), (3, 2), "the same directory changes nothing");

    let counts = store.write(vec![bound(2)]).await.expect("written");
    assert_eq!((counts.mirrored, counts.pending, counts.deletes), (1, 1, 0));
    let (rows, _) = store.due(9).await.expect("read");
    // The doubt about an object is kept, and that it is not of this directory's files.
    let sent = Some(Version::OF_ANOTHER_DIRECTORY);
    let expected = (path("recorded"), Operation::Put, sent);
    assert_eq!(
        rows.into_iter().map(|row| (row.path, row.operation, row.sent)).next(),
        Some(expected)
    );
}
