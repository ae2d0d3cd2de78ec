//! What runs the built daemon against this S3: a directory for it, the process, and Ctrl-C. For the
//! demo and for measurements.
//!
//! # Invariants
//!
//! - The daemon has its default settings but for where it looks and where it sends: nothing of the
//!   person's own environment reaches it.
//! - Whatever way it ends, the daemon is stopped and the directory is gone.

mod daemon;
mod interrupt;
mod workspace;

pub use daemon::Daemon;
pub use interrupt::Interrupt;
pub use workspace::{Workspace, content};
