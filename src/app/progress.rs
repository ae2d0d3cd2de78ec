//! Shows the progress of a single run on a terminal.

use crate::cli::ProgressHandle;
use crate::engine::snapshot::{Phase, Snapshot};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Shows the progress until its sender is dropped.
pub(super) fn show(
    mut snapshots: watch::Receiver<Snapshot>,
    progress: ProgressHandle,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        while snapshots.changed().await.is_ok() {
            let (done, of) = share(&snapshots.borrow_and_update());
            progress.show("files in S3", done, of);
        }
        progress.clear();
    }))
}

/// The number of files in S3, and the total, which is known after the scan.
fn share(snapshot: &Snapshot) -> (u64, Option<u64>) {
    let counts = &snapshot.counts;
    let waiting = counts.pending.saturating_sub(counts.deletes) + snapshot.settling as u64;
    let known =
        !matches!(snapshot.phase, Phase::Starting | Phase::WaitingForInstance | Phase::Comparing);
    (counts.mirrored, known.then_some(counts.mirrored + waiting))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StateCounts;

    #[test]
    fn what_there_is_in_all_is_known_after_the_comparison() {
        let counts = StateCounts { mirrored: 6, pending: 5, deletes: 1, ..StateCounts::default() };
        let comparing = Snapshot { phase: Phase::Comparing, counts, ..Snapshot::default() };
        assert_eq!(share(&comparing), (6, None));
        let sending = Snapshot { phase: Phase::Mirroring, ..comparing };
        assert_eq!(share(&sending), (6, Some(10)));
    }
}
