//! Killed at any moment: it converges after a restart, and sends nothing twice that was there.

use crate::harness::{Churn, World, seed, sleep_for, until};
use file_sync_dev_s3::{Action, BUCKET, Gate, Rule};
use std::collections::BTreeSet;
use std::time::Duration;

const KILLS: usize = 20;
/// The latest moment after the start at which it is killed. It takes a tenth of that to be ready.
const LIFE_MAX: Duration = Duration::from_millis(600);

#[test]
fn killed_at_any_moment_it_converges_after_a_restart() {
    let mut world = World::new();
    world.set("multipart_threshold_mib", "5");
    world.set("multipart_part_size_mib", "5");
    let mut dice = fastrand::Rng::with_seed(seed());
    let mut churn = Churn::new(dice.u64(..), &world.tree).with_large_files(6 << 20);
    // Slow enough that something is always on its way.
    world.server.fail(Rule::new(Action::Delay(Duration::from_millis(5))));
    for kill in 1..=KILLS {
        let life = LIFE_MAX.mul_f64(dice.f64());
        println!("kill {kill} after {life:?}");
        churn.steps(20);
        let daemon = world.spawn();
        sleep_for(life / 2);
        churn.steps(20);
        sleep_for(life / 2);
        daemon.kill();
    }
    let daemon = world.start();
    world.wait_until_done();
    churn.assert_nothing_was_torn(&world);
    until("no upload is left", || world.uploads().is_empty());
    daemon.stop();
}

#[test]
fn what_is_in_s3_already_is_not_sent_again_after_a_kill() {
    let mut dice = fastrand::Rng::with_seed(seed());
    for sent in [1, dice.usize(2..100), dice.usize(100..190)] {
        println!("kill after {sent} uploads");
        kill_after(sent);
    }
}

fn kill_after(sent: usize) {
    const FILES: usize = 200;
    const CONCURRENCY: u64 = 4;
    /// Uploads that are let through at most: those under way when it is killed are not the last ones.
    const LET_THROUGH: usize = 190;
    assert!(sent < LET_THROUGH);
    let world = World::new().setting("max_concurrent_transfers", &CONCURRENCY.to_string());
    world.server.fail(Rule::new(Action::Delay(Duration::from_millis(2))));
    let gate = Gate::shut();
    let held = Rule::new(Action::Hold(gate.clone())).on("PutObject").skip(LET_THROUGH as u64);
    world.server.fail(held);
    world.tree.fill("folder", FILES);
    let daemon = world.start();
    until("so many uploads", || world.server.objects(BUCKET).len() >= sent);
    daemon.kill();
    gate.open();
    until("S3 has done what it was asked for", || world.server.journal().in_flight() == 0);
    let there: BTreeSet<_> = world.server.objects(BUCKET).into_keys().collect();
    assert!(there.len() < FILES, "it was killed in the middle");
    world.server.clear_requests();

    let daemon = world.start();
    world.wait_until_done();
    daemon.stop();
    let requests = world.server.requests().into_iter();
    let puts = requests.filter(|request| request.call.operation == "PutObject");
    let puts: BTreeSet<_> = puts.map(|request| request.call.key).collect();
    let again: Vec<_> = puts.intersection(&there).collect();
    assert!(again.is_empty(), "sent once more: {again:?}");
    assert_eq!(puts.len() + there.len(), FILES);
    // What was prepared or on its way, four files for each request, and what was answered and not noted
    // yet; each may be asked about twice, by the queue of before and by the first comparison.
    let asked = world.server.count("HeadObject");
    assert!(asked <= 4 * 4 * CONCURRENCY, "{asked} questions");
}

#[test]
fn a_rename_keeps_a_complete_copy_at_every_moment_even_if_it_is_killed() {
    const RENAMES: usize = 5;
    let world = World::new();
    let mut dice = fastrand::Rng::with_seed(seed());
    world.tree.fill("folder 0", 40);
    for rename in 1..=RENAMES {
        let daemon = world.start().ready();
        world.wait_until_done();
        let life = Duration::from_millis(dice.u64(20..80));
        println!("kill {rename} after {life:?}");
        world.tree.rename(&format!("folder {}", rename - 1), &format!("folder {rename}"));
        sleep_for(life);
        daemon.kill();
        // A pod takes its time to come back: by then every wait in the record is over.
        sleep_for(Duration::from_millis(1_100));
    }
    let daemon = world.start();
    world.wait_until_done();
    world.assert_a_copy_was_there_all_the_time();
    daemon.stop();
}

#[test]
fn a_kill_without_changes_sends_nothing_that_was_not_on_its_way() {
    let world = World::new();
    world.tree.fill("folder", 100);
    let daemon = world.start();
    world.wait_until_done();
    daemon.kill();
    world.server.clear_requests();
    let daemon = world.start().ready();
    world.pass_a_marker("marker");
    daemon.stop();
    let requests = world.server.requests().into_iter();
    let keys: Vec<_> = requests.map(|request| (request.call.operation, request.call.key)).collect();
    assert_eq!(keys, [("PutObject", "m/marker".to_owned())]);
}
