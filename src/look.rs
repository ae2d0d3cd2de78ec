//! Inspects paths: what exists now, and whether a missing path is really absent.
//!
//! # When a path is absent
//!
//! An inspection finds nothing under the name, **and** the nearest existing parent directory was
//! listed completely without the next component, **and** the watched directory was the same, and
//! not empty, before and after. Any other result is [`FileState::Unknown`], which deletes nothing:
//! an unreadable directory, an I/O error, a mount point.
//!
//! Everything here blocks.

use crate::model::{RelPath, WATCHED_DIRECTORY_EMPTY, WriteState};
use crate::plan::FileState;
use crate::root::{FileKind, FollowedPath, InspectError, Obstacle, Root, SourceGone, now_ns};
use crate::settle::ReadyPath;
use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::time::Duration;

/// The result of the inspection of one path.
#[derive(Debug)]
pub struct Inspection {
    /// The request.
    pub rested: ReadyPath,
    /// The wall clock at the inspection, in nanoseconds since 1970.
    pub at_ns: i64,
    /// The result.
    pub observed: FileState,
    /// The time since the last change of the file, if it is one.
    pub age: Option<Duration>,
    /// Whether the file has other names.
    pub linked: bool,
    /// As in [`FollowedPath::leads`].
    pub leads: Vec<RelPath>,
    /// Whether the file is known to be closed although no event said so.
    pub closed: bool,
    /// A kind of file that is not mirrored, if there is one instead.
    pub instead: Option<FileKind>,
    /// The path changed during the inspection: inspect it again.
    pub unsettled: bool,
    /// The result is unknown because of an error that may be temporary.
    pub passing: bool,
}

impl Inspection {
    fn new(rested: ReadyPath) -> Self {
        Self {
            rested,
            at_ns: now_ns(),
            observed: FileState::Absent,
            age: None,
            linked: false,
            leads: Vec::new(),
            closed: false,
            instead: None,
            unsettled: false,
            passing: false,
        }
    }

    /// An inspection of tests, at the start of the wall clock.
    #[cfg(test)]
    pub(crate) fn from_state(rested: ReadyPath, observed: FileState) -> Self {
        Self { at_ns: 0, observed, ..Self::new(rested) }
    }

    fn is_unknown(&mut self, why: String, passing: bool) {
        self.observed = FileState::Unknown(why);
        self.passing = passing;
    }
}

/// Inspects each of `paths`.
///
/// # Errors
///
/// If the watched directory has changed: then no result means anything.
pub fn look(root: &Root, paths: Vec<ReadyPath>) -> Result<Vec<Inspection>, SourceGone> {
    root.confirm()?;
    let mut looked: Vec<_> = paths.into_iter().map(|rested| look_at(root, rested)).collect();
    confirm_absence(root, &mut looked);
    root.confirm()?;
    Ok(looked)
}

fn look_at(root: &Root, rested: ReadyPath) -> Inspection {
    let mut looked = Inspection::new(rested);
    let FollowedPath { found, leads } = root.follow(&looked.rested.path);
    looked.leads = leads;
    match found {
        Ok(stat) if stat.kind == FileKind::File => {
            let age = stat.fingerprint.age(looked.at_ns);
            let ReadyPath { path, activity, overdue, rest, .. } = &looked.rested;
            let doubtful = *activity != WriteState::Done && !overdue && age < *rest;
            looked.closed = doubtful && root.is_closed(path, &stat.fingerprint);
            looked.age = Some(age);
            looked.observed = FileState::File(stat.fingerprint);
            looked.linked = stat.links > 1 || !looked.leads.is_empty();
        }
        Ok(stat) => looked.instead = Some(stat.kind),
        Err(InspectError::Gone | InspectError::NotBelow(Obstacle::Link)) => {}
        Err(error) => looked.is_unknown(error.to_string(), error.is_passing()),
    }
    looked
}

/// A name that must be missing in a listing.
struct AbsenceClaim {
    /// The inspection that claims it.
    index: usize,
    name: Vec<u8>,
}

