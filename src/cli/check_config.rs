//! The output of `check-config`: every setting, as a valid file.

use crate::config::EffectiveSetting;

/// Maximum column of origins after a long value.
const ORIGIN_COLUMN_MAX: usize = 60;

/// One line per setting, with its origin as a comment.
pub(super) fn page(effective: &[EffectiveSetting]) -> String {
    let settings: Vec<String> = effective.iter().map(setting).collect();
    let widths = settings.iter().map(|setting| setting.chars().count());
    let column = widths.filter(|&width| width <= ORIGIN_COLUMN_MAX).max().unwrap_or(0);
    let line = |(setting, effective): (&String, &EffectiveSetting)| {
        format!("{setting:column$}  # {}\n", effective.origin)
    };
    settings.iter().zip(effective).map(line).collect()
}

fn setting(effective: &EffectiveSetting) -> String {
    match effective.value.as_str() {
        "" => format!("{}:", effective.key),
        value => format!("{}: {value}", effective.key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigSources, load};
    use std::collections::BTreeMap;
    use std::fs;

    #[test]
    fn the_page_is_a_file_that_means_the_same() {
        let directory = tempfile::tempdir().expect("a directory");
        let source = "watch_path: up\\loads\ns3_bucket: my-bucket\ns3_prefix: \"a \\\"b\\\" #c\\u00e4\\nd\"\n\
                      ignore: ['*.bak', \"a'b\", '!c,d']\nretry_interval_seconds: 0\n\
                      s3_endpoint_url: http://minio:9000\nlog_format: text\n";
        fs::write(directory.path().join("config.yml"), source).expect("a file");
        let sources = ConfigSources::new(BTreeMap::new(), directory.path().to_owned());
        let first = load(&sources).expect("valid");
        fs::write(directory.path().join("config.yml"), page(&first.effective)).expect("a file");
        let mut second = load(&sources).expect("valid again");
        second.config.state_dir_origin = first.config.state_dir_origin.clone();
        assert_eq!(second.config, first.config);
    }

    #[test]
    fn the_page_says_where_values_come_from() {
        let mut sources = ConfigSources::new(BTreeMap::new(), "/srv".into());
        sources.packaged_state_dir = "/nowhere".into();
        for (variable, value) in
            [("FILE_SYNC__WATCH_PATH", "/data"), ("FILE_SYNC__S3_BUCKET", "my-bucket")]
        {
            sources.environment.insert(variable.into(), value.into());
        }
        let page = page(&load(&sources).expect("valid").effective);
        let expected = "\
watch_path: \"/data\"                                     # FILE_SYNC__WATCH_PATH
watch_path_link: bound                                  # default
s3_bucket: \"my-bucket\"                                  # FILE_SYNC__S3_BUCKET
s3_region:                                              # not set: from the AWS chain
s3_prefix: \"\"                                           # default
shard_count: 1                                          # default
shard_index: 0                                          # default
shard_depth: 1                                          # default
retry_file: \"/srv/.file-sync-service/retry_queue.json\"  # default
";
        assert!(page.starts_with(expected), "{page}");
    }
}
