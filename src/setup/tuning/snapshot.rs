//! What tuning looks at, as values. Pure.

use super::cpus::CpuSet;
use crate::system::ethtool::{Channels, Coalescing, Rings};
use crate::system::order::Map;

/// The processors of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processors {
    /// Those that are in use.
    pub online: CpuSet,
    /// The NUMA nodes that have processors, in the order of their numbers. Nodes of memory alone are not among them.
    pub nodes: Vec<Node>,
}

/// A NUMA node with processors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub number: i32,
    /// Its processors.
    pub cpus: CpuSet,
}

/// The interrupts of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interrupts {
    /// By number.
    pub by_number: Map<u32, Interrupt>,
    /// Whether irqbalance is at work, or will be: then the affinities are its business.
    pub balanced: bool,
}

/// One interrupt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interrupt {
    /// Its handlers, as their drivers name them: `virtio2-input.0`, `gve-ntfy-blk3@pci:0000:00:04.0`, `nvme0q1`.
    pub handlers: Vec<String>,
    /// The processors that it may go to; `None` where there is no such setting.
    pub cpus: Option<CpuSet>,
    /// Whether its driver can suggest processors for it.
    pub can_have_hint: bool,
    /// The processors that its driver suggests, once that was looked up.
    pub hint: CpuSet,
}

impl Interrupt {
    /// Whether one of its handlers is such a one.
    #[must_use]
    pub fn has(&self, is_such: impl Fn(&str) -> bool) -> bool {
        self.handlers.iter().any(|handler| is_such(handler))
    }

    /// Whether it goes where its driver suggests: one of a gVNIC queue, `eth0-ntfy-block.3`, or
    /// `gve-ntfy-blk3@pci:0000:00:04.0` of newer drivers (spec/beyond.md D 36).
    #[must_use]
    pub fn follows_hint(&self) -> bool {
        self.has(|handler| handler.contains("-ntfy-block.") || handler.contains("-ntfy-blk"))
    }
}

/// What the tuning of network queues looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The processors.
    pub processors: Processors,
    /// The interrupts.
    pub interrupts: Interrupts,
    /// The virtio devices that are NICs, by their name on their bus, such as `virtio2`.
    pub virtio_devices: Vec<String>,
    /// The interfaces with a device behind them: those on a PCI bus first, in the order of their addresses.
    pub interfaces: Vec<Interface>,
    /// How many flows the receive flow steering of the machine knows; `None` where the kernel has none.
    pub flows: Option<u32>,
}

/// A network interface with a device behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its driver; empty when it cannot be told.
    pub driver: String,
    /// Whether its device is on a PCI bus.
    pub is_pci: bool,
    /// Whether it is an RDMA device, too.
    pub is_rdma: bool,
    /// Its NUMA node; -1 for none.
    pub node: i32,
    /// The interrupts that its device has, in order, whether they are in use or not.
    pub interrupts: Vec<u32>,
    /// Its transmit queues that are in use, in order.
    pub transmit: Vec<TransmitQueue>,
    /// Of an IDPF NIC, the receive queues in use, each with its number of flows to steer; `None` where the kernel steers none.
    pub receive: Vec<(u32, Option<u32>)>,
    /// Its channels, where the driver tells.
    pub channels: Option<Channels>,
    /// Its rings, where the driver tells.
    pub rings: Option<Rings>,
    /// The moderation of its interrupts, where the driver tells.
    pub coalescing: Option<Coalescing>,
}

/// A transmit queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransmitQueue {
    /// Its number.
    pub number: u32,
    /// The processors that choose it (XPS); `None` where the setting cannot be read, as on an interface with one queue.
    pub cpus: Option<CpuSet>,
}

/// What the tuning of disks looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disks {
    /// The processors.
    pub processors: Processors,
    /// The interrupts.
    pub interrupts: Interrupts,
    /// The interrupts of each NVMe controller, in the order of the controllers and of the numbers.
    pub nvme: Vec<Vec<u32>>,
    /// The virtio-scsi controllers with at least one local SSD.
    pub scsi: Vec<ScsiController>,
}

/// A virtio-scsi controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScsiController {
    /// Its name on its bus, such as `virtio1`.
    pub device: String,
    /// Its local SSDs.
    pub local_ssds: Vec<Disk>,
}

/// A block device with its request queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Its name, such as `sda`.
    pub name: String,
    /// The files below `queue/` that tuning knows, as they read.
    pub settings: Map<String, String>,
}

impl Disk {
    /// The scheduler in use and those to choose from: `[mq-deadline] none`.
    #[must_use]
    pub fn schedulers(&self) -> (Option<&str>, Vec<&str>) {
        let words = self.settings.get("scheduler").map_or("", String::as_str);
        let mut active = None;
        let mut known = Vec::new();
        for word in words.split_whitespace() {
            match word
                .strip_prefix('[')
                .and_then(|word| word.strip_suffix(']'))
            {
                Some(word) => {
                    active = Some(word);
                    known.push(word);
                }
                None => known.push(word),
            }
        }
        (active, known)
    }
}
