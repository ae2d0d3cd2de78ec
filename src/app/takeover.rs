//! The takeover at the start of a shard.

use super::AppBucket;
use super::mirror::MirrorService;
use crate::store::RemappedShard;
use crate::transfer::Transfer;

pub(super) fn log_remapped(remapped: RemappedShard) {
    let RemappedShard { from, generation, forgotten } = remapped;
    tracing::info!(
        event = "shard.remapped",
        from = %from,
        generation,
        forgotten,
        "this is another shard than the record was of: what is no longer its own is forgotten, and \
         neither sent nor deleted; what is new to it is found by comparing and listing"
    );
}

impl MirrorService {
    /// Takes over what another shard left before a single run scans. A daemon does that while it
    /// works.
    pub(super) async fn take_over(&self, transfer: &Transfer<AppBucket>) {
        if !(self.context.mode.is_once() && transfer.has_takeover_pending()) {
            return;
        }
        tokio::select! {
            // The first attempt reports what cannot be read now.
            prepared = transfer.prepare() => drop(prepared),
            () = self.context.shutdown.requested() => {}
        }
    }
}
