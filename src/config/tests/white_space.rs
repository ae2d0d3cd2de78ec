//! Tests of white space around values, which `echo`, secrets and block scalars add.

use super::*;
use keys::ValueKind;

/// A valid value of each key that has one.
fn valid(key: &keys::Key) -> Option<String> {
    let value = match (key.name, &key.kind, &key.absent) {
        (_, ValueKind::List | ValueKind::Tables, _) => return None,
        ("shard_index" | "shard_count", ..) => return None,
        ("s3_bucket", ..) => "my-bucket",
        ("s3_region", ..) => "us-east-1",
        ("s3_storage_class", ..) => "STANDARD_IA",
        ("s3_endpoint_url", ..) => "http://minio:9000",
        ("s3_kms_key_id", ..) => return None,
        ("s3_expected_bucket_owner", ..) => "111122223333",
        ("cloudfront_distribution_id", ..) => "E1234567890ABC",
        (_, ValueKind::Choice(words), _) => words.first()?,
        (_, ValueKind::Path, _) => "/srv/some-path",
        (_, _, keys::DefaultValue::Value(text)) if !text.is_empty() => text,
        (_, ValueKind::Text, _) => "uploads",
        (_, ValueKind::Boolean | ValueKind::Whole { .. }, _) => return None,
    };
    Some(value.to_owned())
}

#[test]
fn white_space_around_a_variable_or_a_flag_is_not_part_of_it() {
    let mut tried = 0;
    for key in keys::all() {
        let Some(value) = valid(key) else { continue };
        let base = || {
            let file = if key.name == "s3_bucket" || key.name == "watch_path" {
                "watch_path: /data\ns3_bucket: other-bucket\n".to_owned()
            } else {
                with_required("")
            };
            Desk::new(&file)
        };
        let variable = format!("FILE_SYNC__{}", key.name.to_uppercase());
        let Ok(plain) = load(&base().with(&variable, &value).sources) else { continue };
        tried += 1;
        for around in [format!("{value}\n"), format!(" {value}"), format!("\t{value} \r\n")] {
            let loaded = base().with(&variable, &around).loaded();
            assert_eq!(shown(&loaded, key.name), shown(&plain, key.name), "{around:?}");
            let flag = base().set(key.name, &around).loaded();
            assert_eq!(shown(&flag, key.name).0, shown(&plain, key.name).0, "{around:?}");
        }
        if !matches!(key.absent, keys::DefaultValue::Refused) {
            let spaces = base().with(&variable, " \n").loaded();
            let (_, origin) = shown(&spaces, key.name);
            assert!(!origin.contains(&variable), "{}: {origin}", key.name);
        }
    }
    assert!(tried > 30, "{tried} keys");
}

#[test]
fn white_space_around_a_value_in_the_file_is_refused_with_its_line() {
    for key in keys::all() {
        let Some(value) = valid(key) else { continue };
        let required = [("watch_path", "/data"), ("s3_bucket", "my-bucket")];
        let others = required.iter().filter(|(name, _)| *name != key.name);
        let rest: String = others.map(|(name, value)| format!("{name}: {value}\n")).collect();
        for written in [format!("\"{value}\\n\""), format!("' {value}'"), format!("|\n  {value}")] {
            let desk = Desk::new(&format!("{}: {written}\n{rest}", key.name));
            let expected = format!("config.yml:1: {}: starts or ends with white space", key.name);
            assert!(desk.reported().contains(&expected), "{}", desk.reported());
        }
    }
}

#[test]
fn quotes_and_brackets_around_a_value_are_not_taken_for_a_part_of_it() {
    for (key, value, right) in [
        ("s3_prefix", "\"uploads\"", "has quotes around it"),
        ("watch_path", "'/data'", "has quotes around it"),
        ("watch_path", "[\"/a\", \"/b\"]", "the key takes one value"),
        ("s3_prefix", "{{ .Values.prefix }}", "has braces around it"),
    ] {
        let variable = format!("FILE_SYNC__{}", key.to_uppercase());
        let reported = Desk::new("s3_bucket: my-bucket\n").with(&variable, value).reported();
        assert!(reported.contains(&format!("{variable}: {key}: ")), "{reported}");
        assert!(reported.contains(right), "{reported}");
    }
    assert_eq!(
        Desk::new(&with_required(""))
            .with("FILE_SYNC__IGNORE", "[\"*.bak\",\"a,b\"]")
            .loaded()
            .config
            .ignore,
        ["*.bak", "a,b"]
    );
}

#[test]
fn a_pattern_with_a_line_break_is_refused() {
    for file in ["ignore:\n  - |\n    *.bak\n", "ignore: [\"*.bak\\n*.old\"]\n"] {
        let reported = Desk::new(&with_required(file)).reported();
        assert!(
            reported.contains("config.yml:3: ignore: ") && reported.contains("line break"),
            "{reported}"
        );
    }
}
