//! Looks at paths: what is there now, and whether what is not there is really absent.
//!
//! # When a path is absent
//!
//! A look finds nothing under the name, **and** the nearest directory above that does exist was
//! listed to its end without the next name on the way, **and** the watched directory was itself,
//! and not empty, before and after. Whatever else happens is [`Observed::Unknown`], which deletes
//! nothing: a directory that cannot be read, an error of the disk, a mount point.
//!
//! Everything here blocks.

use crate::model::RelPath;
use crate::plan::Observed;
use crate::root::{Kind, LookError, Obstacle, Root, SourceGone, now_ns};
use crate::settle::Rested;
use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::time::Duration;

/// What a look at one path found.
#[derive(Debug)]
pub struct Looked {
    /// Who asked.
    pub rested: Rested,
    /// What is there.
    pub observed: Observed,
    /// How long ago the file was last touched, if it is one.
    pub age: Option<Duration>,
    /// What is there instead of a file, and is not mirrored.
    pub instead: Option<Kind>,
    /// The path was changing while it was looked at: look once more.
    pub unsettled: bool,
}

/// Looks at each of `paths`.
///
/// # Errors
///
/// If the watched directory is not what it was: nothing that was found means anything then.
pub fn look(root: &Root, paths: Vec<Rested>) -> Result<Vec<Looked>, SourceGone> {
    root.confirm()?;
    let mut looked: Vec<_> = paths.into_iter().map(|rested| look_at(root, rested)).collect();
    confirm_absence(root, &mut looked);
    root.confirm()?;
    Ok(looked)
}

fn look_at(root: &Root, rested: Rested) -> Looked {
    let mut looked =
        Looked { rested, observed: Observed::Absent, age: None, instead: None, unsettled: false };
    match root.look(&looked.rested.path) {
        Ok(stat) if stat.kind == Kind::File => {
            looked.age = Some(stat.fingerprint.age(now_ns()));
            looked.observed = Observed::File(stat.fingerprint);
        }
        Ok(stat) => looked.instead = Some(stat.kind),
        Err(LookError::Gone | LookError::NotBelow(Obstacle::Link)) => {}
        Err(error) => looked.observed = Observed::Unknown(error.to_string()),
    }
    looked
}

/// A name that has to be missing from a listing.
struct Claim {
    /// Of the look that claims it.
    index: usize,
    name: Vec<u8>,
}

/// Lists the directories of what seems absent, each once.
fn confirm_absence(root: &Root, looked: &mut [Looked]) {
    let mut claims: BTreeMap<RelPath, Vec<Claim>> = BTreeMap::new();
    for (index, look) in looked.iter().enumerate() {
        if look.observed == Observed::Absent && look.instead.is_none() {
            claim(&mut claims, index, &look.rested.path);
        }
    }
    if claims.is_empty() {
        return;
    }
    if let Some(reason) = why_not_believable(root) {
        for index in claims.into_values().flatten().map(|claim| claim.index) {
            looked[index].observed = Observed::Unknown(reason.clone());
        }
        return;
    }
    // Deeper directories come first; where one is gone itself, its parent has to say so.
    while let Some((directory, claimed)) = claims.pop_last() {
        match names_of(root, &directory, &claimed) {
            Ok(present) => {
                for Claim { index, name } in claimed {
                    looked[index].unsettled = present.contains(&name);
                }
            }
            // A file took the directory's place, and nothing can lie below a file.
            Err(LookError::Gone) if is_no_directory(root, &directory) => {}
            Err(LookError::Gone) if !directory.is_root() => {
                for Claim { index, .. } in claimed {
                    claim(&mut claims, index, &directory);
                }
            }
            // The directory was replaced by a link: nothing behind it is part of the tree.
            Err(LookError::NotBelow(Obstacle::Link)) => {}
            Err(error) => {
                let reason = format!("its directory cannot be read: {error}");
                for Claim { index, .. } in claimed {
                    looked[index].observed = Observed::Unknown(reason.clone());
                }
            }
        }
    }
}

fn is_no_directory(root: &Root, path: &RelPath) -> bool {
    root.look(path).is_ok_and(|stat| stat.kind != Kind::Directory)
}

fn claim(claims: &mut BTreeMap<RelPath, Vec<Claim>>, index: usize, path: &RelPath) {
    if let Some(parent) = path.parent() {
        let name = path.file_name().to_vec();
        claims.entry(parent).or_default().push(Claim { index, name });
    }
}

/// Those of the claimed names that a complete listing shows all the same.
fn names_of(
    root: &Root,
    directory: &RelPath,
    claimed: &[Claim],
) -> Result<HashSet<Vec<u8>>, LookError> {
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

/// An empty directory may be one whose volume is not mounted: its absences prove nothing.
fn why_not_believable(root: &Root) -> Option<String> {
    let mut empty = true;
    let listed = root.list(&RelPath::root(), &mut |_, _| {
        empty = false;
        ControlFlow::Break(())
    });
    match listed {
        Err(error) => Some(format!("the watched directory cannot be read: {error}")),
        Ok(()) if empty => Some("the watched directory is empty".to_owned()),
        Ok(()) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Activity;
    use std::fs;

    fn observed(root: &Root, paths: &[&str]) -> Vec<Observed> {
        let asked = paths.iter().map(|path| Rested {
            path: RelPath::new(path.as_bytes()).expect("a proper path"),
            activity: Activity::Done,
            since: Duration::ZERO,
            overdue: false,
            mark: 1,
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
        assert!(matches!(seen[0], Observed::File(_)));
        assert!(seen[1..].iter().all(|observed| *observed == Observed::Absent), "{seen:?}");
    }

    #[test]
    fn links_and_what_lies_behind_them_are_not_part_of_the_tree() {
        let (directory, root) = tree();
        std::os::unix::fs::symlink("a", directory.path().join("link")).expect("made");
        assert_eq!(observed(&root, &["link", "link/file"]), [Observed::Absent, Observed::Absent]);
    }

    #[test]
    fn nothing_is_absent_in_a_directory_that_was_emptied() {
        let (directory, root) = tree();
        fs::remove_dir_all(directory.path().join("a")).expect("removed");
        let seen = observed(&root, &["a/file"]);
        assert_eq!(seen, [Observed::Unknown("the watched directory is empty".into())]);
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
