//! Reloads the configuration: checks its file periodically, validates a change, and applies it if
//! that is safe.
//!
//! - A configuration is applied as a whole or not at all: the running one is always one that an
//!   operator wrote.
//! - One check per second of the file that the path leads to detects every way to replace it: the
//!   link of a mounted ConfigMap, a rename, a write in place. No event covers all of them.

use super::{memory_limit, request_limit};
use crate::admin::{ConfigurationStatus, ShownSetting};
use crate::config::{self, Config, ConfigSources, EffectiveSetting, LoadedConfig, Problems};
use crate::root;
use crate::telemetry::{LogLevel, ReloadCounts};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Time between two checks of the file.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The configuration, as other parts receive it.
#[derive(Debug)]
pub(super) struct ConfigUpdate {
    /// The current configuration.
    pub(super) wanted: watch::Receiver<Arc<Config>>,
    /// The status of the configuration.
    pub(super) configured: watch::Receiver<ConfigurationStatus>,
    pub(super) tally: ReloadTally,
    task: Option<JoinHandle<()>>,
}

/// Counts the results of changes. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct ReloadTally(Arc<Mutex<ReloadCounts>>);

/// Identifies one version of the file.
type FileStamp = Option<[i128; 5]>;

struct ConfigWatcher {
    sources: Arc<ConfigSources>,
    level: LogLevel,
    running: LoadedConfig,
    wanted: watch::Sender<Arc<Config>>,
    configured: watch::Sender<ConfigurationStatus>,
    tally: ReloadTally,
    /// The version that was processed; none at first, because it may have changed since it was
    /// read.
    done: Option<FileStamp>,
    /// A new version, seen once: it may be incomplete.
    fresh: Option<FileStamp>,
}

impl ConfigUpdate {
    /// Checks the file from now on, if it is `kept` in step.
    pub(super) fn start(
        running: LoadedConfig,
        sources: ConfigSources,
        level: LogLevel,
        kept: bool,
    ) -> Self {
        let (wanted, want) = watch::channel(Arc::new(running.config.clone()));
        let (configured, status) = watch::channel(configured(&running));
        let sources = Arc::new(sources);
        let tally = ReloadTally::default();
        let keeper = ConfigWatcher {
            sources,
            level,
            running,
            wanted,
            configured,
            tally: tally.clone(),
            done: None,
            fresh: None,
        };
        if kept && let Some(why) = config_mount_warning(&keeper.sources) {
            tracing::warn!(event = "config.mounted_alone", "{why}");
        }
        let task = kept.then(|| tokio::spawn(keeper.run()));
        Self { wanted: want, configured: status, tally, task }
    }
}

/// Why changes of the file may not be detected, if so.
#[must_use]
pub fn config_mount_warning(sources: &ConfigSources) -> Option<&'static str> {
    let path = sources.working_directory.join(&sources.file);
    root::is_mounted_alone(&path).then_some(
        "the configuration file is mounted by itself, as subPath does: a file that takes its place outside \
         is not seen before a restart; mount its directory instead",
    )
}

impl Drop for ConfigUpdate {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl ReloadTally {
    pub(super) fn reloads(&self) -> ReloadCounts {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut ReloadCounts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl ConfigWatcher {
    async fn run(mut self) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
                () = hung_up(&mut hangup) => true,
            };
            if self.is_due(asked).await {
                self.try_reload(asked).await;
            }
        }
    }

    /// Whether the file has to be read: it has a new version that is complete, or a reload was
    /// requested.
    async fn is_due(&mut self, asked: bool) -> bool {
        let path = self.sources.working_directory.join(&self.sources.file);
        // A disk that hangs proves nothing.
        let Ok(stamp) = tokio::task::spawn_blocking(move || stamp(path)).await else {
            return false;
        };
        let rests = self.fresh.replace(stamp) == Some(stamp);
        let due = asked || (rests && self.done != Some(stamp));
        if due {
            self.done = Some(stamp);
        }
        due
    }

    async fn try_reload(&mut self, asked: bool) {
        let sources = Arc::clone(&self.sources);
        match tokio::task::spawn_blocking(move || config::load(&sources)).await {
            Ok(Ok(loaded)) => self.compare(loaded, asked),
            Ok(Err(problems)) => self.invalid(&problems),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    fn compare(&mut self, loaded: LoadedConfig, asked: bool) {
        let config::Changes { live, fixed } = config::changes(&self.running, &loaded);
        if !fixed.is_empty() {
            self.refuse(&fixed);
            return;
        }
        self.current();
        // The origins of values may have changed.
        self.configured.send_replace(configured(&loaded));
        if live.is_empty() {
            if asked {
                tracing::info!(event = "config.unchanged", "the configuration is what it was");
            }
        } else {
            self.take_up(&loaded.config, &live);
        }
        self.running = loaded;
    }

    fn take_up(&mut self, config: &Config, live: &[&str]) {
        let level = "log_level";
        if live.contains(&level) {
            // The level was validated when it was read.
            self.level.set(&config.log_level).ok();
        }
        self.tally.note(|reloads| reloads.applied += 1);
        tracing::info!(
            event = "config.reloaded",
            keys = live.join(", "),
            "the configuration has changed and is taken up"
        );
        if live.iter().any(|key| *key != level) {
            let mut config = config.clone();
            if let Some(fitted) = memory_limit::fit(&mut config) {
                fitted.log();
            }
            if let Some(fitted) = request_limit::fit(&mut config) {
                fitted.log();
            }
            self.wanted.send_replace(Arc::new(config));
        }
    }

    fn refuse(&mut self, fixed: &[&str]) {
        let keys = fixed.join(", ");
        self.tally.note(|reloads| reloads.refused += 1);
        tracing::warn!(
            event = "config.reload_refused",
            keys,
            "change ignored until a restart; all of it stays as it was"
        );
        self.stale("refused", format!("needs a restart: {keys}"));
    }

    fn invalid(&mut self, problems: &Problems) {
        let message = problems.to_string();
        self.tally.note(|reloads| reloads.invalid += 1);
        tracing::warn!(
            event = "config.invalid",
            error.message = message,
            "the configuration has changed and is not valid; all of it stays as it was"
        );
        self.stale("invalid", message);
    }

    fn current(&mut self) {
        self.tally.note(|reloads| reloads.stale = false);
    }

    fn stale(&mut self, kind: &'static str, message: String) {
        self.tally.note(|reloads| reloads.stale = true);
        self.configured.send_modify(|configured| configured.problem = Some((kind, message)));
    }
}

async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}

/// The version of the file that the path leads to; none if there is none.
fn stamp(path: PathBuf) -> FileStamp {
    let file = fs::metadata(path).ok()?;
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    Some([
        file.dev().into(),
        file.ino().into(),
        file.size().into(),
        nanos(file.mtime(), file.mtime_nsec()),
        nanos(file.ctime(), file.ctime_nsec()),
    ])
}

fn configured(loaded: &LoadedConfig) -> ConfigurationStatus {
    ConfigurationStatus::from_settings(settings(&loaded.effective), loaded.config.bandwidth.clone())
}

fn settings(effective: &[EffectiveSetting]) -> Vec<ShownSetting> {
    let settings = effective.iter();
    settings.map(|set| (set.key.into(), set.value.clone(), set.origin.to_string())).collect()
}
