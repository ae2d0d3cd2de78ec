//! The watched directory and the state directory.

use super::{Diagnosis, DiagnosisReporter};
use crate::model::{Depth, RelPath};
use crate::root::{Root, RootError, Visit, walk};
use std::fs::{self, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Maximum number of entries that are counted.
const ENTRIES_MAX: u64 = 2_000_000;
/// Less free space than this is too little for an outage with a million changes.
const FREE_MIN: u64 = 256 << 20;
const MIB: u64 = 1 << 20;
/// Instances of inotify that the daemon needs.
const INSTANCES_MIN: u64 = 1;

type Selects<'a> = &'a dyn Fn(&RelPath, bool) -> bool;

/// The watched directory, and what events need.
#[derive(Debug)]
pub struct DirectoryCheck {
    /// The directory.
    pub path: PathBuf,
    /// Whether events are used at all.
    pub events: bool,
    /// The interval of scans where events do not show everything, in seconds.
    pub poll_seconds: u64,
    /// Where the kernel shows its limits: `/proc/sys/fs/inotify`.
    pub limits: PathBuf,
}

/// What a walk has counted.
#[derive(Debug, Default)]
struct TreeCounts {
    files: u64,
    directories: u64,
    unreadable: u64,
    first_unreadable: Option<String>,
    is_complete: bool,
}

impl DirectoryCheck {
    /// Opens and counts the directory. Blocks.
    pub fn run(&self, wanted: Selects<'_>, report: DiagnosisReporter<'_>) {
        let root = match Root::open(&self.path) {
            Ok(root) => root,
            Err(error) => {
                report(Diagnosis::problem("watch_path", reason(&error), directory_remedy(&error)));
                return report(Diagnosis::skipped(
                    "watches",
                    "not tried: watch_path cannot be used",
                ));
            }
        };
        let counts = match count(&root, wanted) {
            Ok(counts) => counts,
            Err(error) => {
                let remedy = "check the volume: the directory cannot be listed";
                return report(Diagnosis::problem("watch_path", error.to_string(), remedy));
            }
        };
        let sees_all = root.identity().is_local();
        report(self.found(&counts, sees_all));
        report(self.watches(&counts));
    }

    fn found(&self, counts: &TreeCounts, sees_all: bool) -> Diagnosis {
        let TreeCounts { files, directories, unreadable, .. } = counts;
        let more = if counts.is_complete { "" } else { " or more" };
        let mut message = format!("{files}{more} files in {directories}{more} directories");
        if let Some(first) = &counts.first_unreadable {
            let message = format!("{message}; {unreadable} cannot be read, the first is {first}");
            let remedy = "permit the user of the service to read them: group, mode, or fsGroup";
            return Diagnosis::problem("watch_path", message, remedy);
        }
        if self.events && !sees_all {
            message.push_str(&format!(
                "; a file system that other machines may write to: their changes are found every {} s",
                self.poll_seconds
            ));
        }
        Diagnosis::good("watch_path", message)
    }

    fn watches(&self, counts: &TreeCounts) -> Diagnosis {
        if !self.events {
            return Diagnosis::skipped("watches", "watch_mode is poll");
        }
        let limit = |name: &str| {
            let text = fs::read_to_string(self.limits.join(name)).ok()?;
            text.trim().parse::<u64>().ok()
        };
        let Some(watches) = limit("max_user_watches") else {
            return Diagnosis::skipped("watches", "the kernel shows no limit of inotify");
        };
        let needed = counts.directories + 1;
        let message = format!("{needed} of at most {watches} watches of this user are needed");
        let remedy = |name: &str, value: u64| {
            format!("raise the limit on the node: sysctl fs.inotify.{name}={value}")
        };
        if needed > watches {
            let message = format!("{message}: the other directories are scanned");
            return Diagnosis::warning("watches", message, remedy("max_user_watches", needed * 2));
        }
        match limit("max_user_instances") {
            Some(instances) if instances < INSTANCES_MIN => {
                let message = format!("this user may have {instances} inotify instances");
                Diagnosis::warning("watches", message, remedy("max_user_instances", 128))
            }
            _ => Diagnosis::good("watches", message),
        }
    }
}

fn count(root: &Root, wanted: Selects<'_>) -> Result<TreeCounts, crate::root::InspectError> {
    let mut counts = TreeCounts { is_complete: true, ..TreeCounts::default() };
    walk(root, &RelPath::root(), Depth::Whole, wanted, None, &mut |visit| {
        match visit {
            Visit::File { .. } => counts.files += 1,
            Visit::Directory { .. } => counts.directories += 1,
            Visit::Unreadable { path, error } => {
                counts.unreadable += 1;
                let described = || format!("{path} ({error})");
                counts.first_unreadable.get_or_insert_with(described);
            }
            Visit::Known { .. }
            | Visit::Left { .. }
            | Visit::Skipped { .. }
            | Visit::Mount { .. }
            | Visit::OwnState { .. } => {}
        }
        counts.is_complete = counts.files + counts.directories < ENTRIES_MAX;
        if counts.is_complete { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(counts)
}

/// The error with its cause.
fn reason(error: &RootError) -> String {
    match error {
        RootError::Io { source, .. } => format!("{error}: {source}"),
        error => error.to_string(),
    }
}

fn directory_remedy(error: &RootError) -> &'static str {
    match error {
        RootError::Missing(_) => "make the directory, mount its volume, or correct watch_path",
        RootError::NotDirectory(_) => "correct watch_path: it has to name a directory",
        RootError::NotReadable(_) => {
            "permit the user of the service to read it: group, mode, or fsGroup"
        }
        RootError::OwnState(_) => "give state_dir a place outside of watch_path",
        RootError::Io { .. } => "check the volume",
    }
}

/// The state directory.
#[derive(Debug)]
pub struct StateCheck<'a> {
    /// The directory.
    pub path: &'a Path,
    /// Whether it exists at the next start, as far as that is known.
    pub survives: bool,
}

impl StateCheck<'_> {
    /// Makes a file in the directory, and removes it. Blocks.
    #[must_use]
    pub fn run(&self) -> Diagnosis {
        let place = existing(self.path);
        let shown = self.path.to_string_lossy().escape_debug().to_string();
        if let Err(error) = try_write(place) {
            let message = format!("no file can be made in \"{shown}\": {error}");
            let remedy = "mount a writable volume there, owned by the user of the service";
            return Diagnosis::problem("state_dir", message, remedy);
        }
        let free = match rustix::fs::statvfs(place) {
            Ok(space) => space.f_bavail.saturating_mul(space.f_frsize),
            Err(errno) => {
                let message = format!("\"{shown}\": {}", io::Error::from(errno));
                return Diagnosis::problem("state_dir", message, "check the volume");
            }
        };
        let message = format!("\"{shown}\" is writable, {} MiB are free", free / MIB);
        if free < FREE_MIN {
            let remedy = "free at least 256 MiB: an outage with many changes needs them";
            return Diagnosis::warning("state_dir", message, remedy);
        }
        if !self.survives {
            let message = format!("{message}; it does not survive the container");
            let remedy =
                "mount a volume there: what waits, and deletes made meanwhile, are lost otherwise";
            return Diagnosis::warning("state_dir", message, remedy);
        }
        Diagnosis::good("state_dir", message)
    }
}

/// The directory itself, or the nearest one above it that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|above| above.is_dir()).unwrap_or(path)
}

