//! d9: ended at any moment, nothing is lost and the exit code is true. d13: killed in large uploads,
//! none of ours is left behind.

use crate::harness::{Churn, World, seed, sleep_for, until};
use file_sync_dev_s3::{Action, BUCKET, Rule};
use std::fs;
use std::time::Duration;

#[test]
fn d9_sigterm_and_sigkill_at_any_moment_lose_nothing_and_the_exit_code_is_true() {
    const ENDS: usize = 12;
    let mut world = World::new();
    world.set("shutdown_timeout_seconds", "1");
    let mut dice = fastrand::Rng::with_seed(seed());
    let mut churn = Churn::new(dice.u64(..), &world.tree);
    world.server.fail(Rule::new(Action::Delay(Duration::from_millis(10))));
    for end in 1..=ENDS {
        let life = Duration::from_millis(dice.u64(..400));
        churn.steps(40);
        // At any moment from its first word on.
        let daemon = world.start();
        sleep_for(life / 2);
        churn.steps(20);
        sleep_for(life / 2);
        if dice.bool() {
            println!("{end}: killed after {life:?}");
            daemon.kill();
            continue;
        }
        let ended = daemon.terminate();
        let words = ended.events("shutdown.left_over");
        let left = words.len();
        let unseen = words.iter().any(|line| {
            line.is_true("uncompared") || line.number("uninspected").is_some_and(|count| count > 0)
        });
        println!("{end}: terminated after {life:?}, {left} words of what is left");
        assert_eq!((ended.code(), ended.signal()), (Some(0), None));
        let compared = ended.events("scan.completed").len();
        if left == 0 && compared > 0 {
            assert_eq!(world.difference(), Ok(()), "it said that nothing is left");
        } else if left > 0 {
            assert!(unseen || !world.waiting().is_empty(), "it said that something is left");
        }
    }
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    assert_eq!(world.difference(), Ok(()));
    churn.assert_nothing_was_torn(&world);
}

#[test]
fn d9_work_left_on_a_state_that_will_not_survive_ends_with_75() {
    let Some(mut world) = World::in_mount_namespace() else { return };
    let state = world.state_dir();
    fs::create_dir(&state).expect("made");
    world.namespace().mount_memory("size=16m", &state);
    world.tree.write("file", "content");
    let daemon = world.start().ready();
    daemon.wait_for("state.ephemeral");
    world.wait_for_object("file", "content");
    assert_eq!(daemon.terminate().code(), Some(0), "nothing is left");
    world.server.fail(Rule::new(Action::slow_down()));
    world.tree.write("file", "changed");
    world.set("shutdown_timeout_seconds", "1");
    let daemon = world.start().ready();
    let ended = daemon.terminate();
    assert_eq!(ended.code(), Some(75));
    assert_eq!(ended.events("shutdown.left_over").len(), 1);
}

/// How often it is killed in a large upload, unless `IT_KILLS` says otherwise.
const KILLS: usize = 12;

#[test]
fn d13_kills_in_large_uploads_leave_no_upload_of_ours_and_those_of_others_alone() {
    const MIB: usize = 1024 * 1024;
    let mut world = World::new();
    world.set("multipart_threshold_mib", "5");
    world.set("multipart_part_size_mib", "5");
    let mut dice = fastrand::Rng::with_seed(seed());
    let foreign = world.server.store().begin_upload(BUCKET, "m/foreign");
    world.server.fail(Rule::new(Action::Delay(Duration::from_millis(30))));
    for kill in 1..=crate::harness::wait::kills(KILLS) {
        // Another state, whatever became of the one before.
        let content = vec![u8::try_from(kill % 251).expect("small"); 11 * MIB];
        fs::write(world.sibling_path("aside"), content).expect("written");
        fs::rename(world.sibling_path("aside"), world.tree.path("large")).expect("renamed");
        world.server.clear_requests();
        let daemon = world.start();
        // In every step of it: begun, some parts, completed.
        let requests = dice.u64(1..6);
        until("it is under way", || world.server.journal().total() >= requests);
        sleep_for(Duration::from_millis(dice.u64(..30)));
        println!("kill {kill}");
        daemon.kill();
    }
    let daemon = world.start();
    world.wait_until_done();
    let left = [("m/foreign".to_owned(), foreign)];
    until("only the foreign upload is left", || world.uploads() == left);
    daemon.stop();
}
