//! The ways to a collector: gRPC and HTTP, made as the standard variables say.
//!
//! A collector that is away, slow or silent costs what was measured, and nothing else: whatever waits
//! for it does so on a thread of its own, and the end of the program waits for it only so long.

use super::spans::{Limits, SpanQueue};
use super::switches::{Protocol, Switches};
use super::turns::{Turns, without_password};
use hyper_rustls::HttpsConnectorBuilder;
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

/// How long the end of the program waits for the collector to take what is left.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// How long those that were given up may take to notice.
const GIVE_UP_PATIENCE: Duration = Duration::from_millis(200);
/// The longest any HTTP request to a collector takes; the exporter's own limit is below.
const HTTP_PATIENCE: Duration = Duration::from_secs(30);

/// What is under way to collectors.
#[derive(Debug, Clone)]
pub(super) struct Pipelines {
    pub(super) spans: Option<SpanQueue>,
    pub(super) given_up: CancellationToken,
    pushes_metrics: bool,
}

/// What cannot be made is told, and left out.
fn told<T>(signal: &str, made: Result<T, ExporterBuildError>) -> Option<T> {
    let error = match made {
        Ok(made) => return Some(made),
        Err(error) => error,
    };
    tracing::error!(
        event = "telemetry.not_exported",
        signal,
        error.message = without_password(&error.to_string()),
        "what is measured cannot be exported"
    );
    None
}

/// The way of the spans, if there is one. To be called on the runtime.
pub(super) fn spans(
    switches: &Switches,
    resource: &Resource,
    given_up: &CancellationToken,
) -> Option<SpanQueue> {
    let exporter = match switches.traces? {
        Protocol::Grpc => SpanExporter::builder().with_tonic().with_tls_config(tls()).build(),
        Protocol::Http => http().and_then(|client| {
            let builder = SpanExporter::builder().with_http().with_http_client(client);
            builder.with_protocol(OtlpProtocol::HttpBinary).build()
        }),
    };
    let mut exporter = told("traces", exporter)?;
    exporter.set_resource(resource);
    let limits = Limits { delay: switches.delay, queue: switches.queue, batch: switches.batch };
    let queue = SpanQueue::start(exporter, limits, Handle::current(), given_up.clone());
    told("traces", queue.map_err(|error| ExporterBuildError::InternalFailure(error.to_string())))
}

/// What pushes the metrics, if anything does. To be called on the runtime.
pub(super) fn metrics(
    switches: &Switches,
    given_up: &CancellationToken,
) -> Option<PeriodicReader<Pushed>> {
    let exporter = match switches.metrics? {
        Protocol::Grpc => MetricExporter::builder().with_tonic().with_tls_config(tls()).build(),
        Protocol::Http => http().and_then(|client| {
            let builder = MetricExporter::builder().with_http().with_http_client(client);
            builder.with_protocol(OtlpProtocol::HttpBinary).build()
        }),
    };
    let exporter = told("metrics", exporter)?;
    let (runtime, given_up) = (Handle::current(), given_up.clone());
    let pushed = Pushed { exporter, runtime, given_up, turns: Turns::new("metrics") };
    Some(PeriodicReader::builder(pushed).build())
}

/// The certificates that the system trusts; without it none is.
fn tls() -> ClientTlsConfig {
    ClientTlsConfig::new().with_native_roots()
}

impl Pipelines {
    pub(super) fn new(
        spans: Option<SpanQueue>,
        pushes_metrics: bool,
        given_up: CancellationToken,
    ) -> Self {
        Self { spans, given_up, pushes_metrics }
    }

    /// Sends what is left, for as long as there is patience and nobody is `hurried`.
    pub(super) async fn end(&self, provider: &SdkMeterProvider, hurried: impl Future<Output = ()>) {
        let spans = self.spans.as_ref().map(SpanQueue::end);
        let metrics = self.pushes_metrics.then(|| end_metrics(provider.clone())).flatten();
        if spans.is_none() && metrics.is_none() {
            return;
        }
        let ended = async {
            // Whoever does not answer has ended as well.
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

/// The shutdown blocks, so it has a thread, which is left to itself if need be.
fn end_metrics(provider: SdkMeterProvider) -> Option<oneshot::Receiver<()>> {
    let (done, ended) = oneshot::channel();
    let end = move || {
        // What did not work was told on the way; and nobody may be waiting any more.
        drop(provider.shutdown());
        done.send(()).unwrap_or_default();
    };
    std::thread::Builder::new().name("metrics-end".to_owned()).spawn(end).ok().map(|_| ended)
}

/// Pushes metrics. Called on the thread of the reader, which may block.
pub(super) struct Pushed {
    exporter: MetricExporter,
    runtime: Handle,
    given_up: CancellationToken,
    turns: Turns,
}

impl fmt::Debug for Pushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pushed").finish_non_exhaustive()
    }
}

impl PushMetricExporter for Pushed {
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

/// An HTTP client with the certificates that the system trusts; like all here it is driven on the
/// runtime.
fn http() -> Result<impl HttpClient + 'static, ExporterBuildError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .map_err(|error| ExporterBuildError::InternalFailure(error.to_string()))?
        .https_or_http()
        .enable_http1()
        .build();
    Ok(HyperClient::new(connector, HTTP_PATIENCE, None))
}
