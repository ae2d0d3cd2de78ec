//! Covers many paths with few: single paths where there are few, whole directories where there are
//! many.
//!
//! Pure, and the same for files in the state and for paths of viewers: a path is a sequence of
//! names separated by `/`, of which the last may be empty, as in `dir/`.
//!
//! # Invariants
//!
//! - The result covers all given paths.
//! - The result exceeds no limit. The minimum is one directory: everything.
//! - The same paths in any order give the same cover, in order.

use std::collections::BTreeMap;

/// One part of a cover.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Covered {
    /// The path or the directory; empty for the topmost one.
    pub path: Vec<u8>,
    /// Whether this covers everything below the directory `path`, and not the path itself.
    pub below: bool,
}

/// The limits of a cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoverLimits {
    /// Entries of one directory; above this, the whole directory is covered.
    pub entries: usize,
    /// Paths and directories together; at least one.
    pub items: usize,
    /// Whole directories; at least one.
    pub wholes: usize,
}

/// The topmost directory.
const ROOT: usize = 0;

/// Covers `paths` within `limits`, as narrowly as a simple rule can: directories with too many
/// entries first, then the deepest ones.
#[must_use]
pub fn cover(paths: impl IntoIterator<Item = Covered>, limits: CoverLimits) -> Vec<Covered> {
    let mut tree = CoverTree::default();
    for path in paths {
        tree.insert(&path);
    }
    tree.sum_up(limits.entries);
    tree.forget_covered();
    tree.shrink(limits);
    tree.into_cover()
}

#[derive(Debug, Default)]
struct CoverNode {
    parent: usize,
    depth: usize,
    children: BTreeMap<Box<[u8]>, usize>,
    /// The path itself is covered, as an entry of its directory.
    path: bool,
    /// Everything below it is covered.
    whole: bool,
    /// A directory above it is covered as a whole.
    covered: bool,
    /// Number of items that cover the paths below it.
    items: usize,
    /// Number of whole directories among these items.
    wholes: usize,
}

/// The tree of paths. Nodes follow their parents, so that loops replace recursion: paths can be
/// deep.
#[derive(Debug)]
struct CoverTree(Vec<CoverNode>);

impl Default for CoverTree {
    fn default() -> Self {
        Self(vec![CoverNode::default()])
    }
}

impl CoverTree {
    fn insert(&mut self, path: &Covered) {
        let mut at = ROOT;
        let top = path.below && path.path.is_empty();
        for name in path.path.split(|&byte| byte == b'/').filter(|_| !top) {
            if self.0[at].whole {
                return;
            }
            at = match self.0[at].children.get(name) {
                Some(&child) => child,
                None => self.add(at, name),
            };
        }
        let node = &mut self.0[at];
        node.whole |= path.below;
        node.path |= !path.below;
    }

    fn add(&mut self, parent: usize, name: &[u8]) -> usize {
        let child = self.0.len();
        let depth = self.0[parent].depth + 1;
        self.0[parent].children.insert(name.into(), child);
        self.0.push(CoverNode { parent, depth, ..CoverNode::default() });
        child
    }

    /// Counts from the deepest node up, and covers directories with too many entries as a whole.
    fn sum_up(&mut self, entries_max: usize) {
        for at in (0..self.0.len()).rev() {
            let mut entries = 0;
            let mut items = 0;
            let mut wholes = 0;
            for &child in self.0[at].children.values() {
                let child = &self.0[child];
                entries += usize::from(child.path) + usize::from(child.items > 0);
                items += usize::from(child.path) + child.items;
                wholes += child.wholes;
            }
            let node = &mut self.0[at];
            node.whole |= entries > entries_max;
            (node.items, node.wholes) = if node.whole { (1, 1) } else { (items, wholes) };
        }
    }

    /// Removes the paths below a whole directory from the counts.
    fn forget_covered(&mut self) {
        for at in 1..self.0.len() {
            let parent = &self.0[self.0[at].parent];
            if parent.whole || parent.covered {
                self.0[at].covered = true;
            }
        }
    }

