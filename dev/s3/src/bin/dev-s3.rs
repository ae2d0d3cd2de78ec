//! Runs the S3 in memory for a person or a script, until Ctrl-C.

use file_sync_dev_s3::{
    ACCESS_KEY, Action, Options, REGION, Rule, SECRET_KEY, Server, StoreMode, serve_until_stopped,
};
use std::error::Error;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: dev-s3 [--listen ADDRESS] [--bucket NAME]... [--latest] [--discard] [--faults PERCENT]
              [--mode NAME]...

An S3 in memory, gone when it ends.

  --listen ADDRESS  where to listen (default 127.0.0.1:0, a free port)
  --bucket NAME     a bucket that exists (default mirror)
  --latest          keep the latest version of every object only, for little memory
  --discard         look at nothing and keep nothing, for benchmarks of clients
  --faults PERCENT  so many of the requests go wrong: SlowDown, InternalError, a reset, a lost answer
  --mode NAME       how the store differs from S3, as real stores do; more than one may be given:
                      no-checksums           no answer carries a checksum
                      weak-etags             the header ETag is a weak one, which fits no condition
                      ignores-conditions     If-Match and If-None-Match have no effect
                      rejects-conditions     writes and deletes with a condition get 501
                      list-v1-only           ListObjectsV2 gets 501
                      no-batch-delete        DeleteObjects gets 400
                      rejects-checksum-mode  x-amz-checksum-mode gets 400
                      rejects-checksums      every header of the newer checksums gets 400
                      equal-parts            all parts of an upload but the last have one size
                      demands-acl            an object without bucket-owner-full-control gets 403
                      demands-owner          a request that does not expect 111122223333 gets 403
                      demands-customer-key   content without a key of the customer (SSE-C) gets 403
                      requester-pays         a request without x-amz-request-payer gets 403

On SIGUSR1 it prints how many requests and bytes it has received so far, as a line of JSON. On SIGUSR2
it goes away, and on the next one it is back with all it holds; each time it prints a line that says so.";

/// What the command line asks for.
struct Arguments {
    options: Options,
    /// The part of the requests that goes wrong.
    faults: f64,
}

fn main() -> ExitCode {
    match arguments(std::env::args().skip(1)) {
        Ok(Some(arguments)) => match run(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("dev-s3: {}: {error}", arguments.options.address);
                ExitCode::FAILURE
            }
        },
        Ok(None) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("dev-s3: {error}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Reads the command line; `None` if the usage was asked for.
fn arguments(mut args: impl Iterator<Item = String>) -> Result<Option<Arguments>, Box<dyn Error>> {
    let mut options = Options::default();
    let mut buckets = Vec::new();
    let mut modes = Vec::new();
    let mut faults = 0.0;
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--listen" => {
                options.address = value()?.parse().map_err(|error| format!("--listen: {error}"))?
            }
            "--bucket" => buckets.push(value()?),
            "--latest" => options.latest_only = true,
            "--discard" => options.discard = true,
            "--mode" => {
                modes.push(
                    value()?.parse::<StoreMode>().map_err(|error| format!("--mode: {error}"))?,
                );
            }
            "--faults" => {
                faults =
                    value()?.parse::<f64>().map_err(|error| format!("--faults: {error}"))? / 100.0;
            }
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("no such option: {arg}").into()),
        }
    }
    options.modes = modes.into_iter().collect();
    if !buckets.is_empty() {
        options.buckets = buckets;
    }
    Ok(Some(Arguments { options, faults }))
}

fn run(Arguments { options, faults }: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut server = Server::start(options)?;
    if *faults > 0.0 {
        fail(&server, *faults);
    }
    let greeting = format!(
        "export AWS_ENDPOINT_URL_S3={}\n\
         export AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY} AWS_REGION={REGION}\n\
         # buckets: {} (path style); Ctrl-C ends it",
        server.endpoint(),
        options.buckets.join(", ")
    );
    serve_until_stopped(&mut server, &greeting)?;
    Ok(())
}

/// Lets a part of the requests go wrong, in one of four ways.
fn fail(server: &Server, part: f64) {
    let ways = [Action::slow_down(), Action::internal_error(), Action::Reset, Action::LoseReply];
    for way in ways {
        server.fail(Rule::new(way).probability(part / 4.0));
    }
}
