//! A server that runs for a person or a script until it is stopped.

use crate::journal::Journal;
use crate::server::Server;
use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// Prints `greeting` and serves until Ctrl-C or SIGTERM. On SIGUSR1 it prints how many requests and
/// bytes it has received so far, as a line of JSON. On SIGUSR2 it goes away, and on the next one it is
/// back with all it holds; each time it prints a line that says so.
///
/// # Errors
///
/// If signals cannot be waited for, or the address is lost while the server is away.
pub fn serve_until_stopped(server: &mut Server, greeting: &str) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before the greeting: a script may signal as soon as it has read it.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut asked = signal(SignalKind::user_defined1())?;
        let mut switched = signal(SignalKind::user_defined2())?;
        let mut away = false;
        println!("{greeting}");
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

/// What was received so far, as JSON; the names of operations need no escaping.
fn counts(journal: &Journal) -> String {
    let counts = journal.counts().into_iter().map(|(operation, count)| {
        let requests = count.requests;
        let bytes = count.body_bytes;
        format!("\"{operation}\": {{\"requests\": {requests}, \"body_bytes\": {bytes}}}")
    });
    format!("{{{}}}", counts.collect::<Vec<_>>().join(", "))
}
