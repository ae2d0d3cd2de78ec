//! Gauges that are read when a reader collects them.

use super::metric_defs::{self, Label, Metric, labels};
use crate::hints::RelayCounts;
use crate::model::CoverageGaps;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use std::sync::Arc;

/// The present values. An unknown value has no series.
#[derive(Debug, Clone, Default)]
pub struct GaugeValues {
    /// Pending files.
    pub pending_files: Option<u64>,
    /// Bytes of the pending uploads.
    pub pending_bytes: Option<u64>,
    /// The age of the oldest pending change, in seconds.
    pub oldest_pending: Option<u64>,
    /// Skipped changes, by the reason in the state.
    pub parked: Option<Vec<(String, u64)>>,
    /// Coverage gaps.
    pub gaps: Option<CoverageGaps>,
    /// Deletes that wait for approval.
    pub deletes_held: Option<u64>,
    /// Deletes that are not due.
    pub deletes_delayed: Option<u64>,
    /// Whether nothing is deleted because another daemon uses the prefix, or may do so.
    pub other_writer: Option<bool>,
    /// Files that are in S3.
    pub mirrored_files: Option<u64>,
    /// Requests that may be under way at once.
    pub concurrency: Option<u64>,
    /// Changed paths that were not sent to the CDN.
    pub invalidation_waiting: Option<u64>,
    /// Paths that the CDN accepted, completed, and those of failed requests.
    pub invalidation_paths: Option<[(&'static str, u64); 3]>,
    /// The expiry of the credentials, in seconds since 1970.
    pub credentials_expiry: Option<u64>,
    /// The time of their last renewal, in seconds since 1970.
    pub credentials_renewed: Option<u64>,
    /// Successful and failed renewals.
    pub credentials_renewals: Option<(u64, u64)>,
    /// The results of configuration changes.
    pub reloads: Option<ReloadCounts>,
    /// The reason of an outage: a value of the label `class`, or empty.
    pub outage: Option<&'static str>,
    /// Whether the watched directory can be used.
    pub source_available: Option<bool>,
    /// How changes are detected: a value of the label `mode`.
    pub watch_mode: Option<&'static str>,
    /// Directories with a watch.
    pub watched: Option<u64>,
    /// Directories without a watch.
    pub unwatched: Option<u64>,
    /// Watches that the kernel allows.
    pub watch_limit: Option<u64>,
    /// Overflows since the start.
    pub overflows: Option<u64>,
    /// The operations of scans and sweeps on the file system, by kind.
    pub poll_operations: Option<[(&'static str, u64); 3]>,
    /// Hints of other nodes, by what became of them.
    pub hints: Option<[(&'static str, u64); 3]>,
    /// Relays that send hints.
    pub relays: Option<RelayCounts>,
    /// The index of the shard, and the shard count.
    pub shard: Option<(u16, u16)>,
    /// Bytes of the state on disk.
    pub state_bytes: Option<u64>,
    /// Bytes available on its volume.
    pub state_available: Option<u64>,
    /// The capacity of its volume in bytes.
    pub state_capacity: Option<u64>,
}

/// The results of configuration changes.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReloadCounts {
    /// Applied changes.
    pub applied: u64,
    /// Changes that need a restart.
    pub refused: u64,
    /// Invalid changes.
    pub invalid: u64,
    /// Whether the last change was not applied.
    pub stale: bool,
}

/// Returns one of the values, if it is known.
type GaugeReader = fn(&GaugeValues) -> Option<u64>;
type GaugeSource = Arc<dyn Fn() -> GaugeValues + Send + Sync>;

fn observe_gaps(meter: &Meter, levels: &GaugeSource) {
    gauge(meter, &metric_defs::COVERAGE_GAPS, levels, |levels, observer| {
        let Some(gaps) = &levels.gaps else { return };
        for (reason, count) in gaps.iter() {
            observer.observe(count, &labels(&[("reason", reason.as_str())]));
        }
    });
}

fn observe_polling(meter: &Meter, levels: &GaugeSource) {
    counter(meter, &metric_defs::POLL_OPERATIONS, levels, |levels, observer| {
        for (kind, operations) in levels.poll_operations.into_iter().flatten() {
            observer.observe(operations, &labels(&[("kind", kind)]));
        }
    });
    counter(meter, &metric_defs::HINTS, levels, |levels, observer| {
        for (result, hints) in levels.hints.into_iter().flatten() {
            observer.observe(hints, &labels(&[("result", result)]));
        }
    });
    gauge(meter, &metric_defs::RELAYS, levels, |levels, observer| {
        let Some(RelayCounts { fresh, silent }) = levels.relays else { return };
        for (state, relays) in [("fresh", fresh), ("silent", silent)] {
            observer.observe(relays, &labels(&[("state", state)]));
        }
    });
}

/// Registers `levels` with the meter.
pub(super) fn observe(meter: &Meter, levels: impl Fn() -> GaugeValues + Send + Sync + 'static) {
    let levels: GaugeSource = Arc::new(levels);
    let plain: [(&Metric, GaugeReader); 21] = [
        (&metric_defs::PENDING_FILES, |levels| levels.pending_files),
        (&metric_defs::PENDING_BYTES, |levels| levels.pending_bytes),
        (&metric_defs::OLDEST_PENDING, |levels| levels.oldest_pending),
        (&metric_defs::DELETES_HELD, |levels| levels.deletes_held),
        (&metric_defs::DELETES_DELAYED, |levels| levels.deletes_delayed),
        (&metric_defs::OTHER_WRITER, |levels| levels.other_writer.map(u64::from)),
        (&metric_defs::MIRRORED_FILES, |levels| levels.mirrored_files),
        (&metric_defs::CONCURRENCY_LIMIT, |levels| levels.concurrency),
        (&metric_defs::INVALIDATION_WAITING, |levels| levels.invalidation_waiting),
        (&metric_defs::CREDENTIALS_EXPIRY, |levels| levels.credentials_expiry),
        (&metric_defs::CONFIG_CURRENT, |levels| {
            levels.reloads.map(|reloads| u64::from(!reloads.stale))
        }),
        (&metric_defs::CREDENTIALS_RENEWED, |levels| levels.credentials_renewed),
        (&metric_defs::SOURCE_AVAILABLE, |levels| levels.source_available.map(u64::from)),
        (&metric_defs::WATCHED_DIRECTORIES, |levels| levels.watched),
        (&metric_defs::UNWATCHED_DIRECTORIES, |levels| levels.unwatched),
        (&metric_defs::WATCH_LIMIT, |levels| levels.watch_limit),
        (&metric_defs::SHARD_INDEX, |levels| levels.shard.map(|(index, _)| index.into())),
        (&metric_defs::SHARD_COUNT, |levels| levels.shard.map(|(_, count)| count.into())),
        (&metric_defs::STATE_BYTES, |levels| levels.state_bytes),
        (&metric_defs::STATE_AVAILABLE, |levels| levels.state_available),
        (&metric_defs::STATE_CAPACITY, |levels| levels.state_capacity),
    ];
    for (metric, level) in plain {
        gauge(meter, metric, &levels, move |levels, observer| {
            if let Some(value) = level(levels) {
                observer.observe(value, &[]);
            }
        });
    }
    observe_labelled(meter, &levels);
    observe_counters(meter, &levels);
}

/// Registers the gauges with a label.
fn observe_labelled(meter: &Meter, levels: &GaugeSource) {
    gauge(meter, &metric_defs::SKIPPED_FILES, levels, |levels, observer| {
        let Some(parked) = &levels.parked else { return };
        each(&metric_defs::SKIPPED_FILES, observer, |value| {
            parked.iter().filter(|(why, _)| reason(why) == value).map(|(_, files)| files).sum()
        });
    });
    observe_gaps(meter, levels);
    gauge(meter, &metric_defs::OUTAGE_STATE, levels, |levels, observer| {
        let Some(outage) = levels.outage else { return };
        each(&metric_defs::OUTAGE_STATE, observer, |value| u64::from(value == outage));
    });
    gauge(meter, &metric_defs::WATCH_MODE, levels, |levels, observer| {
        let Some(mode) = levels.watch_mode else { return };
        each(&metric_defs::WATCH_MODE, observer, |value| u64::from(value == mode));
    });
}

/// Registers the counters.
fn observe_counters(meter: &Meter, levels: &GaugeSource) {
    counter(meter, &metric_defs::INVALIDATION_PATHS, levels, |levels, observer| {
        for (result, paths) in levels.invalidation_paths.into_iter().flatten() {
            observer.observe(paths, &labels(&[("result", result)]));
        }
    });
    observe_polling(meter, levels);
    counter(meter, &metric_defs::CREDENTIALS_RENEWALS, levels, |levels, observer| {
        let Some((worked, failed)) = levels.credentials_renewals else { return };
        observer.observe(worked, &labels(&[("result", "success")]));
        observer.observe(failed, &labels(&[("result", "failure")]));
    });
    counter(meter, &metric_defs::CONFIG_RELOADS, levels, |levels, observer| {
        let Some(ReloadCounts { applied, refused, invalid, .. }) = levels.reloads else { return };
        for (result, count) in [("applied", applied), ("refused", refused), ("invalid", invalid)] {
            observer.observe(count, &labels(&[("result", result)]));
        }
    });
    counter(meter, &metric_defs::WATCH_OVERFLOWS, levels, |levels, observer| {
        if let Some(overflows) = levels.overflows {
            observer.observe(overflows, &[]);
        }
    });
}

/// Reports a metric with one label, once per value.
fn each(metric: &Metric, observer: &dyn AsyncInstrument<u64>, level: impl Fn(&'static str) -> u64) {
    for Label { name, values } in metric.labels {
        for value in *values {
            observer.observe(level(value), &labels(&[(name, value)]));
        }
    }
}

fn gauge(
    meter: &Meter,
    metric: &Metric,
    levels: &GaugeSource,
    observe: impl Fn(&GaugeValues, &dyn AsyncInstrument<u64>) + Send + Sync + 'static,
) {
    let levels = Arc::clone(levels);
    let builder = meter.u64_observable_gauge(metric.name);
    let builder = builder.with_unit(metric.unit).with_description(metric.help);
    // The provider keeps the gauge.
    let _gauge = builder.with_callback(move |observer| observe(&levels(), observer)).build();
}

fn counter(
    meter: &Meter,
    metric: &Metric,
    levels: &GaugeSource,
    observe: impl Fn(&GaugeValues, &dyn AsyncInstrument<u64>) + Send + Sync + 'static,
) {
    let levels = Arc::clone(levels);
    let builder = meter.u64_observable_counter(metric.name);
    let builder = builder.with_unit(metric.unit).with_description(metric.help);
    // The provider keeps the counter.
    let _counter = builder.with_callback(move |observer| observe(&levels(), observer)).build();
}

/// The state contains many system errors, but a label has few values.
fn reason(why: &str) -> &'static str {
    let why = why.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if says(&["permission"]) {
        "permission"
    } else if says(&["utf-8", "the key would be"]) || why == "name" {
        "name"
    } else if says(&["the watched directory"]) {
        "source"
    } else {
        "other"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_parked_is_counted_by_few_reasons() {
        for (why, expected) in [
            ("permission-denied", "permission"),
            ("its directory cannot be read: permission denied", "permission"),
            ("name", "name"),
            ("file name is not valid UTF-8; S3 requires UTF-8 keys", "name"),
            ("the key would be 1100 bytes long, and S3 takes 1024 at most", "name"),
            ("the watched directory is empty", "source"),
            ("Input/output error (os error 5)", "other"),
        ] {
            assert_eq!(reason(why), expected, "{why}");
        }
    }
}
