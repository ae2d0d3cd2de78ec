//! Selects the names to mirror: patterns in gitignore syntax.
//!
//! The defaults are ordinary patterns and come first, so that a pattern of the user can include a
//! name again (`!.well-known/`). As in git, nothing below an ignored directory can be included
//! again. If several processes share the directory, paths of other shards are excluded too.

use crate::model::{RelPath, Shard};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Hidden names, and temporary files of programs: the rules of the original service, applied to
/// directories too; the directory of `fsck`; and the temporary names of browsers, download tools,
/// office programs, editors and network file systems.
pub const DEFAULT_PATTERNS: [&str; 22] = [
    ".*",
    "*.tmp",
    "*.swp",
    "*~",
    "*.tmp.*",
    "lost+found",
    "*.part",
    "*.partial",
    "*.crdownload",
    "*.opdownload",
    "*.filepart",
    "*.aria2",
    "*.!ut",
    "*.!qB",
    "~$*",
    "*___jb_tmp___",
    "*___jb_old___",
    "4913",
    r"\#*#",
    ".~lock.*#",
    ".nfs*",
    ".fuse_hidden*",
];

/// Suffixes of excluded names. A name that starts with a dot is hidden.
const DEFAULT_ENDS: [&str; 13] = [
    ".tmp",
    ".swp",
    "~",
    ".part",
    ".partial",
    ".crdownload",
    ".opdownload",
    ".filepart",
    ".aria2",
    ".!ut",
    ".!qB",
    "___jb_tmp___",
    "___jb_old___",
];

/// The names to ignore.
#[derive(Debug, Clone, Hash)]
pub struct FilterSettings {
    /// Whether [`DEFAULT_PATTERNS`] apply.
    pub defaults: bool,
    /// Additional patterns; a later one overrides an earlier one.
    pub patterns: Vec<String>,
    /// The shard of this process.
    pub share: Shard,
}

/// An invalid pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern {pattern:?} is not valid gitignore syntax: {reason}")]
pub struct PatternError {
    /// The pattern as written.
    pub pattern: String,
    /// The problem.
    pub reason: String,
}

/// Decides whether a name is mirrored.
#[derive(Debug, Clone)]
pub struct Filter {
    ignored: Gitignore,
    share: Shard,
    /// Only [`DEFAULT_PATTERNS`] apply.
    plain: bool,
    digest: u64,
    /// Maximum number of bytes of a path.
    room: usize,
}

impl Filter {
    /// Compiles the patterns.
    ///
    /// # Errors
    ///
    /// Names every invalid pattern.
    pub fn new(settings: &FilterSettings) -> Result<Self, Vec<PatternError>> {
        let defaults: &[&str] = if settings.defaults { &DEFAULT_PATTERNS } else { &[] };
        let patterns = defaults.iter().copied().chain(settings.patterns.iter().map(String::as_str));
        let mut builder = GitignoreBuilder::new("");
        let mut errors = Vec::new();
        for pattern in patterns {
            if let Err(error) = builder.add_line(None, pattern) {
                errors.push(PatternError { pattern: pattern.into(), reason: error.to_string() });
            }
        }
        match builder.build() {
            Ok(ignored) if errors.is_empty() => {
                let plain = settings.defaults && settings.patterns.is_empty();
                let share = settings.share;
                let digest = digest(settings);
                Ok(Self { ignored, share, plain, digest, room: usize::MAX })
            }
            Ok(_) => Err(errors),
            Err(error) => {
                errors.push(PatternError { pattern: String::new(), reason: error.to_string() });
                Err(errors)
            }
        }
    }

    /// Excludes directories in which every path has this length or more: a tree without valid keys
    /// can have a million levels.
    #[must_use]
    pub fn within(self, room: usize) -> Self {
        Self { room, ..self }
    }

    /// Whether every path in this directory is too long.
    #[must_use]
    pub fn is_too_deep(&self, directory: &RelPath) -> bool {
        // The shortest name in it, and its separator.
        !directory.is_root() && directory.as_bytes().len().saturating_add(2) > self.room
    }

