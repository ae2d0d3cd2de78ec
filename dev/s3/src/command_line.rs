//! The command line of a program for development, and its exit code.

use std::error::Error;
use std::fmt::Display;
use std::process::ExitCode;
use std::str::FromStr;

/// What a shell reports for a program that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;
/// The wrong command line.
const WRONG_USE: u8 = 2;

/// The options that were not read yet.
#[derive(Debug)]
pub struct CommandLine(Vec<String>);

impl CommandLine {
    /// The value behind `name`, if it is there. Asked again, the next one.
    ///
    /// # Errors
    ///
    /// If there is no value, or none of this kind.
    pub fn value<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, String>
    where
        T::Err: Display,
    {
        let Some(at) = self.0.iter().position(|arg| arg == name) else { return Ok(None) };
        let Some(value) = self.0.get(at + 1).cloned() else {
            return Err(format!("{name} needs a value"));
        };
        self.0.drain(at..=at + 1);
        value.parse().map(Some).map_err(|error| format!("{name} {value}: {error}"))
    }

    /// The value behind `name`.
    ///
    /// # Errors
    ///
    /// If it is not there, or not of this kind.
    pub fn required<T: FromStr>(&mut self, name: &str) -> Result<T, String>
    where
        T::Err: Display,
    {
        self.value(name)?.ok_or_else(|| format!("{name} is missing"))
    }

    /// Whether `name` is there.
    pub fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|arg| arg != name);
        self.0.len() < before
    }

    fn end(self) -> Result<(), String> {
        self.0.first().map_or(Ok(()), |arg| Err(format!("no such option: {arg}")))
    }
}

/// Runs the program `name`: has `read` make arguments of its command line, has `run` do what they
/// say, and answers its exit code.
pub fn program<A>(
    name: &str,
    usage: &str,
    read: impl FnOnce(&mut CommandLine) -> Result<A, String>,
    run: impl FnOnce(&A) -> Result<ExitCode, Box<dyn Error>>,
) -> ExitCode {
    match arguments(std::env::args().skip(1), read) {
        Ok(Some(arguments)) => run(&arguments).unwrap_or_else(|error| {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }),
        Ok(None) => {
            println!("{usage}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{name}: {error}\n\n{usage}");
            ExitCode::from(WRONG_USE)
        }
    }
}

/// `None` if the usage was asked for.
fn arguments<A>(
    args: impl Iterator<Item = String>,
    read: impl FnOnce(&mut CommandLine) -> Result<A, String>,
) -> Result<Option<A>, String> {
    let mut options = CommandLine(args.collect());
    if options.flag("--help") | options.flag("-h") {
        return Ok(None);
    }
    let arguments = read(&mut options)?;
    options.end()?;
    Ok(Some(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<(String, u64, bool)>, String> {
        let args = line.split_whitespace().map(str::to_owned);
        arguments(args, |options| {
            let files = options.value("--files")?.unwrap_or(7);
            Ok((options.required("--daemon")?, files, options.flag("--once")))
        })
    }

    #[test]
    fn options_are_read_in_any_order_and_have_defaults() {
        let daemon = || "x".to_owned();
        assert_eq!(read("--once --files 3 --daemon x"), Ok(Some((daemon(), 3, true))));
        assert_eq!(read("--daemon x"), Ok(Some((daemon(), 7, false))));
        assert_eq!(read("--daemon x --help"), Ok(None));
    }

    #[test]
    fn what_is_wrong_with_a_command_line_is_said() {
        let wrong = |line| read(line).expect_err(line);
        assert_eq!(wrong("--files 1"), "--daemon is missing");
        assert_eq!(wrong("--daemon"), "--daemon needs a value");
        assert_eq!(wrong("--daemon x --files"), "--files needs a value");
        assert_eq!(wrong("--daemon x --files y"), "--files y: invalid digit found in string");
        assert_eq!(wrong("--daemon x --fiels 1"), "no such option: --fiels");
    }
}
