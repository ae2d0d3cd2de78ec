//! Reading a file such that what was read is one state the file really had.
//!
//! The look before and after the read, on one descriptor, is the guarantee; whatever the watcher
//! said was only a hint. Exactly the bytes announced are read, never to the end of a growing file.
//!
//! Everything here blocks: it runs on the blocking pool, one hop a file or part.

use super::memory::Buffer;
use crate::model::{Failure, FailureClass, Fingerprint, Outcome, RelPath, Version};
use crate::root::{OpenError, Root};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What a file is read by that is only compared, bytes.
const CHECKSUM_BUFFER: usize = 1 << 20;

/// A file open for reading, beneath the watched directory and of the state that was asked for.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    fingerprint: Fingerprint,
}

/// CRC-64/NVME of the file `path`, if it is in the state `wanted` from the first byte to the last.
/// Blocks.
///
/// # Errors
///
/// If it is not, or cannot be read.
pub fn checksum_of(root: &Root, path: &RelPath, wanted: Version) -> Result<u64, Outcome> {
    let source = Source::open(root, path, wanted)?;
    let crc64nvme = source.checksum()?;
    source.confirm()?;
    Ok(crc64nvme)
}

/// Some bytes of a file and their checksum.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) crc64nvme: u64,
}

impl Source {
    /// Opens `path` if it still is in the state `wanted`.
    pub(super) fn open(root: &Root, path: &RelPath, wanted: Version) -> Result<Self, Outcome> {
        let (file, stat) = root.open_file(path).map_err(|error| match error {
            OpenError::Gone => Outcome::LookAgain("the file is gone"),
            OpenError::NotRegular(_) | OpenError::LeadsOutside(_) => {
                Outcome::LookAgain("the name leads to something else now")
            }
            OpenError::Denied => unreadable("permission-denied", "permission denied"),
            OpenError::Io(error) => unreadable("read-error", &error.to_string()),
        })?;
        if Version::of(&stat.fingerprint) != wanted {
            return Err(Outcome::LookAgain("the file has changed"));
        }
        Ok(Self { file, fingerprint: stat.fingerprint })
    }

    pub(super) fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Reads as many bytes at `offset` as the buffer is long.
    pub(super) fn read(&self, offset: u64, mut buffer: Buffer) -> Result<Piece, Outcome> {
        self.fill(offset, buffer.bytes_mut())?;
        let crc64nvme = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, buffer.as_ref());
        Ok(Piece { bytes: buffer.freeze(), crc64nvme })
    }

    /// The checksum of the whole file.
    pub(super) fn checksum(&self) -> Result<u64, Outcome> {
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        let mut buffer = vec![0; CHECKSUM_BUFFER];
        let mut offset = 0;
        while offset < self.fingerprint.size {
            let rest = self.fingerprint.size - offset;
            let length = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
            self.fill(offset, &mut buffer[..length])?;
            digest.update(&buffer[..length]);
            offset += length as u64;
        }
        Ok(digest.finalize())
    }

    fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Outcome> {
        self.file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Outcome::LookAgain("the file became shorter"),
            _ => unreadable("read-error", &error.to_string()),
        })
    }

    /// Confirms that nobody wrote to the file since it was opened.
    pub(super) fn confirm(&self) -> Result<(), Outcome> {
        match Root::stat_open(&self.file) {
            Ok(stat) if stat.fingerprint.same_content(&self.fingerprint) => Ok(()),
            Ok(_) => Err(Outcome::LookAgain("the file was written to while it was read")),
            Err(error) => Err(unreadable("read-error", &error.to_string())),
        }
    }
}

/// The file's fault: wait for a change or for the next rescan.
fn unreadable(code: &str, message: &str) -> Outcome {
    Outcome::Failed(Failure {
        class: FailureClass::File,
        code: code.into(),
        message: message.into(),
        answer_lost: false,
    })
}
