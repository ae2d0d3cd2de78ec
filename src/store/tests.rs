mod another_directory;
mod another_share;
mod counted;
mod flipped_bits;
mod invalidations;

use super::*;
use crate::model::{Fingerprint, StoredPart, UploadPlan, Version};

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).expect("a proper path")
}

fn mirrored(size: u64) -> ObjectRecord {
    ObjectRecord {
        fingerprint: Fingerprint {
            size,
            mtime_ns: -5,
            ctime_ns: i64::MAX,
            inode: u64::MAX,
            btime_ns: 3,
            device: 9,
            mode: 0o100_644,
        },
        crc64nvme: u64::MAX - 1,
        etag: Some("\"e\"".into()),
        racy: true,
        epoch: RootGeneration(3),
        head: Some(u64::MAX - 7),
    }
}

fn pending(name: &str, next_try: u64) -> QueueRow {
    QueueRow {
        path: path(name),
        operation: Operation::Put,
        version: Version { size: 7, mtime_ns: 8 },
        since: 100 - next_try,
        attempts: 2,
        next_try,
        error: Some("503".into()),
        parked: None,
        copy_from: Some(path("old/name")),
        moved: false,
        sent: Some(Version { size: 7, mtime_ns: -1 }),
    }
}

fn note(upload_id: Option<&str>, begun: u64) -> UploadRecord {
    let version = Version { size: 20, mtime_ns: -3 };
    let plan = UploadPlan { version, part_size: 8, head: u64::MAX };
    let upload_id = upload_id.map(Into::into);
    UploadRecord { path: path("a/c"), upload_id, begun, plan, parts: Vec::new() }
}

fn open(directory: &Path) -> OpenedState {
    Store::open(directory, "b/p", Shard::default(), 42).expect("a usable record")
}

/// A queue of a million rows is read for its first few every second.
#[test]
fn the_first_of_a_long_queue_are_found_without_sorting_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let connection = schema::scratch(directory.path()).expect("made");
    for order in [rows::QueueOrder::NextDue, rows::QueueOrder::Oldest] {
        let sql = format!("EXPLAIN QUERY PLAN {}", rows::pending_in(order));
        let mut statement = connection.prepare(&sql).expect("a plan");
        let steps = statement.query_map([10], |row| row.get::<_, String>(3)).expect("steps");
        let steps: Vec<_> = steps.collect::<Result<_, _>>().expect("steps");
        assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{order:?}: {steps:?}");
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let opened = open(directory.path());
    assert_eq!(opened.bound, None);
    let bound = StateBinding {
        target: "b/p".into(),
        source: "7".into(),
        origin: None,
        epoch: RootGeneration(3),
        owner: "o".into(),
        listed: true,
        takeover_pending: false,
        overlap: OverlapSign::Noticed,
        probed: Some("1 none".into()),
    };
    let changes = vec![
        Change::Mirrored(path("a/b"), mirrored(1)),
        Change::Queue(pending("a/c", 5)),
        Change::UploadNoted(note(None, 9)),
        Change::UploadNoted(note(Some("u"), 12)),
        Change::Bound(bound.clone()),
    ];
    opened.store.write(changes).await.expect("written");
    opened.store.closed().await;

    let opened = open(directory.path());
    assert_eq!(opened.bound, Some(bound));
    assert_eq!(opened.uploads, [], "a queued put may go on with it");
    assert_eq!(
        opened.counts,
        StateCounts { mirrored: 1, pending: 1, bytes: 7, unrecorded: 1, ..StateCounts::default() }
    );
    let known = opened
        .store
        .known(["a/b", "a/c", "a"].map(|name| StateLookup::for_path(path(name))).into())
        .await
        .expect("read");
    assert_eq!(known[0].mirrored, Some(mirrored(1)));
    assert_eq!(known[1].pending, Some(pending("a/c", 5)));
    let upload = known[1].upload.clone();
    assert_eq!(upload, Some(note(Some("u"), 9)), "known since the first note of it");
    assert_eq!(
        known[2],
        RecordedState {
            mirrored: None,
            pending: None,
            below: true,
            other_path: None,
            listed: None,
            upload: None
        }
    );
    assert!(!known[0].below);
}

fn part(number: i32) -> StoredPart {
    StoredPart { number, etag: format!("e{number}"), crc64nvme: Some(u64::MAX - 1) }
}

