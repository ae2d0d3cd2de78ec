//! Runs the S3 in memory for a person or a script, until Ctrl-C.

use file_sync_dev_s3::{ACCESS_KEY, Action, Journal, Options, REGION, Rule, SECRET_KEY, Server};
use std::error::Error;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
Usage: dev-s3 [--listen ADDRESS] [--bucket NAME]... [--latest] [--discard] [--faults PERCENT]

An S3 in memory, gone when it ends.

  --listen ADDRESS  where to listen (default 127.0.0.1:0, a free port)
  --bucket NAME     a bucket that exists (default mirror)
  --latest          keep the latest version of every object only, for little memory
  --discard         look at nothing and keep nothing, for benchmarks of clients
  --faults PERCENT  so many of the requests go wrong: SlowDown, InternalError, a reset, a lost answer

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
            "--faults" => {
                faults =
                    value()?.parse::<f64>().map_err(|error| format!("--faults: {error}"))? / 100.0;
            }
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("no such option: {arg}").into()),
        }
    }
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before anybody is told that there is somebody to ask.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut asked = signal(SignalKind::user_defined1())?;
        let mut switched = signal(SignalKind::user_defined2())?;
        let mut away = false;
        println!("export AWS_ENDPOINT_URL_S3={}", server.endpoint());
        println!(
            "export AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY} AWS_REGION={REGION}"
        );
        println!("# buckets: {} (path style); Ctrl-C ends it", options.buckets.join(", "));
        loop {
            tokio::select! {
                result = tokio::signal::ctrl_c() => return result,
                _ = terminate.recv() => return Ok(()),
                _ = asked.recv() => println!("{}", counts(server.journal())),
                _ = switched.recv() => {
                    away = !away;
                    if away { server.stop() } else { server.resume()? }
                    println!("# {}", if away { "away" } else { "back" });
                }
            }
        }
    })?;
    let journal = server.journal();
    println!("# {} requests, {} bytes received", journal.total(), journal.body_bytes());
    Ok(())
}

/// Lets a part of the requests go wrong, in one of four ways.
fn fail(server: &Server, part: f64) {
    let ways = [Action::slow_down(), Action::internal_error(), Action::Reset, Action::LoseReply];
    for way in ways {
        server.fail(Rule::new(way).probability(part / 4.0));
    }
}

/// What was received so far, as JSON; the names of operations need no escaping.
fn counts(journal: &Journal) -> String {
    let counts = journal.counts().into_iter().map(|(operation, count)| {
        let (requests, bytes) = (count.requests, count.body_bytes);
        format!("\"{operation}\": {{\"requests\": {requests}, \"body_bytes\": {bytes}}}")
    });
    format!("{{{}}}", counts.collect::<Vec<_>>().join(", "))
}
