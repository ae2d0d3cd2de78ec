//! Walks a subtree in the order of its paths, streamed.
//!
//! # Invariants
//!
//! - Visits have the order of [`RelPath`], each path once: the walk and the sorted state can be
//!   merged as two streams.
//! - A selected path without a visit is absent, unless it is at or below a path visited as
//!   [`Visit::Unreadable`], [`Visit::Mount`] or [`Visit::OwnState`]. An inspection confirms it.
//! - Memory holds the names of the directories on the way down, never the tree; at most
//!   [`OPEN_DIRECTORIES_MAX`] of them are open.

use super::error::{InspectError, Obstacle};
use super::stat::{FileKind, Stat, stat_at, stat_fd};
use super::{FollowedPath, LookKind, Root, list_fd};
use crate::model::{Depth, Fingerprint, RelPath};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hasher as _, RandomState};
use std::io;
use std::ops::ControlFlow;

/// One visit of the walk.
#[derive(Debug)]
pub enum Visit<'a> {
    /// A regular file.
    File {
        /// Its path.
        path: &'a RelPath,
        /// The result of its inspection.
        stat: &'a Stat,
        /// As in [`FollowedPath::leads`], if it is a link that is followed.
        leads: &'a [RelPath],
    },
    /// A directory. It was listed completely and its entries follow, except for a subdirectory
    /// visited with [`Depth::Entries`], which is not entered.
    Directory {
        /// Its path.
        path: &'a RelPath,
        /// What it was before it was listed; `None` if it is not entered.
        listed: Option<&'a ListedDirectory>,
    },
    /// A directory that equals that of an earlier walk, by names and files. Only its subdirectories
    /// follow.
    Known {
        /// Its path.
        path: &'a RelPath,
        /// The number of regular files in it.
        files: u64,
        /// What it was before it was listed.
        listed: Option<&'a ListedDirectory>,
    },
    /// Everything in and below a directory was visited.
    Left {
        /// Its path.
        path: &'a RelPath,
        /// The digest of its entries, if all of them are selected files and directories that were
        /// visited.
        digest: Option<u64>,
    },
    /// A link, a device, a socket or a FIFO: nothing is mirrored at or below it.
    Skipped {
        /// Its path.
        path: &'a RelPath,
        /// Its kind.
        kind: FileKind,
    },
    /// A path that could not be inspected, or a directory that could not be listed completely:
    /// nothing at or below it counts as absent. It can also end a directory whose entries were
    /// being visited.
    Unreadable {
        /// Its path.
        path: &'a RelPath,
        /// The error.
        error: io::Error,
    },
    /// A mount point. It is not crossed: nothing at or below it counts as absent.
    Mount {
        /// Its path.
        path: &'a RelPath,
    },
    /// The state directory. It is not entered: nothing at or below it counts as absent.
    OwnState {
        /// Its path.
        path: &'a RelPath,
    },
}

/// A directory that was listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedDirectory {
    /// Its attributes before the listing: whatever changes afterwards changes these too.
    pub before: Stat,
    /// A digest of its names.
    pub names: u64,
    /// The number of its names.
    pub entries: usize,
}

/// Maximum number of open directories of one walk. Deeper down, the topmost one is closed, and
/// reopened by its path on the way back.
const OPEN_DIRECTORIES_MAX: usize = 32;
/// Maximum number of times that an entry may change its kind during one inspection.
const TURNS_MAX: usize = 4;

type WalkFilter<'a> = &'a dyn Fn(&RelPath, bool) -> bool;
type EarlierDigests<'a> = &'a dyn Fn(&RelPath) -> Option<u64>;

