mod delayed;
mod lanes;

use super::*;
use crate::model::Operation;
use crate::model::{Fingerprint, ObjectRecord, RootGeneration};
use proptest::prelude::*;

pub(super) fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).expect("a proper path")
}

pub(super) fn settings() -> QueueSettings {
    QueueSettings {
        concurrency: 2,
        prepared: 2,
        large_bytes: 100,
        window_max: 8,
        backoff: Backoff { first_ms: 1_000, max_ms: 300_000 },
        delete_limit: DeleteLimit { percent: 50, count: 3, window_ms: 0 },
        delete_delay_ms: 0,
        patience: None,
    }
}

pub(super) fn queue() -> Queue {
    Queue::new(settings(), StateCounts { mirrored: 100, ..StateCounts::default() })
}

pub(super) fn wish(name: &str, operation: Operation, since: UnixMillis) -> QueueRow {
    let version = match operation {
        Operation::Put => Version { size: 1, mtime_ns: 1 },
        Operation::Delete => Version::default(),
    };
    QueueRow::new(path(name), operation, version, since)
}

pub(super) fn want(queue: &mut Queue, name: &str, operation: Operation, now: UnixMillis) {
    queue.want(wish(name, operation, now), None, now, false);
}

pub(super) fn started(queue: &mut Queue, now: UnixMillis) -> Vec<String> {
    queue.start(now, true).iter().map(|lease| lease.pending.path.to_string()).collect()
}

pub(super) fn done() -> Outcome {
    let mirrored = ObjectRecord::from_file(Fingerprint::with_size(1), RootGeneration(0));
    Outcome::Mirrored(mirrored, UploadDisposition::Sent)
}

pub(super) fn of(outcome: Outcome) -> AttemptOutcome {
    AttemptOutcome::without_a_write(outcome)
}

impl Attempt {
    /// The row as it was when the attempt began.
    fn before(self) -> QueueRow {
        QueueRow { sent: self.sent_before, ..self.pending }
    }
}

pub(super) fn failure(class: FailureClass) -> Outcome {
    let code = "Code".into();
    let message = "message".into();
    Outcome::Failed(Failure { class, code, message, answer_lost: false, retry_after_ms: None })
}

#[test]
fn one_operation_at_a_time_runs_for_a_path() {
    let mut queue = queue();
    want(&mut queue, "a", Operation::Put, 0);
    assert_eq!(started(&mut queue, 0), ["a"]);
    want(&mut queue, "a", Operation::Delete, 1);
    assert_eq!(started(&mut queue, 5_000), [""; 0]);
    let ended = queue.end(&path("a"), &of(done()), 5_001, 1.0);
    assert!(ended.look_again, "what was heard meanwhile is not lost");
}

#[test]
fn what_runs_while_its_directory_is_compared_is_looked_at_again() {
    let mut queue = queue();
    want(&mut queue, "d/a", Operation::Put, 0);
    want(&mut queue, "e", Operation::Put, 0);
    started(&mut queue, 0);
    queue.comparing(&path("d"), u64::MAX);
    assert!(queue.end(&path("d/a"), &of(done()), 1, 1.0).look_again);
    assert!(!queue.end(&path("e"), &of(done()), 1, 1.0).look_again);
}

#[test]
fn the_oldest_change_goes_first_and_no_more_than_allowed_at_once() {
    let mut queue = queue();
    for (name, since) in [("new", 3), ("old", 1), ("middle", 2)] {
        queue.want(wish(name, Operation::Put, since), None, 5, false);
    }
    assert_eq!(started(&mut queue, 5), ["old", "middle"]);
    queue.end(&path("old"), &of(done()), 6, 1.0);
    assert_eq!(started(&mut queue, 6), ["new"]);
}

#[test]
fn a_row_on_disk_names_every_object_a_try_may_make() {
    let mut queue = queue();
    want(&mut queue, "a", Operation::Put, 0);
    let lease = queue.start(0, true).remove(0);
    assert_eq!(lease.pending.attempts, 1);
    assert_eq!(lease.pending.sent, Some(lease.pending.version));
    assert_eq!(lease.sent_before, None);
}

