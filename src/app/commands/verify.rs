//! `verify`: reports where directory, state and bucket differ.

use super::{CommandView, InputError, fail, fit_memory, open_inputs};
use crate::app::{AppError, build};
use crate::cli::{Exit, ReportWriter};
use crate::config::{Config, DeletePolicy};
use crate::store::Store;
use crate::transfer::CONCURRENCY_AT_START;
use crate::verify::{self, Finding, FindingKind, Verify};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Reports where directory, state and bucket differ.
pub async fn verify(mut config: Config, checksum: bool, mut report: ReportWriter) -> Exit {
    fit_memory(&mut config);
    let mut counts = BTreeMap::new();
    match Box::pin(compare(&config, checksum, &mut report, &mut counts)).await {
        Ok(totals) => {
            let equal = !counts.keys().any(|kind: &FindingKind| kind.is_difference());
            let exit = if equal { Exit::Success } else { Exit::Unexpected };
            let (totals, summary) = summarize(&totals, &counts, equal);
            report.end(&totals, &summary, exit)
        }
        Err(error) => fail(report, &error),
    }
}

async fn compare(
    config: &Config,
    checksum: bool,
    report: &mut ReportWriter,
    counts: &mut BTreeMap<FindingKind, u64>,
) -> Result<verify::VerifyTotals, InputError> {
    let CommandView { root, store, bound, mirrored, s3 } =
        open_inputs(config, Store::open_read_only).await?;
    let verify = Verify {
        root,
        filter: build::filter(config).map_err(AppError::Patterns)?,
        store,
        s3,
        prefix: config.prefix.clone(),
        epoch: bound.epoch,
        keeps: config.delete_policy == DeletePolicy::Keep,
        checksum,
        metadata: config.refresh_metadata,
        requests: config.max_concurrent_transfers.min(CONCURRENCY_AT_START),
    };
    let mut report_event = |event| match event {
        verify::VerifyEvent::Finding(finding) => {
            *counts.entry(finding.kind).or_default() += 1;
            report.entry(&finding_json(&finding));
        }
        verify::VerifyEvent::Progress(what, done) => report.progress(what, done, Some(mirrored)),
    };
    Ok(verify.run(&mut report_event).await?)
}

/// A difference, as a line of the report.
fn finding_json(finding: &Finding) -> Value {
    let path = &finding.name;
    let waiting = finding.waiting.then_some(true);
    json!({
        "kind": finding.kind.as_str(), "path": path, "reason": finding.reason, "waiting": waiting,
    })
}

/// The totals, as JSON and as a sentence.
fn summarize(
    totals: &verify::VerifyTotals,
    counts: &BTreeMap<FindingKind, u64>,
    equal: bool,
) -> (Value, String) {
    let mut json_totals =
        json!({ "equal": equal, "files": totals.files, "objects": totals.objects });
    for (kind, count) in counts {
        json_totals[kind.as_str()] = json!(count);
    }
    let kinds = counts.iter().map(|(kind, count)| format!("{count} {}", kind.as_str()));
    let kinds = kinds.collect::<Vec<_>>().join(", ");
    let verdict = if equal { "equal" } else { "not equal" };
    let details = if kinds.is_empty() { String::new() } else { format!(" ({kinds})") };
    let files = totals.files;
    let objects = totals.objects;
    (json_totals, format!("{verdict}{details}: {files} files, {objects} objects"))
}
