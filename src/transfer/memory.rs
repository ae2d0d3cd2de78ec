//! Memory for content on its way, and its hard bound.
//!
//! # Invariants
//!
//! - The bytes of all buffers, in use or kept for the next part, are at most `bytes`.
//! - A buffer gives its share back when the last reader of its bytes has gone: a connection may
//!   outlive the request that was given up.
//! - Parts of large files have three quarters, so that a small file never waits for a large one.
//! - Buffers of parts are used again, because a fresh one costs more than to read a file into it. Cached
//!   buffers hold no permit: an allocation reuses one of its size, or evicts enough of them to stay
//!   within the limit. When nothing is sent any more, none is kept.

use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory is shared out in units of this, so that a semaphore can count it.
const UNIT: u64 = 4096;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemoryPurpose {
    /// A file in one request.
    File,
    /// A part of one.
    Part,
}

/// The memory of all transfers.
#[derive(Debug, Clone)]
pub(super) struct TransferMemory(Arc<MemoryState>);

#[derive(Debug)]
struct MemoryState {
    all: Arc<Semaphore>,
    parts: Arc<Semaphore>,
    bytes: u64,
    parts_bytes: u64,
    /// What a buffer has to hold to be kept.
    part_size: usize,
    held: Mutex<HeldMemory>,
    /// Buffers in use, those that are waited for, and uploads that will want more.
    wanted: AtomicUsize,
}

/// Some bytes to read into; exactly as many as were asked for.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    length: usize,
    /// Of the memory for parts, and of all.
    shares: [Option<OwnedSemaphorePermit>; 2],
    wanted: MemoryDemand,
}

/// What there really is.
#[derive(Debug, Default)]
struct HeldMemory {
    /// Bytes of the buffers in use; those who have a share and no buffer yet are not among them.
    in_use: u64,
    /// Of parts, for the next.
    kept: Vec<Vec<u8>>,
}

/// Counts itself. With the last one goes what is kept.
#[derive(Debug)]
pub(super) struct MemoryDemand(Arc<MemoryState>);

impl TransferMemory {
    /// `bytes` in all; buffers of `part_size` are kept for the next part.
    pub(super) fn new(bytes: u64, part_size: u64) -> Self {
        let parts_bytes = memory_of_parts(bytes, part_size);
        Self(Arc::new(MemoryState {
            all: Arc::new(Semaphore::new(units(bytes))),
            parts: Arc::new(Semaphore::new(units(parts_bytes))),
            bytes,
            parts_bytes,
            part_size: length(part_size),
            held: Mutex::default(),
            wanted: AtomicUsize::new(0),
        }))
    }

    /// Keeps the buffers of parts for the next ones: between two of them there may be none in use.
    pub(super) fn keep(&self) -> MemoryDemand {
        MemoryDemand::new(&self.0)
    }

    /// Waits for room for `size` bytes; more than there is room for gets all of it.
    pub(super) async fn buffer(&self, size: u64, purpose: MemoryPurpose) -> Buffer {
        let wanted = MemoryDemand::new(&self.0);
        let inner = &self.0;
        let is_part = purpose == MemoryPurpose::Part;
        // A part has the room of a whole one, to be used again.
        let room = if is_part { size.max(inner.part_size as u64) } else { size };
        let parts = match is_part {
            true => share(&inner.parts, room.min(inner.parts_bytes)).await,
            false => None,
        };
        let shares = [parts, share(&inner.all, room.min(inner.bytes)).await];
        Buffer { bytes: inner.take(length(room)), length: length(size), shares, wanted }
    }
}

/// What parts have of `bytes`: no part may be larger.
pub(super) fn memory_of_parts(bytes: u64, part_size: u64) -> u64 {
    (bytes / 4 * 3).max(part_size).min(bytes)
}

/// The semaphores are never closed, so this is always some.
async fn share(of: &Arc<Semaphore>, bytes: u64) -> Option<OwnedSemaphorePermit> {
    let units = u32::try_from(units(bytes)).unwrap_or(u32::MAX);
    Arc::clone(of).acquire_many_owned(units).await.ok()
}

impl MemoryState {
    /// Room of this size, for a caller that has the permit.
    fn take(&self, size: usize) -> Vec<u8> {
        let mut held = self.held();
        held.in_use = held.in_use.saturating_add(size as u64);
        let again = if size == self.part_size { held.kept.pop() } else { None };
        let room = length(self.bytes.saturating_sub(held.in_use)) / self.part_size.max(1);
        held.kept.truncate(room);
        drop(held);
        again.unwrap_or_else(|| vec![0; size])
    }

    fn held(&self) -> MutexGuard<'_, HeldMemory> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// The bytes, to be read into.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }

    /// The bytes, to be sent.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let inner = &self.wanted.0;
        let bytes = std::mem::take(&mut self.bytes);
        let mut held = inner.held();
        held.in_use = held.in_use.saturating_sub(bytes.len() as u64);
        if bytes.len() == inner.part_size {
            held.kept.push(bytes);
        }
        // Before anybody else can look at what is kept: who has waited for the share takes it from there.
        self.shares = [None, None];
        drop(held);
    }
}

