//! The selected profile of the AWS configuration file, as far as it determines the endpoint of S3. The SDK
//! reads the rest of it, but not the settings below `s3 =`.

use super::ConfigSources;
use crate::safe_file::read_input;
use std::path::PathBuf;

/// Maximum size of the file; a usual one has a few KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The content of the selected profile.
#[derive(Debug, Default)]
pub(super) struct AwsProfile {
    /// The file and the section, for origins.
    pub(super) place: String,
    content: String,
}

impl AwsProfile {
    /// Reads the file, if it exists. The SDK reports a file that it cannot read.
    pub(super) fn read(sources: &ConfigSources) -> Self {
        let file = match sources.variable("AWS_CONFIG_FILE") {
            Some(file) => sources.working_directory.join(file),
            None => match sources.variable("HOME") {
                Some(home) => PathBuf::from(home).join(".aws/config"),
                None => return Self::default(),
            },
        };
        let name = sources.variable("AWS_PROFILE").map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| "default".to_owned());
        let Ok(bytes) = read_input(&file, FILE_BYTES_MAX) else { return Self::default() };
        let content = section(&String::from_utf8_lossy(&bytes), &name);
        Self { place: format!("{} [{name}]", file.to_string_lossy()), content }
    }

    /// The value of a setting: of the profile, or below another one of it.
    pub(super) fn value(&self, below: Option<&str>, name: &str) -> Option<&str> {
        let mut outer = "";
        let mut found = None;
        for line in self.content.lines() {
            let nested = line.starts_with([' ', '\t']);
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            if !nested {
                outer = key.trim();
            }
            let wanted = match below {
                Some(below) => nested && outer == below,
                None => !nested,
            };
            if wanted && key.trim() == name {
                found = Some(value.trim());
            }
        }
        found
    }
}

/// The lines of a profile, without comments.
fn section(text: &str, name: &str) -> String {
    let mut inside = false;
    let mut lines = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with(['#', ';']) || line.trim().is_empty() {
            continue;
        }
        if let Some(title) = line.trim().strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let title = title.trim();
            let profile = title.strip_prefix("profile ").map_or(title, str::trim);
            let plain = title == "default" || title.starts_with("profile ");
            inside = plain && profile == name;
            continue;
        }
        if inside {
            lines.push_str(line);
            lines.push('\n');
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# use_fips_endpoint = true
[default]
region = eu-central-1
s3 =
  use_accelerate_endpoint = true
  addressing_style=virtual
use_dualstack_endpoint = true
[profile other]
use_fips_endpoint = true
[sso-session default]
use_fips_endpoint = true
";

    fn profile(name: &str) -> AwsProfile {
        AwsProfile { place: String::new(), content: section(FILE, name) }
    }

    #[test]
    fn a_setting_is_read_where_it_belongs() {
        let default = profile("default");
        assert_eq!(default.value(Some("s3"), "use_accelerate_endpoint"), Some("true"));
        assert_eq!(default.value(None, "use_dualstack_endpoint"), Some("true"));
        assert_eq!(default.value(None, "use_accelerate_endpoint"), None, "it is nested");
        assert_eq!(default.value(Some("s3"), "use_dualstack_endpoint"), None);
        assert_eq!(default.value(None, "use_fips_endpoint"), None, "of other sections");
        assert_eq!(profile("other").value(None, "use_fips_endpoint"), Some("true"));
        assert_eq!(profile("none").value(None, "use_fips_endpoint"), None);
    }
}
