//! What was in the bucket when the record was new.
//!
//! A record that was lost, or was bound to another bucket, knows nothing of objects that are there.
//! Before the first try the bucket is listed once; a file whose object has its size is compared with
//! it before it is sent, and taken over if it is the same. Nothing is deleted because of a listing.
//!
//! A listing that fails is a try that failed: the queue waits and asks again as it does for any.

use super::{Journal, ObjectStore, Transfer, probe};
use crate::model::{Failure, RelPath};
use tokio::time::Instant;

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
            match self.list().await {
                Ok(objects) => tracing::info!(
                    event = "bucket.listed",
                    objects,
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
            self.journal.listing_ended().await;
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

    async fn list(&self) -> Result<usize, Failure> {
        let prefix = self.settings.prefix.as_str();
        let (mut from, mut objects) = (None, 0);
        loop {
            let page = self.store.list(prefix, from).await?;
            let known = page.objects.iter().filter_map(|object| {
                let name = object.key.strip_prefix(prefix)?;
                let path = RelPath::new(name.as_bytes()).ok()?;
                self.settings.share.has_file(&path).then_some((path, object.size))
            });
            let known: Vec<_> = known.collect();
            objects += known.len();
            self.journal.listed(known).await;
            if page.next.is_none() {
                return Ok(objects);
            }
            from = page.next;
        }
    }
}
