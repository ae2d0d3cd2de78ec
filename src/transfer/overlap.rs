//! Compares the recorded objects with the bucket, because another writer was noticed or may be there.
//!
//! An instance with a new state takes over objects with equal content, without a write. They keep the
//! mark of the instance that wrote them. If that one still runs, as in a rollout, it may replace or delete
//! them while it ends: they are its own. And while both run, the last one to write wins. So an instance
//! whose state is new, or that meets an object of another writer in the place of its own, lists the bucket
//! some time later. That the initial listing found nothing does not show that it is alone: two instances
//! may have listed an empty prefix before either of them wrote to it.
//!
//! # Invariants
//!
//! - A record is removed only if the bucket has no object for it, or one of another writer, and only while
//!   it still names the object that it was compared with. Its file is then uploaded like a new one.
//! - An object without a record is taken over only if it is newer than the initial listing and has the
//!   mark of this very directory: its file was here and is gone, or is compared. Objects of another volume
//!   stay.
//! - The need for a comparison is on disk until the last one has ended well, and nothing was noticed
//!   meanwhile.
//! - An object that the store does not let us inspect is neither replaced nor taken over, and does not stop
//!   the comparison of the others.

use super::adopt::{ListingState, QUESTIONS_MAX, is_lasting};
use super::{ListingProgress, ObjectStore, StoredObject, Transfer};
use crate::model::{Failure, FailureClass, OverlapSign, RelPath};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Mutex, watch};

/// Maximum number of replaced files that are named in a review. Beyond it, the whole directory is compared.
const REPLACED_MAX: usize = 10_000;

/// The codes of a missing permission, which may concern one object. The answer to a HEAD has only a status.
const FORBIDDEN: [&str; 3] = ["AccessDenied", "Forbidden", "http-403"];

/// Whether the records have to be compared with the bucket.
#[derive(Debug)]
pub(super) struct ComparisonNeed {
    /// What suggests another writer since the last comparison began.
    sign: watch::Sender<OverlapSign>,
    /// What the state says. Locked while that changes.
    recorded: Mutex<OverlapSign>,
    /// An object that cannot be inspected was logged.
    logged: AtomicBool,
}

impl ComparisonNeed {
    pub(super) fn new(recorded: OverlapSign) -> Self {
        Self {
            sign: watch::Sender::new(recorded),
            recorded: Mutex::new(recorded),
            logged: AtomicBool::new(false),
        }
    }

    /// The state has this sign.
    pub(super) async fn set_recorded(&self, sign: OverlapSign) {
        let mut recorded = self.recorded.lock().await;
        *recorded = sign.max(*recorded);
        self.add(sign);
    }

    fn add(&self, sign: OverlapSign) {
        self.sign.send_if_modified(|known| {
            let is_surer = sign > *known;
            *known = sign.max(*known);
            is_surer
        });
    }

    fn sign(&self) -> OverlapSign {
        *self.sign.borrow()
    }
}

/// The result of a comparison.
#[derive(Debug, Default)]
pub struct OverlapReview {
    /// Recorded files whose objects are gone, or were replaced by another writer.
    pub replaced: Vec<RelPath>,
    /// The number of further such files.
    pub replaced_more: usize,
    /// The number of objects that were taken over.
    pub taken_over: usize,
}

impl<S: ObjectStore> Transfer<S> {
    /// Something suggests another writer: the bucket has to be compared with the records.
    pub async fn note_overlap(&self, sign: OverlapSign) {
        if self.is_ending() || sign <= self.overlap.sign() {
            return;
        }
        let mut recorded = self.overlap.recorded.lock().await;
        if sign > *recorded {
            self.records.record_overlap(sign).await;
            *recorded = sign;
        }
        self.overlap.add(sign);
    }

    /// Notes an overlap if another daemon wrote this object.
    pub(super) async fn note_other_mark(&self, object: &StoredObject) {
        if !object.ours && object.source.is_some() {
            self.note_overlap(OverlapSign::Noticed).await;
        }
    }

    /// Waits until something suggests another writer more surely than this does.
    pub async fn overlap_beyond(&self, sign: OverlapSign) -> OverlapSign {
        let mut signs = self.overlap.sign.subscribe();
        let surer = signs.wait_for(|known| *known > sign).await.map(|known| *known);
        // An error would mean that this transfer is gone.
        surer.unwrap_or(sign)
    }

    /// Compares as [`review_overlap`](Self::review_overlap) does, for the last time: what was noticed until
    /// now needs no other comparison.
    ///
    /// # Errors
    ///
    /// If the bucket cannot be listed or inspected now. The need stays on disk.
    pub async fn last_review(&self) -> Result<OverlapReview, Failure> {
        self.overlap.sign.send_replace(OverlapSign::Nothing);
        let review = self.review_overlap().await?;
        // The end may have prevented the comparison. The next start makes it.
        if !self.is_ending() {
            let mut recorded = self.overlap.recorded.lock().await;
            let is_over = self.overlap.sign() == OverlapSign::Nothing;
            if is_over && *recorded != OverlapSign::Nothing {
                self.records.record_overlap(OverlapSign::Nothing).await;
                *recorded = OverlapSign::Nothing;
            }
        }
        Ok(review)
    }

