//! Makes the changes of a plan. Each one stands on its own: one that the kernel refuses costs itself alone.

use std::io;

use super::Machine;
use super::plan::{Action, Change};
use crate::system::files::setting::{KernelDirectory, write_setting};

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

/// Makes changes on a machine. Those of one plan are mostly of neighbours, of which there are hundreds: the interrupts, the
/// queues of a NIC. So the directory in which the last one had its own is kept open.
pub struct Writer<'a> {
    machine: &'a Machine,
    last: Option<(String, KernelDirectory)>,
}

impl<'a> Writer<'a> {
    /// Writes to this machine.
    #[must_use]
    pub fn new(machine: &'a Machine) -> Self {
        Self {
            machine,
            last: None,
        }
    }

    /// Makes one change.
    #[must_use]
    pub fn apply(&mut self, change: &Change) -> Made {
        let Err(error) = self.act(&change.action) else {
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

    fn act(&mut self, action: &Action) -> io::Result<()> {
        let machine = self.machine;
        match action {
            Action::Affinity { interrupt, cpus } => {
                let path = format!("/proc/irq/{interrupt}/smp_affinity_list");
                self.write(&path, &cpus.to_string())
            }
            Action::Write { path, value } => self.write(path, value),
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

    fn write(&mut self, absolute: &str, value: &str) -> io::Result<()> {
        let Some((above, below)) = split_before_parent(absolute) else {
            return write_setting(&self.machine.path(absolute), value);
        };
        if self.last.as_ref().is_none_or(|(last, _)| last != above) {
            let directory = KernelDirectory::open(&self.machine.path(above));
            self.last = directory.map(|directory| (above.to_owned(), directory));
        }
        match &self.last {
            Some((_, directory)) => directory.write(below, value),
            None => write_setting(&self.machine.path(absolute), value),
        }
    }
}

/// The directory above the one of a file, and the rest: `/proc/irq` and `7/smp_affinity_list`.
fn split_before_parent(path: &str) -> Option<(&str, &str)> {
    let (parent, _) = path.rsplit_once('/')?;
    let (above, _) = parent.rsplit_once('/')?;
    Some((above, path.get(above.len() + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_have_a_directory_above_them_in_common() {
        for (path, above, below) in [
            (
                "/proc/irq/7/smp_affinity_list",
                "/proc/irq",
                "7/smp_affinity_list",
            ),
            (
                "/sys/class/net/eth0/queues/tx-1/xps_cpus",
                "/sys/class/net/eth0/queues",
                "tx-1/xps_cpus",
            ),
            ("/sys/setting", "", "sys/setting"),
        ] {
            assert_eq!(split_before_parent(path), Some((above, below)));
        }
        assert_eq!(split_before_parent("/setting"), None);
    }
}
