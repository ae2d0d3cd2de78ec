//! The configuration while the program runs: its file is looked at again and again, checked when it has
//! changed, and taken up where that is safe.
//!
//! - A configuration is taken up as a whole or not at all: what runs is always one that somebody wrote.
//! - One look a second at the file that a path leads to sees every way in which it can be exchanged: a
//!   mounted ConfigMap's link, a rename, a write in place. No event tells of all of them.

use super::{App, parts};
use crate::admin::{Configured, Setting};
use crate::aws::Aws;
use crate::config::{self, Config, Effective, Loaded, Problems, Sources};
use crate::root;
use crate::telemetry::{LogLevel, Reloads};
use crate::transfer::{Metered, S3};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Time between two looks at the file.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What there is of the configuration, for the other parts.
#[derive(Debug)]
pub(super) struct Reload {
    /// The configuration to work by.
    pub(super) wanted: watch::Receiver<Arc<Config>>,
    /// What is told of it.
    pub(super) configured: watch::Receiver<Configured>,
    pub(super) tally: Tally,
    task: Option<JoinHandle<()>>,
}

/// What became of changes. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally(Arc<Mutex<Reloads>>);

/// Tells one state of the file from another.
type Stamp = Option<[i128; 5]>;

struct Keeper {
    sources: Arc<Sources>,
    level: LogLevel,
    running: Loaded,
    wanted: watch::Sender<Arc<Config>>,
    configured: watch::Sender<Configured>,
    tally: Tally,
    /// The state that was dealt with; none at first, for it may have changed since it was read.
    done: Option<Stamp>,
    /// Another one, seen once: it may be half written.
    fresh: Option<Stamp>,
}

impl Reload {
    /// Looks at the file from now on, if it is `kept` in step at all.
    pub(super) fn start(running: Loaded, sources: Sources, level: LogLevel, kept: bool) -> Self {
        let (wanted, want) = watch::channel(Arc::new(running.config.clone()));
        let (configured, tell) = watch::channel(Configured::of(settings(&running.effective)));
        let (sources, tally) = (Arc::new(sources), Tally::default());
        let keeper = Keeper {
            sources,
            level,
            running,
            wanted,
            configured,
            tally: tally.clone(),
            done: None,
            fresh: None,
        };
        if kept && let Some(why) = unseen(&keeper.sources) {
            tracing::warn!(event = "config.mounted_alone", "{why}");
        }
        let task = kept.then(|| tokio::spawn(keeper.keep()));
        Self { wanted: want, configured: tell, tally, task }
    }
}

/// Why changes of the file may not be seen, if so.
#[must_use]
pub fn unseen(sources: &Sources) -> Option<&'static str> {
    let path = sources.working_directory.join(&sources.file);
    root::is_mounted_alone(&path).then_some(
        "the configuration file is mounted by itself, as subPath does: a file that takes its place outside \
         is not seen before a restart; mount its directory instead",
    )
}

impl Drop for Reload {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Tally {
    pub(super) fn reloads(&self) -> Reloads {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut Reloads)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Keeper {
    async fn keep(mut self) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
                () = hung_up(&mut hangup) => true,
            };
            if self.is_due(asked).await {
                self.consider(asked).await;
            }
        }
    }

    /// Whether there is something to be read: another file than before, that rests, or somebody asks.
    async fn is_due(&mut self, asked: bool) -> bool {
        let path = self.sources.working_directory.join(&self.sources.file);
        // Of a disk that hangs, nothing is known.
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

    async fn consider(&mut self, asked: bool) {
        let sources = Arc::clone(&self.sources);
        match tokio::task::spawn_blocking(move || config::load(&sources)).await {
            Ok(Ok(loaded)) => self.compare(loaded, asked),
            Ok(Err(problems)) => self.invalid(&problems),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    fn compare(&mut self, loaded: Loaded, asked: bool) {
        let config::Changes { live, fixed } = config::changes(&self.running, &loaded);
        if !fixed.is_empty() {
            self.refuse(&fixed);
            return;
        }
        self.current();
        // Values may stand in other places now.
        self.configured.send_replace(Configured::of(settings(&loaded.effective)));
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
            // It was checked when it was read.
            self.level.set(&config.log_level).ok();
        }
        self.tally.note(|reloads| reloads.applied += 1);
        tracing::info!(
            event = "config.reloaded",
            keys = live.join(", "),
            "the configuration has changed and is taken up"
        );
        if live.iter().any(|key| *key != level) {
            self.wanted.send_replace(Arc::new(config.clone()));
        }
    }

    fn refuse(&mut self, fixed: &[&str]) {
        let keys = fixed.join(", ");
        self.tally.note(|reloads| reloads.refused += 1);
        tracing::warn!(
            event = "config.reload_refused",
            keys,
            "the configuration has changed in what needs a restart; all of it stays as it was"
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

/// The file that the path leads to now; none if there is none.
fn stamp(path: PathBuf) -> Stamp {
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

fn settings(effective: &[Effective]) -> Vec<Setting> {
    let settings = effective.iter();
    settings.map(|set| (set.key.into(), set.value.clone(), set.origin.to_string())).collect()
}

impl App {
    /// Resolves when there is another configuration than the one that is worked by.
    pub(super) fn reconfigured(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut wanted = self.wanted.clone();
        async move {
            if wanted.changed().await.is_err() {
                // There will be no other.
                std::future::pending().await
            }
        }
    }

    /// Works by the latest configuration from now on.
    pub(super) fn adopt(&mut self) {
        let config = Arc::clone(&self.wanted.borrow_and_update());
        if *config == self.config {
            return;
        }
        if let Err(why) = self.make_of(&config) {
            // It was checked; but a file that it names may be gone.
            tracing::error!(
                event = "config.reload_failed",
                error.message = why,
                "the new configuration cannot be taken up; all of it stays as it was"
            );
            return;
        }
        self.config = Config::clone(&config);
    }

    fn make_of(&mut self, config: &Config) -> Result<(), String> {
        let (filter, rules) = (parts::filter(config)?, parts::rules(config)?);
        if config.max_concurrent_transfers != self.config.max_concurrent_transfers {
            let aws = self.aws.with_connections(&parts::aws(config));
            let aws: Aws = aws.map_err(|error| error.to_string())?;
            let s3 = S3::new(&aws, parts::s3(config, &self.owner));
            self.s3 = Metered::new(s3, self.telemetry.recorder.clone());
        }
        (self.filter, self.rules) = (filter, rules);
        Ok(())
    }
}
