//! `gce-guest tune`: queues, interrupts, disks and memory, for people and for the predecessors' programs.

use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::tell;
use crate::metadata::{Client, Endpoint};
use crate::setup::tuning::{self, Listener, Machine, Mode, Platform, Tuned};
use crate::system::environment;
use crate::system::root::Root;

/// How long metadata is waited for: the machine has to boot without it, too.
const PATIENCE: Duration = Duration::from_secs(1);

/// The variables of the predecessor's tests: the directory that stands for /, and the metadata server.
const FAKE_ROOT: &str = "GOOGLE_SET_MULTIQUEUE_FAKEROOT";
const METADATA_SERVER: &str = "GOOGLE_SET_MULTIQUEUE_METADATASERVER";

/// Arguments of `gce-guest tune`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Prints a line for every change: what it was -> what it is. What is right already
is not touched. Interrupts are left alone where irqbalance is at work.

Environment: GOOGLE_SET_MULTIQUEUE_FAKEROOT is a directory with the /sys and
/proc of a machine, which is tuned instead of this one;
GOOGLE_SET_MULTIQUEUE_METADATASERVER is the ADDRESS or ADDRESS:PORT that is
asked for the machine type.

Exit status: 0 done, also where the kernel manages an interrupt itself; 1
something could not be changed.

Examples:
  gce-guest tune queues --dry-run     what would be changed, and nothing else
  gce-guest tune local-ssd            interrupts and queues of local SSDs
  gce-guest tune all                  all of it")]
pub struct Arguments {
    /// What to tune.
    what: What,
    /// Print the changes and make none.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// What can be tuned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Channels, queues and interrupts of network interfaces.
    Queues,
    /// Interrupts of NVMe, queues and interrupts of local SSDs on SCSI.
    LocalSsd,
    /// No I/O scheduler for disks with several queues.
    Schedulers,
    /// Overcommitted memory, on machine types that share it.
    Memory,
    /// All of these.
    All,
}

/// Runs `gce-guest tune`.
///
/// # Errors
/// The metadata server's address is none, or standard output is closed.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    run_one(arguments.what, arguments.dry_run)
}

/// The same for the predecessors' programs.
pub(crate) fn run_one(what: What, dry_run: bool) -> anyhow::Result<ExitCode> {
    let machine = Machine::new(root());
    let mode = if dry_run { Mode::Tell } else { Mode::Make };
    let platform = match what {
        What::Queues | What::Memory | What::All => platform(&endpoint()?),
        What::LocalSsd | What::Schedulers => Platform::default(),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    // A reader that has gone away must not stop the tuning half-way.
    let mut listener = |line: &str| drop(writeln!(out, "{line}"));
    let tuned: Vec<Tuned> = steps(what)
        .iter()
        .map(|step| take(*step, &machine, &platform, mode, &mut listener))
        .collect();
    let tuned = tuned.into_iter().reduce(Tuned::and).unwrap_or_default();
    let would = if dry_run { " (dry run)" } else { "" };
    listener(&format!("{tuned}{would}"));
    let _ = out.flush();
    Ok(if tuned.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn steps(what: What) -> &'static [What] {
    match what {
        What::Queues => &[What::Queues],
        What::LocalSsd => &[What::LocalSsd],
        What::Schedulers => &[What::Schedulers],
        What::Memory => &[What::Memory],
        What::All => &[What::LocalSsd, What::Schedulers, What::Queues, What::Memory],
    }
}

fn take(
    step: What,
    machine: &Machine,
    platform: &Platform,
    mode: Mode,
    listener: Listener<'_>,
) -> Tuned {
    match step {
        What::Queues => tuning::set_multiqueue(machine, platform, mode, listener),
        What::LocalSsd => tuning::optimize_local_ssd(machine, mode, listener),
        What::Schedulers => tuning::remove_schedulers(machine, mode, listener),
        What::Memory => tuning::overcommit_memory(machine, platform, mode, listener),
        What::All => Tuned::default(),
    }
}

/// What metadata says of the machine; without an answer, what is right on every machine is done.
fn platform(endpoint: &Endpoint) -> Platform {
    let client = Client::new(endpoint.clone()).with_deadline(PATIENCE);
    match client.get_document() {
        Ok(document) => Platform::of(&document),
        Err(error) => {
            tell(&format!(
                "gce-guest: the machine type is not known, so only what is right on every machine is done: {error}"
            ));
            Platform::default()
        }
    }
}

fn root() -> Root {
    environment::variable(FAKE_ROOT).map_or_else(Root::machine, Root::at)
}

fn endpoint() -> anyhow::Result<Endpoint> {
    let Some(text) = environment::variable(METADATA_SERVER) else {
        return Ok(Endpoint::compute_engine());
    };
    let text = text.to_string_lossy();
    let address = text
        .parse::<SocketAddr>()
        .or_else(|_| text.parse().map(|address| SocketAddr::new(address, 80)));
    let address = address
        .with_context(|| format!("{METADATA_SERVER}: \"{text}\" is no ADDRESS or ADDRESS:PORT"))?;
    Ok(Endpoint::at(address))
}
