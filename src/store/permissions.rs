//! The permissions of the state: for the service only, and for its group if the volume has one.

use rustix::fs::OFlags;
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

const SETGID: u32 = 0o2000;

/// Sets the mode of the state directory, if it is ours, and returns the mode of its files. A
/// directory with the setgid bit, as on a volume with `fsGroup`, is for its group too.
///
/// # Errors
///
/// If it cannot be used: the text names its owner and the fix.
pub(super) fn keep_private(directory: &Path) -> io::Result<u32> {
    let metadata = fs::metadata(directory)?;
    let shared = metadata.mode() & SETGID != 0;
    let (own, files) = if shared { (0o2770, 0o660) } else { (0o700, 0o600) };
    if is_ours(&metadata) && metadata.mode() & 0o7777 != own {
        // Where modes cannot be set, as on some network volumes, they have no meaning either.
        fs::set_permissions(directory, Permissions::from_mode(own)).ok();
    }
    Ok(files)
}

/// Creates `file` with this mode if it does not exist, and removes permissions beyond it.
///
/// # Errors
///
/// If it cannot be created or written: the text names its owner and the fix.
pub(super) fn keep_file_private(file: &Path, mode: u32) -> io::Result<()> {
    // A planted link or FIFO is neither followed nor waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = File::options();
    let opened = options.create(true).append(true).mode(mode).custom_flags(flags).open(file);
    let opened = opened.map_err(|error| explained(error, file))?;
    let metadata = opened.metadata()?;
    if is_ours(&metadata) && metadata.mode() & 0o777 != mode {
        opened.set_permissions(Permissions::from_mode(mode)).ok();
    }
    give_to_owner_of_directory(file, &opened, &metadata);
    Ok(())
}

/// Where root runs a command of a service that has another user, the file belongs to that user: the
/// service could not open it otherwise. `SQLite` does the same for its journals.
fn give_to_owner_of_directory(file: &Path, opened: &File, metadata: &Metadata) {
    let directory = file.parent().and_then(|directory| fs::metadata(directory).ok());
    let Some(directory) = directory.filter(|_| metadata.uid() == 0 && is_ours(metadata)) else {
        return;
    };
    if directory.uid() != 0 {
        // Where owners cannot be set, the next start of the service says what to do.
        fchown(opened, Some(directory.uid()), Some(directory.gid())).ok();
    }
}

fn is_ours(metadata: &Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

/// Adds the owner and the fix to an error.
fn explained(error: io::Error, file: &Path) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    let known = fs::metadata(file).or_else(|error| match file.parent() {
        Some(directory) => fs::metadata(directory),
        None => Err(error),
    });
    let Ok(metadata) = known else { return error };
    let uid = rustix::process::geteuid().as_raw();
    let owner = metadata.uid();
    let group = metadata.gid();
    let mode = metadata.mode() & 0o7777;
    io::Error::new(
        error.kind(),
        format!(
            "{error}: it belongs to {owner}:{group} with mode {mode:04o}, and the service runs as {uid}; \
             chown it to {uid}, run the service as {owner}, or set fsGroup and make it group-writable"
        ),
    )
}
