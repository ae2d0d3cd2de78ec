//! What was in the bucket when the record was new.
//!
//! A record that was lost, or was bound to another bucket, knows nothing of objects that are there.
//! Before the first try the bucket is listed once; a file whose object has its size is compared with
//! it before it is sent, and taken over if it is the same. Nothing is deleted because of a listing.
//!
//! # Takeovers
//!
//! While a shard did not run, its paths may have been another one's. So each start of one compares the
//! state with the listing: rows of objects that are not there, or are others, are removed. And an
//! object may have lost its file while no shard covered it: if its mark says that it was made from this
//! directory, it is recorded, and the next scan finds it as it finds every recorded file that is gone,
//! or not as recorded. What has no such mark stays unknown, and untouched.
//!
//! While the numbers change, the earlier shards continue, and one of them may still upload a file that is
//! removed before the new shard has seen it at rest: no state would name that object. So a shard lists
//! again some time after its start, only for objects that are not recorded and that it did not make, and
//! repeats that for as long as there are any.
//!
//! A listing that fails is a try that failed: the queue waits and asks again as it does for any.

use super::delete::still_absent;
use super::{Journal, ListingProgress, ObjectStore, Page, StoredObject, Transfer, probe};
use crate::model::{
    Failure, FailureClass, Fingerprint, ObjectRecord, OverlapSign, RelPath, RootGeneration, Version,
};
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// Objects that are not recorded and are asked about at once; as everything no more than the pace allows.
pub(super) const QUESTIONS_MAX: usize = 32;

/// Of an object of a listing its path, size and entity tag.
type AdoptedObject = (RelPath, u64, Option<String>);

/// Whether the bucket was looked through before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListingState {
    First,
    Again,
}

/// What a listing has found.
#[derive(Debug, Default)]
struct ListingFindings {
    objects: usize,
    taken: usize,
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
        Self { listed, failed: None, probes_left: probe::PROBES_MAX }
    }
}

impl<S: ObjectStore, J: Journal> Transfer<S, J> {
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
                _ if self.settings.heir => OverlapSign::Nothing,
                true => OverlapSign::NewState,
                // Another instance has written what is there, and may still run.
                false => OverlapSign::Noticed,
            };
            self.journal.listing_ended(complete, sign).await;
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

    /// Whether there may be objects without a file to take over from another shard.
    #[must_use]
    pub fn is_heir(&self) -> bool {
        self.settings.heir
    }

    /// Lists the bucket once more for what another shard has sent since, and says whether there was
    /// anything: then it may be still at work.
    ///
    /// # Errors
    ///
    /// If it could not be listed to the end.
    pub async fn review_again(&self) -> Result<bool, Failure> {
        let ListingFindings { taken, .. } = self.list(ListingState::Again).await?;
        tracing::info!(
            event = "shard.reviewed",
            taken_over = taken,
            "listed the bucket again for what another shard has sent after this one began"
        );
        if taken == 0 {
            self.journal.heir_no_more().await;
        }
        Ok(taken > 0)
    }

    async fn list(&self, which: ListingState) -> Result<ListingFindings, Failure> {
        let mut from = None;
        let mut seen = ListingFindings::default();
        let mut progress = ListingProgress::default();
        loop {
            let page = self.store.list(self.settings.prefix.as_str(), from).await?;
            from = progress.advance(&page)?;
            let objects = self.own_objects(page);
            seen.objects += objects.len();
            let unknown = match which {
                ListingState::First => self.journal.listed(objects).await,
                ListingState::Again => self.journal.unrecorded(objects).await,
            };
            if self.settings.heir {
                let inherited = self.inherited(unknown, self.settings.epoch, which).await?;
                seen.taken += inherited.len();
                self.journal.inherited(inherited).await;
            }
            if from.is_none() {
                return Ok(seen);
            }
        }
    }

    /// The objects of a page that are of this process's own paths.
    pub(super) fn own_objects(&self, page: Page) -> Vec<AdoptedObject> {
        let prefix = self.settings.prefix.as_str();
        let own = page.objects.into_iter().filter_map(|object| {
            let name = object.key.strip_prefix(prefix)?;
            let path = RelPath::new(name.as_bytes()).ok()?;
            self.settings.share.has_file(&path).then_some((path, object.size, object.etag))
        });
        own.collect()
    }

    /// Those of `paths` whose objects were made from this directory, as if we had made them. What this
    /// record's own uploads make while it looks again is on its way into it.
    pub(super) async fn inherited(
        &self,
        paths: Vec<RelPath>,
        epoch: RootGeneration,
        which: ListingState,
    ) -> Result<Vec<(RelPath, ObjectRecord)>, Failure> {
        let asked = paths.into_iter().map(|path| (path, ())).collect();
        let asked = self.inspect_each(asked).await?;
        let own = |(path, (), found): (RelPath, (), Option<StoredObject>)| {
            let found = found?;
            let ours = found.source.as_deref() == Some(&*self.settings.source)
                && (which == ListingState::First || !found.ours);
            // Without an entity tag a delete could hit a foreign object in its place. Without a
            // checksum a file that is there could not be distinguished from another.
            let etag = found.etag.filter(|_| ours)?;
            let known = found.crc64nvme.is_some() || still_absent(&self.root, &path).is_ok();
            let version = found.version.filter(|_| known)?;
            Some((path, of_an_heir(version, found.crc64nvme.unwrap_or_default(), etag, epoch)))
        };
        Ok(asked.into_iter().filter_map(own).collect())
    }
}

/// What a record says of an object whose file it never saw: no file is like it, so that one that is there
/// is read and compared.
fn of_an_heir(
    version: Version,
    crc64nvme: u64,
    etag: String,
    epoch: RootGeneration,
) -> ObjectRecord {
    ObjectRecord {
        fingerprint: Fingerprint {
            size: version.size,
            mtime_ns: version.mtime_ns,
            ctime_ns: 0,
            btime_ns: 0,
            device: 0,
            inode: 0,
            mode: 0,
        },
        crc64nvme,
        etag: Some(etag),
        racy: true,
        epoch,
        head: None,
    }
}