#[test]
fn a_delete_that_was_begun_leaves_the_record_in_doubt() {
    let mut queue = queue();
    want(&mut queue, "a", Operation::Delete, 0);
    let Some(lease) = queue.start(2_000, true).pop() else { panic!("started") };
    assert!(lease.pending.sent.is_some(), "known after a crash");
    let lost =
        AttemptOutcome { written: WriteEffect::Maybe, ..of(failure(FailureClass::Unavailable)) };
    queue.end(&path("a"), &lost, 2_000, 1.0);
    // The file is back: its object may be gone anyway.
    want(&mut queue, "a", Operation::Put, 2_001);
    let lease = queue.start(2_001, true).remove(0);
    assert!(lease.sent_before.is_some_and(|sent| sent != lease.pending.version));
}

#[test]
fn what_an_attempt_may_have_written_stays_in_the_row_however_it_ended() {
    let ends = [
        failure(FailureClass::Unavailable),
        failure(FailureClass::Refused),
        failure(FailureClass::File),
        Outcome::LookAgain("it has changed"),
    ];
    for outcome in ends {
        for (written, sent) in
            [(WriteEffect::No, None), (WriteEffect::Maybe, Some(Version { size: 1, mtime_ns: 1 }))]
        {
            let mut queue = queue();
            want(&mut queue, "a", Operation::Put, 0);
            queue.start(0, true);
            let attempted = AttemptOutcome { outcome: outcome.clone(), written };
            let ended = queue.end(&path("a"), &attempted, 0, 1.0);
            let row = match ended.changes.into_iter().next() {
                Some(Change::Queue(row)) => row,
                Some(other) => panic!("{other:?} for {outcome:?}"),
                // It is only in memory, and on disk as it was when the attempt began.
                None => queue.start(400_000, true).remove(0).before(),
            };
            assert_eq!(row.sent, sent, "{outcome:?}, {written:?}");
        }
    }
}

#[test]
fn a_failed_path_waits_longer_each_time_and_holds_up_no_other() {
    let mut queue = queue();
    want(&mut queue, "bad", Operation::Put, 0);
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert_eq!(started(&mut queue, now), ["bad"]);
        queue.end(&path("bad"), &of(failure(FailureClass::Object)), now, 1.0);
        want(&mut queue, "good", Operation::Put, now);
        assert_eq!(started(&mut queue, now), ["good"]);
        queue.end(&path("good"), &of(done()), now, 1.0);
        let due = queue.next_due(true).expect("it is tried again");
        waits.push(due - now);
        now = due;
    }
    assert_eq!(waits[..3], [1_000, 2_000, 4_000]);
    assert_eq!(waits[11], 300_000);
}

#[test]
fn a_change_of_the_file_ends_its_back_off() {
    let mut queue = queue();
    want(&mut queue, "a", Operation::Put, 0);
    started(&mut queue, 0);
    queue.end(&path("a"), &of(failure(FailureClass::Object)), 0, 1.0);
    assert_eq!(started(&mut queue, 10), [""; 0]);
    want(&mut queue, "a", Operation::Put, 10);
    assert_eq!(started(&mut queue, 10), ["a"]);
}

#[test]
fn an_outage_is_probed_by_one_and_its_end_releases_all() {
    let mut queue = queue();
    for name in ["a", "b", "c", "d"] {
        want(&mut queue, name, Operation::Put, 0);
    }
    let mut now = 0;
    while queue.outage().is_none() {
        for name in started(&mut queue, now) {
            queue.end(&path(&name), &of(failure(FailureClass::Unavailable)), now, 1.0);
        }
        now += 100;
    }
    let probe = queue.next_due(true).expect("a probe");
    let probing = started(&mut queue, probe);
    assert_eq!(probing.len(), 1);
    let ended = queue.end(&path(&probing[0]), &of(done()), probe, 1.0);
    assert!(matches!(ended.turn, Some(BreakerTransition::Closed(_))));
    assert_eq!(started(&mut queue, probe).len(), 2);
}

