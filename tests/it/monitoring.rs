//! The dashboard and the alert rules in `monitoring/`: what they name is there.

use file_sync_service::telemetry::{GaugeValues, InstrumentKind, Metric, TABLE, start};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).expect(name)
}

/// The names of series that the table makes.
fn series() -> BTreeSet<String> {
    let of = |Metric { name, kind, .. }: &Metric| match kind {
        InstrumentKind::Histogram(_) => {
            ["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")).to_vec()
        }
        InstrumentKind::Counter | InstrumentKind::Gauge => vec![(*name).to_owned()],
    };
    TABLE.iter().flat_map(of).collect()
}

/// The names in `text` that begin like a metric.
fn named(text: &str) -> BTreeSet<String> {
    let part = |char: char| !(char.is_ascii_alphanumeric() || char == '_');
    text.split(part).filter(|word| word.starts_with("file_sync_")).map(str::to_owned).collect()
}

#[test]
fn every_metric_in_the_dashboard_and_the_rules_exists_and_every_metric_is_shown() {
    let series = series();
    for file in
        ["monitoring/dashboard.json", "monitoring/alerts.yaml", "monitoring/alerts_test.yaml"]
    {
        let named = named(&text(file));
        assert!(named.len() > 5, "{file}");
        let unknown: Vec<_> = named.difference(&series).collect();
        assert!(unknown.is_empty(), "{file} names what is not there: {unknown:?}");
    }
    let shown = named(&text("monitoring/dashboard.json"));
    for Metric { name, .. } in TABLE {
        assert!(
            shown.iter().any(|shown| shown.starts_with(name)),
            "{name} is not in the dashboard"
        );
    }
}

#[test]
fn the_chart_ships_the_same_rules_and_dashboard() {
    // But for the comment above them.
    let rules = |name| {
        text(name).lines().skip_while(|line| line.starts_with('#')).collect::<Vec<_>>().join("\n")
    };
    let stale = "run: make charts";
    let shipped = rules("helm/file-sync-service/rules/file-sync-service.yaml");
    assert!(rules("monitoring/alerts.yaml") == shipped, "{stale}");
    let shipped = text("helm/file-sync-service/dashboards/file-sync-service.json");
    assert!(text("monitoring/dashboard.json") == shipped, "{stale}");
}

#[test]
fn labels_in_the_rules_have_values_that_exist() {
    let labels = || TABLE.iter().flat_map(|metric| metric.labels);
    let names: BTreeSet<_> = labels().map(|label| label.name).collect();
    for file in ["monitoring/alerts.yaml", "monitoring/alerts_test.yaml"] {
        let text = text(file);
        for name in names.iter().filter(|name| **name != "version") {
            for rest in text.split(&format!("{name}=\"")).skip(1) {
                let value = rest.split('"').next().expect("a value");
                let known =
                    labels().any(|label| label.name == *name && label.values.contains(&value));
                assert!(known, "{file}: there is no {name} {value:?}");
            }
        }
    }
}

#[test]
fn every_alert_is_tested_and_says_what_to_do() {
    let rules = text("monitoring/alerts.yaml");
    let tests = text("monitoring/alerts_test.yaml");
    let operations = text("docs/OPERATIONS.md");
    let alerts: Vec<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 5);
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} is not tested");
        assert!(operations.contains(&format!("\n### {alert}\n")), "{alert} is not in the manual");
        let anchor = format!("docs/OPERATIONS.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&anchor), "{alert} does not lead to the manual");
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_takes() {
    let dashboard: Value = serde_json::from_str(&text("monitoring/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> =
        panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()), "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "no foreign data source");
    }
    assert!(dashboard["uid"].is_string() && dashboard.get("id").is_none());
}

#[test]
fn promtool_accepts_the_metrics_and_the_rules() {
    let telemetry = start(&BTreeMap::new());
    let outage = Some("refused");
    telemetry.recorder.observe(move || GaugeValues {
        pending_files: Some(1),
        outage,
        ..GaugeValues::default()
    });
    let exposition = telemetry.exposition.render();
    let runs = [
        (&["check", "metrics"][..], exposition.as_str()),
        (&["check", "rules", "monitoring/alerts.yaml"], ""),
        (&["test", "rules", "monitoring/alerts_test.yaml"], ""),
    ];
    for (arguments, input) in runs {
        let Some(output) = promtool(arguments, input) else {
            println!("skipped: promtool is not installed (Debian: prometheus)");
            return;
        };
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
    }
}

fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    let mut promtool = Command::new("promtool")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = promtool.stdin.take().expect("a pipe");
    // One that asks for no input may have closed it.
    drop(stdin.write_all(input.as_bytes()));
    drop(stdin);
    Some(promtool.wait_with_output().expect("it ends"))
}
