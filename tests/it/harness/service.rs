//! A service of a few lines: one request a connection, answered by a function.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A client that connects has sent its request by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The first line: `CONNECT host:443 HTTP/1.1`.
    pub(crate) line: String,
    /// The header of this name, lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    /// The header of this name, written in lower case; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map_or("", |(_, value)| value)
    }
}

/// A status and a body.
pub(crate) type Answer = (u16, String);

/// A service on loopback, which ends when this is dropped: from then on connections are refused.
#[derive(Debug)]
pub(crate) struct Service {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Request>>>,
    /// `None` when it is to end.
    open: Arc<Mutex<bool>>,
    listener: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts it at a free port.
    pub(crate) fn start(mut answer: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = socket.local_addr().expect("an address");
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let open = Arc::new(Mutex::new(true));
        let asking = Arc::clone(&asked);
        let opened = Arc::clone(&open);
        let listener = thread::spawn(move || {
            for stream in socket.incoming() {
                if !*lock(&opened) {
                    return;
                }
                let Some((stream, request)) = stream.ok().and_then(read) else { continue };
                lock(&asking).push(request.clone());
                let (status, body) = answer(&request);
                write(stream, status, &body);
            }
        });
        Self { address, asked, open, listener: Some(listener) }
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that was asked.
    pub(crate) fn asked(&self) -> Vec<Request> {
        lock(&self.asked).clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        *lock(&self.open) = false;
        // Wakes it.
        drop(TcpStream::connect(self.address));
        drop(self.listener.take().map(JoinHandle::join));
    }
}

/// One request; nothing if it is none.
fn read(stream: TcpStream) -> Option<(TcpStream, Request)> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let line = lines.next()?;
    let header = |line: String| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let mut request =
        Request { line, headers: lines.filter_map(header).collect(), body: String::new() };
    let length = request.header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).ok()?;
    Some((reader.into_inner(), request))
}

fn write(mut stream: TcpStream, status: u16, body: &str) {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    // The other side may be gone.
    drop(stream.write_all(format!("{head}{body}").as_bytes()));
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
