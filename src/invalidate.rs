//! Tells a CDN in front of the bucket of changed objects, so that viewers see them.
//!
//! ```text
//! engine ──stale──► record ──► cover ──► batch ──► record ──► CloudFront
//!                   (what waits)  (few paths)      (before it is sent)
//! ```
//!
//! # Invariants
//!
//! - What was changed in S3 is told at least once, whatever is killed: it is noted in one commit with the
//!   confirmed change, and goes in one commit with the batch that covers it.
//! - Nothing is paid twice: a batch is on disk before it is sent, under a reference of its own, and is
//!   sent again as it is until it was answered.
//! - Uploads never wait for any of this.
//! - No more paths are made in a month than the operator allows.

mod batch;
mod bucket;
mod cloudfront;
mod observe;
mod path;
mod port;
mod run;

pub use batch::Settings as BatchSettings;
pub use cloudfront::CloudFront;
pub use observe::{Observer, Request, Standing, Totals};
pub use path::Addresses;
pub use port::{Heard, Invalidator, Kind, Status, Trouble};
pub use run::{Phase, Settings, Worker};