async fn upload_of(store: &Store) -> Option<UploadRecord> {
    let known = store.known(vec![StateLookup::for_path(path("a/c"))]).await.expect("read");
    known.into_iter().next().and_then(|known| known.upload)
}

#[tokio::test]
async fn an_upload_is_known_with_its_parts_until_it_has_ended() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).store;
    let stored = |number| Change::PartStored(path("a/c"), part(number));
    let begun = vec![Change::UploadNoted(note(None, 9)), Change::UploadNoted(note(Some("u"), 9))];
    store.write(begun).await.expect("written");
    store.write(vec![stored(3), stored(1), stored(3)]).await.expect("written");
    let parts = vec![part(1), part(3)];
    assert_eq!(upload_of(&store).await, Some(UploadRecord { parts, ..note(Some("u"), 9) }));
    let other = Change::UploadEnded(path("a/c"), Some("v".into()));
    store.write(vec![other]).await.expect("written");
    assert!(upload_of(&store).await.is_some(), "it was another one");
    let ended = Change::UploadEnded(path("a/c"), Some("u".into()));
    store.write(vec![ended]).await.expect("written");
    assert_eq!(upload_of(&store).await, None);
    store.write(vec![Change::UploadNoted(note(Some("w"), 9))]).await.expect("written");
    assert_eq!(upload_of(&store).await, Some(note(Some("w"), 9)), "without the parts of before");
}

#[tokio::test]
async fn an_upload_nothing_is_queued_for_is_left_over() {
    let directory = tempfile::tempdir().expect("a directory");
    for (queued, upload_id, left_over) in [
        (None, Some("u"), true),
        (Some(Operation::Put), Some("u"), false),
        (Some(Operation::Put), None, true),
        (Some(Operation::Delete), Some("u"), true),
    ] {
        let store = open(directory.path()).store;
        let row =
            queued.map(|operation| Change::Queue(QueueRow { operation, ..pending("a/c", 5) }));
        let changes = [Change::Settled(path("a/c")), Change::UploadNoted(note(upload_id, 9))];
        store.write(changes.into_iter().chain(row).collect()).await.expect("written");
        store.closed().await;
        let opened = open(directory.path());
        assert_eq!(!opened.uploads.is_empty(), left_over, "{queued:?} {upload_id:?}");
        opened.store.closed().await;
    }
}

#[tokio::test]
async fn a_confirmed_operation_leaves_the_queue_with_its_record() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).store;
    store.write(vec![Change::Queue(pending("a", 1))]).await.expect("written");
    store.write(vec![Change::Mirrored(path("a"), mirrored(1))]).await.expect("written");
    let known = store.known(vec![StateLookup::for_path(path("a"))]).await.expect("read").remove(0);
    assert!(known.mirrored.is_some() && known.pending.is_none());
    store.write(vec![Change::Forgotten(path("a"))]).await.expect("written");
    let known = store.known(vec![StateLookup::for_path(path("a"))]).await.expect("read").remove(0);
    assert_eq!(
        known,
        RecordedState {
            mirrored: None,
            pending: None,
            below: false,
            other_path: None,
            listed: None,
            upload: None
        }
    );
}

#[tokio::test]
async fn ranges_come_in_the_order_of_a_walk_and_page_by_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).store;
    let mut paths: Vec<_> = (0..1500).map(|number| path(&format!("d/{number:04}"))).collect();
    paths.extend(["a", "d.txt", "d-", "e"].map(path));
    let changes = paths.iter().map(|path| Change::Mirrored(path.clone(), mirrored(1))).collect();
    store.write(changes).await.expect("written");
    paths.sort();

    let walked = tokio::task::spawn_blocking(move || {
        let all = |within: RelPath| {
            let mut found: Vec<RelPath> = Vec::new();
            loop {
                let from = found.last().cloned().map_or(StartBound::Start, StartBound::After);
                let page =
                    store.range_blocking(within.clone(), from, RANGE_ROWS_MAX).expect("read");
                if page.is_empty() {
                    return found;
                }
                found.extend(page.into_iter().map(|(path, _)| path));
            }
        };
        let past =
            store.range_blocking(RelPath::root(), StartBound::Past(path("d")), 9).expect("read");
        assert_eq!(
            past.iter().map(|(path, _)| path.to_string()).collect::<Vec<_>>(),
            ["d-", "d.txt", "e"]
        );
        (all(RelPath::root()), all(path("d")), all(path("e")))
    });
    let (whole, below, one) = walked.await.expect("no panic");
    assert_eq!(whole, paths);
    assert_eq!(below.len(), 1500);
    assert_eq!(one, [path("e")]);
}

