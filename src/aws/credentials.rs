//! Credentials, renewed before they end, whether somebody needs them just then or not.
//!
//! The SDK's own cache renews when a request finds too little left, and fails that request if the
//! renewal fails, though the old credentials still hold. Here they are used until their end, while
//! renewal is tried in the background: minutes of an outage of STS are noticed by nobody but the log.

use super::chain;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{
    ProvideCredentials, Result as Answer, SharedCredentialsProvider, future,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Mutex as Turn;

/// Renewed so long before their end at most, and
const EARLY_MAX: Duration = Duration::from_secs(300);
/// in the last part of their life: sessions may be short.
const EARLY_PART: u32 = 4;
/// With less than this left they are not used: the request has to arrive.
const LEFT_MIN: Duration = Duration::from_secs(10);
/// Looked at again after this, where nothing is said of an end.
const ENDLESS: Duration = Duration::from_secs(900);
/// One renewal takes so long at most, the tries of the SDK included.
const PATIENCE: Duration = Duration::from_secs(25);
/// The wait after a failure, which doubles up to
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// this. Also the longest sleep: the clock may be set meanwhile.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What there is to tell of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// When they were last renewed, in seconds since 1970.
    pub renewed: Option<u64>,
    /// When they end, likewise, if they do.
    pub expiry: Option<u64>,
    /// Renewals that worked, and that did not.
    pub renewals: (u64, u64),
}

/// The credentials of the default chain. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Renewing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: SharedCredentialsProvider,
    held: Mutex<Held>,
    /// One renewal at a time.
    turn: Turn<()>,
}

/// What is held, and how it came: decides, and asks nobody.
#[derive(Debug, Default)]
struct Held {
    /// The latest, and when they came.
    credentials: Option<(Credentials, SystemTime)>,
    /// The last failure, if nothing has worked since, and when it was.
    failure: Option<(String, SystemTime)>,
    failures_in_a_row: u32,
    worked: u64,
    failed: u64,
}

impl Renewing {
    /// Renews what `source` gives for as long as somebody holds this.
    pub(super) fn start(source: SharedCredentialsProvider) -> Self {
        let renewing = Self::of(source);
        tokio::spawn(keep(Arc::downgrade(&renewing.0)));
        renewing
    }

    fn of(source: SharedCredentialsProvider) -> Self {
        Self(Arc::new(Inner { source, held: Mutex::default(), turn: Turn::default() }))
    }

    pub(super) fn standing(&self) -> Standing {
        let held = self.0.held();
        let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Standing {
            renewed: held.credentials.as_ref().map(|(_, came)| seconds(*came)),
            expiry: held.expiry().map(seconds),
            renewals: (held.worked, held.failed),
        }
    }
}

impl ProvideCredentials for Renewing {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.0.current())
    }
}

impl Inner {
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
            // Somebody else may have tried meanwhile: what came of it is for all who waited.
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

    /// To be called by whoever has the turn.
    async fn renew(&self) -> Answer {
        let answer = tokio::time::timeout(PATIENCE, self.source.provide_credentials()).await;
        let answer = answer.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(PATIENCE)));
        self.held().note(&answer, now());
        answer
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renews in the background, until nobody holds `renewing` any more.
async fn keep(renewing: Weak<Inner>) {
    while let Some(inner) = renewing.upgrade() {
        if inner.held().due() <= now() {
            let _turn = inner.turn.lock().await;
            if inner.held().due() <= now() {
                // What came of it is noted, and told.
                drop(inner.renew().await);
            }
        }
        let wait = inner.held().due().duration_since(now()).unwrap_or_default();
        drop(inner);
        tokio::time::sleep(wait.clamp(Duration::from_secs(1), RETRY_MAX)).await;
    }
}

impl Held {
    fn expiry(&self) -> Option<SystemTime> {
        self.credentials.as_ref().and_then(|(credentials, _)| credentials.expiry())
    }

    fn usable(&self, now: SystemTime) -> Option<Credentials> {
        let (credentials, came) = self.credentials.as_ref()?;
        // Such as have just come are used, whatever this machine's clock makes of their end.
        let fresh = now.duration_since(*came).is_ok_and(|age| age < LEFT_MIN);
        let holds = credentials.expiry().is_none_or(|end| now + LEFT_MIN < end);
        (fresh || holds).then(|| credentials.clone())
    }

    /// When the next renewal is to be tried.
    fn due(&self) -> SystemTime {
        if let Some((_, failed)) = &self.failure {
            let doubled = RETRY_FIRST * 2_u32.saturating_pow(self.failures_in_a_row.min(8) - 1);
            return *failed + doubled.min(RETRY_MAX);
        }
        let Some((credentials, came)) = &self.credentials else { return UNIX_EPOCH };
        let Some(end) = credentials.expiry() else { return *came + ENDLESS };
        let life = end.duration_since(*came).unwrap_or_default();
        let early = (life / EARLY_PART).min(EARLY_MAX);
        (end - early).max(*came + RETRY_FIRST)
    }

    fn note(&mut self, answer: &Answer, now: SystemTime) {
        match answer {
            Ok(credentials) => {
                let news = self.failure.is_some()
                    || self.expiry() != credentials.expiry()
                    || self.credentials.is_none();
                self.worked += 1;
                self.failures_in_a_row = 0;
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
                let why = chain(error);
                tracing::warn!(
                    event = "credentials.renewal_failed",
                    error.message = why,
                    valid_seconds = self.left(now).unwrap_or(0),
                    "credentials could not be renewed; tried again, and used as long as they hold"
                );
                self.failure = Some((why, now));
            }
        }
    }

    /// Seconds that what is held is good for, if there is an end to it.
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
    fn a_session_is_renewed_early_and_used_to_its_end_if_that_fails() {
        let mut held = Held::default();
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
        let mut held = Held::default();
        held.note(&Ok(ending(Some(at(60)))), at(0));
        assert_eq!(held.due(), at(45));
        held.note(&Ok(ending(Some(at(0)))), at(100));
        assert_eq!(held.due(), at(105));
        assert!(held.usable(at(109)).is_some());
        assert!(held.usable(at(110)).is_none());
    }

    #[test]
    fn keys_without_an_end_are_looked_at_now_and_then() {
        let mut held = Held::default();
        held.note(&Ok(ending(None)), at(0));
        assert_eq!(held.due(), at(900));
        assert!(held.usable(at(1_000_000)).is_some());
        assert_eq!(held.left(at(1)), None);
    }

    /// Answers what it is told to, and counts.
    #[derive(Debug, Default)]
    struct Source {
        asked: AtomicU32,
        works: Mutex<bool>,
    }

    #[derive(Debug)]
    struct Shared(Arc<Source>);

    impl ProvideCredentials for Shared {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(async {
                // Those who wait are waiting before there is an answer.
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
        let shared = SharedCredentialsProvider::new(Shared(Arc::clone(&source)));
        let renewing = Renewing::of(shared);
        let ask = || async {
            let asked = (0..16).map(|_| renewing.provide_credentials());
            futures_util::future::join_all(asked).await
        };
        let answers = ask().await;
        assert!(answers.iter().all(|answer| {
            answer.as_ref().is_err_and(|error| chain(error).contains("STS is away"))
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
