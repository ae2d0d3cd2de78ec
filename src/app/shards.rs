//! Of several processes for one directory, what there is to do at the start of one.

use super::parts::Recorded;
use super::{App, Bucket};
use crate::store::Remapped;
use crate::transfer::Transfer;

pub(super) fn tell_remapped(remapped: Remapped) {
    let Remapped { from, generation, forgotten } = remapped;
    tracing::info!(
        event = "shard.remapped",
        from = %from,
        generation,
        forgotten,
        "this is another shard than the record was of: what is no longer its own is forgotten, and \
         neither sent nor deleted; what is new to it is found by comparing and listing"
    );
}

impl App {
    /// Has a single run know what another shard has left before it compares. A daemon does that while it
    /// works.
    pub(super) async fn take_over(&self, transfer: &Transfer<Bucket, Recorded>) {
        if !(self.mode.is_once() && transfer.is_heir()) {
            return;
        }
        tokio::select! {
            // What cannot be asked now is told by the first try.
            prepared = transfer.prepare() => drop(prepared),
            () = self.shutdown.requested() => {}
        }
    }
}
