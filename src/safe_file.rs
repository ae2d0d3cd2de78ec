//! Files in directories that other users may write to: read, replaced and overwritten so that no
//! planted file redirects the process, blocks it, or makes it read without limit.
//!
//! # Invariants
//!
//! - Only regular files are opened, and an open never blocks: a FIFO, a device or a socket causes
//!   an error that says what it is.
//! - A file of the service is never reached through a symbolic link, neither at its last
//!   component nor, after the first use, at any other one.
//! - A new version is written under an unpredictable name that did not exist, and renamed over
//!   the old one.
//! - Every read has a limit in bytes.

mod publisher;
mod read;

pub use publisher::FilePublisher;
pub use read::{LibraryFile, read_input, read_input_or_pipe, read_own};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// Flags of every open: no link at the end, no waiting, no controlling terminal, not inherited.
const CAREFUL: OFlags =
    OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// The mode of a file for its owner only.
const ALONE: Mode = Mode::RUSR.union(Mode::WUSR);
/// A directory in which names are looked up.
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Maximum number of bytes of a file name in its temporary name: the rest has to fit too.
const STEM_BYTES_MAX: usize = 200;
/// The suffix of a temporary name.
const SUFFIX: &[u8] = b".new";
/// Number of random digits in a temporary name.
const RANDOM_DIGITS: usize = 16;
/// Maximum number of directory entries that are searched for files of a killed process.
const LEFTOVER_SEARCH_MAX: usize = 10_000;

/// Who may read a file of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileReaders {
    /// The user of the service, and the group of a directory with the setgid bit.
    Owner,
    /// All users, as far as the umask permits.
    Everyone,
}

impl FileReaders {
    /// The mode of a file in this directory.
    fn mode(self, directory: BorrowedFd<'_>) -> io::Result<Mode> {
        Ok(match self {
            Self::Owner if hands_group_on(directory)? => Mode::from_raw_mode(0o640),
            Self::Owner => ALONE,
            Self::Everyone => Mode::from_raw_mode(0o644),
        })
    }
}

/// Whether new files in a directory get its group, as on a volume with `fsGroup`.
fn hands_group_on(directory: BorrowedFd<'_>) -> io::Result<bool> {
    let mode = Mode::from_raw_mode(rustix::fs::fstat(directory)?.st_mode);
    Ok(mode.contains(Mode::SGID))
}

/// A file that only the service writes, each version as a whole.
#[derive(Debug)]
pub struct OwnFile {
    path: PathBuf,
    readers: FileReaders,
    /// Whether a version is on disk before it replaces the previous one.
    synced: bool,
    directory: Option<BoundDirectory>,
}

/// The directory of a file: the target of its path at the first use.
#[derive(Debug)]
struct BoundDirectory {
    /// The path without links.
    resolved: PathBuf,
    descriptor: OwnedFd,
}

impl OwnFile {
    /// A file at `path`. Nothing is opened yet.
    #[must_use]
    pub fn new(path: PathBuf, readers: FileReaders) -> Self {
        Self { path, readers, synced: true, directory: None }
    }

    /// A file whose content is useless after a crash of the machine.
    #[must_use]
    pub fn without_sync(self) -> Self {
        Self { synced: false, ..self }
    }

    /// Replaces the file, or any other file of that name, with `content`: a reader sees the old or
    /// the new version, never a part. Blocks.
    ///
    /// # Errors
    ///
    /// If it cannot be written. The old version stays.
    pub fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        match self.try_replace(content) {
            // The directory was deleted, and may exist again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.rebind()?;
                self.try_replace(content)
            }
            replaced => replaced,
        }
    }

    fn try_replace(&mut self, content: &[u8]) -> io::Result<()> {
        let name = file_name(&self.path)?.to_owned();
        let readers = self.readers;
        let synced = self.synced;
        let directory = self.bound()?.descriptor.as_fd();
        let mode = readers.mode(directory)?;
        let new = temporary_name(&name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | CAREFUL;
        let file = File::from(rustix::fs::openat(directory, &new, flags, mode)?);
        let replaced = write_whole(file, content, synced)
            .and_then(|()| Ok(rustix::fs::renameat(directory, &new, directory, &name)?));
        if replaced.is_err() {
            // It may not exist any more.
            rustix::fs::unlinkat(directory, &new, AtFlags::empty()).ok();
        }
        replaced
    }

    fn bound(&mut self) -> io::Result<&BoundDirectory> {
        let bound = match self.directory.take() {
            Some(bound) => bound,
            None => {
                let bound = BoundDirectory::bind(parent(&self.path))?;
                remove_leftovers(bound.descriptor.as_fd(), file_name(&self.path)?);
                bound
            }
        };
        Ok(self.directory.insert(bound))
    }

    fn rebind(&mut self) -> io::Result<()> {
        if let Some(bound) = &mut self.directory {
            bound.descriptor = open_without_links(&bound.resolved)?;
        }
        Ok(())
    }
}

