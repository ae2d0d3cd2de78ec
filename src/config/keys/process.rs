//! The keys of the state, and of the end of the process.

use super::{DAY, DefaultValue, Key, ValueKind, key, whole};

pub(in crate::config) const STATE_DIR: Key = key(
    "state_dir",
    ValueKind::Path,
    DefaultValue::Then(
        "`$STATE_DIRECTORY`, else `/var/lib/file-sync-service` where it exists, else `.file-sync-service`",
    ),
    "holds the record and the queue, so put it on a volume that survives; never inside `watch_path`",
);
pub(in crate::config) const STATE_SURVIVES: Key = key(
    "state_survives",
    ValueKind::Choice(&["auto", "yes", "no"]),
    DefaultValue::Value("auto"),
    "whether `state_dir` will be there at the next start: `no` for an `emptyDir` of a pod, `yes` for a claim; \
     charts and manifests set it. `auto` goes by the type of the file system, and means `no` after `prestop`",
);
pub(in crate::config) const LOCK_TIMEOUT: Key = key(
    "lock_timeout_seconds",
    whole("seconds", 0, DAY),
    DefaultValue::Value("600"),
    "how long a new instance waits for the one that holds `state_dir`; then it ends with 73",
);
pub(in crate::config) const SHUTDOWN_TIMEOUT: Key = key(
    "shutdown_timeout_seconds",
    whole("seconds", 0, DAY),
    DefaultValue::Value("25"),
    "how long SIGTERM lets transfers finish; keep it below the pod's grace period",
);
pub(in crate::config) const SHUTDOWN_ON_OUTAGE: Key = key(
    "shutdown_on_outage",
    ValueKind::Choice(&["wait", "leave"]),
    DefaultValue::Value("wait"),
    "what the end does while S3 is unavailable: `wait` for it until `shutdown_timeout_seconds` are over, or \
     `leave` after the first probe that fails, where the state survives",
);
pub(in crate::config) const SANDBOX: Key = key(
    "sandbox",
    ValueKind::Choice(&["auto", "off", "require"]),
    DefaultValue::Value("off"),
    "whether the process gives up all files but its own at the start, with Landlock: as far as the kernel can, \
     not at all, or else it does not start; see [SECURITY.md](../SECURITY.md#the-sandbox)",
);
pub(in crate::config) const LOG_TRANSFERS: Key = key(
    "log_transfers",
    ValueKind::Choice(&["all", "failures", "summary"]),
    DefaultValue::Value("all"),
    "which transfers have a line each in the log: `all`, only `failures`, or failures and a `summary` of all \
     others every ten seconds",
);