#[tokio::test]
async fn the_queue_is_given_out_by_time_and_parked_ones_only_when_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).store;
    let parked = QueueRow { parked: Some("name".into()), ..pending("parked", 0) };
    let rows = [pending("late", 9), pending("soon", 1), parked];
    store.write(rows.map(Change::Queue).into()).await.expect("written");
    let names =
        |rows: Vec<QueueRow>| rows.iter().map(|row| row.path.to_string()).collect::<Vec<_>>();
    let (due, counts) = store.due(9).await.expect("read");
    assert_eq!(names(due), ["soon", "late"]);
    assert_eq!(
        counts,
        StateCounts {
            pending: 3,
            parked: 1,
            skipped: 1,
            bytes: 14,
            unrecorded: 2,
            ..StateCounts::default()
        }
    );
    let (queued, _) = store.queued(2).await.expect("read");
    assert_eq!(names(queued), ["late", "soon"]);
    let survey = store.survey().await.expect("read");
    let parked = vec![("name".into(), 1)];
    assert_eq!(survey, QueueStats { oldest: Some(91), parked, delayed: None });
}

#[tokio::test]
async fn the_record_of_a_replaced_object_goes_and_that_of_a_newer_one_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).store;
    let newer = ObjectRecord { etag: Some("\"newer\"".into()), ..mirrored(1) };
    let changes = vec![
        Change::Mirrored(path("a"), mirrored(1)),
        Change::Mirrored(path("b"), newer),
        Change::Replaced(path("a"), "\"e\"".into()),
        Change::Replaced(path("b"), "\"e\"".into()),
    ];
    let counts = store.write(changes).await.expect("written");
    assert_eq!(counts.mirrored, 1);
    let known = store.known(["a", "b"].map(|name| StateLookup::for_path(path(name))).into()).await;
    let recorded = known.expect("read").into_iter().map(|known| known.mirrored.is_some());
    assert_eq!(recorded.collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_second_daemon_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().expect("a directory");
    let _first = open(directory.path());
    let error = Store::open(directory.path(), "b/p", Shard::default(), 0).expect_err("locked");
    assert!(matches!(error, StoreOpenError::Locked { .. }), "{error}");
}

#[tokio::test]
async fn sqlite3_may_look_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).store;
    store.write(vec![Change::Queue(pending("a\nb", 1))]).await.expect("written");
    let onlooker = rusqlite::Connection::open(directory.path().join("state.db")).expect("opened");
    let seen: String = onlooker
        .query_row("SELECT name || ' ' || operation || ' ' || error FROM pending", [], |row| {
            row.get(0)
        })
        .expect("a row");
    assert_eq!(seen, "a\\nb put 503");
}

#[test]
fn a_damaged_record_is_moved_aside_and_never_acted_on() {
    for damage in [&b"not a database at all, but long enough to be one"[..], &[0xff; 8192]] {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("state.db"), damage).expect("written");
        let opened = open(directory.path());
        let (aside, why) = opened.moved_aside.expect("moved");
        assert_eq!(why, UnusableState::Damaged);
        assert_eq!(std::fs::read(aside).expect("kept"), damage);
        assert_eq!(opened.counts, StateCounts::default());
    }
}

#[test]
fn a_record_of_a_newer_version_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("state.db");
    let connection = rusqlite::Connection::open(&file).expect("opened");
    connection.pragma_update(None, "user_version", 99).expect("set");
    drop(connection);
    let error = Store::open(directory.path(), "b/p", Shard::default(), 0).expect_err("too new");
    assert!(matches!(error, StoreOpenError::TooNew { found: 99, .. }), "{error}");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    std::fs::write(&file, b"").expect("written");
    let error =
        Store::open(&file.join("state"), "b/p", Shard::default(), 0).expect_err("not a directory");
    assert!(matches!(error, StoreOpenError::Create { .. }), "{error}");
}

#[tokio::test]
async fn a_record_of_another_bucket_or_prefix_is_moved_aside() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).store;
    let bound = StateBinding {
        target: "b/p".into(),
        source: "7".into(),
        origin: None,
        epoch: RootGeneration(3),
        owner: "o".into(),
        listed: true,
        takeover_pending: false,
        probed: None,
        overlap: OverlapSign::Nothing,
    };
    let changes = vec![Change::Bound(bound), Change::Mirrored(path("a"), mirrored(1))];
    store.write(changes).await.expect("written");
    store.closed().await;
    let opened = Store::open(directory.path(), "b/other", Shard::default(), 1).expect("opened");
    assert!(matches!(opened.moved_aside, Some((_, UnusableState::OtherTarget))));
    assert_eq!((opened.bound, opened.counts), (None, StateCounts::default()));
}

