//! The command line: what a person asked for, and the codes the process ends with.
//!
//! # Invariants
//!
//! - What a command prints goes to stdout, everything else to stderr.
//! - The original service's `-config PATH`, with one dash, means `--config PATH`.

mod check_config;
mod client;
mod daemon;
mod deletes;
mod generated;
mod report;
mod table;
mod target;
mod terminal;

pub use daemon::call;
pub use deletes::DeletesCommand;
pub use generated::{completions, manual};
pub use report::ReportWriter;
pub use table::size_in_words;
pub use terminal::{ProgressHandle, TerminalProgress};

use crate::config::{ConfigSources, LoadedConfig, Problems, load};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The version; release builds add the commit and the platform (`contrib/release/build-version`).
const VERSION: &str = match option_env!("FILE_SYNC_BUILD_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// Mirrors a directory to an S3 bucket: every change, nothing else, nothing lost.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "file-sync-service", version = VERSION, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do; `run` if left out.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The YAML file with the settings; without this, config.yml if there is one.
    #[arg(long, value_name = "PATH", global = true)]
    pub config: Option<PathBuf>,

    /// One setting, over file and variables; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting, global = true)]
    pub set: Vec<(String, String)>,

    /// TCP address of the running daemon, instead of what the settings and the daemon itself say
    #[arg(long, value_name = "HOST:PORT", value_parser = addresses, global = true)]
    pub address: Option<HostAddresses>,

    /// Control socket of the running daemon, instead of what the settings and the daemon itself say
    #[arg(long, value_name = "PATH", global = true)]
    pub socket: Option<PathBuf>,
}

/// The addresses of a host and a port, in the order to try them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAddresses(pub Vec<SocketAddr>);

