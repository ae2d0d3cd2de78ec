//! What the program tells about itself: log lines, one record a line, and metrics.
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

mod json;
mod levels;
mod logs;
mod metrics;
mod output;
mod record;
mod recorder;
mod table;
mod text;

pub use levels::Levels;
pub use metrics::{CONTENT_TYPE, Exposition};
pub use output::Guard;
pub use recorder::Recorder;
pub use table::{Kind, Label, Metric, TABLE};

use logs::Logs;
use metrics::Metrics;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use output::Output;
use std::io;
use std::time::SystemTime;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

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
) -> Result<Guard, InitError> {
    let (output, guard) = Output::start(writer).map_err(InitError::Thread)?;
    let subscriber = subscriber(settings, output, clock)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InitError::AlreadySet)?;
    Ok(guard)
}

/// What is measured, and who reads it.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// Looks on at the work.
    pub recorder: Recorder,
    /// What Prometheus reads.
    pub exposition: Exposition,
    /// Ends with the last clone.
    _provider: SdkMeterProvider,
}

/// Begins to measure.
#[must_use]
pub fn start() -> Telemetry {
    let (provider, exposition) = metrics::provider(Resource::builder().build(), |builder| builder);
    let recorder = Recorder::new(Metrics::new(&provider));
    Telemetry { recorder, exposition, _provider: provider }
}

fn subscriber(
    settings: &Settings,
    output: Output,
    clock: fn() -> SystemTime,
) -> Result<impl Subscriber, InitError> {
    let filter = filter(&settings.filter)?;
    let style = match (settings.format, settings.colour) {
        (Format::Json, _) => record::Style::Json,
        (Format::Text, colour) => record::Style::Text { colour },
    };
    let logs = Logs::new(style, output, clock).with_filter(filter);
    Ok(tracing_subscriber::registry().with(logs))
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
