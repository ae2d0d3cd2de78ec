//! How much was sent in the last minutes, for the chart on the status page: kept here, so that it is
//! there when the page is opened.

use crate::model::UnixMillis;
use std::collections::VecDeque;

/// Length of a slot.
pub const SLOT_MS: UnixMillis = 2_000;
/// Slots that are shown: five minutes.
const SLOTS: UnixMillis = 150;

/// Bytes by the slot in which their upload ended, those without any left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UploadThroughput(VecDeque<(UnixMillis, u64)>);

impl UploadThroughput {
    /// Something was sent. A clock that was set back counts on in the latest slot.
    pub(super) fn add(&mut self, bytes: u64, now: UnixMillis) {
        let slot = now / SLOT_MS;
        match self.0.back_mut() {
            Some((latest, sum)) if *latest >= slot => *sum += bytes,
            _ => self.0.push_back((slot, bytes)),
        }
        while self.0.front().is_some_and(|(oldest, _)| oldest + SLOTS < slot) {
            self.0.pop_front();
        }
    }

    /// The bytes of each slot of the last five minutes, the oldest first. The last is not over.
    #[must_use]
    pub fn until(&self, now: UnixMillis) -> Vec<u64> {
        let end = now / SLOT_MS + 1;
        let mut slots = vec![0; usize::try_from(SLOTS).unwrap_or_default()];
        for (slot, bytes) in &self.0 {
            let index =
                (slot + SLOTS).checked_sub(end).and_then(|index| usize::try_from(index).ok());
            if let Some(slot) = index.and_then(|index| slots.get_mut(index)) {
                *slot += bytes;
            }
        }
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_five_minutes_are_reported_and_no_more_is_kept() {
        let mut sent = UploadThroughput::default();
        let start = 1_000_000 * SLOT_MS;
        sent.add(1, start);
        sent.add(2, start + SLOT_MS - 1);
        sent.add(5, start + 3 * SLOT_MS);
        let series = |sent: &UploadThroughput, slots| {
            let values = sent.until(start + slots * SLOT_MS);
            assert_eq!(values.len(), 150);
            values
        };
        assert_eq!(series(&sent, 0)[149], 3);
        assert_eq!(series(&sent, 3)[146..], [3, 0, 0, 5]);
        assert_eq!(series(&sent, 149)[..4], [3, 0, 0, 5]);
        assert_eq!(series(&sent, 150)[..3], [0, 0, 5]);
        for slot in 0..1_000 {
            sent.add(1, start + slot * SLOT_MS);
        }
        assert!(sent.0.len() <= 151, "{}", sent.0.len());
        // The clock is set back.
        sent.add(7, start);
        assert_eq!(series(&sent, 999)[149], 8);
    }
}
