//! The probe: another store is asked once what it can do, and nothing rests on it.

use crate::harness::log::Line;
use crate::harness::{World, until};
use file_sync_dev_s3::{Action, BUCKET, Gate, Options, Rule};

/// What the store was asked with.
const NAMES: &str = "m/.file-sync-service.probe-*";

/// A world whose daemons ask.
fn world() -> World {
    let world = World::new().setting("s3_probe", "true");
    world.tree.write("file", "content");
    world
}

fn probed(lines: &[Line]) -> &Line {
    let [line] =
        &lines.iter().filter(|line| line.event() == "store.probed").collect::<Vec<_>>()[..]
    else {
        panic!("it is logged once")
    };
    line
}

fn requests_with_probes(world: &World) -> usize {
    let requests = world.server.requests();
    requests.iter().filter(|request| request.call.key.contains(".probe-")).count()
}

#[test]
fn a_store_is_asked_once_what_it_can_do_and_nothing_is_left_of_that() {
    let world = world();
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    let line = probed(&ended.lines);
    for name in ["put", "copy", "multipart"] {
        assert_eq!(line.text(name), "yes", "{}", line.shown());
    }
    for name in [
        "checksum.returned",
        "checksum.verified",
        "multipart.checksum.returned",
        "delete.conditions",
        "delete.many.conditions",
    ] {
        assert!(line.is_true(name), "{name} in {}", line.shown());
    }
    assert_eq!((world.difference(), world.uploads()), (Ok(()), Vec::new()));
    assert!(requests_with_probes(&world) > 0);
    world.server.clear_requests();
    world.tree.write("file", "changed");
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(requests_with_probes(&world), 0, "a restart does not ask again");
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(world.server.count("PutObject"), 1, "nothing to send, nothing asked");
}

#[test]
fn nothing_is_asked_before_there_is_something_to_send() {
    let world = World::new().setting("s3_probe", "true");
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(world.server.journal().total(), 0);
}

#[test]
fn what_a_store_cannot_do_is_told_in_its_own_words() {
    let world = world();
    let unknown = || Action::Fail { status: 501, code: "NotImplemented" };
    world.server.fail(Rule::new(unknown()).on("CopyObject"));
    world.server.fail(
        Rule::new(Action::Fail { status: 400, code: "InvalidRequest" }).on("CreateMultipartUpload"),
    );
    // The first is that with a condition.
    world.server.fail(Rule::new(unknown()).on("DeleteObject").times(1));
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    let line = probed(&ended.lines);
    assert_eq!((line.text("copy"), line.text("multipart")), ("NotImplemented", "InvalidRequest"));
    assert!(!line.is_true("delete.conditions") && line.is_true("checksum.verified"));
    assert_eq!(world.difference(), Ok(()));
}

#[test]
fn a_probe_that_is_refused_holds_up_nothing_and_is_given_up() {
    let world = world();
    world.tree.fill("folder", 10);
    world.server.fail(Rule::new(Action::access_denied()).on("PutObject").key(NAMES));
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    assert_eq!(world.difference(), Ok(()));
    assert_eq!(ended.events("store.not_probed").len(), 3);
    assert_eq!(ended.events("store.probed").len(), 0);
}

#[test]
fn a_refused_checksum_is_a_warning_that_says_what_may_help() {
    let world = world();
    let refused = Action::Fail { status: 400, code: "InvalidRequest" };
    world.server.fail(Rule::new(refused).on("PutObject").key(NAMES));
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    let line = probed(&ended.lines);
    assert_eq!((line.text("severity"), line.text("put")), ("WARN", "InvalidRequest"));
    assert!(line.text("message").contains("s3_checksum_algorithm"), "{}", line.shown());
}

#[test]
fn what_a_kill_leaves_of_a_probe_goes_with_the_next() {
    let world = world();
    let gate = Gate::shut();
    let held = Rule::new(Action::Hold(gate)).on("CompleteMultipartUpload").key(NAMES);
    let held = world.server.fail(held);
    let daemon = world.start();
    until("an object and an upload are there", || {
        !world.uploads().is_empty() && !world.server.objects(BUCKET).is_empty()
    });
    daemon.kill();
    world.server.faults().remove(held);
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    assert_eq!((world.difference(), world.uploads()), (Ok(()), Vec::new()));
    probed(&ended.lines);
}

/// As MinIO does, which takes conditions on deletes and does not look at them.
#[test]
fn where_deletes_have_no_conditions_objects_are_looked_at_before_they_are_deleted() {
    let options = Options { conditional_deletes: false, ..Options::default() };
    let mut world = World::with(&options).setting("s3_probe", "true");
    world.tree.write("stays", "so that the tree is not empty");
    world.tree.fill("folder", 5);
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    let line = probed(&ended.lines);
    assert!(!line.is_true("delete.conditions") && !line.is_true("delete.many.conditions"));
    for name in ["folder/0001", "folder/0002"] {
        world.put_foreign(name, "foreign");
    }
    world.tree.remove_folder("folder");
    // Another process knows it from the record.
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    assert_eq!(world.difference(), Ok(()));
    assert_eq!(ended.events("delete.declined").len(), 2);
    assert_eq!(ended.events("store.probed").len(), 0);
    let mut deleted = world.deleted();
    deleted.retain(|key| !key.contains(".probe-"));
    assert_eq!(deleted, ["m/folder/0000", "m/folder/0003", "m/folder/0004"]);
}

#[test]
fn plan_and_verify_try_nothing_out() {
    let world = world();
    assert_eq!(world.run(&["plan"]).code, Some(0));
    assert_eq!(world.run(&["verify"]).code, Some(1));
    // A HEAD that is answered with 404 is confirmed by a GET.
    let asks = ["ListObjectsV2", "HeadObject", "GetObject"];
    let requests = world.server.requests();
    let asked: Vec<_> = requests.iter().map(|request| request.call.operation).collect();
    assert!(asked.iter().all(|asked| asks.contains(asked)), "{asked:?}");
}
