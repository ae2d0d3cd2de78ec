//! The commands that send requests to the running daemon, and show the responses.

use super::client::{self, ClientRequest, ClientResponse};
use super::target::{Target, Targets};
use super::terminal::Terminal;
use super::{Cli, Command, DeletesCommand, Exit, ProbeArgs, QueueCommand, deletes, table};
use crate::config::ConfigSources;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::Duration;

/// Maximum time of responses that do not wait.
const PATIENCE: Duration = Duration::from_secs(15);
/// Time between two requests of `status --watch`.
const WATCH_PAUSE: Duration = Duration::from_secs(2);
/// A flush limits its own time to at most an hour.
const FLUSH_PATIENCE: Duration = Duration::from_secs(3_660);

/// Runs `command` against the daemon that `cli` and the settings lead to.
#[must_use]
pub fn call(cli: &Cli, command: &Command, sources: &ConfigSources) -> Exit {
    let targets = Targets::find(cli, command, sources);
    if targets.invalid_configuration {
        say(
            "the configuration is not valid (check-config says why); asking the running daemon anyway",
        );
    }
    let answered = match command {
        Command::Status { watch: true, .. } => watch(&targets),
        Command::Status { json, .. } => status(&targets, *json),
        Command::Flush { timeout, strict } => flush(&targets, timeout, *strict),
        Command::Queue(QueueCommand::List { limit, json }) => list(&targets, *limit, *json),
        Command::Queue(QueueCommand::Retry { paths }) => retry(&targets, paths),
        Command::Deletes(DeletesCommand::List { limit, json }) => {
            list_deletes(&targets, *limit, *json)
        }
        Command::Deletes(DeletesCommand::Approve { expect }) => approve(&targets, *expect),
        Command::Deletes(DeletesCommand::Cancel { expect }) => cancel(&targets, *expect),
        Command::Health(probe) => return health(&targets, *probe),
        Command::Prestop => prestop(&targets),
        Command::Run | Command::Once { .. } | Command::Relay => Ok(Exit::Usage),
        Command::CheckConfig { .. } | Command::Doctor { .. } => Ok(Exit::Usage),
        Command::Plan { .. } | Command::Verify { .. } | Command::Restore(_) => Ok(Exit::Usage),
        Command::Completions { .. } | Command::Man => Ok(Exit::Usage),
    };
    answered.unwrap_or_else(|exit| exit)
}

fn get(targets: &Targets, path: &str) -> Result<ClientResponse, Exit> {
    reached(ask(targets, "GET", path, "", PATIENCE))
}

fn post(
    targets: &Targets,
    path: &str,
    body: &str,
    patience: Duration,
) -> Result<ClientResponse, Exit> {
    reached(ask(targets, "POST", path, body, patience))
}

/// The response of the first target that gives one, or the reason why none does.
fn ask(
    targets: &Targets,
    method: &'static str,
    path: &str,
    body: &str,
    patience: Duration,
) -> Result<ClientResponse, Vec<(Target, io::Error)>> {
    let token = targets.token.as_deref();
    let request = ClientRequest { method, path, body, token, patience };
    let mut failed = Vec::new();
    for target in &targets.all {
        match client::ask(target, request) {
            Ok(answer) => return Ok(answer),
            Err(error) => failed.push((target.clone(), error)),
        }
    }
    Err(failed)
}

fn unreached(failed: &[(Target, io::Error)]) -> String {
    if failed.is_empty() {
        return "there is no way to ask the daemon: admin_socket and admin_address are off, or belong to \
                another container"
            .to_owned();
    }
    let tried = failed.iter().map(|(target, error)| format!("{target} ({error})"));
    format!("no daemon answers at {}; is it running?", tried.collect::<Vec<_>>().join(", "))
}

fn reached(
    answer: Result<ClientResponse, Vec<(Target, io::Error)>>,
) -> Result<ClientResponse, Exit> {
    answer.map_err(|failed| {
        say(&table::escaped(&unreached(&failed)));
        Exit::Unreachable
    })
}

/// Passes a successful response; otherwise prints the error.
fn fine(answer: &ClientResponse) -> Result<Exit, Exit> {
    parsed(answer).map(|_| Exit::Success)
}

