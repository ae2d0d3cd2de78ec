//! The record of all requests.
//!
//! # Invariants
//!
//! - Every request that reached the server is counted, for ever; [`REQUESTS_MAX`] of those that have
//!   ended are kept one by one, the oldest forgotten first.
//! - A request is over when its answer is ready or its connection is gone, whichever comes first.

use crate::activity::{Activity, lock, now};
use crate::fault::{Call, RuleId};
use hyper::HeaderMap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// How many requests are kept one by one; some 20 MB of them.
pub const REQUESTS_MAX: usize = 50_000;

/// A request, as the server saw it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its number among all versions and requests.
    pub sequence: u64,
    /// What it asked for.
    pub call: Call,
    /// Its `x-amz-*`, `if-*`, `content-*` and `cache-control` headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Bytes of the body that were read, framing included.
    pub body_bytes: u64,
    /// The answer's status; `None` while it is in flight, and if it was never answered.
    pub status: Option<u16>,
    /// When its head was there.
    pub started: Instant,
    /// When it was over; `None` while it is in flight.
    pub ended: Option<Instant>,
    /// The fault rules that hit it.
    pub faults: Vec<RuleId>,
}

/// The record of all requests. Cheap to clone; all clones are the same record.
#[derive(Debug, Clone)]
pub struct Journal {
    entries: Arc<Mutex<Entries>>,
    activity: Arc<Activity>,
}

/// What was asked for, and how much came with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests, those in flight included.
    pub requests: u64,
    /// Bytes of their bodies that were read, framing included; of those in flight once they are over.
    pub body_bytes: u64,
}

#[derive(Debug, Default)]
struct Entries {
    ended: VecDeque<Request>,
    in_flight: BTreeMap<u64, Request>,
    in_flight_max: usize,
    counts: BTreeMap<&'static str, Count>,
}

impl Journal {
    pub(crate) fn new(activity: Arc<Activity>) -> Self {
        Self { entries: Arc::default(), activity }
    }

    /// The requests since the last [`clear`](Self::clear), by their number.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        let entries = lock(&self.entries);
        let mut all: Vec<_> =
            entries.ended.iter().chain(entries.in_flight.values()).cloned().collect();
        all.sort_by_key(|request| request.sequence);
        all
    }

    /// How many requests asked for `operation`.
    #[must_use]
    pub fn count(&self, operation: &str) -> u64 {
        lock(&self.entries).counts.get(operation).map_or(0, |count| count.requests)
    }

    /// How many requests asked for each operation, with how much content.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, Count> {
        lock(&self.entries).counts.clone()
    }

    /// How many requests there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        lock(&self.entries).counts.values().map(|count| count.requests).sum()
    }

    /// Bytes of all bodies that were read, framing included.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        lock(&self.entries).counts.values().map(|count| count.body_bytes).sum()
    }

    /// How many requests are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        lock(&self.entries).in_flight.len()
    }

    /// How many requests have been in flight at once at most.
    #[must_use]
    pub fn in_flight_max(&self) -> usize {
        lock(&self.entries).in_flight_max
    }

    /// Forgets the requests that are over, and the counts.
    pub fn clear(&self) {
        let mut entries = lock(&self.entries);
        let in_flight = std::mem::take(&mut entries.in_flight);
        *entries = Entries { in_flight_max: in_flight.len(), in_flight, ..Entries::default() };
    }

    pub(crate) fn begin(&self, call: Call, headers: &HeaderMap, faults: Vec<RuleId>) -> Entry {
        let sequence = self.activity.number();
        let request = Request {
            sequence,
            headers: telling(headers),
            body_bytes: 0,
            status: None,
            started: now(),
            ended: None,
            faults,
            call,
        };
        let mut entries = lock(&self.entries);
        entries.counts.entry(request.call.operation).or_default().requests += 1;
        entries.in_flight.insert(sequence, request);
        entries.in_flight_max = entries.in_flight_max.max(entries.in_flight.len());
        drop(entries);
        self.activity.wake();
        Entry { journal: self.clone(), sequence, body_bytes: Arc::default(), status: None }
    }
}

/// The headers a test may want to look at; the rest is the same every time, or secret.
fn telling(headers: &HeaderMap) -> BTreeMap<String, String> {
    let is_telling = |name: &str| {
        let prefixes = ["x-amz-", "if-", "content-", "cache-control", "expires"];
        prefixes.iter().any(|prefix| name.starts_with(prefix)) && name != "x-amz-security-token"
    };
    let telling = headers.iter().filter(|(name, _)| is_telling(name.as_str()));
    telling
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect()
}

/// A request in flight. Over when dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    journal: Journal,
    pub(crate) sequence: u64,
    body_bytes: Arc<AtomicU64>,
    status: Option<u16>,
}

impl Entry {
    /// Where the bytes of the body are counted while they are read.
    pub(crate) fn meter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.body_bytes)
    }

    pub(crate) fn answered(&mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut entries = lock(&self.journal.entries);
        let Some(mut request) = entries.in_flight.remove(&self.sequence) else { return };
        request.body_bytes = self.body_bytes.load(Ordering::Relaxed);
        request.status = self.status;
        request.ended = Some(now());
        entries.counts.entry(request.call.operation).or_default().body_bytes += request.body_bytes;
        if entries.ended.len() == REQUESTS_MAX {
            entries.ended.pop_front();
        }
        entries.ended.push_back(request);
        drop(entries);
        self.journal.activity.wake();
    }
}