#[test]
fn a_delete_waits_for_the_puts_wanted_before_it() {
    let mut queue = queue();
    want(&mut queue, "old-name", Operation::Delete, 0);
    want(&mut queue, "new-name", Operation::Put, 500);
    assert_eq!(started(&mut queue, 2_000), ["new-name"]);
    assert_eq!(started(&mut queue, 2_000), [""; 0]);
    queue.end(&path("new-name"), &of(done()), 2_001, 1.0);
    assert_eq!(started(&mut queue, 2_001), ["old-name"]);
}

#[test]
fn a_delete_wanted_again_and_again_starts_all_the_same() {
    let mut queue = queue();
    for now in (0..DELETE_GRACE_MS).step_by(100) {
        want(&mut queue, "gone", Operation::Delete, now);
        assert_eq!(started(&mut queue, now), [""; 0]);
    }
    assert_eq!(started(&mut queue, DELETE_GRACE_MS), ["gone"]);
}

#[test]
fn a_put_that_keeps_failing_does_not_hold_up_deletes_for_ever() {
    let mut queue = queue();
    want(&mut queue, "bad", Operation::Put, 0);
    want(&mut queue, "gone", Operation::Delete, 0);
    let mut now = 0;
    for _ in 0..=HOLDING_ATTEMPTS_MAX {
        assert_eq!(started(&mut queue, now), ["bad"]);
        queue.end(&path("bad"), &of(failure(FailureClass::Object)), now, 1.0);
        now = queue.next_due(true).expect("a next try").max(now + 2_000);
        if started(&mut queue, now) == ["bad", "gone"] {
            return;
        }
        queue.end(&path("bad"), &of(failure(FailureClass::Object)), now, 1.0);
        now += 300_000;
    }
    panic!("the delete never started");
}

#[test]
fn more_deletes_than_both_limits_are_all_held() {
    let few = StateCounts { mirrored: 6, ..StateCounts::default() };
    let mut queue = Queue::new(settings(), few);
    for name in ["a", "b", "c", "d"] {
        want(&mut queue, name, Operation::Delete, 0);
    }
    queue.set_counts(StateCounts { pending: 3, deletes: 3, ..few });
    assert!(!queue.deletes_held(), "50 %, and no more than 3");
    queue.set_counts(StateCounts { pending: 4, deletes: 4, ..few });
    assert!(queue.deletes_held());
    assert_eq!(started(&mut queue, 9_000), [""; 0]);
    queue.settle(&path("d"), None);
    queue.set_counts(StateCounts { pending: 3, deletes: 3, ..few });
    assert_eq!(started(&mut queue, 9_000), ["a", "b", "c"], "the file is back");
}

#[test]
fn an_approval_holds_for_the_deletes_of_its_time_alone() {
    let few = StateCounts { mirrored: 6, ..StateCounts::default() };
    let mut queue = Queue::new(settings(), few);
    for name in ["a", "b", "c", "d"] {
        want(&mut queue, name, Operation::Delete, 0);
    }
    queue.set_counts(StateCounts { pending: 4, deletes: 4, ..few });
    assert_eq!(started(&mut queue, 9_000), [""; 0]);
    queue.approve_deletes(9_000);
    want(&mut queue, "e", Operation::Delete, 9_001);
    queue.set_counts(StateCounts { pending: 5, deletes: 5, ..few });
    assert_eq!(started(&mut queue, 20_000), ["a", "b", "c", "d"]);
    for name in ["a", "b", "c", "d"] {
        queue.end(&path(name), &of(Outcome::Deleted), 20_000, 1.0);
    }
    assert!(queue.deletes_held());
    assert_eq!(started(&mut queue, 20_000), [""; 0], "what came later asks again");
}

#[test]
fn a_mark_stays_with_its_row_until_the_row_is_done() {
    let mut queue = queue();
    want(&mut queue, "a", Operation::Put, 0);
    queue.note_hint(&path("a"), 3, true, false);
    want(&mut queue, "a", Operation::Put, 1);
    queue.note_hint(&path("a"), 7, true, false);
    assert_eq!(queue.lowest_mark(), Some(3), "the first hint counts");
    assert_eq!(started(&mut queue, 10), ["a"]);
    want(&mut queue, "a", Operation::Put, 11);
    queue.note_hint(&path("a"), 7, true, false);
    let failed = queue.end(&path("a"), &of(failure(FailureClass::Object)), 20, 1.0);
    assert_eq!((failed.look_again, failed.mark, failed.closed), (true, 7, true));
    assert_eq!(queue.lowest_mark(), Some(3), "a failure is no end");
    assert_eq!(started(&mut queue, 400_000), ["a"]);
    queue.end(&path("a"), &of(Outcome::Deleted), 400_000, 1.0);
    assert_eq!(queue.lowest_mark(), None);
}

