//! Delayed deletes, and what the limit makes of them.

use super::*;
use crate::model::{DELETE_DELAYED, DeleteLimit};

const DELAY: UnixMillis = 3_600_000;
const WINDOW: UnixMillis = 600_000;

/// A queue over a hundred files with a delay, which may delete 50 of them, or 3.
fn delaying() -> Queue {
    let delete_limit = DeleteLimit { percent: 50, count: 3, window_ms: WINDOW };
    let settings = QueueSettings { delete_limit, delete_delay_ms: DELAY, ..settings() };
    Queue::new(settings, StateCounts { mirrored: 100, ..StateCounts::default() })
}

/// Delays so many deletes at this moment, and returns their rows.
fn delay(queue: &mut Queue, names: std::ops::Range<usize>, now: UnixMillis) -> Vec<QueueRow> {
    let mut rows = Vec::new();
    for name in names {
        let wanted = wish(&name.to_string(), Operation::Delete, now);
        let change = queue.delay(wanted, now + DELAY, None, now);
        let Some(Change::Queue(row)) = change else { panic!("not queued: {change:?}") };
        rows.push(row);
    }
    let delayed = queue.counts().delayed + rows.len() as u64;
    queue.set_counts(StateCounts { delayed, ..queue.counts() });
    started(queue, now);
    rows
}

#[test]
fn a_delayed_delete_is_on_disk_with_its_time_and_not_in_the_window() {
    let mut queue = delaying();
    let rows = delay(&mut queue, 0..1, 1_000);
    assert_eq!(rows[0].parked.as_deref(), Some(DELETE_DELAYED));
    assert_eq!((rows[0].next_try, rows[0].since), (1_000 + DELAY, 1_000));
    assert_eq!(started(&mut queue, 2 * DELAY), [""; 0]);
    // Wanted again, it is as it was.
    let again =
        queue.delay(wish("0", Operation::Delete, 5_000), 1_000 + DELAY, Some(&rows[0]), 5_000);
    assert!(again.is_none(), "{again:?}");
}

#[test]
fn one_that_is_due_starts_as_a_change_of_that_moment() {
    let mut queue = delaying();
    let rows = delay(&mut queue, 0..1, 1_000);
    let due = 1_000 + DELAY;
    queue.want(wish("0", Operation::Delete, due), Some(&rows[0]), due, false);
    let leases = queue.start(due + DELETE_GRACE_MS, true);
    assert_eq!(leases[0].pending.since, due, "its age is not that of the delay");
    assert_eq!(leases[0].pending.parked, None);
}

#[test]
fn a_put_in_its_place_has_an_age_of_its_own() {
    let mut queue = delaying();
    let rows = delay(&mut queue, 0..1, 1_000);
    let change = queue.want(wish("0", Operation::Put, 90_000), Some(&rows[0]), 90_000, true);
    let Some(Change::Queue(row)) = change else { panic!("not queued") };
    assert_eq!((row.since, row.parked), (90_000, None));
}

#[test]
fn the_limit_counts_a_delete_when_it_is_wanted_and_holds_it_however_late_it_is_due() {
    let mut queue = delaying();
    let mut rows = Vec::new();
    for step in 0..10 {
        rows.extend(delay(&mut queue, step * 6..step * 6 + 6, 10_000 * step as u64));
    }
    assert!(queue.deletes_held(), "60 of 100 within the window");
    // The window is over, and the first of them is due.
    let due = DELAY + 10_000;
    queue.want(wish("0", Operation::Delete, due), Some(&rows[0]), due, false);
    let counts = StateCounts { deletes: 1, pending: 1, delayed: 59, ..queue.counts() };
    queue.set_counts(counts);
    assert_eq!(started(&mut queue, due + 10_000), [""; 0], "it is still on hold");
    queue.approve_deletes(due + 10_000);
    assert_eq!(started(&mut queue, due + 20_000), ["0"]);
}

#[test]
fn files_that_return_end_the_hold() {
    let mut queue = delaying();
    let rows = delay(&mut queue, 0..60, 1_000);
    assert!(queue.deletes_held());
    for row in &rows[..20] {
        queue.settle(&row.path, Some(row));
    }
    queue.set_counts(StateCounts { delayed: 40, ..queue.counts() });
    started(&mut queue, 2_000);
    assert!(!queue.deletes_held());
}

#[test]
fn deletes_of_a_whole_delay_do_not_add_up() {
    let mut queue = delaying();
    // Every file is replaced by another one within the delay: 40 in each window, of 100.
    for step in 0..6 {
        delay(&mut queue, step * 40..step * 40 + 40, (WINDOW + 1) * step as u64);
        let mirrored = queue.counts().mirrored + 40;
        queue.set_counts(StateCounts { mirrored, ..queue.counts() });
        assert!(!queue.deletes_held(), "step {step}");
    }
}

#[test]
fn a_hold_survives_as_text() {
    let mut queue = delaying();
    delay(&mut queue, 0..60, 1_000);
    let Some(Change::RecentDeletes(recent)) = queue.recent_change() else { panic!("nothing new") };
    assert!(queue.recent_change().is_none(), "written once");
    let mut next = delaying();
    next.set_counts(queue.counts());
    next.set_recent_deletes(RecentDeletes::from_text(&recent.to_text()));
    started(&mut next, WINDOW * 2);
    assert!(next.deletes_held());
}

#[test]
fn a_cancellation_takes_all_out_but_those_that_run() {
    let mut queue = delaying();
    queue.settings.delete_delay_ms = 0;
    want(&mut queue, "runs", Operation::Delete, 0);
    want(&mut queue, "put", Operation::Put, 90_000);
    assert_eq!(started(&mut queue, 5_000), ["runs"]);
    want(&mut queue, "waits", Operation::Delete, 6_000);
    queue.begin_refill();
    let Change::DeletesCancelled(running) = queue.cancel_deletes() else {
        panic!("another change")
    };
    assert_eq!(running, [path("runs")]);
    queue.refill(vec![wish("old", Operation::Delete, 0), wish("other", Operation::Put, 0)]);
    queue.end(&path("runs"), &of(Outcome::Deleted), 7_000, 1.0);
    let mut left = started(&mut queue, 100_000);
    left.sort();
    assert_eq!(left, ["other", "put"]);
}

#[test]
fn objects_that_an_attempt_may_have_made_count_on_both_sides() {
    let delete_limit = DeleteLimit { percent: 100, count: 3, window_ms: 0 };
    let settings = QueueSettings { delete_limit, ..settings() };
    let counts = StateCounts {
        mirrored: 561,
        deletes: 996,
        unrecorded_deletes: 435,
        ..StateCounts::default()
    };
    assert!(!Queue::new(settings.clone(), counts).deletes_held(), "never more than 100 %");
    let delete_limit = DeleteLimit { percent: 99, ..delete_limit };
    let settings = QueueSettings { delete_limit, ..settings };
    assert!(Queue::new(settings, counts).deletes_held(), "they are objects that would be lost");
}
