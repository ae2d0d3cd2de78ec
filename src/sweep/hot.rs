//! Paths of which something has changed lately: a bounded number, each for a limited time.

use crate::model::RelPath;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// Paths with the time until which they are hot. A full set drops the path that is hot for the shortest
/// time.
#[derive(Debug)]
pub(super) struct HotPaths {
    paths_max: usize,
    weight_max: u64,
    paths: HashMap<RelPath, HotPath>,
    order: BTreeSet<(Duration, RelPath)>,
    weight: u64,
}

#[derive(Debug, Clone, Copy)]
struct HotPath {
    until: Duration,
    weight: u64,
}

impl HotPaths {
    /// An empty set for so many paths, with so much weight in all.
    pub(super) fn new(paths_max: usize, weight_max: u64) -> Self {
        let paths = HashMap::new();
        let order = BTreeSet::new();
        Self { paths_max, weight_max, paths, order, weight: 0 }
    }

    /// Keeps `path` hot until then. Returns false if it is too heavy for the set.
    pub(super) fn insert(&mut self, path: &RelPath, weight: u64, until: Duration) -> bool {
        let before = self.remove(path);
        let until = before.map_or(until, |before| before.max(until));
        if weight > self.weight_max {
            return false;
        }
        while self.paths.len() >= self.paths_max || self.weight + weight > self.weight_max {
            let Some((_, coldest)) = self.order.first().cloned() else { return false };
            self.remove(&coldest);
        }
        self.weight += weight;
        self.order.insert((until, path.clone()));
        self.paths.insert(path.clone(), HotPath { until, weight });
        true
    }

    /// Removes `path`, and returns until when it was hot.
    pub(super) fn remove(&mut self, path: &RelPath) -> Option<Duration> {
        let HotPath { until, weight } = self.paths.remove(path)?;
        self.order.remove(&(until, path.clone()));
        self.weight -= weight;
        Some(until)
    }

    /// Removes the paths whose time is over.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some((until, path)) = self.order.first().cloned()
            && until <= now
        {
            self.remove(&path);
        }
    }

    pub(super) fn contains(&self, path: &RelPath) -> bool {
        self.paths.contains_key(path)
    }

    /// The hot paths.
    pub(super) fn iter(&self) -> impl Iterator<Item = &RelPath> {
        self.paths.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Duration = Duration::from_secs;

    fn path(name: &str) -> RelPath {
        RelPath::new(name.as_bytes()).expect("a path")
    }

    fn hot(paths: &HotPaths) -> BTreeSet<String> {
        paths.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_full_set_drops_what_changed_first() {
        let mut paths = HotPaths::new(3, 100);
        for (name, until) in [("a", 5), ("b", 4), ("c", 6), ("d", 7)] {
            assert!(paths.insert(&path(name), 1, AT(until)));
        }
        assert_eq!(hot(&paths), ["a", "c", "d"].map(str::to_owned).into());
        assert!(paths.insert(&path("e"), 99, AT(8)), "it needs the room of two");
        assert_eq!(hot(&paths), ["d", "e"].map(str::to_owned).into());
        assert!(!paths.insert(&path("f"), 101, AT(9)), "too heavy");
        assert_eq!(hot(&paths), ["d", "e"].map(str::to_owned).into());
    }

    #[test]
    fn a_path_is_hot_until_its_last_change_is_old() {
        let mut paths = HotPaths::new(3, 100);
        paths.insert(&path("a"), 1, AT(5));
        paths.insert(&path("a"), 2, AT(9));
        paths.insert(&path("a"), 2, AT(7));
        paths.expire(AT(8));
        assert!(paths.contains(&path("a")));
        paths.expire(AT(9));
        assert!(!paths.contains(&path("a")));
        assert_eq!(paths.weight, 0);
    }
}
