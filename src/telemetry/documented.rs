//! Keeps `docs/METRICS.md` equal to the table of metrics, and the table equal to the instruments.
//!
//! `UPDATE_DOCS=1 cargo test --lib documented` rewrites the generated part.

use super::metric_defs::{self, InstrumentKind, Label, Metric, TABLE};
use super::metrics::{MetricInstruments, provider};
use super::{GaugeValues, ReloadCounts};
use crate::docs_test::{assert_generated, project};
use opentelemetry_sdk::Resource;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

const BEGIN: &str = "<!-- metrics: begin, generated from src/telemetry/metric_defs.rs -->\n";
const END: &str = "<!-- metrics: end -->\n";

#[test]
fn the_documentation_has_every_metric_as_it_is() {
    assert_generated("docs/METRICS.md", [BEGIN, END], &tables());
}

fn tables() -> String {
    let mut text =
        String::from("\n| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n");
    for Metric { name, kind, labels, help, .. } in TABLE {
        let kind = match kind {
            InstrumentKind::Counter => "counter",
            InstrumentKind::Gauge => "gauge",
            InstrumentKind::Histogram(_) => "histogram",
        };
        let labels: Vec<_> = labels.iter().map(|Label { name, .. }| format!("`{name}`")).collect();
        writeln!(text, "| `{name}` | {kind} | {} | {help} |", labels.join(", "))
            .expect("a string takes everything");
    }
    text.push_str("\n| metric | label | values |\n| --- | --- | --- |\n");
    for Metric { name, labels, .. } in TABLE {
        for label in *labels {
            let values: Vec<_> = match label.name {
                "version" => vec!["the version".to_owned()],
                _ => label.values.iter().map(|value| format!("`{value}`")).collect(),
            };
            writeln!(text, "| `{name}` | `{}` | {} |", label.name, values.join(", "))
                .expect("a string takes everything");
        }
    }
    text.push_str("\n| histogram | upper bounds, seconds |\n| --- | --- |\n");
    for Metric { name, kind, .. } in TABLE {
        if let InstrumentKind::Histogram(bounds) = kind {
            let bounds: Vec<_> = bounds.iter().map(ToString::to_string).collect();
            writeln!(text, "| `{name}` | {} |", bounds.join(", "))
                .expect("a string takes everything");
        }
    }
    text.push('\n');
    text
}

#[test]
fn every_metric_is_in_the_text_for_prometheus_under_its_name_and_no_other_is() {
    let (provider, exposition) = provider(Resource::builder_empty().build(), None);
    let metrics = MetricInstruments::new(&provider);
    metrics.observe(full_levels);
    metrics.upload_duration.record(0.5, &[]);
    metrics.sync_lag.record(0.5, &[]);
    metrics.scan_duration.record(0.5, &[]);
    metrics.last_success.record(1.0, &[]);
    metrics.scan_drift.record(1, &[]);
    let text = exposition.render();
    let exported: BTreeSet<_> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(str::to_owned).collect();
    let expected = TABLE.iter().map(|Metric { name, kind, .. }| match kind {
        InstrumentKind::Counter => format!("{name} counter"),
        InstrumentKind::Gauge => format!("{name} gauge"),
        InstrumentKind::Histogram(_) => format!("{name} histogram"),
    });
    assert_eq!(exported, expected.collect(), "{text}");
    for Metric { name, help, kind, .. } in TABLE {
        assert!(text.contains(&format!("# HELP {name} {help}")), "{name} says what it means");
        if let InstrumentKind::Histogram(bounds) = kind {
            for bound in *bounds {
                assert!(
                    text.contains(&format!("{name}_bucket{{le=\"{bound}\"}}")),
                    "{name} {bound}"
                );
            }
        }
    }
}

#[test]
fn a_gauge_with_a_label_reports_every_value_of_the_label() {
    let (provider, exposition) = provider(Resource::builder_empty().build(), None);
    MetricInstruments::new(&provider).observe(full_levels);
    let text = exposition.render();
    for line in [
        "file_sync_skipped_files{reason=\"permission\"} 2",
        "file_sync_skipped_files{reason=\"source\"} 0",
        "file_sync_outage{class=\"refused\"} 1",
        "file_sync_outage{class=\"unavailable\"} 0",
        "file_sync_watch_mode{mode=\"events\"} 1",
        "file_sync_watch_mode{mode=\"poll\"} 0",
    ] {
        assert!(text.lines().any(|exported| exported == line), "{line} in\n{text}");
    }
}

/// Gauges with all values set.
fn full_levels() -> GaugeValues {
    GaugeValues {
        pending_files: Some(1),
        pending_bytes: Some(1),
        oldest_pending: Some(1),
        parked: Some(vec![("permission denied".to_owned(), 2), ("name".to_owned(), 1)]),
        gaps: Some(crate::model::CoverageGaps::default()),
        deletes_held: Some(1),
        deletes_delayed: Some(1),
        other_writer: Some(true),
        mirrored_files: Some(1),
        concurrency: Some(1),
        invalidation_waiting: Some(1),
        invalidation_paths: Some([("accepted", 1), ("completed", 1), ("failed", 0)]),
        reloads: Some(ReloadCounts::default()),
        credentials_expiry: Some(1),
        credentials_renewed: Some(1),
        credentials_renewals: Some((1, 1)),
        outage: Some("refused"),
        source_available: Some(true),
        watch_mode: Some("events"),
        watched: Some(1),
        unwatched: Some(1),
        watch_limit: Some(1),
        overflows: Some(1),
        poll_operations: Some([("directory", 1), ("list", 1), ("file", 1)]),
        hints: Some([("taken", 1), ("refused", 1), ("dropped", 1)]),
        relays: Some(crate::hints::RelayCounts::default()),
        shard: Some((1, 3)),
        state_bytes: Some(1),
        state_available: Some(1),
        state_capacity: Some(1),
    }
}

#[test]
fn every_request_that_is_made_is_a_value_of_its_label() {
    let files = ["src/transfer/instrumented.rs", "src/transfer/object_store.rs"];
    let source = files.map(|file| fs::read_to_string(project(file)).expect("the source")).concat();
    let known = metric_defs::S3_REQUESTS.labels[0].values;
    // The name of a request is quoted, and a word of capitals and lower-case letters.
    let names = source.split('"').skip(1).step_by(2).filter(|name| {
        name.starts_with(|char: char| char.is_ascii_uppercase()) && !name.contains(' ')
    });
    let names: BTreeSet<_> = names.collect();
    assert_eq!(names, known.iter().copied().collect());
}

#[test]
fn names_and_units_are_as_prometheus_wants_them() {
    let mut names = BTreeSet::new();
    for Metric { name, kind, unit, help, labels } in TABLE {
        assert!(names.insert(name), "{name} is there twice");
        assert!(name.starts_with("file_sync_"), "{name}");
        assert!(help.ends_with('.'), "{name}: {help}");
        assert_eq!(*kind == InstrumentKind::Counter, name.ends_with("_total"), "{name}");
        match *unit {
            "s" => assert!(name.contains("_seconds"), "{name}"),
            "By" => assert!(name.contains("bytes"), "{name}"),
            _ => assert!(!name.contains("_seconds") && !name.contains("bytes"), "{name}"),
        }
        let series: usize = labels.iter().map(|label| label.values.len()).product();
        assert!(series <= 100 && labels.iter().all(|label| !label.values.is_empty()), "{name}");
    }
}
