//! Transfers between a directory and an S3 in memory, with limits that S3 itself does not have.

mod overlap;

use super::*;
use crate::model::{BandwidthSchedule, Operation, QueueRow};
use crate::model::{StoredPart, UploadPlan};
use crate::queue::Lane;
use file_sync_dev_s3::{Action, BUCKET, Options, Rule, Server};
use std::fs;
use std::sync::Mutex as StdMutex;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// Keeps what it receives, as the state does.
#[derive(Debug, Default)]
struct Notes {
    upload: StdMutex<Option<UploadRecord>>,
    /// What differs from the listing; each is returned once.
    differing: StdMutex<Vec<(RelPath, String)>>,
    replaced: StdMutex<Vec<(RelPath, String)>>,
    inherited: StdMutex<Vec<RelPath>>,
    /// What was written about the need for a comparison.
    overlap: StdMutex<Vec<OverlapSign>>,
}

impl Notes {
    fn note(&self) -> Option<UploadRecord> {
        self.upload.lock().expect("sound").clone()
    }
}

impl Journal for Arc<Notes> {
    async fn begun(&self, path: &RelPath, plan: &UploadPlan, upload_id: Option<&str>) {
        let path = path.clone();
        let upload_id = upload_id.map(str::to_owned);
        let note = UploadRecord { path, upload_id, begun: 0, plan: *plan, parts: Vec::new() };
        *self.upload.lock().expect("sound") = Some(note);
    }
    async fn stored(&self, _: &RelPath, part: &StoredPart) {
        self.upload.lock().expect("sound").as_mut().expect("begun").parts.push(part.clone());
    }
    async fn ended(&self, _: &RelPath, _: Option<&str>) {
        *self.upload.lock().expect("sound") = None;
    }
    async fn listed(&self, _: Vec<(RelPath, u64, Option<String>)>) -> Vec<RelPath> {
        Vec::new()
    }
    async fn inherited(&self, objects: Vec<(RelPath, ObjectRecord)>) {
        self.inherited.lock().expect("sound").extend(objects.into_iter().map(|(path, _)| path));
    }
    async fn listing_ended(&self, _: bool, sign: OverlapSign) {
        self.overlap(sign).await;
    }
    async fn unrecorded(&self, objects: Vec<(RelPath, u64, Option<String>)>) -> Vec<RelPath> {
        objects.into_iter().map(|(path, ..)| path).collect()
    }
    async fn heir_no_more(&self) {}
    async fn probed(&self, _: &str, _: bool) {}
    async fn overlap(&self, sign: OverlapSign) {
        self.overlap.lock().expect("sound").push(sign);
    }
    async fn compare(&self, _: Vec<(RelPath, u64, Option<String>)>, _: bool) {}
    async fn differing(&self) -> Vec<(RelPath, String)> {
        // As for a state that returns one of them at a time.
        self.differing.lock().expect("sound").pop().into_iter().collect()
    }
    async fn replaced(&self, objects: Vec<(RelPath, String)>) {
        self.replaced.lock().expect("sound").extend(objects);
    }
}

struct World {
    directory: TempDir,
    server: Server,
    notes: Arc<Notes>,
    transfer: Transfer<S3, Arc<Notes>>,
}

fn path(name: &str) -> RelPath {
    RelPath::new(name.as_bytes()).expect("a proper path")
}

impl World {
    fn new() -> Self {
        Self::with(|settings| settings)
    }

    fn with(change: impl FnOnce(TransferSettings) -> TransferSettings) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let server = Server::start(&Options::default()).expect("a server");
        let store = s3::for_tests(&server);
        let root = Arc::new(Root::open(directory.path()).expect("a root"));
        let notes = Arc::new(Notes::default());
        let settings = change(TransferSettings {
            prefix: KeyPrefix::default(),
            multipart_threshold: 5 * MIB,
            multipart_part_size: 5 * MIB,
            memory: 64 * MIB,
            copy_threshold: 12 * MIB,
            copy_part_size: 5 * MIB,
            pace: PaceSettings { requests: 16, bandwidth: BandwidthSchedule::default() },
            listed: true,
            share: crate::model::Shard::default(),
            source: "here".into(),
            heir: false,
            epoch: RootGeneration::default(),
            overlap: OverlapSign::Nothing,
            probe: None,
            conditions: Some(ConditionSupport::Unknown),
            rules: Arc::default(),
            reapply_rules: false,
            refresh_metadata: false,
            writer: Arc::default(),
            rest: Duration::from_secs(3_600),
        });
        let transfer = Transfer::new(root, store, Arc::clone(&notes), settings);
        let transfer = transfer.expect("a transfer");
        Self { directory, server, notes, transfer }
    }

    /// Makes a file of which no two parts are equal.
    fn write(&self, name: &str, bytes: u64) -> Vec<u8> {
        let mut content = vec![0; usize::try_from(bytes).expect("small")];
        fastrand::Rng::with_seed(bytes).fill(&mut content);
        fs::write(self.directory.path().join(name), &content).expect("written");
        content
    }

    fn lease(&self, name: &str) -> Attempt {
        let stat = self.transfer.root.look(&path(name)).expect("there");
        let version = Version::of(&stat.fingerprint);
        let pending = QueueRow::new(path(name), Operation::Put, version, 0);
        Attempt { pending, sent_before: None, queued: 1, lane: Lane::Fresh }
    }

    async fn send(&self, lease: &Attempt, known: AttemptRecord) -> Outcome {
        let read = self.transfer.read_ahead(std::slice::from_ref(lease)).await;
        self.transfer.send(lease, &known, read).await.outcome
    }

    fn stored(&self, key: &str) -> Option<Vec<u8>> {
        let object = self.server.store().object(BUCKET, key)?;
        object.body.as_ref().map(|body| body.to_vec())
    }
}

