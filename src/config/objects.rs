//! What objects are to look like: rules for names of files, and what holds for all.
//!
//! # Invariants
//!
//! - Whatever passes here is a request that S3 takes: a rule that S3 refuses would stop every file it
//!   is about, and only once there is one.
//! - Each wrong field is a problem of its own, with its line.

use super::checks;
use super::keys;
use super::problem::{Problem, Wrong, escaped};
use super::reader::Reader;
use super::shown::{self, Origin};
use super::yaml::{Entry, Raw};
use crate::model::{CACHE_TAGS_BYTES_MAX, CacheTags, KeyPrefix};
use crate::rules::{self, Attributes, Checksum, Encryption, Rule};

pub(super) const CHECKSUMS: &[(&str, Checksum)] = &[
    ("crc64nvme", Checksum::Crc64Nvme),
    ("crc32", Checksum::Crc32),
    ("crc32c", Checksum::Crc32c),
    ("none", Checksum::None),
];
/// Whether a key is used, and how often it encrypts.
pub(super) const ENCRYPTIONS: &[(&str, Keyed)] =
    &[("AES256", Keyed::No), ("aws:kms", Keyed::Once), ("aws:kms:dsse", Keyed::Twice)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyed {
    No,
    Once,
    Twice,
}

/// Nobody has so many, and each is held in memory, compiled.
const RULES_MAX: usize = 500;
/// A pattern is about a path, which is no longer than a key.
const PATTERN_BYTES_MAX: usize = 1024;
/// S3's limits.
const TAGS_MAX: usize = 10;
const TAG_NAME_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;
/// What S3 takes is 2 KiB; ours are times, a mode and a mark.
const METADATA_BYTES_MAX: usize = 2048 - 128;
/// What leaves room for the tags, and is a name that headers have.
const CACHE_TAG_NAME_BYTES_MAX: usize = 64;
/// Names of metadata that are ours.
const OURS: [&str; 3] = ["mtime", "mode", "file-sync-owner"];

const FIELDS: [&str; 8] = [
    "match",
    "content_type",
    "cache_control",
    "content_disposition",
    "content_encoding",
    "storage_class",
    "metadata",
    "tags",
];

/// Takes the keys that say what objects look like. Stores other than AWS's have storage classes of
/// their own.
pub(super) fn settings(reader: &mut Reader<'_>, other_store: bool) -> rules::Settings {
    let class = |text: &str| checks::storage_class(text, other_store);
    rules::Settings {
        rules: rules(reader, other_store),
        storage_class: reader.text(&keys::S3_STORAGE_CLASS, class),
        encryption: encryption(reader),
        cache_tags: None,
    }
}

/// Takes the name of the metadata for the tags of a CDN. It must leave room for the tags, and to them.
pub(super) fn cache_tags(
    reader: &mut Reader<'_>,
    rules: &[Rule],
    prefix: &KeyPrefix,
) -> Option<CacheTags> {
    let check = |name: &str| {
        if name.starts_with("x-amz-meta-") {
            let wrong = "is the header S3 makes of it; write what comes after x-amz-meta-";
            return Err(wrong.to_owned());
        }
        metadata_name(name)?;
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
        let room = METADATA_BYTES_MAX.saturating_sub(CACHE_TAGS_BYTES_MAX + name.len());
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

fn encryption(reader: &mut Reader<'_>) -> Option<Encryption> {
    let keyed = reader.choice(&keys::S3_SERVER_SIDE_ENCRYPTION, ENCRYPTIONS);
    let key = reader.text(&keys::S3_KMS_KEY_ID, checks::header);
    match (keyed, key) {
        (Some(Keyed::Once), key) => Some(Encryption::Kms { key, dual_layer: false }),
        (Some(Keyed::Twice), key) => Some(Encryption::Kms { key, dual_layer: true }),
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

fn rules(reader: &mut Reader<'_>, other_store: bool) -> Vec<Rule> {
    let key = &keys::OBJECT_RULES;
    let Some((entries, origin)) = reader.tables(key) else {
        reader.note(key, "[]".to_owned(), Origin::Default);
        return Vec::new();
    };
    let mut found = Vec::new();
    if entries.len() > RULES_MAX {
        let wrong = format!("has {} rules; write {RULES_MAX} at most", entries.len());
        reader.push(Problem::key(&origin, key.name, wrong));
    }
    for (index, entry) in entries.iter().enumerate().take(RULES_MAX) {
        let mut table = Table {
            name: format!("{}, rule {}", key.name, index + 1),
            origin: origin.clone(),
            other_store,
            problems: Vec::new(),
        };
        found.extend(table.rule(entry));
        table.problems.into_iter().for_each(|problem| reader.push(problem));
    }
    let shown: Vec<String> = found.iter().map(show).collect();
    reader.note(key, format!("[{}]", shown.join(", ")), Origin::Given(origin));
    found
}

/// One rule, as it is read.
struct Table {
    /// For people.
    name: String,
    /// Of the key; fields of a file have lines of their own.
    origin: String,
    other_store: bool,
    problems: Vec<Problem>,
}

impl Table {
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

    fn field(&mut self, field: &Entry, rule: &mut Rule) {
        let other_store = self.other_store;
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
            "metadata" => {
                attributes.metadata = self.pairs(field, metadata);
                let size = metadata_bytes(attributes);
                if size > METADATA_BYTES_MAX {
                    let wrong = format!(
                        "has {size} bytes, names and values together; S3 takes {METADATA_BYTES_MAX} \
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
                let wrong = format!("there is no such field; the nearest is {nearest}");
                self.refuse(field, None, wrong);
            }
        }
    }

    /// A text that `check` accepts; nothing written is as good as no field at all.
    fn text(
        &mut self,
        field: &Entry,
        check: impl FnOnce(&str) -> Result<(), Wrong>,
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
        field: &Entry,
        check: fn(&str, &str) -> Result<(), Wrong>,
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

    fn refuse(&mut self, field: &Entry, written: Option<&str>, wrong: Wrong) {
        let name = format!("{}, {}", self.name, escaped(&field.key));
        let problem = Problem::key(&self.place(field.line), &name, wrong);
        self.problems.push(match written {
            Some(written) => problem.showing(written),
            None => problem,
        });
    }

    /// A line of the file, if that is where the rules stand.
    fn place(&self, line: u64) -> String {
        match self.origin.rsplit_once(':') {
            Some((file, _)) => format!("{file}:{line}"),
            None => self.origin.clone(),
        }
    }
}

fn pattern(text: &str) -> Result<(), Wrong> {
    let right = "write one such as *.html or assets/**";
    if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
        return Err(format!("is no pattern of 1 to {PATTERN_BYTES_MAX} bytes; {right}"));
    }
    rules::check_pattern(text).map_err(|error| format!("is no glob: {}; {right}", error.kind()))
}

fn metadata(name: &str, value: &str) -> Result<(), Wrong> {
    metadata_name(name)?;
    checks::header(value)
}

fn metadata_name(name: &str) -> Result<(), Wrong> {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        return Err("is no name for metadata; write small letters, digits, - . and _".to_owned());
    }
    if OURS.contains(&name) {
        return Err("belongs to the name of what is written with every object; write another one"
            .to_owned());
    }
    Ok(())
}

fn tag(name: &str, value: &str) -> Result<(), Wrong> {
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

/// A rule as YAML, on one line.
fn show(rule: &Rule) -> String {
    let attributes = &rule.attributes;
    let mut fields = vec![format!("match: {}", shown::text(&rule.pattern))];
    for (name, value) in [
        ("content_type", &attributes.content_type),
        ("cache_control", &attributes.cache_control),
        ("content_disposition", &attributes.content_disposition),
        ("content_encoding", &attributes.content_encoding),
        ("storage_class", &attributes.storage_class),
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
