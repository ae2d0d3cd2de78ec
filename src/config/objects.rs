//! The attributes of objects: rules for file names, and settings for all objects.
//!
//! # Invariants
//!
//! - S3 accepts every setting that passes here: a rule that S3 refuses would block every file
//!   that it matches, and only when one exists.
//! - Each invalid field is a separate error, with its line.

use super::checks;
use super::keys::{self, ValueKind};
use super::problem::{Problem, ValidationMessage, escaped};
use super::reader::SettingReader;
use super::shown::{self, ValueOrigin};
use super::yaml::{Raw, YamlEntry};
use crate::model::{CACHE_TAGS_BYTES_MAX, CacheTags, KeyPrefix};
use crate::rules::{self, Attributes, Checksum, Encryption, PosixMetadata, Rule, RuleSettings};

pub(super) const CHECKSUMS: &[(&str, Checksum)] = &[
    ("crc64nvme", Checksum::Crc64Nvme),
    ("crc32", Checksum::Crc32),
    ("crc32c", Checksum::Crc32c),
    ("none", Checksum::None),
];
const POSIX_METADATA: &[(&str, PosixMetadata)] = &[
    ("none", PosixMetadata::None),
    ("rclone", PosixMetadata::Rclone),
    ("s3-files", PosixMetadata::S3Files),
    ("both", PosixMetadata::Both),
];
/// Whether a key is used, and how often it encrypts.
pub(super) const ENCRYPTIONS: &[(&str, KeyedRule)] =
    &[("AES256", KeyedRule::No), ("aws:kms", KeyedRule::Once), ("aws:kms:dsse", KeyedRule::Twice)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyedRule {
    No,
    Once,
    Twice,
}

/// An upper bound far above practical numbers; each rule is held in memory, compiled.
const RULES_MAX: usize = 500;
/// A pattern matches a path, which is no longer than a key.
const PATTERN_BYTES_MAX: usize = 1024;
/// The limit of S3.
const TAGS_MAX: usize = 10;
const TAG_NAME_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;
/// S3 accepts 2 KiB; our own metadata are a time, a mode and marks.
const METADATA_BYTES_MAX: usize = 2048 - 128;
/// Bytes that the metadata of S3 Files need beside them.
const S3_FILES_BYTES: usize = 128;
/// A length that leaves room for the tags, and is valid in a header.
const CACHE_TAG_NAME_BYTES_MAX: usize = 64;
/// Names of our own metadata, in whatever form the file's attributes are written.
const OURS: [&str; 5] =
    [rules::MTIME, rules::MODE, "file-sync-owner", "file-sync-source", "file-sync-mtime"];

const FIELDS: [&str; 9] = [
    "match",
    "content_type",
    "cache_control",
    "content_disposition",
    "content_encoding",
    "storage_class",
    "acl",
    "metadata",
    "tags",
];

/// Reads the keys for object attributes. Stores other than AWS have their own storage classes.
pub(super) fn settings(reader: &mut SettingReader<'_>, other_store: bool) -> RuleSettings {
    let class = |text: &str| checks::storage_class(text, other_store);
    let posix_metadata = reader.choice(&keys::POSIX_METADATA, POSIX_METADATA).unwrap_or_default();
    RuleSettings {
        rules: rules(reader, other_store, posix_metadata),
        storage_class: reader.text(&keys::S3_STORAGE_CLASS, class),
        encryption: encryption(reader),
        acl: reader.text(&keys::S3_ACL, acl),
        cache_tags: None,
        posix_metadata,
    }
}

/// Maximum bytes of the metadata of a rule, names and values together.
fn metadata_bytes_max(posix_metadata: PosixMetadata) -> usize {
    let s3_files = if posix_metadata.has_s3_files() { S3_FILES_BYTES } else { 0 };
    METADATA_BYTES_MAX - s3_files
}

/// Reads the name of the metadata for CDN tags. It must leave room for the tags, and must not be
/// used by a rule.
pub(super) fn cache_tags(
    reader: &mut SettingReader<'_>,
    objects: &RuleSettings,
    prefix: &KeyPrefix,
) -> Option<CacheTags> {
    let rules = &objects.rules;
    let check = |name: &str| {
        if name.starts_with("x-amz-meta-") {
            let wrong = "is the header S3 makes of it; write what comes after x-amz-meta-";
            return Err(wrong.to_owned());
        }
        metadata_name(name, objects.posix_metadata)?;
        if name.len() > CACHE_TAG_NAME_BYTES_MAX {
            return Err(format!(
                "is longer than {CACHE_TAG_NAME_BYTES_MAX} characters; shorten it"
            ));
        }
        if rules.iter().any(|rule| rule.attributes.metadata.iter().any(|(known, _)| known == name))
        {
            let wrong = "is metadata of a rule of object_rules as well; write another name";
            return Err(wrong.to_owned());
        }
        let room = metadata_bytes_max(objects.posix_metadata);
        let room = room.saturating_sub(CACHE_TAGS_BYTES_MAX + name.len());
        let most = rules.iter().map(|rule| metadata_bytes(&rule.attributes)).max();
        if most.is_some_and(|most| most > room) {
            return Err(format!(
                "leaves {room} bytes for the metadata of object_rules, names and values together, \
                 and a rule has more; shorten it"
            ));
        }
        Ok(())
    };
    let name = reader.text(&keys::CLOUDFRONT_CACHE_TAG, check)?;
    Some(CacheTags::new(&name, prefix))
}

fn metadata_bytes(attributes: &Attributes) -> usize {
    attributes.metadata.iter().map(|(name, value)| name.len() + value.len()).sum()
}

fn encryption(reader: &mut SettingReader<'_>) -> Option<Encryption> {
    let keyed = reader.choice(&keys::S3_SERVER_SIDE_ENCRYPTION, ENCRYPTIONS);
    let key = reader.text(&keys::S3_KMS_KEY_ID, checks::header);
    match (keyed, key) {
        (Some(KeyedRule::Once), key) => Some(Encryption::Kms { key, dual_layer: false }),
        (Some(KeyedRule::Twice), key) => Some(Encryption::Kms { key, dual_layer: true }),
        (other, Some(key)) if reader.sound(&[&keys::S3_SERVER_SIDE_ENCRYPTION]) => {
            let origin = reader.origin(&keys::S3_KMS_KEY_ID);
            let wrong = "is a key that nothing uses; \
                 write s3_server_side_encryption: aws:kms beside it, or remove it";
            reader.refuse(&keys::S3_KMS_KEY_ID, &origin, &key, wrong.to_owned());
            other.map(|_| Encryption::Aes256)
        }
        (other, _) => other.map(|_| Encryption::Aes256),
    }
}

fn rules(
    reader: &mut SettingReader<'_>,
    other_store: bool,
    posix_metadata: PosixMetadata,
) -> Vec<Rule> {
    let key = &keys::OBJECT_RULES;
    let Some((entries, origin)) = reader.tables(key) else {
        reader.note(key, "[]".to_owned(), ValueOrigin::Default);
        return Vec::new();
    };
    let mut found = Vec::new();
    if entries.len() > RULES_MAX {
        let wrong = format!("has {} rules; write {RULES_MAX} at most", entries.len());
        reader.push(Problem::key(&origin, key.name, wrong));
    }
    for (index, entry) in entries.iter().enumerate().take(RULES_MAX) {
        let mut table = RuleTable {
            name: format!("{}, rule {}", key.name, index + 1),
            origin: origin.clone(),
            other_store,
            posix_metadata,
            problems: Vec::new(),
        };
        found.extend(table.rule(entry));
        table.problems.into_iter().for_each(|problem| reader.push(problem));
    }
    let shown: Vec<String> = found.iter().map(show).collect();
    reader.note(key, format!("[{}]", shown.join(", ")), ValueOrigin::Given(origin));
    found
}

/// A rule while it is read.
struct RuleTable {
    /// The name for messages.
    name: String,
    /// The origin of the key; fields of a file have their own lines.
    origin: String,
    other_store: bool,
    posix_metadata: PosixMetadata,
    problems: Vec<Problem>,
}

impl RuleTable {
    fn rule(&mut self, entry: &Raw) -> Option<Rule> {
        let Raw::Table(fields) = entry else {
            let wrong = "is no rule; write 'match: \"*.html\"', and what holds for it below";
            self.problems.push(Problem::key(&self.origin, &self.name, wrong));
            return None;
        };
        let mut rule = Rule { pattern: String::new(), attributes: Attributes::default() };
        let mut seen: Vec<&str> = Vec::new();
        for field in fields {
            if seen.contains(&field.key.as_str()) {
                self.refuse(field, None, "stands there twice; remove one of them".to_owned());
            }
            seen.push(&field.key);
            self.field(field, &mut rule);
        }
        if !seen.contains(&"match") {
            let line = fields.first().map_or(self.origin.clone(), |field| self.place(field.line));
            let wrong = "has no match; write which files it is about, such as match: \"*.html\"";
            self.problems.push(Problem::key(&line, &self.name, wrong));
        }
        self.problems.is_empty().then_some(rule)
    }

    fn field(&mut self, field: &YamlEntry, rule: &mut Rule) {
        let other_store = self.other_store;
        let posix_metadata = self.posix_metadata;
        let attributes = &mut rule.attributes;
        match field.key.as_str() {
            "match" => rule.pattern = self.text(field, pattern).unwrap_or_default(),
            "content_type" => attributes.content_type = self.text(field, checks::content_type),
            "cache_control" => attributes.cache_control = self.text(field, checks::header),
            "content_disposition" => {
                attributes.content_disposition = self.text(field, checks::header);
            }
            "content_encoding" => attributes.content_encoding = self.text(field, checks::header),
            "storage_class" => {
                attributes.storage_class =
                    self.text(field, |text| checks::storage_class(text, other_store));
            }
            "acl" => attributes.acl = self.text(field, acl),
            "metadata" => {
                let check = |name: &str, value: &str| metadata(name, value, posix_metadata);
                attributes.metadata = self.pairs(field, check);
                let size = metadata_bytes(attributes);
                let most = metadata_bytes_max(posix_metadata);
                if size > most {
                    let wrong = format!(
                        "has {size} bytes, names and values together; S3 takes {most} \
                         beside ours"
                    );
                    self.refuse(field, None, wrong);
                }
            }
            "tags" => {
                attributes.tags = self.pairs(field, tag);
                if attributes.tags.len() > TAGS_MAX {
                    let wrong =
                        format!("has {}; S3 takes {TAGS_MAX} at most", attributes.tags.len());
                    self.refuse(field, None, wrong);
                }
            }
            unknown => {
                let nearest = keys::nearest_of(unknown, FIELDS.into_iter()).unwrap_or_default();
                let wrong = format!("there is no such field; did you mean {nearest}?");
                self.refuse(field, None, wrong);
            }
        }
    }

    /// A text that `check` accepts; an empty one counts as no field.
    fn text(
        &mut self,
        field: &YamlEntry,
        check: impl FnOnce(&str) -> Result<(), ValidationMessage>,
    ) -> Option<String> {
        let text = match &field.value {
            Raw::Nothing => "",
            Raw::Text(text) => text,
            Raw::List(_) | Raw::Table(_) => {
                self.refuse(field, None, "takes one text; put it in quotes".to_owned());
                return None;
            }
        };
        if text.is_empty() && field.key != "match" {
            return None;
        }
        match check(text) {
            Ok(()) => Some(text.to_owned()),
            Err(wrong) => {
                self.refuse(field, Some(text), wrong);
                None
            }
        }
    }

    /// Names and values that `check` accepts.
    fn pairs(
        &mut self,
        field: &YamlEntry,
        check: impl Fn(&str, &str) -> Result<(), ValidationMessage>,
    ) -> Vec<(String, String)> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let Raw::Table(entries) = &field.value else {
            if field.value != Raw::Nothing {
                let wrong = "takes names and values; write 'name: value' on lines below it";
                self.refuse(field, None, wrong.to_owned());
            }
            return pairs;
        };
        for entry in entries {
            let value = match &entry.value {
                Raw::Nothing => "",
                Raw::Text(text) => text,
                Raw::List(_) | Raw::Table(_) => {
                    let wrong = format!("{}: takes one text; put it in quotes", field.key);
                    self.refuse(entry, None, wrong);
                    continue;
                }
            };
            if pairs.iter().any(|(name, _)| *name == entry.key) {
                self.refuse(entry, None, "stands there twice; remove one of them".to_owned());
            } else if let Err(wrong) = check(&entry.key, value) {
                self.refuse(entry, Some(value), wrong);
            } else {
                pairs.push((entry.key.clone(), value.to_owned()));
            }
        }
        pairs
    }

    fn refuse(&mut self, field: &YamlEntry, written: Option<&str>, wrong: ValidationMessage) {
        let name = format!("{}, {}", self.name, escaped(&field.key));
        let problem = Problem::key(&self.place(field.line), &name, wrong);
        self.problems.push(match written {
            Some(written) => problem.showing(written),
            None => problem,
        });
    }

    /// A line of the file, if the rules are in a file.
    fn place(&self, line: u64) -> String {
        match self.origin.rsplit_once(':') {
            Some((file, _)) => format!("{file}:{line}"),
            None => self.origin.clone(),
        }
    }
}

