//! The way of a request through the server: recorded, hit by a fault or not, and answered by s3s.

use crate::backend::Backend;
use crate::body::{CutOff, Metered};
use crate::connection::Farewell;
use crate::discard::Discard;
use crate::fault::{Action, Fate, Faults};
use crate::journal::{Entry, Journal};
use crate::object::length;
use crate::operation::call_of;
use crate::options::{ACCESS_KEY, Options};
use crate::store::Store;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::fmt;

pub(crate) type Answer = Response<s3s::Body>;

/// Why a connection ends in place of an answer.
#[derive(Debug)]
pub(crate) struct HungUp;

impl fmt::Display for HungUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is to be reset")
    }
}

impl std::error::Error for HungUp {}

/// All that requests are answered with. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    faults: Faults,
    journal: Journal,
    behind: Behind,
}

/// What answers a request that no fault has ended.
#[derive(Debug, Clone)]
enum Behind {
    S3(S3Service),
    Discard(Discard),
}

impl Service {
    pub(crate) fn new(options: &Options, store: &Store, faults: Faults, journal: Journal) -> Self {
        let behind = if options.discard {
            Behind::Discard(Discard::default())
        } else {
            let mut builder = S3ServiceBuilder::new(Backend::new(options, store.clone()));
            builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, options.secret_key.as_str()));
            Behind::S3(builder.build())
        };
        Self { faults, journal, behind }
    }

    /// Answers a request, or does not.
    pub(crate) async fn call(
        &self,
        request: hyper::Request<Incoming>,
        farewell: &Farewell,
    ) -> Result<Answer, HungUp> {
        let call = call_of(request.method(), request.uri(), request.headers());
        let fate = self.faults.fate_of(&call);
        let mut entry = self.journal.begin(call, request.headers(), fate.rules.clone());
        let mut answer = self.answer(request, &fate, &entry, farewell).await?;
        entry.answered(answer.status().as_u16());
        if let Ok(id) = HeaderValue::from_str(&format!("{:016X}", entry.sequence)) {
            answer.headers_mut().insert("x-amz-request-id", id);
        }
        answer.headers_mut().insert("x-amz-id-2", HeaderValue::from_static("in memory"));
        Ok(answer)
    }

    async fn answer(
        &self,
        request: hyper::Request<Incoming>,
        fate: &Fate,
        entry: &Entry,
        farewell: &Farewell,
    ) -> Result<Answer, HungUp> {
        for delay in &fate.delays {
            match delay {
                Action::Delay(time) => tokio::time::sleep(*time).await,
                Action::Hold(gate) => gate.passed().await,
                _ => {}
            }
        }
        if matches!(fate.end, Some(Action::Reset)) {
            return Err(HungUp);
        }
        let request = request.map(|body| Metered::new(body, entry.meter(), fate.bytes_per_second));
        match fate.end {
            Some(Action::Fail { status, code }) => refuse(request, status, code).await,
            Some(Action::FailWithin200(code)) => refuse(request, 200, code).await,
            Some(Action::LoseReply) => self.apply(request).await.and(Err(HungUp)),
            Some(Action::TruncateReply(bytes)) => {
                let answer = truncate(self.apply(request).await?, bytes).await?;
                farewell.say();
                Ok(answer)
            }
            _ => self.apply(request).await,
        }
    }

    async fn apply(&self, request: hyper::Request<Metered>) -> Result<Answer, HungUp> {
        match &self.behind {
            Behind::S3(s3) => {
                s3.call(request.map(s3s::Body::http_body_unsync)).await.map_err(|_| HungUp)
            }
            Behind::Discard(discard) => discard.call(request).await.map_err(|_| HungUp),
        }
    }
}

/// Reads the body, as a client that writes does not look for an answer, and answers with an error.
async fn refuse(
    request: hyper::Request<Metered>,
    status: u16,
    code: &str,
) -> Result<Answer, HungUp> {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        drop(frame.map_err(|_| HungUp)?);
    }
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Error><Code>{code}</Code><Message>A fault on purpose.</Message></Error>"
    );
    let status = StatusCode::from_u16(status).map_err(|_| HungUp)?;
    let answer = Response::builder().status(status).header(CONTENT_TYPE, "application/xml");
    answer.body(s3s::Body::from(document)).map_err(|_| HungUp)
}

/// Cuts the body of `answer` off after `bytes`, and has the header tell its whole length.
async fn truncate(answer: Answer, bytes: usize) -> Result<Answer, HungUp> {
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(|_| HungUp)?.to_bytes();
    if body.is_empty() {
        return Err(HungUp);
    }
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length(body.len())));
    let start = body.slice(..bytes.min(body.len() - 1));
    Ok(Response::from_parts(parts, s3s::Body::http_body(CutOff::Start(start))))
}
