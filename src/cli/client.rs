//! A client of the running daemon: one request, one response, bounded in time and size.

use super::target::Target;
use crate::unix_socket::{self, ListeningProcess};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Maximum time for a daemon of this machine to accept the connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Maximum size of a response.
const ANSWER_BYTES_MAX: u64 = 32 << 20;

/// The response of the daemon.
#[derive(Debug)]
pub(super) struct ClientResponse {
    pub(super) status: u16,
    pub(super) body: String,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientRequest<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'a str,
    pub(super) body: &'a str,
    /// The bearer token of a request over TCP.
    pub(super) token: Option<&'a str>,
    /// Maximum wait for further bytes of the response.
    pub(super) patience: Duration,
}

/// Sends one request.
pub(super) fn ask(target: &Target, request: ClientRequest<'_>) -> io::Result<ClientResponse> {
    match target {
        Target::Socket(path) => {
            let stream = connect(path)?;
            stream.set_read_timeout(Some(request.patience))?;
            stream.set_write_timeout(Some(CONNECT_PATIENCE))?;
            exchange(stream, "localhost", ClientRequest { token: None, ..request })
        }
        Target::Address(address) => {
            let stream = TcpStream::connect_timeout(address, CONNECT_PATIENCE)?;
            stream.set_read_timeout(Some(request.patience))?;
            stream.set_write_timeout(Some(CONNECT_PATIENCE))?;
            exchange(stream, &address.to_string(), request)
        }
    }
}

/// Connects to the socket, if a process of this user or of root listens there.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = unix_socket::connect(path)?;
    let ListeningProcess { uid, .. } = unix_socket::listening_process(&stream)?;
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        let message = format!("a process of another user ({uid}) listens there");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(stream)
}

/// Whether the process that listens there is in the container of this one.
pub(super) fn is_in_this_container(path: &Path) -> bool {
    let process =
        unix_socket::connect(path).and_then(|stream| unix_socket::listening_process(&stream));
    process.is_ok_and(|process| process.is_visible)
}

fn exchange(
    mut stream: impl Read + Write,
    host: &str,
    request: ClientRequest<'_>,
) -> io::Result<ClientResponse> {
    let ClientRequest { method, path, body, token, .. } = request;
    let length = body.len();
    let authorization =
        token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{authorization}\
         Accept: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::other("what answers there is not the daemon"))
}

fn parse(answer: &[u8]) -> Option<ClientResponse> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(ClientResponse { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_from_everything_else() {
        let answer = parse(b"HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\nwhy\r\n\r\n");
        let answer = answer.expect("an answer");
        assert_eq!((answer.status, &*answer.body), (503, "why\r\n\r\n"));
        for wrong in ["", "SSH-2.0\r\n\r\n", "HTTP/1.1 ", "HTTP/1.1 abc\r\n\r\n"] {
            assert!(parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
