//! Whether a collector takes what it is sent: told when it stops, and when it begins again. Between
//! the two there is not a word, however long it lasts.

use opentelemetry_sdk::error::OTelSdkError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The state of one way to a collector.
#[derive(Debug)]
pub(super) struct Turns {
    signal: &'static str,
    failing: AtomicBool,
    failures: AtomicU64,
    overloaded: AtomicBool,
    left_out: AtomicU64,
}

impl Turns {
    /// All is well on the way of `signal`.
    pub(super) fn new(signal: &'static str) -> Self {
        Self {
            signal,
            failing: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            overloaded: AtomicBool::new(false),
            left_out: AtomicU64::new(0),
        }
    }

    /// The collector has not taken what it was sent.
    pub(super) fn failed(&self, error: &OTelSdkError) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                event = "telemetry.export_failed",
                signal = self.signal,
                error.message = without_password(&error.to_string()),
                "the collector does not take what was measured; it is not told again until it does"
            );
        }
    }

    /// The collector has taken what it was sent.
    pub(super) fn worked(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!(
                event = "telemetry.export_restored",
                signal = self.signal,
                failures = self.failures.swap(0, Ordering::Relaxed),
                left_out = self.left_out.swap(0, Ordering::Relaxed),
                "the collector takes what is measured again"
            );
        }
    }

    /// There was no room.
    pub(super) fn left_out(&self) {
        self.left_out.fetch_add(1, Ordering::Relaxed);
        if !self.overloaded.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                event = "telemetry.left_out",
                signal = self.signal,
                "more than the collector takes: some are left out; a ratio in \
                 OTEL_TRACES_SAMPLER_ARG leaves them out evenly"
            );
        }
    }
}

/// Hides what a URL has between `//` and `@`.
pub(super) fn without_password(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let end = after.find(|char: char| char == '/' || char.is_whitespace());
        let (authority, tail) = after.split_at(end.unwrap_or(after.len()));
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                shown.push_str("***@");
                shown.push_str(host);
            }
            None => shown.push_str(authority),
        }
        rest = tail;
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_collectors_are_not_shown() {
        for (text, shown) in [
            ("no http://user:pass@host:4317/x here", "no http://***@host:4317/x here"),
            ("https://a:b@c", "https://***@c"),
            ("https://c/a@b and http://d", "https://c/a@b and http://d"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(without_password(text), shown);
        }
    }
}
