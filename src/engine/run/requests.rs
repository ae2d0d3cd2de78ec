//! What the loop does about requests, and whom it answers.

use super::Work;
use crate::detect::Detector;
use crate::engine::control::{self, PARKED_MAX, Request};
use crate::engine::snapshot::Mode;
use crate::engine::{Ask, Engine, Event};
use crate::model::{Activity, Hint};
use crate::transfer::{Journal, ObjectStore};
use std::sync::Arc;
use std::time::Duration;

/// Time between two looks for flushes that have ended.
const FLUSH_CHECK: Duration = Duration::from_millis(20);

impl<S: ObjectStore, J: Journal> Work<S, J> {
    /// Answers the flushes that have ended, and tells when to look after the others.
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

    /// What somebody asks for, as an event if it is one.
    pub(super) fn request(
        &mut self,
        request: Request,
        engine: &Engine,
        detector: &Option<Arc<Detector>>,
    ) -> Option<Event> {
        let ask = match request {
            Request::Ping(answer) => {
                control::reply(answer, Ok(()));
                return None;
            }
            Request::Queued(limit, answer) => {
                let store = self.parts.store.clone();
                self.tasks.spawn(async move {
                    control::queued(&store, limit, answer).await;
                    None
                });
                return None;
            }
            Request::Rescan(answer) => {
                control::reply(answer, Ok(()));
                Ask::Rescan
            }
            Request::ApproveDeletes(answer) => {
                control::reply(answer, Ok(engine.deletes_waiting()));
                self.parts.transfer.approve_deletes();
                Ask::ApproveDeletes
            }
            Request::EndSoon(answer) => {
                control::reply(answer, Ok(()));
                Ask::EndSoon
            }
            Request::Retry(None, answer) => {
                control::reply(answer, Ok(engine.counts().pending));
                self.look_at_parked();
                Ask::Retry
            }
            Request::Retry(Some(paths), answer) => {
                control::reply(answer, Ok(paths.len() as u64));
                let hints = paths.into_iter().map(|path| Hint::Path(path, Activity::Done));
                return Some(Event::Hinted(hints.collect()));
            }
            Request::Flush { patience, answer } => {
                let id = self.waiting.add(answer)?;
                let everything = self.parts.rescan.mode == Mode::Events;
                let gathered = control::gather(detector.clone(), everything, patience);
                self.tasks.spawn(async move {
                    let compare = gathered.await;
                    Some(Event::Asked(Ask::Flush { id, compare }))
                });
                return None;
            }
        };
        Some(Event::Asked(ask))
    }

    /// Has those looked at that wait for a change, as far as there is room.
    fn look_at_parked(&mut self) {
        let store = self.parts.store.clone();
        self.tasks.spawn_blocking(move || {
            let (mut hints, mut after) = (Vec::new(), None);
            while hints.len() < PARKED_MAX {
                // A record that cannot be read is told by those who need it.
                let paths = store.parked_blocking(after.take()).unwrap_or_default();
                let Some(last) = paths.last() else { break };
                after = Some(last.clone());
                hints.extend(paths.into_iter().map(|path| Hint::Path(path, Activity::Done)));
            }
            Some(Event::Hinted(hints))
        });
    }
}
