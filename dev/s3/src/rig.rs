//! What runs the built daemon against this S3: a directory for it, the process, the command line and
//! Ctrl-C. For the demo, for measurements and for the torture.
//!
//! # Invariants
//!
//! - The daemon has its default settings but for where it looks and where it sends: nothing of the
//!   person's own environment reaches it.
//! - Whatever way it ends, the daemon is stopped, and the directory is gone unless it was to be kept.

mod command;
mod daemon;
mod interrupt;
mod serving;
mod workspace;

pub use command::{INTERRUPTED, Options, program};
pub use daemon::Daemon;
pub use interrupt::Interrupt;
pub use serving::serve_until_stopped;
pub use workspace::{Workspace, content};
