//! `endpoints.json` in the state directory: the addresses of the running daemon.
//!
//! Commands read it to find the daemon by its actual addresses, even if the configuration on disk
//! is invalid or not applied.

use crate::safe_file::read_own;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The name of the file.
const FILE: &str = "endpoints.json";
/// Maximum size of the file; a larger one is not ours.
const BYTES_MAX: u64 = 64 << 10;

/// The addresses of a daemon.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReachableAt {
    /// The control socket.
    pub admin_socket: Option<PathBuf>,
    /// The bound addresses of `admin_address`.
    pub admin_address: Vec<SocketAddr>,
    /// The bound addresses of `listen_address`.
    pub listen_address: Vec<SocketAddr>,
}

/// The path of the file.
#[must_use]
pub fn path_in(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// The content of the file.
///
/// # Errors
///
/// If a path is not UTF-8.
pub fn content(reachable: &ReachableAt) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(reachable)?;
    text.push(b'\n');
    Ok(text)
}

/// Reads what the last daemon of this state directory wrote. Blocks.
///
/// # Errors
///
/// If the file does not exist, or cannot be read or parsed.
pub fn read(state_dir: &Path) -> io::Result<ReachableAt> {
    let bytes = read_own(&path_in(state_dir), BYTES_MAX)?;
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let reachable = ReachableAt {
            admin_socket: Some("/state/admin.sock".into()),
            admin_address: vec![([127, 0, 0, 1], 9188).into()],
            listen_address: Vec::new(),
        };
        let path = path_in(directory.path());
        std::fs::write(&path, content(&reachable).expect("UTF-8")).expect("written");
        assert_eq!(read(directory.path()).expect("read"), reachable);
        for wrong in ["", "[]", "{\"admin_address\": 1}"] {
            std::fs::write(&path, wrong).expect("written");
            assert!(read(directory.path()).is_err(), "{wrong}");
        }
    }
}