fn is_mirrored(outcome: Outcome, effort: UploadDisposition) -> ObjectRecord {
    match outcome {
        Outcome::Mirrored(mirrored, how) if how == effort => mirrored,
        other => panic!("expected {effort:?}, found {other:?}"),
    }
}

#[tokio::test]
async fn what_was_queued_before_the_start_is_not_sent_while_it_may_be_open() {
    for bytes in [1, 6 * MIB] {
        let world = World::new();
        world.write("file", bytes);
        let of_before = Attempt { queued: 0, ..world.lease("file") };
        let outcome = world.send(&of_before, AttemptRecord::default()).await;
        assert!(matches!(outcome, Outcome::LookAgain(_)), "{outcome:?}");
        assert_eq!(world.server.journal().total(), 0, "nothing was asked or sent");
        is_mirrored(
            world.send(&world.lease("file"), AttemptRecord::default()).await,
            UploadDisposition::Sent,
        );
    }
    let world = World::with(|settings| TransferSettings { rest: Duration::ZERO, ..settings });
    world.write("file", 1);
    let of_before = Attempt { queued: 0, ..world.lease("file") };
    is_mirrored(world.send(&of_before, AttemptRecord::default()).await, UploadDisposition::Sent);
}

#[tokio::test]
async fn what_is_too_large_for_one_copy_is_copied_in_parts() {
    let world = World::new();
    let content = world.write("before", 18 * MIB);
    let twin = is_mirrored(
        world.send(&world.lease("before"), AttemptRecord::default()).await,
        UploadDisposition::Sent,
    );
    let from = world.directory.path().join("before");
    fs::rename(from, world.directory.path().join("after")).expect("renamed");
    let mut lease = world.lease("after");
    lease.pending.copy_from = Some(path("before"));
    let sent = world.server.count("UploadPart");
    let known = AttemptRecord { twin: Some(twin), ..AttemptRecord::default() };
    is_mirrored(world.send(&lease, known).await, UploadDisposition::Copied);
    assert_eq!(world.stored("after"), Some(content));
    assert_eq!(world.server.count("UploadPartCopy"), 4);
    assert_eq!(world.server.count("UploadPart"), sent, "no content was sent");
    assert_eq!((world.notes.note(), world.server.store().uploads(BUCKET)), (None, Vec::new()));
}

#[tokio::test]
async fn a_copy_in_parts_of_what_was_replaced_is_given_up_and_the_file_sent() {
    let world = World::new();
    let content = world.write("file", 18 * MIB);
    let twin = is_mirrored(
        world.send(&world.lease("file"), AttemptRecord::default()).await,
        UploadDisposition::Sent,
    );
    world.server.store().put(BUCKET, "file", "foreign");
    let from = world.directory.path().join("file");
    fs::rename(from, world.directory.path().join("after")).expect("renamed");
    let mut lease = world.lease("after");
    lease.pending.copy_from = Some(path("file"));
    let known = AttemptRecord { twin: Some(twin), ..AttemptRecord::default() };
    is_mirrored(world.send(&lease, known).await, UploadDisposition::Sent);
    assert_eq!(world.stored("after"), Some(content));
    assert_eq!((world.notes.note(), world.server.store().uploads(BUCKET)), (None, Vec::new()));
}

