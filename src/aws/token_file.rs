//! Token files: names the one that cannot be read, because the SDK says why, and not which one; and
//! refuses one whose end may never come, because the SDK reads it whole.

use crate::safe_file::{LibraryFile, read_input};
use aws_config::profile::ProfileSet;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_types::os_shim_internal::{Env, Fs};
use std::path::Path;

/// Variables with the path of a token file.
const VARIABLES: [&str; 2] =
    ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"];
/// The same in a profile.
const PROFILE_KEY: &str = "web_identity_token_file";
/// Maximum size of a token, bytes.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

/// Maximum length of a chain of profiles.
const PROFILES_MAX: usize = 8;

/// Refuses a token file of the selected profile, or of those that it names as source.
pub(super) async fn refuse_endless() -> Result<(), String> {
    let Some(profiles) = profiles().await else { return Ok(()) };
    let mut name = profiles.selected_profile();
    for _ in 0..PROFILES_MAX {
        let Some(profile) = profiles.get_profile(name) else { break };
        if let Some(path) = profile.get(PROFILE_KEY) {
            let file = LibraryFile { path: path.into(), bytes_max: TOKEN_BYTES_MAX };
            let named = |error| format!("{PROFILE_KEY} {path:?}: {error}");
            file.refuse_endless().map_err(named)?;
        }
        let Some(source) = profile.get("source_profile") else { break };
        name = source;
    }
    Ok(())
}

async fn profiles() -> Option<ProfileSet> {
    let files = EnvConfigFiles::default();
    aws_config::profile::load(&Fs::real(), &Env::real(), &files, None).await.ok()
}

/// The first token file that is configured and cannot be read, and the reason.
pub(super) async fn unreadable() -> Option<String> {
    let mut files = Vec::new();
    for variable in VARIABLES {
        if let Ok(path) = Env::real().get(variable) {
            files.push((variable, path));
        }
    }
    let path = profiles().await.and_then(|profiles| {
        let profile = profiles.get_profile(profiles.selected_profile())?;
        profile.get(PROFILE_KEY).map(str::to_owned)
    });
    files.extend(path.map(|path| (PROFILE_KEY, path)));
    let first = move || files.iter().find_map(|(name, path)| explain(name, Path::new(path)));
    tokio::task::spawn_blocking(first).await.ok().flatten()
}

fn explain(name: &str, path: &Path) -> Option<String> {
    if path.as_os_str().is_empty() {
        return None;
    }
    let error = read_input(path, TOKEN_BYTES_MAX).err()?;
    Some(format!("{name} {path:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_named_and_another_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        let reported = explain(VARIABLES[0], &path).expect("it is missing");
        assert!(reported.contains("token") && reported.contains("No such file"), "{reported}");
        std::fs::write(&path, "token").expect("written");
        assert_eq!(explain(VARIABLES[0], &path), None);
        assert!(explain(VARIABLES[0], directory.path()).is_some(), "a directory");
        assert_eq!(explain(VARIABLES[0], Path::new("")), None);
    }
}
