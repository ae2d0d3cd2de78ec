//! The right-hand column: a thread that shows each change of the bucket as it happens.

use crate::screen::{Mark, Screen};
use file_sync_dev_s3::{BUCKET, Change, Store, What};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the thread may sleep after its end was requested.
const STEP: Duration = Duration::from_millis(100);

/// Ends its thread when dropped.
#[derive(Debug)]
pub(crate) struct Follower {
    store: Store,
    shown: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    pub(crate) fn start(store: Store, screen: Arc<Screen>) -> io::Result<Self> {
        let shown = Arc::new(AtomicU64::new(0));
        let ended = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("follower".to_owned()).spawn({
            let store = store.clone();
            let shown = Arc::clone(&shown);
            let ended = Arc::clone(&ended);
            move || follow(&store, &screen, &shown, &ended)
        })?;
        Ok(Self { store, shown, ended, thread: Some(thread) })
    }

    /// Whether all that happened so far has been shown.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.store.history_since(BUCKET, self.shown.load(Ordering::Acquire)).is_empty()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // A panic in it has been reported by its hook.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn follow(store: &Store, screen: &Screen, shown: &AtomicU64, ended: &AtomicBool) {
    let mut keys = BTreeSet::new();
    while !ended.load(Ordering::Relaxed) {
        let seen = shown.load(Ordering::Relaxed);
        if !store.wait_until(STEP, |store| !store.history_since(BUCKET, seen).is_empty()) {
            continue;
        }
        for change in store.history_since(BUCKET, seen) {
            show(&change, screen, &mut keys);
            shown.store(change.sequence, Ordering::Release);
        }
    }
}

fn show(change: &Change, screen: &Screen, keys: &mut BTreeSet<String>) {
    match &change.what {
        What::Stored(object) => {
            let mark = if keys.insert(change.key.clone()) { Mark::New } else { Mark::Replaced };
            screen.in_bucket(&change.key, Some(object.size), mark, change.at);
        }
        What::Deleted => {
            keys.remove(&change.key);
            screen.in_bucket(&change.key, None, Mark::Deleted, change.at);
        }
    }
}
