//! The invalidation API of CloudFront, on demand as strict as the real one.
//!
//! # Invariants
//!
//! - A caller reference with the same paths is the invalidation that was made first, and is not paid
//!   again; one with other paths is refused.
//! - Paths and tags that CloudFront would refuse are refused here, the whole request with them.
//! - What fails on purpose is said by the same rules as for S3, with the distribution as the bucket.

mod document;

use crate::activity::{Activity, lock, now};
use crate::answer::{Answer, HungUp};
use crate::connection::{self, Farewell};
use crate::fault::{Action, Call, Fate, Faults, Rule, RuleId};
use document::{Refusal, Wanted};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The only distribution there is.
pub const DISTRIBUTION: &str = "EDEVELOPMENT";
/// CloudFront's own limits for what is in progress.
const RUNNING_MAX: (usize, usize) = (3_000, 15);

/// An invalidation that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalidation {
    /// CloudFront's name of it.
    pub id: String,
    /// The caller's.
    pub reference: String,
    /// As they were sent.
    pub paths: Vec<String>,
    /// Whether it is done.
    pub completed: bool,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `CreateInvalidation` or `GetInvalidation`.
    pub operation: &'static str,
    /// When it came.
    pub at: Instant,
    /// The caller reference and the paths, if it wanted to make something.
    pub wanted: Option<(String, Vec<String>)>,
}

#[derive(Debug, Default)]
struct State {
    made: Vec<Invalidation>,
    asked: Vec<Asked>,
    /// Nothing is done any more.
    held: bool,
}

#[derive(Debug, Clone)]
struct Service {
    state: Arc<Mutex<State>>,
    faults: Faults,
    activity: Arc<Activity>,
}

/// A CloudFront that can be reached. Stopped when dropped.
#[derive(Debug)]
pub struct CloudFront {
    address: SocketAddr,
    service: Service,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl CloudFront {
    /// Starts one on a free port.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = std::net::TcpListener::bind(local)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let service =
            Service { state: Arc::default(), faults: Faults::new(0), activity: Arc::default() };
        let (stop, stopped) = oneshot::channel();
        let serving = service.clone();
        let serve = move || runtime.block_on(serve(listener, serving, stopped));
        let thread = std::thread::Builder::new().name("dev-cloudfront".to_owned()).spawn(serve)?;
        Ok(Self { address, service, running: Some((stop, thread)) })
    }

    /// The address for `AWS_ENDPOINT_URL_CLOUDFRONT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Puts a fault rule in force.
    pub fn fail(&self, rule: Rule) -> RuleId {
        self.service.faults.add(rule)
    }

    /// The fault rules.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.service.faults
    }

    /// From now on nothing is done any more, or everything is.
    pub fn hold(&self, held: bool) {
        lock(&self.service.state).held = held;
    }

    /// What was made, in order.
    #[must_use]
    pub fn invalidations(&self) -> Vec<Invalidation> {
        lock(&self.service.state).made.clone()
    }

    /// The requests, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Asked> {
        lock(&self.service.state).asked.clone()
    }

    /// Paths that were paid.
    #[must_use]
    pub fn paid(&self) -> usize {
        lock(&self.service.state).made.iter().map(|made| made.paths.len()).sum()
    }

    /// Waits until `holds`, which is asked after every request. False if it still does not after
    /// `timeout`.
    #[must_use]
    pub fn wait_until(&self, timeout: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        self.service.activity.wait_until(timeout, || holds(self))
    }
}

impl Drop for CloudFront {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            // A panic in it has been reported by its hook.
            drop(thread.join());
        }
    }
}

async fn serve(
    listener: std::net::TcpListener,
    service: Service,
    mut stopped: oneshot::Receiver<()>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                let service = service.clone();
                connections.spawn(connection::serve(stream, move |request, farewell| {
                    let service = service.clone();
                    async move { service.call(request, farewell).await }
                }));
            },
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
}

/// What the address and the body ask for.
enum Question {
    Create(Wanted),
    Get(String),
}

