//! Makes the changes of a plan. Each one stands on its own: one that the kernel refuses costs itself alone.

use std::io;

use super::Machine;
use super::plan::{Action, Change};

/// What became of a change.
#[derive(Debug)]
pub enum Made {
    /// It is made.
    Done,
    /// The kernel keeps this one to itself, which is no failure; the text says why.
    Left(&'static str),
    /// It is not made.
    Failed(io::Error),
}

/// `EIO`: what the kernel answers for an interrupt whose affinity it manages (kernel/irq/proc.c).
const MANAGED: i32 = 5;

/// `EROFS`: /sys and /proc/sys of a container are those of a machine that is not its own.
const READ_ONLY: i32 = 30;

/// `EINVAL`: what the kernel answers for more requests than the device takes.
const TOO_MANY: i32 = 22;

/// Makes one change.
#[must_use]
pub fn apply(machine: &Machine, change: &Change) -> Made {
    let Err(error) = act(machine, &change.action) else {
        return Made::Done;
    };
    match (&change.action, error.raw_os_error()) {
        (Action::Affinity { .. }, Some(MANAGED)) => Made::Left("the kernel manages it"),
        (Action::Write { path, .. }, Some(TOO_MANY)) if path.ends_with("/nr_requests") => {
            Made::Left("the device takes no more")
        }
        (_, Some(READ_ONLY)) => Made::Left("it is read-only here"),
        _ => Made::Failed(error),
    }
}

fn act(machine: &Machine, action: &Action) -> io::Result<()> {
    match action {
        Action::Affinity { interrupt, cpus } => machine.write(
            &format!("/proc/irq/{interrupt}/smp_affinity_list"),
            &cpus.to_string(),
        ),
        Action::Write { path, value } => machine.write(path, value),
        Action::Channels {
            interface,
            combined,
        } => machine.ethtool()?.set_channels(interface, *combined),
        Action::Rings { interface, rings } => machine.ethtool()?.set_rings(interface, *rings),
        Action::Coalescing {
            interface,
            coalescing,
        } => machine.ethtool()?.set_coalescing(interface, *coalescing),
    }
}
