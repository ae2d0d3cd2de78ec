//! Mirrors a directory to an S3 bucket.
//!
//! ```text
//! detect ──hints──► settle ──► look ──► plan ──► queue ──► transfer
//! (watch)         (debounce)  (statx)  (pure)  (durable)    (S3)
//!                      ▲                          │           │
//!                      └─────── reconcile ◄──── store ◄───────┘
//!                          (scan × state)      (state)
//! ```
//!
//! The directory is the truth; events are hints where to look. The action follows from the present
//! file, its object record in the state, and the policy. The [engine] owns the core state and runs
//! the loop; it sends work to the other modules.
//!
//! In reading order: [model] is the vocabulary. [filter], [rules], [settle], [plan], [path_cover],
//! [queue] and [exclusivity] decide and do no I/O. [root], [look], [reconcile] and [detect] read
//! the directory, [store] holds the state, [transfer] sends requests to S3 and [invalidate] to
//! CloudFront, both through [aws]. [engine] connects them, [app] builds them from the [config];
//! [cli] and `main` are the entry points. [verify] compares directory, state and bucket, and
//! [restore] brings objects back into the directory.

pub mod admin;
pub mod app;
pub mod aws;
pub mod blocking_pool;
pub mod cli;
mod clock;
pub mod config;
pub mod detect;
#[cfg(test)]
mod docs_test;
pub mod doctor;
pub mod endpoint_url;
pub mod endpoints_file;
pub mod engine;
mod error_causes;
pub mod escape;
pub mod exclusivity;
pub mod filter;
pub mod heartbeat;
pub mod hints;
pub mod https;
pub mod invalidate;
pub mod look;
pub mod model;
pub mod path_cover;
pub mod plan;
pub mod queue;
pub mod reconcile;
pub mod relay;
pub mod restore;
pub mod retry_file;
pub mod root;
pub mod rules;
pub mod safe_file;
pub mod sandbox;
pub mod settle;
pub mod shutdown;
pub mod store;
pub mod sweep;
pub mod telemetry;
pub mod transfer;
pub mod unix_socket;
pub mod verify;
