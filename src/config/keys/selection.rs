//! The keys that select files.

use super::{DAY, DefaultValue, Key, ValueKind, key, whole};

pub(super) const SECTION: &[&Key] =
    &[&IGNORE, &IGNORE_DEFAULTS, &FOLLOW_SYMLINKS, &MAX_FILE_SIZE, &MAX_FILES, &MIN_AGE];

pub(in crate::config) const IGNORE: Key = key(
    "ignore",
    ValueKind::List,
    DefaultValue::Value(""),
    "names that are not mirrored, in gitignore syntax, from the top of `watch_path`",
);
pub(in crate::config) const IGNORE_DEFAULTS: Key = key(
    "ignore_defaults",
    ValueKind::Boolean,
    DefaultValue::Value("true"),
    "whether hidden files and directories, `*.tmp`, `*.swp`, `*~`, `*.tmp.*`, `lost+found` and the \
     temporary names of other programs are left out as well: the whole list is in \
     [SEMANTICS.md](SEMANTICS.md#what-is-left-out)",
);
pub(in crate::config) const FOLLOW_SYMLINKS: Key = key(
    "follow_symlinks",
    ValueKind::Choice(&["never", "inside"]),
    DefaultValue::Value("never"),
    "whether a symbolic link to a file beneath `watch_path` is mirrored as that file; see \
     [SEMANTICS.md](SEMANTICS.md#symbolic-links)",
);
pub(in crate::config) const MAX_FILE_SIZE: Key = key(
    "max_file_size_mib",
    whole("MiB", 0, 1 << 30),
    DefaultValue::Value("0"),
    "larger files are left out, with the reason `above-max-file-size`; 0 for no limit but that of S3 and \
     `transfer_memory_mib` (`too-large`)",
);
pub(in crate::config) const MAX_FILES: Key = key(
    "max_files",
    whole("files", 0, 1 << 40),
    DefaultValue::Value("0"),
    "files that this instance keeps in the bucket: while as many are recorded or waiting, new ones are not \
     uploaded, with the reason `above-max-files`; 0 for no limit; see \
     [SEMANTICS.md](SEMANTICS.md#the-number-of-files)",
);
pub(in crate::config) const MIN_AGE: Key = key(
    "min_age_seconds",
    whole("seconds", 0, 365 * DAY),
    DefaultValue::Value("0"),
    "files are sent when their last modification is so long ago, and skipped until then with the reason \
     `below-min-age`; see [SEMANTICS.md](SEMANTICS.md#the-age-of-a-file)",
);
