//! A subtree in the order of its paths, streamed.
//!
//! # Invariants
//!
//! - Visits come in the order of [`RelPath`], each path once: the walk and the sorted record can be
//!   merged as two streams.
//! - A path that is wanted and not visited is absent, unless it lies at or below a path visited as
//!   [`Visit::Unreadable`] or [`Visit::Mount`]. A look at it confirms.
//! - In memory are the names of the directories on the way down, never the tree; open are at most
//!   [`OPEN_DIRECTORIES_MAX`] of them.

use super::error::{LookError, Obstacle};
use super::stat::{Kind, Stat, stat_at, stat_fd};
use super::{Root, list_fd};
use crate::model::{Depth, Fingerprint, RelPath};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::ControlFlow;

/// What the walk met.
#[derive(Debug)]
pub enum Visit<'a> {
    /// A regular file.
    File {
        /// Where.
        path: &'a RelPath,
        /// What a look at it told.
        stat: &'a Stat,
    },
    /// A directory. It was listed completely and its entries follow, except a sub-directory met
    /// with [`Depth::Entries`], which is not entered.
    Directory {
        /// Where.
        path: &'a RelPath,
    },
    /// A directory of which an earlier walk told the same, name by name and file by file. Of its
    /// entries only the sub-directories follow.
    Known {
        /// Where.
        path: &'a RelPath,
        /// Regular files in it.
        files: u64,
    },
    /// All that lies in a directory and below it was visited.
    Left {
        /// Which.
        path: &'a RelPath,
        /// Of its entries, if all of them are wanted files and directories that were visited.
        digest: Option<u64>,
    },
    /// A link, a device, a socket or a FIFO: nothing is mirrored at or below it.
    Skipped {
        /// Where.
        path: &'a RelPath,
        /// What it is.
        kind: Kind,
    },
    /// Something is there but could not be looked at, or is a directory that could not be listed
    /// completely: from here on nothing at or below it may be called absent. A directory whose
    /// entries were already being visited can end with this.
    Unreadable {
        /// Where.
        path: &'a RelPath,
        /// Why.
        error: io::Error,
    },
    /// A mount point. It is not crossed: nothing at or below it may be called absent.
    Mount {
        /// Where.
        path: &'a RelPath,
    },
}

/// Open directories of one walk. Deeper down the shallowest is closed, and opened again by its path
/// on the way back.
const OPEN_DIRECTORIES_MAX: usize = 32;
/// How often an entry may turn from a directory into something else and back during one look.
const TURNS_MAX: usize = 4;

type Wanted<'a> = &'a dyn Fn(&RelPath, bool) -> bool;
type Earlier<'a> = &'a dyn Fn(&RelPath) -> Option<u64>;

/// What earlier walks told, by the digests of [`Visit::Left`].
#[derive(Clone, Copy)]
pub struct Memory<'a> {
    /// The digest of a directory, if its entries need not be visited where they have it again.
    pub of: Earlier<'a>,
    /// What digests are made with.
    pub hasher: &'a RandomState,
}
type Visitor<'a> = &'a mut dyn FnMut(Visit<'_>) -> ControlFlow<()>;

/// Walks what lies at and below `start` and is `wanted` (asked with the path and whether it is a
/// directory; `start` itself is not asked about), until `visit` breaks. If nothing is at `start`,
/// nothing is visited. What is in `memory` was said of the same `wanted`.
///
/// # Errors
///
/// If `start` cannot be looked at, or the way to it leads through a link or a mount point.
pub fn walk(
    root: &Root,
    start: &RelPath,
    depth: Depth,
    wanted: Wanted<'_>,
    memory: Option<Memory<'_>>,
    visit: Visitor<'_>,
) -> Result<(), LookError> {
    let stat = match root.look(start) {
        Err(LookError::Gone) if !start.is_root() => return Ok(()),
        looked => looked?,
    };
    let mut walk = Walk { root, wanted, memory, visit, levels: Vec::new() };
    // A break ends the walk, and the visitor knows best why.
    let (ControlFlow::Continue(()) | ControlFlow::Break(())) = match stat.kind {
        Kind::Directory => match root.open_dir(start) {
            Err(LookError::Gone) if !start.is_root() => return Ok(()),
            opened => walk.down(start.clone(), opened?, depth),
        },
        Kind::File => (walk.visit)(Visit::File { path: start, stat: &stat }),
        kind => (walk.visit)(Visit::Skipped { path: start, kind }),
    };
    Ok(())
}

impl fmt::Debug for Memory<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

struct Walk<'a> {
    root: &'a Root,
    wanted: Wanted<'a>,
    memory: Option<Memory<'a>>,
    visit: Visitor<'a>,
    /// The directories on the way down.
    levels: Vec<Level>,
}

