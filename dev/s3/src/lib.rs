//! An S3 in memory for tests, measurements and the programs in `dev/drivers`, and never part of the shipped
//! program. Beside it, the invalidation API of CloudFront: [`CloudFront`].
//!
//! It behaves as S3 does where a mirror depends on it: signatures, checksums, conditions, multipart
//! uploads, listings. It remembers every version of every object and every request, and it fails on
//! demand.
//!
//! # Invariants
//!
//! - A request changes the bucket wholly or not at all, under one lock; nothing of a body that was
//!   cut off or whose checksum is wrong is ever stored.
//! - [`Server::stop`] and [`Server::resume`] change nothing but whether S3 can be reached.
//! - Versions and requests are numbered from one counter, so their order can be compared.
//! - No call sleeps in order to wait for something: [`Server::wait_until`] is woken by each change.

mod activity;
mod answer;
mod backend;
mod body;
mod checksum;
mod cloudfront;
pub mod command_line;
mod connection;
mod dialect;
mod discard;
mod distance;
mod fault;
mod fault_kind;
mod journal;
mod mode;
mod multipart;
mod object;
mod operation;
mod options;
mod raw;
mod server;
mod service;
mod serving;
mod store;
mod upstream;

pub use activity::now;
pub use cloudfront::{Asked, CloudFront, DISTRIBUTION, Invalidation};
pub use distance::Distance;
pub use fault::{Action, Call, Faults, Gate, Rule, RuleId};
pub use fault_kind::{FaultKind, FaultRate, faults_of_all_kinds};
pub use journal::{Count, Journal, REQUESTS_MAX, Request};
pub use mode::{StoreMode, StoreModes};
pub use object::{Headers, Object};
pub use options::{ACCESS_KEY, BUCKET, BUCKET_OWNER, Options, REGION, SECRET_KEY};
pub use raw::RawAnswer;
/// The digests of an object, in Base64 as S3 shows them.
pub use s3s::dto::Checksum;
pub use server::Server;
pub use serving::serve_until_stopped;
pub use store::{Change, Store, What};
