//! What S3 does to requests, another thing every second.

use file_sync_dev_s3::{FaultKind, Rule, RuleId, Server};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

/// Operations that a fault may be for alone.
const OPERATIONS: [&str; 12] = [
    "PutObject",
    "HeadObject",
    "CopyObject",
    "DeleteObject",
    "DeleteObjects",
    "ListObjectsV2",
    "ListMultipartUploads",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
    "ListParts",
];

/// The fault plan.
#[derive(Debug)]
pub(crate) struct Faults {
    dice: fastrand::Rng,
    kinds: Vec<FaultKind>,
    rules: Vec<(FaultKind, RuleId)>,
    hits: BTreeMap<&'static str, u64>,
    down: bool,
}

impl Faults {
    /// Faults of these kinds.
    pub(crate) fn new(seed: u64, kinds: &[FaultKind]) -> Self {
        let dice = fastrand::Rng::with_seed(seed);
        let kinds = kinds.to_vec();
        Self { dice, kinds, rules: Vec::new(), hits: BTreeMap::new(), down: false }
    }

    /// The next second's faults.
    pub(crate) fn change(&mut self, server: &mut Server) -> io::Result<()> {
        if self.down && self.dice.bool() {
            return Ok(());
        }
        self.clear(server)?;
        if self.dice.u32(..12) == 0 {
            server.stop();
            self.down = true;
            *self.hits.entry("stopped").or_default() += 1;
            return Ok(());
        }
        for _ in 0..self.dice.u32(..4) {
            let kind = self.kinds[self.dice.usize(..self.kinds.len())];
            let often = [0.1, 0.5, 1.0][self.dice.usize(..3)];
            let rule = Rule::new(kind.action(&mut self.dice)).probability(often);
            let rule = if self.dice.bool() {
                rule.on(OPERATIONS[self.dice.usize(..OPERATIONS.len())])
            } else {
                rule
            };
            self.rules.push((kind, server.fail(rule)));
        }
        Ok(())
    }

    /// S3 is as it should be.
    pub(crate) fn clear(&mut self, server: &mut Server) -> io::Result<()> {
        for (kind, id) in self.rules.drain(..) {
            *self.hits.entry(kind.name()).or_default() += server.faults().hits(id);
            server.faults().remove(id);
        }
        self.down = false;
        server.resume()
    }

    /// How often each kind has hit.
    pub(crate) fn told(&self) -> String {
        self.hits.iter().fold(String::new(), |mut text, (name, hits)| {
            write!(text, " {name}={hits}").expect("a String takes everything");
            text
        })
    }
}
