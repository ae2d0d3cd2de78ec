//! Mirrors a directory to an S3 bucket.
pub mod app;
pub mod cli;
pub mod config;
pub mod detect;
pub mod engine;
pub mod filter;
pub mod look;
pub mod model;
pub mod plan;
pub mod queue;
pub mod reconcile;
pub mod root;
pub mod settle;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod transfer;
