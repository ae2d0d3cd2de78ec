//! What the loop does about requests, and whom it answers.

use super::EffectRunner;
use crate::detect::Detector;
use crate::engine::control::{self, ControlReply, ControlRequest, PARKED_MAX, RetryResult};
use crate::engine::snapshot::ActiveMode;
use crate::engine::{Engine, EngineCommand, Event};
use crate::model::{Hint, QueueRow, WriteState};
use crate::transfer::ObjectStore;
use std::sync::Arc;
use std::time::Duration;

/// Time between two looks for flushes that have ended.
const FLUSH_CHECK: Duration = Duration::from_millis(20);

impl<S: ObjectStore> EffectRunner<S> {
    /// Answers the flushes that have ended, and returns when to check the others.
    pub(super) fn answer_flushes(&mut self, engine: &mut Engine) -> Option<Duration> {
        if !engine.is_flushing() {
            return None;
        }
        let now = self.started.elapsed();
        if now >= self.next_check {
            self.next_check = now + FLUSH_CHECK;
            self.waiting.answer(engine.flushed());
            engine.forget_flushes(&self.waiting.gone());
        }
        Some(self.next_check)
    }

    /// The request as an event, if it is one.
    pub(super) fn request(
        &mut self,
        request: ControlRequest,
        engine: &Engine,
        detector: &Option<Arc<Detector>>,
    ) -> Option<Event> {
        let ask = match request {
            ControlRequest::Ping(answer) => {
                control::reply(answer, Ok(()));
                return None;
            }
            ControlRequest::Queued(limit, answer) => {
                self.list_queue(limit, answer);
                return None;
            }
            ControlRequest::Rescan(answer) => {
                control::reply(answer, Ok(()));
                EngineCommand::Rescan
            }
            ControlRequest::ApproveDeletes { expect, answer } => {
                are_expected(engine, expect, answer).then_some(EngineCommand::ApproveDeletes)?
            }
            ControlRequest::CancelDeletes { expect, answer } => {
                are_expected(engine, expect, answer).then_some(EngineCommand::CancelDeletes)?
            }
            ControlRequest::QueuedDeletes(limit, answer) => {
                self.list_deletes(limit, answer);
                return None;
            }
            ControlRequest::EndSoon(answer) => {
                self.parts.transfer.begin_ending();
                control::reply(answer, Ok(()));
                EngineCommand::EndSoon
            }
            ControlRequest::Hints(hints, answer) => {
                control::reply(answer, Ok(()));
                self.take_remote(hints);
                return None;
            }
            ControlRequest::Retry(None, answer) => {
                let scheduled = engine.counts().pending;
                control::reply(answer, Ok(RetryResult { scheduled, not_queued: Vec::new() }));
                self.look_at_parked();
                EngineCommand::Retry
            }
            ControlRequest::Retry(Some(paths), answer) => {
                let store = self.parts.store.clone();
                let asked = paths.clone();
                self.tasks.spawn_blocking(move || {
                    control::find_queued(&store, asked, answer);
                    None
                });
                let wanted = paths.into_iter().filter(|path| self.parts.filter.wants_file(path));
                let hints = wanted.map(|path| Hint::Path(path, WriteState::Done));
                return Some(Event::Hinted(hints.collect()));
            }
            ControlRequest::Flush { patience, answer } => {
                let id = self.waiting.add(answer)?;
                let everything = self.parts.rescan.mode == ActiveMode::Events;
                let gathered = control::gather(detector.clone(), everything, patience);
                self.tasks.spawn(async move {
                    let compare = gathered.await;
                    Some(Event::Asked(EngineCommand::Flush { id, compare }))
                });
                return None;
            }
        };
        Some(Event::Asked(ask))
    }

    fn list_queue(&mut self, limit: usize, answer: ControlReply<Vec<QueueRow>>) {
        let store = self.parts.store.clone();
        self.tasks.spawn(async move {
            control::queued(&store, limit, answer).await;
            None
        });
    }

    fn list_deletes(&mut self, limit: usize, answer: ControlReply<Vec<QueueRow>>) {
        let store = self.parts.store.clone();
        self.tasks.spawn(async move {
            control::queued_deletes(&store, limit, answer).await;
            None
        });
    }

    /// Has those looked at that wait for a change, as far as there is room.
    fn look_at_parked(&mut self) {
        let store = self.parts.store.clone();
        let filter = Arc::clone(&self.parts.filter);
        self.tasks.spawn_blocking(move || {
            let mut hints = Vec::new();
            let mut after = None;
            while hints.len() < PARKED_MAX {
                // The operation that needs it reports a state that cannot be read.
                let paths = store.parked_blocking(after.take()).unwrap_or_default();
                let Some(last) = paths.last() else { break };
                after = Some(last.clone());
                let wanted = paths.into_iter().filter(|path| filter.wants_file(path));
                hints.extend(wanted.map(|path| Hint::Path(path, WriteState::Done)));
            }
            Some(Event::Hinted(hints))
        });
    }
}

/// Answers how many deletes are held or delayed. Returns whether there are as many as expected.
fn are_expected(engine: &Engine, expect: Option<u64>, answer: ControlReply<u64>) -> bool {
    let deletes = engine.deletes_to_approve();
    control::reply(answer, Ok(deletes));
    expect.is_none_or(|expected| expected == deletes)
}
