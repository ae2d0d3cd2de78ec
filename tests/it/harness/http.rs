//! Requests to the daemon's endpoints, byte by byte, so that wrong ones can be sent as well.

use super::daemon::Daemon;
use super::wait::patience;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a daemon answers.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// The control socket.
    pub(crate) socket: PathBuf,
}

impl Endpoints {
    /// As the daemon has logged them.
    pub(crate) fn of(daemon: &Daemon) -> Self {
        let told = |key: &str| {
            let line = daemon.wait_for_line(key, |line| {
                line.event() == "http.listening" && line.text("setting") == key
            });
            line.text("address").to_owned()
        };
        let address = |key: &str| told(key).parse().expect("an address");
        Self {
            public: address("listen_address"),
            admin: address("admin_address"),
            socket: told("admin_socket").into(),
        }
    }

    /// `POST` by the control socket: the code and the body.
    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, String) {
        control(&self.socket, path, body)
    }

    /// The status with names.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&get(self.admin, "/status").1).expect("JSON")
    }
}

/// `GET`: the code and the body.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    send(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

/// `POST` with a body by TCP.
pub(crate) fn post(address: SocketAddr, path: &str, body: &str) -> (u16, String) {
    send(address, &posted(&address.to_string(), path, body))
}

/// `POST` by a control socket.
pub(crate) fn control(socket: &Path, path: &str, body: &str) -> (u16, String) {
    let stream = UnixStream::connect(socket).expect("connected");
    stream.set_read_timeout(Some(patience(Duration::from_secs(90)))).expect("set");
    exchange(stream, &posted("localhost", path, body))
}

fn posted(host: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Sends these bytes and reads to the end; 0 where no answer came.
pub(crate) fn send(address: SocketAddr, request: &str) -> (u16, String) {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(patience(Duration::from_secs(90)))).expect("set");
    exchange(stream, request)
}

fn exchange(mut stream: impl Read + Write, request: &str) -> (u16, String) {
    // The other side may close before it has read all.
    stream.write_all(request.as_bytes()).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let code = answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    (code, body.unwrap_or_default())
}
