//! Lists the bucket page by page, and plans every object of a page at once.

use super::download::DownloadItem;
use super::keys::{KeyKind, classify};
use super::pages::{ObjectPage, Pages};
use super::plan::{Present, RestoreRun, RestoreStep, decide};
use super::publish::record;
use super::{Restore, RestoreError, RestoreEvent};
use crate::escape::Printable;
use crate::model::{Failure, Fingerprint, RelPath, RootGeneration, Version};
use crate::root::{FileKind, InspectError, Root};
use crate::store::{Change, StateLookup, Store};
use crate::transfer::{ListedObject, ObjectRef, checksum_of};
use std::sync::Arc;

/// What becomes of an object.
#[derive(Debug)]
pub(super) enum PlannedFile {
    Fetch(DownloadItem),
    Compare(DownloadItem, Fingerprint),
    /// It cannot be brought, for this reason, and there is no file.
    Leave(RelPath, String),
    Event(RestoreEvent),
}

/// The listing up to its first object that counts.
#[derive(Debug)]
pub struct FirstPages {
    page: ObjectPage,
    pages: Pages,
    is_empty: bool,
}

impl FirstPages {
    pub(super) async fn list(restore: &Restore) -> Result<Self, Failure> {
        let Restore { fetcher, prefix, scope, .. } = restore;
        let counts = |object: &ListedObject| {
            let kind = classify(prefix.as_str(), &object.key, object.size);
            !matches!(kind, KeyKind::Folder | KeyKind::Own)
        };
        let mut pages = Pages::new(scope.at());
        while let Some(page) = pages.next(fetcher, prefix).await? {
            let is_empty = page.unknown.is_empty() && !page.objects.iter().any(counts);
            if !is_empty || page.is_last {
                return Ok(Self { page, pages, is_empty });
            }
        }
        // The last page is one of those above.
        Ok(Self { page: ObjectPage::default(), pages, is_empty: true })
    }

    /// Whether there is no object that is a file or should be one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }
}

