//! `gce-guest nic-name`: the name of a network interface, for the udev rules (spec/beyond.md 20.2).

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use crate::setup::nic_names::{observe, plan};
use crate::system::environment;
use crate::system::netlink::Socket;
use crate::system::root::Root;

/// The variables of the predecessor's program: what switches it off, and the directory that stands for /.
const SWITCH: &str = "GCE_NIC_NAMING";
const FAKE_ROOT: &str = "GCE_NIC_NAMING_FAKEROOT";

/// Arguments of `gce-guest nic-name`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Prints the name of the interface. What udev says of it is taken from the
environment: DEVPATH, and ID_NET_NAME_PATH, the name by its path.

Environment: GCE_NIC_NAMING=disable leaves every interface its name;
GCE_NIC_NAMING_FAKEROOT is a directory with the /sys of a machine, which is
looked at instead of this one's, and on which nothing is changed.

Exit status: 0 done, 1 the interface keeps the kernel's name, for the reason on
standard error.

Examples:
  gce-guest nic-name -d /devices/pci0000:00/0000:00:05.0/net/eth0")]
pub struct Arguments {
    /// The interface, as udev has it, instead of DEVPATH.
    #[arg(short, long, value_name = "DEVPATH")]
    device: Option<String>,
    /// Rename the interface that has the name now and is to have another one,
    /// to the name with tmp behind it.
    #[arg(long)]
    make_way: bool,
}

/// Runs `gce-guest nic-name`.
///
/// # Errors
/// The interface keeps the kernel's name, or what has the name cannot be renamed.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let device = arguments.device.clone().or_else(|| text("DEVPATH"));
    let device = device.context("there is no device: name it with --device, or in DEVPATH")?;
    print(&device, arguments.make_way)
}

/// The same for the predecessor's program, which knows what udev says alone.
pub(crate) fn run_legacy() -> anyhow::Result<ExitCode> {
    print(&text("DEVPATH").context("there is no DEVPATH")?, true)
}

fn print(device: &str, make_way: bool) -> anyhow::Result<ExitCode> {
    let kept = || format!("{device} keeps its name");
    if text(SWITCH).is_some_and(|switch| switch == "disable") {
        bail!("{}: {SWITCH} says so", kept());
    }
    let fake = environment::variable(FAKE_ROOT);
    let is_fake = fake.is_some();
    let snapshot = observe::snapshot(&fake.map_or_else(Root::machine, Root::at));
    let path_name = text("ID_NET_NAME_PATH");
    let named = plan::name(&snapshot, device, path_name.as_deref()).with_context(kept)?;
    if named.in_the_way && make_way && !is_fake {
        move_aside(&named.name).with_context(kept)?;
    }
    writeln!(io::stdout(), "{}", named.name)?;
    Ok(ExitCode::SUCCESS)
}

/// Frees a name. Whoever has it is given its own by its own event, wherever that is in the queue.
fn move_aside(name: &str) -> anyhow::Result<()> {
    let shown = || format!("rename {name} to {name}tmp, to free its name");
    let mut netlink = Socket::open().with_context(shown)?;
    if let Some(link) = netlink.link(name).with_context(shown)? {
        let other = format!("{name}tmp");
        netlink
            .rename_link(link.index, &other)
            .with_context(shown)?;
    }
    Ok(())
}

fn text(variable: &str) -> Option<String> {
    environment::variable(variable)?.into_string().ok()
}
