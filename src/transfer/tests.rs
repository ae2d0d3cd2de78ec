//! Transfers between a directory and an S3 in memory, with limits that S3 itself does not have.

mod overlap;

use super::*;
use crate::model::{BandwidthSchedule, Operation, QueueRow};
use crate::queue::Lane;
use crate::store::{RecordedState, StateBinding, StateLookup, Store};
use file_sync_dev_s3::{Action, BUCKET, Options, Rule, Server};
use std::fs;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

struct World {
    directory: TempDir,
    server: Server,
    state: Store,
    transfer: Transfer<S3>,
    _state_directory: TempDir,
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
        let state_directory = tempfile::tempdir().expect("a directory");
        let state = Store::open(state_directory.path(), "bucket", Shard::default(), 0);
        let state = state.expect("a state").store;
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
            takeover_pending: false,
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
        let binding = StateBinding {
            target: "bucket".into(),
            source: "here".into(),
            origin: None,
            epoch: RootGeneration::default(),
            owner: "us".into(),
            listed: settings.listed,
            takeover_pending: settings.takeover_pending,
            probed: None,
            overlap: settings.overlap,
        };
        let records = BucketRecords::new(state.clone(), binding);
        let transfer = Transfer::new(root, store, records, settings).expect("a transfer");
        Self { directory, server, state, transfer, _state_directory: state_directory }
    }

    async fn recorded(&self, name: &str) -> RecordedState {
        let found = self.state.known(vec![StateLookup::for_path(path(name))]).await;
        found.expect("read").pop().expect("one answer")
    }

    /// The unfinished upload of the file.
    async fn upload(&self, name: &str) -> Option<UploadRecord> {
        self.recorded(name).await.upload
    }

    /// Whether neither the state nor the bucket has an unfinished upload.
    async fn has_no_upload(&self, name: &str) -> bool {
        self.upload(name).await.is_none() && self.server.store().uploads(BUCKET).is_empty()
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
        let version = Version::from_fingerprint(&stat.fingerprint);
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
    let rename_source = is_mirrored(
        world.send(&world.lease("before"), AttemptRecord::default()).await,
        UploadDisposition::Sent,
    );
    let from = world.directory.path().join("before");
    fs::rename(from, world.directory.path().join("after")).expect("renamed");
    let mut lease = world.lease("after");
    lease.pending.copy_from = Some(path("before"));
    let sent = world.server.count("UploadPart");
    let known = AttemptRecord { rename_source: Some(rename_source), ..AttemptRecord::default() };
    is_mirrored(world.send(&lease, known).await, UploadDisposition::Copied);
    assert_eq!(world.stored("after"), Some(content));
    assert_eq!(world.server.count("UploadPartCopy"), 4);
    assert_eq!(world.server.count("UploadPart"), sent, "no content was sent");
    assert!(world.has_no_upload("after").await);
}

#[tokio::test]
async fn a_copy_in_parts_of_what_was_replaced_is_given_up_and_the_file_sent() {
    let world = World::new();
    let content = world.write("file", 18 * MIB);
    let rename_source = is_mirrored(
        world.send(&world.lease("file"), AttemptRecord::default()).await,
        UploadDisposition::Sent,
    );
    world.server.store().put(BUCKET, "file", "foreign");
    let from = world.directory.path().join("file");
    fs::rename(from, world.directory.path().join("after")).expect("renamed");
    let mut lease = world.lease("after");
    lease.pending.copy_from = Some(path("file"));
    let known = AttemptRecord { rename_source: Some(rename_source), ..AttemptRecord::default() };
    is_mirrored(world.send(&lease, known).await, UploadDisposition::Sent);
    assert_eq!(world.stored("after"), Some(content));
    assert!(world.has_no_upload("after").await);
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
    let note = world.upload("file").await.expect("kept");
    assert!(!note.parts.is_empty());
    world.server.clear_requests();
    let parts = note.parts.len() as u64;
    let known = AttemptRecord { upload: Some(note), ..AttemptRecord::default() };
    is_mirrored(world.send(&world.lease("file"), known).await, UploadDisposition::Sent);
    assert_eq!(world.stored("file"), Some(content));
    assert_eq!(world.server.count("UploadPart"), 8 - parts, "what was there was not sent again");
    assert!(world.has_no_upload("file").await);
}

#[tokio::test]
async fn an_upload_of_another_state_is_aborted_and_begun_anew() {
    let world = World::new();
    world.write("file", 40 * MIB);
    let refused = world.server.fail(Rule::new(Action::internal_error()).on("UploadPart").skip(3));
    world.send(&world.lease("file"), AttemptRecord::default()).await;
    world.server.faults().remove(refused);
    let known = AttemptRecord { upload: world.upload("file").await, ..AttemptRecord::default() };
    let content = world.write("file", 41 * MIB);
    is_mirrored(world.send(&world.lease("file"), known).await, UploadDisposition::Sent);
    assert_eq!(world.stored("file"), Some(content));
    assert!(world.has_no_upload("file").await);
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
    let known = AttemptRecord { upload: world.upload("file").await, ..AttemptRecord::default() };
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
    let note = world.upload("file").await.expect("kept");
    // As a lifecycle rule of the bucket does.
    let key = KeyPrefix::default().key(&path("file")).expect("a key");
    let id = note.upload_id.clone().expect("an id");
    world.transfer.store.abort_upload(UploadRef { key: &key, id: &id }).await.expect("aborted");
    // The answer may come before the body was sent, and be lost with the connection: as the queue
    // does, try again until it was heard.
    for _ in 0..100 {
        let known =
            AttemptRecord { upload: world.upload("file").await, ..AttemptRecord::default() };
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
async fn a_store_that_throttles_gets_fewer_requests_and_later_almost_all_of_them_again() {
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
