//! The worker: keeps a watch on every directory of a tree that changes all the while.
//!
//! # Invariants
//!
//! - First the watch, then the listing. Whatever is created before the watch is seen by the
//!   listing, whatever comes later gives an event.
//! - Every directory that is created or renamed arrives again, with all below it, even if its path
//!   is known: the watch may be on what had this name before.
//! - A directory that vanished takes its subtree out of the index, and a hint makes the engine
//!   look for what is absent now.
//! - Lost events, a dead event thread and a full inbox all end in [`WatchTree::rebuild`].
//! - Watches are requested by path, but what is believed comes from listings beneath the root's
//!   descriptor. A link in the way can at worst make us watch something useless.

use super::clock::WorkerSchedule;
use super::event::Recheck;
use super::handler::HandlerContext;
use super::inbox::{Inbox, WorkerRound};
use super::index::WatchState;
use super::instances::InotifyInstances;
use super::watches::Watches;
use super::{Coverage, DetectSettings, PathPredicate};
use crate::model::{Depth, Hint, RelPath, WriteState};
use crate::root::{FileKind, InspectError, Root, SourceGone};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// Directories watched before they are listed.
const DIRECTORIES_AT_ONCE: usize = 512;
/// Names announced one by one; if a new directory has more, all its entries are announced.
const NAMES_MAX: usize = 128;

/// The worker's own state.
pub(super) struct WatchTree {
    root: Arc<Root>,
    wanted: PathPredicate,
    inbox: Arc<Inbox>,
    watches: Watches,
    /// The last directory without a watch that was tried again.
    tried: Option<RelPath>,
    rebuilds: u64,
    retry_interval: Duration,
}

/// What is said of the files in a directory that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnnounceMode {
    /// Nothing: a hint for all of them follows.
    Later,
    /// Each by its name.
    Names,
}

impl WatchTree {
    pub(super) fn new(root: Arc<Root>, shared: HandlerContext, settings: DetectSettings) -> Self {
        Self {
            wanted: shared.wanted.clone(),
            inbox: shared.inbox.clone(),
            retry_interval: settings.retry_interval,
            watches: Watches::new(root.path().to_owned(), InotifyInstances::new(shared, settings)),
            root,
            tried: None,
            rebuilds: 0,
        }
    }

    /// Watches the watched directory itself, and makes sure that it is the one.
    pub(super) fn begin(&mut self) -> Result<(), SourceGone> {
        self.watches.request(&[RelPath::root()]);
        self.root.confirm()
    }

    /// Works until the inbox is closed; closes it, should this thread end in any other way.
    pub(super) fn run(mut self) {
        let _closer = InboxCloser(self.inbox.clone());
        self.arm();
        self.end_round();
        let mut clock = WorkerSchedule::new(self.retry_interval);
        while let Some(round) = self.inbox.next_round(&mut clock) {
            self.round(round);
            self.end_round();
        }
        self.watches.close();
    }

    /// Watches everything below the watched directory, and has everything compared after that.
    fn arm(&mut self) {
        let mut below = Vec::new();
        self.list(&RelPath::root(), AnnounceMode::Later, &mut below);
        self.arrive(below, AnnounceMode::Later);
        self.watches.flush();
        // Who follows the hint may ask at once.
        self.publish_coverage();
        self.inbox.add(Hint::Tree(RelPath::root(), Depth::Whole));
    }

    fn round(&mut self, round: WorkerRound) {
        if round.rebuild {
            // Whatever was in doubt is watched and listed anew.
            return self.rebuild();
        }
        self.settle(round.doubts);
        for directory in round.relist {
            self.inbox.add(Hint::Tree(directory, Depth::Entries));
        }
        if round.retry {
            self.retry();
        }
    }

    fn end_round(&mut self) {
        self.publish_coverage();
        self.inbox.end_round();
    }

