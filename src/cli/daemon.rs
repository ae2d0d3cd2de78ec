//! The commands that ask the running daemon. Thin: what they know is how to show an answer.

use super::client::{self, Answer};
use super::terminal::Terminal;
use super::{Command, Exit, Probe, QueueCommand, table};
use serde_json::{Value, json};
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// Answers that wait for nothing come within this time.
const PATIENCE: Duration = Duration::from_secs(15);
/// A flush bounds its time by itself, an hour at the most.
const FLUSH_PATIENCE: Duration = Duration::from_secs(3_660);

/// Runs `command` against the daemon at `address`.
#[must_use]
pub fn call(command: &Command, address: SocketAddr) -> Exit {
    let answered = match command {
        Command::Status { json } => status(address, *json),
        Command::Flush { timeout } => flush(address, timeout),
        Command::Queue(QueueCommand::List { limit, json }) => list(address, *limit, *json),
        Command::Queue(QueueCommand::Retry { paths }) => retry(address, paths),
        Command::Health(probe) => return health(address, *probe),
        Command::Prestop => {
            post(address, "/-/prestop", "", PATIENCE).and_then(|answer| fine(&answer))
        }
        Command::Run | Command::Once { .. } | Command::CheckConfig => Ok(Exit::Usage),
        Command::Plan { .. } | Command::Verify { .. } => Ok(Exit::Usage),
    };
    answered.unwrap_or_else(|exit| exit)
}

/// Where an address that stands for all of this machine's is reached from this machine.
#[must_use]
pub fn near(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let local = if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        };
        address.set_ip(local);
    }
    address
}

fn get(address: SocketAddr, path: &str) -> Result<Answer, Exit> {
    reached(address, client::ask(address, "GET", path, "", PATIENCE))
}

fn post(address: SocketAddr, path: &str, body: &str, patience: Duration) -> Result<Answer, Exit> {
    reached(address, client::ask(address, "POST", path, body, patience))
}

fn reached(address: SocketAddr, answer: std::io::Result<Answer>) -> Result<Answer, Exit> {
    answer.map_err(|error| {
        say(&format!(
            "no daemon answers at {address} ({error}); is it running, and is admin_address the same?"
        ));
        Exit::Unreachable
    })
}

/// The answer if it was a good one; otherwise what was wrong is said.
fn fine(answer: &Answer) -> Result<Exit, Exit> {
    parsed(answer).map(|_| Exit::Success)
}

fn parsed(answer: &Answer) -> Result<Value, Exit> {
    let value: Option<Value> = serde_json::from_str(&answer.body).ok();
    match (answer.status, value) {
        (200, Some(value)) => Ok(value),
        (status, value) => {
            let error = value.as_ref().and_then(|value| value["error"].as_str());
            say(&table::escaped(error.unwrap_or(answer.body.trim_end())));
            Err(if status == 503 { Exit::Unreachable } else { Exit::Unexpected })
        }
    }
}

fn status(address: SocketAddr, json: bool) -> Result<Exit, Exit> {
    let answer = get(address, "/status")?;
    let value = parsed(&answer)?;
    if json {
        print(&format!("{value:#}\n"))
    } else {
        print(&table::status(&value, Terminal::stdout()))
    }
}

fn flush(address: SocketAddr, timeout: &str) -> Result<Exit, Exit> {
    let digits = timeout.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !digits || timeout.is_empty() {
        say("--timeout: write seconds, such as 60s");
        return Err(Exit::Usage);
    }
    let answer = post(address, &format!("/-/flush?timeout={timeout}"), "", FLUSH_PATIENCE)?;
    if answer.status != 504 {
        return parsed(&answer).map(|_| Exit::Success);
    }
    let left: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    say(&format!("not everything is in S3: {}", table::pairs(&left["left"])));
    Ok(Exit::WorkLeft)
}

fn list(address: SocketAddr, limit: usize, json: bool) -> Result<Exit, Exit> {
    let answer = get(address, &format!("/queue?limit={limit}"))?;
    let value = parsed(&answer)?;
    if json {
        print(&format!("{value:#}\n"))
    } else {
        print(&table::queue(&value, Terminal::stdout()))
    }
}

fn retry(address: SocketAddr, paths: &[String]) -> Result<Exit, Exit> {
    let body = if paths.is_empty() { String::new() } else { json!({ "paths": paths }).to_string() };
    let answer = post(address, "/-/retry", &body, PATIENCE)?;
    let value = parsed(&answer)?;
    print(&format!("{} tried now\n", value["tried"]))
}

fn health(address: SocketAddr, probe: Probe) -> Exit {
    let path = match probe {
        Probe { ready: true, .. } => "/readyz",
        Probe { started: true, .. } => "/startupz",
        Probe { .. } => "/livez",
    };
    match client::ask(address, "GET", path, "", PATIENCE) {
        Ok(answer) if answer.status == 200 => Exit::Success,
        Ok(answer) => {
            say(&table::escaped(answer.body.trim_end()));
            Exit::Unexpected
        }
        Err(error) => {
            say(&format!("no daemon answers at {address} ({error})"));
            Exit::Unexpected
        }
    }
}

fn print(text: &str) -> Result<Exit, Exit> {
    let printed = std::io::stdout().lock().write_all(text.as_bytes());
    printed.map(|()| Exit::Success).map_err(|_| Exit::Unexpected)
}

pub(super) fn say(text: &str) {
    // With nobody to tell, the code still says it.
    writeln!(std::io::stderr(), "file-sync-service: {text}").ok();
}
