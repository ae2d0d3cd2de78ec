//! The settings as text: file, environment and flags; later sources override earlier ones.
//!
//! # Invariants
//!
//! - Only keys of the table are stored; every other key is an error.
//! - An empty value counts as not set: with an empty variable, `key:` or `key: ""`, the earlier
//!   source or the default applies.
//! - Each value has its origin.

use super::keys::Key;
use super::layer::Layer;
use super::problem::Problems;
use super::yaml::Raw;
use super::{ConfigSources, environment, file};
use figment::value::Value;
use figment::{Figment, Profile};
use std::collections::BTreeMap;

/// All values; later sources override earlier ones.
pub(super) struct LayeredValues {
    values: Figment,
    /// By source and key: tables are passed on as written, with their lines.
    tables: BTreeMap<(String, &'static str), Vec<Raw>>,
}

impl LayeredValues {
    /// Reads all sources. Returns `None` if the file could not be read at all: missing keys are
    /// then no errors.
    pub(super) fn read(sources: &ConfigSources, problems: &mut Problems) -> Option<Self> {
        let file = file::read(sources, problems);
        let rest =
            [environment::read(sources, problems), environment::read_flags(sources, problems)];
        Some(Self::merge(std::iter::once(file?).chain(rest)))
    }

    /// Reads only variables and flags.
    pub(super) fn without_file(sources: &ConfigSources, problems: &mut Problems) -> Self {
        let variables = environment::read(sources, problems);
        let flags = environment::read_flags(sources, problems);
        Self::merge([variables, flags].into_iter())
    }

    fn merge(layers: impl Iterator<Item = Layer>) -> Self {
        let mut tables = BTreeMap::new();
        let mut values = Figment::new();
        for mut layer in layers {
            for (key, entries) in std::mem::take(&mut layer.tables) {
                tables.insert((layer.name.to_owned(), key), entries);
            }
            values = values.merge(layer);
        }
        Self { values, tables }
    }

    /// The text of a key, and its origin.
    pub(super) fn text(&self, key: &Key) -> Option<(String, String)> {
        let value = self.values.find_value(key.name).ok()?;
        Some((value.into_string()?, self.origin(key)))
    }

    /// The texts of a key with several values, and their origin.
    pub(super) fn list(&self, key: &Key) -> Option<(Vec<String>, String)> {
        let values = self.values.find_value(key.name).ok()?.into_array()?;
        Some((values.into_iter().filter_map(Value::into_string).collect(), self.origin(key)))
    }

    /// The tables of a key, and their origin.
    pub(super) fn tables(&self, key: &Key) -> Option<(&[Raw], String)> {
        let layer = self.values.find_metadata(key.name)?.name.to_string();
        Some((self.tables.get(&(layer, key.name))?, self.origin(key)))
    }

    fn origin(&self, key: &Key) -> String {
        let metadata = self.values.find_metadata(key.name);
        metadata
            .map(|metadata| metadata.interpolate(&Profile::Default, &[key.name]))
            .unwrap_or_default()
    }
}
