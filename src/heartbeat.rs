//! Informs a monitor that the bucket follows the directory. The monitor raises an alarm when it hears nothing
//! any more ("dead man's switch"), so that an end of the daemon is noticed as well.
//!
//! # Invariants
//!
//! - At most one request is under way, and two begin at least `GAP_MIN` apart.
//! - Nothing waits for the monitor.
//! - The path of the URL, which is a secret, is in no log.

use crate::https::{HttpsClient, PostError};
use hyper::Uri;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Minimum time between two requests.
const GAP_MIN: Duration = Duration::from_secs(2);
/// Maximum length of the cause in a request, bytes.
const CAUSE_BYTES_MAX: usize = 1024;

/// The condition of the daemon, for a monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pulse {
    /// The bucket follows the directory.
    InSync,
    /// It does not, for this reason.
    Failing(String),
    /// Neither can be said: the daemon starts or ends.
    Unknown,
}

impl Pulse {
    /// Whether a change from `before` is news.
    fn differs_from(&self, before: Option<&Self>) -> bool {
        *self != Self::Unknown
            && before.is_some_and(|before| {
                std::mem::discriminant(self) != std::mem::discriminant(before)
            })
    }
}

/// Sends heartbeats until the sender of `changes` is gone. `pulse` returns the present condition, which
/// changes with them at most.
pub async fn keep<T>(
    client: HttpsClient,
    url: Uri,
    interval: Duration,
    pulse: impl Fn() -> Pulse,
    mut changes: watch::Receiver<T>,
) {
    let failing_url = with_fail(&url);
    let mut sent: Option<Pulse> = None;
    let mut failing = false;
    let mut due = Instant::now();
    loop {
        tokio::select! {
            () = sleep_until(due) => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                if !pulse().differs_from(sent.as_ref()) {
                    sleep_until(due.min(Instant::now() + GAP_MIN)).await;
                    continue;
                }
            }
        }
        let begun = Instant::now();
        let now = pulse();
        let result = match &now {
            Pulse::InSync => Some(client.post_text(&url, String::new()).await),
            Pulse::Failing(cause) => Some(client.post_text(&failing_url, shortened(cause)).await),
            Pulse::Unknown => None,
        };
        if let Some(result) = result {
            log(&url, &result, &mut failing);
            sent = Some(now);
        }
        due = begun + interval;
        sleep_until(begun + GAP_MIN).await;
    }
}

fn log(url: &Uri, result: &Result<(), PostError>, failing: &mut bool) {
    let host = url.host().unwrap_or_default();
    match result {
        Err(error) if !*failing => tracing::warn!(
            event = "heartbeat.failed",
            server.address = host,
            error.message = %error,
            "the monitor does not take the heartbeat"
        ),
        Ok(()) if *failing => tracing::info!(
            event = "heartbeat.recovered",
            server.address = host,
            "the monitor takes the heartbeat again"
        ),
        _ => {}
    }
    *failing = result.is_err();
}

fn shortened(cause: &str) -> String {
    let mut text = cause.to_owned();
    text.truncate(text.floor_char_boundary(CAUSE_BYTES_MAX));
    text
}

/// The URL with `/fail` behind its path.
fn with_fail(url: &Uri) -> Uri {
    let path = url.path().trim_end_matches('/');
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = url.clone().into_parts();
    parts.path_and_query = format!("{path}/fail{query}").parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| url.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fail_is_appended_to_the_path() {
        for (url, failing) in [
            ("https://hc.example/5ab1", "https://hc.example/5ab1/fail"),
            ("https://hc.example/ping/", "https://hc.example/ping/fail"),
            ("http://monitor:8000", "http://monitor:8000/fail"),
            ("https://hc.example/5ab1?rid=7", "https://hc.example/5ab1/fail?rid=7"),
        ] {
            assert_eq!(with_fail(&url.parse().expect("a URL")).to_string(), failing);
        }
    }

    #[test]
    fn only_another_condition_is_news() {
        let failing = |cause: &str| Pulse::Failing(cause.to_owned());
        assert!(failing("a").differs_from(Some(&Pulse::InSync)));
        assert!(Pulse::InSync.differs_from(Some(&failing("a"))));
        assert!(!failing("a").differs_from(Some(&failing("b"))));
        assert!(!Pulse::Unknown.differs_from(Some(&Pulse::InSync)));
        assert!(!Pulse::InSync.differs_from(None));
    }

    #[test]
    fn a_cause_is_shortened_between_characters() {
        let cause = "ü".repeat(CAUSE_BYTES_MAX);
        assert_eq!(shortened(&cause).len(), CAUSE_BYTES_MAX);
        assert_eq!(shortened("short"), "short");
    }
}
