//! The answer to a request, or the reset of its connection.

use hyper::Response;
use std::fmt;

/// An answer.
pub(crate) type Answer = Response<s3s::Body>;

/// Why a connection ends in place of an answer.
#[derive(Debug)]
pub(crate) struct HungUp;

impl fmt::Display for HungUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection must be reset")
    }
}

impl std::error::Error for HungUp {}

/// Marks an answer that comes from another server, and is passed on as it is.
#[derive(Debug, Clone)]
pub(crate) struct Untouched;
