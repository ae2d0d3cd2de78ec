//! Tests of rule selection, and of equality of attributes.

use super::*;
use crate::model::KeyPrefix;

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).expect("a proper path")
}

fn typed(pattern: &str, content_type: &str) -> Rule {
    let content_type = Some(content_type.to_owned());
    Rule {
        pattern: pattern.to_owned(),
        attributes: Attributes { content_type, ..Attributes::default() },
    }
}

fn rules(rules: Vec<Rule>) -> Rules {
    Rules::new(&RuleSettings { rules, ..RuleSettings::default() }).expect("proper patterns")
}

#[test]
fn patterns_match_as_documented() {
    for (pattern, matching, others) in [
        ("*.html", &["a.html", "a/b/c.html", ".html"][..], &["a.htm", "a.html/b", "A.HTML"][..]),
        ("/*.html", &["a.html"], &["a/b.html"]),
        ("a/*", &["a/b"], &["a/b/c", "b/a/c", "a"]),
        ("a/**", &["a/b", "a/b/c"], &["b/a/c"]),
        ("a/**/c", &["a/c", "a/b/c", "a/b/b/c"], &["a/b"]),
        ("**/cache/*.js", &["cache/a.js", "a/cache/b.js"], &["a/cache/b/c.js"]),
        ("*.{js,css}", &["a.js", "x/b.css"], &["a.html"]),
        ("data-[0-9]?.csv", &["data-12.csv"], &["data-1.csv", "data-1/.csv"]),
        (r"\*.txt", &["*.txt"], &["a.txt"]),
        ("**", &["a", "a/b"], &[]),
    ] {
        let rules = rules(vec![typed(pattern, "x/y")]);
        for name in matching {
            assert_eq!(rules.head(&path(name)).content_type(), "x/y", "{pattern} {name}");
        }
        for name in others {
            assert_ne!(rules.head(&path(name)).content_type(), "x/y", "{pattern} {name}");
        }
    }
    assert!(check_pattern("[z-a]").is_err() && check_pattern("{a").is_err());
}

#[test]
fn names_that_are_no_text_match_too() {
    let rules = rules(vec![typed("*.bin", "x/y")]);
    let name = RelPath::new(b"a\xff/\xfe.bin").expect("legal on disk");
    assert_eq!(rules.head(&name).content_type(), "x/y");
}

#[test]
fn the_first_rule_that_matches_holds_alone() {
    let mut second = typed("*.js", "second/second");
    second.attributes.cache_control = Some("no-store".to_owned());
    let rules = rules(vec![typed("app/*.js", "first/first"), second]);
    let head = rules.head(&path("app/a.js"));
    assert_eq!(head.content_type(), "first/first");
    assert_eq!(head.attributes().cache_control, None);
    assert_eq!(rules.head(&path("lib/a.js")).content_type(), "second/second");
}

#[test]
fn what_no_rule_says_is_guessed_or_holds_for_all() {
    let mut rule = typed("*.log", "text/plain");
    rule.attributes.storage_class = Some("ONEZONE_IA".to_owned());
    let rules = Rules::new(&RuleSettings {
        rules: vec![rule],
        storage_class: Some("STANDARD_IA".to_owned()),
        encryption: Some(Encryption::Aes256),
        acl: Some("private".to_owned()),
        cache_tags: None,
        posix_metadata: PosixMetadata::Both,
    })
    .expect("proper patterns");
    for (name, content_type, class) in [
        ("a.log", "text/plain", "ONEZONE_IA"),
        ("a.png", "image/png", "STANDARD_IA"),
        ("a", "application/octet-stream", "STANDARD_IA"),
    ] {
        let head = rules.head(&path(name));
        assert_eq!(head.content_type(), content_type);
        assert_eq!(head.attributes().storage_class.as_deref(), Some(class), "{name}");
        assert_eq!(head.attributes().encryption, Some(Encryption::Aes256));
        assert_eq!(head.attributes().acl.as_deref(), Some("private"));
        assert_eq!(head.attributes().posix_metadata, PosixMetadata::Both);
    }
}

#[test]
fn every_part_of_the_attributes_changes_their_digest() {
    let text = |text: &str| Some(text.to_owned());
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let kms = |key, dual_layer| Some(Encryption::Kms { key, dual_layer });
    let none = Attributes::default;
    let all = [
        none(),
        Attributes { content_type: text("a/b"), ..none() },
        Attributes { cache_control: text("a/b"), ..none() },
        Attributes { content_disposition: text("a/b"), ..none() },
        Attributes { content_encoding: text("a/b"), ..none() },
        Attributes { storage_class: text("a/b"), ..none() },
        Attributes { acl: text("a/b"), ..none() },
        Attributes { encryption: Some(Encryption::Aes256), ..none() },
        Attributes { encryption: kms(None, false), ..none() },
        Attributes { encryption: kms(None, true), ..none() },
        Attributes { encryption: kms(text("k"), false), ..none() },
        Attributes { metadata: vec![pair("a", "b")], ..none() },
        Attributes { metadata: vec![pair("a", ""), pair("b", "")], ..none() },
        Attributes { tags: vec![pair("a", "b")], ..none() },
        Attributes { tags: vec![pair("ab", "")], ..none() },
        Attributes { posix_metadata: PosixMetadata::None, ..none() },
        Attributes { posix_metadata: PosixMetadata::S3Files, ..none() },
        Attributes { posix_metadata: PosixMetadata::Both, ..none() },
    ];
    let digest = |attributes: &Attributes| {
        let attributes = Arc::new(attributes.clone());
        ObjectAttributes { attributes, guessed_type: UNKNOWN_TYPE, cache_tags: None }.digest()
    };
    let digests: std::collections::BTreeSet<_> = all.iter().map(digest).collect();
    assert_eq!(digests.len(), all.len());
    let [one, other] = [["a", "b"], ["b", "a"]]
        .map(|names| Attributes { tags: names.map(|name| pair(name, "")).to_vec(), ..none() });
    assert_eq!(digest(&one), digest(&other), "the order of tags says nothing");
}

#[test]
fn the_tags_of_directories_are_a_part_of_every_head() {
    let tagging = |name| {
        let cache_tags = Some(CacheTags::new(name, &KeyPrefix::default()));
        Rules::new(&RuleSettings { cache_tags, ..RuleSettings::default() }).expect("no patterns")
    };
    let head = |name, of| tagging(name).head(&path(of));
    let carried = |head: &ObjectAttributes| head.metadata().cloned().collect::<Vec<_>>();
    let name = "cache-tag".to_owned();
    let value = "/,/a/".to_owned();
    assert_eq!(carried(&head("cache-tag", "a/b.txt")), [(name, value)]);
    let digests = [
        head("cache-tag", "a/b.txt"),
        head("cache-tag", "b.txt"),
        head("other", "b.txt"),
        Rules::default().head(&path("b.txt")),
    ]
    .map(|head| head.digest());
    let different: std::collections::BTreeSet<_> = digests.iter().collect();
    assert_eq!(different.len(), digests.len());
    assert_eq!(
        digests[0],
        head("cache-tag", "a/c.txt").digest(),
        "names in a directory say nothing"
    );
}

#[test]
fn the_digest_of_a_head_is_the_same_in_every_version() {
    // In existing states: another number would copy all objects.
    assert_eq!(Rules::default().head(&path("a.txt")).digest(), 0xf9ec_5fae_6de7_22b4);
}
