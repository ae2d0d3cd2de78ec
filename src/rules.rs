//! The attributes of objects: the operator's rules for a path, and guesses for the rest.
//!
//! # Invariants
//!
//! - The first matching rule applies exclusively; for fields that it does not set, the defaults
//!   apply.
//! - Patterns are globs relative to the watched directory. `*` and `?` match within a name, `**`
//!   crosses directories, and a pattern without a `/` matches the name in any directory.
//! - [`ObjectAttributes::digest`] depends only on the attributes, so that two runs, or two versions of the
//!   program, agree on it.

mod attributes;
mod customer_key;

pub use attributes::{
    Attributes, Checksum, Encryption, FILE_GROUP, FILE_MTIME, FILE_OWNER, FILE_PERMISSIONS, MODE,
    MTIME, PosixMetadata,
};
pub use customer_key::{CustomerKey, KEY_FILE_BYTES_MAX};

use crate::model::{CacheTags, RelPath};
use crc_fast::{CrcAlgorithm, Digest};
use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};
use std::sync::Arc;

/// The content type of an unknown kind of file.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// One rule of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The pattern of its paths.
    pub pattern: String,
    /// The attributes of their objects.
    pub attributes: Attributes,
}

/// The operator's settings for all objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSettings {
    /// In their order.
    pub rules: Vec<Rule>,
    /// The storage class, unless a rule sets another.
    pub storage_class: Option<String>,
    /// The encryption of every object.
    pub encryption: Option<Encryption>,
    /// The canned ACL, unless a rule sets another.
    pub acl: Option<String>,
    /// The tags of every object, if they carry any.
    pub cache_tags: Option<CacheTags>,
    /// The form of the file's attributes in the metadata of every object.
    pub posix_metadata: PosixMetadata,
}

/// The compiled rules. Matching a path takes one pass over it, however many rules there are.
#[derive(Debug, Clone)]
pub struct Rules {
    patterns: GlobSet,
    /// The attributes of the pattern with the same index.
    attributes: Vec<Arc<Attributes>>,
    /// The attributes of paths without a matching rule.
    otherwise: Arc<Attributes>,
    tags: bool,
    cache_tags: Option<CacheTags>,
}

/// The attributes of an object, besides its bytes and the attributes of its file.
#[derive(Debug, Clone)]
pub struct ObjectAttributes {
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
    /// With the first invalid glob.
    pub fn new(settings: &RuleSettings) -> Result<Self, globset::Error> {
        let mut patterns = GlobSetBuilder::new();
        let complete = |attributes: &Attributes| {
            let storage_class =
                attributes.storage_class.as_ref().or(settings.storage_class.as_ref());
            Arc::new(Attributes {
                storage_class: storage_class.cloned(),
                encryption: settings.encryption.clone(),
                acl: attributes.acl.as_ref().or(settings.acl.as_ref()).cloned(),
                posix_metadata: settings.posix_metadata,
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

    /// The attributes of the object of `path`.
    #[must_use]
    pub fn head(&self, path: &RelPath) -> ObjectAttributes {
        let guessed_type =
            mime_guess::from_path(path.as_path()).first_raw().unwrap_or(UNKNOWN_TYPE);
        let attributes = Arc::clone(self.attributes(path));
        let tags = self.cache_tags.as_ref();
        let cache_tags = tags.and_then(|tags| Some((tags.name().to_owned(), tags.tag_for(path)?)));
        ObjectAttributes { attributes, guessed_type, cache_tags }
    }

    /// Whether there is a rule with tags.
    #[must_use]
    pub fn have_tags(&self) -> bool {
        self.tags
    }

    /// Whether objects carry the owner of their file.
    #[must_use]
    pub fn have_owners(&self) -> bool {
        self.otherwise.posix_metadata.has_s3_files()
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

impl ObjectAttributes {
    /// The attributes from the operator.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Names and values: those of the operator, and the cache tags.
    pub fn metadata(&self) -> impl Iterator<Item = &(String, String)> {
        self.attributes.metadata.iter().chain(&self.cache_tags)
    }

    /// The content type.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.attributes.content_type.as_deref().unwrap_or(self.guessed_type)
    }

    /// A digest of these attributes.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        let mut text = |text: &str| {
            digest.update(text.as_bytes());
            // No header contains this byte, so that adjacent values cannot merge.
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

/// Checks that a pattern can be compiled.
///
/// # Errors
///
/// If it cannot, with the reason.
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
