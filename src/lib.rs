//! Mirrors a directory to an S3 bucket: every change, nothing else, nothing lost.
//!
//! ```text
//! detect ──hints──► settle ──► look ──► plan ──► queue ──► transfer
//! (watch)           (quiet)   (statx)  (pure)  (durable)    (S3)
//!                      ▲                          │           │
//!                      └─────── reconcile ◄──── store ◄───────┘
//!                          (walk × record)     (record)
//! ```
//!
//! The directory is the truth; events are hints where to look. What is to be done follows from what
//! is there now, what the record says we put into the bucket, and the policy. The
//! [engine] owns all state and runs the loop; everything to its left and right is told what to do.
//!
//! In reading order: [model] is the vocabulary. [filter], [rules], [settle], [plan], [cover], [queue] and
//! [writer] decide and do no I/O. [root], [look], [reconcile] and [detect] read the directory, [store]
//! keeps the record, [transfer] speaks to S3, [invalidate] to CloudFront, both by way of [aws]. [engine]
//! joins them, [app] makes them from the [config], [cli] and `main` are the doorway. Beside it, [verify]
//! compares directory, record and bucket.

pub mod admin;
pub mod app;
pub mod aws;
pub mod cli;
mod clock;
pub mod config;
pub mod cover;
pub mod detect;
#[cfg(test)]
mod documented;
pub mod engine;
pub mod filter;
pub mod invalidate;
pub mod look;
pub mod model;
pub mod plan;
pub mod queue;
pub mod reconcile;
pub mod retry_file;
pub mod root;
pub mod rules;
pub mod settle;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod threads;
pub mod transfer;
pub mod verify;
pub mod writer;