/// The results of earlier walks, by the digests of [`Visit::Left`].
#[derive(Clone, Copy)]
pub struct PreviousDigests<'a> {
    /// Returns the digest of a directory, if its entries need no visit while they have it.
    pub of: EarlierDigests<'a>,
    /// The keys of digests.
    pub hasher: &'a RandomState,
}
type Visitor<'a> = &'a mut dyn FnMut(Visit<'_>) -> ControlFlow<()>;

/// Walks everything at and below `start` that is `wanted` (called with the path and whether it is a
/// directory, but not for `start` itself), until `visit` breaks. If nothing is at `start`, nothing
/// is visited. The content of `memory` has to belong to the same `wanted`.
///
/// # Errors
///
/// If `start` cannot be inspected, or its path leads through a link or a mount point.
pub fn walk(
    root: &Root,
    start: &RelPath,
    depth: Depth,
    wanted: WalkFilter<'_>,
    memory: Option<PreviousDigests<'_>>,
    visit: Visitor<'_>,
) -> Result<(), InspectError> {
    let stat = match root.look(start) {
        Err(InspectError::Gone) if !start.is_root() => return Ok(()),
        looked => looked?,
    };
    let mut walk = Walk { root, wanted, memory, visit, levels: Vec::new() };
    // A break ends the walk; the visitor knows the reason.
    let (ControlFlow::Continue(()) | ControlFlow::Break(())) = match stat.kind {
        FileKind::Directory => match root.open_dir(start) {
            Err(InspectError::Gone) if !start.is_root() => return Ok(()),
            opened => walk.down(start.clone(), opened?, depth),
        },
        FileKind::File => (walk.visit)(Visit::File { path: start, stat: &stat, leads: &[] }),
        FileKind::Symlink => walk.link(start),
        kind => (walk.visit)(Visit::Skipped { path: start, kind }),
    };
    Ok(())
}

impl fmt::Debug for PreviousDigests<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

struct Walk<'a> {
    root: &'a Root,
    wanted: WalkFilter<'a>,
    memory: Option<PreviousDigests<'a>>,
    visit: Visitor<'a>,
    /// The directories on the way down.
    levels: Vec<WalkLevel>,
}

/// A directory whose entries are being visited.
struct WalkLevel {
    path: RelPath,
    names: Names,
    /// Closed while too many deeper ones are open.
    dir: Option<OwnedFd>,
    /// Recognises the directory when it is reopened; read when it is closed.
    identity: Option<Fingerprint>,
    /// The digest of the visits so far; `None` if there was anything else.
    digest: Option<Digest>,
}

