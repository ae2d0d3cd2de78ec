//! `plan` and `verify`: commands that look and change nothing, beside a running daemon or without one.

use super::parts::{self, Recorded, transfer_settings};
use super::{AppError, Bound, Mode, source, target};
use crate::aws::Aws;
use crate::cli::{Exit, Report};
use crate::config::{Config, DeletePolicy};
use crate::engine;
use crate::engine::preview::{self, Doing, Preview, Step};
use crate::model::Epoch;
use crate::reconcile::ReportError;
use crate::root::Root;
use crate::store::{Change, OpenError, Store, Unusable, Viewed};
use crate::transfer::{self, PaceSettings, Rehearsed, S3, Transfer};
use crate::verify::{self, Finding, Kind, Verify};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error("{0}")]
    Source(String),
    #[error(transparent)]
    Report(#[from] ReportError),
}

impl LookError {
    fn exit(&self) -> Exit {
        match self {
            Self::App(error) => error.exit(),
            Self::Report(ReportError::Asked(_)) => Exit::Unreachable,
            Self::Report(ReportError::Store(_)) => Exit::StateUnreadable,
            Self::Source(_) | Self::Report(_) => Exit::Unexpected,
        }
    }
}

/// What both commands look at.
struct View {
    root: Arc<Root>,
    store: Store,
    bound: Bound,
    mirrored: u64,
    s3: S3,
}

/// Tells what `once` would do.
pub async fn plan(config: Config, reapply_rules: bool, mut report: Report) -> Exit {
    let mut counted = Planned::default();
    let done = Box::pin(preview(&config, reapply_rules, &mut report, &mut counted)).await;
    match done {
        Ok(totals) => {
            let (totals, summary) = counted.told(&totals);
            report.end(&totals, &summary, Exit::Success)
        }
        Err(error) => failed(report, &error),
    }
}

/// Tells where directory, record and bucket differ.
pub async fn verify(config: Config, checksum: bool, mut report: Report) -> Exit {
    let mut counted = BTreeMap::new();
    match Box::pin(compare(&config, checksum, &mut report, &mut counted)).await {
        Ok(totals) => {
            let equal = !counted.keys().any(|kind: &Kind| kind.is_difference());
            let exit = if equal { Exit::Success } else { Exit::Unexpected };
            let (totals, summary) = compared(&totals, &counted, equal);
            report.end(&totals, &summary, exit)
        }
        Err(error) => failed(report, &error),
    }
}

fn failed(report: Report, error: &LookError) -> Exit {
    report.fail(&error.to_string());
    error.exit()
}

async fn preview(
    config: &Config,
    reapply_rules: bool,
    report: &mut Report,
    counted: &mut Planned,
) -> Result<preview::Totals, LookError> {
    let share = config.share;
    let View { root, store, bound, mirrored, s3 } =
        view(config, move |directory, target| Store::copy_of(directory, target, share)).await?;
    store.write(vec![Change::Bound(bound.clone())]).await.map_err(AppError::from)?;
    let rules = parts::rules(config).map_err(AppError::Patterns)?;
    let settings = transfer_settings(config, &bound, Arc::clone(&rules), reapply_rules);
    // Nothing is sent, and nothing tried out.
    let pace = PaceSettings { bytes_per_second: None, ..settings.pace };
    let settings = transfer::Settings { pace, probe: None, ..settings };
    let journal = Recorded::new(store.clone(), bound.clone());
    let transfer = Transfer::new(Arc::clone(&root), Rehearsed::new(s3), journal, settings);
    let transfer = transfer.map_err(AppError::Threads)?;
    let (mode, reapply) = (Mode::Once { reapply_rules }, reapply_rules.then_some(rules));
    let interval = config.rescan_interval;
    let preview = Preview {
        root,
        filter: parts::filter(config).map_err(AppError::Patterns)?,
        store,
        transfer: Arc::new(transfer),
        looking: engine::looking().map_err(AppError::Threads)?,
        settings: parts::engine_settings(config, mode, bound.epoch, interval, reapply),
    };
    let mut tell = |told| match told {
        preview::Told::Step(step) => report.entry(&counted.count(&step)),
        preview::Told::Compared(files) => {
            report.progress("files compared", files, Some(mirrored));
        }
    };
    Ok(preview.run(&mut tell).await?)
}

async fn compare(
    config: &Config,
    checksum: bool,
    report: &mut Report,
    counted: &mut BTreeMap<Kind, u64>,
) -> Result<verify::Totals, LookError> {
    let View { root, store, bound, mirrored, s3 } = view(config, Store::look_on).await?;
    let verify = Verify {
        root,
        filter: parts::filter(config).map_err(AppError::Patterns)?,
        store,
        s3,
        prefix: config.prefix.clone(),
        epoch: bound.epoch,
        keeps: config.delete_policy == DeletePolicy::Keep,
        checksum,
        requests: config.max_concurrent_transfers,
    };
    let mut tell = |told| match told {
        verify::Told::Finding(finding) => {
            *counted.entry(finding.kind).or_default() += 1;
            report.entry(&found(&finding));
        }
        verify::Told::Progress(what, done) => report.progress(what, done, Some(mirrored)),
    };
    Ok(verify.run(&mut tell).await?)
}

