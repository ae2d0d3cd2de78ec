//! The control socket: created for its owner only, if the path is free.
//!
//! A socket that a dead instance left is replaced atomically. Any other file at the path stays, and
//! causes an error that says what it is.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// Maximum number of connections that wait to be accepted.
const BACKLOG: i32 = 64;
/// Maximum length of the path in a socket address, without the final NUL.
const PATH_BYTES_MAX: usize = 107;

/// A bound socket, and the identity of its file.
#[derive(Debug)]
pub(super) struct ControlSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl ControlSocket {
    /// Removes the file, if it is still the same one.
    pub(super) fn remove(&self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Creates the socket at `path`. Blocks for the time of a directory lookup.
pub(super) fn bind(path: &Path) -> io::Result<ControlSocket> {
    refuse_occupied(path)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory_fd = rustix::fs::open(directory, flags, Mode::empty())
        .map_err(|error| explained(&error.into(), "the directory of the socket cannot be used"))?;
    let new = OsString::from(format!(".admin-{:016x}.sock", fastrand::u64(..)));
    let name = path.file_name().ok_or_else(|| io::Error::other("the path has no file name"))?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    // Before the file exists: it never has other permissions.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600))?;
    let address = address(&directory.join(&new), &directory_fd, &new)?;
    rustix::net::bind(&socket, &address)
        .map_err(|error| explained(&error.into(), "the socket cannot be made"))?;
    let made = listen(socket, path, &directory_fd, (&new, name));
    if made.is_err() {
        rustix::fs::unlinkat(&directory_fd, &new, AtFlags::empty()).ok();
    }
    made
}

fn listen(
    socket: OwnedFd,
    path: &Path,
    directory: &OwnedFd,
    (new, name): (&OsString, &std::ffi::OsStr),
) -> io::Result<ControlSocket> {
    rustix::net::listen(&socket, BACKLOG)?;
    rustix::fs::renameat(directory, new, directory, name)?;
    let listener = UnixListener::from_std(socket.into())?;
    Ok(ControlSocket { listener, path: path.to_owned(), identity: identity(path)? })
}

/// The address of `path`; if that is too long, an equivalent one through the descriptor of its
/// directory.
fn address(path: &Path, directory: &OwnedFd, name: &OsString) -> io::Result<SocketAddrUnix> {
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return Ok(SocketAddrUnix::new(path)?);
    }
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    let tried = SocketAddrUnix::new(short.as_os_str().as_bytes());
    tried.map_err(|error| explained(&error.into(), "the path of the socket is too long"))
}

/// Refuses a path with anything other than a dead socket.
fn refuse_occupied(path: &Path) -> io::Result<()> {
    let kind = match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(explained(&error.into(), "the path cannot be looked at")),
    };
    if kind != FileType::Socket {
        let message =
            "something that is not a socket is at this path; remove it, or write another path";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    match crate::unix_socket::connect(path) {
        Ok(_) => {
            let message =
                "another process answers there; give each instance an admin_socket of its own";
            Err(io::Error::new(io::ErrorKind::AddrInUse, message))
        }
        Err(_) => Ok(()),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn explained(error: &io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[tokio::test]
    async fn a_socket_is_for_its_owner_and_replaces_that_of_a_dead_instance() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("admin.sock");
        let first = bind(&path).expect("bound");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let taken = bind(&path).expect_err("it is alive");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse, "{taken}");
        drop(first.listener);
        let second = bind(&path).expect("the first one is dead");
        assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 1);
        second.remove();
        assert!(!path.try_exists().expect("known"));
    }

    #[tokio::test]
    async fn what_is_no_socket_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("file"), "content").expect("written");
        symlink("file", at("link")).expect("a link");
        std::fs::create_dir(at("folder")).expect("made");
        for name in ["file", "link", "folder"] {
            let error = bind(&at(name)).expect_err(name);
            assert!(error.to_string().contains("not a socket"), "{name}: {error}");
        }
        assert_eq!(std::fs::read_to_string(at("link")).expect("read"), "content");
        assert!(bind(&at("missing/admin.sock")).is_err());
    }

    #[tokio::test]
    async fn a_path_longer_than_the_address_of_a_socket_works_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let deep = directory.path().join("x".repeat(120));
        std::fs::create_dir(&deep).expect("made");
        let path = deep.join("admin.sock");
        let socket = bind(&path).expect("bound");
        crate::unix_socket::connect(&path).expect("connected");
        drop(socket);
    }
}
