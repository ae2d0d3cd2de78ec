//! The state as the transfer sees it, in memory.

use crate::model::{ObjectRecord, OverlapSign, RelPath, StoredPart, UploadPlan, UploadRecord};
use crate::transfer::Journal;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// Path, size and entity tag of an object of a listing.
type Listed = (RelPath, u64, Option<String>);

/// What the state says of the bucket.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    pub(super) mirrored: BTreeMap<RelPath, ObjectRecord>,
    pub(super) uploads: BTreeMap<RelPath, UploadRecord>,
    /// Sizes of objects that were there when the state was new.
    pub(super) listed: BTreeMap<RelPath, u64>,
    /// The listing that records are compared with.
    compared: Option<BTreeMap<RelPath, Option<String>>>,
}

/// Keeps what the transfer notes. Cheap to clone; all clones are the same state.
#[derive(Debug, Default, Clone)]
pub(super) struct Notes(Arc<Mutex<Recorded>>);

impl Notes {
    pub(super) fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().expect("sound")
    }

    pub(super) fn of(&self, path: &RelPath) -> Option<ObjectRecord> {
        self.recorded().mirrored.get(path).cloned()
    }
}

impl Journal for Notes {
    async fn begun(&self, path: &RelPath, plan: &UploadPlan, upload_id: Option<&str>) {
        let upload_id = upload_id.map(str::to_owned);
        let path = path.clone();
        let note = UploadRecord { path, upload_id, begun: 0, plan: *plan, parts: Vec::new() };
        self.recorded().uploads.insert(note.path.clone(), note);
    }

    async fn stored(&self, path: &RelPath, part: &StoredPart) {
        self.recorded().uploads.get_mut(path).expect("begun").parts.push(part.clone());
    }

    async fn ended(&self, path: &RelPath, _: Option<&str>) {
        self.recorded().uploads.remove(path);
    }

    async fn listed(&self, objects: Vec<Listed>) -> Vec<RelPath> {
        let sizes = objects.into_iter().map(|(path, size, _)| (path, size));
        self.recorded().listed.extend(sizes);
        Vec::new()
    }

    async fn inherited(&self, objects: Vec<(RelPath, ObjectRecord)>) {
        let mut recorded = self.recorded();
        for (path, record) in objects {
            recorded.mirrored.entry(path).or_insert(record);
        }
    }

    async fn listing_ended(&self, _: bool, _: OverlapSign) {}

    async fn unrecorded(&self, objects: Vec<Listed>) -> Vec<RelPath> {
        let recorded = self.recorded();
        let is_unknown = |(path, size, _): &Listed| {
            !recorded.mirrored.contains_key(path) && recorded.listed.get(path) != Some(size)
        };
        objects.into_iter().filter(is_unknown).map(|(path, ..)| path).collect()
    }

    async fn heir_no_more(&self) {}

    async fn probed(&self, _: &str, _: bool) {}

    async fn overlap(&self, _: OverlapSign) {}

    async fn compare(&self, objects: Vec<Listed>, first: bool) {
        let mut recorded = self.recorded();
        if first {
            recorded.compared = Some(BTreeMap::new());
        }
        let tags = objects.into_iter().map(|(path, _, etag)| (path, etag));
        recorded.compared.as_mut().expect("the first page came").extend(tags);
    }

    async fn differing(&self) -> Vec<(RelPath, String)> {
        let mut recorded = self.recorded();
        let Some(listing) = recorded.compared.take() else { return Vec::new() };
        let differs = |(path, record): (&RelPath, &ObjectRecord)| {
            let etag = record.etag.clone()?;
            let same = listing.get(path).is_some_and(|listed| listed.as_ref() == Some(&etag));
            (!same).then(|| (path.clone(), etag))
        };
        recorded.mirrored.iter().filter_map(differs).collect()
    }

    async fn replaced(&self, objects: Vec<(RelPath, String)>) {
        let mut recorded = self.recorded();
        for (path, etag) in objects {
            if recorded.mirrored.get(&path).is_some_and(|record| record.etag == Some(etag)) {
                recorded.mirrored.remove(&path);
            }
        }
    }
}
