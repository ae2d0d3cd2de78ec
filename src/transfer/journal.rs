//! What the transfer notes in the state.

use crate::model::{ObjectRecord, OverlapSign, RelPath, StoredPart, UploadPlan};

/// Where it is noted what the bucket may hold: multipart uploads, so that none is left behind by a
/// crash and large ones go on, and what was there when the record was new.
pub trait Journal: Send + Sync + 'static {
    /// Answers when it is on disk that an upload is about to begin, or, with its id, has begun.
    fn begun(
        &self,
        path: &RelPath,
        plan: &UploadPlan,
        upload_id: Option<&str>,
    ) -> impl Future<Output = ()> + Send;
    /// Answers when it is on disk that the store has this part of the path's upload.
    fn stored(&self, path: &RelPath, part: &StoredPart) -> impl Future<Output = ()> + Send;
    /// The upload was completed or aborted.
    fn ended(&self, path: &RelPath, upload_id: Option<&str>) -> impl Future<Output = ()> + Send;
    /// Answers when it is on disk that the bucket has objects of these sizes and entity tags; during a
    /// takeover, with those that are not recorded.
    fn listed(
        &self,
        objects: Vec<(RelPath, u64, Option<String>)>,
    ) -> impl Future<Output = Vec<RelPath>> + Send;
    /// Answers when it is on disk that these objects are of files that are gone, unless they are
    /// recorded.
    fn inherited(&self, objects: Vec<(RelPath, ObjectRecord)>) -> impl Future<Output = ()> + Send;
    /// Answers when it is on disk that the bucket has nothing else, if it was listed to its end, or that
    /// it cannot be listed; and what of it suggests another writer.
    fn listing_ended(&self, complete: bool, sign: OverlapSign) -> impl Future<Output = ()> + Send;
    /// Which of these objects are neither recorded nor known to be foreign.
    fn unrecorded(
        &self,
        objects: Vec<(RelPath, u64, Option<String>)>,
    ) -> impl Future<Output = Vec<RelPath>> + Send;
    /// Answers when it is on disk that the takeover from other shards is complete.
    fn heir_no_more(&self) -> impl Future<Output = ()> + Send;
    /// Answers when it is on disk that the store was asked what it can do, and whether it knows conditions
    /// on deletes.
    fn probed(&self, note: &str, conditions: bool) -> impl Future<Output = ()> + Send;
    /// Answers when it is on disk what suggests another writer, so that the records have to be compared
    /// with the bucket.
    fn overlap(&self, sign: OverlapSign) -> impl Future<Output = ()> + Send;
    /// Notes a page of a listing, the `first` one or another, for the comparison with records.
    fn compare(
        &self,
        objects: Vec<(RelPath, u64, Option<String>)>,
        first: bool,
    ) -> impl Future<Output = ()> + Send;
    /// The next records whose objects are not in that listing as recorded, with their entity tags; none after
    /// the last ones.
    fn differing(&self) -> impl Future<Output = Vec<(RelPath, String)>> + Send;
    /// Answers when it is on disk that these objects, by their recorded entity tags, are no longer ours.
    fn replaced(&self, objects: Vec<(RelPath, String)>) -> impl Future<Output = ()> + Send;
}
