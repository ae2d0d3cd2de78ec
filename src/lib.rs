//! Mirrors a directory to an S3 bucket.
pub mod model;
