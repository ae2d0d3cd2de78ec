//! Decides whether the directory that `watch_path` leads to may be mirrored: pure.
//!
//! # Invariants
//!
//! - `watch_path` has to lead to the directory that it led to when the state was bound. A link
//!   that replaces it, or a directory above it, has another target, and is refused until an
//!   operator writes another `watch_path`, or allows the link to change.
//! - Another directory at the same place is a volume that was replaced or restored. It is
//!   mirrored, and nothing is deleted that was uploaded from the previous one.
//! - A link that may change leads to no place outside the directory that contains it.

use crate::config::WatchPathLink;
use crate::model::SourceOrigin;
use crate::store::StateBinding;
use std::path::Path;

/// The relation of a directory to the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) enum DirectoryRelation {
    /// The state has no directory yet.
    First,
    /// The directory that the state is bound to.
    Same,
    /// Another directory: objects of the previous one are not deleted.
    Next,
    /// The new target of a link that may change: the same tree in a new release.
    Swapped,
}

/// Why a directory may not be mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::app) enum BindingRefused {
    #[error(
        "watch_path leads to another place than when the state was bound to it: a link was put in its \
         place or changed; to agree, set watch_path to the directory itself, or, where deployments \
         change the link on purpose, set watch_path_link to follow"
    )]
    Elsewhere,
    #[error(
        "watch_path leads out of the directory that its link lies in, and watch_path_link: follow \
         accepts targets beneath that directory only; to agree, set watch_path to the directory itself"
    )]
    OutOfParent,
    #[error(
        "the directory that the link of watch_path lies in is another one than when the state was \
         bound; to agree, set watch_path to the directory itself"
    )]
    OtherParent,
}

/// The directory found at `origin`, with this `name`, which is `unique` if no other directory can
/// have it.
#[derive(Debug, Clone, Copy)]
pub(super) struct DirectoryCandidate<'a> {
    pub(super) name: &'a str,
    pub(super) unique: bool,
    pub(super) origin: &'a SourceOrigin,
}

/// Decides about a directory that was found.
pub(super) fn judge(
    bound: Option<&StateBinding>,
    found: DirectoryCandidate<'_>,
    link: WatchPathLink,
) -> Result<DirectoryRelation, BindingRefused> {
    let DirectoryCandidate { name, unique, origin } = found;
    if link == WatchPathLink::Follow && !is_beneath(&origin.resolved, &origin.parent) {
        return Err(BindingRefused::OutOfParent);
    }
    let Some(bound) = bound else { return Ok(DirectoryRelation::First) };
    let same = bound.source == name;
    // An older state has no places. An operator has written another path.
    let Some(before) = bound.origin.as_ref().filter(|was| was.configured == origin.configured)
    else {
        return Ok(if same { DirectoryRelation::Same } else { DirectoryRelation::Next });
    };
    let in_place = before.resolved == origin.resolved;
    match link {
        _ if same && (unique || in_place) => Ok(DirectoryRelation::Same),
        WatchPathLink::Follow if before.parent != origin.parent => Err(BindingRefused::OtherParent),
        WatchPathLink::Follow if !in_place => Ok(DirectoryRelation::Swapped),
        _ if in_place => Ok(DirectoryRelation::Next),
        WatchPathLink::Bound | WatchPathLink::Follow => Err(BindingRefused::Elsewhere),
    }
}

fn is_beneath(path: &Path, directory: &Path) -> bool {
    path != directory && path.starts_with(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{OverlapSign, RootGeneration};

    fn origin(configured: &str, resolved: &str) -> SourceOrigin {
        let parent = Path::new(configured).parent().expect("not the root").to_owned();
        SourceOrigin { configured: configured.into(), resolved: resolved.into(), parent }
    }

    fn bound(origin: Option<SourceOrigin>) -> StateBinding {
        StateBinding {
            target: "t".into(),
            source: "before".into(),
            origin,
            epoch: RootGeneration(1),
            owner: "o".into(),
            listed: true,
            takeover_pending: false,
            probed: None,
            overlap: OverlapSign::Nothing,
        }
    }

    fn judged(
        bound: &StateBinding,
        name: &str,
        unique: bool,
        origin: &SourceOrigin,
        link: WatchPathLink,
    ) -> Result<DirectoryRelation, BindingRefused> {
        judge(Some(bound), DirectoryCandidate { name, unique, origin }, link)
    }

    #[test]
    fn another_place_is_refused_until_a_person_writes_another_path() {
        let bound = bound(Some(origin("/srv/up", "/srv/up")));
        let moved = origin("/srv/up", "/secrets");
        let link = WatchPathLink::Bound;
        assert_eq!(judged(&bound, "other", true, &moved, link), Err(BindingRefused::Elsewhere));
        // The same inode number without a birth time proves nothing.
        assert_eq!(judged(&bound, "before", false, &moved, link), Err(BindingRefused::Elsewhere));
        let written = origin("/secrets", "/secrets");
        assert_eq!(judged(&bound, "other", true, &written, link), Ok(DirectoryRelation::Next));
    }

    #[test]
    fn another_directory_at_the_same_place_is_the_next() {
        let place = origin("/srv/up", "/mnt/up");
        let bound = bound(Some(place.clone()));
        for link in [WatchPathLink::Bound, WatchPathLink::Follow] {
            let place = SourceOrigin { parent: "/mnt".into(), ..place.clone() };
            let bound = StateBinding { origin: Some(place.clone()), ..bound.clone() };
            assert_eq!(judged(&bound, "other", true, &place, link), Ok(DirectoryRelation::Next));
            assert_eq!(judged(&bound, "before", false, &place, link), Ok(DirectoryRelation::Same));
        }
    }

    #[test]
    fn the_same_directory_by_another_way_is_the_same() {
        let bound = bound(Some(origin("/srv/up", "/srv/up")));
        let moved = origin("/srv/up", "/srv/old");
        let same = judged(&bound, "before", true, &moved, WatchPathLink::Bound);
        assert_eq!(same, Ok(DirectoryRelation::Same));
    }

    #[test]
    fn a_state_that_knows_no_place_is_bound_to_what_is_there() {
        let place = origin("/srv/up", "/anywhere");
        let link = WatchPathLink::Bound;
        assert_eq!(judged(&bound(None), "other", true, &place, link), Ok(DirectoryRelation::Next));
        assert_eq!(judged(&bound(None), "before", true, &place, link), Ok(DirectoryRelation::Same));
    }

    #[test]
    fn a_link_that_may_change_stays_beneath_its_parent() {
        let link = WatchPathLink::Follow;
        let bound = bound(Some(origin("/app/current", "/app/releases/1")));
        let next = origin("/app/current", "/app/releases/2");
        assert_eq!(judged(&bound, "other", true, &next, link), Ok(DirectoryRelation::Swapped));
        for outside in ["/etc", "/app", "/application/x", "/"] {
            let leak = origin("/app/current", outside);
            assert_eq!(
                judged(&bound, "other", true, &leak, link),
                Err(BindingRefused::OutOfParent)
            );
            let first =
                judge(None, DirectoryCandidate { name: "n", unique: true, origin: &leak }, link);
            assert_eq!(first, Err(BindingRefused::OutOfParent));
        }
        let other = SourceOrigin { parent: "/app/releases".into(), ..next };
        assert_eq!(judged(&bound, "other", true, &other, link), Err(BindingRefused::OtherParent));
    }
}
