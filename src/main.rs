//! The doorway.

use file_sync_service::cli::{self, Cli, Command, Exit};
use std::process::ExitCode;

fn main() -> ExitCode {
    let exit = match cli::parse(std::env::args_os()) {
        Ok(cli) => serve(&cli),
        Err(instead) => cli::answer(&instead),
    };
    exit.into()
}

fn serve(cli: &Cli) -> Exit {
    let working_directory = match std::env::current_dir() {
        Ok(directory) => directory,
        Err(error) => {
            eprintln!("file-sync-service: the working directory cannot be read: {error}");
            return Exit::Unexpected;
        }
    };
    let loaded = match cli.load(std::env::vars_os().collect(), working_directory) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    match cli.command() {
        Command::CheckConfig => cli::check_config(&loaded),
        Command::Run | Command::Once => {
            eprintln!("file-sync-service: this build cannot mirror yet");
            Exit::Unexpected
        }
    }
}