#[test]
fn a_skipped_path_is_reported_once_and_freed_by_a_change() {
    let mut queue = queue();
    let first = queue.park(wish("a", Operation::Put, 0), "name", None);
    let Some(Change::Queue(row)) = first else { panic!("written") };
    assert!(queue.park(wish("a", Operation::Put, 0), "name", Some(&row)).is_none());
    assert_eq!(started(&mut queue, 400_000), [""; 0]);
    queue.want(wish("a", Operation::Put, 1), Some(&row), 1, false);
    assert_eq!(started(&mut queue, 1), ["a"]);
}

#[test]
fn a_file_that_cannot_be_read_is_parked() {
    let mut queue = queue();
    want(&mut queue, "a", Operation::Put, 0);
    started(&mut queue, 0);
    let ended = queue.end(&path("a"), &of(failure(FailureClass::File)), 0, 1.0);
    let [Change::Queue(row)] = &ended.changes[..] else { panic!("written") };
    assert_eq!(row.parked.as_deref(), Some("Code"));
    assert_eq!(queue.next_due(true), None);
}

#[test]
fn what_the_window_has_no_room_for_waits_in_the_record() {
    let mut queue = queue();
    let mut record = std::collections::BTreeMap::new();
    for number in 0..20 {
        let change =
            queue.want(wish(&format!("{number:02}"), Operation::Put, number), None, 50, false);
        let Some(Change::Queue(row)) = change else { panic!("written") };
        record.insert(row.path.clone(), row);
    }
    let mut done_paths = Vec::new();
    for now in 100..200 {
        let pending = record.len() as u64;
        queue.set_counts(StateCounts { pending, mirrored: 100, ..StateCounts::default() });
        if queue.wants_refill() {
            queue.refill(record.values().cloned().collect());
        }
        for name in started(&mut queue, now) {
            queue.end(&path(&name), &of(done()), now, 1.0);
            record.remove(&path(&name));
            done_paths.push(name);
        }
        assert!(queue.window.len() <= settings().window_max);
    }
    done_paths.sort();
    assert_eq!(done_paths.len(), 20);
    done_paths.dedup();
    assert_eq!(done_paths.len(), 20, "each once");
    queue.set_counts(StateCounts::default());
    assert!(queue.is_drained());
}

#[test]
fn a_row_that_was_done_while_the_record_was_asked_does_not_come_back() {
    let mut queue = queue();
    want(&mut queue, "a", Operation::Put, 0);
    started(&mut queue, 0);
    queue.begin_refill();
    queue.end(&path("a"), &of(done()), 1, 1.0);
    queue.refill(vec![wish("a", Operation::Put, 0), wish("b", Operation::Put, 0)]);
    assert_eq!(started(&mut queue, 2), ["b"]);
}

#[test]
fn deletes_that_come_together_start_together() {
    let delete_limit = DeleteLimit { percent: 50, count: 10_000, window_ms: 0 };
    let settings = QueueSettings { window_max: 10_000, delete_limit, ..settings() };
    let mut queue = Queue::new(settings, StateCounts::default());
    let mut batches = Vec::new();
    let mut now = 0;
    for number in 0..2_500 {
        now = number;
        want(&mut queue, &format!("{number:04}"), Operation::Delete, now);
        let batch = started(&mut queue, now);
        assert!(batch.is_empty() || batch.len() == DELETE_BATCH_MAX, "{}", batch.len());
        batches.push(batch);
    }
    while batches.iter().map(Vec::len).sum::<usize>() < 2_500 {
        for name in batches.iter().flatten() {
            queue.end(&path(name), &of(Outcome::Deleted), now, 1.0);
        }
        batches.push(started(&mut queue, now));
        now = queue.next_due(true).unwrap_or(now);
    }
    batches.retain(|batch| !batch.is_empty());
    assert_eq!(batches.len(), 3);
}

