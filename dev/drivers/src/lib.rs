//! Runs the built daemon for the programs of this crate: a temporary directory for it, its process, and
//! Ctrl-C. The programs are `demo`, `latency`, `storm` and `torture`; the S3 is the one of `dev/s3`.
//!
//! # Invariants
//!
//! - The daemon has its default settings except for the paths, the bucket and what [`Daemon::set`] adds:
//!   the environment of the user does not reach it.
//! - The daemon is stopped however the program ends, and its directory is removed unless
//!   [`Workspace::keep`] was called.

mod daemon;
mod interrupt;
mod workspace;

pub use daemon::Daemon;
pub use interrupt::Interrupt;
pub use workspace::{Workspace, content};
