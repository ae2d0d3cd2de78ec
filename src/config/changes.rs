//! What a new configuration changes, and whether a running program can take it up.

use super::keys::{self, Key};
use super::{Effective, Loaded};

/// The keys that are taken up without a restart. The others name what the record, the endpoints or the
/// clients are made for.
const LIVE: &[&Key] = &[
    &keys::RETRY_INTERVAL,
    &keys::WATCH_MODE,
    &keys::POLL_INTERVAL,
    &keys::RESCAN_INTERVAL,
    &keys::IGNORE,
    &keys::IGNORE_DEFAULTS,
    &keys::DEBOUNCE,
    &keys::OPEN_FILE_QUIET,
    &keys::DEBOUNCE_MAX,
    &keys::OBJECT_RULES,
    &keys::S3_STORAGE_CLASS,
    &keys::S3_SERVER_SIDE_ENCRYPTION,
    &keys::S3_KMS_KEY_ID,
    &keys::MAX_CONCURRENT_TRANSFERS,
    &keys::MULTIPART_THRESHOLD,
    &keys::MULTIPART_PART_SIZE,
    &keys::TRANSFER_MEMORY,
    &keys::BANDWIDTH_LIMIT,
    &keys::DELETE_POLICY,
    &keys::DELETE_LIMIT_PERCENT,
    &keys::DELETE_LIMIT_COUNT,
    &keys::LOG_LEVEL,
];

/// Which keys have another value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Those that can be taken up.
    pub live: Vec<&'static str>,
    /// Those that need a restart.
    pub fixed: Vec<&'static str>,
}

/// What is not in `new` as it is in `old`. Where a value comes from is nothing of it.
#[must_use]
pub fn changes(old: &Loaded, new: &Loaded) -> Changes {
    let mut changes = Changes::default();
    for Effective { key, value, .. } in &new.effective {
        let before = old.effective.iter().find(|before| before.key == *key);
        if before.is_some_and(|before| before.value == *value) {
            continue;
        }
        if is_live(key) { changes.live.push(key) } else { changes.fixed.push(key) }
    }
    changes
}

/// Whether the key is taken up without a restart.
pub(super) fn is_live(name: &str) -> bool {
    LIVE.iter().any(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};
    use std::collections::BTreeMap;
    use std::fs;

    fn loaded(text: &str) -> Loaded {
        let directory = tempfile::tempdir().expect("a directory");
        let text = format!("watch_path: /data\ns3_bucket: my-bucket\nstate_dir: /state\n{text}");
        fs::write(directory.path().join("config.yml"), text).expect("a file");
        let mut sources = Sources::new(BTreeMap::new(), directory.path().to_owned());
        let debounce = ("FILE_SYNC__DEBOUNCE_MILLISECONDS".into(), "7".into());
        sources.environment.extend([debounce]);
        // Only the working directory differs between two of them.
        sources.flags.push(("termination_message_path".into(), "/none".into()));
        load(&sources).expect("valid")
    }

    #[test]
    fn changes_are_values_and_not_lines() {
        let old = loaded("ignore: [a]\n");
        assert_eq!(changes(&old, &loaded("# moved\n\nignore: ['a']\n")), Changes::default());
        assert_eq!(changes(&old, &loaded("ignore: [b]\n")).live, ["ignore"]);
        assert_eq!(changes(&old, &loaded("ignore: [a]\ns3_prefix: x\n")).fixed, ["s3_prefix"]);
        // A variable is over the file, before and after.
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
