//! The keys of the heartbeat.

use super::{DAY, DefaultValue, Key, ValueKind, key, whole};

pub(super) const SECTION: &[&Key] = &[&HEARTBEAT_URL, &HEARTBEAT_INTERVAL];

pub(in super::super) const HEARTBEAT_URL: Key = key(
    "heartbeat_url",
    ValueKind::Text,
    DefaultValue::Then("no monitor is informed"),
    "the URL of a monitor that raises an alarm when it hears nothing: it gets a POST while the bucket follows the \
     directory, and one to the same path with `/fail` appended while it does not, with the cause; see \
     [OPERATIONS.md](OPERATIONS.md#heartbeat)",
);
pub(in super::super) const HEARTBEAT_INTERVAL: Key = key(
    "heartbeat_interval_seconds",
    whole("seconds", 5, DAY),
    DefaultValue::Value("60"),
    "time between two heartbeats",
);
