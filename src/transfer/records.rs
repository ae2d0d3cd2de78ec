//! What the state says of the bucket: uploads that have started, so that none is left behind by a crash and
//! large ones continue, and what the initial listing, the probe and other writers have shown.
//!
//! Each method returns when the change is on disk, or after it was logged that it is not: the state then
//! retries it before its next write.

use super::ConditionSupport;
use crate::clock::unix_millis;
use crate::model::{ObjectRecord, OverlapSign, RelPath, StoredPart, UploadPlan, UploadRecord};
use crate::store::{
    Change, Listing, ListingObject, RANGE_ROWS_MAX, StartBound, StateBinding, StateLookup, Store,
    StoreError,
};
use std::sync::{Arc, Mutex, PoisonError};

/// The marker in the state of a store without conditions on deletes.
const UNCONDITIONAL: &str = ", no conditions on deletes";
/// Maximum number of records that a comparison with a listing returns at once.
const DIFFERING_MAX: usize = 10_000;

/// The result of the last probe, as recorded: the version that probed, and what it found.
#[must_use]
pub fn last_probe(bound: &StateBinding) -> Option<(&str, ConditionSupport)> {
    let note = bound.probed.as_deref()?;
    Some(match note.strip_suffix(UNCONDITIONAL) {
        Some(note) => (note, ConditionSupport::Ignored),
        None => (note, ConditionSupport::Honoured),
    })
}

/// Path, size and entity tag of an object in a listing.
pub(super) type ListedPath = (RelPath, u64, Option<String>);

/// What the state says of the bucket.
#[derive(Debug)]
pub struct BucketRecords {
    store: Store,
    /// The binding as it is on disk, or about to be.
    bound: Mutex<StateBinding>,
    /// Held from the change of the binding until it is on disk, so that it is written in the same order.
    writing: tokio::sync::Mutex<()>,
    /// The listing that the records are compared with.
    listing: Arc<Mutex<Option<ComparedListing>>>,
}

/// A listing, and the records that were compared with it.
#[derive(Debug)]
struct ComparedListing {
    listing: Listing,
    /// Where the next record is.
    from: StartBound,
}

impl BucketRecords {
    /// The records in `store`, whose binding is `bound`.
    #[must_use]
    pub fn new(store: Store, bound: StateBinding) -> Self {
        let writing = tokio::sync::Mutex::default();
        Self { store, bound: Mutex::new(bound), writing, listing: Arc::default() }
    }

