//! Detects whether a process of this machine has a file open for writing, or has a writable memory
//! map of it.
//!
//! The kernel answers with a read lease (`F_SETLEASE`): it grants one only while there is no
//! writer. The lease is returned at once; only the grant counts.
//!
//! # Invariants
//!
//! - A lease is held for at most one `statx`: a program that opens the file for writing meanwhile
//!   waits for microseconds.
//! - The signal to the holder of a lease that another program wants is `SIGURG`, which is ignored
//!   by default. The usual one, `SIGIO`, would end the process.
//! - Any other result means "not known".

#![expect(
    unsafe_code,
    reason = "the only call that answers this question has no safe wrapper in the libraries we use; it takes \
              integers, and no memory is touched"
)]

use super::stat::{Stat, stat_fd};
use std::fs::File;
use std::os::fd::AsRawFd as _;

/// Selects the signal to the holder of a lease; the same on all machines except SPARC.
const F_SETSIG: libc::c_int = 10;

/// Returns the attributes of `file`, if no process of this machine can write to it at that moment.
/// `None` if one can, or if the kernel does not answer: for files of another user without
/// `CAP_LEASE`, and on file systems without leases.
pub(super) fn stat_without_writers(file: &File) -> Option<Stat> {
    fcntl(file, F_SETSIG, libc::SIGURG)?;
    fcntl(file, libc::F_SETLEASE, libc::F_RDLCK)?;
    let stat = stat_fd(file);
    // If this fails, the lease ends with the descriptor.
    fcntl(file, libc::F_SETLEASE, libc::F_UNLCK)?;
    stat.ok()
}

/// `None` if the kernel refuses.
fn fcntl(file: &File, command: libc::c_int, argument: libc::c_int) -> Option<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the commands used here take an
    // integer by value.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    (answer != -1).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;

    fn is_closed(path: &std::path::Path) -> bool {
        stat_without_writers(&File::open(path).expect("opened")).is_some()
    }

    #[test]
    fn a_file_that_is_open_for_writing_is_known_to_be() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let mut writer = File::create(&path).expect("made");
        writer.write_all(b"half").expect("written");
        assert!(!is_closed(&path));
        let second = writer.try_clone().expect("cloned");
        drop(writer);
        assert!(!is_closed(&path), "a second descriptor");
        drop(second);
        assert!(is_closed(&path));
        let reader = File::open(&path).expect("opened");
        assert!(is_closed(&path), "readers do not count");
        drop(reader);
    }

    /// Programs open the file for writing continuously, without waiting and in the ordinary way.
    #[test]
    fn nothing_is_left_behind_that_programs_would_notice() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        fs::write(&path, b"x").expect("written");
        let file = File::open(&path).expect("opened");
        for _ in 0..1_000 {
            assert!(stat_without_writers(&file).is_some());
            let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
            rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).expect("no lease is left");
        }
    }

    /// A broken lease sends a signal, which would end this process by default.
    #[test]
    fn a_program_that_opens_the_file_meanwhile_ends_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        fs::write(&path, b"x").expect("written");
        let writing = std::thread::scope(|scope| {
            let writer = scope
                .spawn(|| (0..20_000).all(|_| File::options().write(true).open(&path).is_ok()));
            while !writer.is_finished() {
                is_closed(&path);
            }
            writer.join().expect("it ends")
        });
        assert!(writing);
    }
}
