//! Determines the files that the daemon needs, and confines the process to them.
//!
//! This happens on the main thread, after the configuration is read and before any other thread exists.
//!
//! # Invariants
//!
//! - A directory of files that are replaced by a rename is granted, not only its present files: volumes of
//!   Kubernetes, agents and editors replace them.
//! - The directory above `watch_path` is granted for reading, so that a volume may be mounted later, and a
//!   directory may be replaced. The file system itself (`/`) is not, unless there is no other way.

use crate::config::{Config, ConfigSources, LoadedConfig, SandboxMode, WatchPathLink};
use crate::safe_file::read_input;
use crate::sandbox::{Confinement, Grants, SandboxError, confine};
use std::path::{Path, PathBuf};

/// What libraries read: name resolution, authorities, and the kernel's files.
const SYSTEM: [&str; 14] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/proc",
    "/sys/fs/cgroup",
    "/sys/devices/system",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/run/systemd/resolve",
    "/var/lib/ca-certificates",
];
/// The file whose real location depends on the system.
const RESOLVER: &str = "/etc/resolv.conf";
/// Maximum size of a profile file that is searched.
const PROFILE_BYTES_MAX: u64 = 1 << 20;

/// Why the daemon does not start with `sandbox: require`.
#[derive(Debug, thiserror::Error)]
pub enum ConfinementError {
    /// It cannot be confined, for this reason.
    #[error("sandbox is require, and the process cannot be confined: {0}")]
    Impossible(String),
    /// The kernel has refused the rules.
    #[error(transparent)]
    Refused(#[from] SandboxError),
}

/// Confines the process as `sandbox` of the configuration says.
///
/// # Errors
///
/// If it requires that, and it is impossible.
pub fn confine_process(
    loaded: &LoadedConfig,
    sources: &ConfigSources,
) -> Result<Confinement, ConfinementError> {
    let config = &loaded.config;
    let required = match config.sandbox.mode {
        SandboxMode::Off => return Ok(Confinement::Off("sandbox is off".to_owned())),
        SandboxMode::Auto => false,
        SandboxMode::Require => true,
    };
    let profiles = Profiles::read(config);
    let grants = grants(config, sources, &profiles);
    let impossible = if profiles.name_a_program {
        Some("a profile names a credential_process, which needs programs and files of its own")
    } else if required && grants.read_everything() {
        Some("there is neither watch_path nor a directory above it but /")
    } else if std::fs::create_dir_all(&config.state_dir).is_err() {
        // The state reports it later, with the reason.
        Some("state_dir cannot be created")
    } else {
        None
    };
    let confinement = match impossible {
        Some(why) => Confinement::Off(why.to_owned()),
        None => match confine(&grants) {
            Err(error) if !required => Confinement::Off(error.to_string()),
            confined => confined?,
        },
    };
    match confinement {
        Confinement::Off(why) if required => Err(ConfinementError::Impossible(why)),
        confinement => Ok(confinement),
    }
}

/// Logs the result.
pub(super) fn log(confinement: &Confinement) {
    match confinement {
        Confinement::Confined { reads: true } => {
            tracing::info!(event = "sandbox.confined", "the process can use its own files only")
        }
        Confinement::Confined { reads: false } => tracing::info!(
            event = "sandbox.confined",
            "the process can change its own files only; it can read all, because watch_path has no \
             directory above it yet"
        ),
        Confinement::Off(why) => tracing::info!(
            event = "sandbox.off",
            why = why.as_str(),
            "the process is not confined to its files"
        ),
    }
}

/// The content of the profile files that matters here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Profiles {
    name_a_program: bool,
    token_files: Vec<PathBuf>,
}

impl Profiles {
    fn read(config: &Config) -> Self {
        let mut profiles = Self::default();
        for file in &config.aws_environment.profile_files {
            // A file that cannot be read names nothing to the SDK, either.
            let content = read_input(file, PROFILE_BYTES_MAX).unwrap_or_default();
            profiles.add(&String::from_utf8_lossy(&content));
        }
        profiles
    }

    fn add(&mut self, content: &str) {
        let entries = content.lines().filter_map(|line| line.split_once('='));
        for (key, value) in entries {
            match key.trim() {
                "credential_process" => self.name_a_program = true,
                "web_identity_token_file" => self.token_files.push(value.trim().into()),
                _ => {}
            }
        }
    }
}

fn grants(config: &Config, sources: &ConfigSources, profiles: &Profiles) -> Grants {
    let mut grants = Grants { read: watched(config), ..Grants::default() };
    let configuration = sources.working_directory.join(&sources.file);
    let files =
        config.files_to_read().into_iter().chain(profiles.token_files.iter().map(AsRef::as_ref));
    for file in files.chain([configuration.as_path(), Path::new(RESOLVER)]) {
        grants.read.extend(replaceable(file));
    }
    grants.read.extend(SYSTEM.map(PathBuf::from));
    grants.write.push(config.state_dir.clone());
    for file in config.files_to_replace() {
        grants.write.extend(directory_of(file));
    }
    grants.overwrite.push(config.termination_message.clone());
    grants
}