    /// Lists the bucket once, and compares the records with it.
    ///
    /// # Errors
    ///
    /// If it cannot be listed or inspected now.
    pub async fn review_overlap(&self) -> Result<OverlapReview, Failure> {
        let mut from = None;
        let mut first = true;
        let mut progress = ListingProgress::default();
        let mut review = OverlapReview::default();
        if self.is_ending() {
            return Ok(review);
        }
        loop {
            let page = match self.store.list(self.settings.prefix.as_str(), from).await {
                // The start has logged it.
                Err(failure) if is_lasting(&failure) => return Ok(review),
                page => page?,
            };
            from = progress.advance(&page)?;
            let objects = self.own_objects(page);
            self.records.add_to_comparison(objects.clone(), first).await;
            first = false;
            let unknown = self.records.find_unrecorded(objects).await;
            let found = self.find_taken_over(unknown, ListingState::Again).await?;
            review.taken_over += found.len();
            self.records.record_taken_over(found).await;
            if from.is_none() {
                break;
            }
        }
        loop {
            let differing = self.records.next_differing().await;
            if differing.is_empty() {
                break;
            }
            let replaced = self.confirm_replaced(differing).await?;
            for (path, _) in &replaced {
                if review.replaced.len() < REPLACED_MAX {
                    review.replaced.push(path.clone());
                } else {
                    review.replaced_more += 1;
                }
            }
            self.records.remove_replaced(replaced).await;
        }
        log_review(&review);
        Ok(review)
    }

    /// Those of these records whose objects are not there, or are of another writer. What an attempt of our
    /// own has just changed differs from the listing as well.
    async fn confirm_replaced(
        &self,
        differing: Vec<(RelPath, String)>,
    ) -> Result<Vec<(RelPath, String)>, Failure> {
        let asked = self.inspect_each(differing).await?;
        let mut replaced = Vec::new();
        for (path, etag, found) in asked {
            let is_recorded = |object: &StoredObject| {
                let found = object.etag.as_deref().unwrap_or_default();
                object.ours || found.trim_matches('"') == etag.trim_matches('"')
            };
            if found.as_ref().is_some_and(is_recorded) {
                continue;
            }
            if let Some(object) = &found {
                // Another daemon was here since the comparison before, and may still be.
                self.note_other_mark(object).await;
            }
            replaced.push((path, etag));
        }
        Ok(replaced)
    }

    /// What is in the bucket for each of these, without those that cannot be inspected.
    pub(super) async fn inspect_each<T: Send>(
        &self,
        paths: Vec<(RelPath, T)>,
    ) -> Result<Vec<(RelPath, T, Option<StoredObject>)>, Failure> {
        let asked = paths.into_iter().filter_map(|(path, known)| {
            let key = self.settings.prefix.key(&path).ok()?;
            Some(async move {
                match self.store.head(&key).await {
                    Ok(found) => Ok(Some((path, known, found))),
                    Err(failure) if is_about_one(&failure) => {
                        self.log_not_inspected(&path, &failure);
                        Ok(None)
                    }
                    Err(failure) => Err(failure),
                }
            })
        });
        let asked: Vec<_> = stream::iter(asked).buffered(QUESTIONS_MAX).try_collect().await?;
        Ok(asked.into_iter().flatten().collect())
    }

    fn log_not_inspected(&self, path: &RelPath, failure: &Failure) {
        if self.overlap.logged.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!(
            event = "bucket.not_reviewed",
            file.path = %path,
            error.r#type = %failure.code,
            error.message = %failure.message,
            "an object cannot be inspected, and stays as it is; further ones are not logged"
        );
    }
}

/// Whether the store may answer for other objects although it does not for this one. Other refusals, as of
/// expired credentials, concern all.
fn is_about_one(failure: &Failure) -> bool {
    let code = failure.code.as_str();
    match failure.class {
        FailureClass::Object => true,
        FailureClass::Refused => FORBIDDEN.contains(&code) || code.starts_with("KMS."),
        _ => false,
    }
}

fn log_review(review: &OverlapReview) {
    let replaced = review.replaced.len() + review.replaced_more;
    let taken_over = review.taken_over;
    if replaced + taken_over == 0 {
        tracing::info!(
            event = "bucket.reviewed",
            replaced,
            taken_over,
            "compared the recorded objects with the bucket: no other writer has changed them"
        );
    } else {
        tracing::warn!(
            event = "bucket.reviewed",
            replaced,
            taken_over,
            "another writer has changed the bucket: its changes are undone where this directory differs"
        );
    }
}
