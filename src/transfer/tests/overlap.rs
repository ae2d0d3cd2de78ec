//! Another writer was noticed, and the bucket is compared with the records.

use super::*;
use file_sync_dev_s3::Gate;
use futures_util::FutureExt;
use std::sync::atomic::{AtomicBool, Ordering};

impl World {
    fn needs_comparison(&self) -> bool {
        self.transfer.overlap_noticed().now_or_never().is_some()
    }

    fn overlap_notes(&self) -> Vec<bool> {
        self.notes.overlap.lock().expect("sound").clone()
    }

    fn replaced(&self) -> Vec<RelPath> {
        let replaced = self.notes.replaced.lock().expect("sound");
        replaced.iter().map(|(path, _)| path.clone()).collect()
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
    assert_eq!(world.overlap_notes(), [true]);
}

#[tokio::test]
async fn an_object_that_cannot_be_inspected_does_not_stop_the_comparison_of_the_others() {
    for refusal in [refused(), Action::Fail { status: 400, code: "InvalidRequest" }] {
        let world = World::new();
        world.server.store().put(BUCKET, "locked", "foreign");
        world.server.fail(Rule::new(refusal).on("HeadObject").key("locked"));
        let recorded = ["gone", "locked"].map(|name| (path(name), "\"1\"".to_owned()));
        *world.notes.differing.lock().expect("sound") = recorded.into();
        let review = world.transfer.review_overlap().await.expect("a comparison");
        assert_eq!(review.replaced, [path("gone")]);
        assert_eq!(world.replaced(), [path("gone")]);
        assert!(world.notes.inherited.lock().expect("sound").is_empty());
    }
}

#[tokio::test]
async fn an_outage_or_expired_credentials_end_a_comparison() {
    for outage in [Action::internal_error(), Action::slow_down(), Action::expired_token()] {
        let world = World::new();
        world.server.fail(Rule::new(outage.clone()).on("HeadObject"));
        world.server.fail(Rule::new(outage).on("GetObject"));
        let recorded = (path("gone"), "\"1\"".to_owned());
        world.notes.differing.lock().expect("sound").push(recorded);
        world.transfer.review_overlap().await.expect_err("an outage");
        assert!(world.replaced().is_empty());
    }
}

#[tokio::test]
async fn the_need_for_a_comparison_is_on_disk_until_the_last_one_has_ended_well() {
    let world = World::with(|settings| TransferSettings { overlap: true, ..settings });
    let failing = world.server.fail(Rule::new(Action::internal_error()).on("ListObjectsV2"));
    world.transfer.last_review().await.expect_err("an outage");
    assert_eq!(world.overlap_notes(), [false; 0], "after one that failed");
    world.transfer.note_overlap().await;
    world.server.faults().remove(failing);
    world.transfer.review_overlap().await.expect("a comparison");
    assert_eq!(world.overlap_notes(), [false; 0], "before the last one");
    world.transfer.last_review().await.expect("a comparison");
    assert_eq!(world.overlap_notes(), [false]);
    assert!(!world.needs_comparison());
    world.transfer.note_overlap().await;
    assert_eq!(world.overlap_notes(), [false, true]);
}

#[tokio::test]
async fn what_is_noticed_during_the_last_comparison_needs_another_one() {
    let world = World::with(|settings| TransferSettings { overlap: true, ..settings });
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
        world.transfer.note_overlap().await;
        gate.open();
    };
    let (review, ()) = tokio::join!(world.transfer.last_review(), noticed);
    review.expect("a comparison");
    assert_eq!(world.overlap_notes(), [false; 0], "it is on disk since the first one");
    assert!(world.needs_comparison());
}

#[tokio::test]
async fn a_comparison_that_the_end_prevents_is_made_after_the_next_start() {
    let world = World::with(|settings| TransferSettings { overlap: true, ..settings });
    world.transfer.begin_ending();
    world.transfer.last_review().await.expect("nothing to do");
    assert_eq!(world.overlap_notes(), [false; 0]);
}
