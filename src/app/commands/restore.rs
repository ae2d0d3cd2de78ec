//! `restore`: brings the objects back into the watched directory.
//!
//! # Order
//!
//! The bucket is listed before anything is made: where it cannot be reached, or is empty by surprise, there
//! is no directory and no state afterwards that a daemon could take for a directory that was emptied.

use crate::app::build::{self, transfer_settings};
use crate::app::watched_dir::{DirectoryRelation, WatchedSource};
use crate::app::{AppError, first_binding, memory_limit, owner_of, request_limit, target};
use crate::aws::Aws;
use crate::cli::{Exit, ReportWriter};
use crate::clock::unix_millis;
use crate::config::Config;
use crate::filter::Filter;
use crate::model::{Failure, RelPath, RootGeneration, UnixMillis};
use crate::restore::{
    FirstPages, Restore, RestoreError, RestoreEvent, RestoreRun, RestoreScope, RestoreTarget,
    RestoreTotals,
};
use crate::root::{Root, RootError, STAGING};
use crate::store::{Change, OpenedState, ReadOnlyState, StateBinding, Store, StoreOpenError};
use crate::transfer::{Fetcher, S3};
use serde_json::json;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const MIB: u64 = 1 << 20;

/// What is wanted.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// Bring only what is not there.
    pub missing: bool,
    /// A directory that is not empty is no error: then there is nothing to do.
    pub if_empty: bool,
    /// Only files that match one of these patterns; all if there is none.
    pub include: Vec<String>,
    /// Objects as they were at this time, milliseconds since the epoch.
    pub at: Option<UnixMillis>,
    /// An empty prefix is no error.
    pub allow_empty: bool,
    /// Only report what would be brought.
    pub dry_run: bool,
}

/// Why a restore did not start, or ended early.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Pattern(#[from] crate::restore::ScopePatternError),
    #[error("cannot list the bucket: {}: {}", .0.code, .0.message)]
    Unreachable(Failure),
    #[error(
        "there is no object below s3_prefix {0:?}; if this is the first start, or the prefix is meant to be \
         empty, use --allow-empty"
    )]
    Empty(String),
    #[error(
        "watch_path {0:?} is not empty, and restore replaces nothing: empty it, or use --missing to bring only \
         what is not there, or --if-empty where that is no error"
    )]
    NotEmpty(std::path::PathBuf),
    #[error(
        "watch_path {0:?} is not empty, and an earlier restore into it has not ended, but its state is lost or \
         belongs to another directory: use --missing to bring what is not there, or empty it"
    )]
    HalfRestored(std::path::PathBuf),
    #[error("watch_path cannot be used: {0}")]
    Target(String),
    #[error("{0}; what was brought stays: run restore again to go on")]
    Ended(#[from] RestoreError),
}

impl CommandError {
    fn exit(&self) -> Exit {
        match self {
            Self::App(error) => error.exit(),
            Self::Pattern(_) => Exit::Usage,
            Self::Unreachable(_) | Self::Ended(RestoreError::Store(_)) => Exit::Unreachable,
            Self::Ended(RestoreError::State(_)) => Exit::StateUnreadable,
            Self::NotEmpty(_) | Self::HalfRestored(_) | Self::Target(_) => Exit::StateUnavailable,
            Self::Empty(_) | Self::Ended(_) => Exit::WorkLeft,
        }
    }
}