impl Service {
    async fn call(
        &self,
        request: Request<Incoming>,
        _farewell: Farewell,
    ) -> Result<Answer, HungUp> {
        let signed = request.headers().contains_key(AUTHORIZATION);
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.map_err(|_| HungUp)?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        let names: Vec<_> = path.split('/').skip(1).collect();
        let (distribution, question) = match (&method, &names[..]) {
            (&Method::POST, ["2020-05-31", "distribution", distribution, "invalidation"]) => {
                (*distribution, Question::Create(Wanted::read(&body)))
            }
            (&Method::GET, ["2020-05-31", "distribution", distribution, "invalidation", id]) => {
                (*distribution, Question::Get((*id).to_owned()))
            }
            _ => return refused(&Refusal { status: 404, code: "NotFound" }),
        };
        let (operation, wanted) = match &question {
            Question::Create(wanted) => {
                ("CreateInvalidation", Some((wanted.reference.clone(), wanted.paths.clone())))
            }
            Question::Get(_) => ("GetInvalidation", None),
        };
        lock(&self.state).asked.push(Asked { operation, at: now(), wanted });
        let call = Call { operation, bucket: distribution.to_owned(), key: String::new() };
        let fate = self.faults.fate_of(&call);
        self.activity.wake();
        let answer = self.meet(fate, || match signed {
            true => self.answer(distribution, &question),
            false => Err(Refusal { status: 403, code: "MissingAuthenticationToken" }),
        });
        let answer = answer.await;
        self.activity.wake();
        answer
    }

    /// Has the fault do its work, and the operation its own.
    async fn meet(
        &self,
        fate: Fate,
        apply: impl Fn() -> Result<Invalidation, Refusal>,
    ) -> Result<Answer, HungUp> {
        for delay in &fate.delays {
            match delay {
                Action::Delay(time) => tokio::time::sleep(*time).await,
                Action::Hold(gate) => gate.passed().await,
                _ => {}
            }
        }
        match fate.end {
            Some(Action::Fail { status, code }) => refused(&Refusal { status, code }),
            Some(Action::Reset) => Err(HungUp),
            Some(Action::LoseReply) => {
                // Whatever came of it is not said.
                drop(apply());
                Err(HungUp)
            }
            _ => match apply() {
                Ok(invalidation) => said(201, document::invalidation(&invalidation)),
                Err(refusal) => refused(&refusal),
            },
        }
    }

    fn answer(&self, distribution: &str, question: &Question) -> Result<Invalidation, Refusal> {
        if distribution != DISTRIBUTION {
            return Err(Refusal { status: 404, code: "NoSuchDistribution" });
        }
        let state = &mut *lock(&self.state);
        match question {
            Question::Get(id) => {
                let held = state.held;
                let made = state.made.iter_mut().find(|made| made.id == *id);
                let made = made.ok_or(Refusal { status: 404, code: "NoSuchInvalidation" })?;
                made.completed |= !held;
                Ok(made.clone())
            }
            Question::Create(wanted) => {
                wanted.check()?;
                let same = |made: &&Invalidation| made.reference == wanted.reference;
                if let Some(made) = state.made.iter().find(same) {
                    let refusal = Refusal { status: 400, code: "InvalidationBatchAlreadyExists" };
                    return (made.paths == wanted.paths).then(|| made.clone()).ok_or(refusal);
                }
                let running = state.made.iter().filter(|made| !made.completed);
                let paths = running.flat_map(|made| &made.paths).chain(&wanted.paths);
                let (wild, plain): (Vec<_>, Vec<_>) = paths.partition(|path| path.ends_with('*'));
                if plain.len() > RUNNING_MAX.0 || wild.len() > RUNNING_MAX.1 {
                    return Err(Refusal { status: 400, code: "TooManyInvalidationsInProgress" });
                }
                let id = format!("I{}", state.made.len() + 1);
                let reference = wanted.reference.clone();
                let paths = wanted.paths.clone();
                state.made.push(Invalidation { id, reference, paths, completed: false });
                state.made.last().cloned().ok_or(Refusal { status: 500, code: "InternalError" })
            }
        }
    }
}

fn refused(refusal: &Refusal) -> Result<Answer, HungUp> {
    said(refusal.status, document::error(refusal))
}

fn said(status: u16, document: String) -> Result<Answer, HungUp> {
    let status = StatusCode::from_u16(status).map_err(|_| HungUp)?;
    let answer = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "text/xml")
        .header("x-amzn-requestid", "1");
    answer.body(s3s::Body::from(document)).map_err(|_| HungUp)
}
