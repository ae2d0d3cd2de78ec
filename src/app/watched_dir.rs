//! Waits for the watched directory: a volume may be mounted late, or be unmounted and return.
//!
//! While it is absent, nothing is decided about missing files. An empty directory is treated as a
//! mount point without its volume if the state has records of files in another directory.

mod binding;

pub(super) use binding::DirectoryRelation;

use crate::config::{Config, WatchPathLink};
use crate::engine::RunEnd;
use crate::model::{RelPath, RootGeneration, SourceOrigin};
use crate::root::{LookMeter, OwnState, Root, RootError};
use crate::store::StateBinding;
use binding::{DirectoryCandidate, judge};
use crc_fast::CrcAlgorithm;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Time between two checks for the directory.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);

/// Whether kernel events cover every change below `root`.
pub(super) fn has_complete_events(root: &Root) -> bool {
    root.identity().is_local()
}

/// The mark of the watched directory in objects. It reveals nothing else about the directory.
pub(super) fn mark(bound: &StateBinding) -> String {
    let sum = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bound.source.as_bytes());
    format!("{sum:016x}")
}

/// The path to the watched directory, and the conditions for its target.
#[derive(Debug)]
pub(super) struct WatchedSource {
    path: PathBuf,
    link: WatchPathLink,
    /// Whether links within it are followed.
    follow_links: bool,
    /// The state directory, which is excluded wherever it is found.
    own_state: Option<Arc<OwnState>>,
    /// The parent of the last name of `path`, opened once: only its links may change, not those of
    /// a later replacement.
    parent: OnceLock<Root>,
    /// Counts the operations of scans and sweeps.
    meter: Arc<LookMeter>,
}

/// A directory that may be mirrored.
#[derive(Debug)]
pub(super) struct FoundDirectory {
    pub(super) root: Root,
    pub(super) origin: SourceOrigin,
    pub(super) generation: DirectoryRelation,
}

/// Why there is none, as a sentence without private paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceUnavailable {
    reason: String,
    /// The expected target and the actual one.
    elsewhere: Option<(PathBuf, PathBuf)>,
}

