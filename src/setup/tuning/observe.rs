//! Reads /sys and /proc into a snapshot. What cannot be read is left out: it costs itself alone.

use std::path::{Path, PathBuf};

use super::Machine;
use super::cpus::CpuSet;
use super::snapshot::{
    Disk, Disks, Interface, Interrupt, Interrupts, Network, Node, Processors, ScsiController,
    TransmitQueue,
};
use crate::system::files::setting::{KernelDirectory, is_there, names_in, read_setting, resolve};
use crate::system::order::{InOrder, Map};

/// The file in `/proc/irq/N` in which its driver suggests processors.
const HINT: &str = "affinity_hint";

/// The other files in `/proc/irq/N` that are no handlers.
const INTERRUPT_FILES: [&str; 6] = [
    "effective_affinity",
    "effective_affinity_list",
    "node",
    "smp_affinity",
    "smp_affinity_list",
    "spurious",
];

/// The settings of a request queue that tuning knows.
const QUEUE_SETTINGS: [&str; 6] = [
    "scheduler",
    "add_random",
    "nr_requests",
    "rotational",
    "rq_affinity",
    "nomerges",
];

/// What a local SSD on virtio-scsi calls itself.
const LOCAL_SSD: &str = "EphemeralDisk";

/// What the tuning of network queues looks at.
#[must_use]
pub fn network(machine: &Machine) -> Network {
    let virtio = machine.path("/sys/bus/virtio/drivers/virtio_net");
    let flows = read_setting(&machine.path("/proc/sys/net/core/rps_sock_flow_entries"));
    Network {
        processors: processors(machine),
        interrupts: interrupts(machine),
        virtio_devices: numbered(&virtio, "virtio").into_values().collect(),
        interfaces: interfaces(machine),
        flows: flows.and_then(|flows| flows.parse().ok()),
    }
}

/// What the tuning of local SSDs looks at.
#[must_use]
pub fn disks(machine: &Machine) -> Disks {
    let nvme = machine.path("/sys/bus/pci/drivers/nvme");
    let virtio = machine.path("/sys/bus/virtio/drivers/virtio_scsi");
    let controllers = names_in(&nvme)
        .into_iter()
        .map(|controller| message_interrupts(&nvme.join(controller)))
        .filter(|interrupts| !interrupts.is_empty());
    let scsi = numbered(&virtio, "virtio")
        .into_values()
        .map(|device| ScsiController {
            local_ssds: local_ssds(&virtio.join(&device)),
            device,
        })
        .filter(|controller| !controller.local_ssds.is_empty());
    Disks {
        processors: processors(machine),
        interrupts: interrupts(machine),
        nvme: controllers.collect(),
        scsi: scsi.collect(),
    }
}

/// The disks whose requests go to several queues, and which therefore need no scheduler.
#[must_use]
pub fn multi_queue_disks(machine: &Machine) -> Vec<Disk> {
    let block = machine.path("/sys/block");
    names_in(&block)
        .into_iter()
        .filter(|name| is_there(&block.join(name).join("mq")))
        .map(|name| disk(&block, name))
        .collect()
}

fn processors(machine: &Machine) -> Processors {
    let directory = machine.path("/sys/devices/system/node");
    let nodes: Vec<Node> = numbered(&directory, "node")
        .into_iter()
        .filter_map(|(number, name)| {
            Some(Node {
                number: i32::try_from(number).ok()?,
                cpus: list(&directory.join(name).join("cpulist"))?,
            })
        })
        .filter(|node| !node.cpus.is_empty())
        .collect();
    let online = list(&machine.path("/sys/devices/system/cpu/online"));
    let of_nodes = || {
        let all = nodes.iter().map(|node| &node.cpus);
        all.fold(CpuSet::default(), CpuSet::union)
    };
    Processors {
        online: online.unwrap_or_else(of_nodes),
        nodes,
    }
}

