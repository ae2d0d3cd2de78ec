//! How far a single run is, for whoever waits at a terminal.

use crate::cli::SharedProgress;
use crate::engine::snapshot::{Phase, Snapshot};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Shows it until nobody tells any more.
pub(super) fn show(
    mut told: watch::Receiver<Snapshot>,
    progress: SharedProgress,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        while told.changed().await.is_ok() {
            let (done, of) = share(&told.borrow_and_update());
            progress.tell("files in S3", done, of);
        }
        progress.clear();
    })
}

/// How many files are in S3, and of how many; that is known after the comparison.
fn share(snapshot: &Snapshot) -> (u64, Option<u64>) {
    let counts = &snapshot.counts;
    let waiting = counts.pending.saturating_sub(counts.deletes) + snapshot.settling as u64;
    let known = !matches!(snapshot.phase, Phase::Starting | Phase::Comparing);
    (counts.mirrored, known.then_some(counts.mirrored + waiting))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Counts;

    #[test]
    fn what_there_is_in_all_is_known_after_the_comparison() {
        let counts = Counts { mirrored: 6, pending: 5, deletes: 1, ..Counts::default() };
        let comparing = Snapshot { phase: Phase::Comparing, counts, ..Snapshot::default() };
        assert_eq!(share(&comparing), (6, None));
        let sending = Snapshot { phase: Phase::Mirroring, ..comparing };
        assert_eq!(share(&sending), (6, Some(10)));
    }
}
