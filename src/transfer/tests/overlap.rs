//! Another writer was noticed, and the bucket is compared with the records.

use super::*;
use crate::model::Fingerprint;
use crate::store::Change;
use file_sync_dev_s3::Gate;
use futures_util::FutureExt;
use std::sync::atomic::{AtomicBool, Ordering};

impl World {
    fn needs_comparison(&self) -> bool {
        self.transfer.overlap_beyond(OverlapSign::Nothing).now_or_never().is_some()
    }

    /// The sign on disk; `None` if none was written since the start.
    async fn written_sign(&self) -> Option<OverlapSign> {
        self.state.bound().await.expect("read").map(|bound| bound.overlap)
    }

    /// Records an object for each name, which was replaced since.
    async fn record_replaced(&self, names: &[&str]) {
        let record = ObjectRecord {
            etag: Some("\"1\"".to_owned()),
            ..ObjectRecord::from_file(Fingerprint::with_size(1), RootGeneration::default())
        };
        let changes = names.iter().map(|name| Change::Mirrored(path(name), record.clone()));
        self.state.write(changes.collect()).await.expect("written");
    }

    async fn is_recorded(&self, name: &str) -> bool {
        self.recorded(name).await.mirrored.is_some()
    }
}

fn refused() -> Action {
    Action::Fail { status: 403, code: "AccessDenied" }
}

#[tokio::test]
async fn a_copy_onto_itself_that_another_writer_prevents_is_a_reason_to_compare() {
    let world = World::with(|settings| TransferSettings { reapply_rules: true, ..settings });
    world.write("file", 10);
    let sent = world.send(&world.lease("file"), AttemptRecord::default()).await;
    let mirrored = is_mirrored(sent, UploadDisposition::Sent);
    world.server.store().put(BUCKET, "file", "foreign");
    assert!(!world.needs_comparison());
    let mirrored = Some(ObjectRecord { head: None, ..mirrored });
    let known = AttemptRecord { mirrored, ..AttemptRecord::default() };
    is_mirrored(world.send(&world.lease("file"), known).await, UploadDisposition::Unchanged);
    assert!(world.needs_comparison());
    assert_eq!(world.written_sign().await, Some(OverlapSign::Noticed));
}

#[tokio::test]
async fn an_object_that_cannot_be_inspected_does_not_stop_the_comparison_of_the_others() {
    for refusal in [refused(), Action::Fail { status: 400, code: "InvalidRequest" }] {
        let world = World::new();
        for name in ["locked", "unknown"] {
            world.server.store().put(BUCKET, name, "foreign");
            world.server.fail(Rule::new(refusal.clone()).on("HeadObject").key(name));
        }
        world.record_replaced(&["gone", "locked"]).await;
        let review = world.transfer.review_overlap().await.expect("a comparison");
        assert_eq!(review.replaced, [path("gone")]);
        assert!(!world.is_recorded("gone").await);
        assert!(world.is_recorded("locked").await && !world.is_recorded("unknown").await);
    }
}

#[tokio::test]
async fn an_outage_or_expired_credentials_end_a_comparison() {
    for outage in [Action::internal_error(), Action::slow_down(), Action::expired_token()] {
        let world = World::new();
        world.server.fail(Rule::new(outage.clone()).on("HeadObject"));
        world.server.fail(Rule::new(outage).on("GetObject"));
        world.record_replaced(&["gone"]).await;
        world.transfer.review_overlap().await.expect_err("an outage");
        assert!(world.is_recorded("gone").await);
    }
}

#[tokio::test]
async fn the_need_for_a_comparison_is_on_disk_until_the_last_one_has_ended_well() {
    let world =
        World::with(|settings| TransferSettings { overlap: OverlapSign::Noticed, ..settings });
    let failing = world.server.fail(Rule::new(Action::internal_error()).on("ListObjectsV2"));
    world.transfer.last_review().await.expect_err("an outage");
    assert_eq!(world.written_sign().await, None, "after one that failed");
    world.transfer.note_overlap(OverlapSign::Noticed).await;
    world.server.faults().remove(failing);
    world.transfer.review_overlap().await.expect("a comparison");
    assert_eq!(world.written_sign().await, None, "before the last one");
    world.transfer.last_review().await.expect("a comparison");
    assert_eq!(world.written_sign().await, Some(OverlapSign::Nothing));
    assert!(!world.needs_comparison());
    world.transfer.note_overlap(OverlapSign::Noticed).await;
    assert_eq!(world.written_sign().await, Some(OverlapSign::Noticed));
}

