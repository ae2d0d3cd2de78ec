//! Puts a server at a distance: every byte arrives later, over TLS if wanted.

use file_sync_dev_s3::Distance;
use file_sync_dev_s3::command_line::{self, CommandLine};
use std::error::Error;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
Usage: distance-proxy --upstream ADDRESS [--listen ADDRESS] [--round-trip-ms N]
                      [--tls-cert FILE --tls-key FILE]

Stands in front of a server so that it seems to be far away. A new connection costs a round trip, and
every byte half of one in each direction.

  --upstream ADDRESS  the server, for example 127.0.0.1:8333
  --listen ADDRESS    where to listen (default 127.0.0.1:0, a free port)
  --round-trip-ms N   milliseconds there and back (0)
  --tls-cert FILE     PEM file with the certificates; TLS ends at the far end
  --tls-key FILE      PEM file with the key

It prints the address it listens at, and ends at SIGTERM.";

/// What the command line asks for.
struct Arguments {
    upstream: SocketAddr,
    listen: SocketAddr,
    round_trip: Duration,
    tls: Option<(PathBuf, PathBuf)>,
}

fn main() -> ExitCode {
    command_line::program("distance-proxy", USAGE, arguments, run)
}

fn arguments(given: &mut CommandLine) -> Result<Arguments, String> {
    let upstream = given.required("--upstream")?;
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listen = given.value("--listen")?.unwrap_or(anywhere);
    let round_trip = Duration::from_millis(given.value("--round-trip-ms")?.unwrap_or(0));
    let certificate: Option<PathBuf> = given.value("--tls-cert")?;
    let key: Option<PathBuf> = given.value("--tls-key")?;
    let tls = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err("--tls-cert and --tls-key belong together".to_owned()),
    };
    Ok(Arguments { upstream, listen, round_trip, tls })
}

#[tokio::main]
async fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let mut way = Distance::new(arguments.upstream, arguments.round_trip);
    if let Some((certificate, key)) = &arguments.tls {
        way = way.with_tls(certificate, key)?;
    }
    let listener = TcpListener::bind(arguments.listen).await?;
    let mut output = std::io::stdout();
    writeln!(output, "{}", listener.local_addr()?)?;
    output.flush()?;
    let mut ended = signal(SignalKind::terminate())?;
    tokio::select! {
        served = way.serve(listener) => served?,
        _ = ended.recv() => {}
    }
    Ok(ExitCode::SUCCESS)
}