/// Parses `localhost:9188` or `127.0.0.1:9188`.
fn addresses(text: &str) -> Result<HostAddresses, String> {
    let found: Vec<_> = text.to_socket_addrs().map_err(|error| error.to_string())?.collect();
    match found.is_empty() {
        true => Err("the host has no address".to_owned()),
        false => Ok(HostAddresses(found)),
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Mirror until SIGTERM or SIGINT; this is the default
    Run,
    /// Watch watch_path on this node, and send the paths of changes to every hint_url; needs no S3
    Relay,
    /// Compare once, send everything, and end: for jobs and CI
    Once {
        /// Make objects that are there follow object_rules and the settings beside them, too
        #[arg(long)]
        reapply_rules: bool,
        /// End with 75 if files are skipped because S3 cannot take them
        #[arg(long)]
        strict: bool,
        /// Say what would be done, as `plan` does; nothing is done
        #[arg(long, conflicts_with = "strict")]
        dry_run: bool,
    },
    /// Print every setting with its value and where that comes from
    CheckConfig {
        /// Try everything too, as `doctor` does
        #[arg(long)]
        online: bool,
    },
    /// Try everything that the daemon needs, and say what is wrong and what to do: 0 if nothing, else 1
    Doctor {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what once would upload, copy and delete, and why; nothing is done
    Plan {
        /// As if once were run with this
        #[arg(long)]
        reapply_rules: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare directory, record and bucket: 0 if they are equal, else 1
    Verify {
        /// Read and compare content, not only sizes and tags
        #[arg(long)]
        checksum: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring the objects below s3_prefix back into watch_path, which has to be empty or absent
    #[command(visible_alias = "hydrate")]
    Restore(RestoreArgs),
    /// Ask the running daemon whether everything is in S3
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Ask again every two seconds, until Ctrl-C
        #[arg(long, conflicts_with = "json")]
        watch: bool,
    },
    /// Wait until every change made before this is in S3
    Flush {
        /// How long, such as 60s or 5m
        #[arg(long, default_value = "60s")]
        timeout: String,
        /// End with 75 if files are skipped because S3 cannot take them
        #[arg(long)]
        strict: bool,
    },
    /// What waits, since when and why
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Deletes that are on hold because they exceed the limits, or delayed
    #[command(subcommand)]
    Deletes(DeletesCommand),
    /// Ask like a probe, for images without a shell: 0 if it is so, else 1
    Health(ProbeArgs),
    /// preStop hook: announce the shutdown
    Prestop,
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

impl Command {
    /// Whether it works until a signal, or until it is done.
    #[must_use]
    pub fn runs(&self) -> bool {
        matches!(self, Self::Run | Self::Relay | Self::Once { dry_run: false, .. })
    }

    /// Whether the command is a request to the running daemon: it needs no other setting than the address.
    #[must_use]
    pub fn is_client_command(&self) -> bool {
        match self {
            Self::Run | Self::Once { .. } | Self::Relay => false,
            Self::CheckConfig { .. } | Self::Doctor { .. } => false,
            Self::Plan { .. } | Self::Verify { .. } | Self::Restore(_) => false,
            Self::Completions { .. } | Self::Man => false,
            Self::Status { .. } | Self::Flush { .. } | Self::Queue(_) | Self::Deletes(_) => true,
            Self::Health(_) | Self::Prestop => true,
        }
    }
}

/// How to restore.
#[derive(Debug, Clone, PartialEq, Eq, Default, clap::Args)]
pub struct RestoreArgs {
    /// Bring only what is not there; files that are there stay as they are
    #[arg(long)]
    pub missing: bool,
    /// End with 0 if `watch_path` is not empty, as at a later start of an application
    #[arg(long, conflicts_with = "missing")]
    pub if_empty: bool,
    /// Only files that match, such as '*.pdf' or 'folder/**'; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// As of this time, such as 2026-11-29T17:00:00Z; needs a bucket with versions
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub at: Option<u64>,
    /// End with 0 if there is no object, as before the first start of an application
    #[arg(long)]
    pub allow_empty: bool,
    /// Say what would be brought; nothing is made
    #[arg(long)]
    pub dry_run: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// What about the queue.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum QueueCommand {
    /// The longest waiting first
    List {
        /// Rows at most
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Try these paths now, or everything that waits
    Retry {
        /// Below `watch_path`, or whole
        paths: Vec<String>,
    },
}

/// Which probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::Args)]
#[group(multiple = false)]
pub struct ProbeArgs {
    /// Does the event loop answer? This is the default
    #[arg(long)]
    pub live: bool,
    /// Is S3 reachable and the backlog young?
    #[arg(long)]
    pub ready: bool,
    /// Is the start over?
    #[arg(long)]
    pub started: bool,
}

/// The bucket in the settings of a relay, which uses none.
const UNUSED_BUCKET: &str = "not-used-by-relay";

const AFTER_HELP: &str = "\
Settings come from the file, then from variables such as FILE_SYNC__S3_BUCKET for s3_bucket, then
from --set; the later wins. Two are required: watch_path and s3_bucket.

Ends with: 0 done, 1 unexpected, 2 usage, 69 S3 unreachable, 70 state unreadable, 73 state cannot
be created or is locked, or watch_path is not empty (restore), 75 work left undone, 78 configuration
invalid.";

/// How the process ends. Scripts rely on the numbers, most of which are those of `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// An unexpected error, or a comparison that found a difference.
    Unexpected = 1,
    /// The command line is wrong.
    Usage = 2,
    /// S3 cannot be reached (one-shot commands).
    Unreachable = 69,
    /// The state cannot be read.
    StateUnreadable = 70,
    /// The state cannot be created, or another process has it; or the target of a restore is not empty.
    StateUnavailable = 73,
    /// Work is left (one-shot commands, or a deadline on state that will not survive).
    WorkLeft = 75,
    /// The configuration is wrong.
    ConfigInvalid = 78,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Reads the command line; the first argument is the program's own name.
///
/// # Errors
///
/// If it is wrong, or asks for help or the version. [`answer`] says so.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().map(two_dashes).collect();
    let settings = arguments.iter().filter(|argument| is_flag(argument, b"--set")).count();
    let cli = Cli::try_parse_from(arguments)?;
    // Of a flag on both sides of the command clap keeps one side alone, without a word.
    if cli.set.len() < settings {
        let message = "--set stands before and after the command; write all of them on one side";
        return Err(<Cli as CommandFactory>::command().error(ErrorKind::ArgumentConflict, message));
    }
    Ok(cli)
}

/// Prints what [`parse`] has instead of a command line.
#[must_use]
pub fn answer(instead: &clap::Error) -> Exit {
    let exit = if instead.use_stderr() { Exit::Usage } else { Exit::Success };
    if instead.print().is_ok() { exit } else { Exit::Unexpected }
}

impl Cli {
    /// The command, which may have been left out.
    #[must_use]
    pub fn command(&self) -> Command {
        self.command.clone().unwrap_or(Command::Run)
    }

    /// The sources of the settings.
    #[must_use]
    pub fn sources(
        &self,
        environment: BTreeMap<OsString, OsString>,
        working_directory: PathBuf,
    ) -> ConfigSources {
        let mut sources = ConfigSources::new(environment, working_directory);
        sources.flags.clone_from(&self.set);
        if self.command == Some(Command::Relay) {
            // It sends nothing to S3.
            sources.flags.push(("s3_bucket".to_owned(), UNUSED_BUCKET.to_owned()));
        }
        if let Some(file) = &self.config {
            sources.file.clone_from(file);
            sources.file_required = true;
        }
        sources
    }
}

/// Reads the settings, or prints their errors.
///
/// # Errors
///
/// All errors, and the file for the termination message.
pub fn load_or_report(sources: &ConfigSources) -> Result<LoadedConfig, Problems> {
    load(sources).inspect_err(refuse)
}

/// `check-config`.
#[must_use]
pub fn check_config(loaded: &LoadedConfig) -> Exit {
    let page = check_config::page(&loaded.effective);
    let printed = std::io::stdout().lock().write_all(page.as_bytes());
    if printed.is_ok() { Exit::Success } else { Exit::Unexpected }
}

fn refuse(problems: &Problems) {
    // If stderr cannot be written, the exit code remains.
    writeln!(std::io::stderr(), "file-sync-service: {problems}").ok();
}

/// Go's flags start with one dash or two. Taken for a bundle of short flags, `-config` would be an
/// error.
fn two_dashes(argument: OsString) -> OsString {
    if !is_flag(&argument, b"-config") && !is_flag(&argument, b"-set") {
        return argument;
    }
    let mut double = OsString::from("-");
    double.push(argument);
    double
}

/// Whether this is the flag, alone or with its value behind a `=`.
fn is_flag(argument: &OsStr, flag: &[u8]) -> bool {
    matches!(argument.as_bytes().strip_prefix(flag), Some([] | [b'=', ..]))
}

/// Milliseconds since the epoch.
fn moment(text: &str) -> Result<u64, String> {
    let parsed = OffsetDateTime::parse(text, &Rfc3339).ok();
    let millis = parsed.map(|time| time.unix_timestamp_nanos() / 1_000_000);
    millis.and_then(|millis| u64::try_from(millis).ok()).ok_or_else(|| {
        "write a time with its zone, such as 2026-11-29T17:00:00Z or 2026-11-29T18:00:00+01:00"
            .to_owned()
    })
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, such as s3_prefix=uploads".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Cli {
        parse(line.split_whitespace().map(OsString::from)).expect(line)
    }

    fn refused(line: &str) -> String {
        parse(line.split_whitespace().map(OsString::from)).expect_err(line).to_string()
    }

    #[test]
    fn the_definition_is_sound() {
        <Cli as CommandFactory>::command().debug_assert();
    }

    #[test]
    fn run_is_the_default_and_the_file_may_stand_anywhere() {
        assert_eq!(parsed("fss").command(), Command::Run);
        assert_eq!(parsed("fss run").command(), Command::Run);
        for line in [
            "fss once --config a.yml",
            "fss --config a.yml once",
            "fss --config=a.yml once",
            "fss once -config a.yml",
            "fss -config=a.yml once",
        ] {
            let cli = parsed(line);
            assert_eq!(
                (cli.command(), cli.config),
                (
                    Command::Once { reapply_rules: false, strict: false, dry_run: false },
                    Some("a.yml".into())
                ),
                "{line}"
            );
        }
        assert_eq!(parsed("fss -config a.yml").config, Some("a.yml".into()));
    }

    #[test]
    fn rules_are_applied_again_only_by_a_single_run() {
        let command = parsed("fss once --reapply-rules").command();
        assert_eq!(command, Command::Once { reapply_rules: true, strict: false, dry_run: false });
        refused("fss run --reapply-rules");
        refused("fss --reapply-rules");
    }

    #[test]
    fn settings_may_be_given_several_times() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let cli = parsed("fss once --set a=1 --set b=2=3");
        assert_eq!(cli.set, [pair("a", "1"), pair("b", "2=3")]);
        assert!(refused("fss --set a").contains("write KEY=VALUE, such as s3_prefix=uploads"));
    }

    #[test]
    fn settings_on_both_sides_of_the_command_are_refused_rather_than_lost() {
        assert!(refused("fss --set a=1 once --set b=2").contains("on one side"));
        assert_eq!(parsed("fss --set a=1 --set b=2 once").set.len(), 2);
    }

    #[test]
    fn usage_errors_name_what_was_meant() {
        let restore = RestoreArgs { include: vec!["*.pdf".into()], ..RestoreArgs::default() };
        assert_eq!(parsed("fss hydrate --include *.pdf").command(), Command::Restore(restore));
        let at = |text| match parsed(&format!("fss restore --at {text}")).command() {
            Command::Restore(args) => args.at,
            _ => None,
        };
        assert_eq!(at("1970-01-01T01:00:01.5+01:00"), Some(1_500));
        assert!(refused("fss restore --at yesterday").contains("with its zone"));
        assert!(refused("fss chekc-config").contains("'check-config'"));
        assert!(refused("fss --confg a").contains("'--config'"));
    }

    #[test]
    fn the_codes_are_those_of_the_contract() {
        let codes = [
            Exit::Success,
            Exit::Unexpected,
            Exit::Usage,
            Exit::Unreachable,
            Exit::StateUnreadable,
            Exit::StateUnavailable,
            Exit::WorkLeft,
            Exit::ConfigInvalid,
        ];
        assert_eq!(codes.map(|exit| exit as u8), [0, 1, 2, 69, 70, 73, 75, 78]);
    }
}