/// A directory whose entries are being visited.
struct Level {
    path: RelPath,
    names: Names,
    /// Closed while too many deeper ones are open.
    dir: Option<OwnedFd>,
    /// To know it again when it is opened again; looked at when it is closed.
    identity: Option<Fingerprint>,
    /// Of what was visited so far; `None` once that is not all there is.
    digest: Option<Digest>,
}

impl Walk<'_> {
    /// Visits the open directory `start` and all below it.
    fn down(&mut self, start: RelPath, dir: OwnedFd, depth: Depth) -> ControlFlow<()> {
        self.enter(start, dir)?;
        while let Some(level) = self.levels.last_mut() {
            let Some((name, listed)) = level.names.next() else {
                self.leave()?;
                continue;
            };
            // Cannot fail: the kernel gave the name.
            let Ok(path) = level.path.join(name) else { continue };
            if level.dir.is_none() {
                match reopen(self.root, level) {
                    Ok(dir) => level.dir = Some(dir),
                    Err(error) => {
                        let path = level.path.clone();
                        self.levels.pop();
                        (self.visit)(Visit::Unreadable { path: &path, error })?;
                        continue;
                    }
                }
            }
            self.entry(&path, listed, depth)?;
        }
        ControlFlow::Continue(())
    }

    /// Visits the entry `path` of the deepest level, which is open.
    fn entry(&mut self, path: &RelPath, listed: Option<Kind>, depth: Depth) -> ControlFlow<()> {
        let Some(dir) = self.levels.last().and_then(|level| level.dir.as_ref()) else {
            return ControlFlow::Continue(());
        };
        let mut kind = listed;
        for _ in 0..TURNS_MAX {
            if kind.is_some_and(|kind| !(self.wanted)(path, kind == Kind::Directory)) {
                self.is_not_all();
                return ControlFlow::Continue(());
            }
            match kind {
                Some(Kind::Directory) if depth == Depth::Whole => {
                    match self.root.open_entry(dir, path.file_name()) {
                        Ok(opened) => {
                            self.add(path, None);
                            return self.enter(path.clone(), opened);
                        }
                        // No directory any more: see what it is.
                        Err(LookError::Gone | LookError::NotBelow(Obstacle::Link)) => {}
                        Err(error) => return self.refused(path, error),
                    }
                }
                None | Some(Kind::File | Kind::Directory) => {}
                Some(kind) => {
                    self.is_not_all();
                    return (self.visit)(Visit::Skipped { path, kind });
                }
            }
            let stat = match stat_at(dir, path.file_name()) {
                Err(Errno::NOENT) => {
                    self.is_not_all();
                    return ControlFlow::Continue(());
                }
                Err(errno) => return self.refused(path, errno.into()),
                Ok(stat) => stat,
            };
            if !self.root.mount().holds(&stat) {
                return self.refused(path, LookError::NotBelow(Obstacle::Mount));
            }
            match (kind, stat.kind) {
                (Some(Kind::File), Kind::File) => {
                    self.add(path, Some(&stat.fingerprint));
                    return (self.visit)(Visit::File { path, stat: &stat });
                }
                (Some(Kind::Directory), Kind::Directory) if depth == Depth::Entries => {
                    return (self.visit)(Visit::Directory { path });
                }
                // Not what the listing said, or the listing did not say.
                (_, found) => kind = Some(found),
            }
        }
        self.refused(path, LookError::Io(Errno::AGAIN.into()))
    }

    fn refused(&mut self, path: &RelPath, error: LookError) -> ControlFlow<()> {
        self.is_not_all();
        match error {
            LookError::NotBelow(Obstacle::Mount) => (self.visit)(Visit::Mount { path }),
            error => (self.visit)(Visit::Unreadable { path, error: error.into() }),
        }
    }

    /// Lists the open directory `path` and makes it the deepest level.
    fn enter(&mut self, path: RelPath, dir: OwnedFd) -> ControlFlow<()> {
        let mut names = Names::default();
        let listed = list_fd(&dir, &mut |name, kind| {
            names.push(name, kind);
            ControlFlow::Continue(())
        });
        match listed {
            Ok(()) => {}
            // Removed after it was opened.
            Err(Errno::NOENT) if !path.is_root() => {
                self.is_not_all();
                return ControlFlow::Continue(());
            }
            Err(errno) => return self.refused(&path, errno.into()),
        }
        names.sort();
        let mut digest = self.memory.map(|memory| Digest::new(memory.hasher, &path));
        if self.is_known(&path, &dir, &names) {
            digest = None;
            let files = names.keep_directories();
            (self.visit)(Visit::Known { path: &path, files })?;
        } else {
            (self.visit)(Visit::Directory { path: &path })?;
        }
        self.levels.push(Level { path, names, dir: Some(dir), identity: None, digest });
        if let Some(shallowest) = self.levels.len().checked_sub(OPEN_DIRECTORIES_MAX + 1) {
            let level = &mut self.levels[shallowest];
            if let Some(dir) = level.dir.take() {
                level.identity = stat_fd(&dir).ok().map(|stat| stat.fingerprint);
            }
        }
        ControlFlow::Continue(())
    }

    /// Ends the deepest level.
    fn leave(&mut self) -> ControlFlow<()> {
        let Some(level) = self.levels.pop() else { return ControlFlow::Continue(()) };
        let digest = level.digest.map(Digest::finish);
        (self.visit)(Visit::Left { path: &level.path, digest })
    }

    /// Whether an earlier walk told the same of the open directory `path`.
    fn is_known(&self, path: &RelPath, dir: &OwnedFd, names: &Names) -> bool {
        let Some((memory, earlier)) =
            self.memory.and_then(|memory| Some((memory, (memory.of)(path)?)))
        else {
            return false;
        };
        let mut digest = Digest::new(memory.hasher, path);
        for (name, kind) in names.rest() {
            match kind {
                Some(Kind::Directory) => digest.add(name, None),
                Some(Kind::File) => match stat_at(dir, name) {
                    Ok(stat) if stat.kind == Kind::File && self.root.mount().holds(&stat) => {
                        digest.add(name, Some(&stat.fingerprint));
                    }
                    _ => return false,
                },
                _ => return false,
            }
        }
        digest.finish() == earlier
    }

    /// The entry `path` of the deepest level is a directory, or a file that looks like this.
    fn add(&mut self, path: &RelPath, file: Option<&Fingerprint>) {
        if let Some(digest) = self.levels.last_mut().and_then(|level| level.digest.as_mut()) {
            digest.add(path.file_name(), file);
        }
    }

    /// There is more in the deepest level than is visited.
    fn is_not_all(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.digest = None;
        }
    }
}

