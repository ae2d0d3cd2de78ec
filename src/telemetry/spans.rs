//! The queue of spans for the collector: whole traces in bounded memory, and one thread that waits. It is
//! our own, and not the batch processor of the SDK, because that one tears traces and has no runtime for the
//! exporter over HTTP: docs/adr/022.
//!
//! # Invariants
//!
//! - [`SpanQueue::offer`] returns at once, whatever the state of the collector. Without room, the
//!   whole trace is dropped, and this is logged.
//! - Without spans, the thread sleeps.

use super::export_health::ExportHealth;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The limits of the queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpanLimits {
    /// The time from the first span of a batch until it is sent.
    pub(super) delay: Duration,
    /// Maximum number of waiting spans.
    pub(super) queue: usize,
    /// Spans per batch; a trace is never split.
    pub(super) batch: usize,
}

enum SpanItem {
    Trace(Vec<SpanData>),
    /// Send the rest, answer, and end.
    End(oneshot::Sender<()>),
}

/// The sending end of the queue. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct SpanQueue {
    items: SyncSender<SpanItem>,
    waiting: Arc<AtomicUsize>,
    limit: usize,
    turns: Arc<ExportHealth>,
}

struct SpanWorker<E> {
    exporter: E,
    limits: SpanLimits,
    items: Receiver<SpanItem>,
    waiting: Arc<AtomicUsize>,
    turns: Arc<ExportHealth>,
    runtime: Handle,
    given_up: CancellationToken,
}

impl SpanQueue {
    /// Starts the thread, which exports on `runtime` until it is `given_up`.
    pub(super) fn start<E: SpanExporter + 'static>(
        exporter: E,
        limits: SpanLimits,
        runtime: Handle,
        given_up: CancellationToken,
    ) -> io::Result<Self> {
        // A trace has at least one span, so there is room for as many traces, and the end.
        let (items, received) = sync_channel(limits.queue + 1);
        let waiting = Arc::<AtomicUsize>::default();
        let turns = Arc::new(ExportHealth::new("traces"));
        let worker = SpanWorker {
            exporter,
            limits,
            items: received,
            waiting: Arc::clone(&waiting),
            turns: Arc::clone(&turns),
            runtime,
            given_up,
        };
        // Detached: a collector that never answers must not keep the process from ending.
        thread::Builder::new().name("traces".to_owned()).spawn(move || worker.run())?;
        Ok(Self { items, waiting, limit: limits.queue, turns })
    }

    /// Queues a trace, if there is room.
    pub(super) fn offer(&self, spans: Vec<SpanData>) {
        let room = self.limit;
        let count = spans.len();
        let taken = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            waiting.checked_add(count).filter(|waiting| *waiting <= room)
        });
        if taken.is_err() {
            self.turns.left_out();
        } else if self.items.try_send(SpanItem::Trace(spans)).is_err() {
            self.waiting.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// Sends the rest and ends the thread; the receiver resolves when that is done.
    pub(super) fn end(&self) -> oneshot::Receiver<()> {
        let (done, ended) = oneshot::channel();
        // Without room, the thread is waiting for a collector that does not answer.
        drop(self.items.try_send(SpanItem::End(done)));
        ended
    }
}

impl<E: SpanExporter> SpanWorker<E> {
    fn run(self) {
        while let Ok(first) = self.items.recv() {
            let (batch, end) = self.collect(first);
            if !batch.is_empty() {
                let count = batch.len();
                self.export(batch);
                self.waiting.fetch_sub(count, Ordering::Relaxed);
            }
            if let Some(done) = end {
                // The receiver may be gone.
                done.send(()).unwrap_or_default();
                return;
            }
        }
    }

    /// Collects the spans that arrive within the delay, as far as they fit into a batch.
    #[expect(clippy::disallowed_methods, reason = "an adapter: the delay counts from now")]
    fn collect(&self, first: SpanItem) -> (Vec<SpanData>, Option<oneshot::Sender<()>>) {
        let mut batch = Vec::new();
        let due = Instant::now() + self.limits.delay;
        let mut next = Ok(first);
        loop {
            match next {
                Ok(SpanItem::Trace(spans)) => batch.extend(spans),
                Ok(SpanItem::End(done)) => return (batch, Some(done)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return (batch, None);
                }
            }
            if batch.len() >= self.limits.batch {
                return (batch, None);
            }
            next = self.items.recv_timeout(due.saturating_duration_since(Instant::now()));
        }
    }

    fn export(&self, batch: Vec<SpanData>) {
        let export = self.exporter.export(batch);
        match self.runtime.block_on(self.given_up.run_until_cancelled(export)) {
            Some(Ok(())) => self.turns.worked(),
            Some(Err(error)) => self.turns.failed(&error),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::span;
    use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
    use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanProcessor};
    use std::sync::Mutex;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Reports the size of every batch, and answers on request, or never.
    #[derive(Debug)]
    struct Collector {
        batches: SyncSender<usize>,
        answers: Mutex<Option<Receiver<OTelSdkResult>>>,
    }

    impl SpanExporter for Collector {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.batches.send(batch.len()).expect("the test listens");
            if self.answers.lock().expect("no panic").is_none() {
                std::future::pending::<()>().await;
            }
            let answers = self.answers.lock().expect("no panic");
            answers.as_ref().map_or(Ok(()), |answers| answers.recv().unwrap_or(Ok(())))
        }
    }

