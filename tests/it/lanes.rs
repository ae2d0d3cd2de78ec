//! What happens now goes first, whatever waits.

use crate::harness::{World, key, until};
use file_sync_dev_s3::{Action, Gate, Rule, What};
use std::time::Duration;

/// Files that wait.
const BACKLOG: usize = 2_000;
/// Requests at a time; four times as many files are read ahead of them.
const REQUESTS: u64 = 2;
/// Far from the end of the backlog, and more than is under way.
const SOON: usize = 200;

fn world() -> World {
    let world = World::new().setting("max_concurrent_transfers", &REQUESTS.to_string());
    world.tree.fill("backlog", BACKLOG);
    world
}

/// How many changes of objects came before that of `name`.
fn before(world: &World, name: &str, what: fn(&What) -> bool) -> Option<usize> {
    let history = world.history();
    history.iter().position(|change| change.key == key(name) && what(&change.what))
}

fn is_stored(what: &What) -> bool {
    !matches!(what, What::Deleted)
}

fn is_deleted(what: &What) -> bool {
    matches!(what, What::Deleted)
}

#[test]
fn a_fresh_file_is_sent_before_thousands_that_wait() {
    let world = world();
    let gate = Gate::shut();
    let held = world.server.fail(Rule::new(Action::Hold(gate.clone())).on("PutObject"));
    let daemon = world.start().ready();
    until("the backlog is queued", || world.waiting().len() >= BACKLOG);
    until("it is being sent", || world.server.faults().hits(held) >= REQUESTS);
    world.tree.write("now", "fresh");
    until("the change is queued", || world.waiting().iter().any(|row| row.name == "now"));
    gate.open();
    world.wait_for_object("now", "fresh");
    let before = before(&world, "now", is_stored).expect("it is there");
    assert!(before < SOON, "{before} of {BACKLOG} were sent before it");
    daemon.kill();
}

#[test]
fn a_file_that_waits_and_changes_is_sent_before_the_others() {
    let world = world();
    let gate = Gate::shut();
    world.server.fail(Rule::new(Action::Hold(gate.clone())).on("PutObject"));
    let daemon = world.start().ready();
    until("the backlog is queued", || world.waiting().len() >= BACKLOG);
    let last = format!("backlog/{:04}", BACKLOG - 1);
    world.tree.write(&last, "changed meanwhile");
    // It is decided on after that.
    world.tree.write("marker", "later");
    until("the change is queued", || world.waiting().iter().any(|row| row.name == "marker"));
    gate.open();
    world.wait_for_object(&last, "changed meanwhile");
    let before = before(&world, &last, is_stored).expect("it is there");
    assert!(before < SOON, "{before} of {BACKLOG} were sent before it");
    daemon.kill();
}

/// A delete waits for the puts before it that may be the new name of its file, and for no other.
#[test]
fn a_fresh_delete_is_done_before_thousands_that_wait() {
    let world = World::new().setting("max_concurrent_transfers", &REQUESTS.to_string());
    world.tree.write("gone", "for a while");
    world.tree.write("stays", "for ever");
    let daemon = world.start().ready();
    world.wait_until_done();
    daemon.stop();
    world.tree.fill("backlog", BACKLOG);
    let sent = world.history().len();
    world.server.fail(Rule::new(Action::Delay(Duration::from_millis(20))).on("PutObject"));
    let daemon = world.start().ready();
    until("the backlog is being sent", || world.history().len() > sent + 10);
    world.tree.remove("gone");
    until("it is deleted", || before(&world, "gone", is_deleted).is_some());
    let before = before(&world, "gone", is_deleted).expect("it is deleted");
    assert!(before < BACKLOG / 2, "{before} of {BACKLOG} were sent before it");
    daemon.kill();
}

#[test]
fn a_small_file_does_not_wait_for_the_parts_of_large_ones_under_a_bandwidth_limit() {
    const MIB: u64 = 1 << 20;
    let world = World::new()
        .setting("bandwidth_limit", "1MiB")
        .setting("multipart_threshold_mib", "5")
        .setting("multipart_part_size_mib", "5");
    let parts = world.server.fail(Rule::new(Action::Delay(Duration::ZERO)).on("UploadPart"));
    let daemon = world.start().ready();
    for name in ["large1", "large2"] {
        let file = std::fs::File::create(world.sibling_path(name)).expect("made");
        file.set_len(60 * MIB).expect("grown");
        std::fs::rename(world.sibling_path(name), world.tree.path(name)).expect("renamed");
    }
    until("a part is sent", || world.server.faults().hits(parts) > 0);
    world.tree.write("small", "fresh");
    world.wait_for_object("small", "fresh");
    let sent = world.server.faults().hits(parts);
    assert!(sent < 6, "{sent} of 24 parts were sent before it");
    daemon.kill();
}
