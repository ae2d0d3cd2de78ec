//! Keeps the lease of the prefix: reads its object periodically, and releases it at the end.

use super::AppBucket;
use crate::config::Config;
use crate::engine::control::{Control, ControlRequest};
use crate::exclusivity::{
    Condition, DeleteGuard, Holder, LeaseClaim, LeaseObject, LeaseStatus, LeaseWrite, WriterLease,
    lease_name,
};
use crate::model::{Failure, FailureClass, ObjectKey, RelPath};
use crate::shutdown::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// Maximum time that the start waits for the first read. Nothing is deleted before it.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// Maximum time that the end waits for the release. Without a release, the next holder has to wait.
const END_PATIENCE: Duration = Duration::from_secs(3);
/// Maximum time to send the engine a retry request.
const RETRY_PATIENCE: Duration = Duration::from_secs(1);
/// Maximum number of attempts in a row, while another process writes first.
const READS_MAX: usize = 3;

/// The running lease task.
pub(super) struct LeaseTask {
    stop: oneshot::Sender<()>,
    task: AbortOnDropHandle<()>,
}

impl LeaseTask {
    /// Starts the task, if a lease is configured.
    pub(super) async fn start(
        config: &Config,
        owner: &str,
        bucket: &AppBucket,
        (writer, control): (&Arc<DeleteGuard>, Control),
        shutdown: &Shutdown,
    ) -> Option<Self> {
        let patience = config.lease?;
        // No such prefix exists: a key with so few more bytes is always valid.
        let name = RelPath::new(lease_name(config.share).as_bytes()).ok()?;
        let key = config.prefix.key(&name).ok()?;
        let me = Holder {
            owner: owner.to_owned(),
            process: format!("{:016x}", fastrand::u64(..)),
            name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        let bucket = bucket.clone();
        let writer = Arc::clone(writer);
        let mut keeper = LeaseKeeper {
            bucket,
            key,
            lease: WriterLease::new(me, patience),
            start: now(),
            writer,
            control,
            logged: None,
            failing: false,
            conditional: None,
            claimed: false,
        };
        keeper.publish();
        // A read without a response in time is repeated.
        tokio::select! {
            refreshed = timeout(FIRST_PATIENCE, keeper.refresh()) => drop(refreshed),
            () = shutdown.requested() => {}
        }
        let (stop, stopped) = oneshot::channel();
        let task = AbortOnDropHandle::new(tokio::spawn(keeper.run(stopped)));
        Some(Self { stop, task })
    }

    /// Gives up the lease: another process may delete from now on. Returns a panic of the task.
    pub(super) async fn release(self) -> Result<(), JoinError> {
        drop(self.stop);
        self.task.await
    }
}

struct LeaseKeeper {
    bucket: AppBucket,
    key: ObjectKey,
    lease: WriterLease,
    start: Instant,
    writer: Arc<DeleteGuard>,
    /// Requests a retry of failed deletes.
    control: Control,
    /// The last logged holder: this process, or the name of another one.
    logged: Option<Result<(), String>>,
    /// Whether the last read failed.
    failing: bool,
    /// Whether the store supports conditions, once that is known.
    conditional: Option<bool>,
    /// Whether the object may belong to this process: a claim was sent, whatever its result.
    claimed: bool,
}

impl LeaseKeeper {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.lease.interval()) => self.refresh().await,
                _ = &mut stopped => break,
            }
        }
        // If the release fails, the next holder waits for the full time.
        if self.claimed && !matches!(timeout(END_PATIENCE, self.release()).await, Ok(Ok(()))) {
            tracing::warn!(
                event = "lease.kept",
                aws.s3.key = %self.key,
                "the lease could not be given up: another daemon waits s3_lease_seconds for it"
            );
        }
    }

    async fn refresh(&mut self) {
        let refreshed = self.try_refresh().await;
        if let Err(failure) = &refreshed
            && !self.failing
        {
            tracing::warn!(
                event = "lease.failed",
                aws.s3.key = %self.key,
                error.type = %failure.code,
                error.message = %failure.message,
                "the lease cannot be looked at or written; nothing is deleted when it is not sure any more"
            );
        }
        self.failing = refreshed.is_err();
        if self.publish() {
            // Best effort: the engine may be stopped, or waiting for the directory.
            let retry = self.control.ask(|answer| ControlRequest::Retry(None, answer));
            drop(timeout(RETRY_PATIENCE, retry).await);
        }
    }

    async fn try_refresh(&mut self) -> Result<(), Failure> {
        for _ in 0..READS_MAX {
            let read_at = self.start.elapsed();
            let seen = self.bucket.lease(&self.key).await?;
            self.prove_conditions(seen.as_ref()).await?;
            let Some(write) = self.lease.seen(seen, read_at, self.start.elapsed()) else { break };
            let sent = self.start.elapsed();
            self.claimed = true;
            let written = self.bucket.write_lease(&self.key, &write).await?;
            let Some(etag) = written else { continue };
            let seen = LeaseObject { etag, claim: Some(write.claim.clone()) };
            self.prove_conditions(Some(&seen)).await?;
            self.lease.written(&write, &seen.etag, sent, self.start.elapsed());
            break;
        }
        Ok(())
    }

    /// Verifies that the store refuses a write that it must refuse. If it accepts the write, no
    /// process holds a lease.
    async fn prove_conditions(&mut self, seen: Option<&LeaseObject>) -> Result<(), Failure> {
        let mine = seen.and_then(|seen| seen.claim.as_ref()).filter(|it| self.lease.is_mine(it));
        if let (Some(claim), None) = (mine, self.conditional) {
            let again = LeaseWrite { claim: claim.clone(), condition: Condition::Absent };
            let refused = self.bucket.write_lease(&self.key, &again).await?.is_none();
            self.conditional = Some(refused);
        }
        if self.conditional == Some(false) { Err(unconditional()) } else { Ok(()) }
    }

    /// Publishes the lease status, and logs a change. Returns whether another process held the
    /// lease until now.
    fn publish(&mut self) -> bool {
        let status = self.lease.standing();
        self.writer.set_status(status.clone(), self.start);
        let holder = match status {
            LeaseStatus::Unknown => return false,
            LeaseStatus::Mine { .. } => Ok(()),
            LeaseStatus::Other(name) => Err(name.clone()),
        };
        if self.logged.as_ref() == Some(&holder) {
            return false;
        }
        let follows = holder.is_ok() && self.logged.is_some();
        match &holder {
            Ok(()) => tracing::info!(
                event = "lease.held",
                aws.s3.key = %self.key,
                "this daemon holds the lease of its prefix, and deletes there"
            ),
            Err(name) => tracing::warn!(
                event = "lease.other",
                aws.s3.key = %self.key,
                holder = name,
                "another daemon holds the lease of this prefix: nothing is deleted while it does"
            ),
        }
        self.logged = Some(holder);
        follows
    }

    async fn release(&self) -> Result<(), Failure> {
        for _ in 0..READS_MAX {
            let Some(seen) = self.bucket.lease(&self.key).await? else { break };
            if !seen.claim.as_ref().is_some_and(|claim: &LeaseClaim| self.lease.is_mine(claim)) {
                break;
            }
            self.bucket.give_up_lease(&self.key, &seen.etag).await?;
        }
        Ok(())
    }
}

fn unconditional() -> Failure {
    Failure {
        class: FailureClass::Object,
        code: "unconditional".into(),
        message:
            "the store ignores conditions on writes, so no daemon can hold a lease there; set \
                  s3_lease_seconds to 0"
                .into(),
        answer_lost: false,
        retry_after_ms: None,
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock of the lease begins here")]
fn now() -> Instant {
    Instant::now()
}