#[tokio::test]
async fn a_file_is_found_under_the_name_it_had_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).store;
    let recorded = ObjectRecord { racy: false, ..mirrored(5) };
    let file = Fingerprint { ctime_ns: 77, ..recorded.fingerprint };
    store.write(vec![Change::Mirrored(path("old"), recorded)]).await.expect("written");
    let other = [
        Fingerprint { size: 6, ..file },
        Fingerprint { mtime_ns: 0, ..file },
        Fingerprint { inode: 0, ..file },
        Fingerprint { btime_ns: 4, ..file },
    ];
    let ask = |file| StateLookup { file: Some(file), ..StateLookup::for_path(path("new")) };
    let questions = std::iter::once(file).chain(other).map(ask).collect();
    let known = store.known(questions).await.expect("read");
    assert_eq!(known[0].other_path, Some(path("old")));
    assert!(known[1..].iter().all(|known| known.other_path.is_none()));

    store
        .write(vec![Change::Mirrored(path("new"), ObjectRecord { racy: false, ..mirrored(5) })])
        .await
        .expect("written");
    let questions = ["old", "new"].map(|name| StateLookup::for_path(path(name))).into();
    let known = store.known(questions).await.expect("read");
    assert_eq!(
        known[0].other_path,
        Some(path("new")),
        "the file that is gone here is recorded there"
    );
}

#[tokio::test]
async fn deletes_of_moved_files_are_not_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).store;
    let delete = |name, moved| {
        Change::Queue(QueueRow { operation: Operation::Delete, moved, ..pending(name, 1) })
    };
    let counts = store.write(vec![delete("a", false), delete("b", true)]).await.expect("written");
    assert_eq!((counts.pending, counts.deletes), (2, 1));
    let counts = store.write(vec![delete("a", true)]).await.expect("written");
    assert_eq!((counts.pending, counts.deletes), (2, 0));
    store.closed().await;
    assert_eq!(open(directory.path()).counts, counts);
}

#[tokio::test]
async fn what_was_in_the_bucket_is_known_until_it_is_recorded() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).store;
    store.write(vec![Change::Listed(path("a"), 7)]).await.expect("written");
    let listed = async || {
        let known = store.known(vec![StateLookup::for_path(path("a"))]).await.expect("read");
        known[0].listed
    };
    assert_eq!(listed().await, Some(7));
    store.write(vec![Change::Mirrored(path("a"), mirrored(7))]).await.expect("written");
    assert_eq!(listed().await, None);
}

/// Locks the file, like an operator who left a transaction open in `sqlite3`.
fn hold(directory: &Path) -> rusqlite::Connection {
    let holder = rusqlite::Connection::open(directory.join("state.db")).expect("opened");
    holder.execute_batch("BEGIN IMMEDIATE").expect("begun");
    holder
}

#[tokio::test]
async fn changes_that_could_not_be_written_come_before_later_ones() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).store;
    let holder = hold(directory.path());
    let queued = vec![Change::Queue(pending("a", 1)), Change::Queue(pending("b", 2))];
    store.write(queued).await.expect_err("another connection holds it");
    let known = store.known(vec![StateLookup::for_path(path("a"))]).await;
    known.expect_err("what is on disk is older than what was handed in");
    // Written after it: the path is done.
    store.write(vec![Change::Settled(path("a"))]).await.expect_err("still held");
    drop(holder);
    let counts = loop {
        // Soon after a failure, it is not retried.
        if let Ok(counts) = store.write(Vec::new()).await {
            break counts;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(counts.pending, 1);
    let (rows, _) = store.queued(10).await.expect("readable");
    assert_eq!(rows, [pending("b", 2)], "in the order they were handed in");
}

#[tokio::test]
async fn what_could_not_be_written_is_written_before_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).store;
    let holder = hold(directory.path());
    store
        .write(vec![Change::Queue(pending("a", 1))])
        .await
        .expect_err("another connection holds it");
    drop(holder);
    store.closed().await;
    assert_eq!(open(directory.path()).counts.pending, 1);
}
