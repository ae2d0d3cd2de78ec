//! Which names are mirrored: patterns in gitignore syntax.
//!
//! The defaults are patterns like any other and come first, so a pattern of the user's can take one
//! of them back (`!.well-known/`). As in git, nothing below an ignored directory can be wanted again.
//! Where several processes share the directory, what is another one's is not wanted either.

use crate::model::{RelPath, Share};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Hidden names, and files that editors and downloads leave while they work: the original service's
/// rules, for directories too, and the directory `fsck` makes.
pub const DEFAULT_PATTERNS: [&str; 6] = [".*", "*.tmp", "*.swp", "*~", "*.tmp.*", "lost+found"];

/// What to ignore.
#[derive(Debug, Clone, Hash)]
pub struct Settings {
    /// Whether [`DEFAULT_PATTERNS`] apply.
    pub defaults: bool,
    /// Further patterns; a later one wins over an earlier one.
    pub patterns: Vec<String>,
    /// What is this process's.
    pub share: Share,
}

/// A pattern that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern {pattern:?} is not valid gitignore syntax: {reason}")]
pub struct PatternError {
    /// As written.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Decides whether a name is mirrored.
#[derive(Debug, Clone)]
pub struct Filter {
    ignored: Gitignore,
    share: Share,
    /// Nothing but [`DEFAULT_PATTERNS`] applies.
    plain: bool,
    digest: u64,
}

impl Filter {
    /// Compiles the patterns.
    ///
    /// # Errors
    ///
    /// Names every pattern that is none.
    pub fn new(settings: &Settings) -> Result<Self, Vec<PatternError>> {
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
                let (share, digest) = (settings.share, digest(settings));
                Ok(Self { ignored, share, plain, digest })
            }
            Ok(_) => Err(errors),
            Err(error) => {
                errors.push(PatternError { pattern: String::new(), reason: error.to_string() });
                Err(errors)
            }
        }
    }

    /// Two that differ want different names, within one run of the program.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Whether this entry of a wanted directory is wanted.
    #[must_use]
    pub fn wants_entry(&self, path: &RelPath, is_directory: bool) -> bool {
        path.is_root() || (self.has(path, is_directory) && !self.ignores(path, is_directory))
    }

    fn ignores(&self, path: &RelPath, is_directory: bool) -> bool {
        // Asked a million times in a comparison: a tenth of its CPU was the expressions.
        if self.plain {
            return is_ignored_by_default(path.file_name());
        }
        matches!(self.ignored.matched(path.as_path(), is_directory), Match::Ignore(_))
    }

    /// Whether the file `path` is this process's, wanted or not.
    #[must_use]
    pub fn is_own(&self, path: &RelPath) -> bool {
        self.share.has_file(path)
    }

    fn has(&self, path: &RelPath, is_directory: bool) -> bool {
        if is_directory { self.share.has_directory(path) } else { self.share.has_file(path) }
    }

    /// Whether the file `path` and every directory above it are wanted.
    #[must_use]
    pub fn wants_file(&self, path: &RelPath) -> bool {
        self.wants_entry(path, false) && self.wants_parents(path)
    }

    /// Whether the directory `path` and every directory above it are wanted.
    #[must_use]
    pub fn wants_directory(&self, path: &RelPath) -> bool {
        self.wants_entry(path, true) && self.wants_parents(path)
    }

    fn wants_parents(&self, path: &RelPath) -> bool {
        let mut parents = std::iter::successors(path.parent(), RelPath::parent);
        parents.all(|parent| self.wants_entry(&parent, true))
    }
}

/// What [`DEFAULT_PATTERNS`] say, without expressions: all of them are about the last name.
fn is_ignored_by_default(name: &[u8]) -> bool {
    let ends = |end: &[u8]| name.ends_with(end);
    name.starts_with(b".")
        || ends(b".tmp")
        || ends(b".swp")
        || ends(b"~")
        || name == b"lost+found"
        || name.windows(5).any(|part| part == b".tmp.")
}

fn digest(settings: &Settings) -> u64 {
    let mut hasher = DefaultHasher::new();
    settings.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(defaults: bool, patterns: &[&str]) -> Filter {
        let patterns = patterns.iter().map(|&pattern| pattern.into()).collect();
        Filter::new(&Settings { defaults, patterns, share: Share::default() })
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
            name in r"(a|\.|~|\.tmp|\.swp|lost\+found|tmp|/){1,6}", directory: bool,
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
    fn names_that_are_not_utf8_are_matched_by_their_bytes() {
        assert!(!wants(&filter(true, &[]), b"\xff.tmp"));
        assert!(wants(&filter(true, &[]), b"\xff.txt"));
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
            let share = Share::new(index, 2, 1).expect("a part");
            Filter::new(&Settings { defaults: true, patterns: Vec::new(), share }).expect("valid")
        };
        let filters = [of(0), of(1)];
        for name in ["a", "b", "c", "d", "e"] {
            let (file, below) = (path(&format!("{name}/x/file")), path(&format!("{name}/x")));
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
        let settings = Settings { defaults: true, patterns, share: Share::default() };
        let errors = Filter::new(&settings).expect_err("invalid");
        let named: Vec<_> = errors.iter().map(|error| error.pattern.as_str()).collect();
        assert_eq!(named, ["a{b", "c{d"]);
    }
}