impl WatchedSource {
    /// The source that `config` names. The state directory exists already, if there is one.
    pub(super) fn new(config: &Config) -> io::Result<Self> {
        let own_state = match OwnState::open(&config.state_dir) {
            Ok(own_state) => Some(Arc::new(own_state)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let path = config.watch_path.clone();
        let link = config.watch_path_link;
        let follow_links = config.follow_links;
        let meter = Arc::default();
        Ok(Self { path, link, follow_links, own_state, parent: OnceLock::new(), meter })
    }

    /// Waits for a directory that may be mirrored into the target of `bound`, and calls `show` with
    /// the reason while there is none. A `lost` directory has been logged already.
    pub(super) async fn wait(
        &self,
        bound: Option<&StateBinding>,
        lost: bool,
        show: impl Fn(&str),
    ) -> FoundDirectory {
        let mut logged = lost.then(|| SourceUnavailable::from(String::new()));
        loop {
            match self.open(bound) {
                Ok(found) => {
                    if logged.is_some() {
                        tracing::info!(
                            event = "source.available",
                            "the watched directory is there"
                        );
                    }
                    return found;
                }
                Err(unavailable) => {
                    if logged.as_ref() != Some(&unavailable) {
                        show(&unavailable.reason);
                        unavailable.log();
                        logged = Some(unavailable);
                    }
                }
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    /// Opens the directory if it may be mirrored into the target of `bound`, or returns the reason
    /// why not.
    pub(super) fn open(
        &self,
        bound: Option<&StateBinding>,
    ) -> Result<FoundDirectory, SourceUnavailable> {
        let found = self.open_to_fill(bound)?;
        let is_other =
            matches!(found.generation, DirectoryRelation::Next | DirectoryRelation::Swapped);
        if is_other && is_empty(&found.root) {
            return Err(SourceUnavailable::from(
                "it is empty, and not the directory that the state belongs to: is its volume mounted?"
                    .to_owned(),
            ));
        }
        Ok(found)
    }

    /// The same for a directory that may be empty.
    pub(super) fn open_to_fill(
        &self,
        bound: Option<&StateBinding>,
    ) -> Result<FoundDirectory, SourceUnavailable> {
        let root = Root::open(&self.path).map_err(|error| describe(&error))?;
        let root = root.with_meter(Arc::clone(&self.meter));
        let mut root = root.following_links(self.follow_links);
        if let Some(own_state) = &self.own_state {
            root = root.without(Arc::clone(own_state)).map_err(|error| describe(&error))?;
        }
        let origin = self.origin(&root)?;
        let identity = root.identity();
        let name = identity.name();
        let unique = identity.btime_ns != 0;
        let candidate = DirectoryCandidate { name: &name, unique, origin: &origin };
        let generation =
            judge(bound, candidate, self.link).map_err(|refused| SourceUnavailable {
                reason: refused.to_string(),
                elsewhere: bound
                    .and_then(|bound| bound.origin.as_ref())
                    .map(|before| (before.resolved.clone(), origin.resolved.clone())),
            })?;
        Ok(FoundDirectory { root, origin, generation })
    }

    /// The location of the opened directory.
    fn origin(&self, root: &Root) -> Result<SourceOrigin, SourceUnavailable> {
        let configured = root.path().to_owned();
        // Only `/` has no parent, and it is not a link.
        let above = configured.parent().unwrap_or(&configured).to_owned();
        let parent = match self.parent.get() {
            Some(parent) => parent,
            None => {
                let opened = Root::open_place(&above).map_err(|error| describe(&error))?;
                self.parent.get_or_init(|| opened)
            }
        };
        let resolved = place(root);
        let parent = place(parent);
        Ok(SourceOrigin { configured, resolved, parent })
    }

    /// Counts the operations of scans and sweeps.
    pub(super) fn meter(&self) -> Arc<LookMeter> {
        Arc::clone(&self.meter)
    }

    /// Whether a link in the path may change: then its previous target is no loss.
    pub(super) fn may_swap(&self) -> bool {
        self.link == WatchPathLink::Follow
    }
}

impl FoundDirectory {
    /// The new binding of the state. `first` is the binding of a new state.
    pub(super) fn bind(&self, bound: Option<StateBinding>, first: StateBinding) -> StateBinding {
        let source = self.root.identity().name();
        let origin = Some(self.origin.clone());
        match (bound, self.generation) {
            (None, _) | (_, DirectoryRelation::First) => StateBinding { source, origin, ..first },
            (Some(bound), DirectoryRelation::Same) => {
                // The bound path stays, unless an operator has written another one.
                let before = bound.origin.clone();
                let before = before.filter(|before| before.configured == self.origin.configured);
                StateBinding { origin: before.or(origin), ..bound }
            }
            (Some(bound), DirectoryRelation::Swapped) => StateBinding { source, origin, ..bound },
            (Some(bound), DirectoryRelation::Next) => {
                let epoch = RootGeneration(bound.epoch.0 + 1);
                StateBinding { source, origin, epoch, takeover_pending: false, ..bound }
            }
        }
    }

    /// Logs the relation of the directory to the binding.
    pub(super) fn log(&self) {
        match self.generation {
            DirectoryRelation::First | DirectoryRelation::Same => {}
            DirectoryRelation::Next => tracing::warn!(
                event = "source.changed",
                "this is not the directory that the state belongs to: what was mirrored from \
                 the other one is not deleted"
            ),
            DirectoryRelation::Swapped => tracing::info!(
                event = "source.swapped",
                leads_to = %self.origin.resolved.to_string_lossy().escape_debug(),
                "the link of watch_path leads to another directory; its files are mirrored in the place \
                 of those before"
            ),
        }
    }
}

impl SourceUnavailable {
    fn log(&self) {
        let shown = |path: &PathBuf| path.to_string_lossy().escape_debug().to_string();
        let bound_to = self.elsewhere.as_ref().map(|(bound_to, _)| bound_to);
        let leads_to = self.elsewhere.as_ref().map(|(_, leads_to)| leads_to);
        tracing::error!(
            event = "source.unavailable",
            reason = self.reason,
            bound_to = bound_to.map(shown),
            leads_to = leads_to.map(shown),
            "the watched directory cannot be used; nothing is sent or deleted until it can"
        );
    }
}

impl From<String> for SourceUnavailable {
    fn from(reason: String) -> Self {
        Self { reason, elsewhere: None }
    }
}

impl fmt::Display for SourceUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        match &self.elsewhere {
            Some((bound_to, leads_to)) => {
                write!(f, " (bound to {bound_to:?}, leads to {leads_to:?})")
            }
            None => Ok(()),
        }
    }
}

/// The location of an open directory. Without `/proc`, the path is resolved, which is less
/// reliable.
fn place(root: &Root) -> PathBuf {
    let resolved = root.resolved().or_else(|_| root.path().canonicalize());
    resolved.unwrap_or_else(|_| root.path().to_owned())
}

fn is_empty(root: &Root) -> bool {
    let mut empty = true;
    let listed = root.list(&RelPath::root(), &mut |_, _| {
        empty = false;
        ControlFlow::Break(())
    });
    // A directory that cannot be listed is treated like an empty one.
    empty || listed.is_err()
}

fn describe(error: &RootError) -> SourceUnavailable {
    SourceUnavailable::from(match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })
}

/// Logs why the directory is not watched for a moment.
pub(super) fn log_interrupted(end: &RunEnd, may_swap: bool) {
    match end {
        // Its new target is logged when it is opened.
        RunEnd::SourceLost(_) if may_swap => {}
        RunEnd::SourceLost(reason) => tracing::error!(
            event = "source.unavailable",
            reason,
            "the watched directory is not what it was; nothing is sent or deleted until it is back"
        ),
        RunEnd::DetectorLost => tracing::error!(
            event = "watch.lost",
            "the watcher has ended; starting it again and comparing everything"
        ),
        RunEnd::Drained | RunEnd::Expired | RunEnd::Replaced => {}
    }
}
