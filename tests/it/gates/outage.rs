//! d10: refused for long while everything changes. The state stays bounded, and in the end all is
//! there.

use crate::harness::{Churn, World, seed, sleep_for, until};
use file_sync_dev_s3::{Action, Rule};
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

#[test]
fn d10_a_long_denial_with_churn_stays_bounded_and_ends_with_all_in_s3() {
    const ROUNDS: usize = 40;
    const STEPS: usize = 60;
    let world = World::new().setting("retry_interval_seconds", "1");
    let mut dice = fastrand::Rng::with_seed(seed());
    let mut churn = Churn::new(dice.u64(..), &world.tree);
    churn.steps(STEPS);
    let daemon = world.start().ready();
    world.wait_until_done();
    let denied = world.server.fail(Rule::new(Action::access_denied()));
    world.server.clear_requests();
    let began = file_sync_dev_s3::now();
    let mut names: BTreeSet<String> = world.tree.wanted().into_keys().collect();
    let mut most = 0;
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        churn.steps(STEPS);
        names.extend(world.tree.wanted().into_keys());
        sleep_for(Duration::from_millis(50));
        most = most.max(world.waiting().len());
        bytes = bytes.max(state_bytes(&world));
    }
    daemon.wait_for("s3.unavailable");
    println!("{} names, {most} rows, {bytes} bytes of state", names.len());
    assert!(most > 20, "something waits");
    // A row a name, whatever happened to it; names that came and went between two looks are few.
    assert!(most <= 2 * names.len(), "{most} rows of {} names", names.len());
    assert!(bytes < 16 << 20, "{bytes} bytes of state");
    let requests = world.server.journal().total();
    // Until it was noticed, and then a probe every half second at most.
    let most = 90 + 2 * began.elapsed().as_secs();
    println!("{requests} requests, {most} at most");
    assert!(requests < most, "{requests} requests for {} changes", ROUNDS * STEPS);
    world.server.faults().remove(denied);
    world.wait_until_done();
    until("it says so", || world.waiting().is_empty());
    churn.assert_nothing_was_torn(&world);
    daemon.stop();
}

fn state_bytes(world: &World) -> u64 {
    let entries = fs::read_dir(world.state_dir()).expect("listed");
    let lengths = entries.filter_map(|entry| entry.ok()?.metadata().ok());
    lengths.filter(fs::Metadata::is_file).map(|metadata| metadata.len()).sum()
}
