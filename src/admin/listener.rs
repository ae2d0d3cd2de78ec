//! Listeners: opened at once, or retried until they can be.
//!
//! An address that another process holds does not stop mirroring. An address that can never be
//! used, because this machine does not have it or the service lacks the permission, is a
//! configuration error.

use super::handler_state::HandlerState;
use super::peer::Peer;
use super::server::ServerLimits;
use super::socket::{self, ControlSocket};
use super::{ResponseSources, hints, routes, server};
use crate::endpoints_file::ReachableAt;
use axum::Router;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Maximum number of connections that wait to be accepted.
const BACKLOG: i32 = 256;
/// The setting of the address for hints.
const HINT_LISTEN_ADDRESS: &str = "hint_listen_address";
/// The first and the longest pause between two attempts to listen.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The addresses to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListenAddresses {
    /// Public addresses, for health checks, metrics and the page.
    pub listen: Vec<SocketAddr>,
    /// Loopback addresses that show file names.
    pub admin: Vec<SocketAddr>,
    /// Addresses for hints of other nodes.
    pub hints: Vec<SocketAddr>,
}

/// An address that can never be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "{key} {address} cannot be listened on: {source}; write an address of this machine, or off if it is \
     not needed"
)]
pub struct BindError {
    /// The setting.
    pub key: &'static str,
    /// Its value.
    pub address: SocketAddr,
    /// The error of the system.
    pub source: io::Error,
}

/// An address, and its listener once it is open.
#[derive(Debug)]
struct ListenerSlot {
    key: &'static str,
    address: SocketAddr,
    listener: Option<TcpListener>,
}

/// Addresses that are open, or retried.
pub struct BoundListeners {
    slots: Vec<ListenerSlot>,
    tls: Option<TlsAcceptor>,
}

/// Opens the addresses, so that errors are known before anything else is done.
///
/// # Errors
///
/// If one can never be used.
pub fn bind(addresses: &ListenAddresses) -> Result<BoundListeners, BindError> {
    let mut slots = Vec::new();
    for (key, addresses) in [
        ("listen_address", &addresses.listen),
        ("admin_address", &addresses.admin),
        (HINT_LISTEN_ADDRESS, &addresses.hints),
    ] {
        for (index, address) in addresses.iter().enumerate() {
            match listen(*address) {
                Ok(listener) => {
                    log_listening(key, &listener);
                    slots.push(ListenerSlot { key, address: *address, listener: Some(listener) });
                }
                // The second address of `localhost` is for machines that have it.
                Err(error) if index > 0 && is_permanent(&error) => {}
                Err(source) if is_permanent(&source) => {
                    return Err(BindError { key, address: *address, source });
                }
                Err(error) => {
                    log_unavailable(key, &address.to_string(), &error);
                    slots.push(ListenerSlot { key, address: *address, listener: None });
                }
            }
        }
    }
    Ok(BoundListeners { slots, tls: None })
}

fn log_listening(key: &'static str, listener: &TcpListener) {
    if let Ok(address) = listener.local_addr() {
        // The system may have chosen the port.
        tracing::info!(event = "http.listening", setting = key, %address, "listening");
    }
}

fn log_unavailable(key: &'static str, address: &str, error: &io::Error) {
    tracing::warn!(
        event = "listener.unavailable",
        setting = key,
        address,
        error.message = %error,
        "cannot listen; mirroring goes on, and it is tried again until it succeeds"
    );
}

/// Whether another attempt cannot succeed.
fn is_permanent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::Unsupported
            | io::ErrorKind::InvalidInput
    ) || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// Opens a listener; the one of all addresses serves both families if they exist.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match listen_on(address) {
        Err(error)
            if address.is_ipv6() && address.ip().is_unspecified() && is_permanent(&error) =>
        {
            listen_on((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        listening => listening,
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    TcpListener::from_std(std::net::TcpListener::from(socket))
}

/// The bytes of a connection.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for T {}

/// The source of connections.
pub(super) enum Listener {
    Tcp(TcpListener, Option<TlsAcceptor>),
    Control(ControlSocket),
}

/// A connection, before the handshake if there is TLS.
pub(super) struct AcceptedStream {
    pub(super) stream: Box<dyn ByteStream>,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) peer: Peer,
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<AcceptedStream> {
        match self {
            Self::Tcp(listener, tls) => {
                let (stream, address) = listener.accept().await?;
                let peer = Peer::Address(address);
                Ok(AcceptedStream { stream: Box::new(stream), tls: tls.clone(), peer })
            }
            Self::Control(socket) => {
                let (stream, _) = socket.listener.accept().await?;
                let process = stream.peer_cred()?;
                let peer = Peer::Process { uid: process.uid(), pid: process.pid() };
                if !peer.may_use_socket(rustix::process::geteuid().as_raw()) {
                    tracing::warn!(event = "control.refused", client = %peer, "foreign user on the socket");
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
                Ok(AcceptedStream { stream: Box::new(stream), tls: None, peer })
            }
        }
    }
}

/// The running endpoints. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AdminServer {
    stop: CancellationToken,
    servers: TaskTracker,
    shared: Arc<HandlerState>,
    reachable: watch::Sender<ReachableAt>,
}

impl fmt::Debug for BoundListeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundListeners").field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl BoundListeners {
    /// Hints are taken over TLS.
    #[must_use]
    pub fn with_hint_tls(self, tls: Option<TlsAcceptor>) -> Self {
        Self { tls, ..self }
    }

    /// Starts to respond.
    #[must_use]
    pub fn serve(self, sources: ResponseSources) -> AdminServer {
        let shared = HandlerState::new(sources);
        let serving = AdminServer {
            stop: CancellationToken::new(),
            servers: TaskTracker::new(),
            shared: Arc::clone(&shared),
            reachable: watch::Sender::default(),
        };
        if self.slots.iter().any(|slot| slot.key == HINT_LISTEN_ADDRESS) {
            let stop = serving.stop.clone();
            let watching = hints::watch_relays(Arc::clone(&shared));
            serving.servers.spawn(async move { stop.run_until_cancelled(watching).await });
        }
        for slot in self.slots {
            let (router, limits) = match slot.key {
                "admin_address" => (routes::admin(Arc::clone(&shared)), server::ADMIN),
                HINT_LISTEN_ADDRESS => (routes::hints(Arc::clone(&shared)), server::HINTS),
                _ => (routes::public(Arc::clone(&shared)), server::PUBLIC),
            };
            let tls = self.tls.clone().filter(|_| slot.key == HINT_LISTEN_ADDRESS);
            let serving_slot = serving.clone().serve_slot(slot, tls, router, limits);
            serving.servers.spawn(serving_slot);
        }
        serving
    }
}

