//! The server: a thread of its own, an address, and the handles to look at what happened.
//!
//! # Invariants
//!
//! - The server has its own threads and its own runtime, so that its clients may be synchronous, may
//!   be paused, and may block.
//! - A stopped server keeps its port to itself without listening on it: clients are refused, and
//!   no other program can take the port before it is resumed.

use crate::activity::Activity;
use crate::connection;
use crate::fault::{Faults, Rule, RuleId};
use crate::journal::{Journal, Request};
use crate::object::Object;
use crate::options::Options;
use crate::service::Service;
use crate::store::Store;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Checking signatures and checksums of large bodies takes more than one processor.
const WORKER_THREADS: usize = 2;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// An S3 that can be reached, or was stopped. Stopped when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    store: Store,
    faults: Faults,
    journal: Journal,
    activity: Arc<Activity>,
    service: Service,
    state: State,
}

#[derive(Debug)]
enum State {
    Running {
        stop: oneshot::Sender<()>,
        thread: JoinHandle<()>,
    },
    Stopped {
        port: TcpSocket,
    },
    /// Between the other two, and for good if the port was lost.
    Gone,
}

impl Server {
    /// Starts a server with empty buckets.
    ///
    /// # Errors
    ///
    /// If the address cannot be listened on.
    pub fn start(options: &Options) -> io::Result<Self> {
        Self::launch(options, |store, faults, journal| {
            Service::new(options, store, faults, journal)
        })
    }

    /// Starts a proxy in front of the S3 at `upstream`. Without faults every byte passes as it is. Of
    /// `options` only the address and the seed count; its own buckets stay empty.
    ///
    /// # Errors
    ///
    /// If the address cannot be listened on.
    pub fn proxy(upstream: SocketAddr, options: &Options) -> io::Result<Self> {
        Self::launch(options, |_, faults, journal| Service::proxy(upstream, faults, journal))
    }

    fn launch(
        options: &Options,
        service: impl FnOnce(&Store, Faults, Journal) -> Service,
    ) -> io::Result<Self> {
        let activity = Arc::new(Activity::default());
        let store = Store::new(options, Arc::clone(&activity));
        let faults = Faults::new(options.seed);
        let journal = Journal::new(Arc::clone(&activity));
        let service = service(&store, faults.clone(), journal.clone());
        let port = bind(options.address)?;
        let address = port.local_addr()?;
        let state = State::Stopped { port };
        let mut server = Self { address, store, faults, journal, activity, service, state };
        server.resume()?;
        Ok(server)
    }

    /// Takes S3 down: connections are reset, and new ones are refused. Objects, uploads, faults and
    /// records stay. Does nothing if it is down already.
    ///
    /// # Panics
    ///
    /// If another program took the port in that very moment.
    pub fn stop(&mut self) {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Running { stop, thread } => {
                halt(stop, thread);
                let port = bind(self.address).expect("the port was ours a moment ago");
                self.state = State::Stopped { port };
            }
            other => self.state = other,
        }
    }

    /// Brings S3 back at the same address. Does nothing if it is up already.
    ///
    /// # Errors
    ///
    /// If the address cannot be listened on any more.
    pub fn resume(&mut self) -> io::Result<()> {
        self.state = match std::mem::replace(&mut self.state, State::Gone) {
            State::Stopped { port } => run(port, self.service.clone())?,
            State::Gone => run(bind(self.address)?, self.service.clone())?,
            running @ State::Running { .. } => running,
        };
        Ok(())
    }

    /// The address for `AWS_ENDPOINT_URL_S3`. Buckets are part of the path.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The buckets.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The fault rules.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The record of requests.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Puts a fault rule in force.
    pub fn fail(&self, rule: Rule) -> RuleId {
        self.faults.add(rule)
    }

    /// The objects in `bucket`.
    #[must_use]
    pub fn objects(&self, bucket: &str) -> BTreeMap<String, Arc<Object>> {
        self.store.objects(bucket)
    }

    /// The requests since the last [`clear_requests`](Self::clear_requests), by their number.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.journal.requests()
    }

    /// How many requests asked for `operation`.
    #[must_use]
    pub fn count(&self, operation: &str) -> u64 {
        self.journal.count(operation)
    }

    /// How many requests have been in flight at once at most.
    #[must_use]
    pub fn in_flight_max(&self) -> usize {
        self.journal.in_flight_max()
    }

    /// Forgets the requests, and the counts.
    pub fn clear_requests(&self) {
        self.journal.clear();
    }

    /// Waits until `holds`, which is asked after every change of a bucket and every start and end of
    /// a request. False if it still does not after `timeout`.
    #[must_use]
    pub fn wait_until(&self, timeout: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        self.activity.wait_until(timeout, || holds(self))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let State::Running { stop, thread } = std::mem::replace(&mut self.state, State::Gone) {
            halt(stop, thread);
        }
    }
}

/// Takes the port without listening on it.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn run(port: TcpSocket, service: Service) -> io::Result<State> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()?;
    // The caller may be inside a runtime of its own, which must not be blocked on.
    let entered = runtime.enter();
    let listener = port.listen(BACKLOG)?;
    drop(entered);
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("dev-s3".to_owned())
        .spawn(move || serve(&runtime, &listener, &service, stopped))?;
    Ok(State::Running { stop, thread })
}

/// Accepts connections until the sender of `stopped` is gone.
fn serve(
    runtime: &Runtime,
    listener: &TcpListener,
    service: &Service,
    mut stopped: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let service = service.clone();
                        connections.spawn(connection::serve(stream, move |request, farewell| {
                            let service = service.clone();
                            async move { service.call(request, &farewell).await }
                        }));
                    }
                    // Out of descriptors, or the client has left: neither ends the server.
                    Err(_) => tokio::task::yield_now().await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        connections.shutdown().await;
    });
}

fn halt(stop: oneshot::Sender<()>, thread: JoinHandle<()>) {
    drop(stop);
    // A panic in it has been reported by its hook.
    drop(thread.join());
}
