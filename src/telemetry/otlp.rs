//! Exporters for a collector: gRPC and HTTP, configured by the standard variables.
//!
//! An unreachable, slow or silent collector loses measurements, and nothing else: waiting for it
//! happens on separate threads, and the end of the program waits for a bounded time only.

use super::export_health::ExportHealth;
use super::otel_env::{OtelSwitches, Protocol};
use super::spans::{SpanLimits, SpanQueue};
use crate::endpoint_url::masked_urls;
use crate::https;
use opentelemetry_http::HttpClient;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, Protocol as OtlpProtocol, SpanExporter, WithExportConfig,
    WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::SpanExporter as _;
use std::fmt;
use std::future::Future;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Maximum time that the end of the program waits for the collector.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// Maximum time for abandoned exporters to stop.
const GIVE_UP_PATIENCE: Duration = Duration::from_millis(200);
/// Maximum time of an HTTP request to a collector; the exporter's own limit is lower.
const HTTP_PATIENCE: Duration = Duration::from_secs(30);

/// The running exporters.
#[derive(Debug, Clone)]
pub(super) struct OtlpPipelines {
    pub(super) spans: Option<SpanQueue>,
    pub(super) given_up: CancellationToken,
    pushes_metrics: bool,
}

/// Logs an exporter that cannot be created, and omits it.
fn log_failure<T>(signal: &str, made: Result<T, ExporterBuildError>) -> Option<T> {
    let error = match made {
        Ok(made) => return Some(made),
        Err(error) => error,
    };
    tracing::error!(
        event = "telemetry.not_exported",
        signal,
        error.message = masked_urls(&error.to_string()),
        "what is measured cannot be exported"
    );
    None
}

/// Creates the exporter of spans, if enabled. Call it on the runtime.
pub(super) fn spans(
    switches: &OtelSwitches,
    resource: &Resource,
    given_up: &CancellationToken,
) -> Option<SpanQueue> {
    let exporter = match switches.traces? {
        Protocol::Grpc => SpanExporter::builder().with_tonic().with_tls_config(tls()).build(),
        Protocol::Http => http().and_then(|client| {
            let builder = SpanExporter::builder().with_http().with_http_client(client);
            let builder = builder.with_protocol(OtlpProtocol::HttpBinary);
            match &switches.endpoints.0 {
                Some(endpoint) => builder.with_endpoint(endpoint).build(),
                None => builder.build(),
            }
        }),
    };
    let mut exporter = log_failure("traces", exporter)?;
    exporter.set_resource(resource);
    let limits = SpanLimits { delay: switches.delay, queue: switches.queue, batch: switches.batch };
    let queue = SpanQueue::start(exporter, limits, Handle::current(), given_up.clone());
    log_failure(
        "traces",
        queue.map_err(|error| ExporterBuildError::InternalFailure(error.to_string())),
    )
}

/// Creates the exporter of metrics, if enabled. Call it on the runtime.
pub(super) fn metrics(
    switches: &OtelSwitches,
    given_up: &CancellationToken,
) -> Option<PeriodicReader<PushExporter>> {
    let exporter = match switches.metrics? {
        Protocol::Grpc => MetricExporter::builder().with_tonic().with_tls_config(tls()).build(),
        Protocol::Http => http().and_then(|client| {
            let builder = MetricExporter::builder().with_http().with_http_client(client);
            let builder = builder.with_protocol(OtlpProtocol::HttpBinary);
            match &switches.endpoints.1 {
                Some(endpoint) => builder.with_endpoint(endpoint).build(),
                None => builder.build(),
            }
        }),
    };
    let exporter = log_failure("metrics", exporter)?;
    let runtime = Handle::current();
    let given_up = given_up.clone();
    let pushed = PushExporter { exporter, runtime, given_up, turns: ExportHealth::new("metrics") };
    Some(PeriodicReader::builder(pushed).build())
}

/// The certificates that the system trusts; by default none are.
fn tls() -> ClientTlsConfig {
    ClientTlsConfig::new().with_native_roots()
}

impl OtlpPipelines {
    pub(super) fn new(
        spans: Option<SpanQueue>,
        pushes_metrics: bool,
        given_up: CancellationToken,
    ) -> Self {
        Self { spans, given_up, pushes_metrics }
    }

    /// Sends the rest, until time is over or `hurried` resolves.
    pub(super) async fn end(&self, provider: &SdkMeterProvider, hurried: impl Future<Output = ()>) {
        let spans = self.spans.as_ref().map(SpanQueue::end);
        let metrics = self.pushes_metrics.then(|| end_metrics(provider.clone())).flatten();
        if spans.is_none() && metrics.is_none() {
            return;
        }
        let ended = async {
            // An exporter that does not answer counts as ended.
            for end in [spans, metrics].into_iter().flatten() {
                end.await.unwrap_or_default();
            }
        };
        let mut ended = std::pin::pin!(ended);
        let in_time = tokio::select! {
            () = &mut ended => true,
            () = tokio::time::sleep(END_PATIENCE) => false,
            () = hurried => false,
        };
        if !in_time {
            tracing::warn!(
                event = "telemetry.left_behind",
                "the collector did not take what was measured last"
            );
            self.given_up.cancel();
            drop(tokio::time::timeout(GIVE_UP_PATIENCE, ended).await);
        }
    }
}

/// Shuts the provider down on its own thread, because that blocks; the thread may be abandoned.
fn end_metrics(provider: SdkMeterProvider) -> Option<oneshot::Receiver<()>> {
    let (done, ended) = oneshot::channel();
    let end = move || {
        // Failures were logged before, and the receiver may be gone.
        drop(provider.shutdown());
        done.send(()).unwrap_or_default();
    };
    std::thread::Builder::new().name("metrics-end".to_owned()).spawn(end).ok().map(|_| ended)
}

/// Pushes metrics. Called on the thread of the reader, which may block.
pub(super) struct PushExporter {
    exporter: MetricExporter,
    runtime: Handle,
    given_up: CancellationToken,
    turns: ExportHealth,
}

impl fmt::Debug for PushExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pushed").finish_non_exhaustive()
    }
}

impl PushMetricExporter for PushExporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let export = self.given_up.run_until_cancelled(self.exporter.export(metrics));
        match self.runtime.block_on(export) {
            Some(Ok(())) => self.turns.worked(),
            Some(Err(error)) => self.turns.failed(&error),
            None => {}
        }
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// An HTTP client with the certificates that the system trusts; it is driven on the runtime.
fn http() -> Result<impl HttpClient + 'static, ExporterBuildError> {
    let connector = https::connector()
        .map_err(|error| ExporterBuildError::InternalFailure(error.to_string()))?;
    Ok(HyperClient::new(connector, HTTP_PATIENCE, None))
}
