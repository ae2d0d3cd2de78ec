//! The engine against a world of its own: a directory, a record and a bucket made of maps, in which
//! everything that is in flight ends in a random order, or never, or fails.
//!
//! The reference is as naive as can be: after quiet, the bucket is the directory. A seed that fails
//! is printed; `ENGINE_SEEDS=from..to` runs others.

mod attempts;
mod bounds;
mod comparisons;
mod delayed;
mod disk;
mod flushing;
mod history;
mod resting;
pub(super) mod world;

use std::collections::BTreeMap;
use world::{FOREIGN, Object, World, path};

/// Enough for every kind of step to meet every other; a thousand take about two seconds.
const SEEDS: std::ops::Range<u64> = 0..1_000;
const STEPS: usize = 150;
fn seeds() -> std::ops::Range<u64> {
    #[allow(clippy::disallowed_methods, reason = "a test's own switch")]
    let wanted = std::env::var("ENGINE_SEEDS").ok();
    let range = wanted.and_then(|wanted| {
        let (from, to) = wanted.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    range.unwrap_or(SEEDS)
}

#[test]
fn after_quiet_the_bucket_is_the_directory_whatever_happened() {
    let mut puts = 0;
    let mut flushes = 0;
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                world.step();
            }
            world.rest();
            let (foreign, content) = FOREIGN;
            let mut expected: BTreeMap<_, _> =
                world.disk.iter().map(|(path, file)| (path.clone(), file.content)).collect();
            let left = Object { content, version: None };
            if world.bucket.get(&path(foreign)) == Some(&left) {
                expected.entry(path(foreign)).or_insert(content);
            }
            let bucket: BTreeMap<_, _> =
                world.bucket.iter().map(|(path, object)| (path.clone(), object.content)).collect();
            assert_eq!(bucket, expected);
            assert_eq!(world.engine.counts(), world.counts(), "the counts are in step");
            assert!(world.stale.is_empty(), "no invalidation of {:?}", world.stale);
            (world.puts, world.flushing.kept)
        });
        match outcome {
            Ok((done, kept)) => (puts, flushes) = (puts + done, flushes + kept),
            Err(panic) => {
                eprintln!("seed {seed} failed: ENGINE_SEEDS={seed}..{} shows it again", seed + 1);
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(puts > 0 && flushes > 0, "something was done");
}