fn parsed(answer: &ClientResponse) -> Result<Value, Exit> {
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

fn status(targets: &Targets, json: bool) -> Result<Exit, Exit> {
    let answer = get(targets, "/status")?;
    let value = parsed(&answer)?;
    if json {
        print(&format!("{value:#}\n"))
    } else {
        print(&table::status(&value, Terminal::stdout()))
    }
}

/// Prints the status again and again, on a terminal in place of the previous one.
fn watch(targets: &Targets) -> Result<Exit, Exit> {
    let terminal = Terminal::stdout();
    loop {
        // A daemon that restarts answers again.
        if let Ok(value) = get(targets, "/status").and_then(|answer| parsed(&answer)) {
            let cleared = if terminal.width.is_some() { "\u{1b}[H\u{1b}[J" } else { "" };
            print(&format!("{cleared}{}\n", table::status(&value, terminal)))?;
        }
        std::thread::sleep(WATCH_PAUSE);
    }
}

fn flush(targets: &Targets, timeout: &str, strict: bool) -> Result<Exit, Exit> {
    let digits = timeout.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !digits || timeout.is_empty() {
        say("--timeout: write seconds, such as 60s");
        return Err(Exit::Usage);
    }
    let answer = post(targets, &format!("/-/flush?timeout={timeout}"), "", FLUSH_PATIENCE)?;
    if answer.status != 504 {
        let flushed = parsed(&answer)?;
        let skipped = flushed["skipped"].as_u64().unwrap_or(0);
        print(&table::flushed(&flushed))?;
        return Ok(if strict && skipped > 0 { Exit::WorkLeft } else { Exit::Success });
    }
    let left: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let cause = left["cause"].as_str().map(|cause| format!(" ({})", table::escaped(cause)));
    let cause = cause.unwrap_or_default();
    say(&format!("not everything is in S3: {}{cause}", table::pairs(&left["left"])));
    Ok(Exit::WorkLeft)
}

fn list(targets: &Targets, limit: usize, json: bool) -> Result<Exit, Exit> {
    let answer = get(targets, &format!("/queue?limit={limit}"))?;
    let value = parsed(&answer)?;
    if json {
        print(&format!("{value:#}\n"))
    } else {
        print(&table::queue(&value, Terminal::stdout()))
    }
}

/// Exits with 1 if nothing waits for one of the paths.
fn retry(targets: &Targets, paths: &[String]) -> Result<Exit, Exit> {
    let body = if paths.is_empty() { String::new() } else { json!({ "paths": paths }).to_string() };
    let answer = post(targets, "/-/retry", &body, PATIENCE)?;
    let value = parsed(&answer)?;
    print(&table::retried(&value))?;
    let unknown = value["not_queued"].as_array().is_some_and(|paths| !paths.is_empty());
    Ok(if unknown { Exit::Unexpected } else { Exit::Success })
}

fn list_deletes(targets: &Targets, limit: usize, json: bool) -> Result<Exit, Exit> {
    let answer = get(targets, &format!("/deletes?limit={limit}"))?;
    let value = parsed(&answer)?;
    if json {
        print(&format!("{value:#}\n"))
    } else {
        print(&deletes::list(&value, Terminal::stdout()))
    }
}

/// Exits with 1 if the number of held and delayed deletes is not the expected one.
fn approve(targets: &Targets, expect: Option<u64>) -> Result<Exit, Exit> {
    let value = about_deletes(targets, "approve-deletes", expect)?;
    print(&format!("{} deletes approved\n", value["approved"]))
}

/// The same.
fn cancel(targets: &Targets, expect: Option<u64>) -> Result<Exit, Exit> {
    let value = about_deletes(targets, "cancel-deletes", expect)?;
    print(&format!("{} deletes cancelled; their objects stay\n", value["cancelled"]))
}

fn about_deletes(targets: &Targets, what: &str, expect: Option<u64>) -> Result<Value, Exit> {
    let expected = expect.map(|expect| format!("?expect={expect}")).unwrap_or_default();
    let answer = post(targets, &format!("/-/{what}{expected}"), "", PATIENCE)?;
    parsed(&answer)
}

/// An instance that waits for another one holds nothing, so there is nothing to announce.
fn prestop(targets: &Targets) -> Result<Exit, Exit> {
    let answer = ask(targets, "POST", "/-/prestop", "", PATIENCE);
    if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
        return Ok(Exit::Success);
    }
    let status = ask(targets, "GET", "/status", "", PATIENCE).ok();
    let status = status.and_then(|status| serde_json::from_str::<Value>(&status.body).ok());
    if status.is_some_and(|status| status["phase"] == "waiting-for-instance") {
        return Ok(Exit::Success);
    }
    fine(&reached(answer)?)
}

fn health(targets: &Targets, probe: ProbeArgs) -> Exit {
    let path = match probe {
        ProbeArgs { ready: true, .. } => "/readyz",
        ProbeArgs { started: true, .. } => "/startupz",
        ProbeArgs { .. } => "/livez",
    };
    match ask(targets, "GET", path, "", PATIENCE) {
        Ok(answer) if answer.status == 200 => Exit::Success,
        Ok(answer) => {
            say(&table::escaped(answer.body.trim_end()));
            Exit::Unexpected
        }
        Err(failed) => {
            say(&table::escaped(&unreached(&failed)));
            Exit::Unexpected
        }
    }
}

fn print(text: &str) -> Result<Exit, Exit> {
    let printed = std::io::stdout().lock().write_all(text.as_bytes());
    printed.map(|()| Exit::Success).map_err(|_| Exit::Unexpected)
}

pub(super) fn say(text: &str) {
    // If stderr cannot be written, the exit code remains.
    writeln!(std::io::stderr(), "file-sync-service: {text}").ok();
}
