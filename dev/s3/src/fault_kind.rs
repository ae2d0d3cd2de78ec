//! Faults by their names: what can be asked for on a command line, or picked at random.

use crate::fault::{Action, Rule};
use crate::operation::OPERATIONS;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How many kinds there are.
const KINDS: u8 = 14;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// 403 `AccessDenied`.
    AccessDenied,
    /// 500 `InternalError`.
    InternalError,
    /// 503 `ServiceUnavailable`.
    Unavailable,
    /// 503 `SlowDown`.
    SlowDown,
    /// The connection is reset before the request goes anywhere.
    Reset,
    /// The connection is reset in the middle of the request's body.
    ResetRequest,
    /// The operation is applied, and the connection is reset in the middle of the answer's body.
    ResetReply,
    /// The operation is applied, and the answer is lost.
    LostReply,
    /// The operation is applied, and the answer ends early.
    TruncatedReply,
    /// 200 with an error document.
    ErrorWithin200,
    /// 200 with a page of HTML from a proxy.
    HtmlPage,
    /// 404 of an ingress without a route.
    DefaultBackend,
    /// The request waits for some time.
    Delay,
    /// The request's body is read slowly.
    SlowBody,
}

impl FaultKind {
    /// All there are.
    pub const ALL: [Self; KINDS as usize] = [
        Self::AccessDenied,
        Self::InternalError,
        Self::Unavailable,
        Self::SlowDown,
        Self::Reset,
        Self::ResetRequest,
        Self::ResetReply,
        Self::LostReply,
        Self::TruncatedReply,
        Self::ErrorWithin200,
        Self::HtmlPage,
        Self::DefaultBackend,
        Self::Delay,
        Self::SlowBody,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AccessDenied => "403",
            Self::InternalError => "500",
            Self::Unavailable => "503",
            Self::SlowDown => "slow-down",
            Self::Reset => "reset",
            Self::ResetRequest => "reset-request",
            Self::ResetReply => "reset-reply",
            Self::LostReply => "lost",
            Self::TruncatedReply => "truncated",
            Self::ErrorWithin200 => "in-200",
            Self::HtmlPage => "html",
            Self::DefaultBackend => "ingress-404",
            Self::Delay => "delay",
            Self::SlowBody => "slow-body",
        }
    }

    /// A fault of this kind; where it has a size or a time, one that `dice` say.
    #[must_use]
    pub fn action(self, dice: &mut fastrand::Rng) -> Action {
        match self {
            Self::AccessDenied => Action::access_denied(),
            Self::InternalError => Action::internal_error(),
            Self::Unavailable => Action::Fail { status: 503, code: "ServiceUnavailable" },
            Self::SlowDown => Action::slow_down(),
            Self::Reset => Action::Reset,
            Self::ResetRequest => Action::ResetRequest(dice.u64(..100_000)),
            Self::ResetReply => Action::ResetReply(dice.usize(..200)),
            Self::LostReply => Action::LoseReply,
            Self::TruncatedReply => Action::TruncateReply(dice.usize(..200)),
            Self::ErrorWithin200 => Action::FailWithin200("InternalError"),
            Self::HtmlPage => Action::html_page(),
            Self::DefaultBackend => Action::default_backend(),
            Self::Delay => Action::Delay(Duration::from_millis(dice.u64(50..3000))),
            Self::SlowBody => Action::SlowBody { bytes_per_second: dice.u32(1..8) << 20 },
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no fault {name:?}; the faults are {names}")
        })
    }
}

/// How often a fault hits which operation, written `KIND[@OPERATION]=PERCENT`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultRate {
    kind: FaultKind,
    operation: Option<&'static str>,
    probability: f64,
}

impl FaultRate {
    /// The rule that says the same.
    #[must_use]
    pub fn rule(&self, dice: &mut fastrand::Rng) -> Rule {
        let rule = Rule::new(self.kind.action(dice)).probability(self.probability);
        match self.operation {
            Some(operation) => rule.on(operation),
            None => rule,
        }
    }
}

impl FromStr for FaultRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, percent) =
            text.split_once('=').ok_or("a fault is written KIND[@OPERATION]=PERCENT")?;
        let (kind, operation) = match what.split_once('@') {
            Some((kind, operation)) => (kind, Some(operation_of(operation)?)),
            None => (what, None),
        };
        let percent: f64 = percent.parse().map_err(|error| format!("{percent:?}: {error}"))?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(format!("{percent} is not between 0 and 100 percent"));
        }
        Ok(Self { kind: kind.parse()?, operation, probability: percent / 100.0 })
    }
}

/// Rules that let `percent` of the requests go wrong, each kind as often as any other.
pub fn faults_of_all_kinds(percent: f64, dice: &mut fastrand::Rng) -> Vec<Rule> {
    let mut left = 1.0;
    let share = percent / 100.0 / f64::from(KINDS);
    let rules = FaultKind::ALL.into_iter().map(|kind| {
        // Rules are asked one after the other, so each has to hit a larger part of what is left.
        let probability = share / left;
        left -= share;
        Rule::new(kind.action(dice)).probability(probability)
    });
    rules.collect()
}

fn operation_of(name: &str) -> Result<&'static str, String> {
    let found = OPERATIONS.into_iter().find(|operation| *operation == name);
    found.ok_or_else(|| format!("no operation {name:?}; they are {}", OPERATIONS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_by_its_name() {
        for kind in FaultKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
    }

    #[test]
    fn a_rate_is_read_with_and_without_an_operation() {
        let rate: FaultRate = "lost@CopyObject=5".parse().expect("a rate");
        let expected = FaultRate {
            kind: FaultKind::LostReply,
            operation: Some("CopyObject"),
            probability: 0.05,
        };
        assert_eq!(rate, expected);
        let rate: FaultRate = "html=100".parse().expect("a rate");
        assert_eq!((rate.operation, rate.kind), (None, FaultKind::HtmlPage));
    }

    #[test]
    fn what_is_wrong_with_a_rate_is_said() {
        let wrong = |text: &str| text.parse::<FaultRate>().expect_err(text);
        assert!(wrong("lost").contains("KIND[@OPERATION]=PERCENT"));
        assert!(wrong("lots=1").contains("truncated"));
        assert!(wrong("lost@Copy=1").contains("CopyObject"));
        assert_eq!(wrong("lost=101"), "101 is not between 0 and 100 percent");
    }
}