    async fn note_bound(&self, change: impl FnOnce(&mut StateBinding)) {
        let _writing = self.writing.lock().await;
        let bound = {
            let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut bound);
            bound.clone()
        };
        self.note(vec![Change::Bound(bound)]).await;
    }

    fn has_takeover_pending(&self) -> bool {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner).takeover_pending
    }

    async fn note(&self, changes: Vec<Change>) {
        if let Err(error) = self.store.write(changes).await {
            tracing::error!(
                event = "state.write_failed",
                error.message = %error,
                "what the bucket may hold could not be noted; a crash now would forget it"
            );
        }
    }

    /// Records that an upload is about to start or, with its id, has started.
    pub(super) async fn record_upload_start(
        &self,
        path: &RelPath,
        plan: &UploadPlan,
        upload_id: Option<&str>,
    ) {
        let path = path.clone();
        let upload_id = upload_id.map(str::to_owned);
        let begun = unix_millis();
        let plan = *plan;
        let parts = Vec::new();
        let note = UploadRecord { path, upload_id, begun, plan, parts };
        self.note(vec![Change::UploadNoted(note)]).await;
    }

    /// Records that the store has this part of the upload of `path`.
    pub(super) async fn record_part(&self, path: &RelPath, part: &StoredPart) {
        self.note(vec![Change::PartStored(path.clone(), part.clone())]).await;
    }

    /// Records that the upload was completed or aborted.
    pub(super) async fn record_upload_end(&self, path: &RelPath, upload_id: Option<&str>) {
        let upload_id = upload_id.map(str::to_owned);
        self.note(vec![Change::UploadEnded(path.clone(), upload_id)]).await;
    }

    /// Records that the bucket has these objects. During a takeover, returns those without a record.
    pub(super) async fn record_listed(&self, objects: Vec<ListedPath>) -> Vec<RelPath> {
        if !self.has_takeover_pending() {
            let change = |(path, size, _)| Change::Listed(path, size);
            self.note(objects.into_iter().map(change).collect()).await;
            return Vec::new();
        }
        let paths: Vec<_> = objects.iter().map(|(path, ..)| path.clone()).collect();
        let change = |(path, size, etag)| Change::Found(path, size, etag);
        self.note(objects.into_iter().map(change).collect()).await;
        let questions = paths.iter().cloned().map(StateLookup::for_path).collect();
        // Entries that cannot be read now are inspected when the state can be read.
        let known = self.store.known(questions).await.unwrap_or_default();
        let unknown = paths.into_iter().zip(known).filter(|(_, known)| known.mirrored.is_none());
        unknown.map(|(path, _)| path).collect()
    }

    /// Records these objects, whose files are gone, unless their paths have a record.
    pub(super) async fn record_taken_over(&self, objects: Vec<(RelPath, ObjectRecord)>) {
        self.note(objects.into_iter().map(|(path, row)| Change::Inherited(path, row)).collect())
            .await;
    }

    /// Records that the bucket has no other objects, if the listing is `complete`, or that it cannot be
    /// listed; and what of it suggests another writer.
    pub(super) async fn record_listing_end(&self, complete: bool, sign: OverlapSign) {
        if complete && self.has_takeover_pending() {
            self.note(vec![Change::Reviewed]).await;
        }
        // If nothing can be listed, nothing can be found later.
        self.note_bound(|bound| {
            bound.listed = true;
            bound.takeover_pending &= complete;
            bound.overlap = bound.overlap.max(sign);
        })
        .await;
    }

    /// Returns those of these objects that are neither recorded nor known to be foreign.
    pub(super) async fn find_unrecorded(&self, objects: Vec<ListedPath>) -> Vec<RelPath> {
        let questions =
            objects.iter().map(|(path, ..)| StateLookup::for_path(path.clone())).collect();
        // Entries that cannot be read now are not taken over.
        let known = self.store.known(questions).await.unwrap_or_default();
        let unknown = objects.into_iter().zip(known).filter(|((_, size, _), known)| {
            known.mirrored.is_none() && known.listed != Some(*size)
        });
        unknown.map(|((path, ..), _)| path).collect()
    }

    /// Records that the takeover from other shards is complete.
    pub(super) async fn end_takeover(&self) {
        self.note_bound(|bound| bound.takeover_pending = false).await;
    }

    /// Records that the store was probed, and whether it honours conditions on deletes.
    pub(super) async fn record_probe(&self, note: &str, conditions: bool) {
        let note = format!("{note}{}", if conditions { "" } else { UNCONDITIONAL });
        self.note_bound(|bound| bound.probed = Some(note)).await;
    }

    /// Records what suggests another writer, so that the records have to be compared with the bucket.
    pub(super) async fn record_overlap(&self, sign: OverlapSign) {
        self.note_bound(|bound| bound.overlap = sign).await;
    }

    /// Adds a page of a listing to the comparison with the records; the `first` one starts a new comparison.
    pub(super) async fn add_to_comparison(&self, objects: Vec<ListedPath>, first: bool) {
        let listing = Arc::clone(&self.listing);
        let store = self.store.clone();
        let listed = |(path, size, etag)| (path, ListingObject { size, etag });
        let add = move || {
            let mut listing = listing.lock().unwrap_or_else(PoisonError::into_inner);
            if first {
                let empty = store.new_listing().map_err(|error| log_uncompared(&error)).ok();
                let from = StartBound::Start;
                *listing = empty.map(|listing| ComparedListing { listing, from });
            }
            let objects: Vec<_> = objects.into_iter().map(listed).collect();
            let added = listing.as_mut().map(|compared| compared.listing.add(&objects));
            if let Some(Err(error)) = added {
                log_uncompared(&error);
                *listing = None;
            }
        };
        run_blocking(add).await;
    }

    /// Returns the next records whose objects are not in that listing as recorded, with their entity tags; an
    /// empty list after the last ones.
    pub(super) async fn next_differing(&self) -> Vec<(RelPath, String)> {
        let store = self.store.clone();
        let listing = Arc::clone(&self.listing);
        let compare = move || {
            let mut listing = listing.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(compared) = listing.as_mut() else { return Vec::new() };
            let found = read_differing(&store, compared).unwrap_or_else(|error| {
                log_uncompared(&error);
                Vec::new()
            });
            if found.is_empty() {
                *listing = None;
            }
            found
        };
        run_blocking(compare).await
    }

    /// Records that these objects, by their recorded entity tags, are no longer ours.
    pub(super) async fn remove_replaced(&self, objects: Vec<(RelPath, String)>) {
        let change = |(path, etag)| Change::Replaced(path, etag);
        self.note(objects.into_iter().map(change).collect()).await;
    }
}

