//! Waits for the state directory while another instance holds it, as in a rollout.

use super::endpoints::EngineHandles;
use super::{AppError, RunContext, target};
use crate::clock::unix_millis;
use crate::config::Config;
use crate::engine::control::{self, ControlRequests};
use crate::engine::snapshot::Phase;
use crate::store::{OpenedState, Store, StoreOpenError};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::Instant;

/// Time between two attempts.
const ATTEMPT_INTERVAL: Duration = Duration::from_secs(1);

/// Opens the state when no other instance holds it. Returns `None` if shutdown is requested before.
pub(super) async fn open_state(
    context: &RunContext,
    handles: &mut EngineHandles,
) -> Result<Option<OpenedState>, AppError> {
    let RunContext { config, shutdown, .. } = context;
    let EngineHandles { snapshots, requests, .. } = handles;
    let wait = || {
        tracing::warn!(
            event = "instance.waiting",
            state_dir = %config.state_dir.to_string_lossy().escape_debug(),
            lock_timeout_seconds = config.lock_timeout.as_secs(),
            "another instance holds the state directory; waiting for its end"
        );
        snapshots.send_modify(|snapshot| snapshot.phase = Phase::WaitingForInstance);
    };
    let opened = tokio::select! {
        opened = attempts(config, wait) => opened?,
        () = shutdown.requested() => return Ok(None),
        never = refuse_all(requests) => match never {},
    };
    snapshots.send_modify(|snapshot| snapshot.phase = Phase::Starting);
    handles.open_control_socket(config, context.mode);
    Ok(Some(opened))
}

/// Opens the state, and calls `wait` once if that has to be retried.
async fn attempts(config: &Config, wait: impl FnOnce()) -> Result<OpenedState, AppError> {
    let began = Instant::now();
    let mut wait = Some(wait);
    loop {
        let directory = config.state_dir.clone();
        let target = target(config);
        let share = config.share;
        let opening = move || Store::open(&directory, &target, share, unix_millis());
        match tokio::task::spawn_blocking(opening).await {
            Ok(Err(StoreOpenError::Locked { .. })) if began.elapsed() < config.lock_timeout => {}
            Ok(opened) => return Ok(opened?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
        if let Some(wait) = wait.take() {
            wait();
        }
        tokio::time::sleep(ATTEMPT_INTERVAL).await;
    }
}

/// Refuses requests while the state is not open.
async fn refuse_all(requests: &mut ControlRequests) -> Infallible {
    while let Some(request) = requests.recv().await {
        control::reject_no_state(request);
    }
    std::future::pending().await
}
