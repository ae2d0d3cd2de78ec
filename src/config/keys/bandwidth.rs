//! The keys of the bandwidth limit.

use super::{DefaultValue, Key, ValueKind, key, whole};

pub(in crate::config) const BANDWIDTH_LIMIT: Key = key(
    "bandwidth_limit",
    ValueKind::Text,
    DefaultValue::Then("no limit"),
    "the most that is sent in a second, over all transfers: a whole number and `KiB`, `MiB` or `GiB`, such as \
     `500KiB`; at least `16KiB`",
);
pub(in crate::config) const BANDWIDTH_LIMIT_MIB: Key = key(
    "bandwidth_limit_mib_per_second",
    whole("MiB a second", 0, 1_048_576),
    DefaultValue::Value("0"),
    "the same in MiB; 0 stands for no limit. Write one of the two",
);
pub(in crate::config) const BANDWIDTH_SCHEDULE: Key = key(
    "bandwidth_schedule",
    ValueKind::List,
    DefaultValue::Value(""),
    "limits for parts of the day, such as `08:00-18:00 2MiB`, or `off` for none; at other times `bandwidth_limit` \
     applies; see [Bandwidth by time of day](#bandwidth-by-time-of-day)",
);
pub(in crate::config) const BANDWIDTH_UTC_OFFSET: Key = key(
    "bandwidth_schedule_utc_offset",
    ValueKind::Text,
    DefaultValue::Value("+00:00"),
    "the difference from UTC of the times in `bandwidth_schedule`, such as `+02:00`",
);
