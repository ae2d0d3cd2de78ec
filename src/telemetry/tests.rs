//! Tests of whole lines, as a reader gets them.

use super::*;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// 2026-11-02T19:03:11.123456789Z
fn fixed() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_793_646_191, 123_456_789)
}

/// The lines that `act` causes.
fn lines(format: LogFormatKind, colour: bool, filter: &str, act: impl FnOnce()) -> String {
    let captured = Captured::default();
    let (output, guard) = LogOutput::start(captured.clone()).expect("a thread");
    let settings = LogSettings { format, filter: filter.to_owned(), colour };
    let (subscriber, _) = subscriber(&settings, output, fixed).expect("a proper filter");
    tracing::subscriber::with_default(subscriber, act);
    drop(guard);
    let bytes = captured.0.lock().expect("no panic").clone();
    String::from_utf8(bytes).expect("text")
}

fn json(act: impl FnOnce()) -> String {
    lines(LogFormatKind::Json, false, "trace", act)
}

fn text(act: impl FnOnce()) -> String {
    lines(LogFormatKind::Text, false, "trace", act)
}

const HEAD: &str = r#"{"timestamp":"2026-11-02T19:03:11.123456Z","#;
const TARGET: &str = r#""target":"file_sync_service::telemetry::tests""#;

#[test]
fn a_record_is_one_flat_object_with_the_fixed_names_first() {
    let line = json(|| {
        let key = "uploads/a.txt";
        tracing::info!(
            event = "upload.completed",
            aws.s3.key = %key,
            file.size = 3_u64,
            error.type = "none",
            offset = -1_i64,
            ratio = 0.5,
            resumed = false,
            "upload completed"
        );
    });
    let rest = r#""aws.s3.key":"uploads/a.txt","file.size":3,"error.type":"none","offset":-1,"ratio":0.5,"resumed":false}"#;
    let expected = format!(
        "{HEAD}\"severity\":\"INFO\",\"message\":\"upload completed\",\"event\":\"upload.completed\",{TARGET},{rest}\n"
    );
    assert_eq!(line, expected);
}

#[test]
fn fields_of_spans_are_flattened_and_the_inner_one_wins() {
    let line = json(|| {
        let outer = tracing::info_span!(
            "outer",
            aws.s3.bucket = "b",
            attempt = 1,
            late = tracing::field::Empty
        );
        let _outer = outer.enter();
        let _inner = tracing::info_span!("inner", attempt = 2, step = "read").entered();
        outer.record("late", true);
        tracing::warn!(event = "upload.retried", step = "send", "upload will be tried again");
    });
    let expected = format!(
        "{HEAD}\"severity\":\"WARN\",\"message\":\"upload will be tried again\",\"event\":\"upload.retried\",{TARGET},\
         \"aws.s3.bucket\":\"b\",\"attempt\":2,\"late\":true,\"step\":\"send\"}}\n"
    );
    assert_eq!(line, expected);
}

#[test]
fn hostile_names_cannot_break_turn_or_forge_a_line() {
    let hostile = "a\n\r\t\"\\\u{1b}[2J\u{7f}\u{85}\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}😀ä.txt";
    let line = json(|| tracing::error!(event = "e", file.path = hostile, "m"));
    let escaped = r#"a\n\r\t\"\\\u001b[2J\u007f\u0085\u2028\u2029\u202e\u2066\ufeff😀ä.txt"#;
    assert_eq!(line.lines().count(), 1);
    assert!(line.ends_with(&format!("\"file.path\":\"{escaped}\"}}\n")), "{line}");
    let back: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(back["file.path"], hostile);
}

#[test]
fn no_attribute_takes_a_fixed_name() {
    let line =
        json(|| tracing::info!(severity = "ERROR", trace_id = 1, timestamp = 0, size = 2, "m"));
    assert_eq!(
        line,
        format!("{HEAD}\"severity\":\"INFO\",\"message\":\"m\",{TARGET},\"size\":2}}\n")
    );
}

