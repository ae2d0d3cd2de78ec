//! One tree shared by several daemons: each mirrors its part, and leaves the others' alone.

use crate::harness::log::Line;
use crate::harness::{Churn, Daemon, World, rounds, seed};
use file_sync_dev_s3::{Action, Rule};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};

const COUNT: usize = 3;

impl World {
    /// The settings of one of so many daemons, with a state of its own.
    fn as_shard(&mut self, index: usize, count: usize) {
        let state = self.sibling_path(&format!("state-{index}"));
        self.set("state_dir", &state.to_string_lossy());
        self.set("shard_index", &index.to_string());
        self.set("shard_count", &count.to_string());
    }

    fn start_shards(&mut self, count: usize) -> Vec<Daemon> {
        let start = |index| {
            self.as_shard(index, count);
            self.start().ready()
        };
        (0..count).map(start).collect()
    }
}

/// What each daemon has done about which files.
fn done(daemon: Daemon) -> BTreeSet<String> {
    let events = ["upload.completed", "copy.completed", "delete.completed"];
    let ended = daemon.stop();
    let lines = ended.lines.iter().filter(|line| events.contains(&line.event()));
    let files: BTreeSet<_> = lines.map(|line| line.text("file.path").to_owned()).collect();
    assert!(!files.contains(""));
    files
}

#[test]
fn shards_of_one_tree_make_the_bucket_equal_and_none_touches_another_one_s_share() {
    for depth in ["1", "2"] {
        let mut world = World::new();
        world.set("shard_depth", depth);
        let mut churn = Churn::new(seed(), &world.tree);
        churn.steps(150);
        let daemons = world.start_shards(COUNT);
        churn.steps(150);
        world.wait_until_equal();
        let mut whose: BTreeMap<String, usize> = BTreeMap::new();
        let mut busy = BTreeSet::new();
        for (index, daemon) in daemons.into_iter().enumerate() {
            for file in done(daemon) {
                let other = whose.insert(file.clone(), index);
                assert!(other.is_none(), "{file:?} is of {other:?} and of {index}");
                busy.insert(index);
            }
        }
        assert_eq!(busy.len(), COUNT, "all of them had something to do");
        world.wait_until_equal();
    }
}

#[test]
fn a_shard_neither_enters_nor_watches_a_directory_of_another_one() {
    let mut world = World::new();
    for folder in 0..30 {
        world.tree.fill(&format!("folder {folder}/deep/deeper"), 2);
    }
    let daemons = world.start_shards(COUNT);
    world.wait_until_equal();
    let mut files = 0;
    let mut watched = 0;
    for daemon in daemons {
        let line = daemon.wait_for("scan.completed");
        files += line.number("files").expect("counted");
        watched += daemon.watches();
    }
    assert_eq!(files, 60, "each file was met by one of them");
    // Of each shard the tree itself and the directory of its cookies, and each folder once.
    assert_eq!(watched, 2 * COUNT + 30 * 3);
}

#[test]
fn a_resize_ends_equal_whatever_changed_meanwhile_and_deletes_nothing_twice() {
    let mut world = World::new();
    let mut churn = Churn::new(seed(), &world.tree);
    churn.steps(80);
    // A request about many objects names none of them to the server's journal.
    let unknown = Action::Fail { status: 501, code: "NotImplemented" };
    world.server.fail(Rule::new(unknown).on("DeleteObjects"));
    for (round, count) in [2, 3, 2, 1, 2].into_iter().enumerate() {
        let folders: Vec<_> = (0..6).map(|folder| format!("{round}-{folder}")).collect();
        folders.iter().for_each(|folder| world.tree.fill(folder, 2));
        let daemons = world.start_shards(count);
        churn.steps(60);
        world.wait_until_equal();
        churn.steps(40);
        daemons.into_iter().for_each(|daemon| drop(daemon.stop()));
        // No daemon runs, and what goes now is the next one's to delete.
        churn.steps(60);
        folders.iter().for_each(|folder| world.tree.remove_folder(folder));
    }
    let daemons = world.start_shards(2);
    world.wait_until_equal();
    drop(daemons);
    // Rows of keys that some stores list as other ones are kept, and their deletes asked for in vain.
    let sure = |key: &String| !key.contains('\n');
    let mut gone: BTreeMap<String, usize> = BTreeMap::new();
    for key in world.deleted().into_iter().filter(sure) {
        *gone.entry(key).or_default() += 1;
    }
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for request in world.server.requests() {
        if request.call.operation == "DeleteObject" && sure(&request.call.key) {
            *asked.entry(request.call.key).or_default() += 1;
        }
    }
    assert_eq!(asked, gone, "each deletion was asked for once");
}

#[test]
fn a_resize_by_kills_ends_equal() {
    let mut world = World::new();
    let mut churn = Churn::new(seed(), &world.tree);
    churn.steps(80);
    for round in 0..rounds(2) {
        for count in [2, 3, 2] {
            let daemons = world.start_shards(count);
            churn.steps(60 + round);
            daemons.into_iter().for_each(Daemon::kill);
            churn.steps(40);
        }
    }
    let _daemons = world.start_shards(3);
    world.wait_until_equal();
    assert_eq!(world.uploads(), []);
}