/// Brings the objects below the prefix into the watched directory.
pub async fn restore(
    mut config: Config,
    request: RestoreRequest,
    mut report: ReportWriter,
) -> Exit {
    memory_limit::fit(&mut config);
    request_limit::fit(&mut config);
    let mut progress = ProgressLine::new();
    let dry_run = request.dry_run;
    let mut report_event = |event: &RestoreEvent| match event {
        RestoreEvent::Planned { name, bytes } => report.entry(&json!({
            "kind": "restore", "path": name, "bytes": bytes, "reason": "",
        })),
        RestoreEvent::Skipped { name, reason } => {
            report.entry(&json!({ "kind": "skipped", "path": name, "reason": reason }));
        }
        RestoreEvent::Failed { name, reason } => {
            report.entry(&json!({ "kind": "failed", "path": name, "reason": reason }));
        }
        event => progress.show(event, &mut report),
    };
    match Box::pin(run(&config, &request, &mut report_event)).await {
        Ok(totals) => {
            let exit = match totals.skipped + totals.failed {
                0 => Exit::Success,
                _ => Exit::WorkLeft,
            };
            let (totals, summary) = summarize(&totals, dry_run);
            report.end(&totals, &summary, exit)
        }
        Err(error) => {
            let exit = error.exit();
            report.fail(&error.to_string());
            exit
        }
    }
}

async fn run(
    config: &Config,
    request: &RestoreRequest,
    report_event: &mut (dyn FnMut(&RestoreEvent) + Send),
) -> Result<RestoreTotals, CommandError> {
    let scope = RestoreScope::new(&request.include, request.at)?;
    let filter = build::filter(config).map_err(AppError::Patterns)?;
    let directory = config.state_dir.clone();
    let key = target(config);
    let viewed =
        blocking(move || Store::open_read_only(&directory, &key)).await.map_err(AppError::from)?;
    let target = match RestoreDestination::inspect(config, &viewed, &filter, request.missing) {
        Err(CommandError::NotEmpty(path)) if request.if_empty => {
            if viewed.restoring.is_some() || has_staging(config)? {
                return Err(CommandError::HalfRestored(path));
            }
            ReportWriter::note("watch_path is not empty, so nothing is restored");
            return Ok(RestoreTotals::default());
        }
        target => target?,
    };
    let restore = prepare(config, &viewed, scope, filter).await?;
    let first = restore.first_pages().await.map_err(CommandError::Unreachable)?;
    if first.is_empty() && !request.allow_empty {
        return Err(CommandError::Empty(config.prefix.as_str().to_owned()));
    }
    if request.dry_run {
        let epoch = viewed.bound.as_ref().map(|bound| bound.epoch).unwrap_or_default();
        let run = RestoreRun { missing: request.missing, resumed: target.resumed, epoch };
        let into = (target.root.map(Arc::new), viewed.store, run);
        return Ok(restore.preview(first, into, report_event).await?);
    }
    if first.is_empty() && viewed.restoring.is_none() {
        return Ok(RestoreTotals::default());
    }
    // The daemon waits for the lock of the state, so it must not be held twice.
    viewed.store.closed().await;
    drop(target);
    fill(config, request.missing, &restore, first, report_event).await
}

/// The watched directory before the restore.
struct RestoreDestination {
    root: Option<Root>,
    /// An earlier run into this very directory has not ended.
    resumed: bool,
}

impl RestoreDestination {
    fn inspect(
        config: &Config,
        viewed: &ReadOnlyState,
        filter: &Filter,
        missing: bool,
    ) -> Result<Self, CommandError> {
        let root = match Root::open(&config.watch_path) {
            Ok(root) => root,
            Err(RootError::Missing(_)) => return Ok(Self { root: None, resumed: false }),
            Err(error) => return Err(CommandError::Target(error.to_string())),
        };
        let resumed = is_resumed(viewed.restoring.as_ref(), viewed.bound.as_ref(), &root);
        if !missing && !resumed && has_entries(&root, filter)? {
            return Err(CommandError::NotEmpty(config.watch_path.clone()));
        }
        Ok(Self { root: Some(root), resumed })
    }
}

/// Whether an earlier run into the directory `root` has not ended.
fn is_resumed(restoring: Option<&String>, bound: Option<&StateBinding>, root: &Root) -> bool {
    restoring.is_some() && bound.is_some_and(|bound| bound.source == root.identity().name())
}

