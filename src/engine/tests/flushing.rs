//! What a flush promises: a path without a later change is in the bucket as it is on disk.

use super::super::*;
use super::world::{File, World, at, engine, path};
use crate::engine::event::EngineCommand;
use crate::reconcile::{ReconcileError, Summary};
use crate::root::InspectError;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct Flushing {
    last: u64,
    open: BTreeMap<u64, Promise>,
    /// Flushes that ended with everything in the bucket.
    pub(super) kept: u64,
}

struct Promise {
    disk: BTreeMap<RelPath, File>,
    changed: BTreeSet<RelPath>,
}

impl Flushing {
    pub(super) fn forget(&mut self) {
        self.open.clear();
    }

    pub(super) fn changed(&mut self, paths: impl Iterator<Item = RelPath>) {
        let paths: Vec<_> = paths.collect();
        for promise in self.open.values_mut() {
            promise.changed.extend(paths.iter().cloned());
        }
    }
}

impl World {
    /// What the watcher knows is taken in first, as the loop does after the barrier.
    pub(super) fn flush(&mut self) {
        let events = std::mem::take(&mut self.events);
        let (hints, rest): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|event| matches!(event, Event::Hinted(_)));
        self.events = rest;
        hints.into_iter().for_each(|hint| self.apply(hint));
        self.flushing.last += 1;
        let id = self.flushing.last;
        let promise = Promise { disk: self.disk.clone(), changed: BTreeSet::new() };
        self.flushing.open.insert(id, promise);
        self.apply(Event::Asked(EngineCommand::Flush { id, compare: !self.honest }));
    }

    /// Those that have ended must have kept their promise.
    pub(super) fn flushed(&mut self) {
        for (id, flushed) in self.engine.flushed() {
            let Some(promise) = self.flushing.open.remove(&id) else { continue };
            if !flushed.is_complete() {
                continue;
            }
            self.flushing.kept += 1;
            let known = promise.disk.keys().chain(self.bucket.keys());
            for path in known.filter(|path| !promise.changed.contains(*path)) {
                let expected = promise.disk.get(path).map(|file| file.content);
                if expected.is_none() && self.is_delayed(path) {
                    continue;
                }
                // A foreign object may stay where we have none.
                let object = self.bucket.get(path).filter(|object| object.version.is_some());
                assert_eq!(object.map(|object| object.content), expected, "{path} after a flush");
            }
        }
    }
}

/// The tree cannot be read when it is asked for, and can be a moment later.
#[test]
fn a_flush_waits_for_what_is_found_when_an_unreadable_directory_can_be_read() {
    let mut engine = engine(Duration::ZERO, StateCounts::default(), true);
    let compared = |effects: Vec<Effect>| {
        effects.into_iter().find_map(|effect| match effect {
            Effect::Compare(range) => Some(range),
            _ => None,
        })
    };
    let first = compared(engine.apply(Event::Tick, at(0))).expect("a comparison");
    drop(engine.apply(Event::Compared(first, Ok(Summary::default())), at(1)));
    let flush = Event::Asked(EngineCommand::Flush { id: 1, compare: true });
    let range = compared(engine.apply(flush, at(2))).expect("a comparison");
    let denied = Err(ReconcileError::Start(InspectError::Denied));
    drop(engine.apply(Event::Compared(range, denied), at(3)));
    let mut now = 10;
    let range = loop {
        match compared(engine.apply(Event::Tick, at(now))) {
            Some(range) => break range,
            None => now += 100,
        }
        assert!(now < 60_000, "it is tried again");
    };
    drop(engine.apply(Event::Differing(vec![path("found")]), at(now)));
    drop(engine.apply(Event::Compared(range, Ok(Summary::default())), at(now)));
    assert!(engine.flushed().is_empty(), "what was found is not in the bucket");
}
