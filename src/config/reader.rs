//! Reads values one by one: checks each, remembers the result, and collects errors.
//!
//! # Invariants
//!
//! - An invalid value leaves a placeholder and an error: [`SettingReader::finish`] returns no
//!   placeholder.
//! - Checks over several keys run only if each of them is valid, so that one mistake causes one
//!   error.

use super::environment::variable;
use super::keys::{self, DefaultValue, Key, ValueKind};
use super::layers::LayeredValues;
use super::problem::{Problem, Problems, ValidationMessage};
use super::shown::{self, EffectiveSetting, ValueOrigin};
use super::yaml::Raw;
use super::{ConfigSources, checks, places};
use std::path::{Path, PathBuf};

/// The sources, and the results so far.
pub(super) struct SettingReader<'a> {
    pub(super) sources: &'a ConfigSources,
    written: &'a LayeredValues,
    problems: Problems,
    effective: Vec<EffectiveSetting>,
}

impl<'a> SettingReader<'a> {
    pub(super) fn new(
        sources: &'a ConfigSources,
        written: &'a LayeredValues,
        problems: Problems,
    ) -> Self {
        Self { sources, written, problems, effective: Vec::new() }
    }

    /// Returns the value of every key, or all errors, in the order of the table.
    pub(super) fn finish(mut self) -> Result<Vec<EffectiveSetting>, Problems> {
        let place = |key: &str| keys::all().position(|known| known.name == key);
        if !self.problems.is_empty() {
            self.problems.sort_by_key(place);
            return Err(self.problems);
        }
        self.effective.sort_by_key(|effective| place(effective.key));
        Ok(self.effective)
    }

    /// Validates a value with `check`; `show` formats the result as YAML. Returns `None` if there
    /// is neither a value nor a default, or if it is invalid.
    pub(super) fn checked<T>(
        &mut self,
        key: &'static Key,
        check: impl FnOnce(&str, &ValueOrigin) -> Result<T, ValidationMessage>,
        show: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let (text, origin) = self.text_or_default(key)?;
        match check(&text, &origin) {
            Ok(value) => {
                self.note(key, show(&value), origin);
                Some(value)
            }
            Err(wrong) => {
                self.refuse(key, &origin, &text, wrong);
                None
            }
        }
    }

    fn text_or_default(&mut self, key: &'static Key) -> Option<(String, ValueOrigin)> {
        if let Some((text, origin)) = self.written.text(key) {
            return Some((text, ValueOrigin::Given(origin)));
        }
        match key.absent {
            DefaultValue::Value(text) => return Some((text.to_owned(), ValueOrigin::Default)),
            DefaultValue::Then(then) => self.note(key, String::new(), ValueOrigin::Unset(then)),
            // A value that was refused while it was read is not missing.
            DefaultValue::Refused if !self.problems.about(key.name) => self.missing(key),
            DefaultValue::Refused => {}
        }
        None
    }

    /// A text that `check` accepts.
    pub(super) fn text(
        &mut self,
        key: &'static Key,
        check: impl FnOnce(&str) -> Result<(), ValidationMessage>,
    ) -> Option<String> {
        let check = |text: &str, _: &ValueOrigin| check(text).map(|()| text.to_owned());
        self.checked(key, check, |text| shown::text(text))
    }

    pub(super) fn boolean(&mut self, key: &'static Key) -> bool {
        self.checked(key, |text, _| checks::boolean(text), bool::to_string).unwrap_or_default()
    }

    pub(super) fn whole(&mut self, key: &'static Key) -> u64 {
        let example = default_text(key);
        let check = |text: &str, _: &ValueOrigin| match key.kind {
            ValueKind::Whole { unit, min, max } => checks::whole(text, unit, min, max, example),
            _ => Err("is not a whole number".to_owned()),
        };
        self.checked(key, check, u64::to_string).unwrap_or_default()
    }

