//! A shard takes over the objects of its paths that other shards have left.
//!
//! # Steps
//!
//! 1. The state is opened for another shard, or again for the same one (`store::share`): rows of paths that
//!    are not its own are removed, and a takeover is pending. It stays so until the last step.
//! 2. The bucket is listed, as for a new state (`adopt`). Rows of objects that are not there, or are others,
//!    are removed: while a shard did not run, its paths may have been another one's.
//! 3. An object may have lost its file while no shard covered it. If its mark says that it was made from this
//!    directory, it is recorded, and the next scan finds it as it finds every recorded file that is missing,
//!    or not as recorded. An object without such a mark stays unknown, and untouched.
//! 4. While the number of shards changes, the earlier ones continue, and one of them may still upload a file
//!    that is removed before the new shard has inspected it: no state would name that object. So the bucket
//!    is listed again some time after the start (`engine::run::takeover`), only for objects without a record
//!    and that this shard did not make. That is repeated for as long as there are any.
//!
//! The comparison with another writer (`overlap`) takes over objects in the same way.

use super::adopt::{ListingFindings, ListingState};
use super::delete::still_absent;
use super::{ObjectStore, StoredObject, Transfer};
use crate::model::{Failure, Fingerprint, ObjectRecord, RelPath, RootGeneration, Version};

impl<S: ObjectStore> Transfer<S> {
    /// Whether there may be objects without a file to take over from another shard.
    #[must_use]
    pub fn has_takeover_pending(&self) -> bool {
        self.settings.takeover_pending
    }

    /// Lists the bucket once more for what another shard has sent since, and says whether there was
    /// anything: then it may be still at work.
    ///
    /// # Errors
    ///
    /// If it could not be listed to the end.
    pub async fn relist_for_takeover(&self) -> Result<bool, Failure> {
        let ListingFindings { taken, .. } = self.list(ListingState::Again).await?;
        tracing::info!(
            event = "shard.reviewed",
            taken_over = taken,
            "listed the bucket again for what another shard has sent after this one began"
        );
        if taken == 0 {
            self.records.end_takeover().await;
        }
        Ok(taken > 0)
    }

    /// Returns records for those of `paths` whose objects were made from this directory. Objects of our own
    /// uploads are left out of a repeated listing: their records are on the way to the state.
    pub(super) async fn find_taken_over(
        &self,
        paths: Vec<RelPath>,
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
            Some((
                path,
                taken_over_record(
                    version,
                    found.crc64nvme.unwrap_or_default(),
                    etag,
                    self.settings.epoch,
                ),
            ))
        };
        Ok(asked.into_iter().filter_map(own).collect())
    }
}

/// The record of an object whose file was never inspected. No file equals it, so that an existing one is
/// read and compared.
fn taken_over_record(
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
