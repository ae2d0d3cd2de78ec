//! Reading a file such that what was read is one state the file really had.
//!
//! The look before and after the read, on one descriptor, is the guarantee; whatever the watcher
//! said was only a hint. Exactly the bytes announced are read, never to the end of a growing file.
//!
//! Everything here blocks: it runs on the blocking pool, one hop a file or part.

use super::FileOwner;
use super::entity_tag::TagSum;
use super::memory::Buffer;
use crate::model::{Failure, FailureClass, Fingerprint, Outcome, RelPath, Version};
use crate::root::{FileOpenError, Root, in_words, is_passing};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

/// What a file is read by that is only compared, bytes.
const CHECKSUM_BUFFER: usize = 1 << 20;

/// Below this it is cheaper to read holes, bytes.
const SPARSE_MIN: u64 = 1 << 20;

/// A file open for reading, beneath the watched directory and of the state that was asked for.
#[derive(Debug)]
pub(super) struct FileSource {
    file: File,
    fingerprint: Fingerprint,
    /// It has holes, and the file system reports where.
    sparse: bool,
    owner: Option<FileOwner>,
}

/// CRC-64/NVME of the file `path`, if it is in the state `wanted` from the first byte to the last.
/// Blocks.
///
/// # Errors
///
/// If it is not, or cannot be read.
pub fn checksum_of(root: &Root, path: &RelPath, wanted: Version) -> Result<u64, Outcome> {
    let source = FileSource::open(root, path, wanted)?;
    let crc64nvme = source.checksum(None)?;
    source.confirm()?;
    Ok(crc64nvme)
}

/// The reason of an attempt whose file is gone.
pub const FILE_GONE: &str = "the file is gone";

/// Some bytes of a file and their checksum.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) crc64nvme: u64,
}

impl FileSource {
    /// Opens `path` if it still is in the state `wanted`.
    pub(super) fn open(root: &Root, path: &RelPath, wanted: Version) -> Result<Self, Outcome> {
        let (file, stat) = root.open_file(path).map_err(|error| match error {
            FileOpenError::Gone => Outcome::LookAgain(FILE_GONE),
            FileOpenError::NotRegular(_) | FileOpenError::LeadsOutside(_) => {
                Outcome::LookAgain("the name leads to something else now")
            }
            FileOpenError::Denied => {
                unreadable(FailureClass::File, "permission-denied", "permission denied")
            }
            FileOpenError::Io(error) => unread(&error),
        })?;
        if Version::from_fingerprint(&stat.fingerprint) != wanted {
            return Err(Outcome::LookAgain("the file has changed"));
        }
        let fingerprint = stat.fingerprint;
        let sparse = fingerprint.size >= SPARSE_MIN && root.reports_holes() && has_holes(&file);
        Ok(Self { file, fingerprint, sparse, owner: None })
    }

    pub(super) fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Reads user and group of the file, which the look at it leaves out.
    pub(super) fn read_owner(&mut self) -> Result<(), Outcome> {
        let metadata = self.file.metadata().map_err(|error| unread(&error))?;
        self.owner = Some(FileOwner { user: metadata.uid(), group: metadata.gid() });
        Ok(())
    }

    /// User and group of the file, if they were read.
    pub(super) fn owner(&self) -> Option<FileOwner> {
        self.owner
    }

