//! Deletes that are on hold, approved or cancelled.

use super::EventLog;
use crate::queue::Queue;

impl EventLog {
    /// Deletes are held, or are no longer.
    pub(in crate::engine) fn held(&mut self, queue: &Queue) {
        let held = queue.deletes_held();
        if held == self.held {
            return;
        }
        self.held = held;
        let counts = queue.counts();
        let deletes = counts.deletes + counts.delayed;
        if held {
            tracing::error!(
                event = "deletes.held",
                deletes,
                mirrored = counts.mirrored,
                approve = format!("file-sync-service deletes approve --expect {deletes}"),
                keep = "file-sync-service deletes cancel",
                "deletes on hold: the limit is exceeded; restore the files, approve them, or raise the limit"
            );
        } else {
            tracing::info!(
                event = "deletes.released",
                deletes,
                mirrored = counts.mirrored,
                "deletes are within the limits again"
            );
        }
    }
}

/// A person wants the deletes that are held or delayed.
pub(in crate::engine) fn approved(queue: &Queue) {
    let counts = queue.counts();
    tracing::info!(
        event = "deletes.approved",
        deletes = counts.deletes,
        delayed = counts.delayed,
        mirrored = counts.mirrored,
        "held and delayed deletes approved"
    );
}

/// A person wants the objects to stay.
pub(in crate::engine) fn cancelled(queue: &Queue) {
    let counts = queue.counts();
    tracing::warn!(
        event = "deletes.cancelled",
        deletes = counts.deletes,
        delayed = counts.delayed,
        mirrored = counts.mirrored,
        "held and delayed deletes cancelled; their objects stay in the bucket"
    );
}