#[tokio::test]
async fn what_is_noticed_during_the_last_comparison_needs_another_one() {
    let world =
        World::with(|settings| TransferSettings { overlap: OverlapSign::Noticed, ..settings });
    let gate = Gate::shut();
    let asked = Arc::new(AtomicBool::new(false));
    let hit = Arc::clone(&asked);
    let held = Rule::new(Action::Hold(gate.clone())).on("ListObjectsV2").when(move |_| {
        hit.store(true, Ordering::Relaxed);
        true
    });
    world.server.fail(held);
    let noticed = async {
        while !asked.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        world.transfer.note_overlap(OverlapSign::Noticed).await;
        gate.open();
    };
    let (review, ()) = tokio::join!(world.transfer.last_review(), noticed);
    review.expect("a comparison");
    assert_eq!(world.written_sign().await, None, "it is on disk since the first one");
    assert!(world.needs_comparison());
}

#[tokio::test]
async fn a_comparison_that_the_end_prevents_is_made_after_the_next_start() {
    let world =
        World::with(|settings| TransferSettings { overlap: OverlapSign::Noticed, ..settings });
    world.transfer.begin_ending();
    world.transfer.last_review().await.expect("nothing to do");
    assert_eq!(world.written_sign().await, None);
}

#[tokio::test]
async fn a_new_state_needs_a_comparison_whether_its_prefix_was_empty_or_not() {
    for (is_shard, has_object, sign) in [
        (false, false, OverlapSign::NewState),
        (false, true, OverlapSign::Noticed),
        (true, true, OverlapSign::Nothing),
    ] {
        let new =
            |settings| TransferSettings { listed: false, takeover_pending: is_shard, ..settings };
        let world = World::with(new);
        if has_object {
            world.server.store().put(BUCKET, "there", "foreign");
        }
        world.transfer.prepare().await.expect("a listing");
        assert_eq!(world.written_sign().await, Some(sign));
        assert_eq!(world.needs_comparison(), sign != OverlapSign::Nothing);
    }
}

#[tokio::test]
async fn a_writer_that_is_noticed_after_the_start_of_a_new_state_is_surer() {
    let world = World::with(|settings| TransferSettings { listed: false, ..settings });
    world.transfer.prepare().await.expect("a listing");
    let surer = world.transfer.overlap_beyond(OverlapSign::NewState);
    assert_eq!(surer.now_or_never(), None);
    world.transfer.note_overlap(OverlapSign::Noticed).await;
    world.transfer.note_overlap(OverlapSign::NewState).await;
    assert_eq!(world.written_sign().await, Some(OverlapSign::Noticed));
    let surer = world.transfer.overlap_beyond(OverlapSign::NewState);
    assert_eq!(surer.now_or_never(), Some(OverlapSign::Noticed));
}

#[tokio::test]
async fn an_object_of_another_daemon_in_the_last_comparison_needs_another_one() {
    for (mark, noted) in [("they", true), ("us", false)] {
        let world =
            World::with(|settings| TransferSettings { overlap: OverlapSign::NewState, ..settings });
        let metadata = [("file-sync-owner", mark), ("file-sync-source", "elsewhere")];
        world.server.store().put_with(BUCKET, "page", "replaced", &metadata);
        world.record_replaced(&["page"]).await;
        world.transfer.last_review().await.expect("a comparison");
        assert_eq!(world.needs_comparison(), noted);
        let last = if noted { OverlapSign::Noticed } else { OverlapSign::Nothing };
        assert_eq!(world.written_sign().await, Some(last));
    }
}
