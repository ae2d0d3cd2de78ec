//! Confines the process to the files that it needs, with Landlock: a fault in the program cannot read or
//! change other files of its user.
//!
//! # Invariants
//!
//! - It applies to the calling thread and to the threads that it creates later, so it is called before any
//!   other thread exists.
//! - Nothing can be executed afterwards, and nothing is added to the grants. A directory that takes the
//!   place of a granted one is accessible only if a directory above it is granted.
//! - Metadata of files stays readable: Landlock restricts opening, creating and removing.

use landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use std::path::{Path, PathBuf};

/// The newest set of rights that is restricted. Older kernels restrict those that they know: 5.13 all but
/// truncation (6.2) and requests to devices (6.10).
const RIGHTS: ABI = ABI::V5;

/// What the process may do with files from now on. A path that does not exist is ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Files, and directories with everything below them, that may be read.
    pub read: Vec<PathBuf>,
    /// Directories below which files may also be created, changed and removed.
    pub write: Vec<PathBuf>,
    /// Files that may also be overwritten.
    pub overwrite: Vec<PathBuf>,
}

impl Grants {
    /// Whether every file may be read.
    #[must_use]
    pub fn read_everything(&self) -> bool {
        self.read.iter().any(|path| path == Path::new("/"))
    }
}

/// The result of [`confine`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confinement {
    /// The process is confined. `reads` is false if it may read every file.
    Confined {
        /// Whether reads are confined.
        reads: bool,
    },
    /// It is not, for this reason.
    Off(String),
}

/// Why the process could not be confined although the kernel can.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox cannot be set up: {0}")]
pub struct SandboxError(#[from] RulesetError);

/// Confines this thread and those that it creates.
///
/// # Errors
///
/// If the kernel has Landlock, and refuses the rules.
pub fn confine(grants: &Grants) -> Result<Confinement, SandboxError> {
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(RIGHTS))?.create()?;
    rules = grant(rules, &grants.read, read())?;
    rules = grant(rules, &grants.write, read() | write())?;
    rules = grant(rules, &grants.overwrite, read() | write())?;
    let status = rules.restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => {
            Confinement::Confined { reads: !grants.read_everything() }
        }
        RulesetStatus::NotEnforced => {
            Confinement::Off(without_landlock(status.landlock).to_owned())
        }
    })
}

fn without_landlock(status: LandlockStatus) -> &'static str {
    match status {
        LandlockStatus::NotEnabled => {
            "Landlock is not enabled in this kernel: add landlock to its boot parameter lsm"
        }
        LandlockStatus::NotImplemented => {
            "this kernel has no Landlock, which needs Linux 5.13, or a filter of system calls hides it"
        }
        LandlockStatus::Available { .. } => "Landlock of this kernel restricts nothing of it",
    }
}

/// Reading, without executing.
fn read() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// Changing, without making devices.
fn write() -> BitFlags<AccessFs> {
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    AccessFs::from_write(RIGHTS) & !devices
}

