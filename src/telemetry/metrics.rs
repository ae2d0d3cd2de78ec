//! The instruments, and the text for Prometheus.
//!
//! One provider serves both outputs: OTLP and Prometheus have the same values. Recording costs an
//! atomic addition, and neither blocks nor fails.

use super::gauges::{self, GaugeValues};
use super::metric_defs::{self, InstrumentKind, Metric, labels};
use super::otlp::PushExporter;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use prometheus::{Registry, TextEncoder};
use std::fmt;
use std::time::Duration;

/// The `Content-Type` of a scrape.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The name of the instrumentation scope.
pub(super) const SCOPE: &str = "file-sync-service";

/// The instruments.
pub(super) struct MetricInstruments {
    pub(super) operations: Counter<u64>,
    pub(super) upload_bytes: Counter<u64>,
    pub(super) upload_duration: Histogram<f64>,
    pub(super) sync_lag: Histogram<f64>,
    pub(super) last_success: Gauge<f64>,
    pub(super) s3_requests: Counter<u64>,
    pub(super) scan_duration: Histogram<f64>,
    pub(super) scan_drift: Gauge<u64>,
    meter: Meter,
}

/// Renders the present metrics as text. Cheap to clone.
#[derive(Clone)]
pub struct Exposition(Registry);

impl Exposition {
    /// Returns the text. It reads the volume of the state directory, so call it where blocking is
    /// permitted.
    #[must_use]
    pub fn render(&self) -> String {
        // Only a metric without a name cannot be encoded, and there is none.
        TextEncoder::new().encode_to_string(&self.0.gather()).unwrap_or_default()
    }
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exposition").finish_non_exhaustive()
    }
}

impl fmt::Debug for MetricInstruments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Creates the provider of `resource` with Prometheus as a reader, and `pushed` as another.
pub(super) fn provider(
    resource: Resource,
    pushed: Option<PeriodicReader<PushExporter>>,
) -> (SdkMeterProvider, Exposition) {
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        // The names in the table are final.
        .without_units()
        .without_counter_suffixes()
        .scope_info_enabled(false)
        .build();
    let builder = SdkMeterProvider::builder().with_resource(resource);
    let builder = match exporter {
        Ok(exporter) => builder.with_reader(exporter),
        // An empty registry has no reason to refuse.
        Err(error) => {
            tracing::error!(
                event = "metrics.failed",
                error.message = %error,
                "there will be no metrics for Prometheus"
            );
            builder
        }
    };
    let builder = match pushed {
        Some(reader) => builder.with_reader(reader),
        None => builder,
    };
    (builder.build(), Exposition(registry))
}

impl MetricInstruments {
    /// Creates the instruments of the table.
    pub(super) fn new(provider: &SdkMeterProvider) -> Self {
        let meter = provider.meter(SCOPE);
        let metrics = Self {
            operations: counter(&meter, &metric_defs::OPERATIONS),
            upload_bytes: counter(&meter, &metric_defs::UPLOAD_BYTES),
            upload_duration: histogram(&meter, &metric_defs::UPLOAD_DURATION),
            sync_lag: histogram(&meter, &metric_defs::SYNC_LAG),
            last_success: meter
                .f64_gauge(metric_defs::LAST_SUCCESS.name)
                .with_unit(metric_defs::LAST_SUCCESS.unit)
                .with_description(metric_defs::LAST_SUCCESS.help)
                .build(),
            s3_requests: counter(&meter, &metric_defs::S3_REQUESTS),
            scan_duration: histogram(&meter, &metric_defs::SCAN_DURATION),
            scan_drift: gauge(&meter, &metric_defs::SCAN_DRIFT),
            meter,
        };
        let version = KeyValue::new("version", env!("CARGO_PKG_VERSION"));
        gauge(&metrics.meter, &metric_defs::BUILD_INFO).record(1, &[version]);
        metrics.begin_at_zero();
        metrics
    }

    /// Registers `levels`, which is called at each collection. It must wait for nothing but a disk.
    pub(super) fn observe(&self, levels: impl Fn() -> GaugeValues + Send + Sync + 'static) {
        gauges::observe(&self.meter, levels);
    }

    /// Creates the usual series at the start, because a rate needs a series that existed before.
    fn begin_at_zero(&self) {
        self.upload_bytes.add(0, &[]);
        for operation in ["upload", "delete"] {
            for result in ["success", "unavailable", "refused"] {
                self.operations.add(0, &labels(&[("operation", operation), ("result", result)]));
            }
        }
        for result in ["success", "unavailable", "refused"] {
            let put = labels(&[("operation", "PutObject"), ("result", result)]);
            self.s3_requests.add(0, &put);
        }
    }
}

/// Converts a duration to seconds.
pub(super) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn counter(meter: &Meter, metric: &Metric) -> Counter<u64> {
    let builder = meter.u64_counter(metric.name);
    builder.with_unit(metric.unit).with_description(metric.help).build()
}

fn gauge(meter: &Meter, metric: &Metric) -> Gauge<u64> {
    let builder = meter.u64_gauge(metric.name);
    builder.with_unit(metric.unit).with_description(metric.help).build()
}

fn histogram(meter: &Meter, metric: &Metric) -> Histogram<f64> {
    let bounds = match metric.kind {
        InstrumentKind::Histogram(bounds) => bounds.to_vec(),
        InstrumentKind::Counter | InstrumentKind::Gauge => Vec::new(),
    };
    let builder = meter.f64_histogram(metric.name).with_boundaries(bounds);
    builder.with_unit(metric.unit).with_description(metric.help).build()
}