/// Plans page after page.
pub(super) struct Planner<'a> {
    restore: &'a Restore,
    /// The next page, if it was listed already.
    listed: Option<ObjectPage>,
    pages: Pages,
    root: Option<Arc<Root>>,
    store: Store,
    run: RestoreRun,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        restore: &'a Restore,
        first: FirstPages,
        root: Option<Arc<Root>>,
        store: Store,
        run: RestoreRun,
    ) -> Self {
        let FirstPages { page, pages, .. } = first;
        Self { restore, listed: Some(page), pages, root, store, run }
    }

    /// The next page; `None` after the last.
    pub(super) async fn next_page(&mut self) -> Result<Option<Vec<PlannedFile>>, RestoreError> {
        let Restore { fetcher, prefix, .. } = self.restore;
        let page = match self.listed.take() {
            Some(page) => Some(page),
            None => self.pages.next(fetcher, prefix).await.map_err(RestoreError::Store)?,
        };
        let Some(ObjectPage { objects, unknown, is_last }) = page else { return Ok(None) };
        let (mut planned, items) = self.sort(objects);
        planned.extend(unknown.into_iter().filter_map(|key| self.unknown(&key)));
        let bytes = items.iter().map(|item| item.size).sum();
        let listed = RestoreEvent::Listed { objects: items.len() as u64, bytes, last: is_last };
        planned.push(PlannedFile::Event(listed));
        planned.extend(self.plan(items).await?);
        Ok(Some(planned))
    }

    /// What becomes of a key whose object of the wanted time is unknown.
    fn unknown(&self, key: &str) -> Option<PlannedFile> {
        let Restore { prefix, filter, scope, .. } = self.restore;
        let reason = "it is younger, and the bucket keeps no versions".to_owned();
        let path = match classify(prefix.as_str(), key, u64::MAX) {
            KeyKind::File(path) => path,
            KeyKind::Own => return None,
            KeyKind::Folder | KeyKind::Unnameable(_) => {
                let name = Printable(key).to_string();
                return Some(PlannedFile::Event(RestoreEvent::Skipped { name, reason }));
            }
        };
        let is_wanted = filter.is_own(&path) && scope.includes(&path);
        is_wanted.then_some(PlannedFile::Leave(path, reason))
    }

    /// Separates files from what cannot be one.
    fn sort(&self, objects: Vec<ListedObject>) -> (Vec<PlannedFile>, Vec<DownloadItem>) {
        let Restore { prefix, filter, scope, .. } = self.restore;
        let mut planned = Vec::new();
        let mut items = Vec::with_capacity(objects.len());
        for object in objects {
            let path = match classify(prefix.as_str(), &object.key, object.size) {
                KeyKind::File(path) => path,
                KeyKind::Folder | KeyKind::Own => continue,
                KeyKind::Unnameable(reason) => {
                    let name = Printable(&object.key).to_string();
                    planned.push(PlannedFile::Event(RestoreEvent::Skipped {
                        name,
                        reason: reason.to_owned(),
                    }));
                    continue;
                }
            };
            if !filter.is_own(&path) || !scope.includes(&path) {
                continue;
            }
            // The path is the key without its prefix, so there is a key.
            let Ok(key) = prefix.key(&path) else { continue };
            let ListedObject { size, etag, modified_ns, version_id, is_superseded, .. } = object;
            let object = ObjectRef { key, version_id };
            let is_recorded = !is_superseded && filter.wants_file(&path);
            items.push(DownloadItem { object, path, size, etag, modified_ns, is_recorded });
        }
        (planned, items)
    }

    async fn plan(&self, items: Vec<DownloadItem>) -> Result<Vec<PlannedFile>, RestoreError> {
        let Some(root) = self.root.as_ref().filter(|_| self.run.may_find_files()) else {
            return Ok(items.into_iter().map(PlannedFile::Fetch).collect());
        };
        let questions =
            items.iter().map(|item| StateLookup::with_bucket(item.path.clone())).collect();
        let known = self.store.known(questions).await?;
        let root = Arc::clone(root);
        let run = self.run;
        let looking = move || -> Result<Vec<PlannedFile>, RestoreError> {
            let plan = |(item, known): (DownloadItem, crate::store::RecordedState)| {
                let present = look(&root, &item.path)?;
                let listed = (item.size, item.etag.as_deref());
                Ok(match decide(present, known.mirrored.as_ref(), listed, run) {
                    RestoreStep::Fetch => PlannedFile::Fetch(item),
                    RestoreStep::Compare(file) => PlannedFile::Compare(item, file),
                    RestoreStep::Done => PlannedFile::Event(RestoreEvent::There),
                    RestoreStep::Keep => PlannedFile::Event(RestoreEvent::Kept),
                    RestoreStep::Leave(reason) => PlannedFile::Leave(item.path, reason),
                    RestoreStep::Skip(reason) => PlannedFile::Event(RestoreEvent::Skipped {
                        name: item.path.to_string(),
                        reason,
                    }),
                })
            };
            root.confirm()?;
            items.into_iter().zip(known).map(plan).collect()
        };
        match tokio::task::spawn_blocking(looking).await {
            Ok(planned) => planned,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// Notes every object that has no record as one of another directory: the restore has left it out. A shard
/// takes over what has no record at each start, and would delete it.
pub(super) async fn disown_the_rest(restore: &Restore, store: &Store) -> Result<(), RestoreError> {
    let Restore { fetcher, prefix, filter, .. } = restore;
    let mut pages = Pages::new(None);
    while let Some(page) = pages.next(fetcher, prefix).await.map_err(RestoreError::Store)? {
        let of_another = |object: ListedObject| {
            let KeyKind::File(path) = classify(prefix.as_str(), &object.key, object.size) else {
                return None;
            };
            let fingerprint = Fingerprint { size: object.size, ..Fingerprint::default() };
            let row = record(0, object.etag, fingerprint, RootGeneration::default());
            filter.is_own(&path).then_some(Change::Inherited(path, row))
        };
        store.write(page.objects.into_iter().filter_map(of_another).collect()).await?;
    }
    Ok(())
}

pub(super) fn look(root: &Root, path: &RelPath) -> Result<Present, RestoreError> {
    Ok(match root.look(path) {
        Ok(stat) if stat.kind == FileKind::File => Present::File(stat.fingerprint),
        Ok(stat) => {
            let reason = format!("a {} with this name is there, and stays", stat.kind.as_str());
            Present::InTheWay(reason)
        }
        Err(InspectError::Gone) => Present::Nothing,
        Err(InspectError::Io(error)) => return Err(RestoreError::Disk(error)),
        Err(error) => Present::InTheWay(error.to_string()),
    })
}

/// Finds out whether a file that an earlier run may have brought is the object, and records it if so.
pub(super) async fn compare(
    restore: &Restore,
    (root, store): (&Arc<Root>, &Store),
    item: DownloadItem,
    file: Fingerprint,
    run: RestoreRun,
) -> Result<Option<RestoreEvent>, RestoreError> {
    let name = item.path.to_string();
    let skipped = || RestoreEvent::Skipped {
        name: name.clone(),
        reason: "another file is there already, and stays as it is".to_owned(),
    };
    let facts = match restore.fetcher.facts(&item.object).await {
        Ok(Some(facts)) => facts,
        Ok(None) => return Ok(None),
        Err(failure) => {
            let reason = format!("{}: {}", failure.code, failure.message);
            return Ok(Some(RestoreEvent::Failed { name, reason }));
        }
    };
    let beneath = Arc::clone(root);
    let path = item.path.clone();
    let version = Version::from_fingerprint(&file);
    let reading = move || checksum_of(&beneath, &path, version).ok();
    let sum = match tokio::task::spawn_blocking(reading).await {
        Ok(sum) => sum,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    // Where the store keeps no checksum, the time that the restore has set speaks for the file.
    let is_same = match (facts.crc64nvme, sum) {
        (Some(wanted), Some(sum)) => wanted == sum,
        (None, Some(_)) => facts.mtime_ns.or(facts.modified_ns) == Some(file.mtime_ns),
        (_, None) => false,
    };
    let Some(crc64nvme) = sum.filter(|_| is_same && facts.size == file.size) else {
        return Ok(Some(skipped()));
    };
    if item.is_recorded {
        let row = record(crc64nvme, facts.etag, file, run.epoch);
        store.write(vec![Change::Mirrored(item.path, row)]).await?;
    }
    Ok(Some(RestoreEvent::There))
}
