//! The way of a request through the server: recorded, hit by a fault or not, and answered by s3s.

use crate::answer::{Answer, HungUp, Untouched};
use crate::backend::Backend;
use crate::body::{CutOff, Metered};
use crate::connection::Farewell;
use crate::dialect::{self, Refusal};
use crate::discard::Discard;
use crate::fault::{Action, Fate, Faults};
use crate::journal::{Entry, Journal};
use crate::mode::StoreModes;
use crate::object::length;
use crate::operation::call_of;
use crate::options::{ACCESS_KEY, Options};
use crate::store::Store;
use crate::upstream::Upstream;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::net::SocketAddr;

/// All that requests are answered with. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    faults: Faults,
    journal: Journal,
    modes: StoreModes,
    behind: Behind,
}

/// What answers a request that no fault has ended.
#[derive(Debug, Clone)]
enum Behind {
    S3(S3Service),
    Discard(Discard),
    Upstream(Upstream),
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
        Self { faults, journal, modes: options.modes.clone(), behind }
    }

    /// Hands requests on to another server.
    pub(crate) fn proxy(upstream: SocketAddr, faults: Faults, journal: Journal) -> Self {
        let behind = Behind::Upstream(Upstream::new(upstream));
        Self { faults, journal, modes: StoreModes::default(), behind }
    }

    /// Answers a request, or does not.
    pub(crate) async fn call(
        &self,
        request: hyper::Request<Incoming>,
        farewell: &Farewell,
    ) -> Result<Answer, HungUp> {
        let call = call_of(request.method(), request.uri(), request.headers());
        let fate = self.faults.fate_of(&call);
        let refusal = dialect::refusal(&self.modes, &call, request.headers());
        let mut entry = self.journal.begin(call, request.headers(), fate.rules.clone());
        let mut answer = self.answer(request, refusal, &fate, &entry, farewell).await?;
        entry.answered(answer.status().as_u16());
        let is_of_another = answer.extensions().get::<Untouched>().is_some();
        if is_of_another || matches!(fate.end, Some(Action::Answer(_))) {
            return Ok(answer);
        }
        if let Ok(id) = HeaderValue::from_str(&format!("{:016X}", entry.sequence)) {
            answer.headers_mut().insert("x-amz-request-id", id);
        }
        answer.headers_mut().insert("x-amz-id-2", HeaderValue::from_static("in memory"));
        Ok(answer)
    }

    async fn answer(
        &self,
        request: hyper::Request<Incoming>,
        refusal: Option<Refusal>,
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
        match &fate.end {
            Some(Action::Answer(raw)) => {
                if raw.is_applied() {
                    drop(self.apply(request, refusal).await?);
                } else {
                    read_to_end(request).await?;
                }
                raw.response().ok_or(HungUp)
            }
            Some(Action::Fail { status, code }) => refuse(request, *status, code).await,
            Some(Action::FailWithin200(code)) => refuse(request, 200, code).await,
            Some(Action::ResetRequest(bytes)) => match &self.behind {
                Behind::Upstream(upstream) => Err(upstream.call_in_part(request, *bytes).await),
                _ => read_some(request, *bytes).await,
            },
            Some(Action::LoseReply) => self.apply(request, refusal).await.and(Err(HungUp)),
            Some(Action::TruncateReply(bytes)) => {
                let answer = truncate(self.apply(request, refusal).await?, *bytes).await?;
                farewell.say();
                Ok(answer)
            }
            Some(Action::ResetReply(bytes)) => {
                truncate(self.apply(request, refusal).await?, *bytes).await
            }
            _ => self.apply(request, refusal).await,
        }
    }

    async fn apply(
        &self,
        request: hyper::Request<Metered>,
        refusal: Option<Refusal>,
    ) -> Result<Answer, HungUp> {
        if let Some(Refusal { status, code }) = refusal {
            return refuse(request, status, code).await;
        }
        let mut answer = self.operate(request).await?;
        dialect::adapt(&self.modes, answer.headers_mut());
        Ok(answer)
    }

    async fn operate(&self, request: hyper::Request<Metered>) -> Result<Answer, HungUp> {
        match &self.behind {
            Behind::S3(s3) => {
                s3.call(request.map(s3s::Body::http_body_unsync)).await.map_err(|_| HungUp)
            }
            Behind::Discard(discard) => discard.call(request).await.map_err(|_| HungUp),
            Behind::Upstream(upstream) => upstream.call(request).await,
        }
    }
}

/// Reads the body, as a client that writes does not look for an answer, and answers with an error.
async fn refuse(
    request: hyper::Request<Metered>,
    status: u16,
    code: &str,
) -> Result<Answer, HungUp> {
    read_to_end(request).await?;
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Error><Code>{code}</Code><Message>A fault on purpose.</Message></Error>"
    );
    let status = StatusCode::from_u16(status).map_err(|_| HungUp)?;
    let answer = Response::builder().status(status).header(CONTENT_TYPE, "application/xml");
    answer.body(s3s::Body::from(document)).map_err(|_| HungUp)
}

async fn read_to_end(request: hyper::Request<Metered>) -> Result<(), HungUp> {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        drop(frame.map_err(|_| HungUp)?);
    }
    Ok(())
}

/// Reads so many bytes of the body, and hangs up.
async fn read_some(request: hyper::Request<Metered>, bytes: u64) -> Result<Answer, HungUp> {
    let mut body = request.into_body();
    let mut read = 0;
    while read < bytes
        && let Some(Ok(frame)) = body.frame().await
    {
        read += frame.data_ref().map_or(0, |data| length(data.len()));
    }
    Err(HungUp)
}

/// Cuts the body of `answer` off after `bytes`; the header keeps its whole length.
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
