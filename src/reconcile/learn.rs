//! A walk that also remembers the directories, for the sweeps between scans.

use super::ScanScope;
use crate::root::{InspectError, PreviousDigests, Root, Visit, walk};
use crate::sweep::DirectoryMemory;
use std::ops::ControlFlow;

/// As [`walk`]. What was visited is in `directories`.
pub(super) fn learning_walk(
    root: &Root,
    range: &ScanScope,
    wanted: &dyn Fn(&crate::model::RelPath, bool) -> bool,
    memory: Option<PreviousDigests<'_>>,
    directories: Option<&DirectoryMemory>,
    visit: &mut dyn FnMut(&Visit<'_>) -> ControlFlow<()>,
) -> Result<(), InspectError> {
    let mut complete = true;
    if let Some(directories) = directories {
        directories.begin_scan();
    }
    walk(root, &range.start, range.depth, wanted, memory, &mut |visited| {
        if let Some(directories) = directories
            && let Visit::Directory { path, listed } | Visit::Known { path, listed, .. } = visited
        {
            directories.visited(path, listed);
        }
        let flow = visit(&visited);
        complete &= flow.is_continue();
        flow
    })?;
    if let Some(directories) = directories.filter(|_| complete) {
        directories.end_scan(&range.start, range.depth);
    }
    Ok(())
}
