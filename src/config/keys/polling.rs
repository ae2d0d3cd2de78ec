//! The keys of sweeps and scans.

use super::{DAY, DefaultValue, Key, key, whole};

pub(in crate::config) const POLL_INTERVAL: Key = key(
    "poll_interval_seconds",
    whole("seconds", 1, DAY),
    DefaultValue::Value("30"),
    "while events do not report every change: time between two sweeps, which look at each directory once; see \
     [SCALING.md](SCALING.md#sweeps-and-full-scans)",
);
pub(in crate::config) const POLL_FULL_INTERVAL: Key = key(
    "poll_full_interval_seconds",
    whole("seconds", 1, 7 * DAY),
    DefaultValue::Value("900"),
    "while events do not report every change: time between two full scans, which inspect every file. At most \
     `poll_interval_seconds`: full scans only, without sweeps",
);
pub(in crate::config) const POLL_OPERATIONS: Key = key(
    "poll_operations_per_second",
    whole("operations a second", 0, 10_000_000),
    DefaultValue::Value("0"),
    "the most operations of sweeps and scans on the file system in a second; 0 stands for no limit. It does not \
     apply to the scans of a flush, a single run and the shutdown",
);
pub(in crate::config) const RESCAN_INTERVAL: Key = key(
    "rescan_interval_seconds",
    whole("seconds", 1, 7 * DAY),
    DefaultValue::Value("3600"),
    "time between two full scans while events report every change, the safety net",
);
