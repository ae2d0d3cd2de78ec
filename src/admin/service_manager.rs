//! Notifies the service manager (systemd) that the daemon has started, what it does, that its event loop
//! answers, and that it stops. Without `NOTIFY_SOCKET` there is nothing to do.

use super::handler_state::PING_PATIENCE;
use super::{ResponseSources, health, status};
use crate::clock::unix_millis;
use crate::engine::control::{ControlError, ControlRequest as Ask};
use sd_notify::NotifyState;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Time between two messages, unless the watchdog needs them more often.
const INTERVAL: Duration = Duration::from_secs(5);

/// Maximum length of the status, bytes. `systemctl status` shows one line.
const STATUS_BYTES_MAX: usize = 512;

/// Sends messages until the last snapshot. The daemon stops when `shutdown` is done. `watchdog` is the time
/// after which the service manager restarts a daemon whose event loop does not answer.
pub async fn notify_service_manager(
    sources: ResponseSources,
    shutdown: impl Future<Output = ()> + Send,
    watchdog: Option<Duration>,
) {
    let period = watchdog.map_or(INTERVAL, |watchdog| (watchdog / 3).min(INTERVAL));
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut snapshots = sources.snapshot.clone();
    let mut sent = SentMessages::default();
    let mut stopping = false;
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = &mut shutdown, if !stopping => stopping = true,
            changed = snapshots.changed(), if !sent.ready => {
                if changed.is_err() {
                    return;
                }
            }
        }
        if snapshots.has_changed().is_err() {
            return;
        }
        let messages = sent.messages(&sources, stopping, watchdog.is_some()).await;
        send(messages).await;
    }
}

/// The messages that were sent.
#[derive(Debug, Default)]
struct SentMessages {
    ready: bool,
    stopping: bool,
    status: String,
}

impl SentMessages {
    async fn messages(
        &mut self,
        sources: &ResponseSources,
        stopping: bool,
        watched: bool,
    ) -> Vec<ServiceMessage> {
        let mut messages = Vec::new();
        let snapshot = sources.snapshot.borrow().clone();
        if !self.ready && health::is_started(&snapshot) {
            self.ready = true;
            messages.push(ServiceMessage::Ready);
        }
        if stopping && !self.stopping {
            self.stopping = true;
            messages.push(ServiceMessage::Stopping);
        }
        let refusal = status::refusal(sources);
        let state = health::state(&snapshot, refusal);
        let cause = health::cause(&snapshot, refusal, unix_millis());
        let mut text = cause.map_or_else(|| state.to_owned(), |cause| format!("{state}: {cause}"));
        text = text.replace(['\n', '\r'], " ");
        text.truncate(text.floor_char_boundary(STATUS_BYTES_MAX));
        if self.status != text {
            self.status.clone_from(&text);
            messages.push(ServiceMessage::Status(text));
        }
        if watched && answers(sources).await {
            messages.push(ServiceMessage::Watchdog);
        }
        messages
    }
}

/// Whether the event loop answers. A loop that has ended was asked to.
async fn answers(sources: &ResponseSources) -> bool {
    let answer = timeout(PING_PATIENCE, sources.control.ask(Ask::Ping)).await;
    matches!(answer, Ok(Ok(()) | Err(ControlError::Stopping)))
}

/// One message.
#[derive(Debug)]
enum ServiceMessage {
    Ready,
    Stopping,
    Watchdog,
    Status(String),
}

/// Sends on a thread of its own: a service manager that does not read blocks the sender.
async fn send(messages: Vec<ServiceMessage>) {
    let sent = tokio::task::spawn_blocking(move || {
        let states = messages.iter().map(|message| match message {
            ServiceMessage::Ready => NotifyState::Ready,
            ServiceMessage::Stopping => NotifyState::Stopping,
            ServiceMessage::Watchdog => NotifyState::Watchdog,
            ServiceMessage::Status(text) => NotifyState::Status(text),
        });
        sd_notify::notify(&states.collect::<Vec<_>>())
    });
    // The panic hook has reported a panic.
    if let Ok(Err(error)) = sent.await {
        tracing::debug!(
            event = "service_manager.unreachable",
            error.message = %error,
            "systemd was not notified"
        );
    }
}
