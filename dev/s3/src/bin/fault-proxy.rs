//! Stands between clients and any S3 over HTTP, and lets requests fail.

use file_sync_dev_s3::command_line::{self, CommandLine};
use file_sync_dev_s3::{FaultRate, Options, Server, faults_of_all_kinds, serve_until_stopped};
use std::error::Error;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: fault-proxy --upstream URL [--listen ADDRESS] [--seed N] [--fault KIND[@OPERATION]=PERCENT]...
                   [--faults PERCENT]

Stands in front of any S3 over HTTP. Without faults every byte passes as it is, signatures included.

  --upstream URL    the S3, for example http://127.0.0.1:8333
  --listen ADDRESS  where to listen (default 127.0.0.1:0, a free port)
  --seed N          other faults (1)
  --fault ...       so many of the requests, or of those for one operation, go wrong like this;
                    more than one may be given, and the first that hits decides:
                      403, 500, 503, slow-down   refused with S3's error document, not forwarded
                      in-200                     200 with S3's error document, not forwarded
                      html                       200 with a page of HTML, not forwarded
                      ingress-404                404 `default backend`, not forwarded
                      reset, reset-request       reset before, and in the middle of, the request's body
                      lost                       forwarded, and reset in place of the answer
                      reset-reply, truncated     forwarded, and the answer's body breaks off
                      delay, slow-body           forwarded later, or slowly
                    OPERATION is S3's name of it: PutObject, HeadObject, CopyObject, DeleteObjects,
                    ListObjectsV2, CreateMultipartUpload, UploadPart and so on
  --faults PERCENT  so many of the requests go wrong in one of all these ways

On SIGUSR1 it prints how many requests and bytes it has received so far, as a line of JSON. On SIGUSR2
it refuses connections, and on the next one it is back; each time it prints a line that says so.";

/// What the command line asks for.
struct Arguments {
    upstream: SocketAddr,
    options: Options,
    rates: Vec<FaultRate>,
    /// The percentage that goes wrong in any way.
    faults: f64,
}

fn main() -> ExitCode {
    command_line::program("fault-proxy", USAGE, arguments, run)
}

fn arguments(given: &mut CommandLine) -> Result<Arguments, String> {
    let defaults = Options::default();
    let options = Options {
        address: given.value("--listen")?.unwrap_or(defaults.address),
        seed: given.value("--seed")?.unwrap_or(1),
        ..defaults
    };
    let mut rates = Vec::new();
    while let Some(rate) = given.value("--fault")? {
        rates.push(rate);
    }
    let faults = given.value("--faults")?.unwrap_or(0.0);
    let upstream = upstream(&given.required::<String>("--upstream")?)?;
    Ok(Arguments { upstream, options, rates, faults })
}

/// Where the S3 at `url` listens.
fn upstream(url: &str) -> Result<SocketAddr, String> {
    let host = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let found = host.to_socket_addrs().map_err(|error| format!("--upstream {url}: {error}"))?;
    found.into_iter().next().ok_or_else(|| format!("--upstream {url}: it has no address"))
}

fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let mut server = Server::proxy(arguments.upstream, &arguments.options)?;
    let mut dice = fastrand::Rng::with_seed(arguments.options.seed);
    for rate in &arguments.rates {
        server.fail(rate.rule(&mut dice));
    }
    if arguments.faults > 0.0 {
        for rule in faults_of_all_kinds(arguments.faults, &mut dice) {
            server.fail(rule);
        }
    }
    let greeting = format!(
        "export AWS_ENDPOINT_URL_S3={}\n# in front of {}; Ctrl-C ends it",
        server.endpoint(),
        arguments.upstream
    );
    serve_until_stopped(&mut server, &greeting)?;
    Ok(ExitCode::SUCCESS)
}
