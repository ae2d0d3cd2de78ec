//! Failures on demand: rules say which requests are hit, and what happens to them.
//!
//! # Invariants
//!
//! - Rules are asked in the order they were added. Delays add up; the first rule that decides how a
//!   request ends is the last one asked, so a rule's count is spent on requests it really hit.
//! - The same seed and the same order of requests give the same faults.

use crate::activity::lock;
use crate::raw::RawAnswer;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// What a request asks for, known from its first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `PutObject`, for example; `Other` for what the server does not distinguish.
    pub operation: &'static str,
    /// The bucket; empty for requests to the whole server.
    pub bucket: String,
    /// The key; empty for requests to a bucket.
    pub key: String,
}

/// What happens to a request that a rule hits.
#[derive(Debug, Clone)]
pub enum Action {
    /// An error instead of the operation, for example 503 `SlowDown`. The body is read first.
    Fail {
        /// The HTTP status.
        status: u16,
        /// The code in the error document.
        code: &'static str,
    },
    /// Status 200 with an error document, as `CompleteMultipartUpload` and `CopyObject` may answer.
    /// The operation is not applied.
    FailWithin200(&'static str),
    /// This answer instead of that of S3, byte by byte. The body of the request is read first.
    Answer(RawAnswer),
    /// The connection is reset before any of the body is read.
    Reset,
    /// The connection is reset when so many bytes of the body were read. The operation is not
    /// applied. A request with a shorter body is hit at its end.
    ResetRequest(u64),
    /// The operation is applied, and the connection is reset after so many bytes of the answer's
    /// body. An answer without a body is lost altogether.
    ResetReply(usize),
    /// The operation is applied, and the connection is reset in place of the answer.
    LoseReply,
    /// The operation is applied, and the answer's body ends after so many bytes although its header
    /// says more. An answer without a body is lost altogether.
    TruncateReply(usize),
    /// The request waits before it is looked at.
    Delay(Duration),
    /// The request waits before it is looked at until the gate is opened.
    Hold(Gate),
    /// The body is read this slowly.
    SlowBody {
        /// Bytes a second, more than 0.
        bytes_per_second: u32,
    },
}

impl Action {
    /// 503 `SlowDown`: S3 wants fewer requests.
    #[must_use]
    pub fn slow_down() -> Self {
        Self::Fail { status: 503, code: "SlowDown" }
    }

    /// 500 `InternalError`.
    #[must_use]
    pub fn internal_error() -> Self {
        Self::Fail { status: 500, code: "InternalError" }
    }

    /// 403 `AccessDenied`.
    #[must_use]
    pub fn access_denied() -> Self {
        Self::Fail { status: 403, code: "AccessDenied" }
    }

    /// 400 `ExpiredToken`: credentials must be fetched anew.
    #[must_use]
    pub fn expired_token() -> Self {
        Self::Fail { status: 400, code: "ExpiredToken" }
    }

    /// 409 `ConditionalRequestConflict`: another client was writing at the same time.
    #[must_use]
    pub fn conflict() -> Self {
        Self::Fail { status: 409, code: "ConditionalRequestConflict" }
    }

    /// 200 with a page of HTML: a proxy answers, and S3 never receives the request.
    #[must_use]
    pub fn html_page() -> Self {
        Self::Answer(RawAnswer::html(200))
    }

    /// 404 of an ingress that has no route; S3 never receives the request.
    #[must_use]
    pub fn default_backend() -> Self {
        let answer = RawAnswer::new(404).header("content-type", "text/plain; charset=utf-8");
        Self::Answer(answer.body("default backend - 404"))
    }

    /// 404 `NoSuchBucket`.
    #[must_use]
    pub fn no_such_bucket() -> Self {
        Self::Fail { status: 404, code: "NoSuchBucket" }
    }
}

/// A gate that requests wait at, see [`Action::Hold`]. Once open it stays open.
#[derive(Debug, Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A gate that is shut.
    #[must_use]
    pub fn shut() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Lets everything through, from now on.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub(crate) async fn passed(&self) {
        let mut open = self.0.subscribe();
        // An error would mean that the sender is gone; this very gate holds it.
        drop(open.wait_for(|open| *open).await);
    }
}

/// Which requests are hit, how often, and what happens to them.
#[derive(Clone)]
pub struct Rule {
    action: Action,
    operation: Option<&'static str>,
    keys: Keys,
    skip: u64,
    times: Option<u64>,
    probability: Option<f64>,
}

#[derive(Clone)]
enum Keys {
    All,
    Like(String),
    That(Arc<dyn Fn(&Call) -> bool + Send + Sync>),
}

