//! What writers do to the contents of files.

use crate::model::Bytes;
use crate::states::Content;
use crate::writer::{Writer, not_now, pause};
use file_sync_dev_s3::now;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::time::Duration;

/// Beyond this, the daemon may take a file that never rests: less than its `debounce_max_seconds`,
/// some of which may have gone by before.
const RESTLESS: Duration = Duration::from_secs(10);
const MIB: usize = 1024 * 1024;
/// Files of several parts are rewritten, and do not become more.
const LARGE_MAX: usize = 3;

impl Writer<'_> {
    /// Creates or overwrites a file in one go.
    pub(crate) fn write_whole(&mut self) -> io::Result<()> {
        let path = self.target()?;
        self.overwrite(&path)
    }

    pub(crate) fn overwrite(&mut self, path: &str) -> io::Result<()> {
        let bytes = self.bytes();
        let names = self.names(path);
        let fresh = self.model.is_fresh(&names);
        self.complete(&names, &bytes);
        let from = now();
        let mut file = File::create(self.at(path))?;
        let written = file.write_all(&bytes);
        drop(file);
        for name in &names {
            self.shared.states.between(name, Content::of(&[]), from, fresh);
        }
        self.hold(path, &names, bytes);
        written
    }

    /// Writes, waits, writes: a download, an export, a log.
    pub(crate) fn write_in_steps(&mut self, append: bool) -> io::Result<()> {
        let path = self.target()?;
        let large = !append && self.dice.u32(..6) == 0 && self.large_files() < LARGE_MAX;
        let steps = if large { self.dice.usize(6..15) } else { self.dice.usize(2..8) };
        let chunks: Vec<_> =
            (0..steps).map(|_| if large { self.random(MIB) } else { self.bytes() }).collect();
        let longest = if large { 100 } else { 300 };
        self.write_chunks(&path, append, &chunks, Duration::from_millis(longest))
    }

    /// Adds to a file in one go.
    pub(crate) fn append(&mut self) -> io::Result<()> {
        let path = self.some_file()?;
        self.prepare(&path)?;
        let chunk = self.bytes();
        self.write_chunks(&path, true, &[chunk], Duration::ZERO)
    }

    pub(crate) fn write_chunks(
        &mut self,
        path: &str,
        append: bool,
        chunks: &[Vec<u8>],
        longest: Duration,
    ) -> io::Result<()> {
        let names = self.names(path);
        let fresh = self.model.is_fresh(&names);
        let started = now();
        let mut held = self.model.file(path).map(|bytes| bytes.borrow().clone());
        // What an appended file holds at first is complete.
        let mut before = (!append || held.is_none()).then(|| (Content::of(&[]), now()));
        let mut file = if append {
            File::options().append(true).create(true).open(self.at(path))?
        } else {
            held = None;
            File::create(self.at(path))?
        };
        let mut bytes = held.unwrap_or_default();
        for (index, chunk) in chunks.iter().enumerate() {
            bytes.extend_from_slice(chunk);
            let content = Content::of(&bytes);
            if index + 1 == chunks.len() {
                names.iter().for_each(|name| self.shared.states.complete(name, content));
            }
            let from = now();
            file.write_all(chunk)?;
            let restless = now().saturating_duration_since(started) > RESTLESS;
            if let Some((content, from)) = before {
                for name in &names {
                    self.shared.states.between(name, content, from, fresh || restless);
                }
            }
            before = Some((content, from));
            let longer = if longest > Duration::ZERO && self.dice.u32(..20) == 0 { 5 } else { 1 };
            pause((longest * longer).mul_f64(self.dice.f64()));
        }
        drop(file);
        self.hold(path, &names, bytes);
        Ok(())
    }

    /// Makes a file shorter, or longer by zeros.
    pub(crate) fn truncate(&mut self) -> io::Result<()> {
        let path = self.some_file()?;
        self.prepare(&path)?;
        let names = self.names(&path);
        let mut bytes = self.held(&path)?;
        bytes.resize(self.dice.usize(..bytes.len() + 100), 0);
        self.complete(&names, &bytes);
        let file = File::options().write(true).open(self.at(&path))?;
        file.set_len(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
        drop(file);
        self.hold(&path, &names, bytes);
        Ok(())
    }

    /// Overwrites some of a file where it is, in one or two steps, now and then with its old times.
    pub(crate) fn rewrite(&mut self) -> io::Result<()> {
        let path = self.some_file()?;
        self.prepare(&path)?;
        let names = self.names(&path);
        let fresh = self.model.is_fresh(&names);
        let mut bytes = self.held(&path)?;
        if bytes.len() < 2 {
            return Err(not_now());
        }
        let old = fs::metadata(self.at(&path))?.modified()?;
        let file = File::options().write(true).open(self.at(&path))?;
        let at = self.dice.usize(..bytes.len() - 1);
        let length = self.dice.usize(1..=(bytes.len() - at).min(4096));
        let mut steps = vec![(at, self.random(length))];
        if self.dice.u32(..4) == 0 {
            steps.insert(0, (0, self.random(at.min(512))));
        }
        let last = steps.len() - 1;
        let mut before = None;
        for (index, (at, chunk)) in steps.into_iter().enumerate() {
            bytes[at..at + chunk.len()].copy_from_slice(&chunk);
            if index == last {
                self.complete(&names, &bytes);
            }
            let from = now();
            file.write_all_at(&chunk, u64::try_from(at).unwrap_or(u64::MAX))?;
            if let Some((content, from)) = before {
                for name in &names {
                    self.shared.states.between(name, content, from, fresh);
                }
            }
            before = Some((Content::of(&bytes), from));
            if index < last {
                pause(Duration::from_millis(self.dice.u64(..200)));
            }
        }
        if self.dice.u32(..3) == 0 && self.shared.restores_times {
            file.set_modified(old)?;
        }
        drop(file);
        self.hold(&path, &names, bytes);
        Ok(())
    }

    /// Writes another file and renames it over the old one.
    pub(crate) fn replace(&mut self) -> io::Result<()> {
        let path = self.target()?;
        let temporary = match self.dice.u32(..3) {
            0 => format!("{path}.tmp"),
            1 => format!("{path}~"),
            _ => format!("{path}.part"),
        };
        self.prepare(&temporary)?;
        let slow = self.dice.u32(..20) == 0;
        let longest = Duration::from_millis(if slow { 150 } else { 0 });
        let chunks: Vec<_> = (0..self.dice.usize(1..4)).map(|_| self.bytes()).collect();
        self.write_chunks(&temporary, false, &chunks, longest)?;
        self.rename(&temporary, &path)
    }

    /// Makes a file without a name, and then gives it one.
    pub(crate) fn link_unnamed(&mut self) -> io::Result<()> {
        let path = self.some_name();
        self.prepare(&path)?;
        let bytes = self.bytes();
        let above = self.at(&path).parent().map(std::path::Path::to_owned).unwrap_or_default();
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = File::from(open(above, flags, Mode::from_raw_mode(0o644))?);
        file.write_all(&bytes)?;
        let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.complete(std::slice::from_ref(&path), &bytes);
        linkat(CWD, unnamed, CWD, self.at(&path), AtFlags::SYMLINK_FOLLOW)?;
        drop(file);
        self.model.set_file(&path, Rc::new(RefCell::new(bytes)));
        Ok(())
    }

    /// The names the file `path` has, or is about to have.
    fn names(&self, path: &str) -> Vec<String> {
        let bytes = self.model.file(path);
        bytes.map_or_else(|| vec![path.to_owned()], |bytes| self.model.names(bytes))
    }

    fn held(&self, path: &str) -> io::Result<Vec<u8>> {
        self.model.file(path).map(|bytes| bytes.borrow().clone()).ok_or_else(not_now)
    }

    /// From now on the file `path` holds this.
    fn hold(&mut self, path: &str, names: &[String], bytes: Vec<u8>) {
        match self.model.file(path) {
            Some(held) => *held.borrow_mut() = bytes,
            None => self.model.set_file(path, Rc::new(RefCell::new(bytes))),
        }
        names.iter().for_each(|name| self.model.touch(name));
    }

    fn large_files(&self) -> usize {
        let large = |path: &&String| {
            self.model.file(path).is_some_and(|bytes: &Bytes| bytes.borrow().len() > MIB)
        };
        self.model.paths().into_iter().filter(large).count()
    }
}
