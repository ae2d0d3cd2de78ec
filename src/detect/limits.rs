//! What the system allows.

use std::fs;

/// What plain distributions allow each user.
const INSTANCES_DEFAULT: usize = 128;
/// The limit counts for the user on the whole node, and others run under the same one.
const SHARE: usize = 4;

/// How many instances are our fair share.
pub(super) fn fair_instances() -> usize {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").ok();
    let limit = limit.and_then(|text| text.trim().parse().ok()).unwrap_or(INSTANCES_DEFAULT);
    (limit / SHARE).max(1)
}
