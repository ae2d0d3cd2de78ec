//! Credentials that are renewed before they expire, independent of requests.
//!
//! The cache of the SDK renews when a request finds too little time left, and fails that request if
//! the renewal fails, although the old credentials are still valid. This module uses them until
//! they expire, and retries the renewal in the background: an STS outage of some minutes appears in
//! the log only.

use super::refusal::CredentialRefusal;
use super::source::CredentialSource;
use crate::error_causes::messages;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result as Answer, future};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Mutex as Turn, Notify};

/// Maximum time before expiry at which renewal starts.
const EARLY_MAX: Duration = Duration::from_secs(300);
/// Renewal starts in this last part of their lifetime, because sessions may be short.
const EARLY_PART: u32 = 4;
/// Minimum remaining lifetime for use: the request has to arrive.
const LEFT_MIN: Duration = Duration::from_secs(10);
/// The time after which credentials without an expiry are checked again.
const ENDLESS: Duration = Duration::from_secs(900);
/// Maximum time of one renewal, including the attempts of the SDK.
const PATIENCE: Duration = Duration::from_secs(25);
/// The pause after the first failure, which doubles.
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// The longest pause, and the longest sleep: the clock may be set meanwhile.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// The interval of checks for changed files.
const CHANGE_EVERY: Duration = Duration::from_secs(10);
/// Minimum time between two renewals because of responses that may have another reason.
const UNEXPLAINED_EVERY: Duration = Duration::from_secs(300);
/// The interval at which a lasting failure is logged.
const SAID_EVERY: Duration = Duration::from_secs(300);

/// The status of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CredentialStatus {
    /// The time of the last renewal, in seconds since 1970.
    pub renewed: Option<u64>,
    /// The expiry in seconds since 1970, if there is one.
    pub expiry: Option<u64>,
    /// Successful and failed renewals.
    pub renewals: (u64, u64),
}

/// The credentials of the default chain. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct CachedCredentials(Arc<CredentialState>);

#[derive(Debug)]
struct CredentialState {
    source: Box<dyn CredentialSource>,
    held: Mutex<HeldCredentials>,
    /// Notifies of a refusal.
    refused: Notify,
    /// Permits one renewal at a time.
    turn: Turn<()>,
}

/// The cached credentials and their origin: decides, and does no I/O.
#[derive(Debug, Default)]
struct HeldCredentials {
    /// The latest credentials and the time of their renewal.
    credentials: Option<(Credentials, SystemTime)>,
    /// The last failure since a success, and its time.
    failure: Option<(String, SystemTime)>,
    failures_in_a_row: u32,
    /// The last logged failure since a success, and its time.
    said: Option<(String, SystemTime)>,
    /// The refusal of the latest credentials, if there was one.
    refusal: Option<CredentialRefusal>,
    /// How often in a row the source returned the same credentials.
    unchanged_in_a_row: u32,
    worked: u64,
    failed: u64,
}

impl CachedCredentials {
    /// Renews the credentials of `source` until the result is dropped.
    pub(super) fn start(source: impl CredentialSource + 'static) -> Self {
        let renewing = Self::new(source);
        tokio::spawn(renew_in_time(Arc::downgrade(&renewing.0)));
        renewing
    }

    fn new(source: impl CredentialSource + 'static) -> Self {
        Self(Arc::new(CredentialState {
            source: Box::new(source),
            held: Mutex::default(),
            refused: Notify::new(),
            turn: Turn::default(),
        }))
    }

    /// Renews the credentials soon, because a response refused them.
    pub(super) fn note_refusal(&self, refusal: CredentialRefusal) {
        self.0.held().note_refusal(refusal);
        self.0.refused.notify_one();
    }

    pub(super) fn standing(&self) -> CredentialStatus {
        let held = self.0.held();
        let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        CredentialStatus {
            renewed: held.credentials.as_ref().map(|(_, came)| seconds(*came)),
            expiry: held.expiry().map(seconds),
            renewals: (held.worked, held.failed),
        }
    }
}

impl ProvideCredentials for CachedCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.0.current())
    }
}

impl CredentialState {
    async fn current(&self) -> Answer {
        let (usable, failed) = {
            let held = self.held();
            (held.usable(now()), held.failed)
        };
        if let Some(credentials) = usable {
            return Ok(credentials);
        }
        let _turn = self.turn.lock().await;
        {
            // Another task may have tried meanwhile: its result applies to all that waited.
            let held = self.held();
            if let Some(credentials) = held.usable(now()) {
                return Ok(credentials);
            }
            if let Some((why, _)) = held.failure.as_ref().filter(|_| held.failed != failed) {
                return Err(CredentialsError::provider_error(why.clone()));
            }
        }
        self.renew().await
    }

    /// Renews the credentials. The caller holds the permit.
    async fn renew(&self) -> Answer {
        let answer = tokio::time::timeout(PATIENCE, self.source.provide_credentials()).await;
        let answer = answer.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(PATIENCE)));
        self.held().note(&answer, now());
        answer
    }

    fn held(&self) -> MutexGuard<'_, HeldCredentials> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renews in the background, until the last handle of `renewing` is dropped.