/// Whether the directory has an entry that the mirror does not ignore.
fn has_entries(root: &Root, filter: &Filter) -> Result<bool, CommandError> {
    let counts = |path: &RelPath, is_directory: bool| {
        let is_own = path.as_bytes() == STAGING.as_bytes();
        let ignored = path.as_bytes() == b"lost+found" || !filter.wants_entry(path, is_directory);
        !is_own && !ignored
    };
    root.has_entry(counts).map_err(|error| CommandError::Target(error.to_string()))
}

/// Whether a restore into the directory was not carried to its end.
fn has_staging(config: &Config) -> Result<bool, CommandError> {
    let unusable = |error: &dyn std::fmt::Display| CommandError::Target(error.to_string());
    let root = Root::open(&config.watch_path).map_err(|error| unusable(&error))?;
    let counts = |path: &RelPath, _| path.as_bytes() == STAGING.as_bytes();
    root.has_entry(counts).map_err(|error| unusable(&error))
}

async fn prepare(
    config: &Config,
    viewed: &ReadOnlyState,
    scope: RestoreScope,
    filter: Arc<Filter>,
) -> Result<Restore, CommandError> {
    let aws = Aws::load(build::aws(config)).await.map_err(AppError::from)?;
    let owner = owner_of(viewed.bound.as_ref());
    let bound = first_binding(config, &owner);
    let rules = build::rules(config).map_err(AppError::Patterns)?;
    let pace = transfer_settings(config, &bound, rules, false).pace;
    let s3 = S3::new(&aws, build::s3(config, &owner));
    let fetcher = Fetcher::new(s3, pace, config.transfer_memory, config.multipart_part_size);
    Ok(Restore {
        fetcher: Arc::new(fetcher),
        prefix: config.prefix.clone(),
        filter,
        scope,
        concurrency: config.max_concurrent_transfers,
        is_shard: config.share.is_part(),
    })
}

/// Makes the directory and the state where they are absent, marks the state, and brings everything.
async fn fill(
    config: &Config,
    missing: bool,
    restore: &Restore,
    first: FirstPages,
    report_event: &mut (dyn FnMut(&RestoreEvent) + Send),
) -> Result<RestoreTotals, CommandError> {
    let directory = config.state_dir.clone();
    let key = target(config);
    let share = config.share;
    let opened = blocking(move || Store::open(&directory, &key, share, unix_millis())).await;
    let opened = opened.map_err(AppError::from)?;
    let ended =
        Box::pin(fill_with_state(config, missing, restore, first, &opened, report_event)).await;
    let OpenedState { store, .. } = opened;
    store.closed().await;
    ended
}

async fn fill_with_state(
    config: &Config,
    missing: bool,
    restore: &Restore,
    first: FirstPages,
    opened: &OpenedState,
    report_event: &mut (dyn FnMut(&RestoreEvent) + Send),
) -> Result<RestoreTotals, CommandError> {
    let made = make_directory(&config.watch_path);
    made.map_err(|error| CommandError::Target(format!("it cannot be made: {error}")))?;
    let source = WatchedSource::new(config).map_err(|source| {
        AppError::State(StoreOpenError::Create { path: config.state_dir.clone(), source })
    })?;
    let found = source.open_to_fill(opened.bound.as_ref());
    let found = found.map_err(|reason| CommandError::Target(reason.to_string()))?;
    let is_same = matches!(found.generation, DirectoryRelation::Same);
    let owner = owner_of(opened.bound.as_ref());
    let bound = found.bind(opened.bound.clone(), first_binding(config, &owner));
    // The directory is looked at once more, now that the state belongs to this process.
    let resumed = is_same && opened.restoring.is_some();
    let is_filled = has_entries(&found.root, &restore.filter)?;
    if !missing && !resumed && is_filled {
        return Err(CommandError::NotEmpty(config.watch_path.clone()));
    }
    let bound = disowned(bound, opened.bound.as_ref(), is_filled);
    let mark = opened.restoring.clone().filter(|_| is_same);
    let noted = restore.scope.note_over(mark.as_deref());
    let run = RestoreRun { missing, resumed, epoch: bound.epoch };
    let changes = vec![Change::Bound(bound), Change::Restoring(Some(noted))];
    opened.store.write(changes).await.map_err(AppError::from)?;
    let store = opened.store.clone();
    let into = RestoreTarget { root: Arc::new(found.root), store, run, mark };
    Ok(restore.run(first, into, report_event).await?)
}

