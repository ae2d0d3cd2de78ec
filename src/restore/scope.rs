//! Which objects a restore is about, and how an incomplete one is noted in the state: pure.

use crate::model::{RelPath, UnixMillis};
use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

/// The objects that are wanted.
#[derive(Debug, Clone)]
pub struct RestoreScope {
    patterns: Vec<String>,
    /// `None` for all.
    included: Option<GlobSet>,
    at: Option<UnixMillis>,
}

/// A pattern that is not valid.
#[derive(Debug, thiserror::Error)]
#[error(
    "--include {pattern:?} is not a valid pattern: {reason}; write one such as '*.pdf' or 'folder/**'"
)]
pub struct ScopePatternError {
    pattern: String,
    reason: String,
}

impl RestoreScope {
    /// The files that match one of `patterns`, or all if there is none; as they were `at` a time.
    ///
    /// # Errors
    ///
    /// If a pattern is not valid.
    pub fn new(patterns: &[String], at: Option<UnixMillis>) -> Result<Self, ScopePatternError> {
        let mut builder = GlobSetBuilder::new();
        for pattern in patterns {
            for pattern in spelled_out(pattern) {
                let glob = GlobBuilder::new(&pattern).literal_separator(true).build();
                builder.add(glob.map_err(|error| ScopePatternError {
                    pattern: pattern.clone(),
                    reason: error.kind().to_string(),
                })?);
            }
        }
        let built = builder.build().map_err(|error| ScopePatternError {
            pattern: patterns.join(", "),
            reason: error.to_string(),
        });
        let included = if patterns.is_empty() { None } else { Some(built?) };
        let mut patterns = patterns.to_vec();
        patterns.sort_unstable();
        Ok(Self { patterns, included, at })
    }

    /// Whether `path` is wanted.
    #[must_use]
    pub fn includes(&self, path: &RelPath) -> bool {
        let matches = |set: &GlobSet| set.is_match_candidate(&Candidate::new(path.as_path()));
        self.included.as_ref().is_none_or(matches)
    }

    /// The time whose versions are wanted.
    #[must_use]
    pub fn at(&self) -> Option<UnixMillis> {
        self.at
    }

    /// The form in the state.
    #[must_use]
    pub fn to_mark(&self) -> String {
        let at = self.at.map(|at| format!("at {at}\n")).unwrap_or_default();
        let patterns = self.patterns.iter().map(|pattern| format!("include {pattern:?}\n"));
        format!("restore\n{at}{}", patterns.collect::<String>())
    }

    /// Whether the end of this restore is the end of the one that is noted as `mark`.
    #[must_use]
    pub fn completes(&self, mark: &str) -> bool {
        self.is_whole() || self.to_mark() == mark
    }

    /// The mark while this restore runs, where an earlier one has left a `mark`: that of the whole, if
    /// one of them is about the whole, else the earlier one.
    #[must_use]
    pub fn note_over(&self, mark: Option<&str>) -> String {
        let noted = mark.filter(|_| !self.is_whole());
        noted.map_or_else(|| self.to_mark(), str::to_owned)
    }

    /// Whether it is about all objects as they are now.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.included.is_none() && self.at.is_none()
    }
}

/// A pattern without a separator is about names at any depth, and one that names a directory is about
/// everything in it, as in gitignore.
fn spelled_out(pattern: &str) -> [String; 2] {
    let anchored = pattern.trim_end_matches('/').contains('/');
    let plain = pattern.trim_start_matches('/').trim_end_matches('/');
    let pattern = if anchored { plain.to_owned() } else { format!("**/{plain}") };
    let below = format!("{pattern}/**");
    [pattern, below]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(patterns: &[&str]) -> RestoreScope {
        let patterns: Vec<_> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        RestoreScope::new(&patterns, None).expect("valid")
    }

    fn includes(pattern: &str, path: &str) -> bool {
        scope(&[pattern]).includes(&RelPath::new(path.as_bytes()).expect("a path"))
    }

    #[test]
    fn patterns_are_about_names_paths_and_folders() {
        for (pattern, path, included) in [
            ("*.pdf", "a/b.pdf", true),
            ("*.pdf", "a/b.txt", false),
            ("a/*.pdf", "a/b.pdf", true),
            ("a/*.pdf", "a/c/b.pdf", false),
            ("a/**", "a/c/b.pdf", true),
            ("/a/*.pdf", "a/b.pdf", true),
            ("folder", "a/folder/b", true),
            ("folder/", "folder/b/c", true),
            ("a/folder", "a/folder/b", true),
            ("a/folder", "b/a/folder/c", false),
        ] {
            assert_eq!(includes(pattern, path), included, "{pattern} {path}");
        }
        assert!(scope(&[]).includes(&RelPath::new(b"x").expect("a path")));
        RestoreScope::new(&["[".to_owned()], None).expect_err("not valid");
    }

    #[test]
    fn a_part_does_not_complete_the_whole() {
        let whole = scope(&[]);
        let part = scope(&["*.pdf"]);
        assert!(whole.completes(&whole.to_mark()) && whole.completes(&part.to_mark()));
        assert!(part.completes(&part.to_mark()) && !part.completes(&whole.to_mark()));
        assert_eq!(scope(&["a", "b"]).to_mark(), scope(&["b", "a"]).to_mark());
        let earlier = RestoreScope::new(&[], Some(1)).expect("valid");
        assert!(!earlier.completes(&whole.to_mark()) && earlier.completes(&earlier.to_mark()));
        assert!(whole.completes(&earlier.to_mark()));
    }

    #[test]
    fn the_mark_of_the_whole_replaces_that_of_a_part_and_not_the_other_way() {
        let whole = scope(&[]);
        let part = scope(&["*.pdf"]);
        for (now, before, noted) in [
            (&whole, None, &whole),
            (&part, None, &part),
            (&whole, Some(&part), &whole),
            (&part, Some(&whole), &whole),
            (&part, Some(&scope(&["a"])), &scope(&["a"])),
        ] {
            let before = before.map(RestoreScope::to_mark);
            assert_eq!(now.note_over(before.as_deref()), noted.to_mark(), "{before:?}");
        }
    }
}
