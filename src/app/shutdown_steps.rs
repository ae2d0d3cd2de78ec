//! The steps of the shutdown after the last session, in their order.
//!
//! - Each step has a time limit. Its tasks are aborted when the limit is over: then they hold no
//!   handle of the state any more.
//! - A step that fails or takes too long does not keep the next steps from running. The panic of a
//!   task continues after the last step.
//! - The whole list is safe to interrupt: a SIGKILL between two steps loses nothing.

use super::endpoints::EndpointTasks;
use super::invalidation::{self, InvalidationTask};
use super::lease::LeaseTask;
use super::outcome::RunSummary;
use super::survival::StateSurvival;
use super::termination::Remaining;
use super::{AppError, RunMode};
use crate::cli::Exit;
use crate::shutdown::Shutdown;
use crate::store::{InvalidationBacklog, Store};
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

/// A step. They run in the order of [`ShutdownStep::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShutdownStep {
    /// Gives up the writer lease: no delete follows, and the next process may start.
    ReleaseLease,
    /// Waits until CloudFront has accepted the invalidations of the drain.
    FinishInvalidations,
    /// Writes the report of pending changes a last time.
    WriteReport,
    /// Reads from the state how much is left. It has to be open for that.
    CountRemaining,
    /// Closes the state. No other task uses it any more.
    CloseState,
    /// Stops the endpoints. Health checks are answered until here.
    StopEndpoints,
    /// Clears the progress line, so that the last log lines follow it.
    ClearProgress,
}

impl ShutdownStep {
    const ALL: [Self; 7] = [
        Self::ReleaseLease,
        Self::FinishInvalidations,
        Self::WriteReport,
        Self::CountRemaining,
        Self::CloseState,
        Self::StopEndpoints,
        Self::ClearProgress,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::ReleaseLease => "release_lease",
            Self::FinishInvalidations => "finish_invalidations",
            Self::WriteReport => "write_report",
            Self::CountRemaining => "count_remaining",
            Self::CloseState => "close_state",
            Self::StopEndpoints => "stop_endpoints",
            Self::ClearProgress => "clear_progress",
        }
    }

    /// The time limit, with `invalidations` for the step that waits for CloudFront.
    fn limit(self, invalidations: Duration) -> Duration {
        match self {
            // A read that is under way ends first; the release has 3 seconds.
            Self::ReleaseLease => Duration::from_secs(10),
            Self::FinishInvalidations => invalidations,
            Self::WriteReport => Duration::from_secs(10),
            Self::CountRemaining => Duration::from_secs(5),
            // The journal is merged into the file. Without that, the state is as complete.
            Self::CloseState => Duration::from_secs(30),
            // Responses end within a second; the status file within 4.
            Self::StopEndpoints => Duration::from_secs(10),
            Self::ClearProgress => Duration::from_secs(1),
        }
    }
}

/// What the steps do.
trait ShutdownActions {
    /// The time limit of a step that starts now.
    fn limit(&self, step: ShutdownStep) -> Duration;

    /// Performs one step. Its tasks are aborted if the future is dropped.
    fn perform(&mut self, step: ShutdownStep)
    -> impl Future<Output = Result<(), JoinError>> + Send;
}

/// Performs all steps in order. Returns the first panic of a task.
async fn perform_all(actions: &mut impl ShutdownActions) -> Result<(), JoinError> {
    let mut result = Ok(());
    for step in ShutdownStep::ALL {
        let limit = actions.limit(step);
        match timeout(limit, actions.perform(step)).await {
            Ok(performed) => result = result.and(performed),
            Err(_) => tracing::warn!(
                event = "shutdown.step_timed_out",
                step = step.as_str(),
                limit_seconds = limit.as_secs(),
                "a step of the shutdown was not completed in time; the next step follows"
            ),
        }
    }
    result
}

