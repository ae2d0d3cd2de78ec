//! `plan` and `verify`: commands that read and change nothing, with or without a running daemon.

use super::build::{self, transfer_settings};
use super::watched_dir::{DirectoryRelation, WatchedSource};
use super::{AppError, RunMode, StateBinding, memory_limit, target};
use crate::aws::Aws;
use crate::cli::{Exit, ReportWriter, size_in_words};
use crate::config::{Config, DeletePolicy};
use crate::engine;
use crate::engine::preview::{self, PlanInputs, PlanStep, PlannedAction};
use crate::model::BandwidthSchedule;
use crate::reconcile::ReportError;
use crate::root::Root;
use crate::store::{Change, ReadOnlyState, Store, StoreOpenError, UnusableState};
use crate::transfer::{
    self, BucketRecords, CONCURRENCY_AT_START, DryRun, PaceSettings, S3, Transfer,
};
use crate::verify::{self, Finding, FindingKind, Verify};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
enum InputError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error("{0}")]
    Source(String),
    #[error(transparent)]
    Report(#[from] ReportError),
}

impl InputError {
    fn exit(&self) -> Exit {
        match self {
            Self::App(error) => error.exit(),
            Self::Report(ReportError::Asked(_)) => Exit::Unreachable,
            Self::Report(ReportError::Store(_)) => Exit::StateUnreadable,
            Self::Source(_) | Self::Report(_) => Exit::Unexpected,
        }
    }
}

/// The inputs of both commands.
struct CommandView {
    root: Arc<Root>,
    store: Store,
    bound: StateBinding,
    mirrored: u64,
    s3: S3,
}

/// Reports what `once` would do.
pub async fn plan(mut config: Config, reapply_rules: bool, mut report: ReportWriter) -> Exit {
    fit_memory(&mut config);
    let mut counted = PlannedTotals::default();
    let done = Box::pin(preview(&config, reapply_rules, &mut report, &mut counted)).await;
    match done {
        Ok(totals) => {
            let (totals, summary) = counted.summarize(&totals);
            report.end(&totals, &summary, Exit::Success)
        }
        Err(error) => failed(report, &error),
    }
}

/// Reports where directory, state and bucket differ.
pub async fn verify(mut config: Config, checksum: bool, mut report: ReportWriter) -> Exit {
    fit_memory(&mut config);
    let mut counted = BTreeMap::new();
    match Box::pin(compare(&config, checksum, &mut report, &mut counted)).await {
        Ok(totals) => {
            let equal = !counted.keys().any(|kind: &FindingKind| kind.is_difference());
            let exit = if equal { Exit::Success } else { Exit::Unexpected };
            let (totals, summary) = compared(&totals, &counted, equal);
            report.end(&totals, &summary, exit)
        }
        Err(error) => failed(report, &error),
    }
}

/// Reduces the memory as the daemon does: it determines which files are too large.
fn fit_memory(config: &mut Config) {
    if let Some(fitted) = memory_limit::fit(config) {
        ReportWriter::note(&fitted.to_string());
    }
}

fn failed(report: ReportWriter, error: &InputError) -> Exit {
    report.fail(&error.to_string());
    error.exit()
}

async fn preview(
    config: &Config,
    reapply_rules: bool,
    report: &mut ReportWriter,
    counted: &mut PlannedTotals,
) -> Result<preview::PlanTotals, InputError> {
    let share = config.share;
    let CommandView { root, store, bound, mirrored, s3 } =
        view(config, move |directory, target| Store::open_copy(directory, target, share)).await?;
    store.write(vec![Change::Bound(bound.clone())]).await.map_err(AppError::from)?;
    let rules = build::rules(config).map_err(AppError::Patterns)?;
    let settings = transfer_settings(config, &bound, Arc::clone(&rules), reapply_rules);
    // Nothing is uploaded, and nothing is probed.
    let pace = PaceSettings { bandwidth: BandwidthSchedule::default(), ..settings.pace };
    let settings = transfer::TransferSettings { pace, probe: None, ..settings };
    let records = BucketRecords::new(store.clone(), bound.clone());
    let transfer = Transfer::new(Arc::clone(&root), DryRun::new(s3), records, settings);
    let transfer = transfer.map_err(AppError::Threads)?;
    let mode = RunMode::Once { reapply_rules, strict: false };
    let reapply = reapply_rules.then_some(rules);
    let interval = config.rescan_interval;
    let preview = PlanInputs {
        root,
        filter: build::filter(config).map_err(AppError::Patterns)?,
        store,
        transfer: Arc::new(transfer),
        looking: engine::looking().map_err(AppError::Threads)?,
        settings: build::engine_settings(config, mode, bound.epoch, interval, reapply),
    };
    let mut report_event = |event| match event {
        preview::PlanEvent::Step(step) => report.entry(&counted.count(&step)),
        preview::PlanEvent::Compared(files) => {
            report.progress("files compared", files, Some(mirrored));
        }
    };
    Ok(preview.run(&mut report_event).await?)
}

async fn compare(
    config: &Config,
    checksum: bool,
    report: &mut ReportWriter,
    counted: &mut BTreeMap<FindingKind, u64>,
) -> Result<verify::VerifyTotals, InputError> {
    let CommandView { root, store, bound, mirrored, s3 } =
        view(config, Store::open_read_only).await?;
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
            *counted.entry(finding.kind).or_default() += 1;
            report.entry(&found(&finding));
        }
        verify::VerifyEvent::Progress(what, done) => report.progress(what, done, Some(mirrored)),
    };
    Ok(verify.run(&mut report_event).await?)
}