impl Walk<'_> {
    /// Visits the open directory `start` and everything below it.
    fn down(&mut self, start: RelPath, dir: OwnedFd, depth: Depth) -> ControlFlow<()> {
        self.enter(start, dir)?;
        while let Some(level) = self.levels.last_mut() {
            let Some((name, listed)) = level.names.next() else {
                self.leave()?;
                continue;
            };
            // Cannot fail: the name comes from the kernel.
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
    fn entry(&mut self, path: &RelPath, listed: Option<FileKind>, depth: Depth) -> ControlFlow<()> {
        let Some(dir) = self.levels.last().and_then(|level| level.dir.as_ref()) else {
            return ControlFlow::Continue(());
        };
        let mut kind = listed;
        for _ in 0..TURNS_MAX {
            if kind.is_some_and(|kind| !(self.wanted)(path, kind == FileKind::Directory)) {
                self.mark_incomplete();
                return ControlFlow::Continue(());
            }
            match kind {
                Some(FileKind::Directory) if depth == Depth::Whole => {
                    match self.root.open_entry(dir, path.file_name()) {
                        Ok(opened) => {
                            self.add(path, None);
                            return self.enter(path.clone(), opened);
                        }
                        // It is no longer a directory: inspect it.
                        Err(InspectError::Gone | InspectError::NotBelow(Obstacle::Link)) => {}
                        Err(error) => return self.refused(path, error),
                    }
                }
                None | Some(FileKind::File | FileKind::Directory) => {}
                Some(FileKind::Symlink) => return self.link(path),
                Some(kind) => {
                    self.mark_incomplete();
                    return (self.visit)(Visit::Skipped { path, kind });
                }
            }
            let stat = match self.look_at_file(dir, path.file_name()) {
                Err(Errno::NOENT) => {
                    self.mark_incomplete();
                    return ControlFlow::Continue(());
                }
                Err(errno) => return self.refused(path, errno.into()),
                Ok(stat) => stat,
            };
            if !self.root.mount().holds(&stat) {
                return self.refused(path, InspectError::NotBelow(Obstacle::Mount));
            }
            match (kind, stat.kind) {
                (Some(FileKind::File), FileKind::File) => {
                    self.add(path, Some(&stat.fingerprint));
                    return (self.visit)(Visit::File { path, stat: &stat, leads: &[] });
                }
                (Some(FileKind::Directory), FileKind::Directory) if depth == Depth::Entries => {
                    return (self.visit)(Visit::Directory { path, listed: None });
                }
                // Its kind differs from the listing, or the listing has none.
                (_, found) => kind = Some(found),
            }
        }
        self.refused(path, InspectError::Io(Errno::AGAIN.into()))
    }

    /// Visits the link `path`: as the file that it leads to, if it is followed.
    fn link(&mut self, path: &RelPath) -> ControlFlow<()> {
        // A change of the file behind it does not change the digest.
        self.mark_incomplete();
        let FollowedPath { found, leads } = self.root.follow(path);
        match found {
            Ok(stat) if stat.kind == FileKind::File => {
                (self.visit)(Visit::File { path, stat: &stat, leads: &leads })
            }
            Ok(_) | Err(InspectError::Gone) => {
                (self.visit)(Visit::Skipped { path, kind: FileKind::Symlink })
            }
            Err(error) => self.refused(path, error),
        }
    }

    fn refused(&mut self, path: &RelPath, error: InspectError) -> ControlFlow<()> {
        self.mark_incomplete();
        match error {
            InspectError::NotBelow(Obstacle::Mount) => (self.visit)(Visit::Mount { path }),
            InspectError::NotBelow(Obstacle::OwnState) => (self.visit)(Visit::OwnState { path }),
            error => (self.visit)(Visit::Unreadable { path, error: error.into() }),
        }
    }

    /// Lists the open directory `path`, which becomes the deepest level.
    fn enter(&mut self, path: RelPath, dir: OwnedFd) -> ControlFlow<()> {
        let mut names = Names::default();
        self.root.meter().admit(LookKind::List);
        let before = stat_fd(&dir);
        let listed = list_fd(&dir, &mut |name, kind| {
            names.push(name, kind);
            ControlFlow::Continue(())
        });
        match listed {
            Ok(()) => {}
            // Removed after it was opened.
            Err(Errno::NOENT) if !path.is_root() => {
                self.mark_incomplete();
                return ControlFlow::Continue(());
            }
            Err(errno) => return self.refused(&path, errno.into()),
        }
        names.sort();
        let describe = |before| ListedDirectory {
            before,
            names: names.digest(),
            entries: names.entries.len(),
        };
        let described = before.ok().map(describe);
        let listed = described.as_ref();
        let mut digest = self.memory.map(|memory| Digest::new(memory.hasher, &path));
        if self.is_known(&path, &dir, &names) {
            digest = None;
            let files = names.keep_directories();
            (self.visit)(Visit::Known { path: &path, files, listed })?;
        } else {
            (self.visit)(Visit::Directory { path: &path, listed })?;
        }
        self.levels.push(WalkLevel { path, names, dir: Some(dir), identity: None, digest });
        if let Some(shallowest) = self.levels.len().checked_sub(OPEN_DIRECTORIES_MAX + 1) {
            let level = &mut self.levels[shallowest];
            if let Some(dir) = level.dir.take() {
                level.identity = stat_fd(&dir).ok().map(|stat| stat.fingerprint);
            }
        }
        ControlFlow::Continue(())
    }

    /// Leaves the deepest level.
    fn leave(&mut self) -> ControlFlow<()> {
        let Some(level) = self.levels.pop() else { return ControlFlow::Continue(()) };
        let digest = level.digest.map(Digest::finish);
        (self.visit)(Visit::Left { path: &level.path, digest })
    }

    /// Whether the open directory `path` equals that of an earlier walk.
    fn is_known(&self, path: &RelPath, dir: &OwnedFd, names: &Names) -> bool {
        let Some((memory, earlier)) =
            self.memory.and_then(|memory| Some((memory, (memory.of)(path)?)))
        else {
            return false;
        };
        let mut digest = Digest::new(memory.hasher, path);
        for (name, kind) in names.rest() {
            match kind {
                Some(FileKind::Directory) => digest.add(name, None),
                Some(FileKind::File) => match self.look_at_file(dir, name) {
                    Ok(stat) if stat.kind == FileKind::File && self.root.mount().holds(&stat) => {
                        digest.add(name, Some(&stat.fingerprint));
                    }
                    _ => return false,
                },
                _ => return false,
            }
        }
        digest.finish() == earlier
    }

    fn look_at_file(&self, dir: &OwnedFd, name: &[u8]) -> Result<Stat, Errno> {
        self.root.meter().admit(LookKind::File);
        stat_at(dir, name)
    }

    /// Adds the entry `path` of the deepest level to its digest: a directory, or a file with this
    /// fingerprint.
    fn add(&mut self, path: &RelPath, file: Option<&Fingerprint>) {
        if let Some(digest) = self.levels.last_mut().and_then(|level| level.digest.as_mut()) {
            digest.add(path.file_name(), file);
        }
    }

    /// Records that the deepest level has entries without a visit.
    fn mark_incomplete(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.digest = None;
        }
    }
}