impl Rule {
    /// Hits every request, unless limited below.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Self { action, operation: None, keys: Keys::All, skip: 0, times: None, probability: None }
    }

    /// Hits this operation only, for example `PutObject`.
    #[must_use]
    pub fn on(mut self, operation: &'static str) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Hits keys like `pattern` only: `*` stands for anything, `?` for one character.
    #[must_use]
    pub fn key(mut self, pattern: &str) -> Self {
        self.keys = Keys::Like(pattern.to_owned());
        self
    }

    /// Hits the requests for which `hit` holds only.
    #[must_use]
    pub fn when(mut self, hit: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Self {
        self.keys = Keys::That(Arc::new(hit));
        self
    }

    /// Lets the first `count` such requests pass.
    #[must_use]
    pub fn skip(mut self, count: u64) -> Self {
        self.skip = count;
        self
    }

    /// Hits `count` requests and then no more.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.times = Some(count);
        self
    }

    /// Hits such requests with this probability.
    #[must_use]
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = Some(probability);
        self
    }

    fn is_for(&self, call: &Call) -> bool {
        self.operation.is_none_or(|operation| operation == call.operation)
            && match &self.keys {
                Keys::All => true,
                Keys::Like(pattern) => is_like(pattern, &call.key),
                Keys::That(hit) => hit(call),
            }
    }

    /// Whether the rule hits, now that a request it is for has come. Counts it.
    fn strikes(&mut self, dice: &mut fastrand::Rng) -> bool {
        if self.times == Some(0) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.probability.is_some_and(|probability| dice.f64() >= probability) {
            return false;
        }
        self.times = self.times.map(|left| left - 1);
        true
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("action", &self.action).finish_non_exhaustive()
    }
}

/// Whether `text` is like `pattern`, in which `*` stands for anything and `?` for one character.
fn is_like(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.filter_map(|at| text.get(at..)).any(|tail| is_like(rest.as_str(), tail))
        }
        Some(expected) => {
            let mut tail = text.chars();
            let fits = tail.next().is_some_and(|char| expected == '?' || expected == char);
            fits && is_like(rest.as_str(), tail.as_str())
        }
    }
}

/// Names a rule that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleId(u64);

/// The rules in force. Cheap to clone; all clones are the same rules.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug)]
struct Plan {
    rules: Vec<(RuleId, Rule, u64)>,
    last: u64,
    dice: fastrand::Rng,
}

/// What is in store for one request.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    pub(crate) delays: Vec<Action>,
    pub(crate) bytes_per_second: Option<u32>,
    pub(crate) end: Option<Action>,
    pub(crate) rules: Vec<RuleId>,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let dice = fastrand::Rng::with_seed(seed);
        Self(Arc::new(Mutex::new(Plan { rules: Vec::new(), last: 0, dice })))
    }

    /// Puts a rule in force, behind those that are already.
    pub fn add(&self, rule: Rule) -> RuleId {
        let mut plan = lock(&self.0);
        plan.last += 1;
        let id = RuleId(plan.last);
        plan.rules.push((id, rule, 0));
        id
    }

    /// Takes a rule out of force. Requests it has hit already stay hit.
    pub fn remove(&self, id: RuleId) {
        lock(&self.0).rules.retain(|(rule, ..)| *rule != id);
    }

    /// Takes all rules out of force.
    pub fn clear(&self) {
        lock(&self.0).rules.clear();
    }

    /// How many requests a rule has hit; 0 if it is not in force.
    #[must_use]
    pub fn hits(&self, id: RuleId) -> u64 {
        let plan = lock(&self.0);
        plan.rules.iter().find(|(rule, ..)| *rule == id).map_or(0, |(.., hits)| *hits)
    }

    pub(crate) fn fate_of(&self, call: &Call) -> Fate {
        let mut fate = Fate::default();
        let plan = &mut *lock(&self.0);
        for (id, rule, hits) in &mut plan.rules {
            if !rule.is_for(call) || !rule.strikes(&mut plan.dice) {
                continue;
            }
            *hits += 1;
            fate.rules.push(*id);
            match rule.action.clone() {
                delay @ (Action::Delay(_) | Action::Hold(_)) => fate.delays.push(delay),
                Action::SlowBody { bytes_per_second } => {
                    fate.bytes_per_second = Some(bytes_per_second)
                }
                end => {
                    fate.end = Some(end);
                    break;
                }
            }
        }
        fate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str) -> Call {
        Call { operation: "PutObject", bucket: "mirror".to_owned(), key: key.to_owned() }
    }

    fn ends(faults: &Faults, call: &Call) -> bool {
        faults.fate_of(call).end.is_some()
    }

    #[test]
    fn patterns_stand_for_whole_keys() {
        assert!(is_like("a/*.txt", "a/b/c.txt") && is_like("?", "ä") && is_like("*", ""));
        assert!(!is_like("a", "a/b") && !is_like("a/?", "a/") && !is_like("", "a"));
    }

    #[test]
    fn a_rule_hits_as_often_as_it_says_and_only_what_it_is_for() {
        let faults = Faults::new(0);
        let id =
            faults.add(Rule::new(Action::slow_down()).on("PutObject").key("a*").skip(1).times(2));
        assert!(!ends(&faults, &put("b")));
        let hits = [(); 5].map(|()| ends(&faults, &put("ab")));
        assert_eq!(hits, [false, true, true, false, false]);
        assert_eq!(faults.hits(id), 2);
    }

    #[test]
    fn a_rule_behind_the_one_that_decides_is_not_spent() {
        let faults = Faults::new(0);
        faults.add(Rule::new(Action::Reset).times(1));
        let second = faults.add(Rule::new(Action::LoseReply).times(1));
        assert!(ends(&faults, &put("a")));
        assert_eq!(faults.hits(second), 0);
        assert!(ends(&faults, &put("a")) && !ends(&faults, &put("a")));
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let [one, two] = [7, 7].map(|seed| {
            let faults = Faults::new(seed);
            faults.add(Rule::new(Action::Reset).probability(0.5));
            [(); 64].map(|()| ends(&faults, &put("a")))
        });
        assert_eq!(one, two);
        assert!(one.contains(&true) && one.contains(&false));
    }
}
