//! What was in the bucket when the record was new.
//!
//! A record that was lost, or was bound to another bucket, knows nothing of objects that are there.
//! The bucket is listed once; a file whose object has its size is compared with it before it is sent,
//! and taken over if it is the same. Nothing is deleted because of a listing.

use super::{App, AppError, Mode};
use crate::model::{Failure, FailureClass, RelPath};
use crate::store::{Bound, Change};
use crate::transfer::{ObjectStore, Page};
use std::time::Duration;

/// Pause before a listing that failed goes on.
const RETRY: Duration = Duration::from_secs(3);
/// How often a single run tries.
const ONCE_TRIES: u32 = 5;

impl App {
    /// Lists the bucket, if that was never done for this record. An error is what kept a single run
    /// from it, or the daemon until it was told to stop.
    pub(super) async fn adopt(
        &self,
        bound: &mut Bound,
    ) -> Result<Result<(), FailureClass>, AppError> {
        if bound.listed {
            return Ok(Ok(()));
        }
        let listed = tokio::select! {
            listed = self.list() => listed?,
            () = self.shutdown.requested() => Err(FailureClass::Unavailable),
        };
        if listed.is_ok() {
            bound.listed = true;
            self.store.write(vec![Change::Bound(bound.clone())]).await?;
        }
        Ok(listed)
    }

    async fn list(&self) -> Result<Result<(), FailureClass>, AppError> {
        let (mut from, mut objects, mut failures) = (None, 0, 0);
        loop {
            match self.s3.list(self.config.prefix.as_str(), from.clone()).await {
                Ok(page) => {
                    objects += self.note(&page).await?;
                    from = page.next;
                    if from.is_none() {
                        break;
                    }
                }
                Err(failure) if failure.code == "AccessDenied" => {
                    tell(&self.config.bucket, &failure, "it may not be: everything is sent");
                    return Ok(Ok(()));
                }
                Err(failure) => {
                    failures += 1;
                    tell(&self.config.bucket, &failure, "tried again; nothing is sent before");
                    if self.mode == Mode::Once && failures >= ONCE_TRIES {
                        return Ok(Err(failure.class));
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        tracing::info!(
            event = "bucket.listed",
            objects,
            "listed the bucket once, as the record is new: what is there and equal is not sent"
        );
        Ok(Ok(()))
    }

    async fn note(&self, page: &Page) -> Result<usize, AppError> {
        let known = page.objects.iter().filter_map(|(key, size)| {
            let name = key.strip_prefix(self.config.prefix.as_str())?;
            Some(Change::Listed(RelPath::new(name.as_bytes()).ok()?, *size))
        });
        let known: Vec<_> = known.collect();
        let count = known.len();
        self.store.write(known).await?;
        Ok(count)
    }
}

fn tell(bucket: &str, failure: &Failure, next: &str) {
    tracing::warn!(
        event = "bucket.list_failed",
        aws.s3.bucket = bucket,
        error.type = failure.code,
        error.message = failure.message,
        next,
        "the bucket could not be listed to see what is there already"
    );
}
