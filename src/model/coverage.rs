//! Coverage gaps: paths whose present state is known not to be in S3, and the reasons. Every answer
//! about being in sync is derived from them.

/// Why a path below the watched directory may not be in S3 in its present state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GapReason {
    /// A file or a directory cannot be read.
    Unreadable,
    /// An error prevented the complete listing of a directory.
    Unlisted,
    /// Changes may have caused no event, and the tree was not scanned since.
    Unwatched,
    /// A file changes during every read.
    Restless,
    /// Deletes are held, or the watched directory is empty.
    Held,
    /// A new file is above `max_files`.
    OverLimit,
    /// A file has no valid key in S3, or the settings exclude it.
    Skipped,
}

/// The reason of a queue entry of a new file above `max_files`.
pub const ABOVE_MAX_FILES: &str = "above-max-files";

/// The reason of a queue entry while the watched directory is empty, so that no absence is believed.
pub const WATCHED_DIRECTORY_EMPTY: &str = "the watched directory is empty";

/// Words in the reason of a skipped queue entry, with their meaning. Every other reason counts as
/// unreadable, so that an unknown reason never counts as skipped.
const WORDS: [(&str, GapReason); 10] = [
    (WATCHED_DIRECTORY_EMPTY, GapReason::Held),
    ("the watched directory cannot be read", GapReason::Unreadable),
    (ABOVE_MAX_FILES, GapReason::OverLimit),
    ("utf-8", GapReason::Skipped),
    ("the key would be", GapReason::Skipped),
    ("name", GapReason::Skipped),
    ("too-large", GapReason::Skipped),
    ("above-max-file-size", GapReason::Skipped),
    ("below-min-age", GapReason::Skipped),
    // A mounted file system is excluded, and so are the files that it hides.
    ("another file system is mounted there", GapReason::Skipped),
];

impl GapReason {
    /// All reasons.
    pub const ALL: [Self; 7] = [
        Self::Unreadable,
        Self::Unlisted,
        Self::Unwatched,
        Self::Restless,
        Self::Held,
        Self::OverLimit,
        Self::Skipped,
    ];

    /// The name in JSON and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Unlisted => "unlisted",
            Self::Unwatched => "unwatched",
            Self::Restless => "restless",
            Self::Held => "held",
            Self::OverLimit => "over-limit",
            Self::Skipped => "skipped",
        }
    }

    /// The reason of a skipped queue entry, from its text.
    #[must_use]
    pub fn from_skip_reason(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let known = WORDS.iter().find(|(word, _)| match *word {
            // A separate code, which other texts contain as a word.
            "name" => text == "name",
            word => text.contains(word),
        });
        known.map_or(Self::Unreadable, |(_, reason)| *reason)
    }

    /// Whether a command that promises that everything is in S3 fails because of it. A skipped file
    /// will never be there, and is reported by number instead.
    #[must_use]
    pub fn fails_commands(self) -> bool {
        self != Self::Skipped
    }

    fn sentence(self, count: u64) -> String {
        let many =
            |one: &str, more: &str| if count == 1 { one.to_owned() } else { more.to_owned() };
        match self {
            Self::Unreadable => {
                format!("{count} {}", many("path cannot be read", "paths cannot be read"))
            }
            Self::Unlisted => format!(
                "{count} {}",
                many(
                    "path could not be read because of an error",
                    "paths could not be read because of errors"
                )
            ),
            Self::Unwatched if count == 1 => {
                "1 directory has no watch and was not compared since".to_owned()
            }
            Self::Unwatched => {
                format!("{count} directories have no watch and were not compared since")
            }
            Self::Restless => {
                format!(
                    "{count} {}",
                    many("file changes whenever it is read", "files change whenever they are read")
                )
            }
            Self::Held => {
                format!("{count} {}", many("change is held back", "changes are held back"))
            }
            Self::OverLimit => format!(
                "{count} {}",
                many("new file is above max_files", "new files are above max_files")
            ),
            Self::Skipped => format!(
                "{count} {}",
                many(
                    "file is skipped, because S3 cannot take it or the settings exclude it",
                    "files are skipped, because S3 cannot take them or the settings exclude them"
                )
            ),
        }
    }
}

/// The number of gaps by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CoverageGaps([u64; GapReason::ALL.len()]);

impl CoverageGaps {
    /// Adds `count` gaps of this reason.
    pub fn add(&mut self, reason: GapReason, count: u64) {
        self.0[reason as usize] += count;
    }

    /// The number of gaps of this reason.
    #[must_use]
    pub fn count(&self, reason: GapReason) -> u64 {
        self.0[reason as usize]
    }

    /// Whether everything is covered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }

    /// Iterates over all reasons and their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (GapReason, u64)> + '_ {
        GapReason::ALL.into_iter().map(|reason| (reason, self.count(reason)))
    }

    /// The number of gaps that make a command fail that promises that everything is in S3.
    #[must_use]
    pub fn failures(&self) -> u64 {
        let failing = self.iter().filter(|(reason, _)| reason.fails_commands());
        failing.map(|(_, count)| count).sum()
    }

    /// A summary as a sentence without file names; `None` if everything is covered.
    #[must_use]
    pub fn cause(&self) -> Option<String> {
        let met = self.iter().filter(|(_, count)| *count > 0);
        let sentences: Vec<_> = met.map(|(reason, count)| reason.sentence(count)).collect();
        (!sentences.is_empty()).then(|| sentences.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_is_known_to_be_left_out_is_skipped() {
        for (text, expected) in [
            ("file name is not valid UTF-8; S3 requires UTF-8 keys", GapReason::Skipped),
            ("the key would be 1100 bytes long, and S3 takes 1024 at most", GapReason::Skipped),
            ("name", GapReason::Skipped),
            ("too-large", GapReason::Skipped),
            ("above-max-file-size", GapReason::Skipped),
            ("below-min-age", GapReason::Skipped),
            (ABOVE_MAX_FILES, GapReason::OverLimit),
            ("permission-denied", GapReason::Unreadable),
            ("its directory cannot be read: permission denied", GapReason::Unreadable),
            ("Input/output error (os error 5)", GapReason::Unreadable),
            ("File name too long (os error 36)", GapReason::Unreadable),
            ("the watched directory is empty", GapReason::Held),
            ("a reason of a later version", GapReason::Unreadable),
        ] {
            assert_eq!(GapReason::from_skip_reason(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_gap_is_without_a_word_and_only_skipped_files_fail_nothing(
            counts in prop::array::uniform7(0_u64..3),
        ) {
            let mut gaps = CoverageGaps::default();
            for (reason, count) in GapReason::ALL.into_iter().zip(counts) {
                gaps.add(reason, count);
            }
            let total: u64 = counts.iter().sum();
            prop_assert_eq!(gaps.is_empty(), total == 0);
            prop_assert_eq!(gaps.cause().is_none(), total == 0);
            prop_assert_eq!(gaps.failures(), total - gaps.count(GapReason::Skipped));
        }
    }
}