/// Opens the inputs. Reports what would prevent `once`.
async fn view(
    config: &Config,
    open: impl FnOnce(&Path, &str) -> Result<ReadOnlyState, StoreOpenError> + Send + 'static,
) -> Result<CommandView, InputError> {
    let directory = config.state_dir.clone();
    let target = target(config);
    let viewed = match tokio::task::spawn_blocking(move || open(&directory, &target)).await {
        Ok(viewed) => viewed.map_err(AppError::from)?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    if let Some(why) = viewed.unusable {
        ReportWriter::note(match why {
            UnusableState::Damaged => {
                "the record is damaged: a daemon would move it aside and begin anew"
            }
            UnusableState::OtherTarget => {
                "state_dir belongs to another bucket or prefix: a daemon would set it aside and start with a new state"
            }
        });
    }
    let unusable = |reason: &dyn Display| format!("the watched directory cannot be used: {reason}");
    let found = WatchedSource::new(config)
        .map_err(|error| InputError::Source(unusable(&error)))?
        .open(viewed.bound.as_ref())
        .map_err(|reason| InputError::Source(unusable(&reason)))?;
    let owner = viewed.bound.as_ref().map(|bound| bound.owner.clone()).unwrap_or_default();
    if found.generation == DirectoryRelation::Next {
        ReportWriter::note(
            "this is not the directory that the state belongs to: what was mirrored from the other \
             one is not deleted",
        );
    }
    let first = super::first_binding(config, &owner);
    let bound = found.bind(viewed.bound, first);
    let aws = Aws::load(build::aws(config)).await.map_err(AppError::from)?;
    let s3 = S3::new(&aws, build::s3(config, &owner));
    let mirrored = viewed.counts.mirrored;
    Ok(CommandView { root: Arc::new(found.root), store: viewed.store, bound, mirrored, s3 })
}

/// The totals of a plan.
#[derive(Debug, Default)]
struct PlannedTotals {
    upload: PlanSum,
    copy: PlanSum,
    delete: PlanSum,
    held: PlanSum,
    left: PlanSum,
}

#[derive(Debug, Default)]
struct PlanSum {
    files: u64,
    bytes: u64,
}

impl PlannedTotals {
    fn count(&mut self, step: &PlanStep) -> Value {
        let (word, sum) = match step.doing {
            PlannedAction::Upload => ("upload", &mut self.upload),
            PlannedAction::Copy(_) => ("copy", &mut self.copy),
            PlannedAction::Delete => ("delete", &mut self.delete),
            PlannedAction::Hold => ("held", &mut self.held),
            PlannedAction::Leave => ("left", &mut self.left),
        };
        sum.files += 1;
        sum.bytes += step.size;
        let bytes = matches!(step.doing, PlannedAction::Upload | PlannedAction::Copy(_))
            .then_some(step.size);
        let from =
            if let PlannedAction::Copy(from) = &step.doing { Some(from.to_string()) } else { None };
        let path = step.path.to_string();
        let reason = &step.reason;
        json!({ "kind": word, "path": path, "bytes": bytes, "from": from, "reason": reason })
    }

    fn summarize(&self, totals: &preview::PlanTotals) -> (Value, String) {
        let sums = [
            ("upload", &self.upload),
            ("copy", &self.copy),
            ("delete", &self.delete),
            ("held", &self.held),
            ("left", &self.left),
        ];
        let mut json_totals = json!({
            "files": totals.files, "recorded": totals.recorded, "unreadable": totals.unreadable,
        });
        for (word, sum) in sums {
            json_totals[word] = json!({ "files": sum.files, "bytes": sum.bytes });
        }
        let done = sums.iter().filter(|(_, sum)| sum.files > 0);
        let done: Vec<_> = done.map(|(word, sum)| format!("{} to {word}", sum.files)).collect();
        let done = if done.is_empty() { "nothing to do".to_owned() } else { done.join(", ") };
        let done = done.replace("to held", "deletes held").replace("to left", "left");
        let size = size_in_words(self.upload.bytes);
        let mut summary = format!("{done}; {size} to send, of {} files", totals.files);
        if totals.unreadable > 0 {
            summary.push_str("; what cannot be read is not known");
        }
        if self.held.files > 0 {
            summary.push_str(
                "; held deletes are more than delete_limit_percent and delete_limit_count allow",
            );
        }
        (json_totals, summary)
    }
}

fn found(finding: &Finding) -> Value {
    let path = &finding.name;
    let waiting = finding.waiting.then_some(true);
    json!({
        "kind": finding.kind.as_str(), "path": path, "reason": finding.reason, "waiting": waiting,
    })
}

fn compared(
    totals: &verify::VerifyTotals,
    counted: &BTreeMap<FindingKind, u64>,
    equal: bool,
) -> (Value, String) {
    let mut json_totals =
        json!({ "equal": equal, "files": totals.files, "objects": totals.objects });
    for (kind, count) in counted {
        json_totals[kind.as_str()] = json!(count);
    }
    let kinds = counted.iter().map(|(kind, count)| format!("{count} {}", kind.as_str()));
    let kinds = kinds.collect::<Vec<_>>().join(", ");
    let verdict = if equal { "equal" } else { "not equal" };
    let beside = if kinds.is_empty() { String::new() } else { format!(" ({kinds})") };
    let files = totals.files;
    let objects = totals.objects;
    (json_totals, format!("{verdict}{beside}: {files} files, {objects} objects"))
}