fn interrupts(machine: &Machine) -> Interrupts {
    let all = KernelDirectory::open(&machine.path("/proc/irq"));
    let by_number = all.iter().flat_map(|all| {
        let numbers = numbered_of(all.names(), "").into_iter();
        numbers.filter_map(|(number, name)| Some((number, interrupt(&all.below(&name)?))))
    });
    Interrupts {
        by_number: by_number.collect(),
        balanced: is_balanced(machine),
    }
}

fn interrupt(directory: &KernelDirectory) -> Interrupt {
    let (mut handlers, mut can_have_hint) = (Vec::new(), false);
    directory.each_name(&mut |name| match name {
        HINT => can_have_hint = true,
        file if INTERRUPT_FILES.contains(&file) => {}
        handler => handlers.push(handler.to_owned()),
    });
    handlers.put_in_order();
    let cpus = directory.read("smp_affinity_list");
    Interrupt {
        handlers,
        cpus: cpus.and_then(|cpus| CpuSet::parse_list(&cpus)),
        can_have_hint,
        hint: CpuSet::default(),
    }
}

/// Looks up what the drivers suggest for the interrupts that follow them, but for those that have a place already. There may
/// be thousands of the others.
pub fn hints(machine: &Machine, interrupts: &mut Interrupts, placed: &Map<u32, CpuSet>) {
    let Some(all) = KernelDirectory::open(&machine.path("/proc/irq")) else {
        return;
    };
    for (number, interrupt) in &mut interrupts.by_number {
        if interrupt.follows_hint() && !placed.contains_key(number) {
            let hint = all.read(&format!("{number}/{HINT}"));
            interrupt.hint = hint.and_then(|hint| mask(&hint)).unwrap_or_default();
        }
    }
}

/// Whether irqbalance runs, or will: at boot it may start after us.
fn is_balanced(machine: &Machine) -> bool {
    const UNIT: &str = "irqbalance.service";
    let units = machine.path("/etc/systemd/system");
    let masked = resolve(&units.join(UNIT)).is_some_and(|unit| unit == Path::new("/dev/null"));
    let wanted = |name: &String| {
        // The link itself counts: in a copy of the machine it leads nowhere.
        name.ends_with(".wants") && names_in(&units.join(name)).iter().any(|unit| unit == UNIT)
    };
    let processes = machine.path("/proc");
    let runs = |(_, name): (u32, String)| {
        read_setting(&processes.join(name).join("comm")).as_deref() == Some("irqbalance")
    };
    (!masked && names_in(&units).iter().any(wanted))
        || numbered(&processes, "").into_iter().any(runs)
}

fn interfaces(machine: &Machine) -> Vec<Interface> {
    let directory = machine.path("/sys/class/net");
    let mut found: Vec<(bool, PathBuf, Interface)> = names_in(&directory)
        .into_iter()
        .filter(|name| name != "lo")
        .filter_map(|name| {
            let path = directory.join(&name);
            let place = resolve(&path)?;
            is_there(&path.join("device")).then(|| {
                let interface = interface(machine, name, &path, &place);
                (!interface.is_pci, place, interface)
            })
        })
        .collect();
    found.put_in_order_by(|(other, path, _)| (*other, path.clone()));
    found
        .into_iter()
        .map(|(_, _, interface)| interface)
        .collect()
}