    /// Says how much is watched.
    fn publish_coverage(&self) {
        let counts = self.watches.counts();
        let mut state = self.inbox.lock();
        state.coverage = Coverage {
            armed: true,
            watched: counts.watched,
            unwatched: counts.unwatched + counts.forgotten,
            unreadable: counts.unreadable,
            instances: self.watches.instances(),
            rebuilds: self.rebuilds,
            overflows: state.coverage.overflows,
            lost: false,
        };
    }

    /// Starts over with new instances: what the old ones missed is not known, and asking them to
    /// watch a directory again would not reach the kernel.
    fn rebuild(&mut self) {
        self.rebuilds += 1;
        tracing::warn!(
            event = "detect.rebuild",
            rebuilds = self.rebuilds,
            directories = self.watches.counts().watched,
            "events were lost; watching and comparing everything anew"
        );
        self.watches.close();
        self.tried = None;
        if let Err(error) = self.begin() {
            // The engine asks the same before it believes anything.
            tracing::warn!(event = "detect.source_gone", error.message = %error, "{error}");
        }
        self.arm();
    }

    /// Looks at paths that may have become, or may no longer be, directories.
    fn settle(&mut self, doubts: BTreeMap<RelPath, Recheck>) {
        let mut new = Vec::new();
        let mut again = Vec::new();
        let mut changed = Vec::new();
        let mut settled: Option<RelPath> = None;
        for (path, doubt) in doubts {
            // It went or arrived with the directory above it, and the doubt is older than that.
            if settled.as_ref().is_some_and(|above| path.is_within(above)) {
                continue;
            }
            let known = self.watches.know_of(&path);
            let idle = match doubt {
                Recheck::Came | Recheck::Mounted => false,
                Recheck::Left => !known,
                Recheck::Permissions => self.watches.cover(&path) != Some(WatchState::Unreadable),
            };
            if idle {
                continue;
            }
            let directory = match self.root.look(&path) {
                Ok(stat) => stat.kind == FileKind::Directory,
                Err(InspectError::Gone | InspectError::NotBelow(_)) => false,
                // Unknown; an attempt to watch it shows it.
                Err(InspectError::Denied | InspectError::Io(_)) => true,
            };
            // Nothing that was recorded below a mount point is known to the watches.
            let known = known || doubt == Recheck::Mounted;
            if !known && !directory {
                continue;
            }
            self.watches.forget(&path);
            if known {
                changed.push(path.clone());
            }
            if directory {
                if known { again.push(path.clone()) } else { new.push(path.clone()) }
            }
            settled = Some(path);
        }
        let arrived = new.clone();
        self.arrive(new, AnnounceMode::Names);
        self.arrive(again, AnnounceMode::Later);
        self.watches.flush();
        // Only now, so that whatever is created during the comparison gives an event.
        for path in changed {
            self.inbox.add(Hint::Tree(path, Depth::Whole));
        }
        // What a comparison has seen there, and what went before there was a watch, gave no event.
        for path in arrived {
            self.inbox.add(Hint::Path(path, WriteState::Gone));
        }
    }

    /// Watches and then lists the directories of `frontier` and all below them.
    fn arrive(&mut self, mut frontier: Vec<RelPath>, announce: AnnounceMode) {
        while !frontier.is_empty() && !self.inbox.is_closed() {
            let batch = frontier.split_off(frontier.len().saturating_sub(DIRECTORIES_AT_ONCE));
            self.watches.request(&batch);
            for directory in batch {
                // One that may not be watched may still be listed; otherwise the engine gets a hint.
                let denied = self.watches.cover(&directory) == Some(WatchState::Unreadable);
                if self.list(&directory, announce, &mut frontier) && denied {
                    self.watches.give_up(directory, WatchState::Unwatched);
                }
            }
        }
    }

