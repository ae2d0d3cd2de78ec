//! The identity of a change in logs and traces, in the form of the W3C trace context.
//!
//! It is computed from what the record keeps of the change, so that it is the same for every try,
//! in every line, and after a restart, and nothing has to be carried along or stored.

use super::{Pending, RelPath, UnixMillis};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Which traces are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sampling {
    /// None: there is nobody to export to.
    #[default]
    Nothing,
    /// So many of 2⁶⁴, and every one in which something failed.
    Some(u64),
    /// Every one.
    Everything,
}

impl Sampling {
    /// This part of the traces, from 0 to 1, and every one in which something failed.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a ratio is no exact number"
    )]
    pub fn ratio(ratio: f64) -> Self {
        if ratio >= 1.0 { Self::Everything } else { Self::Some((ratio * u64::MAX as f64) as u64) }
    }
}

/// How changes are named, and which are traced.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tracing {
    /// Tells the changes of this record from those of others.
    pub seed: u64,
    /// Which are exported.
    pub sampling: Sampling,
}

impl Tracing {
    /// The identity of the change of `path` that was first seen at `since`.
    #[must_use]
    pub fn of(&self, path: &RelPath, since: UnixMillis) -> Trace {
        let part = |number: u8| {
            let mut hasher = DefaultHasher::new();
            (self.seed, since, number, path.as_bytes()).hash(&mut hasher);
            // All zero is no valid id.
            hasher.finish().max(1)
        };
        let [high, low, span] = [0, 1, 2].map(part);
        let sampled = match self.sampling {
            Sampling::Nothing => Sampled::Never,
            Sampling::Some(of) if low >= of => Sampled::Failed,
            Sampling::Some(_) | Sampling::Everything => Sampled::Always,
        };
        Trace { trace_id: (u128::from(high) << 64) | u128::from(low), span_id: span, sampled }
    }

    /// The identity of a queued change.
    #[must_use]
    pub fn of_row(&self, pending: &Pending) -> Trace {
        self.of(&pending.path, pending.since)
    }
}

/// The identity of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// Of the trace; never 0.
    pub trace_id: u128,
    /// Of its first span; never 0.
    pub span_id: u64,
    sampled: Sampled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sampled {
    Never,
    Failed,
    Always,
}

impl Trace {
    /// Whether it is exported, where something `failed` or not.
    #[must_use]
    pub fn is_sampled(&self, failed: bool) -> bool {
        match self.sampled {
            Sampled::Never => false,
            Sampled::Failed => failed,
            Sampled::Always => true,
        }
    }

    /// Where it is found, if it is exported.
    #[must_use]
    pub fn exported(&self, failed: bool) -> Option<Context> {
        let Self { trace_id, span_id, .. } = *self;
        self.is_sampled(failed).then_some(Context { trace_id, span_id })
    }

    /// The three fields that a log line of this change has.
    #[must_use]
    pub fn fields(&self, failed: bool) -> (Hex<u128>, Hex<u64>, &'static str) {
        let flags = if self.is_sampled(failed) { "01" } else { "00" };
        (Hex(self.trace_id), Hex(self.span_id), flags)
    }
}

/// A span that is exported, for others to refer to. Its text is W3C's `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Context {
    /// Of its trace; never 0.
    pub trace_id: u128,
    /// Its own; never 0.
    pub span_id: u64,
}

impl Context {
    /// The identity of what has a name that nothing else ever has.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let part = |number: u8| {
            let mut hasher = DefaultHasher::new();
            (number, name).hash(&mut hasher);
            // All zero is no valid id.
            hasher.finish().max(1)
        };
        let [high, low, span_id] = [0, 1, 2].map(part);
        Self { trace_id: (u128::from(high) << 64) | u128::from(low), span_id }
    }

    /// Reads what it is shown as.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (trace_id, span_id) = text.strip_prefix("00-")?.strip_suffix("-01")?.split_once('-')?;
        let trace_id = u128::from_str_radix(trace_id, 16).ok().filter(|&id| id > 0)?;
        let span_id = u64::from_str_radix(span_id, 16).ok().filter(|&id| id > 0)?;
        Some(Self { trace_id, span_id })
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-01", Hex(self.trace_id), Hex(self.span_id))
    }
}

/// Shown as hexadecimal digits, with leading zeros.
#[derive(Debug, Clone, Copy)]
pub struct Hex<T>(pub T);

impl fmt::Display for Hex<u128> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for Hex<u64> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).expect("a proper path")
    }

    fn tracing(sampling: Sampling) -> Tracing {
        Tracing { seed: 7, sampling }
    }

    #[test]
    fn a_change_is_named_alike_by_everybody_and_unlike_any_other() {
        let one = tracing(Sampling::Everything).of(&path("a"), 1);
        assert_eq!(one, tracing(Sampling::Everything).of(&path("a"), 1));
        let elsewhere = Tracing { seed: 8, sampling: Sampling::Everything };
        for other in [
            tracing(Sampling::Everything).of(&path("b"), 1),
            tracing(Sampling::Everything).of(&path("a"), 2),
            elsewhere.of(&path("a"), 1),
        ] {
            assert!(other.trace_id != one.trace_id && other.span_id != one.span_id);
        }
        let (trace_id, span_id, flags) = one.fields(false);
        assert_eq!((trace_id.to_string().len(), span_id.to_string().len(), flags), (32, 16, "01"));
    }

    #[test]
    fn a_ratio_keeps_that_part_and_every_failure() {
        let tracing = tracing(Sampling::ratio(0.25));
        let traces: Vec<_> = (0..4000).map(|since| tracing.of(&path("a"), since)).collect();
        let kept = traces.iter().filter(|trace| trace.is_sampled(false)).count();
        assert!((800..1200).contains(&kept), "{kept} of 4000");
        assert!(traces.iter().all(|trace| trace.is_sampled(true)));
    }

    #[test]
    fn what_is_exported_can_be_referred_to_by_a_text() {
        let trace = tracing(Sampling::Everything).of(&path("a"), 1);
        let context = trace.exported(false).expect("it is exported");
        let text = context.to_string();
        assert_eq!((text.len(), Context::parse(&text)), (55, Some(context)));
        let nothing = "00-00000000000000000000000000000000-0000000000000000-01";
        for wrong in ["", "00-1-2", nothing, &text.replace("00-", ""), &text.replace("-01", "-00")]
        {
            assert_eq!(Context::parse(wrong), None, "{wrong}");
        }
        assert_eq!(tracing(Sampling::ratio(0.0)).of(&path("a"), 1).exported(false), None);
    }

    #[test]
    fn without_an_exporter_nothing_is_sampled() {
        let trace = tracing(Sampling::Nothing).of(&path("a"), 1);
        assert!(!trace.is_sampled(true) && trace.fields(true).2 == "00");
        assert!(!tracing(Sampling::ratio(0.0)).of(&path("a"), 1).is_sampled(false));
        assert!(tracing(Sampling::ratio(1.0)).of(&path("a"), 1).is_sampled(false));
    }
}