    /// A number that differs for filters that select different names, within one run of the
    /// program.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Whether this entry of a selected directory is selected.
    #[must_use]
    pub fn wants_entry(&self, path: &RelPath, is_directory: bool) -> bool {
        path.is_root()
            || (self.has(path, is_directory)
                && !self.ignores(path, is_directory)
                && !(is_directory && self.is_too_deep(path)))
    }

    fn ignores(&self, path: &RelPath, is_directory: bool) -> bool {
        // A scan calls this a million times: the expressions used a tenth of its CPU.
        if self.plain {
            return is_ignored_by_default(path.file_name());
        }
        matches!(self.ignored.matched(path.as_path(), is_directory), Match::Ignore(_))
    }

    /// Whether the file `path` belongs to this process, selected or not.
    #[must_use]
    pub fn is_own(&self, path: &RelPath) -> bool {
        self.share.has_file(path)
    }

    fn has(&self, path: &RelPath, is_directory: bool) -> bool {
        if is_directory { self.share.has_directory(path) } else { self.share.has_file(path) }
    }

    /// Whether the file `path` and every directory above it are selected.
    #[must_use]
    pub fn wants_file(&self, path: &RelPath) -> bool {
        self.wants_entry(path, false) && self.wants_parents(path)
    }

    /// Whether the directory `path` and every directory above it are selected.
    #[must_use]
    pub fn wants_directory(&self, path: &RelPath) -> bool {
        self.wants_entry(path, true) && self.wants_parents(path)
    }

    fn wants_parents(&self, path: &RelPath) -> bool {
        let mut parents = std::iter::successors(path.parent(), RelPath::parent);
        parents.all(|parent| self.wants_entry(&parent, true))
    }
}

/// Applies [`DEFAULT_PATTERNS`] without expressions: all of them concern the last name.
fn is_ignored_by_default(name: &[u8]) -> bool {
    name.starts_with(b".")
        || name.starts_with(b"~$")
        || name == b"lost+found"
        || name == b"4913"
        || (name.len() > 1 && name.starts_with(b"#") && name.ends_with(b"#"))
        || DEFAULT_ENDS.iter().any(|end| name.ends_with(end.as_bytes()))
        || name.windows(5).any(|part| part == b".tmp.")
}

