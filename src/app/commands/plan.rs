//! `plan`: reports what a single run would do, and does nothing of it.

use super::{CommandView, InputError, fail, fit_memory, open_inputs};
use crate::app::build::{self, transfer_settings};
use crate::app::{AppError, RunMode};
use crate::cli::{Exit, ReportWriter, size_in_words};
use crate::config::Config;
use crate::engine;
use crate::engine::preview::{self, PlanInputs, PlanStep, PlannedAction};
use crate::model::BandwidthSchedule;
use crate::store::{Change, Store};
use crate::transfer::{self, BucketRecords, DryRun, PaceSettings, Transfer};
use serde_json::{Value, json};
use std::sync::Arc;

/// Reports what `once` would do.
pub async fn plan(mut config: Config, reapply_rules: bool, mut report: ReportWriter) -> Exit {
    fit_memory(&mut config);
    let mut counts = PlannedTotals::default();
    let done = Box::pin(preview(&config, reapply_rules, &mut report, &mut counts)).await;
    match done {
        Ok(totals) => {
            let (totals, summary) = counts.summarize(&totals);
            report.end(&totals, &summary, Exit::Success)
        }
        Err(error) => fail(report, &error),
    }
}

async fn preview(
    config: &Config,
    reapply_rules: bool,
    report: &mut ReportWriter,
    counts: &mut PlannedTotals,
) -> Result<preview::PlanTotals, InputError> {
    let share = config.share;
    let CommandView { root, store, bound, mirrored, s3 } =
        open_inputs(config, move |directory, target| Store::open_copy(directory, target, share))
            .await?;
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
    let interval = config.poll.rescan_interval;
    let preview = PlanInputs {
        root,
        filter: build::filter(config).map_err(AppError::Patterns)?,
        store,
        transfer: Arc::new(transfer),
        looking: engine::looking().map_err(AppError::Threads)?,
        settings: build::engine_settings(config, mode, bound.epoch, interval, reapply),
    };
    let mut report_event = |event| match event {
        preview::PlanEvent::Step(step) => report.entry(&counts.count(&step)),
        preview::PlanEvent::Compared(files) => {
            report.progress("files compared", files, Some(mirrored));
        }
    };
    Ok(preview.run(&mut report_event).await?)
}

/// The totals of a plan.
#[derive(Debug, Default)]
struct PlannedTotals {
    upload: PlanSum,
    copy: PlanSum,
    delete: PlanSum,
    delayed: PlanSum,
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
            PlannedAction::Delay => ("delayed", &mut self.delayed),
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
            ("delayed", &self.delayed),
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
        let done = done.replace("to delayed", "deletes delayed");
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
