//! A client of the running daemon: one request, one response, bounded in time and size.

use super::target::Target;
use crate::unix_socket::{self, ListeningProcess};
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Maximum time for a daemon of this machine to accept the connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Maximum size of a response.
const ANSWER_BYTES_MAX: usize = 32 << 20;

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

/// Sends one request. Blocks.
pub(super) fn ask(target: &Target, request: ClientRequest<'_>) -> io::Result<ClientResponse> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match target {
        Target::Socket(path) => {
            let socket = connect(path)?;
            runtime.block_on(async {
                let stream = UnixStream::from_std(socket)?;
                exchange(stream, "localhost", ClientRequest { token: None, ..request }).await
            })
        }
        Target::Address(address) => runtime.block_on(async {
            let stream = in_time(CONNECT_PATIENCE, TcpStream::connect(address)).await??;
            exchange(stream, &address.to_string(), request).await
        }),
    }
}

/// Connects to the socket, if a process of this user or of root listens there.
fn connect(path: &Path) -> io::Result<StdUnixStream> {
    let stream = unix_socket::connect(path)?;
    let ListeningProcess { uid, .. } = unix_socket::listening_process(&stream)?;
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        let message = format!("a process of another user ({uid}) listens there");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    stream.set_nonblocking(true)?;
    Ok(stream)
}

async fn in_time<T>(patience: Duration, work: impl Future<Output = T>) -> io::Result<T> {
    let done = tokio::time::timeout(patience, work).await;
    done.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    host: &str,
    request: ClientRequest<'_>,
) -> io::Result<ClientResponse> {
    let ClientRequest { method, path, body, token, patience } = request;
    let mut message = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, host)
        .header(CONNECTION, "close")
        .header(ACCEPT, "application/json");
    if let Some(token) = token {
        message = message.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let message = message.body(body.to_owned());
    let message = message.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| to_io_error(&error))?;
    // It moves the bytes of this one request, and ends with the runtime. The sender has its errors.
    drop(tokio::spawn(connection));
    let response = in_time(patience, sender.send_request(message)).await?;
    let response: Response<Incoming> = response.map_err(|error| to_io_error(&error))?;
    let status = response.status().as_u16();
    let body = read_body(response.into_body(), patience).await?;
    Ok(ClientResponse { status, body: String::from_utf8_lossy(&body).into_owned() })
}

async fn read_body(mut body: Incoming, patience: Duration) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
        let Some(frame) = in_time(patience, frame).await? else { return Ok(bytes) };
        let data: Bytes =
            frame.map_err(|error| to_io_error(&error))?.into_data().unwrap_or_default();
        if bytes.len() + data.len() > ANSWER_BYTES_MAX {
            return Err(io::Error::other("the response is too long"));
        }
        bytes.extend_from_slice(&data);
    }
}

fn to_io_error(error: &hyper::Error) -> io::Error {
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(source) => io::Error::new(source.kind(), source.to_string()),
        None => io::Error::other("what answers there is not the daemon"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    /// Answers one connection with `answer`, and returns what was received in its first read.
    fn server(answer: &'static [u8]) -> (Target, JoinHandle<String>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let target = Target::Address(listener.local_addr().expect("an address"));
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut received = [0; 4096];
            let length = stream.read(&mut received).expect("a request");
            stream.write_all(answer).expect("written");
            String::from_utf8_lossy(&received[..length]).into_owned()
        });
        (target, served)
    }

    fn request(patience: Duration) -> ClientRequest<'static> {
        ClientRequest { method: "POST", path: "/-/flush?a=b", body: "", token: Some("t"), patience }
    }

    #[test]
    fn a_response_is_distinguished_from_everything_else() {
        let patience = Duration::from_secs(30);
        let (target, served) =
            server(b"HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\nwhy\r\n\r\n");
        let answer = ask(&target, request(patience)).expect("an answer");
        assert_eq!((answer.status, &*answer.body), (503, "why\r\n\r\n"));
        let received = served.join().expect("no panic");
        assert!(received.starts_with("POST /-/flush?a=b HTTP/1.1\r\n"), "{received}");
        assert!(received.contains("authorization: Bearer t\r\n"), "{received}");
        for wrong in [&b""[..], b"SSH-2.0\r\n\r\n", b"HTTP/1.1 ", b"HTTP/1.1 abc\r\n\r\n"] {
            let (target, served) = server(wrong);
            let error = ask(&target, request(patience)).expect_err("no answer");
            assert_eq!(error.to_string(), "what answers there is not the daemon");
            served.join().expect("no panic");
        }
    }

    #[test]
    fn a_server_that_does_not_answer_is_given_up() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let target = Target::Address(listener.local_addr().expect("an address"));
        let error = ask(&target, request(Duration::from_millis(10))).expect_err("no answer");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