/// Lists the directories of seemingly absent paths, each once.
fn confirm_absence(root: &Root, looked: &mut [Inspection]) {
    let mut claims: BTreeMap<RelPath, Vec<AbsenceClaim>> = BTreeMap::new();
    for (index, look) in looked.iter().enumerate() {
        if look.observed == FileState::Absent && look.instead.is_none() {
            // Of a link, what it leads to is missing.
            claim(&mut claims, index, look.leads.last().unwrap_or(&look.rested.path));
        }
    }
    if claims.is_empty() {
        return;
    }
    if let Some((reason, passing)) = why_not_believable(root) {
        for index in claims.into_values().flatten().map(|claim| claim.index) {
            looked[index].is_unknown(reason.clone(), passing);
        }
        return;
    }
    // Deeper directories come first; if one is gone too, the listing of its parent has to show
    // that.
    while let Some((directory, claimed)) = claims.pop_last() {
        match names_of(root, &directory, &claimed) {
            Ok(present) => {
                for AbsenceClaim { index, name } in claimed {
                    looked[index].unsettled = present.contains(&name);
                }
            }
            // A file replaced the directory, and nothing can be below a file.
            Err(InspectError::Gone) if is_no_directory(root, &directory) => {}
            Err(InspectError::Gone) if !directory.is_root() => {
                for AbsenceClaim { index, .. } in claimed {
                    claim(&mut claims, index, &directory);
                }
            }
            // The directory was replaced by a link: nothing behind it belongs to the tree.
            Err(InspectError::NotBelow(Obstacle::Link)) => {}
            Err(error) => {
                let reason = format!("its directory cannot be read: {error}");
                for AbsenceClaim { index, .. } in claimed {
                    looked[index].is_unknown(reason.clone(), error.is_passing());
                }
            }
        }
    }
}

fn is_no_directory(root: &Root, path: &RelPath) -> bool {
    root.look(path).is_ok_and(|stat| stat.kind != FileKind::Directory)
}

fn claim(claims: &mut BTreeMap<RelPath, Vec<AbsenceClaim>>, index: usize, path: &RelPath) {
    if let Some(parent) = path.parent() {
        let name = path.file_name().to_vec();
        claims.entry(parent).or_default().push(AbsenceClaim { index, name });
    }
}

/// The claimed names that a complete listing contains nevertheless.
fn names_of(
    root: &Root,
    directory: &RelPath,
    claimed: &[AbsenceClaim],
) -> Result<HashSet<Vec<u8>>, InspectError> {
    let names: HashSet<&[u8]> = claimed.iter().map(|claim| claim.name.as_slice()).collect();
    let mut present = HashSet::new();
    root.list(directory, &mut |name, _| {
        if names.contains(name) {
            present.insert(name.to_vec());
        }
        ControlFlow::Continue(())
    })?;
    Ok(present)
}

/// An empty directory may be one whose volume is not mounted: its absences prove nothing. Returns
/// the reason, and whether it may be temporary.
fn why_not_believable(root: &Root) -> Option<(String, bool)> {
    let mut empty = true;
    let listed = root.list(&RelPath::root(), &mut |_, _| {
        empty = false;
        ControlFlow::Break(())
    });
    match listed {
        Err(error) => {
            let why = format!("the watched directory cannot be read: {error}");
            Some((why, error.is_passing()))
        }
        Ok(()) if empty => Some((WATCHED_DIRECTORY_EMPTY.to_owned(), false)),
        Ok(()) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn observed(root: &Root, paths: &[&str]) -> Vec<FileState> {
        let asked = paths.iter().map(|path| ReadyPath {
            path: RelPath::new(path.as_bytes()).expect("a proper path"),
            activity: WriteState::Done,
            since: Duration::ZERO,
            overdue: false,
            rest: Duration::ZERO,
            mark: 1,
            fresh: false,
        });
        let looked = look(root, asked.collect()).expect("the source is there");
        assert!(looked.iter().all(|looked| !looked.unsettled), "{looked:?}");
        looked.into_iter().map(|looked| looked.observed).collect()
    }

    fn tree() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(directory.path().join("a/b")).expect("made");
        fs::write(directory.path().join("a/file"), b"x").expect("written");
        let root = Root::open(directory.path()).expect("opened");
        (directory, root)
    }

    #[test]
    fn files_are_seen_and_what_is_gone_is_absent() {
        let (_directory, root) = tree();
        let seen = observed(
            &root,
            &["a/file", "a/gone", "a/b/gone", "x/y/z", "a/b", "a/file/x", "a/file/x/y"],
        );
        assert!(matches!(seen[0], FileState::File(_)));
        assert!(seen[1..].iter().all(|observed| *observed == FileState::Absent), "{seen:?}");
    }

    #[test]
    fn links_and_what_lies_behind_them_are_not_part_of_the_tree() {
        let (directory, root) = tree();
        std::os::unix::fs::symlink("a", directory.path().join("link")).expect("made");
        assert_eq!(observed(&root, &["link", "link/file"]), [FileState::Absent, FileState::Absent]);
    }

    #[test]
    fn nothing_is_absent_in_a_directory_that_was_emptied() {
        let (directory, root) = tree();
        fs::remove_dir_all(directory.path().join("a")).expect("removed");
        let seen = observed(&root, &["a/file"]);
        assert_eq!(seen, [FileState::Unknown("the watched directory is empty".into())]);
    }

    #[test]
    fn nothing_is_found_in_a_directory_that_was_replaced() {
        let (directory, root) = tree();
        let path = directory.path().to_owned();
        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).expect("renamed");
        fs::create_dir(&path).expect("made");
        assert!(look(&root, Vec::new()).is_err());
        fs::remove_dir_all(aside).expect("removed");
    }
}
