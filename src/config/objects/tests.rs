//! Tests of valid and invalid object attributes, and of the messages.

use super::super::{ConfigSources, LoadedConfig, load};
use super::*;
use std::collections::BTreeMap;
use std::fs;

fn read(file: &str, variables: &[(&str, &str)]) -> Result<LoadedConfig, String> {
    let directory = tempfile::tempdir().expect("a directory");
    let required = "watch_path: /data\ns3_bucket: my-bucket\n";
    fs::write(directory.path().join("config.yml"), format!("{required}{file}")).expect("a file");
    let mut sources = ConfigSources::new(BTreeMap::new(), directory.path().to_owned());
    for (name, value) in variables {
        sources.environment.insert((*name).into(), (*value).into());
    }
    load(&sources).map_err(|problems| problems.to_string())
}

fn objects(file: &str) -> rules::RuleSettings {
    read(file, &[]).unwrap_or_else(|problems| panic!("{problems}")).config.objects
}

fn reported(file: &str) -> String {
    read(file, &[]).expect_err("something is wrong")
}

const RULES: &str = r#"object_rules:
  - match: "*.html"
    content_type: text/html; charset=utf-8
    cache_control: no-cache
    metadata:
      made-by: 0123
    tags: {team: web, "cost center": ""}
  - {match: /raw/**, storage_class: STANDARD_IA, content_encoding: gzip}
  - match: "*.pdf"
    content_disposition: 'attachment; filename="a.pdf"'
"#;

#[test]
fn rules_are_read_in_their_order() {
    let rules = objects(RULES).rules;
    let text = |text: &str| Some(text.to_owned());
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let patterns: Vec<&str> = rules.iter().map(|rule| rule.pattern.as_str()).collect();
    assert_eq!(patterns, ["*.html", "/raw/**", "*.pdf"]);
    let expected = Attributes {
        content_type: text("text/html; charset=utf-8"),
        cache_control: text("no-cache"),
        metadata: vec![pair("made-by", "0123")],
        tags: vec![pair("team", "web"), pair("cost center", "")],
        ..Attributes::default()
    };
    assert_eq!(rules[0].attributes, expected);
    assert_eq!(rules[1].attributes.storage_class, text("STANDARD_IA"));
    assert_eq!(rules[2].attributes.content_disposition, text("attachment; filename=\"a.pdf\""));
}

#[test]
fn rules_can_stand_in_a_variable_as_yaml_or_json() {
    for rules in [
        r#"[{match: "*.js", cache_control: no-store}]"#,
        r#"[{"match": "*.js", "cache_control": "no-store"}]"#,
        "- match: '*.js'\n  cache_control: no-store\n",
    ] {
        let loaded = read(RULES, &[("FILE_SYNC__OBJECT_RULES", rules)]).expect(rules);
        let rules = loaded.config.objects.rules;
        assert_eq!(rules.len(), 1);
        assert_eq!(rules[0].attributes.cache_control.as_deref(), Some("no-store"));
    }
    let problem = read("", &[("FILE_SYNC__OBJECT_RULES", "[{match: '*.js', cache: x}]")]);
    assert_eq!(
        problem.expect_err("an unknown field"),
        "1 problem in the configuration:\n  FILE_SYNC__OBJECT_RULES: object_rules, rule 1, cache: \
         there is no such field; did you mean cache_control?"
    );
}

#[test]
fn what_is_shown_of_rules_means_the_same_again() {
    let first = read(RULES, &[]).expect("valid");
    let shown = first.effective.iter().find(|shown| shown.key == "object_rules").expect("a key");
    let again = objects(&format!("object_rules: {}\n", shown.value));
    assert_eq!(again, first.config.objects);
    assert_eq!(objects("object_rules: []\n").rules, []);
}

#[test]
fn encryption_and_class_hold_for_all() {
    let file = "s3_storage_class: GLACIER_IR\ns3_server_side_encryption: aws:kms\n\
                s3_kms_key_id: alias/mine\n";
    let settings = objects(file);
    assert_eq!(settings.storage_class.as_deref(), Some("GLACIER_IR"));
    let key = Some("alias/mine".to_owned());
    assert_eq!(settings.encryption, Some(Encryption::Kms { key, dual_layer: false }));
    let settings = objects("s3_server_side_encryption: AES256\n");
    assert_eq!(settings.encryption, Some(Encryption::Aes256));
    // Another store has classes that AWS does not have.
    objects("s3_storage_class: my-tier\ns3_endpoint_url: http://ceph:7480\n");
}

#[test]
fn reports_each_wrong_field_with_its_line() {
    let file = r#"object_rules:
  - match: "[z-a]"
    cachecontrol: no-cache
  - content_type: html
    storage_class: standard-ia
  - match: "*.html"
    cache_control: "a\nb"
    content_encoding: [gzip]
    metadata:
      mtime: "5"
      Team: web
      ok: "\u00fc"
    tags:
      "a?b": c
    match: "*.htm"
  - "*.html"
"#;
    assert_eq!(
        reported(file),
        "13 problems in the configuration:\n  \
         config.yml:4: object_rules, rule 1, match: \"[z-a]\" is no glob: invalid range; 'z' > 'a'; \
         write one such as *.html or assets/**\n  \
         config.yml:5: object_rules, rule 1, cachecontrol: there is no such field; \
         did you mean cache_control?\n  \
         config.yml:6: object_rules, rule 2, content_type: \"html\" is not a content type; \
         write one such as text/html; charset=utf-8\n  \
         config.yml:7: object_rules, rule 2, storage_class: \"standard-ia\" is not a storage class; \
         did you mean STANDARD_IA?\n  \
         config.yml:6: object_rules, rule 2: has no match; write which files it is about, \
         such as match: \"*.html\"\n  \
         config.yml:9: object_rules, rule 3, cache_control: \"a\\nb\" holds characters that no header \
         takes; write visible ASCII, and other characters in the way the header has for them\n  \
         config.yml:10: object_rules, rule 3, content_encoding: takes one text; put it in quotes\n  \
         config.yml:12: object_rules, rule 3, mtime: \"5\" belongs to the name of what is written with \
         every object; write another one\n  \
         config.yml:13: object_rules, rule 3, Team: \"web\" is no name for metadata; \
         write small letters, digits, - . and _\n  \
         config.yml:14: object_rules, rule 3, ok: \"\u{fc}\" holds characters that no header takes; \
         write visible ASCII, and other characters in the way the header has for them\n  \
         config.yml:16: object_rules, rule 3, a?b: \"c\" is no tag that S3 takes; names have 1 to 128 \
         and values up to 256 letters, digits, spaces and + - = . _ : / @\n  \
         config.yml:17: object_rules, rule 3, match: stands there twice; remove one of them\n  \
         config.yml:3: object_rules, rule 4: is no rule; write 'match: \"*.html\"', and what holds \
         for it below"
    );
}

#[test]
fn reports_what_s3_would_not_accept() {
    let rule = |field: &str| format!("object_rules: [{{match: a, {field}}}]\n");
    let tags: Vec<String> = (0..11).map(|index| format!("t{index}: v")).collect();
    let long = "x".repeat(1025);
    let much: Vec<String> = (0..3).map(|index| format!("m{index}: {}", "x".repeat(800))).collect();
    for (file, why) in [
        (rule(&format!("tags: {{{}}}", tags.join(", "))), "has 11; S3 takes 10 at most"),
        (rule(&format!("metadata: {{{}}}", much.join(", "))), "has 2406 bytes, names and values"),
        (rule(&format!("cache_control: {long}")), "longer than a header may be"),
        (rule("cache_control: ' x'"), "starts or ends with a space"),
        (rule("tags: {'aws:x': y}"), "a tag of AWS's own"),
        (rule("tags: x"), "takes names and values"),
        ("object_rules: {match: a}\n".to_owned(), "takes a list of rules"),
        ("object_rules: [{match: }]\n".to_owned(), "is no pattern of 1 to 1024 bytes"),
        ("s3_storage_class: ARCHIVE\n".to_owned(), "is not a storage class; did you mean"),
        ("s3_server_side_encryption: AES-256\n".to_owned(), "write AES256 or aws:kms or"),
        ("s3_kms_key_id: alias/mine\n".to_owned(), "is a key that nothing uses"),
        ("s3_checksum_algorithm: md5\n".to_owned(), "write crc64nvme or crc32 or crc32c or none"),
    ] {
        let reported = reported(&file);
        assert!(reported.starts_with("1 problem") && reported.contains(why), "{why}: {reported}");
    }
}

#[test]
fn tags_of_directories_go_into_metadata_that_is_theirs_alone() {
    let behind = "s3_prefix: p\ncloudfront_enabled: true\ncloudfront_distribution_id: E1\n";
    let tagged = objects(&format!("{behind}cloudfront_cache_tag: cache-tag\n"));
    let prefix = KeyPrefix::new("p").expect("a prefix");
    assert_eq!(tagged.cache_tags, Some(CacheTags::new("cache-tag", &prefix)));
    // The switch disables it too.
    assert_eq!(objects("cloudfront_cache_tag: cache-tag\n").cache_tags, None);
    let rule = |metadata: &str| format!("object_rules: [{{match: a, metadata: {{{metadata}}}}}]\n");
    let much = rule(&format!("a: {0}, b: {0}", "x".repeat(500)));
    for (name, more, why) in [
        ("x-amz-meta-cache-tag", String::new(), "write what comes after x-amz-meta-"),
        ("Cache-Tag", String::new(), "is no name for metadata"),
        (&"t".repeat(65), String::new(), "is longer than 64 characters"),
        ("mtime", String::new(), "belongs to the name of what is written with every object"),
        ("cache-tag", rule("cache-tag: mine"), "is metadata of a rule of object_rules as well"),
        ("cache-tag", much, "leaves 887 bytes for the metadata of object_rules"),
    ] {
        let reported = reported(&format!("{behind}cloudfront_cache_tag: {name}\n{more}"));
        assert!(reported.contains(why), "{reported}");
    }
}
