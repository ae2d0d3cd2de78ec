//! Invalidates changed objects in a CDN in front of the bucket, so that viewers get them.
//!
//! ```text
//! engine ──stale──► state ──► cover ──► batch ──► state ──► CloudFront
//!                 (pending)  (few paths)     (before it is sent)
//! ```
//!
//! # Invariants
//!
//! - Every change in S3 is invalidated at least once, whatever is killed: the pending
//!   invalidation is recorded in the commit of the confirmed change, and removed in the commit of
//!   the batch that covers it.
//! - Nothing is billed twice: a batch is on disk before it is sent, with its own reference, and
//!   is repeated unchanged until it is answered.
//! - Uploads never wait for any of this.
//! - No more paths are created in a month than the operator allows.

mod batch;
mod cloudfront;
mod invalidator;
mod observe;
mod path;
mod run;
mod token_bucket;

pub use batch::BatchSettings;
pub use cloudfront::CloudFrontInvalidator;
pub use invalidator::{InvalidateError, Invalidator, RequestStatus, ResponseMeta, RetryKind};
pub use observe::{InvalidationObserver, InvalidationRequest, InvalidationTotals, WorkerStatus};
pub use path::Addresses;
pub use run::{InvalidationWorker, WorkerPhase, WorkerSettings};