impl MemoryDemand {
    fn new(inner: &Arc<MemoryState>) -> Self {
        inner.wanted.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(inner))
    }
}

impl Drop for MemoryDemand {
    fn drop(&mut self) {
        if self.0.wanted.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.held().kept.clear();
        }
    }
}

fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn units(bytes: u64) -> usize {
    length(bytes.max(1).div_ceil(UNIT)).min(Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    const PART: u64 = 8 << 20;

    /// What is available without waiting.
    fn now(wanted: impl Future<Output = Buffer>) -> Option<Buffer> {
        match std::pin::pin!(wanted).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(buffer) => Some(buffer),
            Poll::Pending => None,
        }
    }

    fn part(memory: &TransferMemory) -> Option<Buffer> {
        now(memory.buffer(PART, MemoryPurpose::Part))
    }

    fn file(memory: &TransferMemory, size: u64) -> Option<Buffer> {
        now(memory.buffer(size, MemoryPurpose::File))
    }

    #[test]
    fn parts_leave_a_quarter_to_small_files() {
        let memory = TransferMemory::new(8 * PART, PART);
        let parts: Vec<_> = std::iter::from_fn(|| part(&memory)).collect();
        assert_eq!(parts.len(), 6);
        assert!(file(&memory, 2 * PART).is_some());
    }

    #[test]
    fn all_buffers_together_stay_within_the_bound() {
        let memory = TransferMemory::new(4 * PART, PART);
        let files: Vec<_> = std::iter::from_fn(|| file(&memory, PART)).collect();
        assert_eq!(files.len(), 4);
        assert!(part(&memory).is_none() && file(&memory, 1).is_none());
    }

    #[test]
    fn the_share_is_taken_until_the_last_reader_has_gone() {
        let memory = TransferMemory::new(PART, PART);
        let bytes = part(&memory).expect("room").freeze();
        let reader = bytes.slice(..1);
        drop(bytes);
        assert!(part(&memory).is_none());
        drop(reader);
        assert!(part(&memory).is_some());
    }

    #[test]
    fn a_cached_buffer_is_freed_for_a_waiting_reader() {
        let memory = TransferMemory::new(4 * PART, PART);
        let [a, b] = [part(&memory), part(&memory)].map(|buffer| buffer.expect("room"));
        drop(a);
        assert_eq!(memory.0.held().kept.len(), 1);
        let large = file(&memory, 3 * PART);
        assert!(large.is_some() && memory.0.held().kept.is_empty(), "only what is in use is taken");
        drop(large);
        drop(b);
        assert!(memory.0.held().kept.is_empty(), "nothing is sent, nothing is kept");
    }

    #[test]
    fn those_who_wait_for_parts_get_the_buffers_that_come_back() {
        let memory = TransferMemory::new(8 * PART, PART);
        let parts: Vec<_> = std::iter::from_fn(|| part(&memory)).collect();
        let wait = || Box::pin(memory.buffer(PART, MemoryPurpose::Part));
        let mut waiting: Vec<_> = parts.iter().map(|_| wait()).collect();
        let mut context = Context::from_waker(Waker::noop());
        for one in &mut waiting {
            assert!(one.as_mut().poll(&mut context).is_pending());
        }
        let places = |parts: &[Buffer]| -> BTreeSet<_> {
            parts.iter().map(|buffer| buffer.as_ref().as_ptr() as usize).collect()
        };
        let returned = places(&parts);
        drop(parts);
        let ready = waiting.iter_mut().filter_map(|one| match one.as_mut().poll(&mut context) {
            Poll::Ready(buffer) => Some(buffer),
            Poll::Pending => None,
        });
        let parts: Vec<_> = ready.collect();
        assert_eq!(places(&parts), returned, "the very same memory");
        assert!(memory.0.held().kept.is_empty());
    }

    #[test]
    fn buffers_stay_while_a_reader_waits_and_go_with_the_last_one() {
        let memory = TransferMemory::new(PART, PART);
        let mut waiting = Box::pin(memory.buffer(PART, MemoryPurpose::Part));
        let only = part(&memory);
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        drop(only);
        assert_eq!(memory.0.held().kept.len(), 1, "for the one that waits");
        let upload = memory.keep();
        drop(waiting);
        assert_eq!(memory.0.held().kept.len(), 1, "for the next part");
        drop(upload);
        assert!(memory.0.held().kept.is_empty());
    }

    #[test]
    fn more_than_there_is_gets_everything() {
        let memory = TransferMemory::new(PART, PART);
        let all = file(&memory, 3 * PART).expect("room");
        assert_eq!(all.as_ref().len(), length(3 * PART));
        assert!(file(&memory, 1).is_none());
    }

    #[test]
    fn a_last_part_is_as_long_as_it_is() {
        let memory = TransferMemory::new(4 * PART, PART);
        let mut buffer = now(memory.buffer(3, MemoryPurpose::Part)).expect("room");
        buffer.bytes_mut().copy_from_slice(b"abc");
        assert_eq!(buffer.freeze(), "abc");
    }
}
