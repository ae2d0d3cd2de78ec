//! What was in the bucket when the record was new.
//!
//! A record that was lost, or was bound to another bucket, knows nothing of objects that are there.
//! Before the first try the bucket is listed once; a file whose object has its size is compared with
//! it before it is sent, and taken over if it is the same. Nothing is deleted because of a listing.
//!
//! # Heirs
//!
//! While a shard did not run, its paths may have been another one's. So each start of one compares the
//! record with the listing: rows of objects that are not there, or are others, are forgotten. And an
//! object may have lost its file while nobody looked: if its mark says that it was made from this very
//! directory, it is recorded, and the next comparison finds it as it finds every recorded file that is
//! gone, or not as recorded. What carries no such mark stays unknown, and untouched.
//!
//! While the numbers change, the shards of before go on, and one of them may still send a file that goes
//! before its heir has seen it at rest: no record would know of that object. So an heir looks again some
//! time after its start, for objects alone that are not recorded and that it did not make, and goes on
//! looking for as long as there are any.
//!
//! A listing that fails is a try that failed: the queue waits and asks again as it does for any.

use super::delete::still_absent;
use super::{Journal, ObjectStore, StoredObject, Transfer, probe};
use crate::model::{Epoch, Failure, Fingerprint, Mirrored, RelPath, Version};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

/// Objects that are not recorded and are asked about at once; as everything no more than the pace allows.
const QUESTIONS_MAX: usize = 32;

/// Of an object of a listing its path, size and entity tag.
type Listed = (RelPath, u64, Option<String>);

/// Whether the bucket was looked through before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    First,
    Again,
}

/// What a listing has found.
#[derive(Debug, Default)]
struct Seen {
    objects: usize,
    taken: usize,
}

/// What is to be done before the first try.
#[derive(Debug)]
pub(super) struct Prepared {
    listed: bool,
    /// When it could not be listed the last time, and why.
    failed: Option<(Instant, Failure)>,
    probes_left: u8,
}

impl Prepared {
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
            let listed = self.list(Look::First).await;
            let complete = listed.is_ok();
            match listed {
                Ok(seen) => tracing::info!(
                    event = "bucket.listed",
                    objects = seen.objects,
                    "listed the bucket once, as the record is new: what is there and equal is not sent"
                ),
                // Whoever may not list may still send.
                Err(failure) if failure.code == "AccessDenied" => tracing::warn!(
                    event = "bucket.not_listed",
                    error.message = failure.message,
                    "the bucket may not be listed: everything is sent, whether it is there or not"
                ),
                Err(failure) => {
                    prepared.failed = Some((Instant::now(), failure.clone()));
                    return Err(failure);
                }
            }
            self.journal.listing_ended(complete).await;
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
        // Whoever holds the lock is about to list.
        self.prepared.try_lock().is_ok_and(|prepared| prepared.listed)
    }

    /// Whether there may be objects to take over from another shard, of which no file tells.
    #[must_use]
    pub fn is_heir(&self) -> bool {
        self.settings.heir.is_some()
    }

    /// Lists the bucket once more for what another shard has sent since, and says whether there was
    /// anything: then it may be still at work.
    ///
    /// # Errors
    ///
    /// If it could not be listed to the end.
    pub async fn review_again(&self) -> Result<bool, Failure> {
        let Seen { taken, .. } = self.list(Look::Again).await?;
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

    async fn list(&self, which: Look) -> Result<Seen, Failure> {
        let (mut from, mut seen) = (None, Seen::default());
        loop {
            let (objects, next) = self.page(from).await?;
            seen.objects += objects.len();
            let unknown = match which {
                Look::First => self.journal.listed(objects).await,
                Look::Again => self.journal.unrecorded(objects).await,
            };
            if let Some(epoch) = self.settings.heir {
                let inherited = self.inherited(unknown, epoch, which).await?;
                seen.taken += inherited.len();
                self.journal.inherited(inherited).await;
            }
            if next.is_none() {
                return Ok(seen);
            }
            from = next;
        }
    }

    /// The next objects of this process's own paths, and where to go on.
    async fn page(&self, from: Option<String>) -> Result<(Vec<Listed>, Option<String>), Failure> {
        let prefix = self.settings.prefix.as_str();
        let page = self.store.list(prefix, from).await?;
        let own = page.objects.into_iter().filter_map(|object| {
            let name = object.key.strip_prefix(prefix)?;
            let path = RelPath::new(name.as_bytes()).ok()?;
            self.settings.share.has_file(&path).then_some((path, object.size, object.etag))
        });
        Ok((own.collect(), page.next))
    }

    /// Those of `paths` whose objects were made from this directory, as if we had made them. What this
    /// record's own uploads make while it looks again is on its way into it.
    async fn inherited(
        &self,
        paths: Vec<RelPath>,
        epoch: Epoch,
        which: Look,
    ) -> Result<Vec<(RelPath, Mirrored)>, Failure> {
        let asked = paths.into_iter().filter_map(|path| {
            let key = self.settings.prefix.key(&path).ok()?;
            Some(async move { self.store.head(&key).await.map(|found| (path, found)) })
        });
        let asked: Vec<_> = stream::iter(asked).buffered(QUESTIONS_MAX).try_collect().await?;
        let own = |(path, found): (RelPath, Option<StoredObject>)| {
            let found = found?;
            let ours = found.source.as_deref() == Some(&*self.settings.source)
                && (which == Look::First || !found.ours);
            // Without an entity tag a delete could hit what somebody has put in its place. Without a
            // checksum a file that is there could not be told from another.
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
fn of_an_heir(version: Version, crc64nvme: u64, etag: String, epoch: Epoch) -> Mirrored {
    Mirrored {
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
