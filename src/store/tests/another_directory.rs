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
    let queued = |name| Change::Queue(QueueRow { sent: None, ..pending(name, 0) });
    let changes = vec![
        bound(1),
        Change::Mirrored(path("doubtful"), mirrored(1)),
        Change::Mirrored(path("certain"), mirrored(1)),
        row("doubtful", Operation::Delete),
        queued("certain"),
        row("delete", Operation::Delete),
        row("put", Operation::Put),
    ];
    store.write(changes).await.expect("written");
    let counts = store.write(vec![bound(1)]).await.expect("written");
    assert_eq!((counts.pending, counts.deletes), (4, 2), "the same directory changes nothing");

    let counts = store.write(vec![bound(2)]).await.expect("written");
    // What an attempt was made at, without a response, is no longer known as it is.
    assert_eq!((counts.mirrored, counts.pending, counts.deletes), (1, 0, 0));
    let question = StateLookup::for_path(path("certain"));
    let known = store.known(vec![question]).await.expect("read");
    assert!(known[0].mirrored.is_some() && known[0].pending.is_none());
}
