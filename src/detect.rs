//! Noticing changes: hints where to look, never what happened.

#[cfg_attr(not(test), expect(dead_code, reason = "the watcher follows"))]
mod dirty;
