//! Judges every version that was ever stored.

use crate::PREFIX;
use crate::equality::{clock, is_wanted};
use crate::record::Record;
use crate::stage::CANARY;
use crate::states::{Content, Rest, States};
use crate::target::Target;
use file_sync_dev_s3::{Change, Object, What, now};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A content in between is known for certain after this.
const CERTAIN: Duration = Duration::from_secs(10);

/// What came out so far.
#[derive(Debug)]
pub(crate) struct Versions {
    started: Instant,
    seen: u64,
    waiting: VecDeque<Change>,
    pub(crate) stored: u64,
    pub(crate) deleted: u64,
    /// Stored while they were written, where no reader could notice.
    pub(crate) excused: u64,
    /// Stored while they were written, because the daemon was to end.
    pub(crate) at_term: u64,
    pub(crate) failures: Vec<String>,
}

impl Versions {
    pub(crate) fn new() -> Self {
        Self {
            started: now(),
            seen: 0,
            waiting: VecDeque::new(),
            stored: 0,
            deleted: 0,
            excused: 0,
            at_term: 0,
            failures: Vec::new(),
        }
    }

    /// Takes in what happened since, and judges what is old enough.
    pub(crate) fn follow(&mut self, target: &Target, states: &States, record: &mut Record) {
        for change in target.history_since(self.seen) {
            self.seen = change.sequence;
            match &change.what {
                What::Stored(_) => {
                    self.stored += 1;
                    record.stored(&change.key, change.sequence);
                    self.waiting.push_back(change);
                }
                What::Deleted => self.deleted += 1,
            }
        }
        self.judge(states, CERTAIN);
    }

    /// Judges what was stored longer ago than this.
    pub(crate) fn judge(&mut self, states: &States, age: Duration) {
        while let Some(change) = self.waiting.pop_front() {
            if now().saturating_duration_since(change.at) < age {
                self.waiting.push_front(change);
                return;
            }
            if let What::Stored(object) = &change.what
                && let Some(why) = self.fault(&change.key, object, states)
            {
                let at = change.at.saturating_duration_since(self.started).as_secs_f64();
                let clock = clock(object.modified);
                let stood = states.stood(&change.key, Content::from(&**object), change.at);
                self.failures.push(format!(
                    "version {} of {:?}, {} bytes, stored after {at:.3} s ({clock}): {why}{stood}",
                    change.sequence, change.key, object.size
                ));
            }
        }
    }

    fn fault(&mut self, key: &str, object: &Object, states: &States) -> Option<&'static str> {
        let content = Content::from(object);
        if content == Content::of(CANARY) {
            return Some("it was read outside of the tree");
        }
        let path = key.strip_prefix(PREFIX).and_then(|path| path.strip_prefix('/'));
        let Some(path) = path.filter(|path| is_wanted(path)) else {
            return Some("such names are not mirrored");
        };
        match states.rest(path, content) {
            Rest::Complete => return None,
            Rest::Excused => self.excused += 1,
            Rest::AtTerm => self.at_term += 1,
            Rest::Between => return Some("the file was being written"),
            Rest::Never => return Some("the file never held this"),
        }
        None
    }

    /// From here on nothing that is there already is judged.
    pub(crate) fn skip(&mut self, sequence: u64) {
        self.seen = sequence;
    }
}
