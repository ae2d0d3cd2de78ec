//! The identity of a change in logs and traces, in the form of the W3C trace context.
//!
//! It is computed from the queue entry, so that it is the same for every attempt, in every line,
//! and after a restart, and is neither passed along nor stored.

use super::{QueueRow, RelPath, UnixMillis};
use crc_fast::{CrcAlgorithm, Digest};
use std::fmt;

/// The sampling of traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sampling {
    /// None: there is no collector.
    #[default]
    Nothing,
    /// This many of 2⁶⁴, and every trace with a failure.
    Some(u64),
    /// All traces.
    Everything,
}

impl Sampling {
    /// This part of the traces, from 0 to 1, and every trace with a failure.
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

/// The seed of identities, and the sampling.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceSettings {
    /// Distinguishes the changes of this state from those of others.
    pub seed: u64,
    /// The sampling of traces.
    pub sampling: Sampling,
}

impl TraceSettings {
    /// The identity of the change of `path` that was detected at `since`.
    #[must_use]
    pub fn trace_for(&self, path: &RelPath, since: UnixMillis) -> Trace {
        let seed = self.seed.to_le_bytes();
        let time = since.to_le_bytes();
        let part = |number| stable_id(number, &[&seed, &time, path.as_bytes()]);
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
    pub fn trace_for_entry(&self, pending: &QueueRow) -> Trace {
        self.trace_for(&pending.path, pending.since)
    }
}

/// The identity of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The id of the trace; never 0.
    pub trace_id: u128,
    /// The id of its root span; never 0.
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
    /// Whether it is exported, depending on whether it has `failed`.
    #[must_use]
    pub fn is_sampled(&self, failed: bool) -> bool {
        match self.sampled {
            Sampled::Never => false,
            Sampled::Failed => failed,
            Sampled::Always => true,
        }
    }

    /// The context of its root span, if it is exported.
    #[must_use]
    pub fn exported(&self, failed: bool) -> Option<SpanReference> {
        let Self { trace_id, span_id, .. } = *self;
        self.is_sampled(failed).then_some(SpanReference { trace_id, span_id })
    }

    /// The three fields of a log line of this change.
    #[must_use]
    pub fn fields(&self, failed: bool) -> (HexDigits<u128>, HexDigits<u64>, &'static str) {
        let flags = if self.is_sampled(failed) { "01" } else { "00" };
        (HexDigits(self.trace_id), HexDigits(self.span_id), flags)
    }
}

/// An exported span that others can refer to. Its text is W3C's `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanReference {
    /// The id of its trace; never 0.
    pub trace_id: u128,
    /// Its id; never 0.
    pub span_id: u64,
}

impl SpanReference {
    /// The identity of something with a unique name.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let part = |number| stable_id(number, &[name.as_bytes()]);
        let [high, low, span_id] = [0, 1, 2].map(part);
        Self { trace_id: (u128::from(high) << 64) | u128::from(low), span_id }
    }

    /// Parses its text form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (trace_id, span_id) = text.strip_prefix("00-")?.strip_suffix("-01")?.split_once('-')?;
        let trace_id = u128::from_str_radix(trace_id, 16).ok().filter(|&id| id > 0)?;
        let span_id = u64::from_str_radix(span_id, 16).ok().filter(|&id| id > 0)?;
        Some(Self { trace_id, span_id })
    }
}

impl fmt::Display for SpanReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-01", HexDigits(self.trace_id), HexDigits(self.span_id))
    }
}

/// The id with this `number` of what the parts describe; never 0, which is not a valid id. It is the same
/// in every version of the program, unlike the hash of `std`.
fn stable_id(number: u8, parts: &[&[u8]]) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    digest.update(&[number]);
    for part in parts {
        digest.update(part);
    }
    // The finalizer of SplitMix64: ratios of ids need bits that depend on all of the input.
    let mut id = digest.finalize();
    id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (id ^ (id >> 31)).max(1)
}

/// Formats hexadecimal digits with leading zeros.
#[derive(Debug, Clone, Copy)]
pub struct HexDigits<T>(pub T);

impl fmt::Display for HexDigits<u128> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for HexDigits<u64> {
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

    fn tracing(sampling: Sampling) -> TraceSettings {
        TraceSettings { seed: 7, sampling }
    }

    #[test]
    fn a_change_is_named_alike_by_everybody_and_unlike_any_other() {
        let one = tracing(Sampling::Everything).trace_for(&path("a"), 1);
        assert_eq!(one, tracing(Sampling::Everything).trace_for(&path("a"), 1));
        let elsewhere = TraceSettings { seed: 8, sampling: Sampling::Everything };
        for other in [
            tracing(Sampling::Everything).trace_for(&path("b"), 1),
            tracing(Sampling::Everything).trace_for(&path("a"), 2),
            elsewhere.trace_for(&path("a"), 1),
        ] {
            assert!(other.trace_id != one.trace_id && other.span_id != one.span_id);
        }
        let (trace_id, span_id, flags) = one.fields(false);
        assert_eq!((trace_id.to_string().len(), span_id.to_string().len(), flags), (32, 16, "01"));
    }

    /// Traces of one change before and after an update of the program belong together.
    #[test]
    fn ids_are_the_same_in_every_version() {
        let trace = tracing(Sampling::Everything).trace_for(&path("a/b.txt"), 1_700_000_000_000);
        assert_eq!(trace.trace_id, 0x47d2_4189_e280_9ae9_2f57_fa1d_442e_39d2);
        assert_eq!(trace.span_id, 0xe20c_cb67_7d8d_1c5e);
    }

    #[test]
    fn a_ratio_keeps_that_part_and_every_failure() {
        let tracing = tracing(Sampling::ratio(0.25));
        let traces: Vec<_> = (0..4000).map(|since| tracing.trace_for(&path("a"), since)).collect();
        let kept = traces.iter().filter(|trace| trace.is_sampled(false)).count();
        assert!((800..1200).contains(&kept), "{kept} of 4000");
        assert!(traces.iter().all(|trace| trace.is_sampled(true)));
    }

    #[test]
    fn what_is_exported_can_be_referred_to_by_a_text() {
        let trace = tracing(Sampling::Everything).trace_for(&path("a"), 1);
        let context = trace.exported(false).expect("it is exported");
        let text = context.to_string();
        assert_eq!((text.len(), SpanReference::parse(&text)), (55, Some(context)));
        let nothing = "00-00000000000000000000000000000000-0000000000000000-01";
        for wrong in ["", "00-1-2", nothing, &text.replace("00-", ""), &text.replace("-01", "-00")]
        {
            assert_eq!(SpanReference::parse(wrong), None, "{wrong}");
        }
        assert_eq!(tracing(Sampling::ratio(0.0)).trace_for(&path("a"), 1).exported(false), None);
    }

    #[test]
    fn without_an_exporter_nothing_is_sampled() {
        let trace = tracing(Sampling::Nothing).trace_for(&path("a"), 1);
        assert!(!trace.is_sampled(true) && trace.fields(true).2 == "00");
        assert!(!tracing(Sampling::ratio(0.0)).trace_for(&path("a"), 1).is_sampled(false));
        assert!(tracing(Sampling::ratio(1.0)).trace_for(&path("a"), 1).is_sampled(false));
    }
}
