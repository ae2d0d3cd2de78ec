//! Logs, metrics and traces.
//!
//! Any code of the crate uses the macros of `tracing` and does not know this module:
//!
//! ```
//! # let key = "uploads/a.txt";
//! # let size = 3_u64;
//! tracing::info!(event = "upload.completed", aws.s3.key = key, file.size = size, "upload completed");
//! ```
//!
//! The message is constant text, `event` a stable name, and every variable is an attribute with its
//! OpenTelemetry name.
//!
//! # Invariants
//!
//! - A log record is one line of printable text, whatever the name of a file.
//! - Logging never fails, panics or blocks the caller: lines without room, because a reader is
//!   stuck, are dropped, and their number is logged once there is room again.
//! - Metrics have the names of the [`TABLE`] and fixed labels, and recording them costs next to
//!   nothing.
//! - An unreachable, slow or silent collector loses measurements, but never delays work. Without
//!   a collector nothing is exported, and no thread exists for it.

mod export_health;
mod gauges;
mod invalidations;
mod json;
mod level;
mod log_writer;
mod logs;
mod metric_defs;
mod metrics;
mod otel_env;
mod otlp;
mod record;
mod recorder;
mod resource;
mod spans;
mod text;
mod traces;

pub use gauges::{GaugeValues, ReloadCounts};
pub use level::LogLevel;
pub use log_writer::OutputGuard;
pub use metric_defs::{InstrumentKind, Label, Metric, TABLE};
pub use metrics::{CONTENT_TYPE, Exposition};
pub use recorder::Recorder;
pub use traces::BucketPlace;

use crate::model::Sampling;
use log_writer::LogOutput;
use logs::Logs;
use metrics::MetricInstruments;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use otel_env::OtelSwitches;
use otlp::OtlpPipelines;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::time::SystemTime;
use tokio_util::sync::CancellationToken;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::reload;

/// The format and filter of log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// JSON or text.
    pub format: LogFormatKind,
    /// A level (`info`), which applies to this program, while libraries log from `warn` up; or
    /// directives like those of `RUST_LOG` (`info,aws_smithy_runtime=debug`), which are used
    /// unchanged.
    pub filter: String,
    /// Whether text is coloured, as on a terminal.
    pub colour: bool,
}

/// The format of a log record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormatKind {
    /// One JSON object per line.
    Json,
    /// One short line for a terminal.
    Text,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is neither a level nor directives.
    #[error("the log filter '{filter}' is not understood: {source}")]
    Filter {
        /// The filter as written.
        filter: String,
        /// The problem.
        source: ParseError,
    },
    /// The thread for the output could not be started.
    #[error("the thread that writes the log could not be started: {0}")]
    Thread(#[source] io::Error),
    /// Logging was already set up in this process.
    #[error("logging is set up already")]
    AlreadySet,
}

/// Sends the log records of the process to `writer`. Keep the guard until the end of `main`:
/// dropping it waits for the last lines, for at most a second.
///
/// # Errors
///
/// If the filter is invalid, or logging cannot be set up.
pub fn init(
    settings: &LogSettings,
    writer: impl io::Write + Send + 'static,
) -> Result<(OutputGuard, LogLevel), InitError> {
    let (output, guard) = LogOutput::start(writer).map_err(InitError::Thread)?;
    let (subscriber, level) = subscriber(settings, output, clock)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InitError::AlreadySet)?;
    Ok((guard, level))
}

/// The recorder of metrics and traces, and their readers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// Receives the events of the work.
    pub recorder: Recorder,
    /// Renders the metrics for Prometheus.
    pub exposition: Exposition,
    /// The sampling of traces.
    pub sampling: Sampling,
    pipelines: OtlpPipelines,
    /// Shut down with the last clone.
    provider: SdkMeterProvider,
}

/// The exported signals, each with the endpoint that it is sent to.
#[must_use]
pub fn collectors(environment: &BTreeMap<OsString, OsString>) -> Vec<(&'static str, String)> {
    otel_env::endpoints(environment)
}

/// Starts to record, and to export if the standard variables in `environment` name a collector;
/// then the caller has to be on the runtime.
#[must_use]
pub fn start(environment: &BTreeMap<OsString, OsString>) -> Telemetry {
    let switches = OtelSwitches::read(environment);
    for (variable, why) in &switches.ignored {
        tracing::warn!(event = "telemetry.setting_ignored", variable, why, "setting ignored");
    }
    let resource = resource::from_environment(environment);
    let given_up = CancellationToken::new();
    let spans = otlp::spans(&switches, &resource, &given_up);
    let reader = otlp::metrics(&switches, &given_up);
    let pipelines = OtlpPipelines::new(spans.clone(), reader.is_some(), given_up);
    let sampling = if spans.is_some() { switches.sampling } else { Sampling::Nothing };
    let (provider, exposition) = metrics::provider(resource, reader);
    let recorder = Recorder::new(MetricInstruments::new(&provider), spans);
    Telemetry { recorder, exposition, sampling, pipelines, provider }
}

impl Telemetry {
    /// Sends the rest to the collector within a short time, or a shorter one if `hurried`.
    pub async fn end(&self, hurried: impl Future<Output = ()>) {
        self.pipelines.end(&self.provider, hurried).await;
    }
}

fn subscriber(
    settings: &LogSettings,
    output: LogOutput,
    clock: fn() -> SystemTime,
) -> Result<(impl Subscriber, LogLevel), InitError> {
    let (filter, handle) = reload::Layer::new(filter(&settings.filter)?);
    let style = match (settings.format, settings.colour) {
        (LogFormatKind::Json, _) => record::RecordStyle::Json,
        (LogFormatKind::Text, colour) => record::RecordStyle::Text { colour },
    };
    let logs = Logs::new(style, output, clock).with_filter(filter);
    Ok((tracing_subscriber::registry().with(logs), LogLevel::new(handle)))
}

/// Where the SDK logs failures of credentials, each with the whole HTTP response. The event
/// `credentials.renewal_failed` has the reason.
const CREDENTIAL_TARGETS: [&str; 4] = [
    "aws_config::meta",
    "aws_config::profile::credentials",
    "aws_config::sts",
    "aws_config::web_identity_token",
];

/// At `debug`, libraries log every byte and header that they send; a plain level therefore excludes
/// them.
fn filter(written: &str) -> Result<EnvFilter, InitError> {
    let own = env!("CARGO_CRATE_NAME");
    let directives = match written.trim().parse::<LevelFilter>() {
        Ok(level) => {
            let libraries = level.min(LevelFilter::WARN);
            let credentials = level.min(LevelFilter::ERROR);
            let quiet = CREDENTIAL_TARGETS.map(|target| format!("{target}={credentials}"));
            format!("{libraries},{},{own}={level}", quiet.join(","))
        }
        Err(_) => written.to_owned(),
    };
    EnvFilter::builder()
        .parse(directives)
        .map_err(|source| InitError::Filter { filter: written.to_owned(), source })
}

#[expect(
    clippy::disallowed_methods,
    reason = "an adapter: the time of a record is the time of its writing"
)]
fn clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;
