//! The log output: a bounded queue, and one thread that may block on the reader. It is our own, and not the
//! one of tracing-appender, because that one loses the rest of a line at a non-blocking descriptor:
//! docs/adr/022.
//!
//! # Invariants
//!
//! - [`LogOutput::send`] returns at once, whatever the state of the reader.
//! - Lines are written whole and in order. Lines that the reader refuses are lost; the program
//!   continues.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

/// Maximum number of queued lines. A line usually has about 300 bytes, so this is about 2 MiB.
const QUEUE_LINES: usize = 8192;
/// Maximum size of lines that are written with one system call.
const BATCH_BYTES: usize = 64 * 1024;
/// The steps in which the end of the program waits for its last lines.
const FLUSH_STEP: Duration = Duration::from_millis(10);
const FLUSH_STEPS: u32 = 100;

enum OutputItem {
    Line(String),
    /// Answer when all previous lines are written.
    Flush(SyncSender<()>),
}

/// The sending end of the queue.
#[derive(Debug, Clone)]
pub(super) struct LogOutput {
    queue: SyncSender<OutputItem>,
    lost: Arc<AtomicU64>,
}

/// Waits for the last lines when dropped, for at most a second.
#[derive(Debug)]
pub struct OutputGuard(SyncSender<OutputItem>);

impl LogOutput {
    /// Starts the thread that writes to `writer`.
    pub(super) fn start(
        writer: impl io::Write + Send + 'static,
    ) -> io::Result<(Self, OutputGuard)> {
        Self::with_queue(writer, QUEUE_LINES)
    }

    fn with_queue(
        mut writer: impl io::Write + Send + 'static,
        lines: usize,
    ) -> io::Result<(Self, OutputGuard)> {
        let (queue, items) = sync_channel(lines);
        let run = move || run(&mut writer, &items);
        // Detached: a stuck reader must not keep the process from ending.
        thread::Builder::new().name("log".to_owned()).spawn(run)?;
        Ok((Self { queue: queue.clone(), lost: Arc::default() }, OutputGuard(queue)))
    }

