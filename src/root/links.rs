//! Links within the watched directory: what a link leads to, if that is beneath the directory.
//!
//! # Invariants
//!
//! - The kernel follows no link. The text of each is read, and every name on the way is inspected as
//!   one that is not a link. The result is a path, which is inspected and opened like any other one:
//!   whatever changes meanwhile, it is beneath the directory, on its mount, and not in the state.
//! - A link that is absolute, or leads above the directory on its way, is not followed.
//! - At most [`LINKS_MAX`] links and [`NAMES_MAX`] names are followed, so that loops end.

use super::Root;
use super::beneath::ENTRANCE;
use super::error::{InspectError, Obstacle};
use super::stat::{FileKind, Stat};
use crate::model::RelPath;
use rustix::io::Errno;

/// As many as the kernel follows.
const LINKS_MAX: usize = 40;
/// Names on the way, of all links together.
const NAMES_MAX: usize = 512;

/// What is at a path, behind its links where these are followed.
#[derive(Debug)]
pub struct FollowedPath {
    /// The attributes of the file, or of a link that is not followed.
    pub found: Result<Stat, InspectError>,
    /// The other links on the way, and at last the path that was inspected: the link depends on all of
    /// them. Empty if the path is no link, or one that is not followed.
    pub leads: Vec<RelPath>,
}

impl Root {
    /// Follows links to regular files beneath this directory from now on, or none.
    #[must_use]
    pub fn following_links(self, follows: bool) -> Self {
        Self { follows_links: follows, ..self }
    }

    /// Inspects `path`, or what it leads to where it is a link and links are followed.
    #[must_use]
    pub fn follow(&self, path: &RelPath) -> FollowedPath {
        let mut leads = Vec::new();
        let found = match self.look(path) {
            Ok(link) if link.kind == FileKind::Symlink && self.follows_links => {
                let file = self.resolve(path, &mut leads);
                if !matches!(file, Ok(Some(_)) | Err(InspectError::Gone)) {
                    // Links that lead to each other must not depend on each other.
                    leads.clear();
                }
                file.map(|file| file.unwrap_or(link))
            }
            looked => looked,
        };
        FollowedPath { found, leads }
    }

    /// The attributes of the regular file that the link `path` leads to, or `None` if it is not
    /// followed.
    fn resolve(
        &self,
        path: &RelPath,
        leads: &mut Vec<RelPath>,
    ) -> Result<Option<Stat>, InspectError> {
        let mut at = RelPath::root();
        // The last name comes first.
        let mut rest: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
        let mut links = 0;
        let mut names = 0;
        while let Some(name) = rest.pop() {
            names += 1;
            if names > NAMES_MAX {
                return Ok(None);
            }
            if name == b".." {
                let Some(parent) = at.parent() else { return Ok(None) };
                at = parent;
                continue;
            }
            let Ok(here) = at.join(&name) else { return Ok(None) };
            let stat = match self.look(&here) {
                // Whatever may come after a missing name, this is what decides.
                Err(InspectError::Gone) => {
                    leads.push(here);
                    return Err(InspectError::Gone);
                }
                // A directory on the way has become a link since it was inspected.
                Err(InspectError::NotBelow(Obstacle::Link)) => {
                    return Err(InspectError::Io(Errno::AGAIN.into()));
                }
                Err(InspectError::NotBelow(Obstacle::OwnState)) => return Ok(None),
                looked => looked?,
            };
            match stat.kind {
                FileKind::Directory => at = here,
                FileKind::Symlink => {
                    links += 1;
                    if here != *path {
                        leads.push(here.clone());
                    }
                    let Some(target) = self.read_link(&here)?.filter(|_| links <= LINKS_MAX) else {
                        return Ok(None);
                    };
                    rest.extend(target);
                }
                FileKind::File if rest.is_empty() => {
                    leads.push(here);
                    return Ok(Some(stat));
                }
                _ => return Ok(None),
            }
        }
        // A directory.
        Ok(None)
    }

    /// The names in the text of a link, the last one first; `None` if it is absolute.
    fn read_link(&self, link: &RelPath) -> Result<Option<Vec<Vec<u8>>>, InspectError> {
        let parent = link.parent().unwrap_or_else(RelPath::root);
        let opened;
        let dir = if parent.is_root() {
            &self.dir
        } else {
            opened = self.beneath().open(parent.as_bytes(), ENTRANCE)?;
            &opened
        };
        let text = match rustix::fs::readlinkat(dir, link.file_name(), Vec::new()) {
            Ok(text) => text,
            // It is no link any more.
            Err(Errno::INVAL | Errno::NOENT) => return Err(InspectError::Io(Errno::AGAIN.into())),
            Err(errno) => return Err(errno.into()),
        };
        let bytes = text.as_bytes();
        if bytes.first().is_none_or(|first| *first == b'/') {
            return Ok(None);
        }
        let names = bytes.split(|byte| *byte == b'/').rev();
        Ok(Some(names.filter(|name| !matches!(*name, b"" | b".")).map(<[u8]>::to_vec).collect()))
    }
}

#[cfg(test)]
mod tests;