    /// Covers directories as a whole until the limits hold: the deepest first, because they are the
    /// narrowest, and of those the fullest.
    fn shrink(&mut self, limits: CoverLimits) {
        let mut levels: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, node) in self.0.iter().enumerate().filter(|(_, node)| !node.covered) {
            levels.entry(node.depth).or_default().push(at);
        }
        for (_, mut level) in levels.into_iter().rev() {
            level.sort_by_key(|&at| std::cmp::Reverse(self.0[at].items));
            for at in level {
                let root = &self.0[ROOT];
                let items = root.items > limits.items;
                let wholes = root.wholes > limits.wholes;
                if !items && !wholes {
                    return;
                }
                let node = &self.0[at];
                if (items && node.items > 1) || (wholes && node.wholes > 1) {
                    self.make_whole(at);
                }
            }
        }
    }

    fn make_whole(&mut self, at: usize) {
        let items = self.0[at].items;
        let wholes = self.0[at].wholes;
        self.0[at].whole = true;
        let mut next = at;
        loop {
            let node = &mut self.0[next];
            node.items = node.items + 1 - items;
            node.wholes = node.wholes + 1 - wholes;
            if next == ROOT {
                return;
            }
            next = node.parent;
        }
    }

    fn into_cover(self) -> Vec<Covered> {
        let mut cover = Vec::new();
        let mut open = vec![(ROOT, Vec::new())];
        while let Some((at, path)) = open.pop() {
            let node = &self.0[at];
            if node.path {
                cover.push(Covered { path: path.clone(), below: false });
            }
            if node.whole {
                cover.push(Covered { path, below: true });
                continue;
            }
            for (name, &child) in &node.children {
                let separator: &[u8] = if at == ROOT { b"" } else { b"/" };
                open.push((child, [&path, separator, name].concat()));
            }
        }
        cover.sort_unstable();
        cover
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WIDE: CoverLimits =
        CoverLimits { entries: usize::MAX, items: usize::MAX, wholes: usize::MAX };

    /// `a/b` is a path, `a/*` everything below `a`, `*` everything.
    fn parse(text: &str) -> Covered {
        let below = text.strip_suffix('*');
        let path = below.map_or(text, |path| path.strip_suffix('/').unwrap_or(path));
        Covered { path: path.as_bytes().to_vec(), below: below.is_some() }
    }

    fn shown(covered: &Covered) -> String {
        let path = String::from_utf8(covered.path.clone()).expect("text");
        match (covered.below, path.as_str()) {
            (false, _) => path,
            (true, "") => "*".to_owned(),
            (true, _) => format!("{path}/*"),
        }
    }

    fn covers(whole: &Covered, path: &[u8]) -> bool {
        match whole.below {
            false => whole.path == path,
            true if whole.path.is_empty() => true,
            true => path.strip_prefix(&*whole.path).is_some_and(|rest| rest.starts_with(b"/")),
        }
    }

    fn covered(paths: &[&str], limits: CoverLimits) -> Vec<String> {
        cover(paths.iter().map(|path| parse(path)), limits).iter().map(shown).collect()
    }

    #[test]
    fn few_paths_stay_as_they_are_in_order() {
        let paths = ["b/x", "a/b/c", "a", "a/", "a/b/c"];
        assert_eq!(covered(&paths, WIDE), ["a", "a/", "a/b/c", "b/x"]);
    }

    #[test]
    fn a_directory_with_too_many_entries_becomes_a_whole_and_others_do_not() {
        let limits = CoverLimits { entries: 2, ..WIDE };
        let paths = ["a/1", "a/2", "a/3", "b/1", "b/2", "a/sub/1", "c"];
        let three_at_the_top = ["*"];
        assert_eq!(covered(&paths, limits), three_at_the_top);
        let paths = ["x/a/1", "x/a/2", "x/a/3", "x/b/1", "x/b/2", "x/a/sub/1"];
        assert_eq!(covered(&paths, limits), ["x/a/*", "x/b/1", "x/b/2"]);
    }

    #[test]
    fn what_is_too_much_shrinks_from_the_deepest_directory_up() {
        let paths = ["a/b/1", "a/b/2", "a/c", "d"];
        let items = |items| covered(&paths, CoverLimits { items, ..WIDE });
        assert_eq!(items(4).len(), 4);
        assert_eq!(items(3), ["a/b/*", "a/c", "d"]);
        assert_eq!(items(2), ["a/*", "d"]);
        assert_eq!(items(1), ["*"]);
    }

    #[test]
    fn wholes_are_limited_as_well() {
        let paths = ["a/b/*", "a/c/*", "d/*", "e"];
        let wholes = |wholes| covered(&paths, CoverLimits { wholes, ..WIDE });
        assert_eq!(wholes(3).len(), 4);
        assert_eq!(wholes(2), ["a/*", "d/*", "e"]);
        assert_eq!(wholes(1), ["*"]);
    }

    #[test]
    fn everything_is_covered_by_everything() {
        assert_eq!(covered(&["a/b", "*"], WIDE), ["*"]);
        assert_eq!(covered(&["a/*", "a/b/c", "a"], WIDE), ["a", "a/*"]);
        assert_eq!(covered(&[], WIDE), [""; 0]);
    }

    #[test]
    fn a_hundred_thousand_paths_stay_within_the_limits() {
        let limits = CoverLimits { entries: 50, items: 100, wholes: 10 };
        let mut dice = fastrand::Rng::with_seed(7);
        let mut name = |below| format!("{:x}", dice.u32(..below));
        let paths: Vec<_> = (0..100_000)
            .map(|_| format!("{}/{}/{}/{}", name(9), name(40), name(30), name(5000)))
            .collect();
        let cover = cover(paths.iter().map(|path| parse(path)), limits);
        assert!(cover.len() <= 100, "{}", cover.len());
        assert!(cover.iter().filter(|part| part.below).count() <= 10);
        for path in &paths {
            assert!(cover.iter().any(|part| covers(part, path.as_bytes())), "{path}");
        }
    }

    proptest! {
        #[test]
        fn all_is_covered_and_no_limit_exceeded(
            paths in prop::collection::vec("[ab]{0,2}(/[abc]{0,2}){0,5}", 0..60),
            (entries, items, wholes) in (1_usize..6, 1_usize..12, 1_usize..5),
        ) {
            let limits = CoverLimits { entries, items, wholes };
            let cover = cover(paths.iter().map(|path| parse(path)), limits);
            prop_assert!(cover.len() <= items, "{cover:?}");
            prop_assert!(cover.iter().filter(|part| part.below).count() <= wholes);
            for path in &paths {
                prop_assert!(cover.iter().any(|part| covers(part, path.as_bytes())), "{path:?}");
            }
        }
    }
}
