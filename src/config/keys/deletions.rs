//! The keys for deletes and their limits.

use super::{DAY, DefaultValue, Key, ValueKind, key, whole};

pub(in crate::config) const DELETE_POLICY: Key = key(
    "delete_policy",
    ValueKind::Choice(&["propagate", "keep"]),
    DefaultValue::Value("propagate"),
    "whether a file's deletion deletes its object",
);
/// An upper bound far above practical delays.
const DELAY_MAX: u64 = 30 * DAY;

pub(in crate::config) const DELETE_DELAY: Key = key(
    "delete_delay_seconds",
    whole("seconds", 0, DELAY_MAX),
    DefaultValue::Value("0"),
    "how long an object stays after its file; if the file comes back, it is not deleted. See \
     [SEMANTICS.md](SEMANTICS.md#delayed-deletes)",
);
pub(in crate::config) const DELETE_LIMIT_PERCENT: Key = key(
    "delete_limit_percent",
    whole("percent", 0, 100),
    DefaultValue::Value("50"),
    "one comparison that wants to delete more than this share of the objects **and** more than \
     `delete_limit_count` deletes nothing until an operator approves",
);
pub(in crate::config) const DELETE_LIMIT_COUNT: Key = key(
    "delete_limit_count",
    whole("objects", 0, 1_000_000_000),
    DefaultValue::Value("1000"),
    "see `delete_limit_percent`",
);
pub(in crate::config) const DELETE_LIMIT_WINDOW: Key = key(
    "delete_limit_window_seconds",
    whole("seconds", 0, DAY),
    DefaultValue::Value("600"),
    "deletes that were done so lately count with those that are wanted, unless they were approved; 0: only \
     what is wanted counts",
);
