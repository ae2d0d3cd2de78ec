//! The health of an exporter: logs when a collector stops to accept data, and when it accepts
//! again. Between the two it logs nothing.

use crate::endpoint_url::masked_urls;
use opentelemetry_sdk::error::OTelSdkError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The health of one exporter.
#[derive(Debug)]
pub(super) struct ExportHealth {
    signal: &'static str,
    failing: AtomicBool,
    failures: AtomicU64,
    overloaded: AtomicBool,
    left_out: AtomicU64,
}

impl ExportHealth {
    /// The exporter of `signal` works.
    pub(super) fn new(signal: &'static str) -> Self {
        Self {
            signal,
            failing: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            overloaded: AtomicBool::new(false),
            left_out: AtomicU64::new(0),
        }
    }

    /// Records that the collector did not accept data.
    pub(super) fn failed(&self, error: &OTelSdkError) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                event = "telemetry.export_failed",
                signal = self.signal,
                error.message = masked_urls(&error.to_string()),
                "OTLP export failing; the next line comes when it recovers"
            );
        }
    }

    /// Records that the collector accepted data.
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

    /// Records that a trace was dropped, because there was no room.
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
