//! Credentials from a program that a profile names: `credential_process`.
//!
//! The implementation of the SDK leaves a hanging program behind, one more with each renewal, and
//! needs a shell, which the image does not contain.
//!
//! # Invariants
//!
//! - The program runs without a shell, as with the AWS CLI. After a timeout, it is killed with
//!   all its child processes. Its output is bounded, and never part of an error.

use super::behavior;
use aws_config::profile::{Profile, ProfileSet};
use aws_config::sts::AssumeRoleProvider;
use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result as Answer};
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::os_shim_internal::{Env, Fs};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::oneshot;

/// Maximum time of a program; a renewal as a whole may take a little longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Maximum size of its output; the expected output has a few hundred bytes.
const OUTPUT_BYTES_MAX: u64 = 64 << 10;
/// Maximum length of a chain of profiles.
const PROFILES_MAX: usize = 8;
/// The session name if a profile has none.
const SESSION: &str = "file-sync-service";

/// The content of a profile that matters here.
#[derive(Debug, PartialEq, Eq)]
struct Steps {
    command: String,
    /// The roles to assume, each with the credentials of the previous one.
    roles: Vec<Role>,
}

#[derive(Debug, PartialEq, Eq)]
struct Role {
    arn: String,
    external_id: Option<String>,
    session: Option<String>,
}

/// Credentials of the selected profile, which names a program.
pub(super) async fn credentials(http: SharedHttpClient, region: Option<Region>) -> Answer {
    let files = EnvConfigFiles::default();
    let profiles = aws_config::profile::load(&Fs::real(), &Env::real(), &files, None).await;
    let profiles = profiles.map_err(CredentialsError::invalid_configuration)?;
    let steps = steps(&profiles).map_err(CredentialsError::invalid_configuration)?;
    let mut credentials =
        run(&steps.command, PATIENCE).await.map_err(CredentialsError::provider_error)?;
    for role in steps.roles {
        let config = SdkConfig::builder().behavior_version(behavior()).http_client(http.clone());
        let config = config.region(region.clone()).build();
        let mut provider = AssumeRoleProvider::builder(role.arn)
            .session_name(role.session.unwrap_or_else(|| SESSION.to_owned()))
            .configure(&config);
        if let Some(external_id) = role.external_id {
            provider = provider.external_id(external_id);
        }
        let provider = provider.build_from_provider(credentials).await;
        credentials = provider.provide_credentials().await?;
    }
    Ok(credentials)
}

/// Follows `source_profile` from the selected profile to the one that names a program.
fn steps(profiles: &ProfileSet) -> Result<Steps, String> {
    let mut roles = Vec::new();
    let mut name = profiles.selected_profile();
    for _ in 0..PROFILES_MAX {
        let profile =
            profiles.get_profile(name).ok_or_else(|| format!("there is no profile {name:?}"))?;
        let source = profile.get("source_profile").filter(|source| *source != name);
        match (profile.get("role_arn"), source, profile.get("credential_process")) {
            (Some(arn), Some(source), _) => {
                roles.insert(0, role(arn, profile));
                name = source;
            }
            (_, _, Some(command)) => return Ok(Steps { command: command.to_owned(), roles }),
            _ => return Err(format!("profile {name:?} has no credential_process")),
        }
    }
    Err(format!("more than {PROFILES_MAX} profiles name each other as source_profile"))
}

fn role(arn: &str, profile: &Profile) -> Role {
    let text = |name| profile.get(name).map(str::to_owned);
    let external_id = text("external_id");
    let session = text("role_session_name");
    Role { arn: arn.to_owned(), external_id, session }
}

/// Runs the program, and reads its output.
async fn run(command: &str, patience: Duration) -> Result<Credentials, String> {
    let words = split_words(command).ok_or("credential_process has an unclosed quote")?;
    let [program, arguments @ ..] = &words[..] else {
        return Err("credential_process is empty".to_owned());
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("credential_process {program:?} cannot be run: {error}"))?;
    let group = Group(i32::try_from(child.id()).ok().and_then(Pid::from_raw));
    let (send, receive) = oneshot::channel();
    let read = move || drop(send.send(output(&mut child)));
    let spawned = std::thread::Builder::new().name("credential-process".to_owned()).spawn(read);
    spawned.map_err(|error| format!("no thread for credential_process: {error}"))?;
    let answer = tokio::time::timeout(patience, receive).await;
    drop(group);
    let output = match answer {
        Ok(Ok(output)) => output?,
        Ok(Err(_)) => return Err("credential_process could not be read".to_owned()),
        Err(_) => {
            let seconds = patience.as_secs();
            return Err(format!("credential_process {program:?} took longer than {seconds} s"));
        }
    };
    parse(&output).map_err(|why| format!("credential_process {program:?} {why}"))
}

/// The program and all its child processes; dropping it kills them.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        // Usually none is left.
        self.0.and_then(|group| kill_process_group(group, Signal::KILL).ok());
    }
}