fn interface(machine: &Machine, name: String, path: &Path, place: &Path) -> Interface {
    let device = path.join("device");
    let driver = resolve(&device.join("driver"));
    let driver = driver.as_deref().and_then(Path::file_name);
    let driver = driver.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let node = read_setting(&device.join("numa_node"));
    let queues = KernelDirectory::open(&path.join("queues"));
    // Flows are steered for IDPF alone, and there may be hundreds of queues.
    let steered = queues.as_ref().filter(|_| driver.contains("idpf"));
    let buses = machine.path("/sys/devices");
    let buses = resolve(&buses).unwrap_or(buses);
    let bus = place.strip_prefix(&buses).unwrap_or(place);
    Interface {
        is_pci: bus.to_string_lossy().starts_with("pci"),
        is_rdma: is_there(&device.join("infiniband")),
        node: node.and_then(|node| node.parse().ok()).unwrap_or(-1),
        interrupts: message_interrupts(&device),
        transmit: queues.as_ref().map_or_else(Vec::new, transmit_queues),
        receive: steered.map_or_else(Vec::new, receive_queues),
        channels: machine.ask(|ethtool| ethtool.channels(&name)),
        rings: machine.ask(|ethtool| ethtool.rings(&name)),
        coalescing: machine.ask(|ethtool| ethtool.coalescing(&name)),
        driver,
        name,
    }
}

fn transmit_queues(queues: &KernelDirectory) -> Vec<TransmitQueue> {
    let named = numbered_of(queues.names(), "tx-").into_iter();
    named
        .map(|(number, name)| TransmitQueue {
            number,
            cpus: queues
                .read(&format!("{name}/xps_cpus"))
                .and_then(|cpus| mask(&cpus)),
        })
        .collect()
}

fn receive_queues(queues: &KernelDirectory) -> Vec<(u32, Option<u32>)> {
    let named = numbered_of(queues.names(), "rx-").into_iter();
    named
        .map(|(number, name)| {
            let flows = queues.read(&format!("{name}/rps_flow_cnt"));
            (number, flows.and_then(|flows| flows.parse().ok()))
        })
        .collect()
}

/// The local SSDs among the targets of a virtio-scsi controller.
fn local_ssds(controller: &Path) -> Vec<Disk> {
    let mut disks = Vec::new();
    for host in below(controller, "host") {
        for target in below(&host, "target") {
            for unit in below(&target, "") {
                let model = read_setting(&unit.join("model"));
                if !model.is_some_and(|model| model.contains(LOCAL_SSD)) {
                    continue;
                }
                let block = unit.join("block");
                let names = names_in(&block).into_iter();
                disks.extend(
                    names
                        .filter(|name| name.starts_with("sd"))
                        .map(|name| disk(&block, name)),
                );
            }
        }
    }
    disks
}

fn disk(directory: &Path, name: String) -> Disk {
    let queue = directory.join(&name).join("queue");
    let settings = QUEUE_SETTINGS.iter().filter_map(|setting| {
        let value = read_setting(&queue.join(setting))?;
        Some(((*setting).to_owned(), value))
    });
    Disk {
        settings: settings.collect(),
        name,
    }
}

/// The message-signalled interrupts of a PCI device, in order.
fn message_interrupts(device: &Path) -> Vec<u32> {
    numbered(&device.join("msi_irqs"), "").into_keys().collect()
}

/// The directories whose names begin like this.
fn below(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    names_in(directory)
        .into_iter()
        .filter(|name| name.starts_with(prefix))
        .map(|name| directory.join(name))
        .collect()
}

/// The names in a directory that are the prefix and a number, by that number.
fn numbered(directory: &Path, prefix: &str) -> Map<u32, String> {
    numbered_of(names_in(directory), prefix)
}

fn numbered_of(names: Vec<String>, prefix: &str) -> Map<u32, String> {
    names
        .into_iter()
        .filter_map(|name| {
            let number = name.strip_prefix(prefix)?;
            let digits = number.bytes().all(|byte| byte.is_ascii_digit());
            let number = number.parse().ok().filter(|_| digits)?;
            Some((number, name))
        })
        .collect()
}

fn list(path: &Path) -> Option<CpuSet> {
    CpuSet::parse_list(&read_setting(path)?)
}

fn mask(text: &str) -> Option<CpuSet> {
    match text {
        "" => Some(CpuSet::default()),
        mask => CpuSet::parse_mask(mask),
    }
}
