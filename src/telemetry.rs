//! What the program tells about itself: log lines, one record a line, metrics and traces.
//!
//! Code anywhere in the crate speaks through `tracing`'s macros and knows nothing of this module:
//!
//! ```
//! # let (key, size) = ("uploads/a.txt", 3_u64);
//! tracing::info!(event = "upload.completed", aws.s3.key = key, file.size = size, "upload completed");
//! ```
//!
//! The message is constant text, `event` a stable name, and whatever varies is an attribute under
//! its OpenTelemetry name.
//!
//! # Invariants
//!
//! - One record is one line of printable text, whatever a file is called.
//! - Logging never fails, panics or blocks the caller: lines that a stuck reader leaves no room for
//!   are dropped, and their number is told once there is room again.
//! - Metrics have the names of the [`TABLE`] and fixed labels, and recording them costs next to nothing.
//! - A collector that is away, slow or silent costs what was measured, never work or time. Without
//!   one nothing is exported, and no thread is there for it.

mod invalidations;
mod json;
mod level;
mod levels;
mod logs;
mod metrics;
mod otlp;
mod output;
mod record;
mod recorder;
mod resource;
mod spans;
mod switches;
mod table;
mod text;
mod traces;
mod turns;

pub use level::LogLevel;
pub use levels::{Levels, Reloads};
pub use metrics::{CONTENT_TYPE, Exposition};
pub use output::Guard;
pub use recorder::Recorder;
pub use table::{Kind, Label, Metric, TABLE};
pub use traces::Place;

use crate::model::Sampling;
use logs::Logs;
use metrics::Metrics;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use otlp::Pipelines;
use output::Output;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::time::SystemTime;
use switches::Switches;
use tokio_util::sync::CancellationToken;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::reload;

/// How log lines look, and which there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// For machines or for people.
    pub format: Format,
    /// A level (`info`), which then is meant for this program, while libraries speak from `warn` up;
    /// or directives as `RUST_LOG` takes them (`info,aws_smithy_runtime=debug`), taken as they are.
    pub filter: String,
    /// Whether text is coloured, as on a terminal.
    pub colour: bool,
}

/// How a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// One short line for a person at a terminal.
    Text,
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is neither a level nor directives.
    #[error("the log filter '{filter}' is not understood: {source}")]
    Filter {
        /// As it was written.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// No thread for the output.
    #[error("the thread that writes the log could not be started: {0}")]
    Thread(#[source] io::Error),
    /// This was done before in this process.
    #[error("logging is set up already")]
    AlreadySet,
}

/// Sends the process's log records to `writer`. Keep the guard until the end of `main`: dropping it
/// waits, for a second at most, until the last lines are out.
///
/// # Errors
///
/// If the filter is not understood, or the process cannot have logs.
pub fn init(
    settings: &Settings,
    writer: impl io::Write + Send + 'static,
) -> Result<(Guard, LogLevel), InitError> {
    let (output, guard) = Output::start(writer).map_err(InitError::Thread)?;
    let (subscriber, level) = subscriber(settings, output, clock)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InitError::AlreadySet)?;
    Ok((guard, level))
}

/// What is measured, and who reads it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// Looks on at the work.
    pub recorder: Recorder,
    /// What Prometheus reads.
    pub exposition: Exposition,
    /// Which traces are exported.
    pub sampling: Sampling,
    pipelines: Pipelines,
    /// Ends with the last clone.
    provider: SdkMeterProvider,
}

/// Begins to measure, and to export if the standard variables in `environment` name a collector; then
/// it has to be called on the runtime.
#[must_use]
pub fn start(environment: &BTreeMap<OsString, OsString>) -> Telemetry {
    let switches = Switches::read(environment);
    for (variable, why) in &switches.ignored {
        tracing::warn!(event = "telemetry.setting_ignored", variable, why, "setting ignored");
    }
    let (resource, given_up) = (resource::of(environment), CancellationToken::new());
    let spans = otlp::spans(&switches, &resource, &given_up);
    let reader = otlp::metrics(&switches, &given_up);
    let pipelines = Pipelines::new(spans.clone(), reader.is_some(), given_up);
    let sampling = if spans.is_some() { switches.sampling } else { Sampling::Nothing };
    let (provider, exposition) = metrics::provider(resource, reader);
    let recorder = Recorder::new(Metrics::new(&provider), spans);
    Telemetry { recorder, exposition, sampling, pipelines, provider }
}

impl Telemetry {
    /// Sends what is left to the collector, for a short time, and shorter if `hurried`.
    pub async fn end(&self, hurried: impl Future<Output = ()>) {
        self.pipelines.end(&self.provider, hurried).await;
    }
}

fn subscriber(
    settings: &Settings,
    output: Output,
    clock: fn() -> SystemTime,
) -> Result<(impl Subscriber, LogLevel), InitError> {
    let (filter, handle) = reload::Layer::new(filter(&settings.filter)?);
    let style = match (settings.format, settings.colour) {
        (Format::Json, _) => record::Style::Json,
        (Format::Text, colour) => record::Style::Text { colour },
    };
    let logs = Logs::new(style, output, clock).with_filter(filter);
    Ok((tracing_subscriber::registry().with(logs), LogLevel::new(handle)))
}

/// Libraries at `debug` tell of every byte and header they send, so that a bare level leaves them out.
fn filter(written: &str) -> Result<EnvFilter, InitError> {
    let own = env!("CARGO_CRATE_NAME");
    let directives = match written.trim().parse::<LevelFilter>() {
        Ok(level) => format!("{},{own}={level}", level.min(LevelFilter::WARN)),
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
