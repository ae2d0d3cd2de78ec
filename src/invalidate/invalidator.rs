//! The interface to a CDN, and the classes of its errors.

use crate::model::PathBatch;
use std::future::Future;

/// Why a request to the CDN failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidateError {
    /// The class of the error.
    pub kind: RetryKind,
    /// A short stable name: the error code of CloudFront, or one of ours.
    pub code: String,
    /// The message.
    pub message: String,
}

/// The next action after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryKind {
    /// It is unreachable, fails, or throttles: retry soon.
    Unavailable,
    /// Too many invalidations are in progress: retry when some have ended.
    Crowded,
    /// An operator has to correct something: retry rarely.
    Refused,
    /// This request will never be accepted: replace it.
    Unfit,
    /// The invalidation does not exist.
    Unknown,
}

/// The status of an invalidation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestStatus {
    /// Its id in the CDN.
    pub id: String,
    /// Whether it is completed.
    pub completed: bool,
}

/// The metadata of a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseMeta {
    /// The HTTP status, or `None` without a response.
    pub status: Option<u16>,
    /// The request id for the support of the CDN.
    pub request_id: Option<String>,
}

/// A CDN in front of the bucket. Each call sends one request, without retries.
pub trait Invalidator: Send + Sync + 'static {
    /// Creates an invalidation. The same batch again is the same invalidation, and costs nothing.
    fn create(
        &self,
        batch: &PathBatch,
    ) -> impl Future<Output = (Result<RequestStatus, InvalidateError>, ResponseMeta)> + Send;

    /// Returns the status of the invalidation `id` of `distribution`.
    fn status(
        &self,
        distribution: &str,
        id: &str,
    ) -> impl Future<Output = Result<RequestStatus, InvalidateError>> + Send;
}
