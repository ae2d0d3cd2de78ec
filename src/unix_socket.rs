//! Connects to a Unix socket at any path, within a bounded time.

use rustix::fs::{Mode, OFlags};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Maximum time for a process to accept a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Maximum length of the path in a socket address, without the final NUL.
const PATH_BYTES_MAX: usize = 107;

/// The process that listens at a socket, from the time when it started to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListeningProcess {
    /// Its user.
    pub uid: u32,
    /// Whether it is in the container of this process, as far as process ids show.
    pub is_visible: bool,
}

/// Connects to the socket at `path`. Blocks for five seconds at most.
///
/// # Errors
///
/// If no process listens there.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The kernel would wait for a full backlog without limit.
    set_socket_timeout(&socket, Timeout::Send, Some(CONNECT_PATIENCE))?;
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    } else {
        let directory = path.parent().unwrap_or(Path::new("/"));
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory, flags, Mode::empty())?;
        let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        rustix::net::connect(&socket, &SocketAddrUnix::new(short.as_os_str().as_bytes())?)?;
    }
    Ok(UnixStream::from(socket))
}

/// Returns the process that listens at the other end.
///
/// # Errors
///
/// If the kernel does not report it.
pub fn listening_process(stream: &UnixStream) -> io::Result<ListeningProcess> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let stream = stream.try_clone()?;
    stream.set_nonblocking(true)?;
    let process = runtime.block_on(async {
        let stream = tokio::net::UnixStream::from_std(stream)?;
        let process = stream.peer_cred();
        // Both handles share the flag.
        stream.into_std()?.set_nonblocking(false)?;
        process
    })?;
    let is_visible = process.pid().is_some_and(|pid| pid > 0);
    Ok(ListeningProcess { uid: process.uid(), is_visible })
}

/// Whether the process that listens at `path` is in the container of this one. Blocks.
#[must_use]
pub fn is_in_this_container(path: &Path) -> bool {
    let process = connect(path).and_then(|stream| listening_process(&stream));
    process.is_ok_and(|process| process.is_visible)
}