#[test]
fn old_and_new_shards_at_once_lose_nothing() {
    let mut world = World::new();
    // What only an old one sent, and the new one never saw, is found with the second listing.
    world.set("rescan_interval_seconds", "2");
    let mut churn = Churn::new(seed(), &world.tree);
    churn.steps(100);
    let old = world.start_shards(2);
    world.wait_until_equal();
    // As a StatefulSet does it: the new pod comes first, then each of the old ones is replaced.
    world.as_shard(2, 3);
    let mut new = vec![world.start().ready()];
    for (index, old) in old.into_iter().enumerate().rev() {
        churn.steps(60);
        old.stop();
        churn.steps(20);
        world.as_shard(index, 3);
        new.push(world.start().ready());
    }
    churn.steps(40);
    world.wait_until_equal();
}

#[test]
fn what_an_old_shard_sent_and_its_heir_never_saw_is_found_later() {
    let mut world = World::new();
    let folders: Vec<_> = (0..8).map(|folder| format!("folder {folder}")).collect();
    folders.iter().for_each(|folder| world.tree.fill(folder, 1));
    let old = world.start_shards(2);
    world.wait_until_equal();
    world.set("rescan_interval_seconds", "2");
    world.as_shard(2, 3);
    let heir = world.start().ready();
    assert!(heir.wait_for("bucket.listed").number("objects") > Some(0), "some are taken over");
    heir.stand_still();
    let late: Vec<_> = folders.iter().map(|folder| format!("{folder}/late")).collect();
    late.iter().for_each(|file| world.tree.write(file, "of the old ones"));
    late.iter().for_each(|file| world.wait_for_object(file, "of the old ones"));
    old.into_iter().for_each(|old| drop(old.stop()));
    // Of these the new one sees only that they are not there.
    late.iter().for_each(|file| world.tree.remove(file));
    heir.signal(Signal::CONT);
    let _others: Vec<_> = (0..2)
        .map(|index| {
            world.as_shard(index, 3);
            world.start().ready()
        })
        .collect();
    world.wait_until_equal();
    let taken = |line: &Line| line.number("taken_over");
    let reviewed = |line: &Line| line.event() == "shard.reviewed";
    heir.wait_for_line("found", |line| reviewed(line) && taken(line) > Some(0));
    heir.wait_for_line("nothing more", |line| reviewed(line) && taken(line) == Some(0));
}

#[test]
fn what_shards_take_over_is_what_was_made_from_this_directory_and_nothing_else() {
    let mut world = World::new();
    for folder in 0..8 {
        world.tree.fill(&format!("folder {folder}"), 2);
    }
    assert_eq!(world.once().code(), Some(0));
    for folder in 0..8 {
        world.put_foreign(&format!("folder {folder}/foreign"), "else");
    }
    // The only record that knows of them forgets half of them, and is the only one left.
    world.tree.remove_folders();
    world.tree.write("stays", "x");
    for index in 0..2 {
        let state = world.sibling_path(if index == 0 { "state" } else { "state-1" });
        world.as_shard(index, 2);
        world.set("state_dir", &state.to_string_lossy());
        assert_eq!(world.once().code(), Some(0));
    }
    world.wait_until_equal();
    assert_eq!(world.deleted().len(), 16);
}

#[test]
fn a_single_daemon_with_an_empty_record_takes_nothing_over() {
    let mut world = World::new();
    world.tree.fill("folder", 3);
    world.tree.write("stays", "x");
    assert_eq!(world.once().code(), Some(0));
    world.tree.remove_folders();
    let state = world.sibling_path("another state");
    world.set("state_dir", &state.to_string_lossy());
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(world.deleted(), Vec::<String>::new());
}

#[test]
fn commands_tell_of_the_shard_they_are_run_as_and_of_no_other() {
    let mut world = World::new();
    for folder in 0..12 {
        world.tree.fill(&format!("folder {folder}"), 1);
    }
    let mut planned = 0;
    for index in 0..COUNT {
        world.as_shard(index, COUNT);
        let said = world.run(&["plan", "--json"]);
        planned += said.steps().len();
    }
    assert_eq!(planned, 12);
    for index in 0..COUNT {
        world.as_shard(index, COUNT);
        assert_eq!(world.once().code(), Some(0));
        let said = world.run(&["verify", "--json"]);
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    world.wait_until_equal();
    // One of the whole tree has another record, and finds what all of them have done.
    world.as_shard(COUNT, 1);
    world.set("shard_index", "0");
    assert_eq!(world.run(&["verify"]).code, Some(1), "nothing is recorded");
    assert_eq!(world.once().events("upload.completed").len(), 0);
    assert_eq!(world.run(&["verify"]).code, Some(0));
}