/// Opens a directory again whose names are already in memory.
fn reopen(root: &Root, level: &Level) -> io::Result<OwnedFd> {
    let dir = root.open_dir(&level.path)?;
    let now = stat_fd(&dir)?.fingerprint;
    // Another directory of the same name has other entries.
    let same = level.identity.is_some_and(|identity| now.same_file(&identity));
    if same { Ok(dir) } else { Err(Errno::STALE.into()) }
}

/// Sums up the entries of a directory, in their order. What it begins and multiplies with is chance, so
/// that nobody can make two directories that have one.
struct Digest {
    sum: u64,
    factor: u64,
}

impl Digest {
    fn new(hasher: &RandomState, directory: &RelPath) -> Self {
        Self { sum: hasher.hash_one(directory), factor: hasher.hash_one(()) | 1 }
    }

    fn add(&mut self, name: &[u8], file: Option<&Fingerprint>) {
        self.take(name.len() as u64 | u64::from(file.is_some()) << 63);
        for chunk in name.chunks(8) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            self.take(u64::from_le_bytes(bytes));
        }
        let Some(file) = file else { return };
        let times = [file.mtime_ns, file.ctime_ns, file.btime_ns].map(i64::cast_unsigned);
        let numbers = [file.size, file.inode, file.device, u64::from(file.mode)];
        times.into_iter().chain(numbers).for_each(|number| self.take(number));
    }

    /// Both halves of the product count, or high bits would never reach the low ones.
    fn take(&mut self, number: u64) {
        let product = u128::from(self.sum ^ number) * u128::from(self.factor);
        let [low, high] = [product as u64, (product >> 64) as u64];
        self.sum = low.wrapping_add(high).rotate_left(23);
    }

    fn finish(self) -> u64 {
        self.sum
    }
}

/// The names in one directory, in few allocations: a directory may hold millions.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    /// Sorted, the last name first.
    entries: Vec<Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    start: usize,
    length: u16,
    kind: Option<Kind>,
}

impl Names {
    fn push(&mut self, name: &[u8], kind: Option<Kind>) {
        // No file system has names of more than 64 KiB, and getdents64 could not tell them.
        let Ok(length) = u16::try_from(name.len()) else { return };
        self.entries.push(Entry { start: self.bytes.len(), length, kind });
        self.bytes.extend_from_slice(name);
    }

    /// Sorts the names, and drops one that was listed twice because it was renamed meanwhile.
    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.entries.sort_unstable_by(|a, b| b.name(bytes).cmp(a.name(bytes)));
        self.entries.dedup_by(|a, b| a.name(bytes) == b.name(bytes));
    }

    /// What [`next`](Self::next) will give.
    fn rest(&self) -> impl Iterator<Item = (&[u8], Option<Kind>)> {
        self.entries.iter().rev().map(|entry| (entry.name(&self.bytes), entry.kind))
    }

    /// Drops all others, and tells how many.
    fn keep_directories(&mut self) -> u64 {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.kind == Some(Kind::Directory));
        (before - self.entries.len()) as u64
    }

    fn next(&mut self) -> Option<(&[u8], Option<Kind>)> {
        let entry = self.entries.pop()?;
        Some((entry.name(&self.bytes), entry.kind))
    }
}

impl Entry {
    fn name(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start..self.start + usize::from(self.length)]
    }
}
