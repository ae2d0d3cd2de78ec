//! Determines the addresses of a running daemon from the settings. Commands need no other keys, and
//! work even if all others are invalid.

use super::keys;
use super::layers::LayeredValues;
use super::reader::SettingReader;
use super::{ConfigSources, Problems, checks, load, meant, reader};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The addresses of a daemon with these settings.
#[derive(Debug, Clone, Default)]
pub struct Reachable {
    /// Its state directory.
    pub state_dir: Option<PathBuf>,
    /// Its control socket.
    pub admin_socket: Option<PathBuf>,
    /// The file with the token for requests over TCP.
    pub admin_token_file: Option<PathBuf>,
    /// The addresses that show file names.
    pub admin_address: Vec<SocketAddr>,
    /// The public addresses.
    pub listen_address: Vec<SocketAddr>,
    /// The errors of the settings. Values above that could not be read have their default.
    pub problems: Option<Problems>,
}

/// Determines the addresses.
#[must_use]
pub fn reachable(sources: &ConfigSources) -> Reachable {
    match load(sources) {
        Ok(loaded) => {
            let config = loaded.config;
            Reachable {
                state_dir: Some(config.state_dir),
                admin_socket: config.admin_socket,
                admin_token_file: config.admin_token_file,
                admin_address: config.admin_address,
                listen_address: config.listen_address,
                problems: None,
            }
        }
        Err(problems) => Reachable { problems: Some(problems), ..as_far_as_readable(sources) },
    }
}

fn as_far_as_readable(sources: &ConfigSources) -> Reachable {
    // They are already in the other list.
    let mut problems = Problems::default();
    let written = LayeredValues::read(sources, &mut problems)
        .unwrap_or_else(|| LayeredValues::without_file(sources, &mut problems));
    let mut reader = SettingReader::new(sources, &written, problems);
    let state_dir = meant::state_dir(&mut reader);
    let admin_socket =
        state_dir.as_deref().and_then(|state_dir| meant::admin_socket(&mut reader, state_dir));
    let base = &sources.working_directory;
    Reachable {
        admin_token_file: reader.path(&keys::ADMIN_TOKEN_FILE, base),
        admin_address: addresses(&mut reader, &keys::ADMIN_ADDRESS, checks::loopback),
        listen_address: addresses(&mut reader, &keys::LISTEN_ADDRESS, checks::address),
        state_dir,
        admin_socket,
        problems: None,
    }
}

/// The addresses of a key, or its default if the value is invalid.
fn addresses(
    reader: &mut SettingReader<'_>,
    key: &'static keys::Key,
    check: fn(&str) -> Result<Vec<SocketAddr>, String>,
) -> Vec<SocketAddr> {
    let addresses = meant::address(reader, key, check);
    if reader.sound(&[key]) {
        return addresses;
    }
    check(reader::default_text(key)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;

    fn found(config: &str, variables: &[(&str, &str)]) -> Reachable {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("config.yml"), config).expect("a file");
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let environment: BTreeMap<_, _> = variables.collect();
        reachable(&ConfigSources::new(environment, directory.path().to_owned()))
    }

    #[test]
    fn what_is_wrong_elsewhere_hides_no_address() {
        let config =
            "watch_mode: never\nstate_dir: /state\nadmin_address: 127.0.0.1:7\nnonsense: 1\n";
        let found = found(config, &[]);
        assert!(found.problems.is_some());
        assert_eq!(found.state_dir.as_deref(), Some("/state".as_ref()));
        assert_eq!(found.admin_socket.as_deref(), Some("/state/admin.sock".as_ref()));
        assert_eq!(found.admin_address, [([127, 0, 0, 1], 7).into()]);
    }

    #[test]
    fn a_file_that_is_no_yaml_leaves_variables_and_defaults() {
        let variables = [("FILE_SYNC__STATE_DIR", "/other"), ("FILE_SYNC__ADMIN_ADDRESS", "wrong")];
        let found = found("[{", &variables);
        assert_eq!(found.admin_socket.as_deref(), Some("/other/admin.sock".as_ref()));
        assert_eq!(found.admin_address.len(), 2, "the default: {:?}", found.admin_address);
        assert_eq!(found.listen_address.len(), 1);
    }
}
