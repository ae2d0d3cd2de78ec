//! Random changes to a tree, the same for the same seed, and a memory of every state each file had.

use super::tree::Tree;
use super::world::{World, key};
use file_sync_dev_s3::{Change, What};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::Write as _;

/// Names that files get. Few, so that the same ones are hit again and again.
const FILES: [&str; 12] = [
    "a",
    "b.txt",
    "c d.bin",
    "100%",
    "x+y",
    "q?.html",
    "#1",
    "ä ö",
    "-rf",
    "emoji 😀",
    "e\nf",
    "last",
];
/// Names that folders get.
const FOLDERS: [&str; 5] = ["one", "two 2", "drei+%", "four", "ünf"];
/// Never touched, so that the tree is never empty.
const STAYS: &str = "stays";
/// Bytes of a file at most, nearly always.
const SMALL_MAX: usize = 20_000;
/// Depth of folders at most.
const DEPTH_MAX: usize = 3;

/// Changes a tree, and remembers.
#[derive(Debug)]
pub(crate) struct Churn {
    dice: fastrand::Rng,
    tree: Tree,
    files: BTreeMap<String, Vec<u8>>,
    /// Every content that a name ever had.
    states: HashMap<String, HashSet<Vec<u8>>>,
    /// Bytes of the large files that are written now and then; none are if 0.
    large: usize,
}

impl Churn {
    pub(crate) fn new(seed: u64, tree: &Tree) -> Self {
        let dice = fastrand::Rng::with_seed(seed);
        let files = BTreeMap::new();
        let states = HashMap::new();
        let mut churn = Self { dice, tree: tree.clone(), files, states, large: 0 };
        churn.replace(STAYS.to_owned(), b"stays".to_vec());
        churn
    }

    /// Now and then a file of so many bytes is written, too.
    #[must_use]
    pub(crate) fn with_large_files(mut self, bytes: usize) -> Self {
        self.large = bytes;
        self
    }

    /// Makes so many changes.
    pub(crate) fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.step();
        }
    }

    fn step(&mut self) {
        match self.dice.u32(..100) {
            0..30 => {
                let name = self.new_name();
                let content = self.content();
                self.replace(name, content);
            }
            30..52 => self.write_in_place(),
            52..62 => self.append(),
            62..76 => self.remove(),
            76..86 => self.rename(),
            86..92 => self.rename_folder(),
            92..95 => self.remove_folder(),
            _ => self.write_ignored(),
        }
    }

    /// As editors save: a temporary file is renamed over the old one.
    fn replace(&mut self, name: String, content: Vec<u8>) {
        let temporary = format!("{name}.tmp.{}", self.dice.u16(..));
        self.tree.write(&temporary, &content);
        self.tree.rename(&temporary, &name);
        self.has(name, content);
    }

    fn write_in_place(&mut self) {
        let name = self.new_name();
        let content = self.content();
        self.tree.write(&name, &content);
        // It was empty for a moment, which looks like a file that is meant to be empty.
        self.has(name.clone(), Vec::new());
        self.has(name, content);
    }

    fn append(&mut self) {
        let Some(name) = self.known_name() else { return };
        let more = self.content();
        let path = self.tree.path(&name);
        let mut file = fs::File::options().append(true).open(path).expect("opened");
        file.write_all(&more).expect("written");
        let mut content = self.files.get(&name).cloned().expect("known");
        content.extend_from_slice(&more);
        self.has(name, content);
    }

    fn remove(&mut self) {
        let Some(name) = self.known_name() else { return };
        self.tree.remove(&name);
        self.files.remove(&name);
    }

    fn rename(&mut self) {
        let (Some(from), to) = (self.known_name(), self.new_name()) else { return };
        if from == to {
            return;
        }
        self.make_folder_of(&to);
        self.tree.rename(&from, &to);
        let content = self.files.remove(&from).expect("known");
        self.has(to, content);
    }

    fn rename_folder(&mut self) {
        let (Some(from), to) = (self.known_folder(), self.folder()) else { return };
        let taken = self.tree.path(&to).try_exists().expect("known");
        if taken || to.starts_with(&from) {
            return;
        }
        self.make_folder_of(&to);
        self.tree.rename(&from, &to);
        let inside = format!("{from}/");
        let names: Vec<_> =
            self.files.keys().filter(|name| name.starts_with(&inside)).cloned().collect();
        for name in names {
            let content = self.files.remove(&name).expect("known");
            self.has(name.replacen(&from, &to, 1), content);
        }
    }

    fn remove_folder(&mut self) {
        let Some(folder) = self.known_folder() else { return };
        self.tree.remove_folder(&folder);
        let inside = format!("{folder}/");
        self.files.retain(|name, _| !name.starts_with(&inside));
    }

    fn write_ignored(&mut self) {
        let folder = self.folder();
        let name = pick(&mut self.dice, &[".hidden", "a.tmp", "b.swp", "c~", "d.tmp.1"]);
        self.tree.write(format!("{folder}/{name}"), "never seen in the bucket");
    }

    fn has(&mut self, name: String, content: Vec<u8>) {
        self.states.entry(name.clone()).or_default().insert(content.clone());
        self.files.insert(name, content);
    }

    fn make_folder_of(&self, name: &str) {
        let path = self.tree.path(name);
        fs::create_dir_all(path.parent().expect("below the root")).expect("made");
    }

    fn content(&mut self) -> Vec<u8> {
        let large = self.large > 0 && self.dice.u32(..100) == 0;
        let length = if large { self.large } else { self.dice.usize(..SMALL_MAX) };
        let mut content = vec![0; length];
        self.dice.fill(&mut content);
        content
    }

    fn folder(&mut self) -> String {
        let depth = self.dice.usize(1..=DEPTH_MAX);
        let names: Vec<_> = (0..depth).map(|_| pick(&mut self.dice, &FOLDERS)).collect();
        names.join("/")
    }

    fn new_name(&mut self) -> String {
        let name = pick(&mut self.dice, &FILES);
        if self.dice.u8(..4) == 0 { name.to_owned() } else { format!("{}/{name}", self.folder()) }
    }

    fn known_name(&mut self) -> Option<String> {
        let names: Vec<_> = self.files.keys().filter(|name| *name != STAYS).collect();
        self.dice.choice(names).cloned()
    }

    fn known_folder(&mut self) -> Option<String> {
        let name = self.known_name()?;
        let ends: Vec<_> = name.match_indices('/').map(|(at, _)| at).collect();
        let end = self.dice.choice(ends)?;
        name.get(..end).map(str::to_owned)
    }

    /// Every version that the bucket ever held must be a state that the file had.
    pub(crate) fn assert_nothing_was_torn(&self, world: &World) {
        for Change { key: stored, what, .. } in world.history() {
            let What::Stored(object) = what else { continue };
            let name = stored.strip_prefix(&key("")).expect("below the prefix");
            let body = object.body.as_deref().expect("kept");
            // What the test wrote besides is none of ours.
            let Some(states) = self.states.get(name) else { continue };
            assert!(states.contains(body), "{name:?} never was these {} bytes", body.len());
        }
    }
}

fn pick(dice: &mut fastrand::Rng, names: &[&'static str]) -> &'static str {
    names[dice.usize(..names.len())]
}
