//! Locates the running daemon: its socket, or an address.
//!
//! The sources are the command line, the file that the daemon wrote into the state directory, and
//! the settings. Errors elsewhere in the configuration do not matter.

use super::{Cli, Command};
use crate::config::{ConfigSources, Reachable, reachable};
use crate::endpoints_file;
use crate::safe_file::read_input;
use crate::unix_socket;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Maximum size of a token file.
const TOKEN_FILE_BYTES_MAX: u64 = 4 << 10;

/// One way to reach the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A Unix socket.
    Socket(PathBuf),
    /// A TCP address.
    Address(SocketAddr),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{path:?}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// All ways to try, in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Targets {
    pub(super) all: Vec<Target>,
    /// The token for control requests over TCP.
    pub(super) token: Option<String>,
    /// Whether the configuration is invalid.
    pub(super) invalid_configuration: bool,
}

/// What a command requires of its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TargetNeed {
    /// A health check: any address answers it.
    Probe,
    /// File names, or a control request.
    Admin,
    /// The daemon of this container.
    Own,
}

impl Targets {
    /// The targets of `command`.
    pub(super) fn find(cli: &Cli, command: &Command, sources: &ConfigSources) -> Self {
        let named = cli.socket.clone().map(Target::Socket);
        let addresses = cli.address.iter().flat_map(|addresses| addresses.0.iter().copied());
        let named: Vec<_> = named.into_iter().chain(addresses.map(Target::Address)).collect();
        if !named.is_empty() {
            // The settings are read for the token only.
            let token = cli.address.as_ref().and_then(|_| token(&reachable(sources)));
            return Self { all: named, token, invalid_configuration: false };
        }
        let settings = reachable(sources);
        let written = settings.state_dir.as_deref().map(endpoints_file::read);
        let written = written.and_then(Result::ok).unwrap_or_default();
        let need = match command {
            Command::Health(_) => TargetNeed::Probe,
            Command::Prestop => TargetNeed::Own,
            _ => TargetNeed::Admin,
        };
        Self {
            token: token(&settings),
            invalid_configuration: settings.problems.is_some(),
            all: ordered(need, &settings, written),
        }
    }
}

fn ordered(
    need: TargetNeed,
    settings: &Reachable,
    written: endpoints_file::ReachableAt,
) -> Vec<Target> {
    let sockets = [written.admin_socket, settings.admin_socket.clone()].into_iter().flatten();
    let admin = written.admin_address.into_iter().chain(settings.admin_address.iter().copied());
    let listen = written.listen_address.into_iter().chain(settings.listen_address.iter().copied());
    let sockets: Vec<_> = unique(sockets.map(Target::Socket));
    let admin: Vec<_> = unique(admin.map(loopback_for).map(Target::Address));
    let listen: Vec<_> = unique(listen.map(loopback_for).map(Target::Address));
    // A shared state directory has the socket of the instance that holds it.
    let (own, others): (Vec<_>, Vec<_>) = sockets.into_iter().partition(|target| match target {
        Target::Socket(path) => unix_socket::is_in_this_container(path),
        Target::Address(_) => true,
    });
    let parts = match need {
        // Another process may hold an address, so that the socket comes first.
        TargetNeed::Probe => [own, admin, listen],
        TargetNeed::Admin => [own, admin, others],
        TargetNeed::Own => [own, admin, Vec::new()],
    };
    unique(parts.into_iter().flatten())
}

fn unique(targets: impl Iterator<Item = Target>) -> Vec<Target> {
    targets.fold(Vec::new(), |mut known, target| {
        if !known.contains(&target) {
            known.push(target);
        }
        known
    })
}

/// The token for control requests, if it can be read.
fn token(settings: &Reachable) -> Option<String> {
    let bytes = read_input(settings.admin_token_file.as_deref()?, TOKEN_FILE_BYTES_MAX).ok()?;
    let token = String::from_utf8(bytes.trim_ascii().to_owned()).ok()?;
    // It is sent in a header.
    (!token.chars().any(char::is_control)).then_some(token)
}

/// The loopback address for an address that stands for all addresses of this machine.
fn loopback_for(address: SocketAddr) -> SocketAddr {
    let local: IpAddr = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        // A machine without IPv6 listens on the other one.
        IpAddr::V6(_) if !has_ipv6_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(local, address.port())
}

fn has_ipv6_loopback() -> bool {
    std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_s_own_word_comes_before_the_settings_and_nothing_twice() {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let settings = Reachable {
            admin_address: vec![address(1), address(2)],
            listen_address: vec![([0, 0, 0, 0], 3).into()],
            admin_socket: Some("/missing/a.sock".into()),
            ..Reachable::default()
        };
        let written = endpoints_file::ReachableAt {
            admin_address: vec![address(2)],
            ..endpoints_file::ReachableAt::default()
        };
        let ports = |need| ordered(need, &settings, written.clone());
        let tcp = |port| Target::Address(address(port));
        assert_eq!(ports(TargetNeed::Probe), [tcp(2), tcp(1), tcp(3)]);
        assert_eq!(
            ports(TargetNeed::Admin),
            [tcp(2), tcp(1), Target::Socket("/missing/a.sock".into())],
            "a socket without a process is tried last"
        );
        assert_eq!(ports(TargetNeed::Own), [tcp(2), tcp(1)]);
    }
}
