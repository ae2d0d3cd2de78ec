//! What is not counted but looked at: gauges that are asked for when somebody wants to know.

use super::metrics::labels;
use super::table::{self, Label, Metric};
use opentelemetry::metrics::{AsyncInstrument, Meter};
use std::sync::Arc;

/// How things stand. What is not known has no series.
#[derive(Debug, Clone, Default)]
pub struct Levels {
    /// Files that wait.
    pub pending_files: Option<u64>,
    /// Bytes of those that are to be sent.
    pub pending_bytes: Option<u64>,
    /// How long the oldest change waits, seconds.
    pub oldest_pending: Option<u64>,
    /// Those that wait for more than time: why, in the words of the record, and how many.
    pub parked: Option<Vec<(String, u64)>>,
    /// Deletes that wait for a person.
    pub deletes_held: Option<u64>,
    /// Whether nothing is deleted because another daemon works below the prefix, or may do so.
    pub other_writer: Option<bool>,
    /// Files that are in S3.
    pub mirrored_files: Option<u64>,
    /// Changed paths that a CDN was not told of.
    pub invalidation_waiting: Option<u64>,
    /// Paths a CDN was told of: accepted, completed and failed ones so far.
    pub invalidation_paths: Option<[(&'static str, u64); 3]>,
    /// When the credentials end, seconds since 1970.
    pub credentials_expiry: Option<u64>,
    /// When they were renewed, likewise.
    pub credentials_renewed: Option<u64>,
    /// How often that worked, and how often not.
    pub credentials_renewals: Option<(u64, u64)>,
    /// What became of changes of the configuration.
    pub reloads: Option<Reloads>,
    /// Why S3 takes nothing: a value of the label `class`, or empty.
    pub outage: Option<&'static str>,
    /// Whether the watched directory can be used.
    pub source_available: Option<bool>,
    /// How changes are seen: a value of the label `mode`.
    pub watch_mode: Option<&'static str>,
    /// Directories with a watch.
    pub watched: Option<u64>,
    /// Directories without.
    pub unwatched: Option<u64>,
    /// Watches that the kernel allows.
    pub watch_limit: Option<u64>,
    /// Overflows since the start.
    pub overflows: Option<u64>,
    /// Which shard this is, and of how many.
    pub shard: Option<(u16, u16)>,
    /// Bytes of the record on disk.
    pub state_bytes: Option<u64>,
    /// Bytes left on its volume.
    pub state_available: Option<u64>,
    /// Bytes that its volume has.
    pub state_capacity: Option<u64>,
}

/// What became of changes of the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reloads {
    /// Taken up.
    pub applied: u64,
    /// Left, because they need a restart.
    pub refused: u64,
    /// Left, because something is wrong with them.
    pub invalid: u64,
    /// Whether the last one was left.
    pub stale: bool,
}

/// One of the levels, if it is known.
type Level = fn(&Levels) -> Option<u64>;
type Ask = Arc<dyn Fn() -> Levels + Send + Sync>;

/// Tells `levels` to whoever collects.
pub(super) fn observe(meter: &Meter, levels: impl Fn() -> Levels + Send + Sync + 'static) {
    let levels: Ask = Arc::new(levels);
    let plain: [(&Metric, Level); 19] = [
        (&table::PENDING_FILES, |levels| levels.pending_files),
        (&table::PENDING_BYTES, |levels| levels.pending_bytes),
        (&table::OLDEST_PENDING, |levels| levels.oldest_pending),
        (&table::DELETES_HELD, |levels| levels.deletes_held),
        (&table::OTHER_WRITER, |levels| levels.other_writer.map(u64::from)),
        (&table::MIRRORED_FILES, |levels| levels.mirrored_files),
        (&table::INVALIDATION_WAITING, |levels| levels.invalidation_waiting),
        (&table::CREDENTIALS_EXPIRY, |levels| levels.credentials_expiry),
        (&table::CONFIG_CURRENT, |levels| levels.reloads.map(|reloads| u64::from(!reloads.stale))),
        (&table::CREDENTIALS_RENEWED, |levels| levels.credentials_renewed),
        (&table::SOURCE_AVAILABLE, |levels| levels.source_available.map(u64::from)),
        (&table::WATCHED_DIRECTORIES, |levels| levels.watched),
        (&table::UNWATCHED_DIRECTORIES, |levels| levels.unwatched),
        (&table::WATCH_LIMIT, |levels| levels.watch_limit),
        (&table::SHARD_INDEX, |levels| levels.shard.map(|(index, _)| index.into())),
        (&table::SHARD_COUNT, |levels| levels.shard.map(|(_, count)| count.into())),
        (&table::STATE_BYTES, |levels| levels.state_bytes),
        (&table::STATE_AVAILABLE, |levels| levels.state_available),
        (&table::STATE_CAPACITY, |levels| levels.state_capacity),
    ];
    for (metric, level) in plain {
        gauge(meter, metric, &levels, move |levels, observer| {
            if let Some(value) = level(levels) {
                observer.observe(value, &[]);
            }
        });
    }
    gauge(meter, &table::PARKED_FILES, &levels, |levels, observer| {
        let Some(parked) = &levels.parked else { return };
        each(&table::PARKED_FILES, observer, |value| {
            parked.iter().filter(|(why, _)| reason(why) == value).map(|(_, files)| files).sum()
        });
    });
    gauge(meter, &table::OUTAGE_STATE, &levels, |levels, observer| {
        let Some(outage) = levels.outage else { return };
        each(&table::OUTAGE_STATE, observer, |value| u64::from(value == outage));
    });
    gauge(meter, &table::WATCH_MODE, &levels, |levels, observer| {
        let Some(mode) = levels.watch_mode else { return };
        each(&table::WATCH_MODE, observer, |value| u64::from(value == mode));
    });
    counter(meter, &table::INVALIDATION_PATHS, &levels, |levels, observer| {
        for (result, paths) in levels.invalidation_paths.into_iter().flatten() {
            observer.observe(paths, &labels(&[("result", result)]));
        }
    });
    counter(meter, &table::CREDENTIALS_RENEWALS, &levels, |levels, observer| {
        let Some((worked, failed)) = levels.credentials_renewals else { return };
        observer.observe(worked, &labels(&[("result", "success")]));
        observer.observe(failed, &labels(&[("result", "failure")]));
    });
    counter(meter, &table::CONFIG_RELOADS, &levels, |levels, observer| {
        let Some(Reloads { applied, refused, invalid, .. }) = levels.reloads else { return };
        for (result, count) in [("applied", applied), ("refused", refused), ("invalid", invalid)] {
            observer.observe(count, &labels(&[("result", result)]));
        }
    });
    counter(meter, &table::WATCH_OVERFLOWS, &levels, |levels, observer| {
        if let Some(overflows) = levels.overflows {
            observer.observe(overflows, &[]);
        }
    });
}

/// Observes a metric of one label for each value that it can have.
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
    levels: &Ask,
    tell: impl Fn(&Levels, &dyn AsyncInstrument<u64>) + Send + Sync + 'static,
) {
    let levels = Arc::clone(levels);
    let builder = meter.u64_observable_gauge(metric.name);
    let builder = builder.with_unit(metric.unit).with_description(metric.help);
    // The provider keeps it.
    let _gauge = builder.with_callback(move |observer| tell(&levels(), observer)).build();
}

fn counter(
    meter: &Meter,
    metric: &Metric,
    levels: &Ask,
    tell: impl Fn(&Levels, &dyn AsyncInstrument<u64>) + Send + Sync + 'static,
) {
    let levels = Arc::clone(levels);
    let builder = meter.u64_observable_counter(metric.name);
    let builder = builder.with_unit(metric.unit).with_description(metric.help);
    // The provider keeps it.
    let _counter = builder.with_callback(move |observer| tell(&levels(), observer)).build();
}

/// The words of the record name errors of the system, of which there are many; a label has few values.
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
            ("the name is not UTF-8, and S3 keys are", "name"),
            ("the key would be 1100 bytes long, and S3 takes 1024 at most", "name"),
            ("the watched directory is empty", "source"),
            ("Input/output error (os error 5)", "other"),
        ] {
            assert_eq!(reason(why), expected, "{why}");
        }
    }
}
