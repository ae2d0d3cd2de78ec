//! When a shard takes over what other shards have left: at its start, and again until nothing was found. The
//! steps are those of `transfer::takeover`.

use super::EffectRunner;
use crate::engine::{Event, report};
use crate::transfer::ObjectStore;
use std::sync::Arc;
use std::time::Duration;

/// The pause before the bucket is listed again after a failure.
const TAKEOVER_RETRY: Duration = Duration::from_secs(10);

impl<S: ObjectStore> EffectRunner<S> {
    /// Lists the bucket without waiting for an attempt, and then requests a scan of everything.
    pub(super) fn start_takeover(&mut self) {
        if !self.parts.transfer.has_takeover_pending() {
            return;
        }
        if self.parts.transfer.is_prepared() {
            return self.relist_later();
        }
        let transfer = Arc::clone(&self.parts.transfer);
        self.tasks.spawn(async move {
            while let Err(failure) = transfer.prepare().await {
                report::not_listed(&failure);
                tokio::time::sleep(TAKEOVER_RETRY).await;
            }
            Some(Event::Reviewed { again: true })
        });
    }

    /// Lists again when the earlier shards have had time to end.
    pub(super) fn relist_later(&mut self) {
        let transfer = Arc::clone(&self.parts.transfer);
        let pause = self.parts.rescan.review;
        self.tasks.spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                match transfer.relist_for_takeover().await {
                    Ok(again) => return Some(Event::Reviewed { again }),
                    Err(failure) => report::not_listed(&failure),
                }
            }
        });
    }
}
