//! Tests of flipped bits in the state's file: whichever is flipped, the next start has a state that
//! can be read completely.

use super::*;
use crate::model::{ChangedObject, MonthCount, OverlapSign, PathBatch, Staleness};
use std::os::unix::fs::FileExt as _;

/// Creates a state with rows in every table.
async fn filled(directory: &Path) {
    let store = open(directory).store;
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
    let mut changes = vec![Change::Bound(bound)];
    for index in 0..40_u64 {
        let name = format!("directory/{index:02}/file");
        changes.push(Change::Mirrored(path(&name), mirrored(index)));
        changes.push(Change::Listed(path(&format!("{name} listed")), index));
        changes.push(Change::Queue(pending(&format!("{name} queued"), index)));
        let staleness = Staleness::Certain;
        let at = index;
        let stale = ChangedObject { path: path(&name), staleness, at, tagged: None, context: None };
        changes.push(Change::Stale(stale));
    }
    changes.push(Change::UploadNoted(note(Some("u"), 12)));
    changes.extend([1, 2, 3].map(|number| Change::PartStored(path("a/c"), part(number))));
    let batch = |id: &str| PathBatch {
        id: id.into(),
        reference: "r".into(),
        distribution: "d".into(),
        paths: vec!["/a".into(), "/b".into()],
        month: MonthCount(24_000),
        created: 5,
        accepted: None,
        links: Vec::new(),
    };
    changes.push(Change::Invalidation(InvalidationChange::Made {
        batches: vec![batch("1"), batch("2")],
        of: Vec::new(),
        instead_of: None,
        spent: (MonthCount(24_000), 2),
    }));
    store.write(changes).await.expect("written");
    store.closed().await;
}

/// Reads everything, and changes everything.
async fn everything_works(store: &Store) -> usize {
    let all = StartBound::Start;
    let within = RelPath::root();
    let reader = store.clone();
    let reading = move || {
        let rows = reader.range_blocking(within, all, RANGE_ROWS_MAX).expect("the files");
        let names = rows.iter().map(|(path, _)| path).collect::<Vec<_>>();
        assert!(names.is_sorted(), "{names:?}");
        reader.parked_blocking(None).expect("what is parked");
        rows
    };
    let rows = tokio::task::spawn_blocking(reading).await.expect("no panic");
    let queued = store.queued_after(None).await.expect("the queue");
    store.due(100).await.expect("what is due");
    store.queued(100).await.expect("what is queued");
    store.survey().await.expect("a survey");
    store.invalidations().await.expect("invalidations");
    store.bound().await.expect("what it is bound to");
    let paths = rows.iter().map(|(path, _)| path).chain(queued.iter().map(|row| &row.path));
    let questions = paths.clone().cloned().map(StateLookup::for_path).collect();
    store.known(questions).await.expect("all that is known");
    let forget = paths.cloned().map(Change::Forgotten).collect();
    let counts = store.write(forget).await.expect("written");
    assert_eq!((counts.mirrored, counts.pending), (0, 0));
    rows.len()
}

#[tokio::test]
async fn whatever_bit_is_flipped_the_state_is_read_or_moved_aside() {
    let [aside, whole, less] = flip_each(7).await;
    assert!(whole > 300, "most damage costs a row at most: {aside} aside, {less} with fewer rows");
}

/// One of these is in the name of a column, in the text of the schema; another makes a size negative.
#[tokio::test]
async fn a_flipped_bit_of_the_schema_or_a_size_is_damage_as_well() {
    let [aside, whole, less] = flip_each(11).await;
    assert!(aside > 0 && whole > 100, "{aside} moved aside, {whole} whole, {less} with fewer rows");
}

/// Flips one of 400 bits at a time. Returns how many states were moved aside, had all rows, or fewer.
async fn flip_each(seed: u64) -> [u32; 3] {
    let sound = tempfile::tempdir().expect("a directory");
    filled(sound.path()).await;
    let file = std::fs::read(sound.path().join("state.db")).expect("read");
    let rng = &mut fastrand::Rng::with_seed(seed);
    let mut aside = 0;
    let mut whole = 0;
    let mut less = 0;
    for _ in 0..400 {
        let directory = tempfile::tempdir().expect("a directory");
        let mut damaged = file.clone();
        let at = rng.usize(100..damaged.len());
        let bit = rng.u8(0..8);
        damaged[at] ^= 1 << bit;
        std::fs::write(directory.path().join("state.db"), damaged).expect("written");
        let opened = open(directory.path());
        aside += u32::from(opened.moved_aside.is_some());
        match everything_works(&opened.store).await {
            40 => whole += 1,
            _ => less += 1,
        }
        opened.store.closed().await;
    }
    println!("moved aside {aside}, whole {whole}, with fewer rows {less}");
    [aside, whole, less]
}

#[tokio::test]
async fn a_row_that_is_damaged_at_work_goes_and_its_path_is_looked_at() {
    let directory = tempfile::tempdir().expect("a directory");
    filled(directory.path()).await;
    let opened = open(directory.path());
    let raw = rusqlite::Connection::open(directory.path().join("state.db")).expect("opened");
    let key = path("directory/05/file").to_sort_key();
    raw.execute("UPDATE mirrored SET mode = -1 WHERE path = ?1", [key]).expect("damaged");
    let worse = "UPDATE mirrored SET path = x'2f00' WHERE path = ?1";
    raw.execute(worse, [path("directory/06/file").to_sort_key()]).expect("damaged");
    drop(raw);
    let question = StateLookup::for_path(path("directory/05/file"));
    let known = opened.store.known(vec![question]).await.expect("read anyway");
    assert_eq!(known[0].mirrored, None);
    let queued = known[0].pending.as_ref().expect("queued, to be looked at");
    assert_eq!((queued.operation, queued.sent), (Operation::Put, Some(Version::default())));
    assert_eq!(everything_works(&opened.store).await, 38);
}

#[test]
fn the_state_is_readable_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = tempfile::tempdir().expect("a directory");
    let directory = place.path().join("state");
    let opened = open(&directory);
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    assert_eq!(mode(&directory), 0o700);
    for name in ["state.db", "state.db-wal", "lock"] {
        assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
    }
    drop(opened);
    let shared = place.path().join("shared");
    std::fs::create_dir(&shared).expect("made");
    let group = std::fs::Permissions::from_mode(0o2775);
    std::fs::set_permissions(&shared, group).expect("set");
    let opened = open(&shared);
    assert_eq!(mode(&shared), 0o2770);
    assert_eq!(mode(&shared.join("state.db")), 0o660);
    drop(opened);
    let file = std::fs::File::open(shared.join("lock")).expect("opened");
    assert_eq!(file.read_at(&mut [0], 0).expect("read"), 0, "nothing is kept in it");
}
