//! Keeps the lease of the prefix: looks at its object in time, and gives it up at the end.

use super::Bucket;
use crate::config::Config;
use crate::engine::control::{Control, Request};
use crate::model::{Failure, FailureClass, ObjectKey, RelPath};
use crate::shutdown::Shutdown;
use crate::writer::{
    Claim, Condition, Holder, Lease, OneWriter, Seen, Standing, Write, lease_name,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The start waits for the first look so long at most. Nothing is deleted before it anyway.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// And the end to have it given up: who comes next waits otherwise.
const END_PATIENCE: Duration = Duration::from_secs(3);
/// And the engine to hear that what has failed is to be tried again.
const RETRY_PATIENCE: Duration = Duration::from_secs(1);
/// Looks in a row, where somebody else was faster each time.
const LOOKS_MAX: usize = 3;

/// The lease, kept.
pub(super) struct Keeping {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Keeping {
    /// Begins, where a lease is wanted.
    pub(super) async fn start(
        config: &Config,
        owner: &str,
        bucket: &Bucket,
        (writer, control): (&Arc<OneWriter>, Control),
        shutdown: &Shutdown,
    ) -> Option<Self> {
        let patience = config.lease?;
        // There is no such prefix: a key of so few more bytes is always possible.
        let name = RelPath::new(lease_name(config.share).as_bytes()).ok()?;
        let key = config.prefix.key(&name).ok()?;
        let me = Holder {
            owner: owner.to_owned(),
            process: format!("{:016x}", fastrand::u64(..)),
            name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        let (bucket, writer) = (bucket.clone(), Arc::clone(writer));
        let mut keeper = Keeper {
            bucket,
            key,
            lease: Lease::new(me, patience),
            start: now(),
            writer,
            control,
            told: None,
            failing: false,
            conditional: None,
            claimed: false,
        };
        keeper.tell();
        // What it does not answer in time is asked again.
        tokio::select! {
            looked = timeout(FIRST_PATIENCE, keeper.look()) => drop(looked),
            () = shutdown.requested() => {}
        }
        let (stop, stopped) = oneshot::channel();
        Some(Self { stop, task: tokio::spawn(keeper.keep(stopped)) })
    }

    /// Nothing is deleted any more: another one may.
    pub(super) async fn end(self) {
        drop(self.stop);
        if let Err(panic) = self.task.await {
            std::panic::resume_unwind(panic.into_panic());
        }
    }
}

struct Keeper {
    bucket: Bucket,
    key: ObjectKey,
    lease: Lease,
    start: Instant,
    writer: Arc<OneWriter>,
    /// Who has the deletes that failed tried again.
    control: Control,
    /// What was last logged: whose it is, and its name if it is another one's.
    told: Option<Result<(), String>>,
    /// Whether the last look failed.
    failing: bool,
    /// Whether the store does what it is asked only on condition, once that is known.
    conditional: Option<bool>,
    /// Whether the object may be this process's: a claim was sent, whatever became of it.
    claimed: bool,
}

impl Keeper {
    async fn keep(mut self, mut stopped: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.lease.interval()) => self.look().await,
                _ = &mut stopped => break,
            }
        }
        // Who cannot be told waits for its time.
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
            // Who is not there to answer, at the end or while the directory is waited for, tries nothing.
            let asked = self.control.ask(|answer| Request::Retry(None, answer));
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
            let seen = Seen { etag, claim: Some(write.claim.clone()) };
            self.prove_conditions(Some(&seen)).await?;
            self.lease.written(&write, &seen.etag, sent, self.start.elapsed());
            break;
        }
        Ok(())
    }

    /// Has the store refuse a write of what is this process's already. One that does not know conditions
    /// takes it: then nobody holds anything.
    async fn prove_conditions(&mut self, seen: Option<&Seen>) -> Result<(), Failure> {
        let mine = seen.and_then(|seen| seen.claim.as_ref()).filter(|it| self.lease.is_mine(it));
        if let (Some(claim), None) = (mine, self.conditional) {
            let again = Write { claim: claim.clone(), condition: Condition::Absent };
            let refused = self.bucket.write_lease(&self.key, &again).await?.is_none();
            self.conditional = Some(refused);
        }
        if self.conditional == Some(false) { Err(unconditional()) } else { Ok(()) }
    }

    /// Tells whoever deletes, and whoever reads the log if it is news. Answers whether another one has held
    /// the lease until now.
    fn tell(&mut self) -> bool {
        let standing = self.lease.standing();
        self.writer.stands(standing.clone(), self.start);
        let news = match standing {
            Standing::Unknown => return false,
            Standing::Mine { .. } => Ok(()),
            Standing::Other(name) => Err(name.clone()),
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
            if !seen.claim.as_ref().is_some_and(|claim: &Claim| self.lease.is_mine(claim)) {
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
            "the store ignores conditions on writes, so that nobody can hold a lease there; set \
                  s3_lease_seconds to 0"
                .into(),
        answer_lost: false,
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock of the lease begins here")]
fn now() -> Instant {
    Instant::now()
}
