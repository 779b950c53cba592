//! The predecessors' programs: their names and their options (spec/core.md 1), on the same commands.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use super::{conclude, refuse, tell};
use crate::agent::managers::Manager;
use crate::commands::tune::{self, What};
use crate::commands::{agent, hostname, nic_name, nvme_id, scripts, setup};
use crate::scripts::find::Occasion;
use crate::system::log;

/// What a legacy program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A daemon with these managers.
    Agent(&'static [Manager]),
    /// The script runner.
    ScriptRunner,
    /// A program that tunes the machine.
    Tuner(What),
    /// The set-up at boot.
    Setup,
    /// What the hooks of DHCP clients call.
    SetHostname,
    /// What udev's rules call for disks.
    NvmeId,
    /// What udev's rules call for network interfaces.
    NicName,
}

/// The legacy names, each a symbolic link to the one binary.
pub const NAMES: [(&str, Role); 11] = [
    ("google_accounts_daemon", Role::Agent(&[Manager::Accounts])),
    (
        "google_network_daemon",
        Role::Agent(&[Manager::Network, Manager::Interfaces, Manager::Hostname]),
    ),
    ("google_clock_skew_daemon", Role::Agent(&[Manager::Clock])),
    ("google_instance_setup", Role::Setup),
    ("google_metadata_script_runner", Role::ScriptRunner),
    ("google_guest_agent", Role::Agent(&Manager::ALL)),
    ("google_set_hostname", Role::SetHostname),
    ("google_set_multiqueue", Role::Tuner(What::Queues)),
    ("google_optimize_local_ssd", Role::Tuner(What::LocalSsd)),
    ("google_nvme_id", Role::NvmeId),
    ("gce-nic-naming", Role::NicName),
];

/// The role of a program name, if it is a legacy one.
#[must_use]
pub fn role(name: &str) -> Option<Role> {
    NAMES
        .iter()
        .find(|(legacy, _)| *legacy == name)
        .map(|(_, role)| *role)
}

/// The options of every legacy program. Extra arguments are accepted and ignored, and options may be abbreviated.
#[derive(Debug, Parser)]
#[group(skip)]
#[command(infer_long_args = true, disable_version_flag = true)]
struct Arguments {
    /// Log details, and to standard error as well.
    #[arg(short, long)]
    debug: bool,
    /// Accepted and ignored.
    #[arg(hide = true)]
    ignored: Vec<OsString>,
}

/// The options of the script runner: the type as an option (Python) or as the argument (Go).
#[derive(Debug, Parser)]
#[group(skip)]
#[command(infer_long_args = true, disable_version_flag = true)]
struct ScriptArguments {
    /// Log details, and to standard error as well.
    #[arg(short, long)]
    debug: bool,
    /// Which scripts to run: startup or shutdown.
    #[arg(long, value_name = "TYPE")]
    script_type: Option<String>,
    /// The same as an argument.
    #[arg(value_name = "TYPE")]
    arguments: Vec<String>,
}

/// The options of the programs that tune the machine: they had none.
#[derive(Debug, Parser)]
#[group(skip)]
#[command(infer_long_args = true, disable_version_flag = true)]
struct TunerArguments {
    /// Print the changes and make none.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Accepted and ignored.
    #[arg(short, long, hide = true)]
    debug: bool,
    /// Accepted and ignored.
    #[arg(hide = true)]
    ignored: Vec<OsString>,
}

/// The options of the program for udev's rules (spec/beyond.md 20.2).
#[derive(Debug, Parser)]
#[group(skip)]
#[command(disable_version_flag = true)]
struct NvmeIdArguments {
    #[command(flatten)]
    arguments: nvme_id::Arguments,
}

/// Runs a legacy program.
#[must_use]
pub fn run(role: Role, arguments: Vec<OsString>) -> ExitCode {
    match role {
        Role::Agent(managers) => match Arguments::try_parse_from(arguments) {
            Ok(parsed) => conclude(agent::run_managers(
                managers.to_vec(),
                parsed.debug,
                is_unit_of_old(),
            )),
            Err(error) => refuse(&error),
        },
        Role::ScriptRunner => match ScriptArguments::try_parse_from(arguments) {
            Ok(parsed) => run_scripts(&parsed),
            Err(error) => refuse(&error),
        },
        Role::Tuner(what) => match TunerArguments::try_parse_from(arguments) {
            Ok(parsed) => conclude(tune::run_one(what, parsed.dry_run)),
            Err(error) => refuse(&error),
        },
        Role::Setup => match Arguments::try_parse_from(arguments) {
            Ok(parsed) => conclude(setup::run_legacy(parsed.debug)),
            Err(error) => refuse(&error),
        },
        Role::SetHostname => match Arguments::try_parse_from(arguments) {
            Ok(parsed) => conclude(hostname::run_hook(parsed.debug)),
            Err(error) => refuse(&error),
        },
        Role::NvmeId => match NvmeIdArguments::try_parse_from(arguments) {
            Ok(parsed) => conclude(nvme_id::run(&parsed.arguments)),
            Err(error) => refuse(&error),
        },
        // Its only argument was the name of a driver, which says nothing that the device does not.
        Role::NicName => conclude(nic_name::run_legacy()),
    }
}

fn run_scripts(parsed: &ScriptArguments) -> ExitCode {
    let wanted = parsed
        .script_type
        .as_ref()
        .or(parsed.arguments.first())
        .map(|wanted| wanted.to_ascii_lowercase());
    let occasion = match wanted.as_deref() {
        Some("startup") => Occasion::Startup,
        Some("shutdown") => Occasion::Shutdown,
        _ => {
            tell("No valid argument specified. Options: [startup, shutdown].");
            return ExitCode::FAILURE;
        }
    };
    let log = log::Options::program(parsed.debug).with_serial_console(is_unit_of_old());
    conclude(scripts::run_occasion(occasion, false, &log))
}

/// Whether a unit of the predecessors has started us: these send every line to the serial console
/// (`StandardOutput=journal+console`, spec/core.md 12.1), and say so in no other way.
fn is_unit_of_old() -> bool {
    log::stderr_is_the_journal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_may_be_abbreviated_and_extra_arguments_are_ignored() {
        for (line, debug) in [
            (vec!["p"], false),
            (vec!["p", "--deb", "x", "y"], true),
            (vec!["p", "noservice", "-d"], true),
        ] {
            assert_eq!(Arguments::try_parse_from(line).unwrap().debug, debug);
        }
        assert_eq!(
            Arguments::try_parse_from(["p", "--unknown"])
                .unwrap_err()
                .exit_code(),
            2
        );
        assert_eq!(
            Arguments::try_parse_from(["p", "--help"])
                .unwrap_err()
                .exit_code(),
            0
        );
    }

    #[test]
    fn the_script_type_is_taken_in_both_forms() {
        for line in [
            vec!["p", "--script-type", "startup"],
            vec!["p", "--script-type=startup"],
            vec!["p", "--script", "startup"],
        ] {
            assert_eq!(
                ScriptArguments::try_parse_from(line)
                    .unwrap()
                    .script_type
                    .as_deref(),
                Some("startup")
            );
        }
        assert_eq!(
            ScriptArguments::try_parse_from(["p", "STARTUP"])
                .unwrap()
                .arguments,
            ["STARTUP"]
        );
    }

    #[test]
    fn names_are_found_exactly() {
        assert_eq!(
            role("google_metadata_script_runner"),
            Some(Role::ScriptRunner)
        );
        assert_eq!(role("gce-guest"), None);
    }
}
