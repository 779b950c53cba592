//! Command-line definitions: what the user typed, as types. The legacy program names map to the same commands.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    accounts, agent, analyze, clock, conclude, config, doctor, emulator, history, hooks, hostname,
    image_clean, legacy, metadata, network, nic_name, nvme_id, pass, refuse, sandbox, scripts,
    setup, status, r#try, tune,
};
use crate::system::log;

/// The Linux guest environment for Compute Engine: keeps this VM in line with its metadata.
#[derive(Debug, Parser)]
#[command(
    name = "gce-guest",
    version,
    disable_help_subcommand = true,
    max_term_width = 80
)]
#[command(after_help = "\
Exit status: 0 done, 1 failed, 2 wrong usage; a command that says otherwise
documents it.

Examples:
  gce-guest try               the agent at work on a copy of this machine
  gce-guest plan              what the agent would change now
  gce-guest status            how it is, and what it changed last
  gce-guest accounts --help   more about a command, with examples")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep accounts, SSH keys, addresses and the clock in line with metadata, until told to stop.
    Agent(agent::Arguments),
    /// Show what the agent would change now, and change nothing.
    Plan(pass::PlanArguments),
    /// Make the changes of one pass now, without the agent.
    Apply(pass::ApplyArguments),
    /// Show how each part of the agent is and what it changed last.
    Status(status::Arguments),
    /// Look for what is wrong with the machine, and say what to do about it.
    Doctor(doctor::Arguments),
    /// Show what was changed, when, and why.
    History(history::Arguments),
    /// List the users that metadata asks for, or bring them in line once.
    Accounts(accounts::Arguments),
    /// Show the clock beside the RTC, or put it right.
    Clock(clock::Arguments),
    /// Show interfaces and routes, or bring routes in line once.
    Network(network::Arguments),
    /// Show the host name and what metadata wants, or bring it in line once.
    Hostname(hostname::Arguments),
    /// Say why something is as it is.
    Explain(accounts::ExplainArguments),
    /// Set this machine up: host keys, boto, the configuration for other programs.
    Setup(setup::Arguments),
    /// Show what the time of the set-up went into.
    Analyze(analyze::Arguments),
    /// Take out of this machine what must not be in an image of it.
    ImageClean(image_clean::Arguments),
    /// Run the owner's startup or shutdown scripts.
    Scripts(scripts::Arguments),
    /// Spread interrupts and queues over the processors, and set up local SSDs.
    Tune(tune::Arguments),
    /// Print the name of a network interface, for udev.
    NicName(nic_name::Arguments),
    /// Print the name of an NVMe disk, for udev.
    NvmeId(nvme_id::Arguments),
    /// Show and run the programs that are started when something happens.
    Hooks(hooks::Arguments),
    /// Show, check and change the configuration.
    Config(config::Arguments),
    /// Ask the metadata server, watch it, write guest attributes.
    Metadata(metadata::Arguments),
    /// Be a metadata server, for trials and tests.
    Emulator(emulator::Arguments),
    /// See the agent at work on a throw-away copy of this machine.
    Try(r#try::Arguments),
    #[command(hide = true)]
    TryInside(r#try::InsideArguments),
    /// An empty sandbox, for tests.
    #[command(hide = true)]
    Sandbox(sandbox::Arguments),
    #[command(hide = true)]
    SandboxEnter(sandbox::StageArguments),
    #[command(hide = true)]
    SandboxInit(sandbox::StageArguments),
}

/// The definition of the command line, from which the manual and the completions are made as well.
///
/// A verb below a verb says at the end of its help what its parent says, of the examples only its own.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command().mut_subcommands(|verb| {
        let Some(help) = verb.get_after_help().map(ToString::to_string) else {
            return verb;
        };
        let start = format!("  gce-guest {} ", verb.get_name());
        verb.mut_subcommands(|below| match below.get_after_help() {
            Some(_) => below,
            None => {
                let own = format!("{start}{}", below.get_name());
                below.after_help(inherited(&help, &own))
            }
        })
    })
}

