//! Command-line definitions: what the user typed, as types. The legacy program names map to the same commands.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::sandbox;

/// The Linux guest environment for Compute Engine.
#[derive(Debug, Parser)]
#[command(name = "gce-guest", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// An empty sandbox, for tests.
    #[command(hide = true)]
    Sandbox(sandbox::Arguments),
    #[command(hide = true)]
    SandboxEnter(sandbox::StageArguments),
    #[command(hide = true)]
    SandboxInit(sandbox::StageArguments),
}

/// Runs the command that the arguments name and returns its exit status.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => match cli.command {
            Command::Sandbox(arguments) => sandbox::run(arguments),
            Command::SandboxEnter(arguments) => sandbox::enter(&arguments),
            Command::SandboxInit(arguments) => sandbox::init(&arguments),
        },
        Err(error) => {
            let status = u8::try_from(error.exit_code()).unwrap_or(2);
            // A closed standard output is no reason to fail differently.
            let _ = error.print();
            ExitCode::from(status)
        }
    }
}
