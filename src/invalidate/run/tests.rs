//! Tests of the content of a batch.

use super::*;
use crate::model::{CacheTags, KeyPrefix, RelPath, SpanReference, TraceLink};
use fastrand::Rng;

fn addresses() -> (Addresses, CacheTags) {
    let tags = CacheTags::new("cache-tag", &KeyPrefix::new("p").expect("a prefix"));
    (Addresses::new("site", true).with_tags(Some(tags.clone())), tags)
}

fn stale(path: &str, below: bool, tagged: bool) -> PendingInvalidation {
    let path = RelPath::new(path.as_bytes()).expect("a proper path");
    PendingInvalidation { path, below, tagged, change: None }
}

/// Whether one of `items` invalidates the copy that viewers get at `path`.
fn throws_away(items: &[String], path: &str, tags: &[&str]) -> bool {
    items.iter().any(|item| match (item.strip_prefix('#'), item.strip_suffix('*')) {
        (Some(tag), _) => tags.contains(&tag),
        (None, Some(above)) => path.starts_with(above),
        (None, None) => item == path,
    })
}

#[test]
fn every_copy_is_thrown_away_by_what_it_carries_within_all_limits() {
    let (addresses, tags) = addresses();
    let mut dice = Rng::with_seed(7);
    let mut by_tag = 0;
    let mut by_wildcard = 0;
    for _ in 0..500 {
        // Some trees have old copies, most of them not everywhere.
        let old = if dice.bool() { 0.0 } else { dice.f64() * dice.f64() };
        let files = dice.usize(1..80);
        let stale: Vec<_> = (0..files)
            .map(|_| {
                let depth = dice.usize(0..4);
                let mut path: String = (0..depth).map(|_| format!("d{}/", dice.u8(0..3))).collect();
                let name = ["index.html", "a", "b", "c", "d", "e"][dice.usize(0..6)];
                path.push_str(name);
                stale(&path, false, dice.f64() >= old)
            })
            .collect();
        let limits = CoverLimits {
            entries: dice.usize(1..6),
            items: dice.usize(1..12),
            wholes: dice.usize(1..4),
        };
        let (plain, wildcards) = paths(&addresses, &stale, limits);
        assert!(plain.len() + wildcards.len() <= limits.items && wildcards.len() <= limits.wholes);
        by_tag += plain.iter().filter(|item| item.starts_with('#')).count();
        by_wildcard += wildcards.len();
        let items = [plain, wildcards].concat();
        for stale in &stale {
            let carried = tags.tag_for(&stale.path).unwrap_or_default();
            let carried: Vec<_> = carried.split(',').filter(|_| stale.tagged).collect();
            for address in addresses.covering(stale) {
                let path = super::super::path::written(&address);
                assert!(throws_away(&items, &path, &carried), "{path} {stale:?}: {items:?}");
            }
        }
    }
    assert!(by_tag > 100 && by_wildcard > 100, "{by_tag} tags, {by_wildcard} wildcards");
}

#[test]
fn tags_are_not_as_few_as_wildcards() {
    let (addresses, _) = addresses();
    let stale = |tagged| -> Vec<_> {
        let path = |file| format!("d{}/e{}/{file}", file % 3, file / 3 % 3);
        (0..45).map(|file| stale(&path(file), false, tagged)).collect()
    };
    let limits = CoverLimits { entries: 4, items: 20, wholes: 3 };
    assert_eq!(paths(&addresses, &stale(true), limits).0.len(), 9);
    let (plain, wildcards) = paths(&addresses, &stale(false), limits);
    assert!(plain.len() + wildcards.len() <= 3, "{plain:?} {wildcards:?}");
}

#[test]
fn a_batch_links_to_a_bounded_number_of_its_changes() {
    let (addresses, _) = addresses();
    let batch = |paths: &[&str]| PathBatch {
        id: "b".into(),
        reference: "r".into(),
        distribution: "E1".into(),
        paths: paths.iter().map(|&path| path.into()).collect(),
        month: MonthCount(0),
        created: 0,
        accepted: None,
        links: Vec::new(),
    };
    let change = |path: &str| {
        let change = Some(TraceLink { context: SpanReference::from_name(path), since: 1 });
        PendingInvalidation { change, ..stale(path, false, false) }
    };
    let mut batches = [batch(&["/site/a", "/site/b/*"]), batch(&["/site/c/*"])];
    let stale = [change("a"), change("b/1"), change("c/1"), stale("c/2", false, false)];
    link(&addresses, &mut batches, &stale);
    let linked =
        |batch: &PathBatch| batch.links.iter().map(|link| link.context).collect::<Vec<_>>();
    assert_eq!(
        linked(&batches[0]),
        [SpanReference::from_name("a"), SpanReference::from_name("b/1")]
    );
    assert_eq!(linked(&batches[1]), [SpanReference::from_name("c/1")]);
    let many: Vec<_> = (0..2 * LINKS_MAX).map(|number| change(&format!("c/{number}"))).collect();
    link(&addresses, &mut batches, &many);
    assert_eq!(batches[1].links.len(), LINKS_MAX);
}
