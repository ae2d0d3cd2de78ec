//! The bounds of what the engine has under way, and its own waits.

use crate::blocking_pool::BlockingPool;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Paths in one look.
pub(super) const LOOK_PATHS_MAX: usize = 512;
/// Looks under way at once.
pub(super) const LOOKS_MAX: usize = 2;
/// Commits under way at once; beyond it nothing new is looked at.
pub(super) const WRITES_MAX: usize = 64;
/// When the content of a file written within the tick of its look is compared once more.
pub(super) const RACY_WAIT: Duration = Duration::from_millis(2_100);
/// Before the end of the drain, everything that waits is tried a last time.
pub(super) const LAST_TRY: Duration = Duration::from_secs(1);
/// A drain that took longer than this since its first comparison compares a second time.
pub(super) const CLOSING_AFTER: Duration = Duration::from_secs(2);

/// The threads that look at paths: as many as there are looks at once.
///
/// # Errors
///
/// If the system refuses what they need.
pub fn looking() -> io::Result<Arc<BlockingPool>> {
    BlockingPool::new("look", LOOKS_MAX).map(Arc::new)
}