/// Makes a file and removes it.
fn try_write(directory: &Path) -> io::Result<()> {
    let path = directory.join(format!(".doctor-{:016x}", fastrand::u64(..)));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let file = options.open(&path)?;
    let written = io::Write::write_all(&mut &file, b"doctor\n").and_then(|()| file.sync_all());
    fs::remove_file(&path)?;
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::CheckVerdict;

    fn checked(check: &DirectoryCheck) -> Vec<Diagnosis> {
        let mut found = Vec::new();
        check.run(&|_, _| true, &mut |diagnosis| found.push(diagnosis));
        found
    }

    #[test]
    fn more_directories_than_watches_are_a_warning_with_the_command() {
        let place = tempfile::tempdir().expect("a directory");
        let limits = place.path().join("limits");
        fs::create_dir_all(&limits).expect("made");
        fs::create_dir_all(place.path().join("tree/a/b/c")).expect("made");
        fs::write(limits.join("max_user_watches"), "3\n").expect("written");
        fs::write(limits.join("max_user_instances"), "128\n").expect("written");
        let path = place.path().join("tree");
        let check = DirectoryCheck { path, events: true, poll_seconds: 30, limits };
        let found = checked(&check);
        let watches = found.last().expect("one");
        assert_eq!((watches.check, watches.verdict), ("watches", CheckVerdict::Warning));
        assert!(watches.remedy.contains("sysctl fs.inotify.max_user_watches="), "{watches:?}");
        fs::write(check.limits.join("max_user_watches"), "100\n").expect("written");
        assert_eq!(checked(&check).last().map(|found| found.verdict), Some(CheckVerdict::Good));
        let polled = DirectoryCheck { events: false, ..check };
        assert_eq!(checked(&polled).last().map(|found| found.verdict), Some(CheckVerdict::Skipped));
    }

    #[test]
    fn the_state_directory_may_be_absent_and_nothing_is_left_in_it() {
        let place = tempfile::tempdir().expect("a directory");
        let absent = place.path().join("state/of/it");
        let good = StateCheck { path: &absent, survives: true }.run();
        assert_eq!(good.verdict, CheckVerdict::Good, "{good:?}");
        let passing = StateCheck { path: place.path(), survives: false }.run();
        assert_eq!(passing.verdict, CheckVerdict::Warning, "{passing:?}");
        assert_eq!(fs::read_dir(place.path()).expect("listed").count(), 0);
        let file = place.path().join("file");
        fs::write(&file, "").expect("written");
        let missing = StateCheck { path: Path::new("/proc/nowhere"), survives: true }.run();
        assert_eq!(missing.verdict, CheckVerdict::Problem, "{missing:?}");
        assert!(!missing.remedy.is_empty());
    }
}
