//! Tests of names and suggestions.

use super::nearest::distance;
use super::*;
use std::collections::BTreeSet;

#[test]
fn no_name_is_used_twice() {
    let mut names = BTreeSet::new();
    let replaced = REPLACED.iter().map(|(name, _)| *name);
    for name in all().map(|key| key.name).chain(replaced) {
        assert!(names.insert(name), "{name}");
    }
}

#[test]
fn the_nearest_key_is_the_one_that_was_meant() {
    for (written, meant) in [
        ("s3_bukcet", "s3_bucket"),
        ("bucket", "s3_bucket"),
        ("watchPath", "watch_path"),
        ("s3-prefix", "s3_prefix"),
        ("retry_interval", "retry_interval_seconds"),
        ("cloudfront_distribution", "cloudfront_distribution_id"),
        ("debounce_miliseconds", "debounce_milliseconds"),
        ("s3_storage_clas", "s3_storage_class"),
    ] {
        assert_eq!(nearest(written), meant, "{written}");
    }
}

#[test]
fn swapped_letters_are_one_mistake() {
    assert_eq!(distance("bukcet", "bucket"), 1);
    assert_eq!(distance("", "abc"), 3);
    assert_eq!(distance("abc", "abc"), 0);
}
