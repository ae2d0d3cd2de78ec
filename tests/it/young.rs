//! `min_age_seconds`: no file is sent before it is old enough, and nothing waits for one that is not.

use crate::harness::World;
use std::fs::{File, FileTimes};
use std::time::{Duration, SystemTime};

/// The setting of these tests, in seconds.
const MIN_AGE: u64 = 3600;

fn world() -> World {
    World::new().setting("min_age_seconds", &MIN_AGE.to_string())
}

/// Writes a file that is `age` seconds old.
#[expect(clippy::disallowed_methods, reason = "the age of a file is measured by the wall clock")]
fn write_aged(world: &World, name: &str, content: &str, age: u64) {
    let aside = world.sibling_path(name);
    std::fs::write(&aside, content).expect("written");
    let time = SystemTime::now() - Duration::from_secs(age);
    let file = File::options().write(true).open(&aside).expect("opened");
    file.set_times(FileTimes::new().set_modified(time)).expect("set");
    std::fs::rename(aside, world.tree.path(name)).expect("moved");
}

#[test]
fn a_file_is_sent_when_it_is_old_enough_and_not_before() {
    let world = world();
    write_aged(&world, "old", "old", 2 * MIN_AGE);
    world.tree.write("young", "young");
    let daemon = world.start().ready();
    world.wait_for_object("old", "old");
    // Nothing happens to it any more.
    write_aged(&world, "soon", "soon", MIN_AGE - 5);
    let flushed = world.run(&["flush", "--timeout", "600s"]);
    assert_eq!(flushed.code, Some(0), "{}", flushed.errors);
    world.wait_for_object("soon", "soon");
    assert_eq!(world.object("young"), None);
    // A change waits again, and the earlier object stays.
    world.tree.write("old", "changed");
    world.pass_an_old_marker();
    assert_eq!(world.object("old").as_deref(), Some(&b"old"[..]));
    write_aged(&world, "old", "changed", 2 * MIN_AGE);
    world.wait_for_object("old", "changed");
    // A delete does not.
    world.tree.write("soon", "changed");
    world.tree.remove("soon");
    world.wait_until_gone("soon");
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    assert_eq!(world.object("young"), None, "the drain does not send it either");
}

#[test]
fn once_leaves_a_young_file_and_says_how_many_there_are() {
    let world = world();
    write_aged(&world, "old", "old", 2 * MIN_AGE);
    world.tree.write("young", "young");
    let planned = world.run(&["plan", "--json"]).json();
    let steps = planned["steps"].as_array().expect("steps");
    let left = steps.iter().find(|step| step["path"] == "young").expect("a step");
    assert_eq!((&left["kind"], &left["reason"]), (&"left".into(), &"below-min-age".into()));
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    let told = ended.events("shutdown.skipped");
    assert_eq!(told.first().and_then(|line| line.number("skipped")), Some(1));
    assert_eq!((world.object("old").is_some(), world.object("young")), (true, None));
    assert_eq!(world.run(&["once", "--strict"]).code, Some(75));
    write_aged(&world, "young", "young", 2 * MIN_AGE);
    assert_eq!(world.run(&["once", "--strict"]).code, Some(0));
    assert_eq!(world.difference(), Ok(()));
}

impl World {
    /// Waits until what happened before is decided.
    fn pass_an_old_marker(&self) {
        write_aged(self, "marker", "marker", 2 * MIN_AGE);
        self.wait_for_object("marker", "marker");
        let flushed = self.run(&["flush", "--timeout", "600s"]);
        assert_eq!(flushed.code, Some(0), "{}", flushed.errors);
    }

    fn wait_until_gone(&self, name: &str) {
        crate::harness::until("it is gone", || self.object(name).is_none());
    }
}
