//! Keeps the lease of the prefix: reads its object periodically, and releases it at the end.

use super::AppBucket;
use crate::config::Config;
use crate::engine::control::{Control, ControlRequest};
use crate::model::{Failure, FailureClass, ObjectKey, RelPath};
use crate::shutdown::Shutdown;
use crate::writer::{
    Condition, DeleteGuard, Holder, LeaseClaim, LeaseObject, LeaseStatus, LeaseWrite, WriterLease,
    lease_name,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Maximum time that the start waits for the first read. Nothing is deleted before it.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// Maximum time that the end waits for the release. Without a release, the next holder has to wait.
const END_PATIENCE: Duration = Duration::from_secs(3);
/// Maximum time to send the engine a retry request.
const RETRY_PATIENCE: Duration = Duration::from_secs(1);
/// Maximum number of attempts in a row, while another process writes first.
const LOOKS_MAX: usize = 3;

/// The running lease task.
pub(super) struct LeaseTask {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
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
            told: None,
            failing: false,
            conditional: None,
            claimed: false,
        };
        keeper.tell();
        // A read without a response in time is repeated.
        tokio::select! {
            looked = timeout(FIRST_PATIENCE, keeper.look()) => drop(looked),
            () = shutdown.requested() => {}
        }
        let (stop, stopped) = oneshot::channel();
        Some(Self { stop, task: tokio::spawn(keeper.keep(stopped)) })
    }

    /// Stops deletes, because another process may start them now.
    pub(super) async fn end(self) {
        drop(self.stop);
        if let Err(panic) = self.task.await {
            std::panic::resume_unwind(panic.into_panic());
        }
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
    told: Option<Result<(), String>>,
    /// Whether the last read failed.
    failing: bool,
    /// Whether the store supports conditions, once that is known.
    conditional: Option<bool>,
    /// Whether the object may belong to this process: a claim was sent, whatever its result.
    claimed: bool,
}

impl LeaseKeeper {
    async fn keep(mut self, mut stopped: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.lease.interval()) => self.look().await,
                _ = &mut stopped => break,
            }
        }
        // If the release fails, the next holder waits for the full time.
        if self.claimed && !matches!(timeout(END_PATIENCE, self.give_up()).await, Ok(Ok(()))) {
            tracing::warn!(
                event = "lease.kept",
                aws.s3.key = %self.key,
                "the lease could not be given up: another daemon waits s3_lease_seconds for it"
            );
        }
    }

    async fn look(&mut self) {
        let looked = self.try_look().await;
        if let Err(failure) = &looked
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
        self.failing = looked.is_err();
        if self.tell() {
            // Best effort: the engine may be stopped, or waiting for the directory.
            let asked = self.control.ask(|answer| ControlRequest::Retry(None, answer));
            drop(timeout(RETRY_PATIENCE, asked).await);
        }
    }

    async fn try_look(&mut self) -> Result<(), Failure> {
        for _ in 0..LOOKS_MAX {
            let asked = self.start.elapsed();
            let seen = self.bucket.lease(&self.key).await?;
            self.prove_conditions(seen.as_ref()).await?;
            let Some(write) = self.lease.seen(seen, asked, self.start.elapsed()) else { break };
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
    fn tell(&mut self) -> bool {
        let standing = self.lease.standing();
        self.writer.set_status(standing.clone(), self.start);
        let news = match standing {
            LeaseStatus::Unknown => return false,
            LeaseStatus::Mine { .. } => Ok(()),
            LeaseStatus::Other(name) => Err(name.clone()),
        };
        if self.told.as_ref() == Some(&news) {
            return false;
        }
        let follows = news.is_ok() && self.told.is_some();
        match &news {
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
        self.told = Some(news);
        follows
    }

    async fn give_up(&self) -> Result<(), Failure> {
        for _ in 0..LOOKS_MAX {
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
