//! How objects are stored and served: what the operator's rules say of a path, and what is guessed
//! of it otherwise.
//!
//! # Invariants
//!
//! - The first rule that matches holds, alone; what it leaves open is as if there were no rule.
//! - Patterns are globs from the top of the watched directory. `*` and `?` stay within a name, `**`
//!   crosses directories, and a pattern without a `/` matches the name in any directory.
//! - [`Head::digest`] depends on what the object is to look like and on nothing else, so that two
//!   runs, or two versions of the program, agree on it.

mod attributes;

pub use attributes::{Attributes, Checksum, Encryption};

use crate::model::{CacheTags, RelPath};
use crc_fast::{CrcAlgorithm, Digest};
use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};
use std::sync::Arc;

/// What an object of unknown kind is.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// One rule of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which paths it is about.
    pub pattern: String,
    /// What it says of their objects.
    pub attributes: Attributes,
}

/// What the operator says of all objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// In their order.
    pub rules: Vec<Rule>,
    /// Where no rule says another.
    pub storage_class: Option<String>,
    /// Of every object.
    pub encryption: Option<Encryption>,
    /// The tags of every object, if they carry any.
    pub cache_tags: Option<CacheTags>,
}

/// The rules, compiled. Matching a path takes one pass over it, however many there are.
#[derive(Debug, Clone)]
pub struct Rules {
    patterns: GlobSet,
    /// What holds where the pattern of the same index is the first to match.
    attributes: Vec<Arc<Attributes>>,
    /// What holds where none does.
    otherwise: Arc<Attributes>,
    tags: bool,
    cache_tags: Option<CacheTags>,
}

/// What an object carries beside its bytes and what its file says.
#[derive(Debug, Clone)]
pub struct Head {
    attributes: Arc<Attributes>,
    guessed_type: &'static str,
    /// Name and value.
    cache_tags: Option<(String, String)>,
}

impl Rules {
    /// Compiles the rules.
    ///
    /// # Errors
    ///
    /// With the first pattern that is no glob.
    pub fn new(settings: &Settings) -> Result<Self, globset::Error> {
        let mut patterns = GlobSetBuilder::new();
        let complete = |attributes: &Attributes| {
            let storage_class =
                attributes.storage_class.as_ref().or(settings.storage_class.as_ref());
            Arc::new(Attributes {
                storage_class: storage_class.cloned(),
                encryption: settings.encryption.clone(),
                ..attributes.clone()
            })
        };
        for rule in &settings.rules {
            patterns.add(glob(&rule.pattern)?);
        }
        Ok(Self {
            patterns: patterns.build()?,
            attributes: settings.rules.iter().map(|rule| complete(&rule.attributes)).collect(),
            otherwise: complete(&Attributes::default()),
            tags: settings.rules.iter().any(|rule| !rule.attributes.tags.is_empty()),
            cache_tags: settings.cache_tags.clone(),
        })
    }

    /// What the object of `path` is to look like.
    #[must_use]
    pub fn head(&self, path: &RelPath) -> Head {
        let guessed_type =
            mime_guess::from_path(path.as_path()).first_raw().unwrap_or(UNKNOWN_TYPE);
        let attributes = Arc::clone(self.attributes(path));
        let tags = self.cache_tags.as_ref();
        let cache_tags = tags.and_then(|tags| Some((tags.name().to_owned(), tags.of(path)?)));
        Head { attributes, guessed_type, cache_tags }
    }

    /// Whether there is a rule with tags.
    #[must_use]
    pub fn have_tags(&self) -> bool {
        self.tags
    }

    fn attributes(&self, path: &RelPath) -> &Arc<Attributes> {
        if self.attributes.is_empty() {
            return &self.otherwise;
        }
        let matching = self.patterns.matches_candidate(&Candidate::new(path.as_path()));
        let first = matching.into_iter().min();
        first.and_then(|index| self.attributes.get(index)).unwrap_or(&self.otherwise)
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            patterns: GlobSet::empty(),
            attributes: Vec::new(),
            otherwise: Arc::default(),
            tags: false,
            cache_tags: None,
        }
    }
}

impl Head {
    /// What the operator says.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Names and values, those of the operator and the tags that copies are known by.
    pub fn metadata(&self) -> impl Iterator<Item = &(String, String)> {
        self.attributes.metadata.iter().chain(&self.cache_tags)
    }

    /// What the bytes are, for those who fetch them.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.attributes.content_type.as_deref().unwrap_or(self.guessed_type)
    }

    /// A number that tells this head from another one.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        let mut text = |text: &str| {
            digest.update(text.as_bytes());
            // No header holds this byte, so that what stands on either side cannot flow together.
            digest.update(&[0]);
        };
        text(self.content_type());
        self.attributes.texts(&mut text);
        if let Some((name, value)) = &self.cache_tags {
            text(name);
            text(value);
        }
        digest.finalize()
    }
}

/// Whether this is a pattern that can be compiled.
///
/// # Errors
///
/// If it is not, with the reason.
pub fn check_pattern(pattern: &str) -> Result<(), globset::Error> {
    glob(pattern).map(drop)
}

fn glob(pattern: &str) -> Result<globset::Glob, globset::Error> {
    let pattern = match pattern.strip_prefix('/') {
        Some(from_the_top) => from_the_top.to_owned(),
        None if pattern.contains('/') => pattern.to_owned(),
        None => format!("**/{pattern}"),
    };
    GlobBuilder::new(&pattern).literal_separator(true).backslash_escape(true).build()
}

#[cfg(test)]
mod tests;