/// Opens what is looked at. What stands in the way of `once` is said.
async fn view(
    config: &Config,
    open: impl FnOnce(&Path, &str) -> Result<Viewed, OpenError> + Send + 'static,
) -> Result<View, LookError> {
    let (directory, target) = (config.state_dir.clone(), target(config));
    let viewed = match tokio::task::spawn_blocking(move || open(&directory, &target)).await {
        Ok(viewed) => viewed.map_err(AppError::from)?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    if let Some(why) = viewed.unusable {
        Report::note(match why {
            Unusable::Damaged => {
                "the record is damaged: a daemon would move it aside and begin anew"
            }
            Unusable::OtherTarget => {
                "the record tells of another bucket or prefix: a daemon would move it aside and begin anew"
            }
        });
    }
    let root = source::open(&config.watch_path, viewed.bound.as_ref()).map_err(|reason| {
        LookError::Source(format!("the watched directory cannot be used: {reason}"))
    })?;
    let owner = viewed.bound.as_ref().map(|bound| bound.owner.clone()).unwrap_or_default();
    let bound = match viewed.bound {
        Some(bound) if bound.source == source::name(&root) => bound,
        Some(bound) => {
            Report::note(
                "this is another directory than the record tells of: what was mirrored from the other \
                 one is not deleted",
            );
            Bound { source: source::name(&root), epoch: Epoch(bound.epoch.0 + 1), ..bound }
        }
        None => Bound {
            target: super::target(config),
            source: source::name(&root),
            epoch: Epoch(1),
            owner: owner.clone(),
            listed: false,
            heir: config.share.is_part(),
            probed: None,
        },
    };
    let aws = Aws::load(parts::aws(config)).await.map_err(AppError::from)?;
    let s3 = S3::new(&aws, parts::s3(config, &owner));
    let mirrored = viewed.counts.mirrored;
    Ok(View { root: Arc::new(root), store: viewed.store, bound, mirrored, s3 })
}

/// How much would be done.
#[derive(Debug, Default)]
struct Planned {
    upload: Sum,
    copy: Sum,
    delete: Sum,
    held: Sum,
    left: Sum,
}

#[derive(Debug, Default)]
struct Sum {
    files: u64,
    bytes: u64,
}

impl Planned {
    fn count(&mut self, step: &Step) -> Value {
        let (word, sum) = match step.doing {
            Doing::Upload => ("upload", &mut self.upload),
            Doing::Copy(_) => ("copy", &mut self.copy),
            Doing::Delete => ("delete", &mut self.delete),
            Doing::Hold => ("held", &mut self.held),
            Doing::Leave => ("left", &mut self.left),
        };
        sum.files += 1;
        sum.bytes += step.size;
        let bytes = matches!(step.doing, Doing::Upload | Doing::Copy(_)).then_some(step.size);
        let from = if let Doing::Copy(from) = &step.doing { Some(from.to_string()) } else { None };
        let (path, reason) = (step.path.to_string(), &step.reason);
        json!({ "kind": word, "path": path, "bytes": bytes, "from": from, "reason": reason })
    }

    fn told(&self, totals: &preview::Totals) -> (Value, String) {
        let sums = [
            ("upload", &self.upload),
            ("copy", &self.copy),
            ("delete", &self.delete),
            ("held", &self.held),
            ("left", &self.left),
        ];
        let mut told = json!({
            "files": totals.files, "recorded": totals.recorded, "unreadable": totals.unreadable,
        });
        for (word, sum) in sums {
            told[word] = json!({ "files": sum.files, "bytes": sum.bytes });
        }
        let done = sums.iter().filter(|(_, sum)| sum.files > 0);
        let done: Vec<_> = done.map(|(word, sum)| format!("{} to {word}", sum.files)).collect();
        let done = if done.is_empty() { "nothing to do".to_owned() } else { done.join(", ") };
        let done = done.replace("to held", "deletes held").replace("to left", "left");
        let mut summary =
            format!("{done}; {} bytes to send, of {} files", self.upload.bytes, totals.files);
        if self.held.files > 0 {
            summary.push_str(
                "; held deletes are more than delete_limit_percent and delete_limit_count allow",
            );
        }
        (told, summary)
    }
}

fn found(finding: &Finding) -> Value {
    let (path, waiting) = (&finding.name, finding.waiting.then_some(true));
    json!({
        "kind": finding.kind.as_str(), "path": path, "reason": finding.reason, "waiting": waiting,
    })
}

fn compared(
    totals: &verify::Totals,
    counted: &BTreeMap<Kind, u64>,
    equal: bool,
) -> (Value, String) {
    let mut told = json!({ "equal": equal, "files": totals.files, "objects": totals.objects });
    for (kind, count) in counted {
        told[kind.as_str()] = json!(count);
    }
    let kinds = counted.iter().map(|(kind, count)| format!("{count} {}", kind.as_str()));
    let kinds = kinds.collect::<Vec<_>>().join(", ");
    let verdict = if equal { "equal" } else { "not equal" };
    let beside = if kinds.is_empty() { String::new() } else { format!(" ({kinds})") };
    let (files, objects) = (totals.files, totals.objects);
    (told, format!("{verdict}{beside}: {files} files, {objects} objects"))
}