/// The watched directory and the one above it, of the path and of its target. If it is missing, the next
/// existing directory above.
fn watched(config: &Config) -> Vec<PathBuf> {
    let path = &config.watch_path;
    let above = directory_of(path);
    let follows = config.watch_path_link == WatchPathLink::Follow;
    match path.canonicalize() {
        // Its targets are directories beneath `/`.
        Ok(_) if follows && above.is_none() => vec!["/".into()],
        Ok(resolved) => {
            let resolved_above = directory_of(&resolved);
            [Some(path.clone()), above, Some(resolved), resolved_above]
                .into_iter()
                .flatten()
                .collect()
        }
        Err(_) => {
            let existing = path.ancestors().find(|ancestor| ancestor.is_dir());
            vec![existing.unwrap_or(Path::new("/")).to_owned()]
        }
    }
}

/// What has to be readable so that later versions of a file are, too.
fn replaceable(file: &Path) -> Vec<PathBuf> {
    let resolved = file.canonicalize().ok();
    let resolved_directory = resolved.as_deref().and_then(directory_of);
    let directory = directory_of(file);
    [Some(file.to_owned()), directory, resolved_directory].into_iter().flatten().collect()
}

/// The directory of a file, unless that is `/`.
fn directory_of(file: &Path) -> Option<PathBuf> {
    file.parent().filter(|directory| directory.parent().is_some()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn loaded(
        working_directory: &Path,
        watch_path: &Path,
        more: &str,
    ) -> (LoadedConfig, ConfigSources) {
        let text =
            format!("watch_path: {watch_path:?}\ns3_bucket: my-bucket\nstate_dir: state\n{more}");
        fs::write(working_directory.join("config.yml"), text).expect("written");
        let sources = ConfigSources::new(BTreeMap::new(), working_directory.to_owned());
        (load(&sources).expect("valid"), sources)
    }

    #[test]
    fn the_files_of_the_daemon_are_granted_and_no_others() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().canonicalize().expect("resolved");
        let at = |name: &str| place.join(name);
        for name in ["config", "data", "data/watched", "status", "mount"] {
            fs::create_dir(at(name)).expect("made");
        }
        symlink(at("data/watched"), at("mount/link")).expect("a link");
        let more =
            format!("status_file: {:?}\nadmin_token_file: {:?}\n", at("status/s"), at("token/t"));
        let (loaded, sources) = loaded(&at("config"), &at("mount/link"), &more);
        let profiles = Profiles { token_files: vec![at("web/token")], ..Profiles::default() };
        let grants = grants(&loaded.config, &sources, &profiles);
        for read in ["mount", "data", "data/watched", "token", "web", "config"] {
            assert!(grants.read.contains(&at(read)), "{read}: {grants:?}");
        }
        let beside: Vec<_> = grants.read.iter().filter(|path| !path.starts_with(&place)).collect();
        assert!(beside.iter().all(|path| is_of_system(path)), "{beside:?}");
        let state = at("config/state");
        assert_eq!(grants.write, [state.clone(), state.clone(), at("status"), state]);
        assert!(!grants.read_everything());
    }

    fn is_of_system(path: &Path) -> bool {
        let resolver = Path::new(RESOLVER).canonicalize().unwrap_or_default();
        SYSTEM.iter().any(|known| path.starts_with(known)) || resolver.starts_with(path)
    }

    #[test]
    fn a_directory_that_is_missing_is_granted_with_the_next_one_above() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path();
        let (late, _) = loaded(place, &place.join("late/watched"), "");
        assert_eq!(watched(&late.config), [place]);
        let (nowhere, sources) = loaded(place, Path::new("/file-sync-late/watched"), "");
        assert!(grants(&nowhere.config, &sources, &Profiles::default()).read_everything());
        let required = load_with(place, "/file-sync-late/watched", "sandbox: require\n");
        let error = confine_process(&required.0, &required.1).expect_err("impossible");
        assert!(error.to_string().contains("neither watch_path nor a directory above"), "{error}");
    }

    fn load_with(place: &Path, watch_path: &str, more: &str) -> (LoadedConfig, ConfigSources) {
        loaded(place, Path::new(watch_path), more)
    }

    #[test]
    fn a_program_for_credentials_and_an_explicit_off_leave_the_process_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path();
        let (off, sources) = load_with(place, "/srv/data", "sandbox: off\n");
        let result = confine_process(&off, &sources).expect("no error");
        assert_eq!(result, Confinement::Off("sandbox is off".to_owned()));
        let profile = place.join("profile");
        fs::write(&profile, "[default]\n credential_process = /bin/true\n").expect("written");
        let (mut loaded, sources) = load_with(place, "/srv/data", "sandbox: auto\n");
        loaded.config.aws_environment.profile_files = vec![profile];
        let result = confine_process(&loaded, &sources).expect("no error");
        assert!(
            matches!(&result, Confinement::Off(why) if why.contains("credential_process")),
            "{result:?}"
        );
        loaded.config.sandbox.mode = SandboxMode::Require;
        let error = confine_process(&loaded, &sources).expect_err("impossible");
        assert!(error.to_string().contains("credential_process"), "{error}");
    }

    #[test]
    fn profiles_are_searched_for_programs_and_tokens() {
        let mut profiles = Profiles::default();
        profiles
            .add("[a]\nrole_arn = arn\nweb_identity_token_file=/t/token\n# credential_process\n");
        assert_eq!(
            profiles,
            Profiles { name_a_program: false, token_files: vec!["/t/token".into()] }
        );
    }
}
