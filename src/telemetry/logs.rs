//! The layer between `tracing` and the output: converts events into lines.

use super::log_writer::LogOutput;
use super::record::{Fields, Record, RecordStyle};
use std::time::SystemTime;
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Writes every event as one record, with the fields of its spans.
#[derive(Debug)]
pub(super) struct Logs {
    style: RecordStyle,
    output: LogOutput,
    clock: fn() -> SystemTime,
}

impl Logs {
    pub(super) fn new(style: RecordStyle, output: LogOutput, clock: fn() -> SystemTime) -> Self {
        Self { style, output, clock }
    }

    fn write(&self, level: Level, target: &str, fields: Fields) -> bool {
        let record = Record { timestamp: (self.clock)().into(), level, target, fields };
        self.output.send(record.to_line(self.style))
    }

    /// Logs the number of lost lines, so that a gap is visible.
    fn log_lost_lines(&self) {
        let lost = self.output.take_lost();
        if lost == 0 {
            return;
        }
        let fields = Fields {
            message: Some("log lines were lost because the reader was too slow".to_owned()),
            event: Some("log.lost".to_owned()),
            attributes: vec![("log.lost_lines", lost.into())],
            ..Fields::default()
        };
        if !self.write(Level::WARN, module_path!(), fields) {
            // The lost lines are reported later; the report itself does not count.
            self.output.add_lost(lost - 1);
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Logs {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &tracing::span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        self.log_lost_lines();
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.extend(outer);
            }
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        // The output counts a lost line.
        let _sent: bool = self.write(*metadata.level(), metadata.target(), fields);
    }
}
