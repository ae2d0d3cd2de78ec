//! One source of the settings, key by key.

use super::keys::{self, Key, ValueKind};
use super::problem::Problem;
use super::yaml::Raw;
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};
use std::collections::BTreeMap;

/// One source: values by key, and the origin of each.
pub(super) struct Layer {
    pub(super) name: &'static str,
    values: Dict,
    pub(super) tables: BTreeMap<&'static str, Vec<Raw>>,
    origins: BTreeMap<&'static str, String>,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        let origins = self.origins.clone();
        Metadata::named(self.name).interpolater(move |_: &Profile, keys: &[&str]| {
            keys.first().and_then(|key| origins.get(key)).cloned().unwrap_or_default()
        })
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

impl Layer {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, values: Dict::new(), tables: BTreeMap::new(), origins: BTreeMap::new() }
    }

    /// Stores one key, or reports an error. `spell` formats a key for this source.
    pub(super) fn take(
        &mut self,
        written: &str,
        raw: Raw,
        origin: &str,
        spell: fn(&str) -> String,
    ) -> Result<(), Problem> {
        let Some(key) = keys::find(written) else {
            return Err(Problem::key(origin, written, why_not(written, spell)));
        };
        if let Some(earlier) = self.origins.get(key.name) {
            let message = format!("stands there twice, first at {earlier}; remove one of them");
            return Err(Problem::key(origin, written, message));
        }
        let problem = |why| Problem::key(origin, written, why);
        if matches!(key.kind, ValueKind::Tables) {
            if let Some(entries) = entries(raw).map_err(problem)? {
                // The value only marks whose tables apply.
                self.values.insert(key.name.to_owned(), Value::from(true));
                self.tables.insert(key.name, entries);
            }
        } else if let Some(value) = value(key, raw).map_err(problem)? {
            self.values.insert(key.name.to_owned(), value);
        }
        self.origins.insert(key.name, origin.to_owned());
        Ok(())
    }

    /// Stores a text, replacing the previous one of this source.
    pub(super) fn put(&mut self, key: &'static Key, text: &str, origin: &str) {
        self.values.insert(key.name.to_owned(), Value::from(text));
        self.origins.insert(key.name, origin.to_owned());
    }
}

/// Why a name is not a key of this version, and what to do.
fn why_not(written: &str, spell: fn(&str) -> String) -> String {
    if let Some((_, instead)) = keys::REPLACED.iter().find(|(name, _)| *name == written) {
        return format!("belongs to an earlier build; {instead}");
    }
    format!("there is no such key; did you mean {}?", spell(keys::nearest(written)))
}

/// The tables of a key with any number of them; `None` for an empty value.
fn entries(raw: Raw) -> Result<Option<Vec<Raw>>, String> {
    match raw {
        Raw::Nothing => Ok(None),
        Raw::Text(text) if text.is_empty() => Ok(None),
        Raw::List(entries) => Ok(Some(entries)),
        Raw::Text(_) | Raw::Table(_) => Err("takes a list of rules; write one \
             '- match: \"*.html\"' for each, and what holds for it below"
            .to_owned()),
    }
}

/// The value in the form of its key; `None` for an empty value.
fn value(key: &Key, raw: Raw) -> Result<Option<Value>, String> {
    let several = matches!(key.kind, ValueKind::List);
    match raw {
        Raw::Nothing => Ok(None),
        Raw::Text(text) if text.is_empty() => Ok(None),
        Raw::Text(_) if several => {
            Err("takes a list; write [\"first\", \"second\"], or one '- entry' on each line"
                .to_owned())
        }
        Raw::Text(text) if text.trim() != text => Err("starts or ends with white space, which \
             belongs to no value; remove it, and write a block as '|-', without its last line break"
            .to_owned()),
        Raw::Text(text) => Ok(Some(Value::from(text))),
        Raw::List(entries) if several => {
            let text = |entry| match entry {
                Raw::Text(text) => Ok(Value::from(text)),
                Raw::Nothing | Raw::List(_) | Raw::Table(_) => {
                    Err("has an entry that is no text; put each entry in quotes".to_owned())
                }
            };
            let entries: Vec<Value> = entries.into_iter().map(text).collect::<Result<_, _>>()?;
            Ok(Some(Value::from(entries)))
        }
        Raw::List(_) => Err("takes one value, and here is a list of them".to_owned()),
        Raw::Table(_) if several => Err("takes a list, and here are keys and values".to_owned()),
        Raw::Table(_) => Err("takes one value, and here are keys and values; \
             put a value that starts with { in quotes"
            .to_owned()),
    }
}
