//! The client of a request, as the kernel identifies it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// A TCP client.
    Address(SocketAddr),
    /// A client of the socket.
    Process {
        /// The user.
        uid: u32,
        /// The process, if this process can see its namespace.
        pid: Option<i32>,
    },
}

impl Peer {
    /// Whether the process belongs to `own`, the user of the service, or to root.
    pub(super) fn may_use_socket(self, own: u32) -> bool {
        match self {
            Self::Process { uid, .. } => uid == own || uid == 0,
            Self::Address(_) => false,
        }
    }
}

/// Formats it as a field of a log line.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => {
                let ip = match address.ip() {
                    // A listener of both families maps IPv4 addresses to IPv6.
                    IpAddr::V6(ip) => ip.to_canonical(),
                    ip @ IpAddr::V4(_) => ip,
                };
                write!(f, "{}", SocketAddr::new(ip, address.port()))
            }
            Self::Process { uid, pid: Some(pid) } if *pid > 0 => write!(f, "uid {uid}, pid {pid}"),
            Self::Process { uid, .. } => write!(f, "uid {uid}, pid of another container"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_user_and_root_may_use_the_socket() {
        let process = |uid| Peer::Process { uid, pid: Some(7) };
        assert!(process(1000).may_use_socket(1000) && process(0).may_use_socket(1000));
        assert!(!process(1001).may_use_socket(1000) && !process(65_534).may_use_socket(0));
        assert!(!Peer::Address(([127, 0, 0, 1], 1).into()).may_use_socket(0));
    }

    #[test]
    fn a_peer_is_shown_as_an_operator_knows_it() {
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:80".parse().expect("an address");
        assert_eq!(Peer::Address(mapped).to_string(), "127.0.0.1:80");
        assert_eq!(Peer::Process { uid: 5, pid: Some(7) }.to_string(), "uid 5, pid 7");
        let other = Peer::Process { uid: 5, pid: None }.to_string();
        assert_eq!(other, "uid 5, pid of another container");
    }
}
