//! `relay`: watches the directory, and sends what changes to every `hint_url`.

use super::build;
use crate::cli::Exit;
use crate::config::Config;
use crate::detect::{DetectSettings, Detector, Hints};
use crate::hints::{RemoteChange, RemoteHint};
use crate::model::{Depth, Hint};
use crate::relay::{HintTarget, RelayBuffer, RelayState};
use crate::root::Root;
use crate::shutdown::Shutdown;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Hints in one request.
const BATCH_MAX: usize = 1_000;
/// The time between two requests while nothing changes.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// The first pause after a failed request; each further one is twice as long.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// The pause before a directory that is not there is opened again.
const DIRECTORY_RETRY: Duration = Duration::from_secs(3);
/// Maximum time for the last request.
const END_PATIENCE: Duration = Duration::from_secs(3);
/// Where files of the moment can be, in this order: a container may have none but shared memory.
const SCRATCH: [&str; 3] = ["/dev/shm", "/run", "/tmp"];

/// The changes for one target, and a signal that there are some.
#[derive(Debug, Default)]
struct RelayOutbox {
    buffer: Mutex<RelayBuffer>,
    filled: Notify,
}

impl RelayOutbox {
    fn lock(&self) -> MutexGuard<'_, RelayBuffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until a signal requests the end.
pub async fn relay(config: Config, shutdown: Shutdown) -> Exit {
    let (Some(token_file), false) = (&config.hints.token_file, config.hints.urls.is_empty()) else {
        let why = "relay needs hint_url and hint_token_file";
        tracing::error!(event = "relay.failed", error.message = why, "startup failed");
        return Exit::ConfigInvalid;
    };
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let ca_file = config.hints.ca_file.as_deref();
    let targets = config.hints.urls.iter();
    let targets: Result<Vec<_>, _> =
        targets.map(|url| HintTarget::new(url, token_file, ca_file, &name)).collect();
    let targets = match targets {
        Ok(targets) => targets,
        Err(why) => {
            tracing::error!(event = "relay.failed", error.message = %why, "startup failed");
            return Exit::ConfigInvalid;
        }
    };
    tracing::info!(event = "relay.started", relay = name, targets = targets.len(), "relay started");
    let current = Arc::new(Mutex::new(None));
    let mut senders = JoinSet::new();
    let mut outboxes = Vec::new();
    for target in targets {
        let outbox = Arc::new(RelayOutbox::default());
        outboxes.push(Arc::clone(&outbox));
        let sender = RelaySender { target, outbox, root: Arc::clone(&current) };
        senders.spawn(sender.run(config.settling.debounce, shutdown.clone()));
    }
    tokio::select! {
        () = watch(&config, &outboxes, &current) => {}
        () = shutdown.requested() => {}
    }
    tracing::info!(event = "service.stopping", "shutting down");
    while senders.join_next().await.is_some() {}
    Exit::Success
}

/// Watches the directory whenever it is there, for ever.
async fn watch(config: &Config, outboxes: &[Arc<RelayOutbox>], current: &CurrentRoot) {
    let scratch = scratch_directory();
    loop {
        match start(config, scratch.clone()) {
            Ok((root, detector, hints)) => {
                set_root(current, Some(Arc::clone(&root)));
                tracing::info!(event = "relay.watching", "watching");
                pass_on(&root, hints, outboxes).await;
                drop(detector);
                set_root(current, None);
                tracing::warn!(
                    event = "relay.source_lost",
                    "the watched directory is gone; will retry"
                );
                for outbox in outboxes {
                    // What happens until it is watched again is not known.
                    let everything = Hint::Tree(crate::model::RelPath::root(), Depth::Whole);
                    outbox.lock().add(&everything);
                }
            }
            Err(why) => {
                tracing::warn!(event = "relay.not_watching", error.message = %why, "cannot watch; will retry");
            }
        }
        tokio::time::sleep(DIRECTORY_RETRY).await;
    }
}

type CurrentRoot = Arc<Mutex<Option<Arc<Root>>>>;

fn set_root(current: &CurrentRoot, root: Option<Arc<Root>>) {
    *current.lock().unwrap_or_else(PoisonError::into_inner) = root;
}

fn start(config: &Config, scratch: PathBuf) -> Result<(Arc<Root>, Detector, Hints), String> {
    let root = Root::open(&config.watch_path).map_err(|error| error.to_string())?;
    let root = Arc::new(root);
    let filter = build::filter(config)?;
    let wanted =
        Arc::new(
            move |path: &_, is_directory| {
                if is_directory { filter.wants_directory(path) } else { filter.wants_file(path) }
            },
        );
    let started = Detector::start(Arc::clone(&root), wanted, DetectSettings::new(scratch));
    let (detector, hints) = started.map_err(|error| error.to_string())?;
    Ok((root, detector, hints))
}

/// A directory of this process for the marks of the detector.
fn scratch_directory() -> PathBuf {
    let own = format!("file-sync-relay-{}", std::process::id());
    let found = SCRATCH.iter().map(|parent| PathBuf::from(parent).join(&own));
    let found = found.into_iter().find(|path| std::fs::create_dir_all(path).is_ok());
    found.unwrap_or_else(|| std::env::temp_dir().join(own))
}

/// Passes hints on until the directory is lost.
async fn pass_on(root: &Root, mut hints: Hints, outboxes: &[Arc<RelayOutbox>]) {
    // The first hint for the whole tree says that everything is watched now.
    let mut is_watched = false;
    loop {
        let batch = tokio::select! {
            batch = hints.next() => batch,
            () = tokio::time::sleep(SIGN_OF_LIFE) => Some(Vec::new()),
        };
        let Some(batch) = batch else { return };
        if batch.is_empty() && root.confirm().is_err() {
            return;
        }
        for hint in batch {
            let everything = matches!(&hint, Hint::Tree(path, Depth::Whole) if path.is_root());
            if everything && !std::mem::replace(&mut is_watched, true) {
                continue;
            }
            for outbox in outboxes {
                outbox.lock().add(&hint);
                outbox.filled.notify_one();
            }
        }
    }
}

/// Sends the changes for one target.
struct RelaySender {
    target: HintTarget,
    outbox: Arc<RelayOutbox>,
    root: CurrentRoot,
}

impl RelaySender {
    async fn run(self, debounce: Duration, shutdown: Shutdown) {
        let mut pause = RETRY_FIRST;
        let mut failed = false;
        loop {
            let ends = tokio::select! {
                () = shutdown.requested() => true,
                () = self.wait(debounce) => false,
            };
            if ends {
                let last = tokio::time::timeout(END_PATIENCE, self.send(RelayState::Ending)).await;
                if !matches!(last, Ok(Ok(()))) {
                    tracing::warn!(
                        event = "relay.unsent",
                        server.address = self.target.address(),
                        "the last changes could not be sent; sweeps find them"
                    );
                }
                return;
            }
            match self.send(RelayState::Running).await {
                Ok(()) => {
                    if std::mem::replace(&mut failed, false) {
                        tracing::info!(
                            event = "relay.connected",
                            server.address = self.target.address(),
                            "hints are taken again"
                        );
                    }
                    pause = RETRY_FIRST;
                }
                Err(why) => {
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(
                            event = "relay.send_failed",
                            server.address = self.target.address(),
                            error.message = %why,
                            "hints could not be sent; will retry"
                        );
                    }
                    tokio::select! {
                        () = shutdown.requested() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// Waits until there is something to send, and for what follows at once; or until a sign of life is due.
    async fn wait(&self, debounce: Duration) {
        if self.outbox.lock().is_empty() {
            tokio::select! {
                () = self.outbox.filled.notified() => {}
                () = tokio::time::sleep(SIGN_OF_LIFE) => return,
            }
        }
        tokio::time::sleep(debounce).await;
    }

    async fn send(&self, state: RelayState) -> Result<(), String> {
        loop {
            let hints = self.outbox.lock().take(BATCH_MAX);
            let root = self.root.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let described = tokio::task::spawn_blocking(move || describe(root.as_deref(), hints));
            let hints = described.await.map_err(|panic| panic.to_string())?;
            let lines = hints.iter().filter_map(|hint| hint.to_line());
            let body = lines.map(|line| line + "\n").collect();
            if let Err(error) = self.target.send(body, state).await {
                self.outbox.lock().put_back(hints);
                return Err(error.to_string());
            }
            if self.outbox.lock().is_empty() {
                return Ok(());
            }
        }
    }
}

/// Adds size and time to the names of files that are there. Blocks.
fn describe(root: Option<&Root>, mut hints: Vec<RemoteHint>) -> Vec<RemoteHint> {
    let Some(root) = root else { return hints };
    for hint in &mut hints {
        if hint.change != RemoteChange::Closed {
            continue;
        }
        if let Ok(stat) = root.look(&hint.path)
            && stat.kind == crate::root::FileKind::File
        {
            hint.seen = Some((stat.fingerprint.size, stat.fingerprint.mtime_ns));
        }
    }
    hints
}