/// The binding of a directory that is filled: what the restore leaves out is not the service's to delete.
///
/// A directory without an entry has lost its files, and did not delete them. So what the state knows is
/// of another directory, even if it is the same one.
fn disowned(bound: StateBinding, before: Option<&StateBinding>, is_filled: bool) -> StateBinding {
    let knows = before.is_some_and(|before| before.epoch == bound.epoch);
    let epoch = RootGeneration(bound.epoch.0 + u64::from(knows && !is_filled));
    StateBinding { epoch, ..bound }
}

/// Makes the watched directory and those above it, durably, where they are absent.
fn make_directory(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // What it is shows when it is opened.
        _ => return Ok(()),
    }
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
        std::fs::create_dir(path)?;
        std::fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// The totals as JSON and as a sentence.
fn summarize(totals: &RestoreTotals, dry_run: bool) -> (serde_json::Value, String) {
    let RestoreTotals { restored, restored_bytes, there, kept, skipped, failed, fetched_bytes } =
        *totals;
    let json_totals = json!({
        "restored": { "files": restored, "bytes": restored_bytes },
        "there": there, "kept": kept, "skipped": skipped, "failed": failed,
        "fetched_bytes": fetched_bytes, "dry_run": dry_run,
    });
    let verb = if dry_run { "to restore" } else { "restored" };
    let mut summary = format!("{restored} files {verb}, {restored_bytes} bytes");
    for (count, what) in [
        (there, "were there already"),
        (kept, "stay as they are"),
        (skipped, "skipped"),
        (failed, "could not be read now: run restore again; until then nothing is deleted"),
    ] {
        if count > 0 {
            summary.push_str(&format!("; {count} {what}"));
        }
    }
    (json_totals, summary)
}

/// The progress with its rate, and the remaining time as soon as everything is listed.
struct ProgressLine {
    started: Instant,
    done: u64,
    listed: (u64, u64),
    listed_all: bool,
}

impl ProgressLine {
    #[expect(clippy::disallowed_methods, reason = "a person sees the rate of this run")]
    fn new() -> Self {
        Self { started: Instant::now(), done: 0, listed: (0, 0), listed_all: false }
    }

    fn show(&mut self, event: &RestoreEvent, report: &mut ReportWriter) {
        match event {
            RestoreEvent::Restored { .. } | RestoreEvent::There | RestoreEvent::Kept => {
                self.done += 1
            }
            RestoreEvent::Listed { objects, bytes, last } => {
                self.listed = (self.listed.0 + objects, self.listed.1 + bytes);
                self.listed_all = *last;
            }
            RestoreEvent::Tick { fetched } => {
                let what = self.describe(*fetched, self.started.elapsed().as_secs_f64());
                report.progress(&what, self.done, self.listed_all.then_some(self.listed.0));
            }
            RestoreEvent::Planned { .. }
            | RestoreEvent::Skipped { .. }
            | RestoreEvent::Failed { .. } => {}
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "shown in whole units")]
    fn describe(&self, fetched: u64, seconds: f64) -> String {
        let rate = fetched as f64 / seconds.max(0.001);
        let mut what = format!("files, {:.1} MiB/s", rate / MIB as f64);
        let left = self.listed.1.saturating_sub(fetched);
        if self.listed_all && left > 0 && rate > 0.0 {
            let minutes = (left as f64 / rate / 60.0).ceil();
            what.push_str(&format!(", about {minutes:.0} min left"));
        }
        what
    }
}
