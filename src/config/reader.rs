//! Takes values one by one: checks each, remembers what came of it, and collects what is wrong.
//!
//! # Invariants
//!
//! - A value that is wrong leaves a placeholder behind and a problem: [`Reader::finish`] lets no
//!   placeholder out.
//! - Checks over several keys run only where each of them is sound alone, so that one mistake makes
//!   one problem.

use super::environment::variable;
use super::keys::{self, Absent, Key, Kind};
use super::problem::{Problem, Problems, Wrong};
use super::shown::{self, Effective, Origin};
use super::written::Written;
use super::yaml::Raw;
use super::{Sources, checks, places};
use std::path::{Path, PathBuf};

/// What is read, and what was found so far.
pub(super) struct Reader<'a> {
    pub(super) sources: &'a Sources,
    written: &'a Written,
    problems: Problems,
    effective: Vec<Effective>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(sources: &'a Sources, written: &'a Written, problems: Problems) -> Self {
        Self { sources, written, problems, effective: Vec::new() }
    }

    /// Every key's value, or everything that is wrong, in the order of the table.
    pub(super) fn finish(mut self) -> Result<Vec<Effective>, Problems> {
        let place = |key: &str| keys::all().position(|known| known.name == key);
        if !self.problems.is_empty() {
            self.problems.sort_by_key(place);
            return Err(self.problems);
        }
        self.effective.sort_by_key(|effective| place(effective.key));
        Ok(self.effective)
    }

    /// Takes a value through `check`; `show` writes what came of it as YAML. `None` if nothing was
    /// written and there is no default, or if it is wrong.
    pub(super) fn checked<T>(
        &mut self,
        key: &'static Key,
        check: impl FnOnce(&str, &Origin) -> Result<T, Wrong>,
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

    fn text_or_default(&mut self, key: &'static Key) -> Option<(String, Origin)> {
        if let Some((text, origin)) = self.written.text(key) {
            return Some((text, Origin::Given(origin)));
        }
        match key.absent {
            Absent::Value(text) => return Some((text.to_owned(), Origin::Default)),
            Absent::Then(then) => self.note(key, String::new(), Origin::Unset(then)),
            // A value that was refused while it was read is not missing.
            Absent::Refused if !self.problems.about(key.name) => self.missing(key),
            Absent::Refused => {}
        }
        None
    }

    /// A text that `check` accepts.
    pub(super) fn text(
        &mut self,
        key: &'static Key,
        check: impl FnOnce(&str) -> Result<(), Wrong>,
    ) -> Option<String> {
        let check = |text: &str, _: &Origin| check(text).map(|()| text.to_owned());
        self.checked(key, check, |text| shown::text(text))
    }

    pub(super) fn boolean(&mut self, key: &'static Key) -> bool {
        self.checked(key, |text, _| checks::boolean(text), bool::to_string).unwrap_or_default()
    }

    pub(super) fn whole(&mut self, key: &'static Key) -> u64 {
        let example = default_text(key);
        let check = |text: &str, _: &Origin| match key.kind {
            Kind::Whole { unit, min, max } => checks::whole(text, unit, min, max, example),
            _ => Err("is no whole number".to_owned()),
        };
        self.checked(key, check, u64::to_string).unwrap_or_default()
    }

    /// One of the key's words, and what it means.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static Key,
        meanings: &[(&'static str, T)],
    ) -> Option<T> {
        let words = if let Kind::Choice(words) = key.kind { words } else { &[] };
        let check = |text: &str, _: &Origin| {
            let meant = meanings.iter().copied().find(|(word, _)| *word == text);
            meant.ok_or_else(|| format!("is none of the choices; write {}", words.join(" or ")))
        };
        self.checked(key, check, |(word, _)| (*word).to_owned()).map(|(_, value)| value)
    }

    /// A path, absolute from `base`.
    pub(super) fn path(&mut self, key: &'static Key, base: &Path) -> Option<PathBuf> {
        let check = |text: &str, _: &Origin| places::absolute(base, text);
        self.checked(key, check, |path| shown::path(path))
    }

    /// Several texts, each of which `check` accepts.
    pub(super) fn list(
        &mut self,
        key: &'static Key,
        check: impl Fn(&str) -> Result<(), Wrong>,
    ) -> Vec<String> {
        let (texts, origin) = match self.written.list(key) {
            Some((texts, origin)) => (texts, Origin::Given(origin)),
            None => (Vec::new(), Origin::Default),
        };
        for text in &texts {
            if let Err(wrong) = check(text) {
                self.refuse(key, &origin, text, wrong);
            }
        }
        self.note(key, shown::list(&texts), origin);
        texts
    }

    /// The tables of a key that takes them, and where they were written.
    pub(super) fn tables(&self, key: &'static Key) -> Option<(&'a [Raw], String)> {
        self.written.tables(key)
    }

    /// Collects a problem.
    pub(super) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Remembers a value in effect, over what was remembered of its key before.
    pub(super) fn note(&mut self, key: &'static Key, value: String, origin: Origin) {
        self.effective.retain(|effective| effective.key != key.name);
        self.effective.push(Effective { key: key.name, value, origin });
    }

    /// Where a value comes from that was taken before.
    pub(super) fn origin(&self, key: &Key) -> Origin {
        let effective = self.effective.iter().find(|effective| effective.key == key.name);
        effective.map_or(Origin::Default, |effective| effective.origin.clone())
    }

    /// Whether nothing is known against any of these.
    pub(super) fn sound(&self, keys: &[&Key]) -> bool {
        !keys.iter().any(|key| self.problems.about(key.name))
    }

    pub(super) fn refuse(&mut self, key: &Key, origin: &Origin, written: &str, wrong: Wrong) {
        let mut problem = Problem::key("", key.name, wrong).showing(written);
        problem.origin = match origin {
            Origin::Given(place) => Some(place.clone()),
            Origin::Default | Origin::Unset(_) => None,
        };
        self.problems.push(problem);
    }

    /// Reports a key that has to be set, for whatever reason.
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

/// What a key has if nobody sets it, as it would be written.
pub(super) fn default_text(key: &Key) -> &'static str {
    match key.absent {
        Absent::Value(text) => text,
        Absent::Refused | Absent::Then(_) => "",
    }
}