    /// Lists a directory: its sub-directories join `frontier`, its files are announced. Answers whether
    /// it was listed to its end.
    fn list(
        &mut self,
        directory: &RelPath,
        announce: AnnounceMode,
        frontier: &mut Vec<RelPath>,
    ) -> bool {
        let mut names = Vec::new();
        let mut unknown = Vec::new();
        let root = &self.root;
        let wanted = &self.wanted;
        let listed = root.list(directory, &mut |name, kind| {
            if announce == AnnounceMode::Later
                && kind.is_some_and(|kind| kind != FileKind::Directory)
            {
                return ControlFlow::Continue(());
            }
            // Never fails: the kernel gave the name.
            let Ok(path) = directory.join(name) else { return ControlFlow::Continue(()) };
            let kind = match kind.map_or_else(|| root.look(&path).map(|stat| stat.kind), Ok) {
                Ok(kind) => Some(kind),
                Err(InspectError::Gone | InspectError::NotBelow(_)) => None,
                Err(InspectError::Denied | InspectError::Io(_)) => {
                    // Whether it is a directory is unknown: an attempt to watch it shows it.
                    unknown.push(path);
                    return ControlFlow::Continue(());
                }
            };
            if kind == Some(FileKind::Directory) {
                if wanted(&path, true) {
                    frontier.push(path);
                }
            } else if announce == AnnounceMode::Names
                && names.len() <= NAMES_MAX
                && wanted(&path, false)
            {
                names.push(path);
            }
            ControlFlow::Continue(())
        });
        if names.len() > NAMES_MAX {
            self.inbox.add(Hint::Tree(directory.clone(), Depth::Entries));
        } else {
            for path in names {
                self.inbox.add(Hint::Path(path, WriteState::Found));
            }
        }
        for path in unknown {
            if (self.wanted)(&path, true) || (self.wanted)(&path, false) {
                self.inbox.add(Hint::Tree(path.clone(), Depth::Whole));
                self.watches.give_up(path, WatchState::Unwatched);
            }
        }
        match &listed {
            Ok(()) => {}
            Err(InspectError::Gone | InspectError::NotBelow(_)) => self.watches.forget(directory),
            Err(error) => self.not_listed(directory, error),
        }
        listed.is_ok()
    }

    /// What is below this directory is not known: it is tried again, and the engine gets a hint.
    fn not_listed(&mut self, directory: &RelPath, error: &InspectError) {
        let cover = match error {
            InspectError::Denied => WatchState::Unreadable,
            _ => WatchState::Unwatched,
        };
        // The engine meets the same, and says so.
        tracing::debug!(
            event = "detect.not_listed",
            path = %directory,
            error.message = %error,
            "directory cannot be listed; will retry"
        );
        self.watches.forget(directory);
        self.watches.give_up(directory.clone(), cover);
        self.inbox.add(Hint::Tree(directory.clone(), Depth::Whole));
    }

    /// Tries directories again that had no watch, as long as that goes well.
    fn retry(&mut self) {
        self.watches.try_again();
        loop {
            let batch = self.watches.poor(self.tried.as_ref(), DIRECTORIES_AT_ONCE);
            self.tried = batch.last().cloned();
            self.watches.request(&batch);
            let mut watched = Vec::new();
            for directory in batch {
                if matches!(self.watches.cover(&directory), Some(WatchState::Watched(_))) {
                    watched.push(directory);
                } else if let Err(InspectError::Gone | InspectError::NotBelow(_)) =
                    self.root.look(&directory)
                {
                    self.watches.forget(&directory);
                }
            }
            let mut below = Vec::new();
            for directory in &watched {
                self.list(directory, AnnounceMode::Later, &mut below);
            }
            self.arrive(below, AnnounceMode::Later);
            for directory in &watched {
                self.inbox.add(Hint::Tree(directory.clone(), Depth::Whole));
            }
            if watched.is_empty() || self.inbox.is_closed() {
                break;
            }
        }
        self.watches.flush();
        let counts = self.watches.counts();
        if counts.unwatched == 0 && counts.forgotten > 0 {
            // There is room again; for which directories is not recorded.
            self.inbox.lost(false);
        }
    }
}

/// Closes the inbox when the worker ends, even by a panic, so that no caller waits in vain.
struct InboxCloser(Arc<Inbox>);

impl Drop for InboxCloser {
    fn drop(&mut self) {
        self.0.close();
    }
}