fn grant(
    mut rules: RulesetCreated,
    paths: &[PathBuf],
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    for path in paths {
        let Ok(target) = PathFd::new(path) else { continue };
        // A file has no names below it, and the kernel refuses rights to them.
        let rights = if path.is_dir() { rights } else { rights & AccessFs::from_file(RIGHTS) };
        rules = rules.add_rule(PathBeneath::new(target, rights))?;
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    /// The result in a thread that is confined to the grants. `None` without Landlock, which skips the
    /// test, with the reason.
    fn confined<T: Send + 'static>(
        grants: Grants,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let thread = std::thread::spawn(move || match confine(&grants).expect("valid rules") {
            Confinement::Confined { reads } => {
                assert_eq!(reads, !grants.read_everything());
                Some(work())
            }
            Confinement::Off(why) => {
                println!("skipped: {why}");
                None
            }
        });
        thread.join().expect("no panic")
    }

    fn is_denied<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    #[test]
    fn what_is_not_granted_cannot_be_opened_made_or_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        for name in ["watched", "state", "other"] {
            fs::create_dir(at(name)).expect("made");
            fs::write(at(name).join("file"), name).expect("written");
        }
        fs::write(at("message"), "longer than what comes").expect("written");
        let grants = Grants {
            read: vec![at("watched"), at("missing")],
            write: vec![at("state")],
            overwrite: vec![at("message")],
        };
        let at = |name: &str| directory.path().join(name);
        let watched = at("watched");
        let state = at("state");
        let other = at("other");
        let message = at("message");
        confined(grants, move || {
            // Threads that are created later are confined, too.
            let reader = std::thread::spawn({
                let other = other.clone();
                move || is_denied(File::open(other.join("file")))
            });
            assert!(reader.join().expect("no panic"));
            assert!(is_denied(fs::read_dir(&other)));
            assert!(is_denied(fs::write(other.join("new"), "")));
            assert!(is_denied(fs::remove_file(other.join("file"))));
            assert!(is_denied(fs::rename(state.join("file"), other.join("moved"))));
            assert!(is_denied(fs::hard_link(state.join("file"), other.join("linked"))));
            assert!(is_denied(Command::new("/bin/true").output()));

            assert_eq!(fs::read_to_string(watched.join("file")).expect("read"), "watched");
            assert_eq!(fs::read_dir(&watched).expect("listed").count(), 1);
            assert!(is_denied(fs::write(watched.join("file"), "changed")));
            assert!(is_denied(fs::remove_file(watched.join("file"))));
            assert!(is_denied(File::create(watched.join("new"))));

            fs::create_dir(state.join("deeper")).expect("made");
            fs::write(state.join("deeper/new"), "content").expect("written");
            fs::rename(state.join("deeper/new"), state.join("deeper/file")).expect("renamed");
            UnixListener::bind(state.join("socket")).expect("bound");
            fs::remove_dir_all(state.join("deeper")).expect("removed");
            fs::write(&message, "short").expect("overwritten");
            assert!(is_denied(fs::remove_file(&message)));
        });
    }

    #[test]
    fn what_takes_the_place_of_a_granted_directory_needs_a_grant_above_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        for name in ["one", "one/watched", "two", "two/watched"] {
            fs::create_dir(at(name)).expect("made");
        }
        let replace = |name: &str| {
            let place = directory.path().join(name);
            move || {
                // Another thread of the process is not confined.
                fs::remove_dir(place.join("watched")).expect("removed");
                fs::create_dir(place.join("watched")).expect("made");
            }
        };
        let (send, receive) = std::sync::mpsc::sync_channel::<()>(1);
        let (signal, replaced) = std::sync::mpsc::sync_channel::<()>(1);
        let changes = (replace("one"), replace("two"));
        let other = std::thread::spawn(move || {
            if receive.recv().is_ok() {
                changes.0();
                changes.1();
                signal.send(()).ok();
            }
        });
        let grants = Grants { read: vec![at("one"), at("two/watched")], ..Grants::default() };
        let one = at("one/watched");
        let two = at("two/watched");
        confined(grants, move || {
            assert!(fs::read_dir(&one).is_ok() && fs::read_dir(&two).is_ok());
            send.send(()).expect("it waits");
            replaced.recv().expect("replaced");
            assert!(fs::read_dir(&one).is_ok());
            assert!(is_denied(fs::read_dir(&two)));
        });
        other.join().expect("no panic");
    }

    #[test]
    fn all_reads_can_be_granted_without_any_write() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, "content").expect("written");
        let grants = Grants { read: vec!["/".into()], ..Grants::default() };
        confined(grants, move || {
            assert_eq!(fs::read_to_string(&file).expect("read"), "content");
            assert!(is_denied(fs::write(&file, "changed")));
        });
    }
}
