use super::*;
use crate::model::Shard;
use std::path::Path;

use tokio::sync::oneshot;

/// How a step of the test ends.
#[derive(Clone, Copy)]
enum StepFate {
    Completes,
    Hangs,
    Panics,
}

/// Records the steps. Each has a short limit.
struct RecordedActions<F> {
    fate: F,
    steps: Vec<ShutdownStep>,
}

impl<F: Fn(ShutdownStep) -> StepFate + Send> ShutdownActions for RecordedActions<F> {
    fn limit(&self, _: ShutdownStep) -> Duration {
        Duration::from_millis(10)
    }

    async fn perform(&mut self, step: ShutdownStep) -> Result<(), JoinError> {
        self.steps.push(step);
        match (self.fate)(step) {
            StepFate::Completes => Ok(()),
            StepFate::Hangs => std::future::pending().await,
            StepFate::Panics => tokio::spawn(async { panic!("for the test") }).await,
        }
    }
}

#[test]
fn the_steps_have_this_order_and_these_limits() {
    let invalidations = Duration::from_secs(25);
    let steps = ShutdownStep::ALL.map(|step| (step.as_str(), step.limit(invalidations).as_secs()));
    assert_eq!(
        steps,
        [
            ("release_lease", 10),
            ("finish_invalidations", 25),
            ("write_report", 10),
            ("count_remaining", 5),
            ("close_state", 30),
            ("stop_endpoints", 10),
            ("clear_progress", 1),
        ]
    );
}

#[tokio::test]
async fn a_step_that_hangs_or_panics_keeps_no_other_step_from_running() {
    for fate in [StepFate::Completes, StepFate::Hangs, StepFate::Panics] {
        let mut actions = RecordedActions { fate: |_| fate, steps: Vec::new() };
        let performed = perform_all(&mut actions).await;
        assert_eq!(actions.steps, ShutdownStep::ALL);
        let has_panic = matches!(fate, StepFate::Panics);
        assert_eq!(performed.is_err_and(|error| error.is_panic()), has_panic);
    }
}

#[tokio::test]
async fn the_first_panic_is_reported_after_the_last_step() {
    let fate = |step| match step {
        ShutdownStep::ReleaseLease => StepFate::Panics,
        ShutdownStep::WriteReport => StepFate::Hangs,
        _ => StepFate::Completes,
    };
    let mut actions = RecordedActions { fate, steps: Vec::new() };
    let error = perform_all(&mut actions).await.expect_err("a step has panicked");
    assert!(error.is_panic());
    assert_eq!(actions.steps, ShutdownStep::ALL);
}

/// The tasks of a run with an open state in `directory`.
fn tasks(directory: &Path) -> RunningTasks {
    let survival = StateSurvival::certain();
    let timeout = Duration::from_secs(25);
    let mut tasks = RunningTasks::new(RunMode::Daemon, Shutdown::default(), timeout, survival);
    tasks.state = Some(open(directory));
    tasks
}

/// Opens the state, which is locked while another handle has it open.
fn open(directory: &Path) -> Store {
    Store::open(directory, "bucket", Shard::default(), 0).expect("no other handle").store
}

/// The tasks of a run, with little time for the report.
struct HurriedTasks(RunningTasks);

impl ShutdownActions for HurriedTasks {
    fn limit(&self, step: ShutdownStep) -> Duration {
        match step {
            ShutdownStep::WriteReport => Duration::from_millis(50),
            _ => Duration::from_secs(60),
        }
    }

    async fn perform(&mut self, step: ShutdownStep) -> Result<(), JoinError> {
        self.0.perform(step).await
    }
}

#[tokio::test]
async fn a_report_that_hangs_is_aborted_and_the_state_is_closed_nevertheless() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut tasks = tasks(directory.path());
    let store = tasks.state.clone();
    tasks.start_report(async move {
        std::future::pending::<()>().await;
        drop(store);
    });
    tasks.summary = Some(RunSummary { pending: 3, ..RunSummary::default() });
    let mut tasks = HurriedTasks(tasks);
    perform_all(&mut tasks).await.expect("nothing has panicked");
    assert_eq!(tasks.0.remaining.map(|remaining| remaining.pending), Some(3));
    open(directory.path());
}

#[tokio::test]
async fn an_error_of_the_work_is_returned_after_all_steps() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut tasks = tasks(directory.path());
    let (written, report) = oneshot::channel();
    tasks.start_report(async move {
        tokio::task::yield_now().await;
        written.send(()).expect("the test waits for it");
    });
    let failed = AppError::Patterns("for the test".into());
    tasks.shut_down(Err(failed)).await.expect_err("the error of the work");
    report.await.expect("the report was written");
    open(directory.path());
}
