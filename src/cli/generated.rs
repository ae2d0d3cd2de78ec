//! Text that follows from the definition of the command line: completions of shells, and the manual page.

use super::{Cli, Exit};
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use std::io::{self, Write};

/// `completions SHELL`: prints the completions of a shell.
#[must_use]
pub fn completions(shell: Shell) -> Exit {
    let mut script = Vec::new();
    let mut command = <Cli as CommandFactory>::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    print(&script)
}

/// `man`: prints the manual page.
#[must_use]
pub fn manual() -> Exit {
    let mut page = Vec::new();
    match write_manual(&mut page) {
        Ok(()) => print(&page),
        Err(_) => Exit::Unexpected,
    }
}

fn print(text: &[u8]) -> Exit {
    let printed = io::stdout().lock().write_all(text);
    if printed.is_ok() { Exit::Success } else { Exit::Unexpected }
}

/// One page for all commands. The generator makes a page of each.
fn write_manual(page: &mut Vec<u8>) -> io::Result<()> {
    let command = <Cli as CommandFactory>::command();
    let man = Man::new(command.clone()).section("1");
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    page.write_all(b".SH COMMANDS\n")?;
    write_commands(page, &command, command.get_name())?;
    let mut notes = Vec::new();
    man.render_extra_section(&mut notes)?;
    write_without_heading(page, &notes, ".SH NOTES\n")
}

/// The commands below `parent`, each with its arguments.
fn write_commands(page: &mut Vec<u8>, parent: &Command, path: &str) -> io::Result<()> {
    for command in parent.get_subcommands() {
        let path = format!("{path} {}", command.get_name());
        if command.has_subcommands() {
            write_commands(page, command, &path)?;
            continue;
        }
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, ".SS \"{}\"\n{about}", path.replace('-', "\\-"))?;
        let mut options = Vec::new();
        Man::new(command.clone().disable_help_flag(true)).render_options_section(&mut options)?;
        write_without_heading(page, &options, "")?;
    }
    Ok(())
}

/// Writes a section with another heading.
fn write_without_heading(page: &mut Vec<u8>, section: &[u8], heading: &str) -> io::Result<()> {
    page.write_all(heading.as_bytes())?;
    for line in section.split_inclusive(|byte| *byte == b'\n') {
        if !line.starts_with(b".SH") {
            page.write_all(line)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_names_every_command_and_its_options() {
        let mut page = Vec::new();
        write_manual(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert_eq!(page.matches(".TH").count(), 1, "{page}");
        for heading in ["NAME", "SYNOPSIS", "OPTIONS", "COMMANDS", "NOTES"] {
            assert_eq!(page.matches(&format!(".SH {heading}\n")).count(), 1, "{heading}: {page}");
        }
        for text in [
            ".SS \"file\\-sync\\-service queue retry\"",
            ".SS \"file\\-sync\\-service once\"",
            "reapply\\-rules",
            "75 work left undone",
        ] {
            assert!(page.contains(text), "{text}: {page}");
        }
    }

    #[test]
    fn each_shell_completes_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            let mut command = <Cli as CommandFactory>::command();
            clap_complete::generate(shell, &mut command, "file-sync-service", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["check-config", "prestop", "reapply-rules"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
