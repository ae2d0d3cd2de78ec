//! What runs: a transfer and a queue, with limits that small files reach.

use super::state::{TestState, binding};
use super::store::{Abilities, Scripted};
use crate::model::{BandwidthSchedule, DeleteLimit, KeyPrefix, OverlapSign, RootGeneration, Shard};
use crate::queue::{Backoff, Queue, QueueSettings};
use crate::root::Root;
use crate::store::StateCounts;
use crate::transfer::{BucketRecords, ConditionSupport, PaceSettings, Transfer, TransferSettings};
use std::sync::Arc;
use std::time::Duration;

/// An instance, and whether its state knows what was in the bucket when it was new.
pub(super) fn instance(
    root: &Arc<Root>,
    store: &Scripted,
    state: &TestState,
    abilities: Abilities,
    (listed, epoch): (bool, RootGeneration),
) -> Transfer<Scripted> {
    let conditions = match abilities.conditions {
        true => ConditionSupport::Unknown,
        false => ConditionSupport::Ignored,
    };
    let settings = TransferSettings {
        prefix: KeyPrefix::default(),
        multipart_threshold: 4,
        multipart_part_size: 5,
        memory: 1 << 20,
        copy_threshold: 10,
        copy_part_size: 5,
        pace: PaceSettings { requests: 2, bandwidth: BandwidthSchedule::default() },
        listed,
        share: Shard::default(),
        source: "here".into(),
        takeover_pending: false,
        epoch,
        overlap: OverlapSign::Nothing,
        probe: None,
        conditions: Some(conditions),
        rules: Arc::default(),
        reapply_rules: false,
        refresh_metadata: false,
        writer: Arc::default(),
        rest: Duration::ZERO,
    };
    let records = BucketRecords::new(state.store.clone(), binding(epoch, listed));
    Transfer::new(Arc::clone(root), store.clone(), records, settings).expect("a transfer")
}

/// A queue of small limits.
pub(super) fn empty_queue() -> Queue {
    let settings = QueueSettings {
        concurrency: 8,
        prepared: 8,
        large_bytes: 4,
        window_max: 100,
        backoff: Backoff { first_ms: 1_000, max_ms: 300_000 },
        delete_limit: DeleteLimit { percent: 100, count: 1_000, window_ms: 0 },
        delete_delay_ms: 0,
        patience: None,
    };
    Queue::new(settings, StateCounts::default())
}