impl BoundDirectory {
    fn bind(path: &Path) -> io::Result<Self> {
        let resolved = std::fs::canonicalize(path)?;
        let descriptor = open_without_links(&resolved)?;
        Ok(Self { resolved, descriptor })
    }
}

/// Opens a file of the service that stays open, such as a lock, and creates it if it does not
/// exist.
///
/// # Errors
///
/// If something other than a regular file with one name is there, or it cannot be created.
pub fn open_own(path: &Path) -> io::Result<File> {
    refuse_special(path)?;
    let flags = OFlags::RDWR | OFlags::CREATE | CAREFUL;
    let file = rustix::fs::open(path, flags, ALONE).map_err(explained)?;
    regular_alone(File::from(file))
}

/// Writes `content` to an existing file, and creates none: the name may be a mount point, which
/// cannot be replaced.
///
/// # Errors
///
/// If it is not a regular file with one name, or it cannot be written.
pub fn overwrite(path: &Path, content: &[u8]) -> io::Result<()> {
    refuse_special(path)?;
    let file =
        rustix::fs::open(path, OFlags::WRONLY | CAREFUL, Mode::empty()).map_err(explained)?;
    // It is truncated only after its kind is known.
    let mut file = regular_alone(File::from(file))?;
    file.set_len(0)?;
    file.write_all(content)
}

/// Refuses a path at which something other than a regular file is. A missing one is accepted.
///
/// # Errors
///
/// If there is a link, a directory, a FIFO, a socket or a device, or that cannot be determined.
pub fn refuse_special(path: &Path) -> io::Result<()> {
    match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => refuse_kind(FileType::from_raw_mode(stat.st_mode)),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn refuse_kind(kind: FileType) -> io::Result<()> {
    let what = match kind {
        FileType::RegularFile => return Ok(()),
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a directory",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "of an unknown kind",
    };
    Err(io::Error::other(format!("it is {what}, not a regular file")))
}

/// The file, if it is a regular one without a second name.
fn regular_alone(file: File) -> io::Result<File> {
    let stat = rustix::fs::fstat(&file)?;
    refuse_kind(FileType::from_raw_mode(stat.st_mode))?;
    if stat.st_nlink > 1 {
        return Err(io::Error::other("it has another hard link"));
    }
    Ok(file)
}

/// Describes the error for a link that was created between the check and the open.
fn explained(error: Errno) -> io::Error {
    match error {
        Errno::LOOP => refuse_kind(FileType::Symlink).err().unwrap_or_else(|| error.into()),
        // A FIFO without a reader, or a socket without a listener.
        Errno::NXIO => io::Error::other("it is not a regular file"),
        error => error.into(),
    }
}

fn write_whole(mut file: File, content: &[u8], synced: bool) -> io::Result<()> {
    file.write_all(content)?;
    if synced { file.sync_data() } else { Ok(()) }
}

/// Opens an absolute path without any link in it.
fn open_without_links(path: &Path) -> io::Result<OwnedFd> {
    let mut at = rustix::fs::open("/", DIRECTORY, Mode::empty())?;
    for component in path.components() {
        if let Component::Normal(name) = component {
            at = rustix::fs::openat(&at, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        }
    }
    Ok(at)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn file_name(path: &Path) -> io::Result<&OsStr> {
    path.file_name().ok_or_else(|| io::Error::other("the path does not end with a file name"))
}

/// The prefix of the temporary names of a file.
fn stem(name: &OsStr) -> Vec<u8> {
    let bytes = name.as_bytes();
    let kept = bytes.get(..STEM_BYTES_MAX).unwrap_or(bytes);
    [b".", kept, b"."].concat()
}

fn temporary_name(name: &OsStr) -> OsString {
    let random = format!("{:0width$x}", fastrand::u64(..), width = RANDOM_DIGITS);
    OsString::from_vec([&stem(name), random.as_bytes(), SUFFIX].concat())
}

fn is_temporary_name(candidate: &[u8], stem: &[u8]) -> bool {
    let random = candidate.strip_prefix(stem).and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|random| {
        random.len() == RANDOM_DIGITS && random.iter().all(u8::is_ascii_hexdigit)
    })
}

/// Removes the files of a killed process. Those that cannot be listed or removed stay.
fn remove_leftovers(directory: impl AsFd, name: &OsStr) {
    let stem = stem(name);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listed =
        rustix::fs::openat(directory.as_fd(), c".", flags, Mode::empty()).and_then(Dir::new);
    let Ok(listed) = listed else { return };
    for entry in listed.take(LEFTOVER_SEARCH_MAX).filter_map(Result::ok) {
        if is_temporary_name(entry.file_name().to_bytes(), &stem) {
            rustix::fs::unlinkat(directory.as_fd(), entry.file_name(), AtFlags::empty()).ok();
        }
    }
}

#[cfg(test)]
mod tests;
