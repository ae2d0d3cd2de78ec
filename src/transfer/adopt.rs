//! What was in the bucket when the record was new.
//!
//! A record that was lost, or was bound to another bucket, knows nothing of objects that are there.
//! Before the first try the bucket is listed once; a file whose object has its size is compared with
//! it before it is sent, and taken over if it is the same. Nothing is deleted because of a listing.
//!
//! A shard takes over objects of other shards with the same listing: see `takeover`.
//!
//! A listing that fails is a try that failed: the queue waits and asks again as it does for any.

use super::records::ListedPath;
use super::{ListingProgress, ObjectStore, Page, Transfer, capabilities};
use crate::model::{Failure, FailureClass, OverlapSign, RelPath};
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// Objects that are not recorded and are asked about at once; as everything no more than the pace allows.
pub(super) const QUESTIONS_MAX: usize = 32;

/// Whether the bucket was looked through before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListingState {
    First,
    Again,
}

/// What a listing has found.
#[derive(Debug, Default)]
pub(super) struct ListingFindings {
    objects: usize,
    pub(super) taken: usize,
}

/// Whether a listing that failed so will fail in the same way again: it is not allowed, the store does
/// not know it, or the store's pages do not lead to an end.
pub(super) fn is_lasting(failure: &Failure) -> bool {
    let unknown = ["AccessDenied", "NotImplemented", "http-501"].contains(&failure.code.as_str());
    unknown || failure.class == FailureClass::Object
}

/// What must be done before the first attempt.
#[derive(Debug)]
pub(super) struct PreparedRecords {
    listed: bool,
    /// When it could not be listed the last time, and why.
    failed: Option<(Instant, Failure)>,
    probes_left: u8,
}

impl PreparedRecords {
    pub(super) fn new(listed: bool) -> Self {
        Self { listed, failed: None, probes_left: capabilities::PROBES_MAX }
    }
}

impl<S: ObjectStore> Transfer<S> {
    /// Lists the bucket, if that was never done for this record, and asks the store what it can do. One
    /// try does it, others wait.
    ///
    /// # Errors
    ///
    /// If it could not be listed to the end.
    pub async fn prepare(&self) -> Result<(), Failure> {
        let waiting = Instant::now();
        let mut prepared = self.prepared.lock().await;
        if let Some((at, failure)) = &prepared.failed
            && waiting < *at
        {
            // It was for this try as well.
            return Err(failure.clone());
        }
        if !prepared.listed {
            let listed = self.list(ListingState::First).await;
            let complete = listed.is_ok();
            let is_empty = listed.as_ref().is_ok_and(|seen| seen.objects == 0);
            match listed {
                Ok(seen) => tracing::info!(
                    event = "bucket.listed",
                    objects = seen.objects,
                    "listed the bucket once, as the record is new: what is there and equal is not sent"
                ),
                // What cannot be listed may still take objects.
                Err(failure) if is_lasting(&failure) => tracing::warn!(
                    event = "bucket.not_listed",
                    error.type = failure.code,
                    error.message = failure.message,
                    "the bucket cannot be listed: everything is sent, whether it is there or not"
                ),
                Err(failure) => {
                    prepared.failed = Some((Instant::now(), failure.clone()));
                    return Err(failure);
                }
            }
            let sign = match is_empty {
                // A shard lists again in any case.
                _ if self.settings.takeover_pending => OverlapSign::Nothing,
                true => OverlapSign::NewState,
                // Another instance has written what is there, and may still run.
                false => OverlapSign::Noticed,
            };
            self.records.record_listing_end(complete, sign).await;
            self.overlap.set_recorded(sign).await;
            self.knows_absence.store(complete, Ordering::Relaxed);
            (prepared.listed, prepared.failed) = (true, None);
        }
        if prepared.probes_left > 0 {
            let done = self.probe().await;
            prepared.probes_left = if done { 0 } else { prepared.probes_left - 1 };
        }
        Ok(())
    }

    /// Whether that was done.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        // The holder of the lock is about to list.
        self.prepared.try_lock().is_ok_and(|prepared| prepared.listed)
    }

    pub(super) async fn list(&self, which: ListingState) -> Result<ListingFindings, Failure> {
        let mut from = None;
        let mut seen = ListingFindings::default();
        let mut progress = ListingProgress::default();
        loop {
            let page = self.store.list(self.settings.prefix.as_str(), from).await?;
            from = progress.advance(&page)?;
            let objects = self.own_objects(page);
            seen.objects += objects.len();
            let unknown = match which {
                ListingState::First => self.records.record_listed(objects).await,
                ListingState::Again => self.records.find_unrecorded(objects).await,
            };
            if self.settings.takeover_pending {
                let found = self.find_taken_over(unknown, which).await?;
                seen.taken += found.len();
                self.records.record_taken_over(found).await;
            }
            if from.is_none() {
                return Ok(seen);
            }
        }
    }

    /// The objects of a page that are of this process's own paths.
    pub(super) fn own_objects(&self, page: Page) -> Vec<ListedPath> {
        let prefix = self.settings.prefix.as_str();
        let own = page.objects.into_iter().filter_map(|object| {
            let name = object.key.strip_prefix(prefix)?;
            let path = RelPath::new(name.as_bytes()).ok()?;
            self.settings.share.has_file(&path).then_some((path, object.size, object.etag))
        });
        own.collect()
    }
}