impl AdminServer {
    /// The addresses, and their changes.
    #[must_use]
    pub fn reachable(&self) -> watch::Receiver<ReachableAt> {
        self.reachable.subscribe()
    }

    /// Also responds at this socket, once it can be created.
    pub fn open_control_socket(&self, path: PathBuf) {
        self.servers.spawn(self.clone().serve_socket(path));
    }

    /// Ends running responses within about a second.
    pub async fn stop(self) {
        self.stop.cancel();
        self.servers.close();
        self.servers.wait().await;
    }

    async fn serve_slot(
        self,
        slot: ListenerSlot,
        tls: Option<TlsAcceptor>,
        router: Router,
        limits: ServerLimits,
    ) {
        let mut had = slot.listener;
        let mut pause = PAUSE_FIRST;
        let listener = loop {
            if let Some(listener) = had {
                break listener;
            }
            if self.is_stopped_after(&mut pause).await {
                return;
            }
            had = listen(slot.address).ok().inspect(|listener| log_listening(slot.key, listener));
        };
        if let Ok(address) = listener.local_addr() {
            self.reachable.send_modify(|reachable| match slot.key {
                "admin_address" => reachable.admin_address.push(address),
                HINT_LISTEN_ADDRESS => {}
                _ => reachable.listen_address.push(address),
            });
        }
        server::serve(Listener::Tcp(listener, tls), router, limits, self.stop.clone()).await;
    }

    async fn serve_socket(self, path: PathBuf) {
        let mut pause = PAUSE_FIRST;
        let mut logged = false;
        let socket = loop {
            let at = path.clone();
            let made = tokio::task::spawn_blocking(move || socket::bind(&at)).await;
            match made.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
                Ok(socket) => break socket,
                Err(error) if !std::mem::replace(&mut logged, true) => {
                    log_unavailable("admin_socket", &format!("{path:?}"), &error);
                }
                Err(_) => {}
            }
            if self.is_stopped_after(&mut pause).await {
                return;
            }
        };
        tracing::info!(
            event = "http.listening",
            setting = "admin_socket",
            address = %crate::escape::Printable(&path.to_string_lossy()),
            "listening"
        );
        self.reachable.send_modify(|reachable| reachable.admin_socket = Some(path.clone()));
        let router = routes::control(Arc::clone(&self.shared));
        server::serve(Listener::Control(socket), router, server::ADMIN, self.stop.clone()).await;
    }

    /// Waits for the pause, which grows each time. Returns whether it was stopped meanwhile.
    async fn is_stopped_after(&self, pause: &mut Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => return true,
            () = tokio::time::sleep(*pause) => {}
        }
        *pause = (*pause * 2).min(PAUSE_MAX);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(listen: &str) -> Result<BoundListeners, BindError> {
        let listen = vec![listen.parse().expect("an address")];
        bind(&ListenAddresses { listen, ..ListenAddresses::default() })
    }

    #[tokio::test]
    async fn only_an_address_that_can_never_be_had_is_an_error() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = taken.local_addr().expect("known").to_string();
        let slots = bound(&address).expect("it may be free later").slots;
        assert!(slots[0].listener.is_none());
        let error = bound("192.0.2.1:9187").expect_err("it is no address of this machine");
        assert!(error.to_string().contains("listen_address 192.0.2.1:9187"), "{error}");
    }

    #[tokio::test]
    async fn the_address_of_both_families_answers_ipv4() {
        let slots = bound("[::]:0").expect("bound").slots;
        let listener = slots[0].listener.as_ref().expect("bound");
        let port = listener.local_addr().expect("known").port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connected");
    }
}
