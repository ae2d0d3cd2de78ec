//! What follows from a comparison, step by step.

use super::super::*;
use super::world::{engine, path};
use crate::model::{Epoch, Fingerprint, Mirrored};

fn mirrored() -> Mirrored {
    let fingerprint = Fingerprint {
        size: 1,
        mtime_ns: 1,
        ctime_ns: 1,
        inode: 1,
        btime_ns: 1,
        device: 1,
        mode: 0,
    };
    Mirrored { fingerprint, crc64nvme: 0, etag: None, racy: false, epoch: Epoch(1) }
}

fn at(ms: u64) -> Now {
    Now { elapsed: Duration::from_millis(ms), jitter: 0.5 }
}

/// Whether a comparison is wanted, which ends at once.
fn compares(engine: &mut Engine, effects: Vec<Effect>, now: Now) -> bool {
    let range = effects.into_iter().find_map(|effect| match effect {
        Effect::Compare(range) => Some(range),
        _ => None,
    });
    range.is_some_and(|range| {
        drop(engine.apply(Event::Compared(range, Ok(Summary::default())), now));
        true
    })
}

/// A comparison finds `d` gone, and the record tells of something below it.
fn finds_gone(engine: &mut Engine, pending: Option<Pending>, start: u64) -> bool {
    drop(engine.apply(Event::Differing(vec![path("d")]), at(start)));
    let effects = engine.apply(Event::Tick, at(start + 250));
    let rested = effects.into_iter().find_map(|effect| match effect {
        Effect::Look(mut paths) => paths.pop(),
        _ => None,
    });
    let rested = rested.expect("a look");
    let observed = Observed::Absent;
    let looked = Looked { rested, observed, age: None, instead: None, unsettled: false };
    let mirrored = Some(mirrored());
    let known = Known { mirrored, pending, below: true, twin: None, listed: None, upload: None };
    drop(engine.apply(Event::Looked(vec![(looked, known)]), at(start + 251)));
    let effects = engine.apply(Event::Tick, at(start + 600));
    compares(engine, effects, at(start + 601))
}

/// A file was replaced by a directory, and both are gone: the comparison that this is a reason for
/// finds the very same.
#[test]
fn what_a_comparison_finds_gone_again_is_no_reason_to_compare_once_more() {
    let mut engine = engine(Duration::ZERO, Counts { mirrored: 2, ..Counts::default() }, true);
    let effects = engine.apply(Event::Tick, at(0));
    assert!(compares(&mut engine, effects, at(1)));
    assert!(finds_gone(&mut engine, None, 10_000));
    let gone = engine.wish(&path("d"), Operation::Delete, Version::default(), Duration::ZERO);
    let held = Pending { next_try: u64::MAX, ..gone };
    assert!(!finds_gone(&mut engine, Some(held), 20_000));
}
