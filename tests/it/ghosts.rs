//! No ghosts: an object that an attempt may have made goes with its file, whatever its requests were
//! answered.

use crate::harness::{Daemon, World, until};
use file_sync_dev_s3::{Action, Options, Rule};

/// Mirrors a file under its first name, as it is when nothing of it is in doubt any more.
fn mirrored(world: &World) -> Daemon {
    world.tree.write("stays", "so that the tree is not empty");
    world.tree.write("before", "content");
    let daemon = world.start().ready();
    world.wait_until_done();
    until("nothing is compared once more", || world.racy() == 0);
    daemon
}

#[test]
fn a_copy_whose_confirmation_was_refused_goes_with_its_file() {
    let world = World::with(&Options { checksums: false, ..Options::default() });
    let daemon = mirrored(&world);
    let refused = world.server.fail(Rule::new(Action::access_denied()).on("HeadObject"));
    world.tree.rename("before", "after");
    until("the copy is there", || world.object("after").is_some());
    daemon.wait_for_file("upload.failed", "after");
    world.tree.remove("after");
    daemon.wait_for_line("its delete is tried", |line| line.is("delete.failed", "after"));
    world.server.faults().remove(refused);
    world.wait_until_done();
    assert_eq!((world.object("after"), world.object("before")), (None, None));
    daemon.stop();
}

#[test]
fn a_copy_whose_answer_was_lost_goes_with_its_file_though_the_upload_behind_it_was_refused() {
    let world = World::new();
    let daemon = mirrored(&world);
    // The answer to the copy is no answer of S3's, and says nothing about what was made.
    let nonsense = world.server.fail(Rule::new(Action::TruncateReply(60)).on("CopyObject"));
    let refused = world.server.fail(Rule::new(Action::access_denied()).on("PutObject"));
    world.tree.rename("before", "after");
    until("the copy is there", || world.object("after").is_some());
    daemon.wait_for_file("upload.failed", "after");
    world.tree.remove("after");
    until("its delete waits, or is done", || {
        world.object("after").is_none()
            || world.waiting().iter().any(|row| row.name == "after" && row.operation == "delete")
    });
    world.server.faults().remove(nonsense);
    world.server.faults().remove(refused);
    world.wait_until_done();
    assert_eq!((world.object("after"), world.object("before")), (None, None));
    daemon.stop();
}
