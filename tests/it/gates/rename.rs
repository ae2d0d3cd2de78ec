//! d5: killed at any step of a rename, a complete copy is there.

use crate::harness::{World, until};
use file_sync_dev_s3::{Action, Gate, Rule};

/// Requests that a rename takes, and some more in case of doubts after a kill.
const STEPS_MAX: u64 = 12;

/// Renames a folder, and kills the daemon at the request of this number, before the store has seen it
/// or after. Whether there was such a request.
fn killed_at(step: u64, applied: bool, copy: bool) -> bool {
    let world = World::new();
    world.tree.fill("old", 2);
    world.tree.write("stays", "so that the tree is not empty");
    let daemon = world.start().ready();
    world.wait_until_done();
    if !copy {
        // The file has to be sent again.
        world.server.fail(Rule::new(Action::access_denied()).on("CopyObject"));
    }
    let gate = Gate::shut();
    let action = if applied { Action::LoseReply } else { Action::Hold(gate.clone()) };
    // A copy that is refused is no step of its own.
    let is_step = move |call: &file_sync_dev_s3::Call| copy || call.operation != "CopyObject";
    let held = world.server.fail(Rule::new(action).when(is_step).skip(step).times(1));
    world.tree.rename("old", "new");
    let mut reached = false;
    until("the step is reached, or all is done", || {
        reached = world.server.faults().hits(held) > 0;
        reached || (world.difference().is_ok() && world.waiting().is_empty())
    });
    daemon.kill();
    gate.open();
    until("S3 has done what it was asked for", || world.server.journal().in_flight() == 0);
    let daemon = world.start();
    world.wait_until_done();
    world.assert_a_copy_was_there_all_the_time();
    daemon.stop();
    reached
}

fn killed_at_every_step(copy: bool, steps_min: u64) {
    for applied in [false, true] {
        let steps = (0..STEPS_MAX).take_while(|&step| killed_at(step, applied, copy)).count();
        println!("applied: {applied}: {steps} steps");
        assert!(steps as u64 >= steps_min, "{steps} steps");
    }
}

#[test]
fn d5_a_kill_at_any_step_of_a_rename_leaves_a_complete_copy() {
    // Two copies, and one request for both deletes.
    killed_at_every_step(true, 3);
}

#[test]
fn d5_a_kill_at_any_step_of_a_rename_that_is_sent_again_leaves_a_complete_copy() {
    killed_at_every_step(false, 3);
}
