//! Reads whole files of limited size.

use super::{CAREFUL, explained, refuse_kind, refuse_special};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The numbers of `/dev/null`.
const NULL_DEVICE: (u32, u32) = (1, 3);

/// Reads a file of the service, which is never a link. Blocks as long as a disk does.
///
/// # Errors
///
/// If it is not a regular file, is longer than `bytes_max`, or cannot be read.
pub fn read_own(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    refuse_special(path)?;
    let file =
        rustix::fs::open(path, OFlags::RDONLY | CAREFUL, Mode::empty()).map_err(explained)?;
    let file = File::from(file);
    refuse_kind(kind(&file)?)?;
    limited(file, bytes_max)
}

/// Reads a file that an operator names, and that links may lead to: volumes of Kubernetes consist
/// of links. Blocks as long as a disk does.
///
/// # Errors
///
/// If it does not lead to a regular file, is longer than `bytes_max`, or cannot be read.
pub fn read_input(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let (file, kind) = open_input(path)?;
    refuse_kind(kind)?;
    limited(file, bytes_max)
}

/// Like [`read_input`]; a pipe is read too, until its writers have closed it. Waits for them for
/// `patience`.
///
/// # Errors
///
/// As for [`read_input`], and if the writers of a pipe do not close it in time.
pub fn read_input_or_pipe(path: &Path, bytes_max: u64, patience: Duration) -> io::Result<Vec<u8>> {
    let (file, kind) = open_input(path)?;
    if kind == FileType::Fifo {
        return piped(file, bytes_max, patience);
    }
    refuse_kind(kind)?;
    limited(file, bytes_max)
}

/// A file that a library reads whole, whatever its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryFile {
    /// Where it is.
    pub path: PathBuf,
    /// No file of its kind is longer, bytes.
    pub bytes_max: u64,
}

impl LibraryFile {
    /// Refuses a file whose end may never come. One that does not exist or cannot be inspected is
    /// accepted, because the library reports that itself; so is the null device, which is empty.
    ///
    /// # Errors
    ///
    /// If it leads to something other than a regular file, or is longer than its limit.
    pub fn refuse_endless(&self) -> io::Result<()> {
        let Ok(stat) = rustix::fs::stat(&self.path) else { return Ok(()) };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::CharacterDevice && device(stat.st_rdev) == NULL_DEVICE {
            return Ok(());
        }
        refuse_kind(kind)?;
        if u64::try_from(stat.st_size).is_ok_and(|size| size <= self.bytes_max) {
            return Ok(());
        }
        Err(too_long(self.bytes_max))
    }
}

fn open_input(path: &Path) -> io::Result<(File, FileType)> {
    // Opening a device can have side effects, so it is not opened at all.
    let before = rustix::fs::statat(CWD, path, rustix::fs::AtFlags::empty())?;
    let before = FileType::from_raw_mode(before.st_mode);
    if before != FileType::Fifo {
        refuse_kind(before)?;
    }
    let flags = OFlags::RDONLY | CAREFUL.difference(OFlags::NOFOLLOW);
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let kind = kind(&file)?;
    Ok((file, kind))
}

fn kind(file: &File) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode))
}

fn limited(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    // One that is too long costs no memory. It may still grow while it is read.
    let size = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or_default();
    if size > bytes_max {
        return Err(too_long(bytes_max));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    within(bytes, bytes_max)
}

fn within(bytes: Vec<u8>, bytes_max: u64) -> io::Result<Vec<u8>> {
    if bytes.len() as u64 > bytes_max {
        return Err(too_long(bytes_max));
    }
    Ok(bytes)
}

fn device(number: u64) -> (u32, u32) {
    (rustix::fs::major(number), rustix::fs::minor(number))
}

fn too_long(bytes_max: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {bytes_max} bytes"))
}

/// Reads a pipe. Without a writer it reads as empty, so that an end counts only after some bytes.
#[expect(clippy::disallowed_methods, reason = "a deadline for writers of a pipe")]
fn piped(mut file: File, bytes_max: u64, patience: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + patience;
    let mut bytes = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut polled = [PollFd::new(&file, PollFlags::IN)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) => {
                let message = format!(
                    "it is a pipe that no process has written and closed within {patience:?}"
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let hung_up = polled[0].revents().contains(PollFlags::HUP);
        let mut buffer = [0; 16 << 10];
        match file.read(&mut buffer) {
            Ok(0) if !bytes.is_empty() || hung_up => {
                return within(bytes, bytes_max);
            }
            Ok(read) => bytes.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if bytes.len() as u64 > bytes_max {
            return within(bytes, bytes_max);
        }
    }
}
