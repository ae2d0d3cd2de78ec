//! Lines about finished transfers: one each, or one for all of some seconds.

use crate::model::{Operation, Outcome, QueueRow, TransferLog, UnixMillis, UploadDisposition};

/// Time between two summaries.
const SUMMARY_MS: UnixMillis = 10_000;

/// How transfers are logged, and what the next summary has.
#[derive(Debug)]
pub(super) struct TransferLines {
    mode: TransferLog,
    sums: TransferSums,
}

/// What was done since the last summary. The rest is logged when the engine ends.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct TransferSums {
    /// The time of the first of it.
    began: Option<UnixMillis>,
    uploads: u64,
    upload_bytes: u64,
    copies: u64,
    deletes: u64,
    failures: u64,
}

impl TransferLines {
    pub(super) fn new(mode: TransferLog) -> Self {
        Self { mode, sums: TransferSums::default() }
    }

    /// Whether each upload, copy and delete has a line.
    pub(super) fn names_each(&self) -> bool {
        self.mode == TransferLog::All
    }

    /// Counts an attempt for the summary.
    pub(super) fn note(&mut self, row: &QueueRow, outcome: &Outcome, now: UnixMillis) {
        if self.mode != TransferLog::Summary {
            return;
        }
        let sums = &mut self.sums;
        match outcome {
            Outcome::Mirrored(_, UploadDisposition::Sent) => {
                sums.uploads += 1;
                sums.upload_bytes += row.version.size;
            }
            Outcome::Mirrored(_, UploadDisposition::Copied) => sums.copies += 1,
            Outcome::Deleted if row.operation == Operation::Delete => sums.deletes += 1,
            Outcome::Failed(_) => sums.failures += 1,
            Outcome::Mirrored(..) | Outcome::Deleted | Outcome::Yielded | Outcome::LookAgain(_) => {
                return;
            }
        }
        sums.began.get_or_insert(now);
    }

    /// When the next summary is due, if there is something for it.
    pub(super) fn due(&self) -> Option<UnixMillis> {
        self.sums.began.map(|began| began.saturating_add(SUMMARY_MS))
    }

    /// Logs the summary, if it is due.
    pub(super) fn log_if_due(&mut self, now: UnixMillis) {
        if self.due().is_some_and(|due| now >= due) {
            self.log();
        }
    }

    fn log(&mut self) {
        let TransferSums { began, uploads, upload_bytes, copies, deletes, failures } =
            std::mem::take(&mut self.sums);
        if began.is_some() {
            tracing::info!(
                event = "transfers.summary",
                uploads,
                upload_bytes,
                copies,
                deletes,
                failures,
                "transfers since the last summary"
            );
        }
    }
}

impl Drop for TransferLines {
    fn drop(&mut self) {
        self.log();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RelPath, Version};

    fn row() -> QueueRow {
        let path = RelPath::new(b"a").expect("a proper path");
        QueueRow::new(path, Operation::Delete, Version::default(), 0)
    }

    #[test]
    fn only_a_summary_waits_for_its_time() {
        for (mode, due) in [
            (TransferLog::All, None),
            (TransferLog::Failures, None),
            (TransferLog::Summary, Some(11_000)),
        ] {
            let mut lines = TransferLines::new(mode);
            lines.note(&row(), &Outcome::Deleted, 1_000);
            lines.note(&row(), &Outcome::Deleted, 9_000);
            assert_eq!((lines.due(), lines.names_each()), (due, mode == TransferLog::All));
            lines.log_if_due(10_999);
            assert_eq!(lines.due(), due, "{mode:?}");
            lines.log_if_due(11_000);
            assert_eq!(lines.due(), None);
        }
    }
}
