//! Compares two configurations, and decides whether a running program can apply the new one.

use super::keys::{self, Key};
use super::{EffectiveSetting, LoadedConfig};

/// The keys that are applied without a restart. The others determine the state, the endpoints or
/// the clients.
const LIVE: &[&Key] = &[
    &keys::RETRY_INTERVAL,
    &keys::WATCH_MODE,
    &keys::POLL_INTERVAL,
    &keys::POLL_FULL_INTERVAL,
    &keys::POLL_OPERATIONS,
    &keys::RESCAN_INTERVAL,
    &keys::IGNORE,
    &keys::IGNORE_DEFAULTS,
    &keys::MAX_FILE_SIZE,
    &keys::MAX_FILES,
    &keys::MIN_AGE,
    &keys::DEBOUNCE,
    &keys::OPEN_FILE_QUIET,
    &keys::DEBOUNCE_MAX,
    &keys::OBJECT_RULES,
    &keys::POSIX_METADATA,
    &keys::REFRESH_METADATA,
    &keys::S3_STORAGE_CLASS,
    &keys::S3_SERVER_SIDE_ENCRYPTION,
    &keys::S3_KMS_KEY_ID,
    &keys::S3_ACL,
    &keys::MAX_CONCURRENT_TRANSFERS,
    &keys::MULTIPART_THRESHOLD,
    &keys::MULTIPART_PART_SIZE,
    &keys::TRANSFER_MEMORY,
    &keys::BANDWIDTH_LIMIT,
    &keys::BANDWIDTH_LIMIT_MIB,
    &keys::BANDWIDTH_SCHEDULE,
    &keys::BANDWIDTH_UTC_OFFSET,
    &keys::S3_CONNECT_TIMEOUT,
    &keys::S3_RESPONSE_TIMEOUT,
    &keys::S3_IDLE_TIMEOUT,
    &keys::DELETE_POLICY,
    &keys::DELETE_DELAY,
    &keys::DELETE_LIMIT_PERCENT,
    &keys::DELETE_LIMIT_COUNT,
    &keys::DELETE_LIMIT_WINDOW,
    &keys::LOG_LEVEL,
    &keys::LOG_TRANSFERS,
];

/// The keys with another value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// The keys that can be applied.
    pub live: Vec<&'static str>,
    /// The keys that need a restart.
    pub fixed: Vec<&'static str>,
}

/// Compares the values of `new` with those of `old`. Their origins do not count.
#[must_use]
pub fn changes(old: &LoadedConfig, new: &LoadedConfig) -> Changes {
    let mut changes = Changes::default();
    for EffectiveSetting { key, value, .. } in &new.effective {
        let before = old.effective.iter().find(|before| before.key == *key);
        if before.is_some_and(|before| before.value == *value) {
            continue;
        }
        if is_live(key) { changes.live.push(key) } else { changes.fixed.push(key) }
    }
    let key_file = keys::S3_SSE_CUSTOMER_KEY_FILE.name;
    let other_key = old.config.customer_key != new.config.customer_key;
    if other_key && !changes.fixed.contains(&key_file) {
        // The file has another content.
        changes.fixed.push(key_file);
    }
    changes
}

/// Whether the key is applied without a restart.
pub(super) fn is_live(name: &str) -> bool {
    LIVE.iter().any(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigSources, load};
    use std::collections::BTreeMap;
    use std::fs;

    fn loaded(text: &str) -> LoadedConfig {
        let directory = tempfile::tempdir().expect("a directory");
        let text = format!("watch_path: /data\ns3_bucket: my-bucket\nstate_dir: /state\n{text}");
        fs::write(directory.path().join("config.yml"), text).expect("a file");
        let mut sources = ConfigSources::new(BTreeMap::new(), directory.path().to_owned());
        let debounce = ("FILE_SYNC__DEBOUNCE_MILLISECONDS".into(), "7".into());
        sources.environment.extend([debounce]);
        // Both differ in the working directory only.
        sources.flags.push(("termination_message_path".into(), "/none".into()));
        load(&sources).expect("valid")
    }

    #[test]
    fn changes_are_values_and_not_lines() {
        let old = loaded("ignore: [a]\n");
        assert_eq!(changes(&old, &loaded("# moved\n\nignore: ['a']\n")), Changes::default());
        assert_eq!(changes(&old, &loaded("ignore: [b]\n")).live, ["ignore"]);
        assert_eq!(changes(&old, &loaded("ignore: [a]\ns3_prefix: x\n")).fixed, ["s3_prefix"]);
        // A variable overrides the file, before and after.
        let hidden = loaded("ignore: [a]\ndebounce_milliseconds: 9\n");
        assert_eq!(changes(&old, &hidden), Changes::default());
    }

    #[test]
    fn a_rule_that_differs_in_anything_is_a_change() {
        let rule = |rest| loaded(&format!("object_rules:\n  - match: '*.a'\n    {rest}\n"));
        let old = rule("metadata: {x: '1'}");
        assert_eq!(changes(&old, &rule("metadata: {x: '2'}")).live, ["object_rules"]);
        assert_eq!(changes(&old, &rule("tags: {x: '1'}")).live, ["object_rules"]);
    }
}
