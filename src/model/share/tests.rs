//! Tests of assignments, pinned to values that must never change.

use super::*;

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).expect("a proper path")
}

fn share(index: u16, count: u16, depth: u8) -> Shard {
    Shard::new(index, count, depth).expect("a part")
}

/// The index of a file.
fn of(text: &str, count: u16, depth: u8) -> u16 {
    let owners: Vec<_> =
        (0..count).filter(|index| share(*index, count, depth).has_file(&path(text))).collect();
    assert_eq!(owners.len(), 1, "{text} is of {owners:?}");
    owners[0]
}

#[test]
fn jump_hash_is_the_one_of_the_paper() {
    // Values of the reference implementation.
    for (key, count, bucket) in
        [(1, 1, 0), (42, 57, 43), (0xdead_10cc, 1, 0), (0xdead_10cc, 666, 361), (256, 1024, 520)]
    {
        assert_eq!(jump(key, count), bucket, "{key} of {count}");
    }
}

#[test]
fn where_a_path_goes_never_changes() {
    let found: Vec<_> = ["", "a", "b", "photos", "users", "über", "00", "01", "2026-11-23"]
        .map(|name| (hash(name.as_bytes()), of(name, 2, 1), of(name, 3, 1), of(name, 16, 1)))
        .into();
    assert_eq!(found, FIXED);
}

/// Hash, and the index of 2, of 3 and of 16.
const FIXED: &[(u64, u16, u16, u16)] = &[
    (0x0000000000000000, 0, 0, 0),
    (0xb0a5b0a9ad522f0f, 1, 1, 3),
    (0x5427bd33ea4566a8, 0, 2, 2),
    (0xa3dd0834392b7b1d, 1, 1, 1),
    (0x707963bb219f1654, 1, 2, 2),
    (0x90e2f3980bd95858, 1, 1, 12),
    (0x661f5a7d411a2092, 1, 2, 12),
    (0xf00f912611976970, 1, 2, 11),
    (0xd789934498866b94, 0, 0, 13),
];

#[test]
fn a_whole_subtree_goes_one_way_and_files_above_by_their_own_names() {
    for count in [2, 3, 7] {
        for name in 0..50 {
            let top = of(&format!("d{name}"), count, 1);
            for below in ["x", "y/z", "a/b/c/d"] {
                assert_eq!(of(&format!("d{name}/{below}"), count, 1), top);
            }
            assert!(share(top, count, 1).has_directory(&path(&format!("d{name}"))));
            let deep = of(&format!("d{name}/sub"), count, 2);
            assert_eq!(of(&format!("d{name}/sub/file"), count, 2), deep);
            for index in 0..count {
                // Files of another user may be below it.
                assert!(share(index, count, 2).has_directory(&path(&format!("d{name}"))));
                let sub = path(&format!("d{name}/sub/deeper"));
                assert_eq!(share(index, count, 2).has_directory(&sub), index == deep);
            }
        }
    }
    for index in 0..3 {
        assert!(share(index, 3, 1).has_directory(&RelPath::root()));
    }
}

#[test]
fn growth_moves_only_what_the_new_one_gets_and_all_have_about_as_much() {
    const NAMES: u16 = 20_000;
    for count in 1..12 {
        let mut moved = 0;
        let mut sizes = vec![0_u32; usize::from(count)];
        for name in 0..NAMES {
            let name = format!("tenant-{name:05}");
            let before = of(&name, count, 1);
            let after = of(&name, count + 1, 1);
            assert!(after == before || after == count, "{name}: {before} to {after}");
            moved += u32::from(after != before);
            sizes[usize::from(before)] += 1;
        }
        let fair = u32::from(NAMES) / u32::from(count + 1);
        assert!(moved.abs_diff(fair) < fair / 10, "{moved} of {fair} moved to one of {count}");
        let fair = u32::from(NAMES) / u32::from(count);
        for size in sizes {
            assert!(size.abs_diff(fair) < fair / 10, "{size} instead of {fair} of {count}");
        }
    }
}

#[test]
fn one_alone_has_everything() {
    let all = Shard::default();
    assert!(all.has_file(&path("a/b")) && all.has_directory(&path("a")));
    assert_eq!(Shard::new(3, 3, 1), None);
    assert_eq!(Shard::new(0, 1, 0), None);
}

#[test]
fn the_record_reads_what_it_wrote() {
    for written in [Shard::default(), share(2, 3, 4)] {
        assert_eq!(written.to_string().parse(), Ok(written));
    }
    for wrong in ["", "0/1", "3/3/1", "0/1/x", "0/1/1/1"] {
        assert_eq!(wrong.parse::<Shard>(), Err(()), "{wrong}");
    }
}
