//! After the story: the user may change files, and the left-hand column shows what was seen.

use crate::compare::files;
use crate::screen::{Screen, human};
use file_sync_dev_drivers::{Daemon, Interrupt, Workspace};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant, SystemTime};

/// How often the directory is looked at.
const STEP: Duration = Duration::from_millis(100);

/// What distinguishes one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    inode: u64,
    size: u64,
    changed_ns: i64,
}

/// Says where to go.
pub(crate) fn invite(screen: &Screen, workspace: &Workspace) {
    screen.chapter("Now you: change files below this directory, and watch. Ctrl-C ends it.");
    screen.remark(&workspace.watched().to_string_lossy().escape_debug().to_string());
}

/// Shows what changes until it is interrupted.
pub(crate) fn watch(
    workspace: &Workspace,
    screen: &Screen,
    daemon: &mut Daemon<'_>,
    interrupt: &Interrupt,
) -> io::Result<()> {
    let mut known = look_around(workspace)?;
    while interrupt.sleep(STEP) {
        if let Some(status) = daemon.ended()? {
            screen.remark(&format!("the daemon ended by itself: {status}"));
            return Ok(());
        }
        let seen = look_around(workspace)?;
        tell_differences(&known, &seen, screen);
        known = seen;
    }
    Ok(())
}

/// A file that vanishes between listing and look is left for the next time.
fn look_around(workspace: &Workspace) -> io::Result<BTreeMap<String, Look>> {
    let mut looks = BTreeMap::new();
    let Ok(files) = files(&workspace.watched()) else { return Ok(looks) };
    for (key, path) in files {
        match fs::metadata(path) {
            Ok(data) => {
                let changed_ns =
                    data.ctime().saturating_mul(1_000_000_000).saturating_add(data.ctime_nsec());
                looks.insert(key, Look { inode: data.ino(), size: data.size(), changed_ns });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(looks)
}

fn tell_differences(
    known: &BTreeMap<String, Look>,
    seen: &BTreeMap<String, Look>,
    screen: &Screen,
) {
    let name = |key: &str| key.split_once('/').map_or(key, |(_, path)| path).to_owned();
    for (key, look) in seen.iter().filter(|(key, look)| known.get(*key) != Some(look)) {
        screen.touch(key.clone(), instant_of(look.changed_ns));
        let verb = if known.contains_key(key) { "change " } else { "create " };
        screen.on_disk(&format!("{verb}  {} ({})", name(key), human(look.size)));
    }
    for key in known.keys().filter(|key| !seen.contains_key(*key)) {
        screen.touch(key.clone(), file_sync_dev_s3::now());
        screen.on_disk(&format!("delete   {}", name(key)));
    }
}

/// The time of a change by the clock that the records are written with.
fn instant_of(changed_ns: i64) -> Instant {
    #[expect(clippy::disallowed_methods, reason = "time stamps of files are by this clock")]
    let wall_clock = SystemTime::now();
    let changed =
        SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(changed_ns).unwrap_or(0));
    let now = file_sync_dev_s3::now();
    let age = wall_clock.duration_since(changed).unwrap_or_default();
    now.checked_sub(age).unwrap_or(now)
}