/// The next records whose objects the listing has not, or has with other entity tags. Blocks.
fn read_differing(
    store: &Store,
    compared: &mut ComparedListing,
) -> Result<Vec<(RelPath, String)>, StoreError> {
    let mut differing = Vec::new();
    loop {
        let page = store.range_blocking(RelPath::root(), compared.from.clone(), RANGE_ROWS_MAX)?;
        if page.is_empty() {
            return Ok(differing);
        }
        for (path, mirrored) in page {
            compared.from = StartBound::After(path.clone());
            let Some(etag) = mirrored.etag else { continue };
            let listed = compared.listing.object(&path)?;
            // Some stores write entity tags with quotes in one place and without in another.
            let equal = |listed: &str| listed.trim_matches('"') == etag.trim_matches('"');
            let same = listed.is_some_and(|object| object.etag.as_deref().is_none_or(equal));
            if !same {
                differing.push((path, etag));
            }
            if differing.len() >= DIFFERING_MAX {
                return Ok(differing);
            }
        }
    }
}

async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn log_uncompared(error: &StoreError) {
    tracing::warn!(
        event = "bucket.not_reviewed",
        error.message = %error,
        "the records cannot be compared with the listing of the bucket"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Fingerprint, RootGeneration, Shard};
    use std::collections::BTreeSet;

    #[tokio::test]
    async fn a_comparison_returns_every_record_that_differs() {
        let directory = tempfile::tempdir().expect("a directory");
        let opened = Store::open(directory.path(), "b/p", Shard::default(), 42).expect("a state");
        let bound = StateBinding {
            target: "b/p".into(),
            source: "7".into(),
            origin: None,
            epoch: RootGeneration(1),
            owner: "o".into(),
            listed: true,
            takeover_pending: false,
            overlap: OverlapSign::Noticed,
            probed: None,
        };
        let count = DIFFERING_MAX + 50;
        let record = ObjectRecord {
            etag: Some("\"1\"".into()),
            ..ObjectRecord::from_file(Fingerprint::with_size(1), RootGeneration(1))
        };
        let path = |number: usize| RelPath::new(number.to_string().as_bytes()).expect("a path");
        let rows = (0..=count).map(|number| Change::Mirrored(path(number), record.clone()));
        opened.store.write(rows.collect()).await.expect("written");
        let recorded = BucketRecords::new(opened.store.clone(), bound);
        let same = (path(0), 1, Some("\"1\"".to_owned()));
        recorded.add_to_comparison(vec![same], true).await;
        let mut seen = BTreeSet::new();
        loop {
            let differing = recorded.next_differing().await;
            if differing.is_empty() {
                break;
            }
            assert!(differing.len() <= DIFFERING_MAX);
            seen.extend(differing.iter().map(|(path, _)| path.clone()));
            recorded.remove_replaced(differing).await;
        }
        assert_eq!(seen.len(), count);
        assert!(!seen.contains(&path(0)));
    }
}
