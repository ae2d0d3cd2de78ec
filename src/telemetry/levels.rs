//! What is not counted but looked at: gauges that are asked for when somebody wants to know.

use super::metrics::labels;
use super::table::{self, Metric};
use opentelemetry::metrics::{AsyncInstrument, Meter};
use std::sync::Arc;

/// How things stand. What is not known has no series.
#[derive(Debug, Clone, Default)]
pub struct Levels {
    /// Files that wait.
    pub pending_files: Option<u64>,
    /// Those of them that wait for more than time.
    pub parked_files: Option<u64>,
    /// Files that are in S3.
    pub mirrored_files: Option<u64>,
    /// Changed paths that a CDN was not told of.
    pub invalidation_waiting: Option<u64>,
    /// Paths a CDN was told of: accepted, completed and failed ones so far.
    pub invalidation_paths: Option<[(&'static str, u64); 3]>,
    /// Bytes of the record on disk.
    pub state_bytes: Option<u64>,
    /// Bytes left on its volume.
    pub state_available: Option<u64>,
    /// Bytes that its volume has.
    pub state_capacity: Option<u64>,
}

/// One of the levels, if it is known.
type Level = fn(&Levels) -> Option<u64>;

/// Tells `levels` to whoever collects.
pub(super) fn observe(meter: &Meter, levels: impl Fn() -> Levels + Send + Sync + 'static) {
    let levels: Arc<dyn Fn() -> Levels + Send + Sync> = Arc::new(levels);
    let plain: [(&Metric, Level); 7] = [
        (&table::PENDING_FILES, |levels| levels.pending_files),
        (&table::PARKED_FILES, |levels| levels.parked_files),
        (&table::MIRRORED_FILES, |levels| levels.mirrored_files),
        (&table::INVALIDATION_WAITING, |levels| levels.invalidation_waiting),
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
    let metric = &table::INVALIDATION_PATHS;
    let builder = meter.u64_observable_counter(metric.name);
    let builder = builder.with_unit(metric.unit).with_description(metric.help);
    let paths = Arc::clone(&levels);
    // The provider keeps it.
    let _counter = builder
        .with_callback(move |observer| {
            for (result, number) in paths().invalidation_paths.into_iter().flatten() {
                observer.observe(number, &labels(&[("result", result)]));
            }
        })
        .build();
}

fn gauge(
    meter: &Meter,
    metric: &Metric,
    levels: &Arc<dyn Fn() -> Levels + Send + Sync>,
    tell: impl Fn(&Levels, &dyn AsyncInstrument<u64>) + Send + Sync + 'static,
) {
    let levels = Arc::clone(levels);
    let builder = meter.u64_observable_gauge(metric.name);
    let builder = builder.with_unit(metric.unit).with_description(metric.help);
    // The provider keeps it.
    let _gauge = builder.with_callback(move |observer| tell(&levels(), observer)).build();
}