    /// Queues a line. Returns whether there was room.
    pub(super) fn send(&self, line: String) -> bool {
        match self.queue.try_send(OutputItem::Line(line)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.add_lost(1);
                false
            }
        }
    }

    /// The number of lines lost since the last call.
    pub(super) fn take_lost(&self) -> u64 {
        // A plain read first: this is called before every line, on every thread.
        if self.lost.load(Ordering::Relaxed) == 0 {
            0
        } else {
            self.lost.swap(0, Ordering::Relaxed)
        }
    }

    pub(super) fn add_lost(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

impl Drop for OutputGuard {
    fn drop(&mut self) {
        let (answer, answered) = sync_channel(1);
        let mut item = OutputItem::Flush(answer);
        for _ in 0..FLUSH_STEPS {
            match self.0.try_send(item) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => item = back,
            }
            thread::sleep(FLUSH_STEP);
        }
        match answered.recv_timeout(FLUSH_STEP * FLUSH_STEPS) {
            // Lines that cannot be written are given up.
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

fn run(writer: &mut impl io::Write, items: &Receiver<OutputItem>) {
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    while let Ok(first) = items.recv() {
        let mut next = Some(first);
        while let Some(item) = next {
            match item {
                OutputItem::Line(line) => batch.extend_from_slice(line.as_bytes()),
                OutputItem::Flush(answer) => {
                    write(writer, &mut batch);
                    // The caller may have stopped waiting.
                    answer.try_send(()).unwrap_or_default();
                }
            }
            next = if batch.len() < BATCH_BYTES { items.try_recv().ok() } else { None };
        }
        write(writer, &mut batch);
    }
}

/// Writes and empties `batch`. A reader that is gone (EPIPE) or full (ENOSPC) loses only these
/// lines.
fn write(writer: &mut impl io::Write, batch: &mut Vec<u8>) {
    let mut rest = batch.as_slice();
    while !rest.is_empty() {
        match writer.write(rest) {
            Ok(0) => break,
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another process made the shared descriptor non-blocking. Waiting is the job of this
            // thread.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(FLUSH_STEP),
            Err(_) => break,
        }
    }
    batch.clear();
    writer.flush().unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::Sender;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// Accepts bytes while the gate is open.
    #[derive(Clone, Default)]
    struct Gated(Arc<(Mutex<()>, Mutex<Vec<u8>>)>);

    impl Gated {
        fn close(&self) -> MutexGuard<'_, ()> {
            self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.1.lock().expect("no panic").clone()).expect("text")
        }
    }

    impl io::Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.close();
            // One byte at a time, as a pipe may do.
            self.0.1.lock().expect("no panic").extend(bytes.first());
            Ok(bytes.len().min(1))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_leave_whole_and_in_order() {
        let reader = Gated::default();
        let (output, guard) = LogOutput::start(reader.clone()).expect("a thread");
        assert!(output.send("one\n".to_owned()));
        assert!(output.send("two\n".to_owned()));
        drop(guard);
        assert_eq!(reader.text(), "one\ntwo\n");
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_and_never_the_caller() {
        let reader = Gated::default();
        let (output, guard) = LogOutput::with_queue(reader.clone(), 2).expect("a thread");
        let closed = reader.close();
        let sent = (0..10).filter(|line| output.send(format!("{line}\n"))).count();
        // The two of the queue, and those that the thread had taken before the gate was closed.
        assert!((2..10).contains(&sent), "{sent}");
        assert_eq!(output.take_lost(), 10 - sent as u64);
        assert_eq!(output.take_lost(), 0);
        drop(closed);
        drop(guard);
        assert_eq!(reader.text().lines().count(), sent);
    }

    #[test]
    fn a_reader_that_is_gone_costs_lines_only() {
        struct Broken(Sender<()>);
        impl io::Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                self.0.send(()).expect("the test listens");
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        #[expect(clippy::disallowed_methods, reason = "counts three calls")]
        let (tried, tries) = std::sync::mpsc::channel();
        let (output, guard) = LogOutput::start(Broken(tried)).expect("a thread");
        for _ in 0..3 {
            assert!(output.send("line\n".to_owned()));
            tries.recv_timeout(Duration::from_secs(10)).expect("the thread goes on");
        }
        drop(guard);
    }

    /// Takes a few bytes at a time, with `WouldBlock` after each: a descriptor that another process of the
    /// container has made non-blocking.
    #[derive(Clone, Default)]
    struct NonBlocking(Arc<(AtomicU64, Mutex<Vec<u8>>)>);

    impl io::Write for NonBlocking {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.0.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let taken = bytes.len().min(4);
            self.0.1.lock().expect("no panic").extend(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Why this is not the writer of tracing-appender, which calls `write_all`: docs/adr/022.
    #[test]
    fn a_descriptor_that_became_non_blocking_loses_no_part_of_a_line() {
        let text = |reader: &NonBlocking| {
            String::from_utf8(reader.0.1.lock().expect("no panic").clone()).expect("text")
        };
        let theirs = NonBlocking::default();
        let error = io::Write::write_all(&mut theirs.clone(), b"one line\n").expect_err("refused");
        assert_eq!((error.kind(), &*text(&theirs)), (io::ErrorKind::WouldBlock, "one "));
        let ours = NonBlocking::default();
        let (output, guard) = LogOutput::start(ours.clone()).expect("a thread");
        assert!(output.send("one line\n".to_owned()));
        drop(guard);
        assert_eq!(text(&ours), "one line\n");
    }

    #[test]
    fn lines_that_wait_are_written_together() {
        #[derive(Clone, Default)]
        struct Counting(Gated, Arc<Mutex<Vec<usize>>>);
        impl io::Write for Counting {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _open = self.0.close();
                self.1.lock().expect("no panic").push(bytes.len());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let reader = Counting::default();
        let (output, guard) = LogOutput::start(reader.clone()).expect("a thread");
        let closed = reader.0.close();
        for _ in 0..100 {
            assert!(output.send("line\n".to_owned()));
        }
        drop(closed);
        drop(guard);
        let calls = reader.1.lock().expect("no panic").clone();
        assert_eq!(calls.iter().sum::<usize>(), 500);
        // What the thread had taken before the gate was closed, and the others.
        assert!(calls.len() <= 3, "{calls:?}");
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_never_reads() {
        let reader = Gated::default();
        let (output, guard) = LogOutput::with_queue(reader.clone(), 1).expect("a thread");
        let _closed = reader.close();
        while output.send("line\n".to_owned()) {}
        drop(guard);
    }
}