fn digest(settings: &FilterSettings) -> u64 {
    let mut hasher = DefaultHasher::new();
    settings.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(defaults: bool, patterns: &[&str]) -> Filter {
        let patterns = patterns.iter().map(|&pattern| pattern.into()).collect();
        Filter::new(&FilterSettings { defaults, patterns, share: Shard::default() })
            .expect("valid patterns")
    }

    fn wants(filter: &Filter, path: &[u8]) -> bool {
        filter.wants_file(&RelPath::new(path).expect("a proper path"))
    }

    #[test]
    fn the_original_services_rules_apply_by_default() {
        let filter = filter(true, &[]);
        for ignored in [
            "a.tmp",
            "sub/a.swp",
            "a~",
            "a.tmp.1",
            ".hidden",
            "sub/.hidden",
            ".git/config",
            "lost+found/1",
        ] {
            assert!(!wants(&filter, ignored.as_bytes()), "{ignored}");
        }
        for wanted in ["a", "sub/a.txt", "tmp", "a.tmpl", "swp", "a~b", "a.b.c", "dir.tmp2/f"] {
            assert!(wants(&filter, wanted.as_bytes()), "{wanted}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_defaults_mean_the_same_with_and_without_expressions(
            name in r"(a|\.|~|\.tmp|\.swp|lost\+found|tmp|/|#|\$|4913|\.part|ial|\.!ut|\.crdownload|___jb_(tmp|old)___|\.aria2){1,6}",
            directory: bool,
        ) {
            let Ok(path) = RelPath::new(name.as_bytes()) else { return Ok(()) };
            let plain = filter(true, &[]);
            let expressions = Filter { plain: false, ..plain.clone() };
            proptest::prop_assert_eq!(
                plain.wants_entry(&path, directory),
                expressions.wants_entry(&path, directory)
            );
        }
    }

    #[test]
    fn a_directory_in_which_no_key_fits_is_not_wanted() {
        let filter = filter(true, &[]).within(5);
        let wants =
            |path: &str| filter.wants_entry(&RelPath::new(path.as_bytes()).expect("a path"), true);
        assert!(wants("abc") && wants("a/c"), "abc/d is five bytes long");
        assert!(!wants("abcd") && !wants("a/cd"));
        assert!(filter.wants_file(&RelPath::new(b"a file of any length").expect("a path")));
    }

    #[test]
    fn names_that_are_not_utf8_are_matched_by_their_bytes() {
        assert!(!wants(&filter(true, &[]), b"\xff.tmp"));
        assert!(wants(&filter(true, &[]), b"\xff.txt"));
    }

    #[test]
    fn temporary_names_of_programs_are_left_out() {
        let filter = filter(true, &[]);
        for temporary in [
            "film.mkv.part",
            "Unconfirmed 1.crdownload",
            "a.opdownload",
            "a.filepart",
            "a.3f2a.partial",
            "a.iso.aria2",
            "a.!ut",
            "a.!qB",
            "~$report.docx",
            "Main.java___jb_tmp___",
            "Main.java___jb_old___",
            "sub/4913",
            "#notes.txt#",
            ".~lock.sheet.ods#",
            ".nfs0000000000a",
            ".fuse_hidden0000",
            ".syncthing.a.txt.tmp",
            "~syncthing~a.txt.tmp",
            "a.ocTransferId1.part",
        ] {
            assert!(!wants(&filter, temporary.as_bytes()), "{temporary}");
        }
        for wanted in [
            "part",
            "a.part1.rar",
            "a.partial.txt",
            "49131",
            "14913",
            "#1 hit.mp3",
            "#",
            "~a",
            "$~a",
            "a.download",
            "a.bak",
            "a.lock",
            "a.old",
            "___jb_tmp___.txt",
        ] {
            assert!(wants(&filter, wanted.as_bytes()), "{wanted}");
        }
    }

    #[test]
    fn a_pattern_can_take_a_default_back() {
        let filter = filter(true, &["!.well-known/"]);
        assert!(wants(&filter, b".well-known/acme"));
        assert!(!wants(&filter, b".git/config"));
    }

    #[test]
    fn patterns_have_gitignore_meaning() {
        let filter = filter(false, &["/build/", "*.log", "!keep.log", "docs/**/draft"]);
        assert!(!wants(&filter, b"build/a"));
        assert!(wants(&filter, b"sub/build/a"));
        assert!(!wants(&filter, b"sub/a.log"));
        assert!(wants(&filter, b"sub/keep.log"));
        assert!(!wants(&filter, b"docs/a/b/draft"));
        assert!(wants(&filter, b".hidden"));
    }

    #[test]
    fn what_is_another_process_s_is_not_wanted() {
        let path = |text: &str| RelPath::new(text.as_bytes()).expect("a proper path");
        let of = |index| {
            let share = Shard::new(index, 2, 1).expect("a part");
            Filter::new(&FilterSettings { defaults: true, patterns: Vec::new(), share })
                .expect("valid")
        };
        let filters = [of(0), of(1)];
        for name in ["a", "b", "c", "d", "e"] {
            let file = path(&format!("{name}/x/file"));
            let below = path(&format!("{name}/x"));
            let wanted = filters.each_ref().map(|filter| filter.wants_file(&file));
            assert!(wanted[0] != wanted[1], "{name}");
            assert_eq!(filters.each_ref().map(|filter| filter.wants_directory(&below)), wanted);
            assert_eq!(
                filters.each_ref().map(|filter| filter.wants_entry(&path(name), true)),
                wanted
            );
            assert_eq!(filters.each_ref().map(|filter| filter.is_own(&path(name))), wanted);
        }
        for filter in filters {
            assert!(!filter.wants_file(&path("a/.hidden")) && !filter.wants_file(&path("b.tmp")));
        }
    }

    #[test]
    fn every_invalid_pattern_is_named() {
        let patterns = vec!["ok".into(), "a{b".into(), "c{d".into()];
        let settings = FilterSettings { defaults: true, patterns, share: Shard::default() };
        let errors = Filter::new(&settings).expect_err("invalid");
        let named: Vec<_> = errors.iter().map(|error| error.pattern.as_str()).collect();
        assert_eq!(named, ["a{b", "c{d"]);
    }
}
