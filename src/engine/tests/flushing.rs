//! What a flush promises: a path that nobody has touched since is in the bucket as it is on disk.

use super::super::*;
use super::world::{File, World};
use crate::engine::event::Ask;
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
        self.apply(Event::Asked(Ask::Flush { id, compare: !self.honest }));
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
                // Somebody else's object may stay where we have none.
                let object = self.bucket.get(path).filter(|object| object.version.is_some());
                assert_eq!(object.map(|object| object.content), expected, "{path} after a flush");
            }
        }
    }
}
