//! Which contents each path ever had, and whether it had them at rest.
//!
//! # Invariants
//!
//! - A content is registered as one at rest before anybody can see it as such.
//! - A content in between becomes known when the next one has replaced it, because only then it is
//!   certain how long it stood; so a version is judged some time after it was stored.

use crate::PREFIX;
use crc_fast::CrcAlgorithm;
use file_sync_dev_s3::{Object, now};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A content that stood this long may be taken for one at rest: somewhat less than the daemon's
/// `open_file_quiet_seconds`, for the clocks' sake.
const STOOD: Duration = Duration::from_millis(900);
/// How long the daemon's drain may go on after SIGTERM, which takes what is open as it is.
const DRAIN: Duration = Duration::from_secs(5);

/// A content, by its size and its CRC64NVME.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    pub(crate) size: u64,
    pub(crate) crc64nvme: u64,
}

impl Content {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self { size, crc64nvme: crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes) }
    }
}

impl From<&Object> for Content {
    fn from(object: &Object) -> Self {
        Self { size: object.size, crc64nvme: object.crc64nvme }
    }
}

/// How a path had a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Complete.
    Complete,
    /// While it was written, but for so long, or so soon after it was complete, that no reader of the
    /// file can notice.
    Excused,
    /// While it was written, with SIGTERM in the air, where the daemon takes what there is.
    AtTerm,
    /// While it was written, or never.
    Never,
    /// While it was written, and known to be so.
    Between,
}

#[derive(Debug, Clone, Copy)]
enum Had {
    Complete,
    Between { from: Instant, to: Instant, excused: bool },
}

/// What a path ever held.
#[derive(Debug, Default)]
struct Held {
    contents: HashMap<Content, Had>,
    /// When it was last given something complete.
    completed: Option<Instant>,
}

#[derive(Debug, Default)]
struct Known {
    paths: HashMap<String, Held>,
    terms: Vec<Instant>,
}

/// What all paths ever held.
#[derive(Debug, Default)]
pub(crate) struct States(Mutex<Known>);

impl States {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `path` is about to hold this as something complete.
    pub(crate) fn complete(&self, path: &str, content: Content) {
        let known = &mut *self.lock();
        let held = known.paths.entry(path.to_owned()).or_default();
        held.contents.insert(content, Had::Complete);
        held.completed = Some(now());
    }

    /// Whether the file of `key` was given to it before `time`, and nothing since.
    pub(crate) fn had_before(&self, key: &str, time: Instant) -> bool {
        let path = key.strip_prefix(PREFIX).and_then(|path| path.strip_prefix('/'));
        let known = self.lock();
        let held = path.and_then(|path| known.paths.get(path));
        held.and_then(|held| held.completed).is_some_and(|completed| completed < time)
    }

    /// `path` held this from then until now, on the way to something else.
    pub(crate) fn between(&self, path: &str, content: Content, from: Instant, excused: bool) {
        let to = now();
        let excused = excused || to.saturating_duration_since(from) >= STOOD;
        let known = &mut *self.lock();
        let had = known.paths.entry(path.to_owned()).or_default();
        let before = had.contents.entry(content).or_insert(Had::Between { from, to, excused });
        if let Had::Between { to: last, excused: any, .. } = before {
            *last = to;
            *any |= excused;
        }
    }

    /// The daemon is stopped.
    pub(crate) fn term(&self) {
        self.lock().terms.push(now());
    }

    /// How `path` had `content`.
    pub(crate) fn rest(&self, path: &str, content: Content) -> Rest {
        let known = self.lock();
        let Some(had) = known.paths.get(path).and_then(|held| held.contents.get(&content)) else {
            return Rest::Never;
        };
        match *had {
            Had::Complete => Rest::Complete,
            Had::Between { excused: true, .. } => Rest::Excused,
            Had::Between { from, to, .. } => {
                let near = |term: &Instant| *term <= to && from <= *term + DRAIN;
                if known.terms.iter().any(near) { Rest::AtTerm } else { Rest::Between }
            }
        }
    }

    /// In words, for how long the file of `key` stood half written, and how long before `time`.
    pub(crate) fn stood(&self, key: &str, content: Content, time: Instant) -> String {
        let path = key.strip_prefix(PREFIX).and_then(|path| path.strip_prefix('/'));
        let known = self.lock();
        let held = path.and_then(|path| known.paths.get(path));
        let Some(Had::Between { from, to, .. }) = held.and_then(|held| held.contents.get(&content))
        else {
            return String::new();
        };
        let ms = |from: Instant, to: Instant| to.saturating_duration_since(from).as_millis();
        format!(", for {} ms, since {} ms before that", ms(*from, *to), ms(*from, time))
    }

    /// How many contents are known.
    pub(crate) fn len(&self) -> usize {
        self.lock().paths.values().map(|held| held.contents.len()).sum()
    }
}
