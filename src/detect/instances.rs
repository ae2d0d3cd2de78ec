//! The instances of the watcher: which watches which directory, and what they deliver.
//!
//! # Why several
//!
//! Whenever a watched directory is removed, its instance scans all paths it watches: 27 ms each with
//! 100,000. Each instance also has a kernel queue of its own. So a small tree has one, and a large
//! one as many as allowed, evenly filled: neighbours are spread, and the removal of ten thousand
//! directories overflows no queue, which it does if they are all in a few.
//!
//! # Invariant
//!
//! An instance is used only if it watches the cookies, or no barrier could be trusted.

use super::DetectSettings;
use super::handler::{Handler, HandlerContext};
use notify::{
    Config, ErrorKind, EventKindMask, INotifyWatcher, PathOp, RecursiveMode, WatchPathConfig,
    Watcher,
};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

/// The instances of one generation: from one rebuild to the next.
pub(super) struct InotifyInstances {
    shared: HandlerContext,
    settings: DetectSettings,
    list: Vec<InotifyInstance>,
    /// No further instance can be made.
    complete: bool,
    /// The system has no watch left, as far as we know.
    full: bool,
    /// A limit was logged.
    logged: bool,
}

struct InotifyInstance {
    watcher: INotifyWatcher,
    directories: usize,
}

/// Why a directory is not watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WatchRefusal {
    /// It may not be read.
    Denied,
    /// Anything else: there is no watch left, or the directory is gone, which a listing shows.
    Other,
}

/// Operations handed over at once. One by one they cost five times as much.
const OPERATIONS_AT_ONCE: usize = 512;
/// Close to a thousand times what closing an instance takes.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// What is needed and nothing else: no opening and no closing after reading, or our own reads would
/// fill our own queue.
const EVENTS: EventKindMask = EventKindMask::CORE.union(EventKindMask::ACCESS_CLOSE);

impl InotifyInstances {
    pub(super) fn new(shared: HandlerContext, settings: DetectSettings) -> Self {
        Self { shared, settings, list: Vec::new(), complete: false, full: false, logged: false }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Lets directories be tried again that were refused for want of watches or instances.
    pub(super) fn try_again(&mut self) {
        self.full = false;
        self.complete = false;
    }

    /// Watches were given back to the system.
    pub(super) fn freed(&mut self) {
        self.full = false;
    }

    /// The instance for one more directory; `None` if there is no watch left.
    pub(super) fn assign(&mut self) -> Option<usize> {
        let directories: usize = self.list.iter().map(|instance| instance.directories).sum();
        if self.full || directories >= self.settings.directories_max {
            return None;
        }
        let most = self.settings.directories_per_instance;
        let free = self.list.iter().position(|instance| instance.directories < most);
        let instance = free.or_else(|| self.create()).or_else(|| self.least_loaded())?;
        self.list[instance].directories += 1;
        Some(instance)
    }

    /// The directory is no longer this instance's.
    pub(super) fn release(&mut self, instance: usize) {
        if let Some(instance) = self.list.get_mut(instance) {
            instance.directories -= 1;
        }
    }

    /// Adds and removes watches, in this order; returns the directories that are not watched.
    pub(super) fn apply(
        &mut self,
        instance: usize,
        operations: Vec<PathOp>,
    ) -> Vec<(PathBuf, WatchRefusal)> {
        let mut refused = Vec::new();
        let mut operations = operations.into_iter().peekable();
        while operations.peek().is_some() {
            let batch = operations.by_ref().take(OPERATIONS_AT_ONCE).collect();
            self.apply_batch(instance, batch, &mut refused);
        }
        refused
    }

    fn apply_batch(
        &mut self,
        instance: usize,
        mut batch: Vec<PathOp>,
        refused: &mut Vec<(PathBuf, WatchRefusal)>,
    ) {
        loop {
            if self.full {
                batch.retain(|operation| match operation {
                    PathOp::Unwatch(_) => true,
                    PathOp::Watch(path, _) => {
                        refused.push((path.clone(), WatchRefusal::Other));
                        false
                    }
                });
            }
            let Some(instance) = self.list.get_mut(instance) else { return };
            let Err(error) = instance.watcher.update_paths(batch) else { return };
            match error.origin {
                // Its thread is dead. What it watched has to be watched by another.
                None => return self.shared.inbox.lost(false),
                // It was gone already.
                Some(PathOp::Unwatch(_)) => {}
                Some(PathOp::Watch(path, _)) => {
                    refused.push((path, self.refusal(&error.source)));
                }
            }
            batch = error.remaining;
        }
    }

    fn refusal(&mut self, error: &notify::Error) -> WatchRefusal {
        match &error.kind {
            ErrorKind::MaxFilesWatch => {
                if !std::mem::replace(&mut self.logged, true) {
                    tracing::warn!(
                        event = "detect.watch_limit",
                        "no inotify watch left: raise fs.inotify.max_user_watches on the node; \
                         until then some directories are only looked at by the periodic comparison"
                    );
                }
                self.full = true;
                WatchRefusal::Other
            }
            ErrorKind::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                WatchRefusal::Denied
            }
            _ => WatchRefusal::Other,
        }
    }