/// Reopens a directory whose names are already in memory.
fn reopen(root: &Root, level: &WalkLevel) -> io::Result<OwnedFd> {
    let dir = root.open_dir(&level.path)?;
    let now = stat_fd(&dir)?.fingerprint;
    // Another directory with the same name has other entries.
    let same = level.identity.is_some_and(|identity| now.same_file(&identity));
    if same { Ok(dir) } else { Err(Errno::STALE.into()) }
}

/// The digest of the entries of a directory, in their order. Its initial value and its factor are
/// random, so that a user cannot construct two directories with the same digest.
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

    /// Both halves of the product count; otherwise high bits would never affect the low ones.
    fn take(&mut self, number: u64) {
        let product = u128::from(self.sum ^ number) * u128::from(self.factor);
        let [low, high] = [product as u64, (product >> 64) as u64];
        self.sum = low.wrapping_add(high).rotate_left(23);
    }

    fn finish(self) -> u64 {
        self.sum
    }
}

/// The names in one directory, in few allocations: a directory may have millions.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    /// Sorted, with the last name first.
    entries: Vec<DirectoryEntry>,
}

#[derive(Clone, Copy)]
struct DirectoryEntry {
    start: usize,
    length: u16,
    kind: Option<FileKind>,
}

impl Names {
    fn push(&mut self, name: &[u8], kind: Option<FileKind>) {
        // No file system has names of more than 64 KiB, and getdents64 could not return them.
        let Ok(length) = u16::try_from(name.len()) else { return };
        self.entries.push(DirectoryEntry { start: self.bytes.len(), length, kind });
        self.bytes.extend_from_slice(name);
    }

    /// Sorts the names, and removes duplicates, which a rename during the listing can cause.
    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.entries.sort_unstable_by(|a, b| b.name(bytes).cmp(a.name(bytes)));
        self.entries.dedup_by(|a, b| a.name(bytes) == b.name(bytes));
    }

    /// The names that [`next`](Self::next) will return.
    fn rest(&self) -> impl Iterator<Item = (&[u8], Option<FileKind>)> {
        self.entries.iter().rev().map(|entry| (entry.name(&self.bytes), entry.kind))
    }

    /// The digest of the names, which are sorted.
    fn digest(&self) -> u64 {
        let mut digest = DefaultHasher::new();
        for (name, _) in self.rest() {
            digest.write(name);
            digest.write_u8(b'/');
        }
        digest.finish()
    }

    /// Drops all names but directories, and returns the number of dropped ones.
    fn keep_directories(&mut self) -> u64 {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.kind == Some(FileKind::Directory));
        (before - self.entries.len()) as u64
    }

    fn next(&mut self) -> Option<(&[u8], Option<FileKind>)> {
        let entry = self.entries.pop()?;
        Some((entry.name(&self.bytes), entry.kind))
    }
}

impl DirectoryEntry {
    fn name(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start..self.start + usize::from(self.length)]
    }
}