async fn renew_in_time(renewing: Weak<CredentialState>) {
    while let Some(inner) = renewing.upgrade() {
        let is_due = || inner.held().due() <= now() || inner.source.has_changed();
        if is_due() {
            let _turn = inner.turn.lock().await;
            if is_due() {
                if inner.held().refusal.is_some() {
                    inner.source.forget();
                }
                // The result is recorded and reported.
                drop(inner.renew().await);
            }
        }
        let wait = inner.held().due().duration_since(now()).unwrap_or_default();
        let wait = wait.clamp(Duration::from_secs(1), CHANGE_EVERY);
        let refused = inner.refused.notified();
        // A refusal that must not be followed yet must not keep this task awake.
        tokio::select! {
            () = refused => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

impl HeldCredentials {
    fn expiry(&self) -> Option<SystemTime> {
        self.credentials.as_ref().and_then(|(credentials, _)| credentials.expiry())
    }

    fn usable(&self, now: SystemTime) -> Option<Credentials> {
        let (credentials, came) = self.credentials.as_ref()?;
        // Fresh credentials are used, even if their expiry is past by the clock of this machine.
        let fresh = now.duration_since(*came).is_ok_and(|age| age < LEFT_MIN);
        let holds = credentials.expiry().is_none_or(|end| now + LEFT_MIN < end);
        (fresh || holds).then(|| credentials.clone())
    }

    /// The time of the next renewal.
    fn due(&self) -> SystemTime {
        if let Some((_, failed)) = &self.failure {
            let doubled = RETRY_FIRST * 2_u32.saturating_pow(self.failures_in_a_row.min(8) - 1);
            return *failed + doubled.min(RETRY_MAX);
        }
        let Some((credentials, came)) = &self.credentials else { return UNIX_EPOCH };
        let planned = match credentials.expiry() {
            None => *came + ENDLESS,
            Some(end) => {
                let life = end.duration_since(*came).unwrap_or_default();
                let early = (life / EARLY_PART).min(EARLY_MAX);
                (end - early).max(*came + RETRY_FIRST)
            }
        };
        let doubled = RETRY_FIRST * 2_u32.saturating_pow(self.unchanged_in_a_row.min(8));
        match self.refusal {
            Some(CredentialRefusal::Credentials) => planned.min(*came + doubled.min(RETRY_MAX)),
            Some(CredentialRefusal::Unexplained) => planned.min(*came + UNEXPLAINED_EVERY),
            None => planned,
        }
    }

    fn note_refusal(&mut self, refusal: CredentialRefusal) {
        if self.refusal != Some(CredentialRefusal::Credentials) {
            self.refusal = Some(refusal);
        }
    }

    fn note(&mut self, answer: &Answer, now: SystemTime) {
        match answer {
            Ok(credentials) => {
                let same = self.credentials.as_ref().is_some_and(|(held, _)| {
                    held.access_key_id() == credentials.access_key_id()
                        && held.secret_access_key() == credentials.secret_access_key()
                        && held.session_token() == credentials.session_token()
                });
                let news = self.failure.is_some() || self.expiry() != credentials.expiry() || !same;
                let unchanged = if same { self.unchanged_in_a_row.saturating_add(1) } else { 0 };
                self.unchanged_in_a_row = unchanged;
                self.refusal = None;
                self.worked += 1;
                self.failures_in_a_row = 0;
                self.said = None;
                self.failure = None;
                self.credentials = Some((credentials.clone(), now));
                if news {
                    tracing::info!(
                        event = "credentials.renewed",
                        valid_seconds = self.left(now),
                        "credentials renewed"
                    );
                }
            }
            Err(error) => {
                self.failed += 1;
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                let why = messages(error);
                self.report_failure(&why, now);
                self.failure = Some((why, now));
            }
        }
    }

    /// Logs a failure once per cause, and again every [`SAID_EVERY`], because every request that
    /// waits for credentials tries.
    fn report_failure(&mut self, why: &str, now: SystemTime) {
        let said = self.said.as_ref().is_some_and(|(said, at)| {
            said == why && now.duration_since(*at).unwrap_or_default() < SAID_EVERY
        });
        if said {
            return;
        }
        self.said = Some((why.to_owned(), now));
        tracing::warn!(
            event = "credentials.renewal_failed",
            error.message = why,
            valid_seconds = self.left(now).unwrap_or(0),
            failures = self.failures_in_a_row,
            "credentials could not be renewed; tried again, and used as long as they hold"
        );
    }

    /// The remaining lifetime in seconds, if there is an expiry.
    fn left(&self, now: SystemTime) -> Option<u64> {
        self.expiry().map(|end| end.duration_since(now).unwrap_or_default().as_secs())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an adapter: the end of credentials is a time of day"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    const LONG: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn ending(end: Option<SystemTime>) -> Credentials {
        Credentials::new("id", "the-secret", None, end, "tests")
    }

    fn refused() -> Answer {
        Err(CredentialsError::provider_error("STS is away"))
    }

    #[test]
    fn a_cause_of_failures_is_logged_once_and_again_after_a_while() {
        let mut held = HeldCredentials::default();
        let logged = |held: &HeldCredentials| held.said.as_ref().map(|(_, at)| *at);
        for second in 0..299 {
            held.note(&refused(), at(second));
            assert_eq!(logged(&held), Some(at(0)), "{second}");
        }
        held.note(&refused(), at(300));
        assert_eq!(logged(&held), Some(at(300)));
        held.note(&Err(CredentialsError::provider_error("another cause")), at(301));
        assert_eq!(logged(&held), Some(at(301)));
        held.note(&Ok(ending(Some(at(3600)))), at(302));
        held.note(&refused(), at(303));
        assert_eq!(logged(&held), Some(at(303)), "it has worked meanwhile");
    }

    #[test]
    fn a_session_is_renewed_early_and_used_to_its_end_if_that_fails() {
        let mut held = HeldCredentials::default();
        assert_eq!(held.due(), UNIX_EPOCH, "at once");
        held.note(&Ok(ending(Some(at(3600)))), at(0));
        assert_eq!(held.due(), at(3300));
        held.note(&refused(), at(3300));
        assert_eq!(held.due(), at(3305));
        for _ in 0..20 {
            held.note(&refused(), at(3400));
        }
        assert_eq!(held.due(), at(3460));
        assert!(held.usable(at(3589)).is_some());
        assert!(held.usable(at(3590)).is_none());
        held.note(&Ok(ending(Some(at(7200)))), at(3600));
        assert_eq!((held.due(), held.worked, held.failed), (at(6900), 2, 21));
    }

    #[test]
    fn short_sessions_and_wrong_clocks_do_not_ask_without_end() {
        let mut held = HeldCredentials::default();
        held.note(&Ok(ending(Some(at(60)))), at(0));
        assert_eq!(held.due(), at(45));
        held.note(&Ok(ending(Some(at(0)))), at(100));
        assert_eq!(held.due(), at(105));
        assert!(held.usable(at(109)).is_some());
        assert!(held.usable(at(110)).is_none());
    }

    #[test]
    fn keys_without_an_end_are_looked_at_now_and_then() {
        let mut held = HeldCredentials::default();
        held.note(&Ok(ending(None)), at(0));
        assert_eq!(held.due(), at(900));
        assert!(held.usable(at(1_000_000)).is_some());
        assert_eq!(held.left(at(1)), None);
    }

    #[test]
    fn refused_credentials_are_asked_for_again_with_growing_pauses() {
        let mut held = HeldCredentials::default();
        held.note(&Ok(ending(None)), at(0));
        held.note_refusal(CredentialRefusal::Unexplained);
        assert_eq!(held.due(), at(300), "it may be about something else");
        held.note_refusal(CredentialRefusal::Credentials);
        held.note_refusal(CredentialRefusal::Unexplained);
        assert_eq!(held.due(), at(5), "they may have been replaced");
        for (came, due) in [(100, 110), (200, 220), (300, 340), (400, 460), (500, 560)] {
            held.note(&Ok(ending(None)), at(came));
            assert_eq!(held.due(), at(came + 900), "no refusal since");
            held.note_refusal(CredentialRefusal::Credentials);
            assert_eq!(held.due(), at(due), "the same were refused again");
        }
        let others = Credentials::new("another", "the-secret", None, None, "tests");
        held.note(&Ok(others), at(600));
        held.note_refusal(CredentialRefusal::Credentials);
        assert_eq!(held.due(), at(605));
    }

    /// Returns prepared answers, and counts.
    #[derive(Debug, Default)]
    struct Source {
        asked: AtomicU32,
        works: Mutex<bool>,
    }

    #[derive(Debug)]
    struct Shared(Arc<Source>);

    impl CredentialSource for Shared {}

    impl ProvideCredentials for Shared {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(async {
                // All waiters are registered before there is an answer.
                tokio::task::yield_now().await;
                self.0.asked.fetch_add(1, Ordering::SeqCst);
                let works = *self.0.works.lock().expect("no panic");
                if works { Ok(ending(Some(now() + LONG))) } else { refused() }
            })
        }
    }

    #[tokio::test]
    async fn all_who_wait_share_one_renewal_and_its_failure() {
        let source = Arc::new(Source::default());
        let renewing = CachedCredentials::new(Shared(Arc::clone(&source)));
        let ask = || async {
            let asked = (0..16).map(|_| renewing.provide_credentials());
            futures_util::future::join_all(asked).await
        };
        let answers = ask().await;
        assert!(answers.iter().all(|answer| {
            answer.as_ref().is_err_and(|error| messages(error).contains("STS is away"))
        }));
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
        *source.works.lock().expect("no panic") = true;
        assert!(ask().await.iter().all(Result::is_ok));
        assert_eq!(source.asked.load(Ordering::SeqCst), 2);
        let standing = renewing.standing();
        assert_eq!(standing.renewals, (1, 1));
        assert!(standing.expiry > standing.renewed);
        assert!(!format!("{renewing:?}").contains("the-secret"));
    }
}
