//! Memory for content on its way, and its hard bound.
//!
//! # Invariants
//!
//! - The bytes of all buffers, in use or kept for the next part, are at most `bytes`.
//! - A buffer gives its share back when the last reader of its bytes has gone: a connection may
//!   outlive the request that was given up.
//! - Parts of large files have three quarters, so that a small file never waits for a large one.
//! - Buffers of parts are used again, because a fresh one costs more than to read a file into it.
//!   When nothing is sent any more, none is kept.

use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory is shared out in units of this, so that a semaphore can count it.
const UNIT: u64 = 4096;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A file in one request.
    File,
    /// A part of one.
    Part,
}

/// The memory of all transfers.
#[derive(Debug, Clone)]
pub(super) struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: Arc<Semaphore>,
    parts: Arc<Semaphore>,
    bytes: u64,
    parts_bytes: u64,
    /// What a buffer has to hold to be kept.
    part_size: usize,
    kept: Mutex<Vec<Room>>,
    in_use: AtomicUsize,
    waiting: AtomicUsize,
}

/// Some bytes to read into; exactly as many as were asked for.
#[derive(Debug)]
pub(super) struct Buffer {
    room: Option<Room>,
    length: usize,
    memory: Memory,
}

/// Memory, and the share that it is.
#[derive(Debug)]
struct Room {
    bytes: Vec<u8>,
    _shares: [Option<OwnedSemaphorePermit>; 2],
}

impl Memory {
    /// `bytes` in all; buffers of `part_size` are kept for the next part.
    pub(super) fn new(bytes: u64, part_size: u64) -> Self {
        let parts_bytes = (bytes / 4 * 3).max(part_size).min(bytes);
        Self(Arc::new(Inner {
            all: Arc::new(Semaphore::new(units(bytes))),
            parts: Arc::new(Semaphore::new(units(parts_bytes))),
            bytes,
            parts_bytes,
            part_size: length(part_size),
            kept: Mutex::default(),
            in_use: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Waits for room for `size` bytes; more than there is room for gets all of it.
    pub(super) async fn buffer(&self, size: u64, purpose: Purpose) -> Buffer {
        let inner = &self.0;
        let is_part = purpose == Purpose::Part;
        let kept =
            if is_part && length(size) <= inner.part_size { inner.kept().pop() } else { None };
        let room = match kept {
            Some(room) => room,
            None => self.room(size, is_part).await,
        };
        inner.in_use.fetch_add(1, Ordering::Relaxed);
        Buffer { room: Some(room), length: length(size), memory: self.clone() }
    }

    async fn room(&self, size: u64, is_part: bool) -> Room {
        let inner = &self.0;
        // A part has the room of a whole one, to be used again.
        let size = if is_part { size.max(inner.part_size as u64) } else { size };
        let parts = match is_part {
            true => self.share(&inner.parts, size.min(inner.parts_bytes)).await,
            false => None,
        };
        let all = self.share(&inner.all, size.min(inner.bytes)).await;
        Room { bytes: vec![0; length(size)], _shares: [parts, all] }
    }

    async fn share(&self, of: &Arc<Semaphore>, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(units(bytes)).unwrap_or(u32::MAX);
        if let Ok(share) = Arc::clone(of).try_acquire_many_owned(units) {
            return Some(share);
        }
        // From here on nothing is kept, so that what is in use comes back to whoever waits.
        let _waiting = Waiting::new(&self.0.waiting);
        self.0.kept().clear();
        // The semaphore is never closed, so this is always some.
        Arc::clone(of).acquire_many_owned(units).await.ok()
    }
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, Vec<Room>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// The bytes, to be read into.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        let length = self.length;
        self.room.as_mut().map_or(&mut [], |room| &mut room.bytes[..length])
    }

    /// The bytes, to be sent.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.room.as_ref().map_or(&[], |room| &room.bytes[..self.length])
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let inner = &self.memory.0;
        let others = inner.in_use.fetch_sub(1, Ordering::Relaxed) > 1;
        let Some(room) = self.room.take() else { return };
        let waited_for = inner.waiting.load(Ordering::Relaxed) > 0;
        if !others {
            inner.kept().clear();
        } else if room.bytes.len() == inner.part_size && !waited_for {
            inner.kept().push(room);
        }
    }
}

/// Counts those who wait, also when one of them gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    const PART: u64 = 8 << 20;

    /// What is to be had without waiting.
    fn now(wanted: impl Future<Output = Buffer>) -> Option<Buffer> {
        match std::pin::pin!(wanted).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(buffer) => Some(buffer),
            Poll::Pending => None,
        }
    }

    fn part(memory: &Memory) -> Option<Buffer> {
        now(memory.buffer(PART, Purpose::Part))
    }

    fn file(memory: &Memory, size: u64) -> Option<Buffer> {
        now(memory.buffer(size, Purpose::File))
    }

    #[test]
    fn parts_leave_a_quarter_to_small_files() {
        let memory = Memory::new(8 * PART, PART);
        let parts: Vec<_> = std::iter::from_fn(|| part(&memory)).collect();
        assert_eq!(parts.len(), 6);
        assert!(file(&memory, 2 * PART).is_some());
    }

    #[test]
    fn all_buffers_together_stay_within_the_bound() {
        let memory = Memory::new(4 * PART, PART);
        let files: Vec<_> = std::iter::from_fn(|| file(&memory, PART)).collect();
        assert_eq!(files.len(), 4);
        assert!(part(&memory).is_none() && file(&memory, 1).is_none());
    }

    #[test]
    fn the_share_is_taken_until_the_last_reader_has_gone() {
        let memory = Memory::new(PART, PART);
        let bytes = part(&memory).expect("room").freeze();
        let reader = bytes.slice(..1);
        drop(bytes);
        assert!(part(&memory).is_none());
        drop(reader);
        assert!(part(&memory).is_some());
    }

    #[test]
    fn a_kept_buffer_is_given_up_for_whoever_waits() {
        let memory = Memory::new(4 * PART, PART);
        let [a, b] = [part(&memory), part(&memory)].map(|buffer| buffer.expect("room"));
        drop(a);
        assert_eq!(memory.0.kept().len(), 1);
        assert!(file(&memory, 3 * PART).is_some(), "only what is in use is taken");
        drop(b);
        assert!(memory.0.kept().is_empty(), "nothing is sent, nothing is kept");
    }

    #[test]
    fn more_than_there_is_gets_everything() {
        let memory = Memory::new(PART, PART);
        let all = file(&memory, 3 * PART).expect("room");
        assert_eq!(all.as_ref().len(), length(3 * PART));
        assert!(file(&memory, 1).is_none());
    }

    #[test]
    fn a_last_part_is_as_long_as_it_is() {
        let memory = Memory::new(4 * PART, PART);
        let mut buffer = now(memory.buffer(3, Purpose::Part)).expect("room");
        buffer.bytes_mut().copy_from_slice(b"abc");
        assert_eq!(buffer.freeze(), "abc");
    }
}