#[tokio::test]
async fn an_upload_goes_on_where_it_was_interrupted() {
    // One part after another: a refusal ends the try, and must not come before the others' answers.
    let world = World::with(|settings| TransferSettings {
        pace: PaceSettings { requests: 1, ..settings.pace },
        ..settings
    });
    let content = world.write("file", 40 * MIB);
    let refused = world.server.fail(Rule::new(Action::internal_error()).on("UploadPart").skip(3));
    let outcome = world.send(&world.lease("file"), AttemptRecord::default()).await;
    assert!(matches!(&outcome, Outcome::Failed(failure) if failure.code == "InternalError"));
    world.server.faults().remove(refused);
    let note = world.notes.note().expect("kept");
    assert!(!note.parts.is_empty());
    world.server.clear_requests();
    let parts = note.parts.len() as u64;
    let known = AttemptRecord { upload: Some(note), ..AttemptRecord::default() };
    is_mirrored(world.send(&world.lease("file"), known).await, UploadDisposition::Sent);
    assert_eq!(world.stored("file"), Some(content));
    assert_eq!(world.server.count("UploadPart"), 8 - parts, "what was there was not sent again");
    assert_eq!((world.notes.note(), world.server.store().uploads(BUCKET)), (None, Vec::new()));
}

#[tokio::test]
async fn an_upload_of_another_state_is_aborted_and_begun_anew() {
    let world = World::new();
    world.write("file", 40 * MIB);
    let refused = world.server.fail(Rule::new(Action::internal_error()).on("UploadPart").skip(3));
    world.send(&world.lease("file"), AttemptRecord::default()).await;
    world.server.faults().remove(refused);
    let known = AttemptRecord { upload: world.notes.note(), ..AttemptRecord::default() };
    let content = world.write("file", 41 * MIB);
    is_mirrored(world.send(&world.lease("file"), known).await, UploadDisposition::Sent);
    assert_eq!(world.stored("file"), Some(content));
    assert_eq!((world.notes.note(), world.server.store().uploads(BUCKET)), (None, Vec::new()));
}

#[tokio::test]
async fn a_part_that_changed_under_equal_time_stamps_is_sent_again() {
    let world = World::new();
    let mut content = world.write("file", 20 * MIB);
    let refused = world.server.fail(Rule::new(Action::internal_error()).on("UploadPart").skip(2));
    let lease = world.lease("file");
    world.send(&lease, AttemptRecord::default()).await;
    world.server.faults().remove(refused);
    // As a write through a memory map may do, whose time stamp comes later.
    let name = world.directory.path().join("file");
    let modified = fs::metadata(&name).and_then(|metadata| metadata.modified()).expect("a time");
    content[0] ^= 1;
    fs::write(&name, &content).expect("written");
    fs::File::options()
        .write(true)
        .open(&name)
        .and_then(|file| file.set_modified(modified))
        .expect("set");
    let known = AttemptRecord { upload: world.notes.note(), ..AttemptRecord::default() };
    is_mirrored(world.send(&lease, known).await, UploadDisposition::Sent);
    assert_eq!(world.stored("file"), Some(content));
}

#[tokio::test]
async fn an_upload_the_store_no_longer_knows_is_begun_anew() {
    let world = World::new();
    let content = world.write("file", 20 * MIB);
    let refused = world.server.fail(Rule::new(Action::internal_error()).on("UploadPart").skip(1));
    world.send(&world.lease("file"), AttemptRecord::default()).await;
    world.server.faults().remove(refused);
    let note = world.notes.note().expect("kept");
    // As a lifecycle rule of the bucket does.
    let key = KeyPrefix::default().key(&path("file")).expect("a key");
    let id = note.upload_id.clone().expect("an id");
    world.transfer.store.abort_upload(&key, &id).await.expect("aborted");
    // The answer may come before the body was sent, and be lost with the connection: as the queue
    // does, try again until it was heard.
    for _ in 0..100 {
        let known = AttemptRecord { upload: world.notes.note(), ..AttemptRecord::default() };
        match world.send(&world.lease("file"), known).await {
            Outcome::Failed(_) => {}
            outcome => {
                is_mirrored(outcome, UploadDisposition::Sent);
                assert_eq!(world.stored("file"), Some(content));
                return;
            }
        }
    }
    panic!("never begun anew");
}

#[tokio::test]
async fn a_store_that_asks_for_less_gets_fewer_requests_and_later_almost_all_of_them_again() {
    let world = Arc::new(World::new());
    let slow = world.server.fail(Rule::new(Action::slow_down()).on("PutObject"));
    let all = async |from: u32, to: u32| {
        let sends = (from..to).map(|number| {
            let world = Arc::clone(&world);
            world.write(&number.to_string(), 10);
            tokio::spawn(async move {
                let lease = world.lease(&number.to_string());
                world.send(&lease, AttemptRecord::default()).await
            })
        });
        for send in sends.collect::<Vec<_>>() {
            send.await.expect("ended");
        }
    };
    all(0, 32).await;
    assert!(world.transfer.concurrency() <= 8, "{}", world.transfer.concurrency());
    world.server.faults().remove(slow);
    let mut number = 32;
    while world.transfer.concurrency() < 14 {
        all(number, number + 32).await;
        number += 32;
        assert!(number < 10_000, "never restored");
    }
}
