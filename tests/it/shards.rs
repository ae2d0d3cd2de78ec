//! One tree shared by several daemons: each mirrors its part, and leaves the others' alone.

use crate::harness::{Churn, Daemon, World, seed};
use std::collections::{BTreeMap, BTreeSet};

const COUNT: usize = 3;

impl World {
    /// The settings of one of so many daemons, with a state of its own.
    fn as_shard(&mut self, index: usize, count: usize) {
        let state = self.beside(&format!("state-{index}"));
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
    let (mut files, mut watched) = (0, 0);
    for daemon in daemons {
        let line = daemon.wait_for("reconcile.completed");
        files += line.number("files").expect("counted");
        watched += daemon.watches();
    }
    assert_eq!(files, 60, "each file was met by one of them");
    // Of each shard the tree itself and the directory of its cookies, and each folder once.
    assert_eq!(watched, 2 * COUNT + 30 * 3);
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