/// Reads the output until its end, and waits for the program.
fn output(child: &mut Child) -> Result<Vec<u8>, String> {
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let read = stdout.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut output);
        read.map_err(|error| format!("credential_process cannot be read: {error}"))?;
    }
    let status = child.wait().map_err(|error| format!("credential_process: {error}"))?;
    if output.len() as u64 > OUTPUT_BYTES_MAX {
        return Err(
            "credential_process prints too much; it has to print one JSON object".to_owned()
        );
    }
    if !status.success() {
        return Err(format!("credential_process failed with {status}; standard error says why"));
    }
    Ok(output)
}

/// Parses the output of a program; its keys are case-insensitive.
fn parse(output: &[u8]) -> Result<Credentials, String> {
    let wrong = |why: &str| format!("{why}; it has to print one JSON object with Version 1");
    let values: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(output).map_err(|_| wrong("prints no JSON object"))?;
    let value = |name: &str| {
        let found = values.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value).filter(|value| !value.is_null())
    };
    let text = |name: &str| value(name).and_then(|value| value.as_str()).map(str::to_owned);
    if value("Version").and_then(serde_json::Value::as_u64) != Some(1) {
        return Err(wrong("prints another Version"));
    }
    let required = |name| text(name).ok_or_else(|| wrong(&format!("prints no {name}")));
    let mut credentials = Credentials::builder()
        .access_key_id(required("AccessKeyId")?)
        .secret_access_key(required("SecretAccessKey")?)
        .provider_name("CredentialProcess");
    credentials.set_session_token(text("SessionToken"));
    if let Some(end) = text("Expiration") {
        let end = OffsetDateTime::parse(&end, &Rfc3339);
        let end = end.map_err(|_| wrong("prints an Expiration that is not an RFC 3339 time"))?;
        credentials.set_expiry(Some(end.into()));
    }
    Ok(credentials.build())
}

/// Splits the command into words like a shell, with two kinds of quotes and the backslash; nothing
/// is expanded.
fn split_words(command: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some('\''), _) => word.get_or_insert_default().push(character),
            (None | Some(_), '\\') => word.get_or_insert_default().push(characters.next()?),
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, _) if character.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const KEYS: &str = r#"{"Version": 1, "AccessKeyId": "id", "SecretAccessKey": "the-secret"}"#;

    async fn printed(text: &str) -> Result<Credentials, String> {
        run(&format!("printf %s '{text}'"), PATIENCE).await
    }

    #[test]
    fn a_command_is_split_as_the_aws_cli_splits_it() {
        for (command, expected) in [
            ("a  b\tc", &["a", "b", "c"][..]),
            (
                r#""/opt/my tools/x" --user 'a "b"' """#,
                &["/opt/my tools/x", "--user", "a \"b\"", ""],
            ),
            (r#"a\ b "c\"d" e'f'g"#, &["a b", "c\"d", "efg"]),
            ("$HOME/x | y", &["$HOME/x", "|", "y"]),
            ("", &[]),
        ] {
            assert_eq!(split_words(command).expect(command), expected, "{command}");
        }
        assert_eq!(
            (split_words("a 'b"), split_words("a \"b"), split_words("a\\")),
            (None, None, None)
        );
    }

    #[tokio::test]
    async fn what_a_program_prints_are_credentials() {
        let credentials = printed(KEYS).await.expect("credentials");
        assert_eq!(credentials.access_key_id(), "id");
        assert_eq!((credentials.session_token(), credentials.expiry()), (None, None));
        let session = r#"{"version":1,"accesskeyid":"id","secretaccesskey":"s","SESSIONTOKEN":"t","Expiration":"2001-09-09T01:46:40Z"}"#;
        let credentials = printed(session).await.expect("credentials");
        assert_eq!(credentials.session_token(), Some("t"));
        let end = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        assert_eq!(credentials.expiry(), Some(end));
    }

    #[tokio::test]
    async fn a_program_that_fails_is_an_error_without_what_it_printed() {
        for text in [
            "the-secret",
            r#"["the-secret"]"#,
            r#"{"Version": 2, "AccessKeyId": "id", "SecretAccessKey": "the-secret"}"#,
            r#"{"Version": 1, "SecretAccessKey": "the-secret"}"#,
            r#"{"Version": 1, "AccessKeyId": "id", "SecretAccessKey": "the-secret", "Expiration": "soon"}"#,
        ] {
            let reported = printed(text).await.expect_err(text);
            assert!(
                reported.contains("JSON object") && !reported.contains("the-secret"),
                "{reported}"
            );
        }
        for (command, why) in [
            ("/nowhere/program --a", "cannot be run: No such file"),
            ("false", "exit status: 1"),
            ("", "is empty"),
            ("a 'b", "an unclosed quote"),
            ("cat /dev/zero", "prints too much"),
        ] {
            let reported = run(command, PATIENCE).await.expect_err(command);
            assert!(reported.contains(why), "{command}: {reported}");
        }
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended_with_what_it_started() {
        let directory = tempfile::tempdir().expect("a directory");
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .expect("a pipe");
        // The child of the shell keeps the pipe open while it lives.
        let command = format!("sh -c 'sleep 3600 >{0} & wait'", pipe.to_string_lossy());
        let reader = std::thread::spawn(move || std::fs::read(pipe));
        let started = Instant::now();
        let reported = run(&command, Duration::from_millis(300)).await.expect_err("it hangs");
        assert!(reported.contains("took longer than"), "{reported}");
        reader.join().expect("no panic").expect("the end of the pipe");
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}
