//! The sizes of the state, and statistics of the queue.

use crate::model::UnixMillis;

/// The sizes of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateCounts {
    /// The number of object records.
    pub mirrored: u64,
    /// The number of queue entries, skipped ones included, delayed deletes not.
    pub pending: u64,
    /// The number of deletes, without skipped ones and those of files that are recorded under another name.
    pub deletes: u64,
    /// The number of deletes that are not due yet.
    pub delayed: u64,
    /// The number of those of files that are recorded under another name.
    pub delayed_moved: u64,
    /// The number of deletes, delayed ones included, of objects without a record: an attempt without a
    /// response may have created them.
    pub unrecorded_deletes: u64,
    /// The number of skipped entries.
    pub parked: u64,
    /// The number of skipped entries that S3 cannot take, or the settings exclude.
    pub skipped: u64,
    /// The number of skipped entries of new files above `max_files`.
    pub over_limit: u64,
    /// The number of pending uploads, not skipped, of files without an object record.
    pub unrecorded: u64,
    /// Bytes of the pending uploads that are not skipped.
    pub bytes: u64,
}

impl StateCounts {
    /// Whether no count went below zero: a damaged index counts fewer rows than are removed by the
    /// table later.
    pub(super) fn are_possible(&self) -> bool {
        let Self { mirrored, pending, delayed, delayed_moved, bytes, .. } = *self;
        let entries = [self.deletes, self.parked, self.skipped, self.over_limit, self.unrecorded];
        let all = [mirrored, pending, delayed, bytes];
        entries.iter().all(|count| *count <= pending)
            && delayed_moved <= delayed
            && self.unrecorded_deletes <= pending.saturating_add(delayed)
            && all.iter().all(|count| i64::try_from(*count).is_ok())
    }
}

/// Adds `number` to a count, which may have wrapped around.
pub(super) fn add(count: &mut u64, number: u64) {
    *count = count.wrapping_add(number);
}

/// Takes `number` off a count. The count of a damaged state wraps around, and is not
/// [possible](StateCounts::are_possible) then.
pub(super) fn take(count: &mut u64, number: u64) {
    *count = count.wrapping_sub(number);
}

/// Statistics of the queue beyond the counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueStats {
    /// The time of the oldest entry that is not skipped.
    pub oldest: Option<UnixMillis>,
    /// The reasons of skipped entries with their numbers, at most [`REASONS_MAX`](super::REASONS_MAX).
    pub parked: Vec<(String, u64)>,
    /// When the first and the last of the delayed deletes are due.
    pub delayed: Option<(UnixMillis, UnixMillis)>,
}