    /// Reads as many bytes at `offset` as the buffer is long.
    pub(super) fn read(&self, offset: u64, mut buffer: Buffer) -> Result<Piece, Outcome> {
        self.fill(offset, buffer.bytes_mut())?;
        let crc64nvme = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, buffer.as_ref());
        Ok(Piece { bytes: buffer.freeze(), crc64nvme })
    }

    /// The checksum of the whole file, whose bytes also go into `sum`.
    pub(super) fn checksum(&self, mut sum: Option<&mut TagSum>) -> Result<u64, Outcome> {
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        let mut buffer = vec![0; CHECKSUM_BUFFER];
        let mut offset = 0;
        while offset < self.fingerprint.size {
            let rest = self.fingerprint.size - offset;
            let length = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
            self.fill(offset, &mut buffer[..length])?;
            digest.update(&buffer[..length]);
            if let Some(sum) = sum.as_deref_mut() {
                sum.update(&buffer[..length]);
            }
            offset += length as u64;
        }
        Ok(digest.finalize())
    }

    fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Outcome> {
        let read = if self.sparse {
            self.fill_around_holes(offset, buffer)
        } else {
            self.read_at(offset, buffer)
        };
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Outcome::LookAgain("the file became shorter"),
            _ => unread(&error),
        })
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// Reads what there is, and nothing where there is nothing. What is written meanwhile is seen by the
    /// look afterwards.
    fn fill_around_holes(&self, offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        let mut at = offset;
        while !buffer.is_empty() {
            let end = at + buffer.len() as u64;
            let data = match seek(&self.file, SeekFrom::Data(at)) {
                Ok(data) => data.min(end),
                // No more data. A file that became shorter is noticed by the look.
                Err(Errno::NXIO) => end,
                Err(_) => return self.read_at(at, buffer),
            };
            let hole = match seek(&self.file, SeekFrom::Hole(data)) {
                Ok(hole) => hole.clamp(data, end),
                Err(Errno::NXIO) => end,
                Err(_) => return self.read_at(at, buffer),
            };
            let zeros = usize::try_from(data - at).unwrap_or(usize::MAX);
            let length = usize::try_from(hole - data).unwrap_or(usize::MAX);
            buffer[..zeros].fill(0);
            self.read_at(data, &mut buffer[zeros..zeros + length])?;
            buffer = &mut buffer[zeros + length..];
            at = hole;
        }
        Ok(())
    }

    /// Confirms that the file was not written since it was opened.
    pub(super) fn confirm(&self) -> Result<(), Outcome> {
        match Root::stat_open(&self.file) {
            Ok(stat) if stat.fingerprint.same_content(&self.fingerprint) => Ok(()),
            Ok(_) => Err(Outcome::LookAgain("the file was written to while it was read")),
            Err(error) => Err(unread(&error)),
        }
    }
}

fn has_holes(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.blocks().saturating_mul(512) < metadata.len())
}

/// An error of a read: most of them pass by themselves.
fn unread(error: &io::Error) -> Outcome {
    let class = if is_passing(error) { FailureClass::Read } else { FailureClass::File };
    unreadable(class, "read-error", &in_words(error))
}

fn unreadable(class: FailureClass, code: &str, message: &str) -> Outcome {
    Outcome::Failed(Failure {
        class,
        code: code.into(),
        message: message.into(),
        answer_lost: false,
        retry_after_ms: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_read_as_zeros_and_data_as_it_is() {
        const MIB: u64 = 1 << 20;
        let directory = tempfile::tempdir().expect("a directory");
        let file = File::create(directory.path().join("sparse")).expect("made");
        file.set_len(9 * MIB).expect("grown");
        for at in [0, 2 * MIB + 7, 5 * MIB - 3, 9 * MIB - 1] {
            file.write_all_at(b"!", at).expect("written");
        }
        let root = Root::open(directory.path()).expect("opened");
        let path = RelPath::new(b"sparse").expect("a path");
        let stat = root.look(&path).expect("there");
        let source = FileSource::open(&root, &path, Version::from_fingerprint(&stat.fingerprint))
            .expect("opened");
        if !source.sparse {
            println!("skipped: this file system does not report where holes are");
        }
        let whole = std::fs::read(directory.path().join("sparse")).expect("read");
        for (offset, length) in
            [(0, 9 * MIB), (1, MIB), (MIB, 4096), (2 * MIB, MIB), (5 * MIB - 4, 8), (8 * MIB, MIB)]
        {
            let range = usize::try_from(offset).expect("small")
                ..usize::try_from(offset + length).expect("small");
            // Buffers are used again, and hold what was sent before.
            let mut buffer = vec![0xaa; range.len()];
            source.fill(offset, &mut buffer).expect("read");
            assert!(buffer == whole[range], "{offset} {length}");
        }
        let crc64nvme = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &whole);
        assert_eq!(source.checksum(None).expect("read"), crc64nvme);
    }
}