/// The end of a parent's help for one of its verbs: of the examples those that begin with `own`.
fn inherited(help: &str, own: &str) -> String {
    let mut text = String::new();
    let mut is_example = false;
    for line in help.lines() {
        is_example = line == "Examples:" || (is_example && !line.is_empty());
        let rest = line.strip_prefix(own);
        let is_own = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
        if !is_example || line == "Examples:" || is_own {
            text += line;
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    // All texts are put together for those who see them: whoever asks for help, and whoever is refused.
    parse_by(Cli::command(), arguments.clone()).or_else(|_| parse_by(command(), arguments))
}

fn parse_by(mut command: clap::Command, arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Runs the command that the arguments name and returns its exit status.
///
/// Called by a legacy name, it is that program (spec/core.md 0.3); by any other name the first argument is the command.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let status = dispatch(arguments.collect());
    log::finish();
    status
}

fn dispatch(arguments: Vec<OsString>) -> ExitCode {
    let name = arguments
        .first()
        .and_then(|program| Path::new(program).file_name())
        .and_then(|name| name.to_str());
    if let Some(role) = name.and_then(legacy::role) {
        return legacy::run(role, arguments);
    }
    match parse(arguments) {
        Ok(cli) => match cli.command {
            Command::Agent(arguments) => conclude(agent::run(&arguments)),
            Command::Plan(arguments) => conclude(pass::run_plan(&arguments)),
            Command::Apply(arguments) => conclude(pass::run_apply(&arguments)),
            Command::Status(arguments) => conclude(status::run(&arguments)),
            Command::Doctor(arguments) => conclude(doctor::run(&arguments)),
            Command::History(arguments) => conclude(history::run(&arguments)),
            Command::Accounts(arguments) => conclude(accounts::run(&arguments)),
            Command::Clock(arguments) => conclude(clock::run(&arguments)),
            Command::Network(arguments) => conclude(network::run(&arguments)),
            Command::Hostname(arguments) => conclude(hostname::run(&arguments)),
            Command::Explain(arguments) => conclude(accounts::run_explain(&arguments)),
            Command::Setup(arguments) => conclude(setup::run(&arguments)),
            Command::Analyze(arguments) => conclude(analyze::run(&arguments)),
            Command::ImageClean(arguments) => conclude(image_clean::run(&arguments)),
            Command::Scripts(arguments) => conclude(scripts::run(&arguments)),
            Command::Tune(arguments) => conclude(tune::run(&arguments)),
            Command::NicName(arguments) => conclude(nic_name::run(&arguments)),
            Command::NvmeId(arguments) => conclude(nvme_id::run(&arguments)),
            Command::Hooks(arguments) => conclude(hooks::run(&arguments)),
            Command::Config(arguments) => conclude(config::run(&arguments)),
            Command::Metadata(arguments) => conclude(metadata::run(&arguments)),
            Command::Emulator(arguments) => conclude(emulator::run(&arguments)),
            Command::Try(arguments) => conclude(r#try::run(&arguments)),
            Command::TryInside(arguments) => conclude(r#try::run_inside(&arguments)),
            Command::Sandbox(arguments) => sandbox::run(arguments),
            Command::SandboxEnter(arguments) => sandbox::enter(&arguments),
            Command::SandboxInit(arguments) => sandbox::init(&arguments),
        },
        Err(error) => refuse(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_verb_below_a_verb_has_its_own_examples() {
        let help = "Exit status: 0.\n\nExamples:\n  a list   all\n  a list-all\n  a sync";
        let own = "Exit status: 0.\n\nExamples:\n  a list   all";
        assert_eq!(inherited(help, "  a list"), own);
        let with_files = format!("{help}\n\nFiles:\n  /etc/a");
        assert_eq!(
            inherited(&with_files, "  a sync"),
            "Exit status: 0.\n\nExamples:\n  a sync\n\nFiles:\n  /etc/a"
        );
    }
}
