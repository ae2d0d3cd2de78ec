//! Liveness, readiness and startup, and the summary of the status, derived from a snapshot: pure.

use crate::engine::snapshot::{Phase, Snapshot};
use crate::exclusivity::RESTORE_INCOMPLETE;
use crate::model::{CoverageGaps, GapReason, UnixMillis, WATCHED_DIRECTORY_EMPTY};

/// The age of the backlog above which the daemon is not ready.
pub(super) const BACKLOG_AGE_MAX_MS: UnixMillis = 300_000;

/// Whether the start is complete: the state is open, and the watched directory is watched, or
/// waited for. Waiting counts, because the container that creates the directory may start after
/// this check; and so does waiting for another instance, which a rollout ends only when this one
/// has started.
pub(super) fn is_started(snapshot: &Snapshot) -> bool {
    snapshot.phase != Phase::Starting
}

/// The reasons why the bucket may not follow the directory; empty if there are none.
pub(super) fn unready(snapshot: &Snapshot, now: UnixMillis) -> Vec<String> {
    let mut reasons = Vec::new();
    match snapshot.phase {
        Phase::Starting => reasons.push("the daemon is starting".to_owned()),
        Phase::WaitingForInstance => {
            reasons
                .push("another instance holds the state directory; waiting for its end".to_owned());
        }
        Phase::WaitingForSource => {
            let problem = snapshot.source_problem.as_deref().unwrap_or("it is not there");
            reasons.push(format!("the watched directory cannot be used: {problem}"));
        }
        Phase::Comparing => reasons.push("the first comparison is not done".to_owned()),
        Phase::Stopping => reasons.push("the daemon is stopping".to_owned()),
        Phase::Mirroring | Phase::Ending => {}
    }
    if snapshot.source_empty {
        reasons.push(format!(
            "the watched directory is empty, and S3 has {} files of it: nothing is deleted; mount the volume \
             or restore the files, or put a file there if they should be deleted",
            snapshot.counts.mirrored
        ));
    }
    if let Some(outage) = &snapshot.outage {
        let seconds = now.saturating_sub(outage.since) / 1000;
        let cause = if outage.cause.is_empty() { &outage.code } else { &outage.cause };
        reasons.push(format!("{cause}, for {seconds} s"));
    }
    let age = snapshot.survey.oldest.map_or(0, |oldest| now.saturating_sub(oldest));
    if waiting(snapshot) > 0 && age > BACKLOG_AGE_MAX_MS {
        let files = waiting(snapshot);
        let seconds = age / 1000;
        reasons.push(format!("{files} changes wait, the oldest for {seconds} s"));
    }
    reasons
}

/// The deletes that are held because of the limit, delayed ones included.
pub(super) fn held_by_limit(snapshot: &Snapshot) -> u64 {
    let counts = &snapshot.counts;
    if snapshot.deletes_held { counts.deletes + counts.delayed } else { 0 }
}

/// The deletes that are held because the watched directory is empty.
pub(super) fn held_by_emptiness(snapshot: &Snapshot) -> u64 {
    let parked = snapshot.survey.parked.iter();
    let held = parked.filter(|(why, _)| snapshot.source_empty && why == WATCHED_DIRECTORY_EMPTY);
    held.map(|(_, files)| files).sum()
}

/// The number of pending operations, without skipped files.
pub(super) fn waiting(snapshot: &Snapshot) -> u64 {
    snapshot.counts.pending.saturating_sub(snapshot.counts.parked)
}

