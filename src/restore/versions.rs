//! Chooses the versions of a moment from a listing of all versions: pure.
//!
//! A listing has the versions and delete markers of a key one after another, newest first, maybe on several
//! pages. The newest one that is not younger than the moment is what there was.

use crate::transfer::{ListedObject, ListedVersion};

/// The version that a bucket has without versions, or from before it had them.
const NO_VERSION: &str = "null";

/// The versions of a moment, from page to page.
#[derive(Debug)]
pub(super) struct VersionChoice {
    at_ns: i64,
    /// The key that was decided last; what follows of it is older.
    decided: Option<String>,
}

/// What there was under one key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    /// This object.
    Object(ListedObject),
    /// It is not known: the bucket has only what is younger, and keeps no versions.
    Unknown(String),
}

impl VersionChoice {
    pub(super) fn new(at_ns: i64) -> Self {
        Self { at_ns, decided: None }
    }

    /// Chooses from a page.
    pub(super) fn choose(&mut self, mut page: Vec<ListedVersion>) -> Vec<Chosen> {
        // Versions and markers come in two lists. Of one second, the version counts.
        page.sort_by(|left, right| {
            let key = left.object.key.cmp(&right.object.key);
            let age = right.object.modified_ns.cmp(&left.object.modified_ns);
            let order = key.then(age).then(right.is_latest.cmp(&left.is_latest));
            order.then(left.is_delete_marker.cmp(&right.is_delete_marker))
        });
        page.into_iter().filter_map(|version| self.consider(version)).collect()
    }

    fn consider(&mut self, version: ListedVersion) -> Option<Chosen> {
        let ListedVersion { object, is_latest, is_delete_marker } = version;
        if self.decided.as_deref() == Some(&*object.key) {
            return None;
        }
        if object.modified_ns.is_none_or(|modified| modified > self.at_ns) {
            let keeps_versions = object.version_id.as_deref().is_some_and(|id| id != NO_VERSION);
            let is_overwritten = !keeps_versions && !is_delete_marker;
            return is_overwritten.then_some(Chosen::Unknown(object.key));
        }
        self.decided = Some(object.key.clone());
        let object = ListedObject { is_superseded: !is_latest, ..object };
        (!is_delete_marker).then_some(Chosen::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(key: &str, modified_ns: i64, id: &str) -> ListedVersion {
        let object = ListedObject {
            key: key.to_owned(),
            modified_ns: Some(modified_ns),
            version_id: Some(id.to_owned()),
            ..ListedObject::default()
        };
        ListedVersion { object, is_latest: false, is_delete_marker: false }
    }

    fn marker(key: &str, modified_ns: i64) -> ListedVersion {
        ListedVersion { is_delete_marker: true, ..version(key, modified_ns, "m") }
    }

    fn latest(version: ListedVersion) -> ListedVersion {
        ListedVersion { is_latest: true, ..version }
    }

    /// Keys, versions, and whether they are superseded.
    fn chosen(at_ns: i64, pages: Vec<Vec<ListedVersion>>) -> Vec<(String, String, bool)> {
        let mut choice = VersionChoice::new(at_ns);
        let chosen = pages.into_iter().flat_map(|page| choice.choose(page));
        let shown = chosen.map(|chosen| match chosen {
            Chosen::Object(object) => {
                (object.key, object.version_id.unwrap_or_default(), object.is_superseded)
            }
            Chosen::Unknown(key) => (key, "unknown".to_owned(), false),
        });
        shown.collect()
    }

    fn expected(list: &[(&str, &str, bool)]) -> Vec<(String, String, bool)> {
        list.iter().map(|(key, id, old)| ((*key).to_owned(), (*id).to_owned(), *old)).collect()
    }

    #[test]
    fn the_newest_version_that_is_not_younger_is_chosen() {
        let page = || {
            vec![
                latest(version("a", 30, "3")),
                version("a", 20, "2"),
                version("a", 10, "1"),
                latest(version("b", 10, "1")),
            ]
        };
        assert_eq!(chosen(25, vec![page()]), expected(&[("a", "2", true), ("b", "1", false)]));
        assert_eq!(chosen(30, vec![page()]), expected(&[("a", "3", false), ("b", "1", false)]));
        assert_eq!(chosen(5, vec![page()]), []);
    }

    #[test]
    fn what_was_deleted_then_is_not_there_and_what_was_deleted_later_is() {
        let page = || {
            vec![
                latest(marker("a", 30)),
                version("a", 20, "2"),
                marker("a", 10),
                version("a", 5, "1"),
            ]
        };
        assert_eq!(chosen(40, vec![page()]), []);
        assert_eq!(chosen(25, vec![page()]), expected(&[("a", "2", true)]));
        assert_eq!(chosen(15, vec![page()]), []);
        assert_eq!(chosen(7, vec![page()]), expected(&[("a", "1", true)]));
    }

    #[test]
    fn a_key_whose_versions_are_on_two_pages_is_decided_once() {
        let pages = || {
            vec![
                vec![latest(version("a", 30, "3"))],
                vec![version("a", 20, "2"), version("a", 10, "1")],
            ]
        };
        assert_eq!(chosen(30, pages()), expected(&[("a", "3", false)]));
        assert_eq!(chosen(20, pages()), expected(&[("a", "2", true)]));
    }

    #[test]
    fn a_bucket_without_versions_says_so_for_what_is_younger() {
        let page = vec![latest(version("a", 30, "null")), latest(version("b", 10, "null"))];
        assert_eq!(
            chosen(20, vec![page]),
            expected(&[("a", "unknown", false), ("b", "null", false)])
        );
    }
}