fn pattern(text: &str) -> Result<(), ValidationMessage> {
    let right = "write one such as *.html or assets/**";
    if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
        return Err(format!("is no pattern of 1 to {PATTERN_BYTES_MAX} bytes; {right}"));
    }
    if text.trim() != text {
        return Err(format!("starts or ends with white space, which is part of no name; {right}"));
    }
    rules::check_pattern(text).map_err(|error| format!("is no glob: {}; {right}", error.kind()))
}

/// A canned ACL of S3.
fn acl(text: &str) -> Result<(), ValidationMessage> {
    let ValueKind::Choice(known) = keys::S3_ACL.kind else { return Ok(()) };
    if known.contains(&text) {
        return Ok(());
    }
    let nearest = keys::nearest_of(text, known.iter().copied()).unwrap_or_default();
    Err(format!("is not a canned ACL; did you mean {nearest}?"))
}

fn metadata(
    name: &str,
    value: &str,
    posix_metadata: PosixMetadata,
) -> Result<(), ValidationMessage> {
    metadata_name(name, posix_metadata)?;
    checks::header(value)
}

fn metadata_name(name: &str, posix_metadata: PosixMetadata) -> Result<(), ValidationMessage> {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        return Err("is no name for metadata; write small letters, digits, - . and _".to_owned());
    }
    if OURS.contains(&name) || posix_metadata.names().any(|ours| ours == name) {
        return Err("belongs to the name of what is written with every object; write another one"
            .to_owned());
    }
    Ok(())
}

