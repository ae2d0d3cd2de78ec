//! d6: nothing outside is ever read. d7: what is stored is a state that the file had.

use crate::harness::world::key;
use crate::harness::{AtLast, World, seed, sleep_for, until};
use file_sync_dev_s3::{BUCKET, What};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn d6_a_link_swapped_in_at_any_moment_never_leads_to_the_canary() {
    const CANARY: &[u8] = b"canary: nothing outside is ever read";
    const VERSIONS: usize = 60;
    let world = World::new().setting("debounce_milliseconds", "0");
    let outside = world.sibling_path("outside");
    fs::create_dir(&outside).expect("made");
    // Of the size that the files within have, under all of their names.
    fs::write(outside.join("file"), CANARY).expect("written");
    world.tree.write("folder/file", vec![b'x'; CANARY.len()]);
    world.tree.write("file", vec![b'x'; CANARY.len()]);
    symlink(&outside, world.sibling_path("to folder")).expect("made");
    symlink(outside.join("file"), world.sibling_path("to file")).expect("made");
    let daemon = world.start().ready();
    let pairs = ["folder", "file"]
        .map(|name| (world.tree.path(name), world.sibling_path(&format!("to {name}"))));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = |(here, there): &(PathBuf, PathBuf)| {
                renameat_with(CWD, here, CWD, there, RenameFlags::EXCHANGE).expect("exchanged");
            };
            let mut dice = fastrand::Rng::with_seed(seed());
            let mut turn = 0_u8;
            while !over.load(Ordering::Relaxed) {
                let pair = &pairs[dice.usize(..2)];
                exchange(pair);
                exchange(pair);
                turn = turn.wrapping_add(1);
                if turn.is_multiple_of(16) {
                    // Something new to be read, so that the daemon has a reason to open it.
                    fs::write(&pairs[1].0, vec![b'a' + turn / 16; CANARY.len()]).expect("written");
                    let inner = pairs[0].0.join("file");
                    fs::write(inner, vec![b'a' + turn / 16; CANARY.len()]).expect("written");
                    // A moment in which it can be opened, into which the next swap falls.
                    sleep_for(Duration::from_millis(dice.u64(..20)));
                }
            }
        });
        // Also if what is waited for does not come: the thread would never end.
        let _over = AtLast(|| over.store(true, Ordering::Relaxed));
        until("it was sent again and again", || world.history().len() >= VERSIONS);
    });
    world.wait_until_done();
    for change in world.history() {
        let What::Stored(object) = change.what else { continue };
        assert_ne!(object.body.as_deref(), Some(CANARY), "{}", change.key);
    }
    daemon.stop();
}

/// A file that is appended to, cut and written over, and every state it had.
struct Restless {
    file: File,
    content: Vec<u8>,
    states: HashSet<Vec<u8>>,
}

impl Restless {
    fn new(file: File, bytes: usize) -> Self {
        let mut restless = Self { file, content: Vec::new(), states: HashSet::new() };
        restless.states.insert(Vec::new());
        restless.write(0, &vec![b'0'; bytes]);
        restless
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        // The state is known before it can be read.
        let end = at + bytes.len();
        self.content.resize(self.content.len().max(end), 0);
        self.content[at..end].copy_from_slice(bytes);
        self.states.insert(self.content.clone());
        let written = self.file.write_at(bytes, at as u64).expect("written");
        assert_eq!(written, bytes.len());
    }

    fn cut(&mut self, length: usize) {
        self.content.truncate(length);
        self.states.insert(self.content.clone());
        self.file.set_len(self.content.len() as u64).expect("cut");
    }

    fn change(&mut self, dice: &mut fastrand::Rng, most: usize) {
        let length = self.content.len();
        let mut bytes = vec![0; dice.usize(1..4_000)];
        dice.fill(&mut bytes);
        match dice.u8(..4) {
            0 if length < most => self.write(length, &bytes),
            1 => self.cut(length - dice.usize(..=length.min(3_000))),
            _ => {
                let at = dice.usize(..=length);
                bytes.truncate(most.saturating_sub(at).max(1));
                self.write(at, &bytes);
            }
        }
    }
}

#[test]
fn d7_of_files_appended_to_cut_and_rewritten_at_random_only_states_they_had_are_stored() {
    const MIB: usize = 1024 * 1024;
    const VERSIONS: usize = 80;
    let mut world = World::new();
    world.set("debounce_milliseconds", "0");
    world.set("open_file_quiet_seconds", "0");
    world.set("debounce_max_seconds", "1");
    world.set("multipart_threshold_mib", "5");
    world.set("multipart_part_size_mib", "5");
    let mut dice = fastrand::Rng::with_seed(seed());
    let mut files = HashMap::new();
    for (name, bytes) in [("a", 0), ("b", 20_000), ("folder/c", 100_000), ("large", 5 * MIB + 1)] {
        world.tree.write(name, "");
        let file = File::options().write(true).open(world.tree.path(name)).expect("opened");
        files.insert(name, (Restless::new(file, bytes), bytes.max(10_000)));
    }
    let daemon = world.start().ready();
    let small = || world.history().iter().filter(|change| change.key != key("large")).count();
    while small() < VERSIONS {
        let before = world.server.journal().total();
        // Within one look, between look and read, or in the middle of a read.
        for _ in 0..dice.usize(1..60) {
            for name in ["a", "b", "folder/c"] {
                let (file, most) = files.get_mut(name).expect("known");
                file.change(&mut dice, *most);
            }
        }
        if dice.u8(..8) == 0 {
            // In the middle of it, so that parts of two states could be put together.
            let (file, most) = files.get_mut("large").expect("known");
            let at = dice.usize(..*most - 1_000);
            file.write(at, &[dice.u8(..); 1_000]);
        }
        until("it goes on", || world.server.journal().total() > before);
    }
    world.wait_until_done();
    for change in world.history() {
        let What::Stored(object) = change.what else { continue };
        let name = change.key.strip_prefix(&key("")).expect("below the prefix");
        let body = object.body.as_deref().expect("kept");
        let known = files[name].0.states.contains(body);
        assert!(known, "{name} never was these {} bytes", body.len());
    }
    assert!(world.server.objects(BUCKET).len() == 4);
    daemon.stop();
}
