//! Mirrors a directory to an S3 bucket.
pub mod filter;
pub mod model;
pub mod settle;
