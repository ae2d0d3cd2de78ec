//! What S3 does to whoever asks it, another thing every second.

use file_sync_dev_s3::{Action, Rule, RuleId, Server};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

/// The fault plan.
#[derive(Debug)]
pub(crate) struct Faults {
    dice: fastrand::Rng,
    rules: Vec<(&'static str, RuleId)>,
    hits: BTreeMap<&'static str, u64>,
    down: bool,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let dice = fastrand::Rng::with_seed(seed);
        Self { dice, rules: Vec::new(), hits: BTreeMap::new(), down: false }
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
        for _ in 0..self.dice.u32(..3) {
            let (name, action) = self.action();
            let often = [0.1, 0.5, 1.0][self.dice.usize(..3)];
            let id = server.fail(Rule::new(action).probability(often));
            self.rules.push((name, id));
        }
        Ok(())
    }

    fn action(&mut self) -> (&'static str, Action) {
        match self.dice.u32(..9) {
            0 => ("500", Action::internal_error()),
            1 => ("503", Action::slow_down()),
            2 => ("403", Action::access_denied()),
            3 => ("reset", Action::Reset),
            4 => ("lost", Action::LoseReply),
            5 => ("truncated", Action::TruncateReply(self.dice.usize(..200))),
            6 => ("slow", Action::SlowBody { bytes_per_second: self.dice.u32(1..8) << 20 }),
            7 => ("in-200", Action::FailWithin200("InternalError")),
            _ => ("delay", Action::Delay(Duration::from_millis(self.dice.u64(50..3000)))),
        }
    }

    /// S3 is as it should be.
    pub(crate) fn clear(&mut self, server: &mut Server) -> io::Result<()> {
        for (name, id) in self.rules.drain(..) {
            *self.hits.entry(name).or_default() += server.faults().hits(id);
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
