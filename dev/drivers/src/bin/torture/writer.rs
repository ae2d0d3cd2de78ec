//! A thread that changes files in all the ways there are, and records what they held.

use crate::maps::{Mapped, Maps};
use crate::model::Model;
use crate::states::States;
use file_sync_dev_s3::now;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Between two operations of one writer, on average.
const PAUSE: Duration = Duration::from_millis(5);
const DIRECTORIES: [&str; 5] = ["a", "b", "x y", "Gr\u{f6}\u{df}e", ".hidden"];
const FILES: [&str; 12] = [
    "f0",
    "f1",
    "f2",
    "f3",
    "f4",
    "f5",
    "100% +&=?#.csv",
    "new\nline",
    "\u{fc}.txt",
    "t.tmp",
    ".dot",
    // A directory now, a file then.
    "a",
];

/// What all writers share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) states: States,
    pub(crate) operations: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) ended: AtomicBool,
    /// Whether a file that was rewritten where it is may get its old time again.
    pub(crate) restores_times: bool,
    /// Writes through memory maps, where that is possible.
    pub(crate) maps: Option<Maps>,
}

/// Alone below a directory of its own.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) root: PathBuf,
    pub(crate) name: String,
    pub(crate) outside: PathBuf,
    pub(crate) dice: fastrand::Rng,
    pub(crate) model: Model,
    pub(crate) mapped: Option<Mapped>,
    pub(crate) shared: &'a Shared,
}

impl Writer<'_> {
    /// Changes files until the end is requested. Returns where the disk is not as it thinks.
    pub(crate) fn work(mut self) -> Vec<String> {
        while !self.shared.ended.load(Ordering::Relaxed) {
            match self.operate() {
                Ok(()) => self.shared.operations.fetch_add(1, Ordering::Relaxed),
                // Names that are directories, missing, or in the way: as for everybody.
                Err(_) => self.shared.refused.fetch_add(1, Ordering::Relaxed),
            };
            let longest = if self.dice.u32(..400) == 0 { PAUSE * 400 } else { PAUSE * 2 };
            std::thread::sleep(longest.mul_f64(self.dice.f64()));
        }
        self.differences()
    }

    fn operate(&mut self) -> io::Result<()> {
        match self.dice.u32(..100) {
            0..24 => self.write_whole(),
            24..25 => self.write_in_steps(false),
            25..26 => self.write_in_steps(true),
            26..34 => self.append(),
            34..40 => self.truncate(),
            40..48 => self.rewrite(),
            48..58 => self.replace(),
            58..66 => self.rename_file(),
            66..71 => self.rename_directory(),
            71..74 => self.link(),
            74..77 => self.symlink(),
            77..78 => self.fifo(),
            78..82 => self.chmod(),
            82..84 => self.set_time_back(),
            84..87 => self.storm(),
            87..89 => self.remove_directory(),
            89..93 => self.remove_file(),
            93..96 => self.recreate(),
            96..98 => self.map(),
            _ => self.link_unnamed(),
        }
    }

    /// Where a name of the tree really is.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A directory, whether it is there or not.
    pub(crate) fn some_directory(&mut self) -> String {
        let mut path = self.name.clone();
        for _ in 0..self.dice.usize(..3) {
            path.push('/');
            path.push_str(DIRECTORIES[self.dice.usize(..DIRECTORIES.len())]);
        }
        path
    }

    /// A name for a file, whether it is there or not.
    pub(crate) fn some_name(&mut self) -> String {
        let directory = self.some_directory();
        format!("{directory}/{}", FILES[self.dice.usize(..FILES.len())])
    }

    /// A file that is there.
    pub(crate) fn some_file(&mut self) -> io::Result<String> {
        let paths = self.model.paths();
        let picked = self.dice.usize(..paths.len().max(1));
        paths.get(picked).map(|path| (*path).clone()).ok_or_else(not_now)
    }

    /// A name to write to, whose directory is there and in the tree.
    pub(crate) fn target(&mut self) -> io::Result<String> {
        let path = if self.dice.bool() { self.some_file()? } else { self.some_name() };
        self.prepare(&path)?;
        Ok(path)
    }

    /// Makes the directory of a name that can be written to.
    pub(crate) fn prepare(&self, path: &str) -> io::Result<()> {
        if self.model.is_odd(path) {
            return Err(not_now());
        }
        self.prepare_above(path)
    }

    /// Makes the directory of a name that is about to be replaced.
    pub(crate) fn prepare_above(&self, path: &str) -> io::Result<()> {
        let above = Path::new(path).parent().and_then(Path::to_str).unwrap_or_default();
        if self.model.is_odd(above) {
            return Err(not_now());
        }
        fs::create_dir_all(self.at(above))
    }

    /// Bytes that no file ever had before.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        let size = match self.dice.u32(..100) {
            0..70 => self.dice.usize(16..2_000),
            70..98 => self.dice.usize(2_000..60_000),
            _ => self.dice.usize(60_000..600_000),
        };
        self.random(size)
    }

    pub(crate) fn random(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.dice.fill(&mut bytes);
        bytes
    }

    /// Registers what `names` are about to hold as complete.
    pub(crate) fn complete(&self, names: &[String], bytes: &[u8]) {
        let content = crate::states::Content::of(bytes);
        for name in names {
            self.shared.states.complete(name, content);
        }
    }

    /// Where the disk differs from what was done.
    fn differences(&self) -> Vec<String> {
        let mut differences = Vec::new();
        for path in self.model.paths() {
            let expected = self.model.file(path).map(|bytes| bytes.borrow().clone());
            let found = fs::read(self.at(path)).ok();
            if found != expected {
                differences.push(format!("a fault of this program: {path:?} is not as written"));
            }
        }
        differences
    }
}

/// What an operation answers that has nothing to work on.
pub(crate) fn not_now() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// Sleeps in the middle of an operation.
pub(crate) fn pause(time: Duration) {
    let until = now() + time;
    std::thread::sleep(until.saturating_duration_since(now()));
}