#[test]
fn a_delete_waits_only_so_long_for_others_to_go_with_it() {
    let mut queue = queue();
    want(&mut queue, "first", Operation::Delete, 0);
    let mut now = 0;
    while started(&mut queue, now) != ["first"] {
        now = queue.next_due(true).expect("a time").min(now + 500);
        want(&mut queue, &format!("{now}"), Operation::Delete, now);
        assert!(now <= DELETE_GRACE_MS + DELETE_GATHER_MS, "{now}");
        queue.settle(&path(&format!("{}", now.saturating_sub(500))), None);
    }
}

#[test]
fn large_files_leave_room_for_small_ones() {
    let mut queue = queue();
    let large = Version { size: 101, mtime_ns: 1 };
    for (since, name) in ["l1", "l2", "l3"].into_iter().enumerate() {
        queue.want(QueueRow::new(path(name), Operation::Put, large, since as u64), None, 9, false);
    }
    want(&mut queue, "small", Operation::Put, 9);
    assert_eq!(started(&mut queue, 9), ["l1", "small"]);
    queue.end(&path("small"), &of(done()), 10, 1.0);
    assert_eq!(started(&mut queue, 10), [""; 0], "what comes next finds room");
    queue.end(&path("l1"), &of(done()), 11, 1.0);
    assert_eq!(started(&mut queue, 11), ["l2"]);
}

#[test]
fn a_stream_of_new_files_does_not_hold_up_deletes() {
    let mut queue = queue();
    want(&mut queue, "gone", Operation::Delete, 0);
    for now in (100..10_000).step_by(100) {
        want(&mut queue, &format!("{now}"), Operation::Put, now);
        let names = started(&mut queue, now);
        if names.iter().any(|name| name == "gone") {
            return;
        }
        for name in names {
            queue.end(&path(&name), &of(done()), now, 1.0);
        }
    }
    panic!("the delete never started");
}

#[test]
fn a_probe_is_one_delete() {
    let mut queue = queue();
    for name in ["a", "b", "c"] {
        want(&mut queue, name, Operation::Delete, 0);
    }
    for name in started(&mut queue, 2_000) {
        queue.end(&path(&name), &of(failure(FailureClass::Refused)), 2_000, 1.0);
    }
    assert_eq!(queue.outage(), Some(FailureClass::Refused));
    let probe = queue.next_due(true).expect("a probe");
    assert_eq!(started(&mut queue, probe).len(), 1);
}

proptest! {
    /// Whatever happens, the sets stay in step and nothing runs twice.
    #[test]
    fn no_sequence_of_events_breaks_the_bounds(
        steps in prop::collection::vec((0u8..6, 0u8..6, 0u64..3_000), 1..120),
    ) {
        let mut queue = queue();
        let mut running = std::collections::BTreeSet::new();
        let mut now = 0;
        for (name, action, pause) in steps {
            now += pause;
            let name = format!("{name}");
            match action {
                0 | 1 => {
                    queue.want(wish(&name, Operation::Put, now), None, now, pause % 2 == 0);
                }
                2 => {
                    queue.want(wish(&name, Operation::Delete, now), None, now, pause % 2 == 0);
                }
                3 => drop(queue.settle(&path(&name), None)),
                4 => for name in started(&mut queue, now) {
                    prop_assert!(running.insert(name.clone()), "{name} ran twice");
                },
                _ => if let Some(name) = running.pop_first() {
                    let outcomes = [done(), failure(FailureClass::Unavailable),
                        failure(FailureClass::Object), Outcome::LookAgain("moved")];
                    let outcome = &outcomes[usize::try_from(pause % 4).unwrap()];
                    queue.end(&path(&name), &of(outcome.clone()), now, 0.5);
                },
            }
            prop_assert_eq!(queue.running(), running.len());
            prop_assert!(queue.occupied() <= settings().concurrency);
            prop_assert!(queue.window.len() <= settings().window_max);
        }
    }
}