    /// One of the words of the key, and its meaning.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static Key,
        meanings: &[(&'static str, T)],
    ) -> Option<T> {
        let words = if let ValueKind::Choice(words) = key.kind { words } else { &[] };
        let check = |text: &str, _: &ValueOrigin| {
            let meant = meanings.iter().copied().find(|(word, _)| *word == text);
            meant.ok_or_else(|| format!("is none of the choices; write {}", words.join(" or ")))
        };
        self.checked(key, check, |(word, _)| (*word).to_owned()).map(|(_, value)| value)
    }

    /// A path, made absolute from `base`.
    pub(super) fn path(&mut self, key: &'static Key, base: &Path) -> Option<PathBuf> {
        let check = |text: &str, _: &ValueOrigin| places::absolute(base, text);
        self.checked(key, check, |path| shown::path(path))
    }

    /// Several texts, each of which `check` accepts.
    pub(super) fn list(
        &mut self,
        key: &'static Key,
        check: impl Fn(&str) -> Result<(), ValidationMessage>,
    ) -> Vec<String> {
        let (texts, origin) = match self.written.list(key) {
            Some((texts, origin)) => (texts, ValueOrigin::Given(origin)),
            None => (Vec::new(), ValueOrigin::Default),
        };
        for text in &texts {
            if let Err(wrong) = check(text) {
                self.refuse(key, &origin, text, wrong);
            }
        }
        self.note(key, shown::list(&texts), origin);
        texts
    }

    /// The tables of a key, and their origin.
    pub(super) fn tables(&self, key: &'static Key) -> Option<(&'a [Raw], String)> {
        self.written.tables(key)
    }

    /// Adds an error.
    pub(super) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Records the effective value of a key, replacing the previous one.
    pub(super) fn note(&mut self, key: &'static Key, value: String, origin: ValueOrigin) {
        self.effective.retain(|effective| effective.key != key.name);
        self.effective.push(EffectiveSetting { key: key.name, value, origin });
    }

    /// The origin of a value that was read before.
    pub(super) fn origin(&self, key: &Key) -> ValueOrigin {
        let effective = self.effective.iter().find(|effective| effective.key == key.name);
        effective.map_or(ValueOrigin::Default, |effective| effective.origin.clone())
    }

    /// Whether none of these keys has an error.
    pub(super) fn sound(&self, keys: &[&Key]) -> bool {
        !keys.iter().any(|key| self.problems.about(key.name))
    }

    pub(super) fn refuse(
        &mut self,
        key: &Key,
        origin: &ValueOrigin,
        written: &str,
        wrong: ValidationMessage,
    ) {
        let mut problem = Problem::key("", key.name, wrong).showing(written);
        problem.origin = match origin {
            ValueOrigin::Given(place) => Some(place.clone()),
            ValueOrigin::Default | ValueOrigin::Unset(_) => None,
        };
        self.problems.push(problem);
    }

    /// Reports a key that has to be set, with the reason.
    pub(super) fn missing_because(&mut self, key: &Key, why: &str) {
        let file = super::problem::escaped(&self.sources.file.to_string_lossy());
        let path = self.sources.working_directory.join(&self.sources.file);
        let absent = if path.try_exists().unwrap_or(true) { "" } else { ", which does not exist," };
        let meaning = key.meaning.replace('`', "");
        let variable = variable(key.name);
        let message = format!("{why}: {meaning}; write it into {file}{absent} or set {variable}");
        let key = Some(key.name.to_owned());
        self.problems.push(Problem { origin: None, key, value: None, message });
    }

    fn missing(&mut self, key: &Key) {
        self.missing_because(key, "is required and not set");
    }
}

/// The default of a key, as it would be written.
pub(super) fn default_text(key: &Key) -> &'static str {
    match key.absent {
        DefaultValue::Value(text) => text,
        DefaultValue::Refused | DefaultValue::Then(_) => "",
    }
}