    fn least_loaded(&self) -> Option<usize> {
        (0..self.list.len()).min_by_key(|&instance| self.list[instance].directories)
    }

    fn create(&mut self) -> Option<usize> {
        if self.complete || self.list.len() >= self.settings.instances_max {
            return None;
        }
        match self.try_create() {
            Ok(watcher) => {
                self.list.push(InotifyInstance { watcher, directories: 0 });
                Some(self.list.len() - 1)
            }
            Err(error) => {
                self.complete = true;
                tracing::warn!(
                    event = "detect.instance_limit",
                    error.message = %error,
                    instances = self.list.len(),
                    "no further inotify instance: raise fs.inotify.max_user_instances (and \
                     max_user_watches) on the node, or run under a user of its own"
                );
                None
            }
        }
    }

    fn try_create(&self) -> Result<INotifyWatcher, notify::Error> {
        let inbox = &self.shared.inbox;
        self.shared.cookies.prepare().map_err(notify::Error::io)?;
        let handler = Handler::new(self.shared.clone(), self.list.len());
        let config = Config::default().with_event_kinds(EVENTS).with_follow_symlinks(false);
        let mut watcher = INotifyWatcher::new(handler, config)?;
        let cookies = self.shared.cookies.directory().to_owned();
        let watched = watcher.update_paths(vec![watch(cookies, true)]);
        if let Err(error) = watched {
            end(watcher);
            return Err(error.source);
        }
        // What it watches from now on is listed from now on: nothing before is owed.
        let mut state = inbox.lock();
        let placed = state.placed;
        state.delivered.push(placed);
        drop(state);
        Ok(watcher)
    }

    /// Ends all instances and waits until the kernel has their watches back.
    pub(super) fn close(&mut self) {
        self.shared.inbox.begin_generation();
        for instance in self.list.drain(..) {
            end(instance.watcher);
        }
        self.try_again();
        if !self.shared.inbox.wait_for_threads(END_PATIENCE) {
            tracing::warn!(
                event = "detect.instance_stuck",
                "an inotify instance does not end and keeps its watches"
            );
        }
    }
}

/// Only the watched directory itself may be a link, because it is the operator's path.
pub(super) fn watch(directory: PathBuf, follow: bool) -> PathOp {
    let config = WatchPathConfig::new(RecursiveMode::NonRecursive);
    PathOp::Watch(directory, config.with_dereference_symlinks(follow))
}

/// Dropping a watcher panics if its thread is dead.
fn end(watcher: INotifyWatcher) {
    if catch_unwind(AssertUnwindSafe(|| drop(watcher))).is_err() {
        tracing::debug!(event = "detect.instance_dead", "an inotify instance had ended by itself");
    }
}