/// Why not everything is in S3, as a sentence without file names; `None` if everything is.
pub(super) fn cause(snapshot: &Snapshot, refusal: Option<&str>, now: UnixMillis) -> Option<String> {
    let mut causes = unready(snapshot, now);
    if snapshot.deletes_held {
        causes.push(format!(
            "{} deletes await approval: more than delete_limit_percent and delete_limit_count allow",
            held_by_limit(snapshot)
        ));
    }
    // Deletes that wait for approval, and those of an empty directory, were counted above.
    let held = if snapshot.deletes_held { snapshot.counts.deletes } else { 0 };
    let held = held + held_by_emptiness(snapshot);
    let mut gaps = CoverageGaps::default();
    for (reason, count) in snapshot.gaps.iter() {
        let named = if reason == GapReason::Held { held } else { 0 };
        gaps.add(reason, count.saturating_sub(named));
    }
    causes.extend(gaps.cause());
    let deletes = snapshot.counts.deletes;
    if refusal == Some(RESTORE_INCOMPLETE) {
        causes.push(format!(
            "a restore has not ended, so nothing is deleted ({deletes} deletes wait): run restore again"
        ));
    }
    match refusal.filter(|_| deletes > 0) {
        Some(RESTORE_INCOMPLETE) => {}
        Some("lease-unknown") => causes.push(format!(
            "{deletes} deletes wait: it is not known whether another writer holds the lease"
        )),
        Some(_) => causes
            .push(format!("{deletes} deletes wait: another writer works below the same prefix")),
        None => {}
    }
    match waiting(snapshot) {
        0 => {}
        _ if waits_for_writer(snapshot, refusal) => {}
        1 => causes.push("1 change waits for its turn".to_owned()),
        waiting => causes.push(format!("{waiting} changes wait for their turn")),
    }
    if causes.is_empty() && state(snapshot, refusal) != "in-sync" {
        causes.push("changes are being inspected".to_owned());
    }
    (!causes.is_empty()).then(|| causes.join("; "))
}

/// Whether only deletes are pending that another writer holds back, by the code of its refusal.
fn waits_for_writer(snapshot: &Snapshot, refusal: Option<&str>) -> bool {
    let waiting = waiting(snapshot);
    refusal.is_some() && waiting > 0 && waiting <= snapshot.counts.deletes
}

