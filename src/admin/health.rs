//! The three questions of an orchestrator, answered from a snapshot: pure.

use crate::engine::snapshot::{Phase, Snapshot};
use crate::model::UnixMillis;

/// A backlog older than this makes the daemon unready.
pub(super) const BACKLOG_AGE_MAX_MS: UnixMillis = 300_000;

/// Whether the start is over: the record is open, and the watched directory is watched, or waited
/// for. Waiting counts, because the one who makes the directory may be waiting for this answer.
pub(super) fn is_started(snapshot: &Snapshot) -> bool {
    snapshot.phase != Phase::Starting
}

/// Why the bucket cannot be relied on to follow the directory; empty if it can.
pub(super) fn unready(snapshot: &Snapshot, now: UnixMillis) -> Vec<String> {
    let mut reasons = Vec::new();
    match snapshot.phase {
        Phase::Starting => reasons.push("the daemon is starting".to_owned()),
        Phase::WaitingForSource => {
            let problem = snapshot.source_problem.as_deref().unwrap_or("it is not there");
            reasons.push(format!("the watched directory cannot be used: {problem}"));
        }
        Phase::Comparing => reasons.push("the first comparison is not done".to_owned()),
        Phase::Stopping => reasons.push("the daemon is stopping".to_owned()),
        Phase::Mirroring | Phase::Ending => {}
    }
    if let Some(outage) = &snapshot.outage {
        let seconds = now.saturating_sub(outage.since) / 1000;
        reasons.push(format!("S3 takes nothing for {seconds} s: {}", outage.class.as_str()));
    }
    let age = snapshot.survey.oldest.map_or(0, |oldest| now.saturating_sub(oldest));
    if waiting(snapshot) > 0 && age > BACKLOG_AGE_MAX_MS {
        let (files, seconds) = (waiting(snapshot), age / 1000);
        reasons.push(format!("{files} changes wait, the oldest for {seconds} s"));
    }
    reasons
}

/// Operations that wait for their turn, parked ones left out.
pub(super) fn waiting(snapshot: &Snapshot) -> u64 {
    snapshot.counts.pending.saturating_sub(snapshot.counts.parked)
}

/// One word for everything.
pub(super) fn state(snapshot: &Snapshot) -> &'static str {
    match snapshot.phase {
        Phase::Starting | Phase::Comparing => "starting",
        Phase::WaitingForSource => "source-missing",
        Phase::Stopping => "stopping",
        _ if snapshot.outage.is_some() => "s3-unavailable",
        _ if snapshot.deletes_held => "deletes-held",
        _ if waiting(snapshot) > 0 || snapshot.settling > 0 || snapshot.running > 0 => "syncing",
        _ if snapshot.counts.parked > 0 => "files-parked",
        Phase::Mirroring | Phase::Ending => "in-sync",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::snapshot::Outage;
    use crate::model::FailureClass;
    use crate::store::{Counts, Survey};

    fn mirroring() -> Snapshot {
        Snapshot { phase: Phase::Mirroring, ..Snapshot::default() }
    }

    fn backlog(since: UnixMillis) -> Snapshot {
        Snapshot {
            counts: Counts { pending: 3, parked: 1, ..Counts::default() },
            survey: Survey { oldest: Some(since), ..Survey::default() },
            ..mirroring()
        }
    }

    #[test]
    fn an_outage_makes_it_unready_and_nothing_else() {
        let outage = Some(Outage { class: FailureClass::Unavailable, since: 1_000 });
        let snapshot = Snapshot { outage, ..mirroring() };
        assert!(is_started(&snapshot));
        assert_eq!(unready(&snapshot, 5_000), ["S3 takes nothing for 4 s: unavailable"]);
        assert_eq!(state(&snapshot), "s3-unavailable");
    }

    #[test]
    fn a_backlog_makes_it_unready_when_it_grows_old() {
        assert_eq!(unready(&backlog(0), 300_000), [""; 0]);
        assert_eq!(unready(&backlog(0), 301_000), ["2 changes wait, the oldest for 301 s"]);
        assert_eq!(state(&backlog(0)), "syncing");
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
        assert_eq!(state(&mirroring()), "in-sync");
        assert_eq!(state(&Snapshot { settling: 1, ..mirroring() }), "syncing");
        assert_eq!(state(&Snapshot { running: 1, ..mirroring() }), "syncing");
        assert_eq!(state(&Snapshot { deletes_held: true, ..mirroring() }), "deletes-held");
        let counts = Counts { pending: 1, parked: 1, ..Counts::default() };
        assert_eq!(state(&Snapshot { counts, ..mirroring() }), "files-parked");
    }
}
