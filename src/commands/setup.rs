//! `gce-guest setup`: what a VM needs before it is ready, once per boot.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use log::{info, warn};

use crate::config::Settings;
use crate::metadata::{Backoff, Client, Document, Endpoint, Retry};
use crate::setup::context::{Context, Outside};
use crate::setup::record::Run;
use crate::setup::{self, LOGGER};
use crate::system::channel;
use crate::system::locks::{FileLock, LockError};
use crate::system::notify::ServiceManager;
use crate::system::root::Root;
use crate::system::{environment, files, log as logging, threads};

/// The lock that keeps two set-ups apart. The predecessors had none.
const LOCK: &str = "/var/lock/google_instance_setup.lock";

/// How long a second set-up waits for the first.
const LOCK_WAIT: Duration = Duration::from_secs(600);

/// How often the lock is tried.
const LOCK_PERIOD: Duration = Duration::from_millis(100);

/// How often metadata is asked for while the network comes up.
const PATIENCE: Backoff = Backoff {
    first: Duration::from_millis(100),
    cap: Duration::from_secs(2),
};

/// Arguments of `gce-guest setup`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Exit status: 0 when every step is done, had nothing to do or is switched off; 1
when a step failed or could not be begun, such as without metadata: the others
are done all the same, and the next run completes it.

Examples:
  gce-guest setup           set this machine up, or complete it
  gce-guest setup --json    the same, with what became of each step
  gce-guest analyze         what the time of the boot's set-up went into")]
pub struct Arguments {
    /// Print what became of each step as JSON.
    #[arg(long)]
    json: bool,
    /// Take the host keys that are there for this instance's: for a package
    /// that is installed on a running machine.
    #[arg(long)]
    keep_host_keys: bool,
    /// Log details, and to standard error as well.
    #[arg(short, long)]
    debug: bool,
    /// Copy log lines to the serial console (Core.console_level says which).
    #[arg(long)]
    console: bool,
}

/// Runs the set-up and shows what became of it.
///
/// # Errors
/// Another set-up goes on and on, or standard output cannot be written.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let log = logging::Options::program(arguments.debug).with_serial_console(arguments.console);
    let run = set_up(arguments.keep_host_keys, &log)?;
    let text = if arguments.json {
        let mut text = serde_json::to_string_pretty(&run)?;
        text.push('\n');
        text
    } else if std::io::stdout().is_terminal() {
        table(&run)
    } else {
        String::new()
    };
    super::print(text.as_bytes())?;
    Ok(status(&run))
}

/// Runs the set-up as the predecessors' program, which says what it does in the log only.
///
/// # Errors
/// Another set-up goes on and on.
pub fn run_legacy(debug: bool) -> anyhow::Result<ExitCode> {
    Ok(status(&set_up(false, &logging::Options::program(debug))?))
}

fn status(run: &Run) -> ExitCode {
    if run.failures().is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn table(run: &Run) -> String {
    let line = |step: &setup::record::StepRecord| {
        format!(
            "{:<18} {:<12} {}\n",
            step.step,
            step.result.words(),
            step.detail
        )
    };
    run.steps.iter().map(line).collect()
}

fn set_up(keep_host_keys: bool, log: &logging::Options) -> anyhow::Result<Run> {
    super::require_root("set the machine up")?;
    logging::start(log);
    let root = Root::machine();
    let _lock = wait_for_lock(&root)?;
    let client = Client::new(Endpoint::compute_engine());
    let notify_socket = environment::variable("NOTIFY_SOCKET");
    let manager = ServiceManager::new(notify_socket.as_deref());
    let outside = Outside {
        fetch: &|settings| wait_for_document(&client, settings, &manager),
        publish: &|namespace, key, value| {
            let written = client.put_guest_attribute(namespace, key, value);
            written.map_err(|error| error.to_string())
        },
        ready: &|| {
            if let Err(error) = manager.notify("READY=1") {
                warn!(target: LOGGER, "The service manager cannot be told that sshd may start: {error}.");
            }
            notify_socket.is_some()
        },
    };
    let context = Context::new(root, keep_host_keys, outside);
    let core = &context.settings().core;
    logging::set_levels(core.level(), core.serial_level());
    Ok(setup::run(&context))
}

/// Takes the lock of the set-up, after the one that runs. Where no lock can be taken at all the set-up goes on without:
/// every file is written whole, and a machine has to boot.
fn wait_for_lock(root: &Root) -> anyhow::Result<Option<FileLock>> {
    let path = root.path(LOCK);
    if let Some(directory) = path.parent()
        && let Err(error) = files::create_directories(directory, 0o755)
    {
        warn!(target: LOGGER, "The directory of {LOCK} cannot be made: {error}.");
    }
    let until = Instant::now() + LOCK_WAIT;
    let mut told = false;
    loop {
        match FileLock::try_take(&path) {
            Ok(lock) => return Ok(Some(lock)),
            Err(LockError::Held { holder, .. }) if Instant::now() < until => {
                if !told {
                    info!(target: LOGGER, "Another set-up is under way ({holder}); this one begins when it has ended.");
                    told = true;
                }
                std::thread::sleep(LOCK_PERIOD);
            }
            Err(error @ LockError::Held { .. }) => {
                bail!("another set-up does not end: {error}")
            }
            Err(error) => {
                warn!(target: LOGGER, "{error}; a second set-up would not be noticed.");
                return Ok(None);
            }
        }
    }
}

/// The document, as soon as the network and the server are there, within InstanceSetup.network_timeout.
fn wait_for_document(
    client: &Client,
    settings: &Settings,
    manager: &ServiceManager,
) -> Result<Document, String> {
    let limit = settings.instance_setup.network_timeout;
    let client = client.separate();
    let retry = Retry {
        backoff: PATIENCE,
        ..Retry::forever(LOGGER)
    };
    retry.stop.closes(&client);
    let why = RefCell::new(None);
    let ask = || {
        let answer = client.get_document();
        if let Err(error) = &answer
            && !retry.stop.is_stopped()
            && why.replace(Some(error.to_string())).is_none()
        {
            let at_most = match limit {
                0 => "without limit".to_owned(),
                limit => format!("for at most {limit} s"),
            };
            info!(target: LOGGER, "Waiting for the network and the metadata server, {at_most} (InstanceSetup.network_timeout).");
            // Whoever looks at the unit sees it; nobody depends on it.
            let _ = manager.notify("STATUS=Waiting for the metadata server");
        }
        answer
    };
    let (ended, end) = channel::channel::<()>();
    let answer = std::thread::scope(|scope| {
        if limit > 0 {
            let stop = retry.stop.clone();
            let limit = Duration::from_secs(limit.into());
            threads::start_within(scope, move || {
                if end.recv_timeout(limit) == Err(channel::RecvTimeoutError::Timeout) {
                    stop.stop();
                }
            });
        }
        let answer = retry.run(ask);
        drop(ended);
        answer
    });
    answer.map_err(|error| {
        let why = why.take().unwrap_or_else(|| error.to_string());
        if retry.stop.is_stopped() {
            format!("no metadata within {limit} s (InstanceSetup.network_timeout): {why}")
        } else {
            format!("no metadata: {why}")
        }
    })
}
