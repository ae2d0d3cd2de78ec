//! Suggestions for unknown names.

use super::{WATCH_PATH, all};

/// Maximum number of characters of an unknown name that are compared.
const WRITTEN_CHARS_MAX: usize = 64;

/// The most likely name: one of which a part was written, otherwise the one with the smallest edit
/// distance.
pub(in crate::config) fn nearest(written: &str) -> &'static str {
    nearest_of(written, all().map(|key| key.name)).unwrap_or(WATCH_PATH.name)
}

/// The most likely one of `names`.
pub(in crate::config) fn nearest_of(
    written: &str,
    names: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    let plain = |name: &str| name.to_lowercase().replace(['_', '-', '.', ' '], "");
    // The work grows with the length, and no key is longer than this.
    let written: String = plain(written).chars().take(WRITTEN_CHARS_MAX).collect();
    let difference = |name: &&str| {
        let name = plain(name);
        (!name.contains(&written), distance(&written, &name))
    };
    names.min_by_key(difference)
}

/// The number of letters that have to be inserted, removed, changed or swapped with their
/// neighbour.
pub(super) fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows = vec![(0..=right.len()).collect::<Vec<_>>()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let changed = usize::from(left[i - 1] != right[j - 1]);
            let mut least =
                (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + changed);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}