    struct Rig {
        runtime: tokio::runtime::Runtime,
        queue: SpanQueue,
        batches: Receiver<usize>,
        given_up: CancellationToken,
    }

    fn rig(answers: Option<Receiver<OTelSdkResult>>, limits: SpanLimits) -> Rig {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (sent_batches, batches) = sync_channel(100);
        let exporter = Collector { batches: sent_batches, answers: Mutex::new(answers) };
        let given_up = CancellationToken::new();
        let handle = runtime.handle().clone();
        let queue = SpanQueue::start(exporter, limits, handle, given_up.clone()).expect("a thread");
        Rig { runtime, queue, batches, given_up }
    }

    fn ready() -> Option<Receiver<OTelSdkResult>> {
        Some(sync_channel(1).1)
    }

    #[test]
    fn traces_are_sent_together_and_not_torn_apart() {
        let limits = SpanLimits { delay: PATIENCE, queue: 100, batch: 4 };
        let rig = rig(ready(), limits);
        for _ in 0..3 {
            rig.queue.offer(vec![span(), span()]);
        }
        assert_eq!(rig.batches.recv_timeout(PATIENCE), Ok(4));
        let ended = rig.queue.end();
        assert_eq!(rig.batches.recv_timeout(PATIENCE), Ok(2));
        rig.runtime.block_on(ended).expect("it says that it has ended");
    }

    #[test]
    fn a_collector_that_never_answers_costs_traces_and_neither_time_nor_memory() {
        let limits = SpanLimits { delay: Duration::ZERO, queue: 10, batch: 1 };
        let rig = rig(None, limits);
        rig.queue.offer(vec![span()]);
        assert_eq!(rig.batches.recv_timeout(PATIENCE), Ok(1));
        for _ in 0..1000 {
            rig.queue.offer(vec![span(), span()]);
        }
        assert_eq!(rig.queue.waiting.load(Ordering::Relaxed), 9);
        let ended = rig.queue.end();
        rig.given_up.cancel();
        let ended = rig.runtime.block_on(async { tokio::time::timeout(PATIENCE, ended).await });
        ended.expect("in time").expect("it says that it has ended");
    }

    #[test]
    fn a_collector_that_comes_back_gets_what_comes_after() {
        let (answer, answers) = sync_channel(2);
        let limits = SpanLimits { delay: Duration::ZERO, queue: 10, batch: 1 };
        let rig = rig(Some(answers), limits);
        let error = OTelSdkError::InternalFailure("away".to_owned());
        for result in [Err(error), Ok(())] {
            answer.send(result).expect("it listens");
            rig.queue.offer(vec![span()]);
            assert_eq!(rig.batches.recv_timeout(PATIENCE), Ok(1));
        }
    }

    /// A trace that arrives while the queue has room for one span, at the batch processor of the SDK.
    #[test]
    fn the_processor_of_the_sdk_tears_a_trace_that_ours_drops_as_a_whole() {
        let (answer, answers) = sync_channel(1);
        let (sent_batches, batches) = sync_channel(100);
        let exporter = Collector { batches: sent_batches, answers: Mutex::new(Some(answers)) };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(3)
            .with_max_export_batch_size(1)
            .build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        processor.on_end(span());
        assert_eq!(batches.recv_timeout(PATIENCE), Ok(1), "an export is under way");
        [span(), span(), span(), span()].into_iter().for_each(|span| processor.on_end(span));
        drop(answer);
        // Its own patience may be over on a slow machine; it still ends.
        drop(processor.shutdown());
        drop(processor);
        let mut exported = 0;
        while let Ok(count) = batches.recv_timeout(PATIENCE) {
            exported += count;
        }
        assert_eq!(exported, 3, "one trace of two spans, and half of another one");

        let (answer, answers) = sync_channel(1);
        let limits = SpanLimits { delay: Duration::ZERO, queue: 4, batch: 1 };
        let rig = rig(Some(answers), limits);
        rig.queue.offer(vec![span()]);
        assert_eq!(rig.batches.recv_timeout(PATIENCE), Ok(1), "an export is under way");
        rig.queue.offer(vec![span(), span()]);
        rig.queue.offer(vec![span(), span()]);
        drop(answer);
        let ended = rig.queue.end();
        rig.runtime.block_on(ended).expect("it says that it has ended");
        let exported: usize = rig.batches.try_iter().sum();
        assert_eq!(exported, 2, "one trace of two spans");
    }

    /// Reports whether it exports within a runtime, which the HTTP client of the exporter needs.
    #[derive(Debug)]
    struct Surroundings(SyncSender<bool>);

    impl SpanExporter for Surroundings {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            self.0.send(Handle::try_current().is_ok()).expect("the test listens");
            Ok(())
        }
    }

    #[test]
    fn the_processor_of_the_sdk_has_no_runtime_for_an_exporter() {
        let (sent_batches, within) = sync_channel(2);
        let processor = BatchSpanProcessor::builder(Surroundings(sent_batches.clone())).build();
        processor.on_end(span());
        drop(processor.shutdown());
        assert_eq!(within.recv_timeout(PATIENCE), Ok(false));

        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let limits = SpanLimits { delay: Duration::ZERO, queue: 10, batch: 1 };
        let handle = runtime.handle().clone();
        let queue =
            SpanQueue::start(Surroundings(sent_batches), limits, handle, CancellationToken::new());
        queue.expect("a thread").offer(vec![span()]);
        assert_eq!(within.recv_timeout(PATIENCE), Ok(true));
    }
}
