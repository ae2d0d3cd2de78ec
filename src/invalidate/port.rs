//! What the worker needs of a CDN, and how its errors are told apart.

use crate::model::Batch;
use std::future::Future;

/// Why a request to the CDN did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What to do about it.
    pub kind: Kind,
    /// A short stable name: CloudFront's error code, or one of ours.
    pub code: String,
    /// For people.
    pub message: String,
}

/// What to do about trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It cannot be reached, is not working, or asks for less: soon again.
    Unavailable,
    /// Too much is in progress there: again when some of it has ended.
    Crowded,
    /// An operator has to mend something: rarely again.
    Refused,
    /// This very request will never be taken: another one has to be made.
    Unfit,
    /// There is no such invalidation.
    Unknown,
}

/// How far an invalidation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The CDN's id of it.
    pub id: String,
    /// Whether every edge has done it.
    pub completed: bool,
}

/// What an answer says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// The HTTP status; `None` where there was no answer.
    pub status: Option<u16>,
    /// What the CDN's support asks for.
    pub request_id: Option<String>,
}

/// A CDN in front of the bucket. Each call makes one request and no retry.
pub trait Invalidator: Send + Sync + 'static {
    /// Has copies thrown away. The same batch again is the same invalidation, and costs nothing.
    fn create(
        &self,
        batch: &Batch,
    ) -> impl Future<Output = (Result<Status, Trouble>, Heard)> + Send;

    /// How far the invalidation `id` of `distribution` is.
    fn status(
        &self,
        distribution: &str,
        id: &str,
    ) -> impl Future<Output = Result<Status, Trouble>> + Send;
}