/// The overall state as one word; `refusal` is the reason why another writer holds deletes back.
pub(super) fn state(snapshot: &Snapshot, refusal: Option<&str>) -> &'static str {
    match snapshot.phase {
        Phase::Starting | Phase::Comparing => "starting",
        Phase::WaitingForInstance => "waiting-for-instance",
        Phase::WaitingForSource => "source-unavailable",
        Phase::Stopping => "stopping",
        _ if snapshot.source_empty => "source-empty",
        _ if snapshot.outage.is_some() => "s3-unavailable",
        _ if refusal == Some(RESTORE_INCOMPLETE) => "restoring",
        _ if snapshot.deletes_held => "deletes-held",
        _ if waits_for_writer(snapshot, refusal) => "deletes-held",
        _ if waiting(snapshot) > 0 || snapshot.running > 0 => "syncing",
        // An unreadable path is inspected repeatedly; that is not a change in progress.
        _ if !snapshot.gaps.is_empty() || snapshot.counts.parked > 0 => "partly",
        _ if snapshot.settling > 0 => "syncing",
        Phase::Mirroring | Phase::Ending => "in-sync",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::snapshot::Outage;
    use crate::model::FailureClass;
    use crate::store::{QueueStats, StateCounts};

    fn mirroring() -> Snapshot {
        Snapshot { phase: Phase::Mirroring, ..Snapshot::default() }
    }

    fn backlog(since: UnixMillis) -> Snapshot {
        Snapshot {
            counts: StateCounts { pending: 3, parked: 1, ..StateCounts::default() },
            survey: QueueStats { oldest: Some(since), ..QueueStats::default() },
            ..mirroring()
        }
    }

    #[test]
    fn an_outage_makes_it_unready_and_nothing_else() {
        let outage = Some(Outage {
            class: FailureClass::Unavailable,
            code: "connection".to_owned(),
            cause: "S3 unreachable: connection refused (10.0.0.7:9000)".to_owned(),
            since: 1_000,
        });
        let snapshot = Snapshot { outage, ..mirroring() };
        assert!(is_started(&snapshot));
        assert_eq!(
            unready(&snapshot, 5_000),
            ["S3 unreachable: connection refused (10.0.0.7:9000), for 4 s"]
        );
        assert_eq!(state(&snapshot, None), "s3-unavailable");
    }

    #[test]
    fn an_emptied_directory_is_a_state_of_its_own_and_is_not_ready() {
        let held = 27;
        let mut gaps = CoverageGaps::default();
        gaps.add(GapReason::Held, held);
        let parked = vec![(WATCHED_DIRECTORY_EMPTY.to_owned(), held)];
        let counts =
            StateCounts { pending: held, parked: held, mirrored: held, ..StateCounts::default() };
        let survey = QueueStats { parked, ..QueueStats::default() };
        let snapshot = Snapshot { source_empty: true, counts, survey, gaps, ..mirroring() };
        assert_eq!(state(&snapshot, None), "source-empty");
        let reasons = unready(&snapshot, 0);
        assert!(reasons[0].contains("is empty, and S3 has 27 files"), "{reasons:?}");
        assert_eq!(cause(&snapshot, None, 0), Some(reasons[0].clone()), "said once");
        assert_eq!(held_by_emptiness(&snapshot), held);
    }

    #[test]
    fn an_incomplete_restore_is_never_in_sync() {
        let snapshot = mirroring();
        assert_eq!(state(&snapshot, Some(RESTORE_INCOMPLETE)), "restoring");
        let cause = cause(&snapshot, Some(RESTORE_INCOMPLETE), 0).expect("a cause");
        assert!(cause.starts_with("a restore has not ended"), "{cause}");
    }

    #[test]
    fn deletes_that_another_writer_keeps_back_are_held_and_not_under_way() {
        let counts = StateCounts { pending: 27, deletes: 27, ..StateCounts::default() };
        let snapshot = Snapshot { counts, running: 1, ..mirroring() };
        assert_eq!(state(&snapshot, Some("other-writer")), "deletes-held");
        let cause = cause(&snapshot, Some("other-writer"), 0);
        let expected = "27 deletes wait: another writer works below the same prefix";
        assert_eq!(cause.as_deref(), Some(expected));
        assert_eq!(state(&snapshot, None), "syncing");
        let counts = StateCounts { pending: 28, deletes: 27, ..StateCounts::default() };
        let snapshot = Snapshot { counts, ..mirroring() };
        assert_eq!(state(&snapshot, Some("other-writer")), "syncing", "a file is sent");
    }

    #[test]
    fn a_backlog_makes_it_unready_when_it_grows_old() {
        assert_eq!(unready(&backlog(0), 300_000), [""; 0]);
        assert_eq!(unready(&backlog(0), 301_000), ["2 changes wait, the oldest for 301 s"]);
        assert_eq!(state(&backlog(0), None), "syncing");
    }

    #[test]
    fn a_missing_directory_is_started_and_unready() {
        let snapshot = Snapshot {
            phase: Phase::WaitingForSource,
            source_problem: Some("it is empty".into()),
            ..Snapshot::default()
        };
        assert!(is_started(&snapshot));
        let expected = ["the watched directory cannot be used: it is empty"];
        assert_eq!(unready(&snapshot, 0), expected);
        assert!(!is_started(&Snapshot::default()));
    }

    #[test]
    fn in_sync_is_said_only_when_nothing_is_left() {
        assert_eq!(state(&mirroring(), None), "in-sync");
        assert_eq!(state(&Snapshot { settling: 1, ..mirroring() }, None), "syncing");
        assert_eq!(state(&Snapshot { running: 1, ..mirroring() }, None), "syncing");
        assert_eq!(state(&Snapshot { deletes_held: true, ..mirroring() }, None), "deletes-held");
        let counts = StateCounts { pending: 1, parked: 1, ..StateCounts::default() };
        assert_eq!(state(&Snapshot { counts, ..mirroring() }, None), "partly");
    }

    #[test]
    fn every_coverage_gap_is_named_and_is_never_in_sync() {
        for reason in GapReason::ALL {
            let mut gaps = CoverageGaps::default();
            gaps.add(reason, 1);
            let snapshot = Snapshot { gaps, ..mirroring() };
            assert_eq!(state(&snapshot, None), "partly", "{reason:?}");
            assert!(cause(&snapshot, None, 0).is_some(), "{reason:?}");
            // Its inspection is not a change in progress.
            assert_eq!(state(&Snapshot { settling: 1, ..snapshot }, None), "partly", "{reason:?}");
        }
        assert_eq!(cause(&mirroring(), None, 0), None);
        let settling = Snapshot { settling: 1, ..mirroring() };
        assert_eq!(cause(&settling, None, 0).as_deref(), Some("changes are being inspected"));
    }
}
