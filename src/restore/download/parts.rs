//! Large objects: in ranges, several at once, into one staged file.
//!
//! # Invariant
//!
//! A note of a part is believed only if the part's bytes, read again, have the noted checksum. So the order
//! in which the file and its notes reach the disk does not matter.

use super::{
    DownloadItem, DownloadTrouble, Downloader, READ_BYTES, StagedFile, checksum, finish, panicked,
    staged, staging_name,
};
use crate::root::Staging;
use crate::transfer::{ContentCheck, FetchError, ObjectFacts};
use crc_fast::{CrcAlgorithm, Digest as Crc, checksum_combine};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Parts of one object that are fetched at once.
const PARTS_AT_ONCE: usize = 8;
/// Bytes of a note: the checksum of the part, and the checksum of that and its number.
const NOTE_BYTES: usize = 16;

/// A staged file that is not whole yet, and its notes.
#[derive(Debug)]
struct PartialFile {
    file: File,
    notes: File,
    size: u64,
    part_size: u64,
}

impl PartialFile {
    fn open(staging: &Staging, name: &str, size: u64, part_size: u64) -> io::Result<Self> {
        let file = staging.create(name)?;
        file.set_len(size)?;
        Ok(Self { file, notes: staging.create(&notes_name(name))?, size, part_size })
    }

    fn count(&self) -> u64 {
        self.size.div_ceil(self.part_size)
    }

    fn range(&self, number: u64) -> Range<u64> {
        let start = number * self.part_size;
        start..self.size.min(start + self.part_size)
    }

    /// The checksum of a part that has arrived before.
    fn noted(&self, number: u64) -> io::Result<Option<u64>> {
        let mut note = [0; NOTE_BYTES];
        match self.notes.read_exact_at(&mut note, number * NOTE_BYTES as u64) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let (sum, check) = note.split_at(NOTE_BYTES / 2);
        let word = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).unwrap_or_default();
        let sum = word(sum);
        let check = word(check);
        if check != check_of(number, sum) {
            return Ok(None);
        }
        Ok((self.checksum_of(self.range(number))? == sum).then_some(sum))
    }

    fn checksum_of(&self, range: Range<u64>) -> io::Result<u64> {
        let mut sum = Crc::new(CrcAlgorithm::Crc64Nvme);
        let mut buffer = vec![0; READ_BYTES];
        let mut at = range.start;
        while at < range.end {
            let left = usize::try_from(range.end - at).unwrap_or(usize::MAX);
            let piece = &mut buffer[..left.min(READ_BYTES)];
            self.file.read_exact_at(piece, at)?;
            sum.update(piece);
            at += piece.len() as u64;
        }
        Ok(sum.finalize())
    }

    fn write(&self, number: u64, bytes: &[u8]) -> io::Result<u64> {
        let sum = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes);
        self.file.write_all_at(bytes, self.range(number).start)?;
        let note = [sum.to_be_bytes(), check_of(number, sum).to_be_bytes()].concat();
        self.notes.write_all_at(&note, number * NOTE_BYTES as u64)?;
        Ok(sum)
    }
}

fn notes_name(name: &str) -> String {
    format!("{name}.parts")
}

fn check_of(number: u64, sum: u64) -> u64 {
    let bytes = [number.to_be_bytes(), sum.to_be_bytes()].concat();
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes)
}

impl Downloader {
    pub(super) async fn in_parts(
        &self,
        item: &DownloadItem,
    ) -> Result<StagedFile, DownloadTrouble> {
        let facts = self.fetcher.facts(&item.object).await.map_err(FetchError::from)?;
        let facts = facts.ok_or(FetchError::Gone)?;
        let etag = match &facts.etag {
            Some(etag) if facts.size == item.size => etag.clone(),
            _ => return Err(FetchError::Changed.into()),
        };
        let part_size = self.fetcher.part_size();
        let name =
            staging_name(&DownloadItem { etag: Some(etag.clone()), ..item.clone() }, part_size);
        let staging = Arc::clone(&self.staging);
        let file_name = name.clone();
        let size = item.size;
        let open = move || PartialFile::open(&staging, &file_name, size, part_size);
        let partial = Arc::new(self.threads.run(open).await.map_err(panicked)??);
        let parts = (0..partial.count()).map(|number| self.part(&partial, number, item, &etag));
        let sums: Vec<_> = stream::iter(parts).buffered(PARTS_AT_ONCE).try_collect().await?;
        let whole = sums.into_iter().zip(0..).fold(0, |whole, (sum, number)| {
            let range = partial.range(number);
            checksum_combine(CrcAlgorithm::Crc64Nvme, whole, sum, range.end - range.start)
        });
        let staging = Arc::clone(&self.staging);
        let item = item.clone();
        let end = move || -> Result<StagedFile, DownloadTrouble> {
            verify(&partial, &facts, whole).inspect_err(|_| discard(&staging, &name))?;
            let finished = finish(&staging, (&partial.file, &name), &facts, &item, whole)?;
            staging.remove(&notes_name(&name))?;
            Ok(staged(&item, finished, whole, Some(etag)))
        };
        self.threads.run(end).await.map_err(panicked)?
    }

    /// Fetches a part, unless it has arrived before, and returns its checksum.
    async fn part(
        &self,
        partial: &Arc<PartialFile>,
        number: u64,
        item: &DownloadItem,
        etag: &str,
    ) -> Result<u64, DownloadTrouble> {
        let file = Arc::clone(partial);
        if let Some(sum) =
            self.threads.run(move || file.noted(number)).await.map_err(panicked)??
        {
            return Ok(sum);
        }
        let range = partial.range(number);
        let length = range.end - range.start;
        let bytes = self.fetcher.range(&item.object, etag, range).await?;
        self.fetched.fetch_add(length, Ordering::Relaxed);
        let file = Arc::clone(partial);
        let written = self.threads.run(move || file.write(number, &bytes)).await;
        Ok(written.map_err(panicked)??)
    }
}

/// Whether the file has the content that the store says.
fn verify(
    partial: &PartialFile,
    facts: &ObjectFacts,
    crc64nvme: u64,
) -> Result<(), DownloadTrouble> {
    let mut check = ContentCheck::new(facts, partial.part_size);
    if check.wants_bytes() {
        checksum(&partial.file, &mut |bytes| check.update(bytes))?;
    }
    if check.is_content(crc64nvme) { Ok(()) } else { Err(DownloadTrouble::Mismatch) }
}

/// Removes what is not the object, so that the next round begins anew.
fn discard(staging: &Staging, name: &str) {
    for name in [name.to_owned(), notes_name(name)] {
        // The end of the restore removes everything that is left here.
        staging.remove(&name).ok();
    }
}