#[test]
fn an_error_is_logged_with_its_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("S3 did not answer")]
    struct Outer(#[source] io::Error);
    let error = Outer(io::Error::other("connection refused"));
    let line = json(|| tracing::warn!(error.message = &error as &dyn std::error::Error, "m"));
    assert!(line.contains(r#""error.message":"S3 did not answer: connection refused""#), "{line}");
}

#[test]
fn what_cannot_be_shown_does_not_panic() {
    struct Unshowable;
    impl fmt::Debug for Unshowable {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }
    let line = json(|| tracing::info!(thing = ?Unshowable, ratio = f64::NAN, "m"));
    assert!(line.contains(r#""thing":"(cannot be shown)","ratio":"NaN""#), "{line}");
}

#[test]
fn a_value_without_end_is_cut() {
    let line = json(|| tracing::info!(body = "ä".repeat(100_000), "m"));
    assert!(line.len() < 5_000, "{}", line.len());
    assert!(line.ends_with("ä…\"}\n"), "{line}");
}

#[test]
fn text_is_short_and_shows_what_a_person_needs() {
    let line = text(|| {
        tracing::info!(
            event = "upload.completed",
            aws.s3.key = "a b.txt",
            file.size = 3_u64,
            took = "12ms",
            "upload completed"
        );
    });
    assert_eq!(line, "19:03:11.123 INFO  upload completed  key=\"a b.txt\" size=3 took=12ms\n");
}

#[test]
fn text_says_who_speaks_where_no_event_does() {
    let line = text(|| tracing::debug!(target: "hyper::pool", "idle"));
    assert_eq!(line, "");
    let line = lines(
        LogFormatKind::Text,
        false,
        "info,hyper=debug",
        || tracing::debug!(target: "hyper::pool", "idle"),
    );
    assert_eq!(line, "19:03:11.123 DEBUG hyper::pool: idle\n");
}

#[test]
fn text_escapes_hostile_names() {
    let line = text(|| tracing::warn!(event = "e", file.path = "a\n\u{1b}[31m\u{202e}\"", "m"));
    assert_eq!(line, "19:03:11.123 WARN  m  path=\"a\\n\\u{1b}[31m\\u{202e}\\\"\"\n");
}

#[test]
fn text_is_coloured_only_where_asked() {
    let act = || tracing::error!(event = "e", a = 1, "m");
    assert!(!text(act).contains('\u{1b}'));
    let expected =
        "\u{1b}[2m19:03:11.123\u{1b}[0m \u{1b}[1;31mERROR\u{1b}[0m m  \u{1b}[2ma=\u{1b}[0m1\n";
    assert_eq!(lines(LogFormatKind::Text, true, "info", act), expected);
}

#[test]
fn a_bare_level_is_about_this_program() {
    let act = || {
        tracing::debug!("ours");
        tracing::info!(target: "aws_config", "theirs");
        tracing::warn!(target: "aws_config", "their warning");
        tracing::warn!(target: "aws_config::meta::credentials::chain", "a whole response");
    };
    let reported = lines(LogFormatKind::Text, false, "debug", act);
    assert!(
        reported.contains("ours")
            && reported.contains("their warning")
            && !reported.contains("theirs"),
        "{reported}"
    );
    assert!(!reported.contains("a whole response"), "{reported}");
    assert_eq!(lines(LogFormatKind::Text, false, "error", act), "");
}

#[test]
fn a_filter_that_is_not_understood_is_reported() {
    let error = filter("file_sync_service=loud").expect_err("no such level");
    assert!(
        error.to_string().starts_with("the log filter 'file_sync_service=loud' is not understood"),
        "{error}"
    );
}

#[test]
fn lost_lines_are_reported_when_there_is_room_again() {
    let captured = Captured::default();
    let (output, guard) = LogOutput::start(captured.clone()).expect("a thread");
    output.add_lost(7);
    let settings =
        LogSettings { format: LogFormatKind::Json, filter: "info".to_owned(), colour: false };
    let (subscriber, _) = subscriber(&settings, output, fixed).expect("a proper filter");
    tracing::subscriber::with_default(subscriber, || tracing::info!("m"));
    drop(guard);
    let reported = String::from_utf8(captured.0.lock().expect("no panic").clone()).expect("text");
    assert_eq!(reported.lines().count(), 2);
    assert!(reported.contains(r#""event":"log.lost","target":"file_sync_service::telemetry::logs","log.lost_lines":7}"#), "{reported}");
}

/// An empty span, for tests that only count spans.
pub(super) fn span() -> opentelemetry_sdk::trace::SpanData {
    use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
    opentelemetry_sdk::trace::SpanData {
        span_context: SpanContext::NONE,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "nothing".into(),
        start_time: fixed(),
        end_time: fixed(),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: opentelemetry_sdk::trace::SpanEvents::default(),
        links: opentelemetry_sdk::trace::SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: opentelemetry::InstrumentationScope::default(),
    }
}

#[test]
fn the_trace_stands_at_the_top_of_every_line_of_its_change() {
    let trace_id = "0af7651916cd43dd8448eb211c80319c";
    let span_id = "b7ad6b7169203331";
    let act = || {
        let _change =
            tracing::error_span!("change", trace_id, span_id, trace_flags = "01").entered();
        tracing::warn!(event = "upload.failed", trace_id = "forged", "upload failed");
    };
    let line = json(act);
    let trace =
        format!(r#"{TARGET},"trace_id":"{trace_id}","span_id":"{span_id}","trace_flags":"01"}}"#);
    assert!(line.ends_with(&format!("{trace}\n")), "{line}");
    assert!(!text(act).contains(trace_id), "a person has no use for it");
}

#[test]
fn the_level_may_be_changed_while_it_runs() {
    let captured = Captured::default();
    let (output, guard) = LogOutput::start(captured.clone()).expect("a thread");
    let settings =
        LogSettings { format: LogFormatKind::Json, filter: "info".to_owned(), colour: false };
    let (subscriber, level) = subscriber(&settings, output, fixed).expect("a proper filter");
    tracing::subscriber::with_default(subscriber, || {
        tracing::debug!("not reported");
        level.set("debug").expect("a level");
        tracing::debug!("reported");
        assert!(level.set("info,=").is_err());
        tracing::debug!("still reported");
    });
    drop(guard);
    let text = String::from_utf8(captured.0.lock().expect("no panic").clone()).expect("text");
    let reported: Vec<_> = text.lines().map(|line| line.contains("still reported")).collect();
    assert_eq!(reported, [false, true], "{text}");
}
