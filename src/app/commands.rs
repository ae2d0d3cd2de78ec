//! Commands that run once: `plan`, `verify`, `doctor` and `restore`, with or without a running daemon.

mod doctor;
mod plan;
mod restore;
mod verify;

pub use doctor::doctor;
pub use plan::plan;
pub use restore::{RestoreRequest, restore};
pub use verify::verify;

use super::watched_dir::{DirectoryRelation, WatchedSource};
use super::{AppError, StateBinding, build, memory_limit, target};
use crate::aws::Aws;
use crate::cli::{Exit, ReportWriter};
use crate::config::Config;
use crate::reconcile::ReportError;
use crate::root::Root;
use crate::store::{ReadOnlyState, Store, StoreOpenError, UnusableState};
use crate::transfer::S3;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
enum InputError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error("{0}")]
    Source(String),
    #[error(transparent)]
    Report(#[from] ReportError),
}

impl InputError {
    fn exit(&self) -> Exit {
        match self {
            Self::App(error) => error.exit(),
            Self::Report(ReportError::Asked(_)) => Exit::Unreachable,
            Self::Report(ReportError::Store(_)) => Exit::StateUnreadable,
            Self::Source(_) | Self::Report(_) => Exit::Unexpected,
        }
    }
}

/// What `plan` and `verify` read.
struct CommandView {
    root: Arc<Root>,
    store: Store,
    bound: StateBinding,
    mirrored: u64,
    s3: S3,
}

/// Reduces the memory as the daemon does: it determines which files are too large.
fn fit_memory(config: &mut Config) {
    if let Some(fitted) = memory_limit::fit(config) {
        ReportWriter::note(&fitted.to_string());
    }
}

fn fail(report: ReportWriter, error: &InputError) -> Exit {
    report.fail(&error.to_string());
    error.exit()
}

/// Opens the inputs. Reports what would prevent `once`.
async fn open_inputs(
    config: &Config,
    open: impl FnOnce(&Path, &str) -> Result<ReadOnlyState, StoreOpenError> + Send + 'static,
) -> Result<CommandView, InputError> {
    let directory = config.state_dir.clone();
    let target = target(config);
    let viewed = match tokio::task::spawn_blocking(move || open(&directory, &target)).await {
        Ok(viewed) => viewed.map_err(AppError::from)?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    if let Some(why) = viewed.unusable {
        ReportWriter::note(match why {
            UnusableState::Damaged => {
                "the record is damaged: a daemon would move it aside and begin anew"
            }
            UnusableState::OtherTarget => {
                "state_dir belongs to another bucket or prefix: a daemon would set it aside and start with a new state"
            }
        });
    }
    let unusable = |reason: &dyn Display| format!("the watched directory cannot be used: {reason}");
    let found = WatchedSource::new(config)
        .map_err(|error| InputError::Source(unusable(&error)))?
        .open(viewed.bound.as_ref())
        .map_err(|reason| InputError::Source(unusable(&reason)))?;
    let owner = viewed.bound.as_ref().map(|bound| bound.owner.clone()).unwrap_or_default();
    if found.generation == DirectoryRelation::Next {
        ReportWriter::note(
            "this is not the directory that the state belongs to: what was mirrored from the other \
             one is not deleted",
        );
    }
    let first = super::first_binding(config, &owner);
    let bound = found.bind(viewed.bound, first);
    let aws = Aws::load(build::aws(config)).await.map_err(AppError::from)?;
    let s3 = S3::new(&aws, build::s3(config, &owner));
    let mirrored = viewed.counts.mirrored;
    Ok(CommandView { root: Arc::new(found.root), store: viewed.store, bound, mirrored, s3 })
}