/// What runs beside the sessions, and has to be ended after the last one.
pub(super) struct RunningTasks {
    mode: RunMode,
    shutdown: Shutdown,
    shutdown_timeout: Duration,
    pub(super) survival: StateSurvival,
    pub(super) lease: Option<LeaseTask>,
    invalidation: Option<InvalidationTask>,
    /// The number of paths that CloudFront has not accepted.
    backlog: Option<watch::Receiver<InvalidationBacklog>>,
    report: Option<AbortOnDropHandle<()>>,
    pub(super) state: Option<Store>,
    pub(super) endpoints: Option<EndpointTasks>,
    pub(super) progress: Option<AbortOnDropHandle<()>>,
    /// How the work ended, unless an error ended it.
    summary: Option<RunSummary>,
    remaining: Option<Remaining>,
}

impl RunningTasks {
    pub(super) fn new(
        mode: RunMode,
        shutdown: Shutdown,
        shutdown_timeout: Duration,
        survival: StateSurvival,
    ) -> Self {
        Self {
            mode,
            shutdown,
            shutdown_timeout,
            survival,
            lease: None,
            invalidation: None,
            backlog: None,
            report: None,
            state: None,
            endpoints: None,
            progress: None,
            summary: None,
            remaining: None,
        }
    }

    /// Starts to keep the report of pending changes up to date.
    pub(super) fn start_report(&mut self, report: impl Future<Output = ()> + Send + 'static) {
        self.report = Some(AbortOnDropHandle::new(tokio::spawn(report)));
    }

    /// Keeps the CloudFront worker, if there is one.
    pub(super) fn keep_invalidation(&mut self, task: Option<InvalidationTask>) {
        self.backlog = task.as_ref().map(InvalidationTask::backlog);
        self.invalidation = task;
    }

    /// Performs all steps, after the work has ended. Returns the exit code and what is left.
    pub(super) async fn shut_down(
        mut self,
        ended: Result<RunSummary, AppError>,
    ) -> Result<(Exit, Remaining), AppError> {
        let failed = match ended {
            Ok(summary) => {
                self.summary = Some(summary);
                None
            }
            Err(error) => Some(error),
        };
        if let Err(panic) = perform_all(&mut self).await {
            std::panic::resume_unwind(panic.into_panic());
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let summary = self.summary.unwrap_or_default();
        let remaining = self.remaining.unwrap_or_default();
        Ok((summary.exit(self.mode, &remaining), remaining))
    }

    /// Reads what is left. Where the state does not respond in time, its names are missing.
    async fn count_remaining(&mut self) {
        let Some(summary) = &mut self.summary else { return };
        summary.unsent = self.backlog.as_ref().map_or(0, |backlog| backlog.borrow().unsent());
        let remaining = self.remaining.insert(summary.remaining(self.survival.holds()));
        if let Some(state) = &self.state {
            summary.read_details(state, remaining).await;
        }
    }
}

impl ShutdownActions for RunningTasks {
    fn limit(&self, step: ShutdownStep) -> Duration {
        let deadline = self.shutdown.deadline(self.shutdown_timeout);
        let time_left = deadline.saturating_duration_since(Instant::now());
        step.limit(invalidation::finish_limit(self.mode, time_left))
    }

    async fn perform(&mut self, step: ShutdownStep) -> Result<(), JoinError> {
        match step {
            ShutdownStep::ReleaseLease => {
                if let Some(lease) = self.lease.take() {
                    lease.release().await?;
                }
            }
            ShutdownStep::FinishInvalidations => {
                if let Some(invalidation) = self.invalidation.take() {
                    invalidation.finish().await;
                }
            }
            ShutdownStep::WriteReport => {
                if let Some(report) = self.report.take() {
                    report.await?;
                }
            }
            ShutdownStep::CountRemaining => self.count_remaining().await,
            ShutdownStep::CloseState => {
                if let Some(state) = self.state.take() {
                    state.closed().await;
                }
            }
            ShutdownStep::StopEndpoints => {
                if let Some(endpoints) = self.endpoints.take() {
                    endpoints.stop().await;
                }
            }
            ShutdownStep::ClearProgress => {
                if let Some(progress) = self.progress.take() {
                    // The panic hook has reported a panic.
                    drop(progress.await);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
