//! `gce-guest agent`, and the predecessors' separate daemons.

use std::process::ExitCode;

use clap::Args;

use super::require_root;
use crate::agent::managers::Manager;
use crate::agent::{self, Options};
use crate::metadata::{Client, Endpoint};
use crate::system::notify::watchdog;
use crate::system::root::Root;
use crate::system::{environment, log, processes};

/// Arguments of `gce-guest agent`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Exit status: 0 after SIGTERM or SIGINT, or when another agent holds every lock;
1 when it cannot start, as for others than root.

SIGHUP reads the configuration again.

Examples:
  gce-guest agent                   all managers, with the journal or syslog
  gce-guest agent --debug           the same, with details on standard error
  gce-guest agent --only accounts   users and SSH keys only

Files:
  /etc/default/instance_configs.cfg.template  settings; see gce-guest config
  /etc/gce-guest/hooks.d/EVENT/               programs to start; see hooks
  /run/gce-guest/status/                      what gce-guest status reads
  /var/log/gce-guest/                         what gce-guest history reads")]
pub struct Arguments {
    /// Log details, and to standard error as well.
    #[arg(short, long)]
    debug: bool,
    /// Copy log lines to the serial console (Core.console_level says which).
    #[arg(long)]
    console: bool,
    /// Run only these managers.
    #[arg(long, value_delimiter = ',', value_name = "MANAGER")]
    only: Vec<Manager>,
}

/// Runs the agent.
///
/// # Errors
/// Those of [`agent::run`].
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let managers = if arguments.only.is_empty() {
        Manager::ALL.to_vec()
    } else {
        arguments.only.clone()
    };
    run_managers(managers, arguments.debug, arguments.console)
}

/// Runs the agent with these managers.
///
/// # Errors
/// Those of [`agent::run`].
pub fn run_managers(
    managers: Vec<Manager>,
    debug: bool,
    serial_console: bool,
) -> anyhow::Result<ExitCode> {
    require_root("run the agent")?;
    log::start(&log::Options::daemon(debug).with_serial_console(serial_console));
    agent::run(Options {
        managers,
        client: Client::new(Endpoint::compute_engine()),
        root: Root::machine(),
        notify_socket: environment::variable("NOTIFY_SOCKET"),
        watchdog: watchdog(
            environment::variable("WATCHDOG_USEC").as_deref(),
            environment::variable("WATCHDOG_PID").as_deref(),
            processes::own_id(),
        ),
    })
}
