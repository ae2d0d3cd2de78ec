//! What an event of the watcher means for us: a place to look at, never what happened there.
//!
//! # Invariant
//!
//! An event whose meaning is not known means more, not less: both "look at the name" and "look
//! whether it is a directory".

use crate::model::{RelPath, WriteState};
use notify::event::{
    AccessKind, AccessMode, CreateKind, Event, EventKind, ModifyKind, RemoveKind, RenameMode,
};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Why the worker has to look whether a path is a directory. A later one in this order says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Recheck {
    /// Its permissions changed: it may have become readable.
    Permissions,
    /// It was removed or renamed away.
    Left,
    /// It was created or renamed to this.
    Came,
    /// Something was mounted on it, or no longer is.
    Mounted,
}

/// What an event means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventAction {
    /// Events were lost, or the watcher says what it never should.
    OutOfSync,
    /// The file system beneath a watched directory was unmounted.
    Unmounted,
    /// Its path must be inspected.
    Look(Option<WriteState>, Option<Recheck>),
}

impl EventAction {
    pub(super) fn from_event(event: &Event) -> Self {
        use WriteState::{Done, Found, Gone, Writing};
        if event.need_rescan() {
            return Self::OutOfSync;
        }
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Self::Look(Some(Done), None),
            EventKind::Access(_) => Self::Look(None, None),
            EventKind::Modify(ModifyKind::Data(_)) => Self::Look(Some(Writing), None),
            EventKind::Modify(ModifyKind::Metadata(_)) => {
                Self::Look(Some(Found), Some(Recheck::Permissions))
            }
            // Events of its two halves came before it.
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => Self::Look(None, None),
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                Self::Look(Some(Gone), Some(Recheck::Left))
            }
            EventKind::Modify(ModifyKind::Name(_)) => Self::Look(Some(Done), Some(Recheck::Came)),
            EventKind::Create(CreateKind::File) => Self::Look(Some(Found), None),
            EventKind::Create(CreateKind::Folder) => Self::Look(None, Some(Recheck::Came)),
            EventKind::Remove(RemoveKind::File) => Self::Look(Some(Gone), None),
            EventKind::Remove(RemoveKind::Other) if event.info() == Some("unmount") => {
                Self::Unmounted
            }
            EventKind::Remove(_) => Self::Look(Some(Gone), Some(Recheck::Left)),
            EventKind::Modify(_) | EventKind::Create(_) | EventKind::Any | EventKind::Other => {
                Self::Look(Some(Found), Some(Recheck::Came))
            }
        }
    }
}

/// Where an event happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EventPath {
    /// At or below the watched directory.
    Below(RelPath),
    /// In the directory of the cookies, under this name.
    Cookie(Vec<u8>),
    /// Nowhere we know.
    Elsewhere,
}

/// The directories that are watched, as their paths were given to the watcher.
#[derive(Debug)]
pub(super) struct WatchedPaths {
    root: Vec<u8>,
    cookies: Vec<u8>,
}

impl WatchedPaths {
    /// Both paths are absolute.
    pub(super) fn new(root: &Path, cookies: &Path) -> Self {
        let bytes = |path: &Path| {
            let bytes = path.as_os_str().as_bytes();
            bytes.strip_suffix(b"/").unwrap_or(bytes).to_owned()
        };
        Self { root: bytes(root), cookies: bytes(cookies) }
    }

    pub(super) fn locate(&self, path: &Path) -> EventPath {
        let bytes = path.as_os_str().as_bytes();
        if let Some([b'/', name @ ..]) = bytes.strip_prefix(&*self.cookies) {
            return EventPath::Cookie(name.to_owned());
        }
        let below = match bytes.strip_prefix(&*self.root) {
            Some(b"" | b"/") => Some(RelPath::root()),
            Some([b'/', below @ ..]) => RelPath::new(below).ok(),
            _ => None,
        };
        below.map_or(EventPath::Elsewhere, EventPath::Below)
    }
}

/// Whether a name is the one that the kernel gives to a file made without a name (`O_TMPFILE`).
/// Events of later writes to such a file still have this name, even after it got its real one.
pub(super) fn is_tmpfile_name(name: &[u8]) -> bool {
    match name {
        [b'#', digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{DataChange, Flag, MetadataKind};

    #[test]
    fn events_mean_where_to_look() {
        use WriteState::{Done, Found, Gone, Writing};
        for (kind, activity, doubt) in [
            (EventKind::Access(AccessKind::Close(AccessMode::Write)), Some(Done), None),
            (EventKind::Access(AccessKind::Close(AccessMode::Read)), None, None),
            (EventKind::Modify(ModifyKind::Data(DataChange::Any)), Some(Writing), None),
            (
                EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)),
                Some(Found),
                Some(Recheck::Permissions),
            ),
            (
                EventKind::Modify(ModifyKind::Name(RenameMode::From)),
                Some(Gone),
                Some(Recheck::Left),
            ),
            (EventKind::Modify(ModifyKind::Name(RenameMode::To)), Some(Done), Some(Recheck::Came)),
            (EventKind::Create(CreateKind::File), Some(Found), None),
            (EventKind::Create(CreateKind::Folder), None, Some(Recheck::Came)),
            (EventKind::Remove(RemoveKind::File), Some(Gone), None),
            (EventKind::Remove(RemoveKind::Folder), Some(Gone), Some(Recheck::Left)),
            (EventKind::Any, Some(Found), Some(Recheck::Came)),
        ] {
            assert_eq!(
                EventAction::from_event(&Event::new(kind)),
                EventAction::Look(activity, doubt),
                "{kind:?}"
            );
        }
        let unmount = Event::new(EventKind::Remove(RemoveKind::Other)).set_info("unmount");
        assert_eq!(EventAction::from_event(&unmount), EventAction::Unmounted);
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(EventAction::from_event(&lost), EventAction::OutOfSync);
    }

    #[test]
    fn paths_are_located_by_whole_components() {
        let places = WatchedPaths::new(Path::new("/data"), Path::new("/state/cookies"));
        let below = |text: &str| EventPath::Below(RelPath::new(text.as_bytes()).expect("proper"));
        assert_eq!(places.locate(Path::new("/data")), below(""));
        assert_eq!(places.locate(Path::new("/data/a/b")), below("a/b"));
        assert_eq!(places.locate(Path::new("/database")), EventPath::Elsewhere);
        assert_eq!(places.locate(Path::new("/state/cookies/7")), EventPath::Cookie(b"7".to_vec()));
        let places = WatchedPaths::new(Path::new("/"), Path::new("/state"));
        assert_eq!(places.locate(Path::new("/a")), below("a"));
        assert_eq!(places.locate(Path::new("/")), below(""));
    }

    #[test]
    fn names_of_nameless_files_are_known() {
        assert!(is_tmpfile_name(b"#123"));
        for name in [&b"#"[..], b"#notes#", b"123", b"#12a"] {
            assert!(!is_tmpfile_name(name));
        }
    }
}
