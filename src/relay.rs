//! The relay: watches a shared directory on the node of its writers, and sends the paths of changes to the
//! service that mirrors the directory. It never sends content, and never blocks a writer.
//!
//! # Invariants
//!
//! - A path waits until it was sent, or until the wait for it is widened to its directory or to the tree:
//!   memory is bounded, and no change is forgotten while the relay runs.
//! - It writes nothing but watches, opens no file, and needs no credentials for S3.

mod buffer;
mod send;

pub use buffer::RelayBuffer;
pub use send::{HintTarget, RelayState, TargetError};
