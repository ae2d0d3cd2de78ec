//! What is done with an event, on the thread that read it.
//!
//! # Invariants
//!
//! - It never blocks, never calls the watcher and never touches the file system: while it runs,
//!   nothing reads the kernel's queue.
//! - The end of the thread is noticed, whatever ends it.

use super::PathPredicate;
use super::cookie::{self, SyncCookies};
use super::event::{EventAction, EventPath, Recheck, WatchedPaths, is_tmpfile_name};
use super::inbox::Inbox;
use crate::model::{Depth, Hint, RelPath, WriteState};
use notify::{Event, EventHandler};
use std::sync::Arc;

/// What every instance needs.
#[derive(Clone)]
pub(super) struct HandlerContext {
    pub(super) inbox: Arc<Inbox>,
    pub(super) places: Arc<WatchedPaths>,
    pub(super) cookies: Arc<SyncCookies>,
    pub(super) wanted: PathPredicate,
}

/// Lives as long as the event thread it was given to.
struct EventThread {
    inbox: Arc<Inbox>,
    generation: u64,
    instance: usize,
}

impl Drop for EventThread {
    fn drop(&mut self) {
        self.inbox.end_thread(self.generation, self.instance);
    }
}

/// Takes the events of one instance, on its thread.
pub(super) struct Handler {
    shared: HandlerContext,
    thread: EventThread,
}

impl EventHandler for Handler {
    fn handle_event(&mut self, event: notify::Result<Event>) {
        let inbox = &self.shared.inbox;
        let Ok(event) = event else { return inbox.lost(false) };
        match EventAction::from_event(&event) {
            EventAction::OutOfSync => inbox.lost(true),
            // The engine asks whether the watched directory is still there before it believes
            // anything.
            EventAction::Unmounted => inbox.add(Hint::Tree(RelPath::root(), Depth::Whole)),
            EventAction::Look(activity, doubt) => {
                for path in &event.paths {
                    match self.shared.places.locate(path) {
                        EventPath::Below(path) => self.below(path, activity, doubt),
                        EventPath::Cookie(name) => self.cookie(&name),
                        EventPath::Elsewhere => {}
                    }
                }
            }
        }
    }
}

impl Handler {
    /// The handler of the instance of this number.
    pub(super) fn new(shared: HandlerContext, instance: usize) -> Self {
        let inbox = shared.inbox.clone();
        let thread = EventThread { generation: inbox.begin_thread(), inbox, instance };
        Self { shared, thread }
    }

    fn below(&self, path: RelPath, activity: Option<WriteState>, doubt: Option<Recheck>) {
        let HandlerContext { inbox, wanted, .. } = &self.shared;
        if path.is_root() {
            // It was moved or removed: as after an unmount.
            if doubt >= Some(Recheck::Left) {
                inbox.add(Hint::Tree(path, Depth::Whole));
            }
            return;
        }
        if is_tmpfile_name(path.file_name())
            && let Some(directory) = path.parent()
        {
            inbox.relist(directory);
        }
        if let Some(activity) = activity
            && wanted(&path, false)
        {
            inbox.add(Hint::Path(path.clone(), activity));
        }
        if let Some(doubt) = doubt
            && wanted(&path, true)
        {
            inbox.doubt(path, doubt);
        }
    }

    fn cookie(&self, name: &[u8]) {
        if let Some(number) = cookie::number(name) {
            self.shared.inbox.deliver(self.thread.generation, self.thread.instance, number);
        }
    }
}