fn tag(name: &str, value: &str) -> Result<(), ValidationMessage> {
    let plain = |char: char| char.is_alphanumeric() || char == ' ' || "+-=._:/@".contains(char);
    let right = format!(
        "names have 1 to {TAG_NAME_CHARS_MAX} and values up to {TAG_VALUE_CHARS_MAX} letters, \
         digits, spaces and + - = . _ : / @"
    );
    if name.is_empty()
        || name.chars().count() > TAG_NAME_CHARS_MAX
        || value.chars().count() > TAG_VALUE_CHARS_MAX
        || !name.chars().chain(value.chars()).all(plain)
    {
        return Err(format!("is no tag that S3 takes; {right}"));
    }
    if name.starts_with("aws:") {
        return Err("is the value of a tag of AWS's own; write another name".to_owned());
    }
    Ok(())
}

/// A rule as YAML on one line.
fn show(rule: &Rule) -> String {
    let attributes = &rule.attributes;
    let mut fields = vec![format!("match: {}", shown::text(&rule.pattern))];
    for (name, value) in [
        ("content_type", &attributes.content_type),
        ("cache_control", &attributes.cache_control),
        ("content_disposition", &attributes.content_disposition),
        ("content_encoding", &attributes.content_encoding),
        ("storage_class", &attributes.storage_class),
        ("acl", &attributes.acl),
    ] {
        fields.extend(value.as_ref().map(|value| format!("{name}: {}", shown::text(value))));
    }
    for (name, pairs) in [("metadata", &attributes.metadata), ("tags", &attributes.tags)] {
        if !pairs.is_empty() {
            let pair = |(name, value): &(String, String)| {
                format!("{}: {}", shown::text(name), shown::text(value))
            };
            let pairs: Vec<String> = pairs.iter().map(pair).collect();
            fields.push(format!("{name}: {{{}}}", pairs.join(", ")));
        }
    }
    format!("{{{}}}", fields.join(", "))
}

#[cfg(test)]
mod tests;
