//! A server as far away as wanted: every byte arrives half a round trip later, in both directions.
//!
//! TLS ends at the far end, so that its handshake takes the round trips it takes anywhere. Nothing
//! limits the bandwidth but the window: so many bytes are on their way in each direction at most.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional, duplex, join,
    split,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Maximum number of connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 4096;
/// Largest number of bytes that travel together.
const CHUNK_BYTES: usize = 64 * 1024;
/// Number of chunks on their way in one direction of a connection: a window of 4 MiB.
const WINDOW_CHUNKS: usize = 64;

/// The way to a server.
#[derive(Clone)]
pub struct Distance {
    upstream: SocketAddr,
    half: Duration,
    tls: Option<TlsAcceptor>,
}

impl std::fmt::Debug for Distance {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tls = self.tls.is_some();
        let Self { upstream, half, .. } = self;
        write!(formatter, "Distance({upstream}, {half:?} each way, TLS: {tls})")
    }
}

impl Distance {
    /// The server at `upstream`, `round_trip` away.
    #[must_use]
    pub fn new(upstream: SocketAddr, round_trip: Duration) -> Self {
        Self { upstream, half: round_trip / 2, tls: None }
    }

    /// Speaks TLS with the certificates and the key of two PEM files.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or the key does not belong to the certificate.
    pub fn with_tls(self, certificates: &Path, key: &Path) -> io::Result<Self> {
        let chain = CertificateDer::pem_file_iter(certificates)
            .and_then(Iterator::collect)
            .map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(io::Error::other)?;
        Ok(Self { tls: Some(TlsAcceptor::from(Arc::new(config))), ..self })
    }

    /// Accepts connections for as long as it is polled.
    ///
    /// # Errors
    ///
    /// If no connection can be accepted.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let permit =
                Arc::clone(&connections).acquire_owned().await.map_err(io::Error::other)?;
            let (client, _) = listener.accept().await?;
            let way = self.clone();
            tokio::spawn(async move {
                // A connection that breaks is the matter of its two ends.
                drop(way.connect(client).await);
                drop(permit);
            });
        }
    }

    /// Carries what the client sends, and the answers.
    async fn connect(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        // The kernel has answered the client's SYN already: what it sends comes a round trip later.
        tokio::time::sleep(self.half * 2).await;
        let (near, far) = duplex(CHUNK_BYTES);
        let (client_read, client_write) = client.into_split();
        let (near_read, near_write) = split(near);
        let there = delayed(client_read, near_write, self.half);
        let back = delayed(near_read, client_write, self.half);
        let (there, back, served) = tokio::join!(there, back, self.arrive(far));
        there.and(back).and(served)
    }

    /// The far end: TLS, if it is spoken, and the server.
    async fn arrive(&self, far: tokio::io::DuplexStream) -> io::Result<()> {
        let mut server = TcpStream::connect(self.upstream).await?;
        server.set_nodelay(true)?;
        match &self.tls {
            None => {
                let (read, write) = split(far);
                copy_bidirectional(&mut join(read, write), &mut server).await?;
            }
            Some(tls) => {
                let mut stream = tls.accept(far).await?;
                copy_bidirectional(&mut stream, &mut server).await?;
            }
        }
        Ok(())
    }
}

/// Copies bytes so that each arrives `half` after it was sent.
async fn delayed(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    half: Duration,
) -> io::Result<()> {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(WINDOW_CHUNKS);
    let sending = async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = from.read(&mut chunk).await?;
            if read == 0 {
                return Ok(());
            }
            let sent = (Instant::now() + half, chunk.get(..read).unwrap_or_default().to_vec());
            if sender.send(sent).await.is_err() {
                return Ok(());
            }
        }
    };
    let arriving = async move {
        while let Some((due, bytes)) = under_way.recv().await {
            tokio::time::sleep_until(due).await;
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    let (sent, arrived): (io::Result<()>, io::Result<()>) = tokio::join!(sending, arriving);
    sent.and(arrived)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const ROUND_TRIP: Duration = Duration::from_millis(40);

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    /// A server that sends back what it reads, `ROUND_TRIP` away.
    async fn far_echo() -> SocketAddr {
        let (server, upstream) = listener().await;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = server.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        let (near, address) = listener().await;
        tokio::spawn(Distance::new(upstream, ROUND_TRIP).serve(near));
        address
    }

    #[tokio::test]
    async fn an_answer_takes_a_round_trip_and_a_connection_another_one() {
        let mut stream = TcpStream::connect(far_echo().await).await.expect("connected");
        for trips in [2, 1] {
            let before = Instant::now();
            stream.write_all(b"ping").await.expect("sent");
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await.expect("answered");
            assert_eq!(&answer, b"ping");
            assert!(before.elapsed() >= ROUND_TRIP * trips, "{:?}", before.elapsed());
        }
    }

    #[tokio::test]
    async fn many_bytes_arrive_as_they_are_and_end() {
        let stream = TcpStream::connect(far_echo().await).await.expect("connected");
        let (mut read, mut write) = stream.into_split();
        let sent: Vec<u8> = (0..3 * CHUNK_BYTES).map(|at| at.to_le_bytes()[0]).collect();
        let copy = sent.clone();
        let writing = tokio::spawn(async move {
            write.write_all(&copy).await?;
            write.shutdown().await
        });
        let mut received = Vec::new();
        read.read_to_end(&mut received).await.expect("to its end");
        writing.await.expect("no panic").expect("sent");
        assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    }
}
